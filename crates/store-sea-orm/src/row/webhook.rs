//! The shapes of webhooks, unpublished records and deliveries.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::fleet::{ApplicationStatus, ServerStatus};
use drover_domain::haproxy::ServerWord;
use drover_domain::haproxy::action::action_task;
use drover_domain::webhook::{
    Delivery, DeliveryAttempt, DeliveryStatus, EventType, NamedHaproxyServer, NamedInstance,
    Notice, Noticed, Webhook, WebhookSecret, WebhookSecrets, WebhookWish, delivery_task,
};
use drover_domain::workflow::TaskStatus;
use drover_domain::{Key, Timestamp};
use drover_ports::{NoticeSource, Outgoing, StoreError, Unpublished};
use sea_orm::FromQueryResult;

use super::action::{ActionRow, select_actions_with};
use super::rollout::STATUS;
use super::{Stored, time};
use crate::sql::Sql;
use crate::sql::session::Row;

/// What a query for [`WebhookRow`] starts with; `h` is the webhook.
pub(crate) const SELECT_WEBHOOK: &str = "
SELECT h.id, h.url, h.description, CAST(h.events AS text) AS events, h.is_active, h.disabled, h.created_by, h.created_at
FROM webhooks h
";

/// A row of `webhooks`, without its secrets.
#[derive(Debug, FromQueryResult)]
pub(crate) struct WebhookRow {
    id: i64,
    url: String,
    description: Option<String>,
    events: String,
    is_active: bool,
    disabled: Option<String>,
    created_by: String,
    created_at: i64,
}

impl Row for WebhookRow {
    const WHAT: &'static str = "webhook";
}

impl WebhookRow {
    /// The webhook; a list of events that cannot be read disables it, so that all others get their messages.
    pub(crate) fn read(self) -> Webhook {
        let (events, broken) = match self.events() {
            Ok(events) => (events, None),
            Err(error) => {
                tracing::warn!(
                    webhook.id = self.id,
                    error = &error as &(dyn std::error::Error + 'static),
                    "a webhook cannot be read and gets no messages"
                );
                let reason = format!("{error}; change the webhook to set its events again");
                (BTreeSet::new(), Some(reason))
            }
        };
        Webhook {
            key: Key::new(self.id),
            wish: WebhookWish {
                url: self.url,
                description: self.description,
                events,
                is_active: self.is_active && broken.is_none(),
            },
            disabled: broken.or(self.disabled),
            created_at: Timestamp::from_micros(self.created_at),
            created_by: self.created_by,
        }
    }

    fn events(&self) -> Result<BTreeSet<EventType>, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let words: Vec<String> = stored.shape("list of events", &self.events)?;
        words
            .iter()
            .map(|word| stored.word("event", word, EventType::parse))
            .collect()
    }
}

/// What there is to send for a delivery; `$1` is its workflow.
pub(crate) const SELECT_OUTGOING: &str = "
SELECT h.id, h.url, h.description, CAST(h.events AS text) AS events, h.is_active, h.disabled, h.created_by, h.created_at,
       h.secret, h.former_secret, h.former_until, d.message_id, d.event, d.payload
FROM webhook_deliveries d
JOIN webhooks h ON h.id = d.webhook_id
";

/// What there is to send.
#[derive(FromQueryResult)]
pub(crate) struct OutgoingRow {
    #[sea_orm(nested)]
    webhook: WebhookRow,
    secret: String,
    former_secret: Option<String>,
    former_until: Option<i64>,
    message_id: String,
    event: String,
    payload: String,
}

impl Row for OutgoingRow {
    const WHAT: &'static str = "webhook";
}

impl OutgoingRow {
    /// It.
    pub(crate) fn read(self) -> Result<Outgoing, StoreError> {
        let former = self.former_secret.map(WebhookSecret::new);
        let stored = Stored::new("delivery", &self.message_id);
        let event = stored.word("event", &self.event, EventType::parse)?;
        Ok(Outgoing {
            webhook: self.webhook.read(),
            secrets: WebhookSecrets {
                current: WebhookSecret::new(self.secret),
                former: former.zip(time(self.former_until)),
            },
            message: self.message_id,
            event,
            payload: self.payload,
        })
    }
}

