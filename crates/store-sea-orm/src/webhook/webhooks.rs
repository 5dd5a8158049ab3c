//! Webhooks, unpublished records, and deliveries.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::webhook::{
    ATTEMPTS_MAX, Delivery, DeliveryAttempt, DeliveryStatus, WEBHOOKS_MAX, Webhook, WebhookKey,
    WebhookSecret, WebhookWish, delivery_task,
};
use drover_domain::workflow::{TaskId, TaskStatus, WorkflowId};
use drover_ports::{
    AddedWebhook, Claim, DeliveryFilter, Idempotency, NewDelivery, NewWorkflow, NoticeSource,
    Outgoing, RotatedSecret, StartedWorkflow, StoreError, Unpublished, WebhookStore,
};
use sea_orm::FromQueryResult;

use crate::rollout::held::hold;
use crate::row::Stored;
use crate::row::rollout::STATUS;
use crate::row::webhook::{
    AttemptRow, DeliveryRow, OutgoingRow, SELECT_OUTGOING, SELECT_WEBHOOK, UNPUBLISHED_EVENTS,
    UNPUBLISHED_STATUSES, UNPUBLISHED_VERSIONS, UnpublishedActionRow, UnpublishedEventRow,
    UnpublishedStatusRow, UnpublishedVersionRow, UnpublishedWordRow, WebhookRow, select_deliveries,
    unpublished_actions, unpublished_words,
};
use crate::sql::dialect::{Dialect, rows};
use crate::sql::once::{remember, repeated};
use crate::sql::session::{KeyRow, Row, Session};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;
use crate::workflow::start_all;

/// What a claim is on, for [`StoreError::Stale`].
const WHAT: &str = "delivery";

/// Whether a record that is written now counts as published: no webhook is active.
pub(crate) const IS_TOLD: &str = "(NOT EXISTS (SELECT 1 FROM webhooks k WHERE k.is_active))";

rows! {
    /// A delivery to start.
    NewDeliveryRow<'a> {
        ordinal: usize => Integer,
        workflow_id: String => Uuid,
        webhook_id: i64 => Integer,
        message_id: &'a str => Text,
        event: &'static str => Text,
        payload: &'a str => Text,
        created_at: i64 => Integer,
    }
}

const fn table(source: NoticeSource) -> &'static str {
    match source {
        NoticeSource::FleetEvent => "events",
        NoticeSource::InstanceStatus => "application_status_history",
        NoticeSource::InstanceVersion => "application_version_history",
        NoticeSource::HaproxyStatus => "haproxy_server_status_history",
        NoticeSource::Action => "haproxy_actions",
    }
}

fn words(wish: &WebhookWish) -> Vec<&'static str> {
    wish.events.iter().map(|event| event.as_str()).collect()
}

async fn find(session: &Session, webhook: WebhookKey) -> Result<Option<Webhook>, StoreError> {
    let sql = Sql::new(format!("{SELECT_WEBHOOK} WHERE h.id = $1")).bind(webhook.get());
    let row = session.row::<WebhookRow>(sql).await?;
    Ok(row.map(WebhookRow::read))
}

/// A record that cannot be read has no notice: it must not keep the notices behind it from being sent.
fn or_nothing(
    source: NoticeSource,
    record: i64,
    read: Result<Unpublished, StoreError>,
) -> Unpublished {
    read.unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &(dyn std::error::Error + 'static),
            "a record cannot be read and is sent to no webhook"
        );
        Unpublished {
            source,
            record,
            notice: None,
        }
    })
}

/// A webhook's secret.
#[derive(Debug, FromQueryResult)]
struct SecretRow {
    secret: String,
}

impl Row for SecretRow {
    const WHAT: &'static str = "webhook";
}

async fn secret_of(
    session: &Session,
    webhook: WebhookKey,
) -> Result<Option<WebhookSecret>, StoreError> {
    let sql = Sql::new("SELECT secret FROM webhooks WHERE id = $1").bind(webhook.get());
    let row = session.row::<SecretRow>(sql).await?;
    Ok(row.map(|row| WebhookSecret::new(row.secret)))
}

