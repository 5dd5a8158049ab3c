//! The shapes of actions on servers in HAProxy, of where these servers are, and of their history.

use std::time::Duration;

use drover_domain::haproxy::action::{
    ActionEnd, ActionRequest, ActionStanding, ActionStatus, ActionTarget, Evidence, HaproxyAction,
    Look, action_task,
};
use drover_domain::haproxy::{AdminState, BreakerRecord, HaproxyInstanceKey, ServerWord, Tracker};
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::TaskStatus;
use drover_domain::{Key, Timestamp};
use drover_ports::{StatusChange, StoreError};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};

use super::haproxy::{ObservedRow, PinRow};
use super::rollout::STATUS;
use super::{Stored, time};
use crate::sql::Sql;
use crate::sql::session::Row;

/// What was seen at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LookShape {
    at: i64,
    word: String,
    sessions: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_sessions: Option<u64>,
    queue: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_agent_check: bool,
}

impl LookShape {
    /// The shapes of what was seen.
    pub(crate) fn write(looks: &[Look]) -> Vec<Self> {
        looks
            .iter()
            .map(|look| Self {
                at: look.at.as_micros(),
                word: look.word.as_str().to_owned(),
                sessions: look.sessions,
                old_sessions: look.old_sessions,
                queue: look.queue,
                has_agent_check: look.has_agent_check,
            })
            .collect()
    }

    fn read(self) -> Look {
        Look {
            at: Timestamp::from_micros(self.at),
            word: ServerWord::new(&self.word),
            sessions: self.sessions,
            old_sessions: self.old_sessions,
            queue: self.queue,
            has_agent_check: self.has_agent_check,
        }
    }
}

/// What a query for [`ActionRow`] selects, after [`STATUS`], out of [`FROM`].
const COLUMNS: &str = "
       a.id, CAST(a.workflow_id AS text) AS workflow_id, a.haproxy_server_id, a.transaction_id, a.wanted, a.wait, a.forced,
       a.pin_for, a.restores, a.reason, a.actor, a.request_id, a.created_at, a.started_at, a.ended_at, a.failure_code, a.failure, a.sends,
       CAST(a.looks AS text) AS looks, COALESCE(q.attempt, t.attempt) AS attempt, t.finished_at, t.error_code,
       t.error_message, w.error AS workflow_error";

/// Actions: `a` is what is the action's own, `w` its workflow, `t` the only task of that, `q` that task's row in the queue.
const FROM: &str = "
FROM haproxy_actions a
JOIN workflows w ON w.id = a.workflow_id
JOIN workflow_tasks t ON t.workflow_id = a.workflow_id AND t.task_no = 0
LEFT JOIN workflow_queue q ON q.workflow_id = t.workflow_id AND q.task_no = t.task_no
";

/// The query for [`ActionRow`] that ends with this.
pub(crate) fn select_actions(rest: &str) -> Sql {
    select_actions_with("", rest)
}

/// The query for [`ActionRow`] and these columns besides, each after a comma, that ends with this.
pub(crate) fn select_actions_with(more: &str, rest: &str) -> Sql {
    Sql::new(format!(
        "SELECT {STATUS} AS status, {COLUMNS}{more} {FROM} {rest}"
    ))
}

/// A row of `haproxy_actions`, with what the engine says about it.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ActionRow {
    status: String,
    pub(crate) id: i64,
    workflow_id: String,
    haproxy_server_id: i64,
    transaction_id: String,
    wanted: String,
    wait: i64,
    forced: Option<String>,
    pin_for: Option<i64>,
    restores: bool,
    reason: Option<String>,
    actor: String,
    request_id: String,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    failure_code: Option<String>,
    failure: Option<String>,
    sends: Option<i64>,
    looks: Option<String>,
    attempt: i64,
    finished_at: Option<i64>,
    error_code: Option<String>,
    error_message: Option<String>,
    workflow_error: Option<String>,
}

impl Row for ActionRow {
    const WHAT: &'static str = "action";
}

impl ActionRow {
    /// The action with its position.
    pub(crate) fn read(mut self) -> Result<(i64, HaproxyAction), StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let evidence = self.evidence(&stored)?;
        let end = self.end();
        let standing = ActionStanding {
            status: stored.word("status", &self.status, TaskStatus::parse)?,
            attempt: stored.number("attempt", self.attempt)?,
            finished_at: time(self.finished_at),
            error_code: self.error_code,
            error: self.error_message,
            workflow_error: self.workflow_error,
        };
        let action = HaproxyAction {
            id: action_task(stored.id("workflow identifier", &self.workflow_id)?),
            request: ActionRequest {
                server: Key::new(self.haproxy_server_id),
                wanted: stored.word("state", &self.wanted, AdminState::parse)?,
                wait: Duration::from_micros(stored.number("time to wait", self.wait)?),
                forced: self.forced,
                reason: self.reason,
                pin_for: stored
                    .optional("time of the pin", self.pin_for)?
                    .map(Duration::from_micros),
                restores: self.restores,
            },
            transaction_id: self.transaction_id,
            origin: Origin {
                actor: self.actor,
                request_id: self.request_id,
            },
            status: ActionStatus::Pending,
            created_at: Timestamp::from_micros(self.created_at),
            started_at: time(self.started_at),
            evidence,
            end,
        };
        Ok((self.id, action.standing(standing)))
    }

    fn end(&mut self) -> Option<ActionEnd> {
        Some(ActionEnd {
            at: time(self.ended_at)?,
            failure: self.failure_code.take().zip(self.failure.take()),
        })
    }

    fn evidence(&self, stored: &Stored) -> Result<Evidence, StoreError> {
        let looks: Vec<LookShape> = match &self.looks {
            Some(looks) => stored.shape("list of looks", looks)?,
            None => Vec::new(),
        };
        Ok(Evidence {
            looks: looks.into_iter().map(LookShape::read).collect(),
            sends: stored
                .optional("count of commands", self.sends)?
                .unwrap_or_default(),
        })
    }
}