/// What a query for [`DeliveryRow`] selects, after [`STATUS`].
const COLUMNS: &str = "
       d.id, CAST(d.workflow_id AS text) AS workflow_id, d.webhook_id, d.message_id, d.event, d.payload, d.created_at
FROM webhook_deliveries d
JOIN workflow_tasks t ON t.workflow_id = d.workflow_id AND t.task_no = 0
LEFT JOIN workflow_queue q ON q.workflow_id = t.workflow_id AND q.task_no = t.task_no
";

/// The query for [`DeliveryRow`] that ends with this.
pub(crate) fn select_deliveries(rest: &str) -> Sql {
    Sql::new(format!("SELECT {STATUS} AS status, {COLUMNS} {rest}"))
}

/// A row of `webhook_deliveries`, with what the engine says about it.
#[derive(Debug, FromQueryResult)]
pub(crate) struct DeliveryRow {
    status: String,
    id: i64,
    workflow_id: String,
    webhook_id: i64,
    message_id: String,
    event: String,
    payload: String,
    created_at: i64,
}

impl Row for DeliveryRow {
    const WHAT: &'static str = "delivery to a webhook";
}

impl DeliveryRow {
    /// The delivery with its position, without its tries.
    pub(crate) fn read(self) -> Result<(i64, Delivery), StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let task = stored.word("status", &self.status, TaskStatus::parse)?;
        let delivery = Delivery {
            id: delivery_task(stored.id("workflow identifier", &self.workflow_id)?),
            webhook: Key::new(self.webhook_id),
            message: self.message_id,
            event: stored.word("event", &self.event, EventType::parse)?,
            payload: self.payload,
            created_at: Timestamp::from_micros(self.created_at),
            status: DeliveryStatus::of(task),
            attempts: Vec::new(),
        };
        Ok((self.id, delivery))
    }
}

/// A row of `webhook_attempts`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct AttemptRow {
    number: i64,
    at: i64,
    took: i64,
    status: Option<i64>,
    failure: Option<String>,
}

impl Row for AttemptRow {
    const WHAT: &'static str = "attempt of a delivery";
}

impl AttemptRow {
    /// The attempt.
    pub(crate) fn read(self) -> Result<DeliveryAttempt, StoreError> {
        let stored = Stored::new(Self::WHAT, self.number);
        Ok(DeliveryAttempt {
            number: stored.number("number", self.number)?,
            at: Timestamp::from_micros(self.at),
            took: Duration::from_micros(stored.number("duration", self.took)?),
            status: stored.optional("status", self.status)?,
            failure: self.failure,
        })
    }
}

/// Where a server in HAProxy is, for [`HaproxyNamesRow`]: `h` is the server.
const NAMES: &str =
    "h.id AS server_id, h.name AS server_name, b.name AS backend_name, i.name AS instance_name,
       s.name AS node_name";
const PLACES: &str = "
JOIN haproxy_backends b ON b.id = h.backend_id
JOIN haproxy_instances i ON i.id = b.instance_id
JOIN servers s ON s.id = i.server_id";

/// The names of a server in HAProxy.
#[derive(Debug, FromQueryResult)]
struct HaproxyNamesRow {
    server_id: i64,
    server_name: String,
    backend_name: String,
    instance_name: String,
    node_name: String,
}

impl HaproxyNamesRow {
    fn read(self) -> NamedHaproxyServer {
        NamedHaproxyServer {
            key: Key::new(self.server_id),
            name: self.server_name,
            backend: self.backend_name,
            instance: self.instance_name,
            node: self.node_name,
        }
    }
}

/// The names of an application.
#[derive(Debug, FromQueryResult)]
struct InstanceNamesRow {
    application_id: i64,
    application_name: String,
    server_name: Option<String>,
}