/// What came of the first request to add a webhook.
async fn first_added(
    session: &Session,
    key: &Idempotency,
    ids: &[String],
) -> Result<AddedWebhook, StoreError> {
    let stored = Stored::new("idempotency key", &key.key);
    let id = ids.first().and_then(|id| id.parse().ok());
    let webhook = id
        .map(WebhookKey::new)
        .ok_or_else(|| stored.corrupt("it has no webhook"))?;
    let found = find(session, webhook).await?;
    let secret = secret_of(session, webhook).await?;
    match found.zip(secret) {
        Some((webhook, secret)) => Ok(AddedWebhook {
            webhook,
            secret,
            is_replayed: true,
        }),
        None => Err(StoreError::Refused {
            reason: format!(
                "webhook {webhook}, which came of the first request with this key, was removed"
            ),
        }),
    }
}

#[async_trait]
impl WebhookStore for SeaOrmStore {
    #[tracing::instrument(name = "db.webhooks.add", level = "debug", skip_all)]
    async fn add(
        &self,
        wish: &WebhookWish,
        secret: &WebhookSecret,
        actor: &str,
        at: Timestamp,
        idempotency: Option<&Idempotency>,
    ) -> Result<AddedWebhook, StoreError> {
        let session = self.write("add a webhook").await?;
        if let Some(key) = idempotency
            && let Some(first) = repeated(&session, key, at).await?
        {
            let added = first_added(&session, key, &first).await?;
            session.undo().await?;
            return Ok(added);
        }
        let text = format!(
            "INSERT INTO webhooks (url, description, events, is_active, secret, created_by, created_at)
             SELECT $1, $2, {events}, $4, $5, $6, $7 WHERE (SELECT count(*) FROM webhooks) < $8
             RETURNING id",
            events = session.dialect.json(3),
        );
        let most = i64::try_from(WEBHOOKS_MAX).unwrap_or(i64::MAX);
        let sql = Sql::new(text)
            .text(&wish.url)
            .optional_text(wish.description.as_deref())
            .json(&words(wish))
            .bind(wish.is_active)
            .bind(secret.expose())
            .text(actor)
            .bind(at.as_micros())
            .bind(most);
        let added = session.row::<KeyRow>(sql).await?;
        let webhook = match added {
            Some(row) => find(&session, WebhookKey::new(row.id)).await?,
            None => None,
        };
        let Some(webhook) = webhook else {
            session.undo().await?;
            return Err(StoreError::AlreadyExists {
                what: "webhook",
                name: format!("number {}", WEBHOOKS_MAX + 1),
            });
        };
        if let Some(key) = idempotency {
            remember(&session, key, &[webhook.key.to_string()]).await?;
        }
        session.commit().await?;
        Ok(AddedWebhook {
            webhook,
            secret: secret.clone(),
            is_replayed: false,
        })
    }

    #[tracing::instrument(name = "db.webhooks.all", level = "debug", skip_all)]
    async fn all(&self) -> Result<Vec<Webhook>, StoreError> {
        let sql = Sql::new(format!("{SELECT_WEBHOOK} ORDER BY h.id"));
        let rows = self.read("list webhooks").rows::<WebhookRow>(sql).await?;
        Ok(rows.into_iter().map(WebhookRow::read).collect())
    }

    #[tracing::instrument(name = "db.webhooks.change", level = "debug", skip_all)]
    async fn change(
        &self,
        webhook: WebhookKey,
        wish: &WebhookWish,
    ) -> Result<Option<Webhook>, StoreError> {
        let session = self.write("change a webhook").await?;
        let text = format!(
            "UPDATE webhooks SET url = $2, description = $3, events = {}, is_active = $5,
                 disabled = CASE WHEN $5 THEN NULL ELSE disabled END
             WHERE id = $1",
            session.dialect.json(4)
        );
        let sql = Sql::new(text)
            .bind(webhook.get())
            .text(&wish.url)
            .optional_text(wish.description.as_deref())
            .json(&words(wish))
            .bind(wish.is_active);
        session.execute(sql).await?;
        let changed = find(&session, webhook).await?;
        session.commit().await?;
        Ok(changed)
    }