/// What a query for [`TargetRow`] starts with.
pub(crate) const SELECT_TARGET: &str = "
SELECT h.id, h.name, h.status, h.admin_state, h.sessions, h.queue, h.weight, h.check_status, h.address, h.port,
       h.is_backup, h.tracks, h.has_agent_check, b.id AS backend_id, b.name AS backend_name, i.id AS instance_id, i.name AS instance_name,
       s.address AS agent_host, s.port AS agent_port, i.breaker_failures AS failures,
       i.breaker_opened_at AS opened_at, i.breaker_probe_at AS probe_at,
       h.removed_at IS NULL AND b.removed_at IS NULL AND i.is_active AS is_present,
       h.pin_state, h.pin_by, h.pin_reason, h.pin_since, h.pin_until
FROM haproxy_servers h
JOIN haproxy_backends b ON b.id = h.backend_id
JOIN haproxy_instances i ON i.id = b.instance_id
JOIN servers s ON s.id = i.server_id
";

/// Where a server in HAProxy is.
#[derive(Debug, FromQueryResult)]
pub(crate) struct TargetRow {
    id: i64,
    #[sea_orm(nested)]
    observed: ObservedRow,
    backend_id: i64,
    backend_name: String,
    instance_id: i64,
    instance_name: String,
    agent_host: String,
    agent_port: i64,
    is_present: bool,
    #[sea_orm(nested)]
    pin: PinRow,
    #[sea_orm(nested)]
    breaker: BreakerRow,
}

impl Row for TargetRow {
    const WHAT: &'static str = "HAProxy server";
}

impl TargetRow {
    /// The key of its instance.
    pub(crate) const fn instance(&self) -> i64 {
        self.instance_id
    }

    /// The target.
    pub(crate) fn read(self, trackers: Vec<Tracker>) -> Result<ActionTarget, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let instance = Key::new(self.instance_id);
        Ok(ActionTarget {
            server: Key::new(self.id),
            observed: self.observed.read(&stored)?,
            backend: Key::new(self.backend_id),
            backend_name: self.backend_name,
            instance,
            instance_name: self.instance_name,
            agent_host: self.agent_host,
            agent_port: stored.number("port", self.agent_port)?,
            is_present: self.is_present,
            pin: self.pin.read(&stored)?,
            trackers,
            breaker: self.breaker.read(instance)?,
        })
    }
}

/// The present servers that follow another one, of the instances of the servers `$1`; ends with that list.
pub(crate) const SELECT_TRACKERS: &str = "
SELECT b.instance_id, b.name AS backend, h.name AS server, h.tracks
FROM haproxy_servers h JOIN haproxy_backends b ON b.id = h.backend_id
WHERE h.tracks IS NOT NULL AND h.removed_at IS NULL AND b.removed_at IS NULL AND b.instance_id IN (
    SELECT o.instance_id FROM haproxy_servers w JOIN haproxy_backends o ON o.id = w.backend_id WHERE w.id IN ";

/// A server that follows another one.
#[derive(Debug, FromQueryResult)]
pub(crate) struct TrackerRow {
    instance_id: i64,
    backend: String,
    server: String,
    tracks: String,
}

impl Row for TrackerRow {
    const WHAT: &'static str = "HAProxy server";
}

impl TrackerRow {
    /// The key of its instance, and the server.
    pub(crate) fn read(self) -> (i64, Tracker) {
        let Self {
            instance_id,
            backend,
            server,
            tracks,
        } = self;
        let tracker = Tracker {
            backend,
            server,
            tracks,
        };
        (instance_id, tracker)
    }
}

/// The breaker of an instance.
#[derive(Debug, FromQueryResult)]
pub(crate) struct BreakerRow {
    failures: i64,
    opened_at: Option<i64>,
    probe_at: Option<i64>,
}

impl Row for BreakerRow {
    const WHAT: &'static str = "breaker of the HAProxy instance";
}

impl BreakerRow {
    /// The breaker of this instance.
    pub(crate) fn read(self, instance: HaproxyInstanceKey) -> Result<BreakerRecord, StoreError> {
        let stored = Stored::new(Self::WHAT, instance);
        Ok(BreakerRecord {
            failures: stored.number("count of failures", self.failures)?,
            opened_at: time(self.opened_at),
            probe_at: time(self.probe_at),
        })
    }
}

/// A row of `haproxy_server_status_history`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct StatusChangeRow {
    id: i64,
    changed_at: i64,
    old_status: String,
    new_status: String,
    action_workflow_id: Option<String>,
    actor: Option<String>,
}

impl Row for StatusChangeRow {
    const WHAT: &'static str = "status change of an HAProxy server";
}

impl StatusChangeRow {
    /// The change.
    pub(crate) fn read(self) -> Result<StatusChange, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let workflow = self
            .action_workflow_id
            .map(|id| stored.id("workflow identifier", &id))
            .transpose()?;
        Ok(StatusChange {
            position: self.id,
            at: Timestamp::from_micros(self.changed_at),
            old: ServerWord::new(&self.old_status),
            new: ServerWord::new(&self.new_status),
            action: workflow.map(action_task),
            actor: self.actor,
        })
    }
}