impl InstanceNamesRow {
    fn read(self) -> NamedInstance {
        NamedInstance {
            key: Key::new(self.application_id),
            name: self.application_name,
            server: self.server_name,
        }
    }
}

fn unpublished(source: NoticeSource, record: i64, at: i64, what: Noticed) -> Unpublished {
    Unpublished {
        source,
        record,
        notice: Some(Notice {
            at: Timestamp::from_micros(at),
            what,
        }),
    }
}

/// Events of the fleet; `$1` is how many.
pub(crate) const UNPUBLISHED_EVENTS: &str = "
SELECT e.id, e.at, e.event_type, s.id AS server_id, s.name AS server_name
FROM events e LEFT JOIN servers s ON s.id = e.server_id
WHERE NOT e.is_told ORDER BY e.id LIMIT $1
";

/// An event of the fleet.
#[derive(Debug, FromQueryResult)]
pub(crate) struct UnpublishedEventRow {
    id: i64,
    at: i64,
    event_type: String,
    server_id: Option<i64>,
    server_name: Option<String>,
}

impl Row for UnpublishedEventRow {
    const WHAT: &'static str = "event";
}

impl UnpublishedEventRow {
    /// The notice.
    pub(crate) fn read(self) -> Unpublished {
        let source = NoticeSource::FleetEvent;
        let new = match self.event_type.as_str() {
            "connect" => Some(ServerStatus::Online),
            "disconnect" => Some(ServerStatus::Offline),
            _ => None,
        };
        match (new, self.server_id.zip(self.server_name)) {
            (Some(new), Some((server, name))) => {
                let server = Key::new(server);
                let what = Noticed::ServerStatus { server, name, new };
                unpublished(source, self.id, self.at, what)
            }
            (Some(_), None) | (None, _) => Unpublished {
                source,
                record: self.id,
                notice: None,
            },
        }
    }
}

/// Status changes of applications; `$1` is how many.
pub(crate) const UNPUBLISHED_STATUSES: &str = "
SELECT c.id, c.changed_at, c.old_status, c.new_status, a.id AS application_id, a.name AS application_name,
       s.name AS server_name
FROM application_status_history c
JOIN application_instances a ON a.id = c.application_id
LEFT JOIN servers s ON s.id = a.server_id
WHERE NOT c.is_told ORDER BY c.id LIMIT $1
";

/// A status change of an application.
#[derive(Debug, FromQueryResult)]
pub(crate) struct UnpublishedStatusRow {
    pub(crate) id: i64,
    changed_at: i64,
    old_status: String,
    new_status: String,
    #[sea_orm(nested)]
    names: InstanceNamesRow,
}

impl Row for UnpublishedStatusRow {
    const WHAT: &'static str = "status change of an application";
}

impl UnpublishedStatusRow {
    /// The notice.
    pub(crate) fn read(self) -> Result<Unpublished, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let what = Noticed::InstanceStatus {
            instance: self.names.read(),
            old: stored.word("status", &self.old_status, ApplicationStatus::parse)?,
            new: stored.word("status", &self.new_status, ApplicationStatus::parse)?,
        };
        Ok(unpublished(
            NoticeSource::InstanceStatus,
            self.id,
            self.changed_at,
            what,
        ))
    }
}

/// Version changes of applications; `$1` is how many.
pub(crate) const UNPUBLISHED_VERSIONS: &str = "
SELECT c.id, c.changed_at, COALESCE(c.old_version, c.old_tag) AS old_version,
       COALESCE(c.new_version, c.new_tag) AS new_version, CAST(c.rollout_id AS text) AS rollout_id, a.id AS application_id,
       a.name AS application_name, s.name AS server_name
FROM application_version_history c
JOIN application_instances a ON a.id = c.application_id
LEFT JOIN servers s ON s.id = a.server_id
WHERE NOT c.is_told ORDER BY c.id LIMIT $1
";