    #[tracing::instrument(name = "db.webhooks.replace", level = "debug", skip_all)]
    async fn replace(
        &self,
        webhook: WebhookKey,
        known: &WebhookWish,
        wish: &WebhookWish,
    ) -> Result<Option<Webhook>, StoreError> {
        let session = self.write("replace a webhook").await?;
        let text = format!(
            "UPDATE webhooks SET url = $2, description = $3, events = {}, is_active = $5,
                 disabled = CASE WHEN $5 THEN NULL ELSE disabled END
             WHERE id = $1 AND url = $6 AND COALESCE(description, '') = CAST($7 AS text) AND events = {}
               AND is_active = $9",
            session.dialect.json(4),
            session.dialect.json(8)
        );
        let sql = Sql::new(text)
            .bind(webhook.get())
            .text(&wish.url)
            .optional_text(wish.description.as_deref())
            .json(&words(wish))
            .bind(wish.is_active)
            .text(&known.url)
            .text(known.description.as_deref().unwrap_or_default())
            .json(&words(known))
            .bind(known.is_active);
        if session.execute(sql).await? == 0 {
            session.undo().await?;
            return Ok(None);
        }
        let replaced = find(&session, webhook).await?;
        session.commit().await?;
        Ok(replaced)
    }

    #[tracing::instrument(name = "db.webhooks.rotate", level = "debug", skip_all)]
    async fn rotate(
        &self,
        webhook: WebhookKey,
        secret: &WebhookSecret,
        until: Timestamp,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<RotatedSecret>, StoreError> {
        let session = self.write("change the secret of a webhook").await?;
        if let Some(key) = idempotency
            && repeated(&session, key, until).await?.is_some()
        {
            let secret = secret_of(&session, webhook).await?;
            session.undo().await?;
            return Ok(secret.map(|secret| RotatedSecret {
                secret,
                is_replayed: true,
            }));
        }
        // The same secret again is no change: the one before it goes on signing.
        let sql = Sql::new(
            "UPDATE webhooks SET former_secret = secret, former_until = $3, secret = $2 WHERE id = $1 AND secret <> $2",
        )
        .bind(webhook.get())
        .bind(secret.expose())
        .bind(until.as_micros());
        session.execute(sql).await?;
        let Some(secret) = secret_of(&session, webhook).await? else {
            session.undo().await?;
            return Ok(None);
        };
        session.commit().await?;
        Ok(Some(RotatedSecret {
            secret,
            is_replayed: false,
        }))
    }

    #[tracing::instrument(name = "db.webhooks.disable", level = "debug", skip_all)]
    async fn disable(&self, webhook: WebhookKey, reason: &str) -> Result<(), StoreError> {
        let sql = Sql::new("UPDATE webhooks SET is_active = FALSE, disabled = $2 WHERE id = $1")
            .bind(webhook.get())
            .text(reason);
        let session = self.write_once("switch a webhook off").await?;
        session.execute(sql).await.map(|_| ())
    }

    #[tracing::instrument(name = "db.webhooks.remove", level = "debug", skip_all)]
    async fn remove(&self, webhook: WebhookKey) -> Result<bool, StoreError> {
        let sql = Sql::new("DELETE FROM webhooks WHERE id = $1").bind(webhook.get());
        let session = self.write_once("remove a webhook").await?;
        Ok(session.execute(sql).await? > 0)
    }

    #[tracing::instrument(name = "db.webhooks.list_unpublished", level = "debug", skip_all)]
    async fn list_unpublished(&self, limit: u32) -> Result<Vec<Unpublished>, StoreError> {
        let session = self.read("list what nobody was told of yet");
        let sql = |text: &str| Sql::new(text).bind(i64::from(limit));
        let rows = session
            .rows::<UnpublishedEventRow>(sql(UNPUBLISHED_EVENTS))
            .await?;
        let mut unpublished: Vec<Unpublished> =
            rows.into_iter().map(UnpublishedEventRow::read).collect();
        for row in session
            .rows::<UnpublishedStatusRow>(sql(UNPUBLISHED_STATUSES))
            .await?
        {
            unpublished.push(or_nothing(NoticeSource::InstanceStatus, row.id, row.read()));
        }
        for row in session
            .rows::<UnpublishedVersionRow>(sql(UNPUBLISHED_VERSIONS))
            .await?
        {
            unpublished.push(or_nothing(
                NoticeSource::InstanceVersion,
                row.id,
                row.read(),
            ));
        }
        for row in session
            .rows::<UnpublishedWordRow>(sql(&unpublished_words()))
            .await?
        {
            unpublished.push(or_nothing(NoticeSource::HaproxyStatus, row.id, row.read()));
        }
        for row in session
            .rows::<UnpublishedActionRow>(unpublished_actions().bind(i64::from(limit)))
            .await?
        {
            unpublished.push(or_nothing(NoticeSource::Action, row.action.id, row.read()));
        }
        Ok(unpublished)
    }

    #[tracing::instrument(name = "db.webhooks.dispatch", level = "debug", skip_all)]
    async fn dispatch(
        &self,
        deliveries: &[NewDelivery],
        told: &[(NoticeSource, i64)],
    ) -> Result<Vec<StartedWorkflow>, StoreError> {
        let session = self.write("start deliveries to webhooks").await?;
        let workflows: Vec<NewWorkflow> = deliveries
            .iter()
            .map(|delivery| delivery.workflow.clone())
            .collect();
        let (answers, hints) = start_all(&session, &workflows).await?;
        let created: Vec<&NewDelivery> = deliveries
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| matches!(answer, StartedWorkflow::Created(_)))
            .map(|(new, _)| new)
            .collect();
        insert_deliveries(&session, &created).await?;
        let mut by_table: BTreeMap<NoticeSource, Vec<i64>> = BTreeMap::new();
        for (source, record) in told {
            by_table.entry(*source).or_default().push(*record);
        }
        // One statement for each kind of record, of which there are five.
        for (source, records) in by_table {
            let text = format!(
                "UPDATE {} SET is_told = TRUE WHERE id IN {}",
                table(source),
                session.dialect.integers(1)
            );
            session.execute(Sql::new(text).json(&records)).await?;
        }
        session.commit().await?;
        self.hints().tell(hints);
        Ok(answers)
    }

    #[tracing::instrument(name = "db.webhooks.outgoing", level = "debug", skip_all)]
    async fn outgoing(&self, claim: &Claim) -> Result<Option<Outgoing>, StoreError> {
        let session = self.write("read what there is to send").await?;
        hold(&session, claim, WHAT).await?;
        let Some(workflow) = workflow_of(claim.task) else {
            session.undo().await?;
            return Ok(None);
        };
        let text = format!(
            "{SELECT_OUTGOING} WHERE d.workflow_id = {}",
            session.dialect.uuid(1)
        );
        let row = session
            .row::<OutgoingRow>(Sql::new(text).id(workflow))
            .await?;
        session.undo().await?;
        row.map(OutgoingRow::read).transpose()
    }

    #[tracing::instrument(name = "db.webhooks.record_attempt", level = "debug", skip_all)]
    async fn record_attempt(
        &self,
        claim: &Claim,
        attempt: &DeliveryAttempt,
    ) -> Result<(), StoreError> {
        let session = self.write("note a try to deliver").await?;
        hold(&session, claim, WHAT).await?;
        let Some(workflow) = workflow_of(claim.task).filter(|_| attempt.number <= ATTEMPTS_MAX)
        else {
            return session.undo().await;
        };
        let text = format!(
            "INSERT INTO webhook_attempts (delivery_id, number, at, took, status, failure)
             SELECT d.id, $2, $3, $4, $5, $6 FROM webhook_deliveries d WHERE d.workflow_id = {}
             ON CONFLICT (delivery_id, number) DO NOTHING",
            session.dialect.uuid(1)
        );
        let sql = Sql::new(text)
            .id(workflow)
            .bind(i64::from(attempt.number))
            .bind(attempt.at.as_micros())
            .bind(i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX))
            .bind(attempt.status.map(i64::from))
            .optional_text(attempt.failure.as_deref());
        session.execute(sql).await?;
        session.commit().await
    }

    #[tracing::instrument(name = "db.webhooks.delivery", level = "debug", skip_all)]
    async fn delivery(&self, delivery: TaskId) -> Result<Option<Delivery>, StoreError> {
        let session = self.read_together("find a delivery").await?;
        let Some(workflow) = workflow_of(delivery) else {
            return Ok(None);
        };
        let rest = format!("WHERE d.workflow_id = {}", session.dialect.uuid(1));
        let sql = select_deliveries(&rest).id(workflow);
        let Some(row) = session.row::<DeliveryRow>(sql).await? else {
            return Ok(None);
        };
        let (key, mut delivery) = row.read()?;
        let sql = Sql::new(
            "SELECT a.number, a.at, a.took, a.status, a.failure FROM webhook_attempts a
             WHERE a.delivery_id = $1 ORDER BY a.number",
        );
        let rows = session.rows::<AttemptRow>(sql.bind(key)).await?;
        session.commit().await?;
        let attempts = rows.into_iter().map(AttemptRow::read);
        delivery.attempts = attempts.collect::<Result<_, _>>()?;
        Ok(Some(delivery))
    }

    #[tracing::instrument(name = "db.webhooks.deliveries", level = "debug", skip_all)]
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, Delivery)>, StoreError> {
        let session = self.read("list deliveries to webhooks");
        let sql = wanted_deliveries(session.dialect, filter, page);
        let rows = session.rows::<DeliveryRow>(sql).await?;
        let deliveries = rows
            .into_iter()
            .map(DeliveryRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            deliveries,
            limit(page),
            |(position, _): &(i64, _)| *position,
        ))
    }
}