/// A version change of an application.
#[derive(Debug, FromQueryResult)]
pub(crate) struct UnpublishedVersionRow {
    pub(crate) id: i64,
    changed_at: i64,
    old_version: Option<String>,
    new_version: Option<String>,
    rollout_id: Option<String>,
    #[sea_orm(nested)]
    names: InstanceNamesRow,
}

impl Row for UnpublishedVersionRow {
    const WHAT: &'static str = "version change of an application";
}

impl UnpublishedVersionRow {
    /// The notice.
    pub(crate) fn read(self) -> Result<Unpublished, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let rollout = self
            .rollout_id
            .map(|id| stored.id("rollout identifier", &id));
        let what = Noticed::InstanceVersion {
            instance: self.names.read(),
            old: self.old_version,
            new: self.new_version,
            rollout: rollout.transpose()?,
        };
        Ok(unpublished(
            NoticeSource::InstanceVersion,
            self.id,
            self.changed_at,
            what,
        ))
    }
}

/// Status changes in HAProxy; `$1` is how many.
pub(crate) fn unpublished_words() -> String {
    format!(
        "SELECT c.id, c.changed_at, c.old_status, c.new_status, CAST(c.action_workflow_id AS text) AS action_workflow_id,
                c.actor, {NAMES}
         FROM haproxy_server_status_history c JOIN haproxy_servers h ON h.id = c.haproxy_server_id {PLACES}
         WHERE NOT c.is_told ORDER BY c.id LIMIT $1"
    )
}

/// A status change in HAProxy.
#[derive(Debug, FromQueryResult)]
pub(crate) struct UnpublishedWordRow {
    pub(crate) id: i64,
    changed_at: i64,
    old_status: String,
    new_status: String,
    action_workflow_id: Option<String>,
    actor: Option<String>,
    #[sea_orm(nested)]
    names: HaproxyNamesRow,
}

impl Row for UnpublishedWordRow {
    const WHAT: &'static str = "status change of an HAProxy server";
}

impl UnpublishedWordRow {
    /// The notice.
    pub(crate) fn read(self) -> Result<Unpublished, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let workflow = self
            .action_workflow_id
            .map(|id| stored.id("workflow identifier", &id));
        let action = workflow.transpose()?.map(action_task);
        let what = Noticed::HaproxyStatus {
            server: self.names.read(),
            old: ServerWord::new(&self.old_status),
            new: ServerWord::new(&self.new_status),
            action: action.map(|action| (action, self.actor)),
        };
        Ok(unpublished(
            NoticeSource::HaproxyStatus,
            self.id,
            self.changed_at,
            what,
        ))
    }
}

/// Actions that ended, by themselves or by the engine; `$1` is how many.
pub(crate) fn unpublished_actions() -> Sql {
    let rest = format!(
        "JOIN haproxy_servers h ON h.id = a.haproxy_server_id {PLACES}
         WHERE NOT a.is_told AND (a.ended_at IS NOT NULL OR t.finished_at IS NOT NULL) ORDER BY a.id LIMIT $1"
    );
    select_actions_with(&format!(", {NAMES}"), &rest)
}

/// An action that ended.
#[derive(Debug, FromQueryResult)]
pub(crate) struct UnpublishedActionRow {
    #[sea_orm(nested)]
    pub(crate) action: ActionRow,
    #[sea_orm(nested)]
    names: HaproxyNamesRow,
}

impl Row for UnpublishedActionRow {
    const WHAT: &'static str = "action";
}

impl UnpublishedActionRow {
    /// The notice.
    pub(crate) fn read(self) -> Result<Unpublished, StoreError> {
        let (record, action) = self.action.read()?;
        let server = self.names.read();
        let notice = action.end.map(|end| Notice {
            at: end.at,
            what: Noticed::ActionFinished {
                action: action.id,
                server,
                wanted: action.request.wanted.as_str().to_owned(),
                actor: action.origin.actor,
                failure: end.failure,
            },
        });
        Ok(Unpublished {
            source: NoticeSource::Action,
            record,
            notice,
        })
    }
}