fn wanted_deliveries(dialect: Dialect, filter: &DeliveryFilter, page: PageRequest) -> Sql {
    let DeliveryFilter {
        webhook,
        event,
        status,
        since,
        until,
    } = filter;
    let mut sql = Sql::new("").descending(page);
    let mut conditions = vec!["d.id < $1".to_owned()];
    for (condition, value) in [
        ("d.webhook_id =", webhook.map(WebhookKey::get)),
        ("d.created_at >=", since.map(Timestamp::as_micros)),
        ("d.created_at <", until.map(Timestamp::as_micros)),
    ] {
        if let Some(value) = value {
            sql = sql.bind(value);
            conditions.push(format!("{condition} ${}", sql.last()));
        }
    }
    if let Some(event) = event {
        sql = sql.bind(event.as_str());
        conditions.push(format!("d.event = ${}", sql.last()));
    }
    if let Some(status) = status {
        let standing = TaskStatus::ALL.into_iter();
        let standing = standing.filter(|task| DeliveryStatus::of(*task) == *status);
        let words: Vec<&str> = standing.map(TaskStatus::as_str).collect();
        sql = sql.json(&words);
        let texts = dialect.texts(sql.last());
        conditions.push(format!("{STATUS} IN {texts}"));
    }
    let order = "ORDER BY d.id DESC LIMIT $2";
    let rest = format!("WHERE {} {order}", conditions.join(" AND "));
    sql.text = select_deliveries(&rest).text;
    sql
}

/// The workflow, if the task is the only one of a delivery.
fn workflow_of(task: TaskId) -> Option<WorkflowId> {
    (task == delivery_task(task.workflow())).then(|| task.workflow())
}

async fn insert_deliveries(
    session: &Session,
    deliveries: &[&NewDelivery],
) -> Result<(), StoreError> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewDeliveryRow<'_>> = deliveries
        .iter()
        .enumerate()
        .map(|(ordinal, delivery)| NewDeliveryRow {
            ordinal,
            workflow_id: delivery.workflow.id.to_string(),
            webhook_id: delivery.webhook.get(),
            message_id: &delivery.message,
            event: delivery.event.as_str(),
            payload: &delivery.payload,
            created_at: delivery.created_at.as_micros(),
        })
        .collect();
    // A webhook that was removed in the meantime leaves a workflow that ends at once.
    let text = format!(
        "INSERT INTO webhook_deliveries (workflow_id, webhook_id, message_id, event, payload, created_at)
         SELECT r.workflow_id, h.id, r.message_id, r.event, r.payload, r.created_at
         FROM {} JOIN webhooks h ON h.id = r.webhook_id ORDER BY r.ordinal",
        session.dialect.rows::<NewDeliveryRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows))
        .await
        .map(|_| ())
}
