//! Actions on servers in HAProxy, as those use them who start and do them.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::haproxy::action::{
    ActionEnd, ActionTarget, Evidence, HaproxyAction, action_task,
};
use drover_domain::haproxy::{
    Admission, Breaker, BreakerPolicy, HaproxyInstanceKey, HaproxyServerKey, ObservedServer,
    PinChange, pin_after,
};
use drover_domain::workflow::TaskId;
use drover_ports::{Claim, HaproxyActions, NewAction, NewWorkflow, StartedWorkflow, StoreError};

use crate::haproxy::action_view::find_action;
use crate::haproxy::store::{NO_PIN, ServerUpsertRow, server_row};
use crate::rollout::held::hold;
use crate::row::action::{
    BreakerRow, LookShape, SELECT_TARGET, SELECT_TRACKERS, TargetRow, TrackerRow,
};
use crate::sql::Sql;
use crate::sql::dialect::rows;
use crate::sql::session::{KeyRow, Session};
use crate::store::SeaOrmStore;
use crate::webhook::webhooks::IS_TOLD;
use crate::workflow::start_all;

/// What a claim is on, for [`StoreError::Stale`].
const WHAT: &str = "action";

rows! {
    /// What is an action's own.
    NewActionRow<'a> {
        ordinal: usize => Integer,
        workflow_id: String => Uuid,
        haproxy_server_id: i64 => Integer,
        transaction_id: &'a str => Text,
        wanted: &'static str => Text,
        wait: i64 => Integer,
        forced: Option<&'a str> => Text,
        reason: Option<&'a str> => Text,
        pin_for: Option<i64> => Integer,
        restores: bool => Boolean,
        actor: &'a str => Text,
        request_id: &'a str => Text,
        created_at: i64 => Integer,
    }
}

#[async_trait]
impl HaproxyActions for SeaOrmStore {
    #[tracing::instrument(name = "db.actions.targets", level = "debug", skip_all)]
    async fn targets(&self, servers: &[HaproxyServerKey]) -> Result<Vec<ActionTarget>, StoreError> {
        let session = self.read("find servers in HAProxy");
        let keys: Vec<i64> = servers.iter().map(|key| key.get()).collect();
        let sql = Sql::new(format!(
            "{SELECT_TARGET} WHERE h.id IN {} ORDER BY h.id",
            session.dialect.integers(1)
        ));
        let rows = session.rows::<TargetRow>(sql.json(&keys)).await?;
        let sql = Sql::new(format!("{SELECT_TRACKERS}{})", session.dialect.integers(1)));
        let trackers = session.rows::<TrackerRow>(sql.json(&keys)).await?;
        let trackers: Vec<_> = trackers.into_iter().map(TrackerRow::read).collect();
        let of_instance = |instance: i64| {
            let of_instance = trackers.iter().filter(|(key, _)| *key == instance);
            of_instance.map(|(_, tracker)| tracker.clone()).collect()
        };
        rows.into_iter()
            .map(|row| {
                let trackers = of_instance(row.instance());
                row.read(trackers)
            })
            .collect()
    }

    #[tracing::instrument(name = "db.actions.start", level = "debug", skip_all)]
    async fn start(&self, actions: &[NewAction]) -> Result<Vec<StartedWorkflow>, StoreError> {
        let session = self.write("start actions").await?;
        let workflows: Vec<NewWorkflow> = actions
            .iter()
            .map(|action| action.workflow.clone())
            .collect();
        let (answers, told) = start_all(&session, &workflows).await?;
        let created: Vec<&HaproxyAction> = actions
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| matches!(answer, StartedWorkflow::Created(_)))
            .map(|(new, _)| &new.action)
            .collect();
        insert_actions(&session, &created).await?;
        session.commit().await?;
        self.hints().tell(told);
        Ok(answers)
    }

    #[tracing::instrument(name = "db.actions.begin", level = "debug", skip_all)]
    async fn begin(
        &self,
        claim: &Claim,
        at: Timestamp,
    ) -> Result<Option<HaproxyAction>, StoreError> {
        let session = self.write("begin with an action").await?;
        hold(&session, claim, WHAT).await?;
        let change = "started_at = COALESCE(started_at, $2)";
        change_action(&session, claim.task, change, |sql| sql.bind(at.as_micros())).await?;
        let action = find_action(&session, claim.task).await?;
        session.commit().await?;
        Ok(action)
    }

    #[tracing::instrument(name = "db.actions.admit", level = "debug", skip_all)]
    async fn admit(
        &self,
        instance: HaproxyInstanceKey,
        policy: BreakerPolicy,
        at: Timestamp,
    ) -> Result<Admission, StoreError> {
        let session = self.write("ask the breaker of an HAProxy").await?;
        let Some(before) = breaker(&session, instance, policy).await? else {
            session.undo().await?;
            return Ok(Admission::Go);
        };
        let (after, admission) = before.admit(at);
        keep(session, instance, before, after).await?;
        Ok(admission)
    }

    #[tracing::instrument(name = "db.actions.record_answer", level = "debug", skip_all)]
    async fn record_answer(
        &self,
        instance: HaproxyInstanceKey,
        policy: BreakerPolicy,
        was_reached: bool,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let session = self.write("tell the breaker of an HAProxy").await?;
        let Some(before) = breaker(&session, instance, policy).await? else {
            return session.undo().await;
        };
        let after = if was_reached {
            before.succeeded()
        } else {
            before.failed(at)
        };
        keep(session, instance, before, after).await
    }

    #[tracing::instrument(name = "db.actions.record_evidence", level = "debug", skip_all)]
    async fn record_evidence(&self, claim: &Claim, evidence: &Evidence) -> Result<(), StoreError> {
        let session = self.write("note what an action saw").await?;
        hold(&session, claim, WHAT).await?;
        let change = format!("sends = $2, looks = {}", session.dialect.json(3));
        change_action(&session, claim.task, &change, |sql| {
            sql.bind(i64::from(evidence.sends))
                .json(&LookShape::write(&evidence.looks))
        })
        .await?;
        session.commit().await
    }

    #[tracing::instrument(name = "db.actions.finish", level = "debug", skip_all)]
    async fn finish(
        &self,
        claim: &Claim,
        end: &ActionEnd,
        evidence: &Evidence,
        seen: Option<&ObservedServer>,
    ) -> Result<(), StoreError> {
        let session = self.write("end an action").await?;
        hold(&session, claim, WHAT).await?;
        let (code, failure) = match &end.failure {
            Some((code, failure)) => (Some(code.as_str()), Some(failure.as_str())),
            None => (None, None),
        };
        let looks = session.dialect.json(6);
        let change = format!(
            "ended_at = $2, failure_code = $3, failure = $4, sends = $5, looks = {looks}, is_told = {IS_TOLD}"
        );
        let changed = change_action(&session, claim.task, &change, |sql| {
            sql.bind(end.at.as_micros())
                .optional_text(code)
                .optional_text(failure)
                .bind(i64::from(evidence.sends))
                .json(&LookShape::write(&evidence.looks))
        })
        .await?;
        if !changed {
            return session.undo().await;
        }
        if let Some(seen) = seen {
            see(&session, claim.task, seen, end.at).await?;
            pin_server(&session, claim.task, end.at, evidence.sends, seen).await?;
        }
        session.commit().await
    }
}

async fn insert_actions(session: &Session, actions: &[&HaproxyAction]) -> Result<(), StoreError> {
    if actions.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewActionRow<'_>> = actions
        .iter()
        .enumerate()
        .map(|(ordinal, action)| NewActionRow {
            ordinal,
            workflow_id: action.id.workflow().to_string(),
            haproxy_server_id: action.request.server.get(),
            transaction_id: &action.transaction_id,
            wanted: action.request.wanted.as_str(),
            wait: micros(action.request.wait),
            forced: action.request.forced.as_deref(),
            reason: action.request.reason.as_deref(),
            pin_for: action.request.pin_for.map(micros),
            restores: action.request.restores,
            actor: &action.origin.actor,
            request_id: &action.origin.request_id,
            created_at: action.created_at.as_micros(),
        })
        .collect();
    let columns = "workflow_id, haproxy_server_id, transaction_id, wanted, wait, forced, reason, pin_for, \
                   restores, actor, request_id, created_at";
    // Whether it is published is decided at its end; the engine may end it without this handler.
    let text = format!(
        "INSERT INTO haproxy_actions ({columns}, is_told) SELECT {columns}, FALSE FROM {} ORDER BY r.ordinal",
        session.dialect.rows::<NewActionRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows))
        .await
        .map(|_| ())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Changes what is the action's own, until its end is written down; whether it did. Parameters of `change`
/// start at $2.
async fn change_action(
    session: &Session,
    task: TaskId,
    change: &str,
    bind: impl FnOnce(Sql) -> Sql + Send,
) -> Result<bool, StoreError> {
    if task != action_task(task.workflow()) {
        return Ok(false);
    }
    let text = format!(
        "UPDATE haproxy_actions SET {change} WHERE workflow_id = {} AND ended_at IS NULL",
        session.dialect.uuid(1)
    );
    let sql = bind(Sql::new(text).id(task.workflow()));
    Ok(session.execute(sql).await? > 0)
}

/// The breaker of an instance, locked until the end of the transaction.
async fn breaker(
    session: &Session,
    instance: HaproxyInstanceKey,
    policy: BreakerPolicy,
) -> Result<Option<Breaker>, StoreError> {
    let sql = Sql::new(format!(
        "SELECT i.breaker_failures AS failures, i.breaker_opened_at AS opened_at, i.breaker_probe_at AS probe_at
         FROM haproxy_instances i WHERE i.id = $1{}",
        session.dialect.locking("i"),
    ));
    let row = session.row::<BreakerRow>(sql.bind(instance.get())).await?;
    let record = row.map(|row| row.read(instance)).transpose()?;
    Ok(record.map(|record| Breaker::restore(policy, record)))
}

/// Stores the breaker `after` what happened, if that changed it.
async fn keep(
    session: Session,
    instance: HaproxyInstanceKey,
    before: Breaker,
    after: Breaker,
) -> Result<(), StoreError> {
    if after == before {
        return session.undo().await;
    }
    let record = after.record();
    let sql = Sql::new(
        "UPDATE haproxy_instances SET breaker_failures = $2, breaker_opened_at = $3, breaker_probe_at = $4 WHERE id = $1",
    )
    .bind(instance.get())
    .bind(i64::from(record.failures))
    .time(record.opened_at)
    .time(record.probe_at);
    session.execute(sql).await?;
    session.commit().await
}

/// Stores what was seen of an action's server, and that its status is another one if it is.
async fn see(
    session: &Session,
    task: TaskId,
    seen: &ObservedServer,
    at: Timestamp,
) -> Result<(), StoreError> {
    // As a sync does it, so that the two do not wait for each other in a circle. Locked first, read second: on
    // PostgreSQL rows that are joined to one that was waited for are read as they were before the wait.
    let lock = format!(
        "SELECT i.id FROM haproxy_actions a
         JOIN haproxy_servers h ON h.id = a.haproxy_server_id
         JOIN haproxy_backends b ON b.id = h.backend_id
         JOIN haproxy_instances i ON i.id = b.instance_id
         WHERE a.workflow_id = {}{}",
        session.dialect.uuid(1),
        session.dialect.locking("i"),
    );
    session
        .rows::<KeyRow>(Sql::new(lock).id(task.workflow()))
        .await?;
    let text = format!(
        "INSERT INTO haproxy_server_status_history (
             haproxy_server_id, old_status, new_status, changed_at, change_reason, action_workflow_id, actor, is_told)
         SELECT h.id, h.status, $2, $3, 'command', a.workflow_id, a.actor, {IS_TOLD}
         FROM haproxy_actions a JOIN haproxy_servers h ON h.id = a.haproxy_server_id
         WHERE a.workflow_id = {} AND h.status <> $2",
        session.dialect.uuid(1),
    );
    let sql = Sql::new(text)
        .id(task.workflow())
        .text(seen.word.as_str())
        .bind(at.as_micros());
    session.execute(sql).await?;
    let text = format!(
        "UPDATE haproxy_servers AS h SET
             status = r.status, takes_traffic = r.takes_traffic, admin_state = r.admin_state, sessions = r.sessions,
             queue = r.queue, weight = r.weight, is_backup = r.is_backup, tracks = r.tracks,
             has_agent_check = r.has_agent_check, check_status = r.check_status, address = r.address, port = r.port,
             last_seen = $3
         FROM {} JOIN haproxy_actions a ON a.workflow_id = {} WHERE h.id = a.haproxy_server_id",
        session.dialect.rows::<ServerUpsertRow<'_>>(1, "r"),
        session.dialect.uuid(2),
    );
    let sql = Sql::new(text)
        .rows(&[server_row("", seen)])
        .id(task.workflow())
        .bind(at.as_micros());
    session.execute(sql).await.map(|_| ())
}

/// Stores the pin of an action's server after its end.
async fn pin_server(
    session: &Session,
    task: TaskId,
    at: Timestamp,
    sends: u32,
    seen: &ObservedServer,
) -> Result<(), StoreError> {
    let Some(action) = find_action(session, task).await? else {
        return Ok(());
    };
    let request = &action.request;
    let server = request.server.get();
    let sql = match pin_after(request, sends, Some(seen)) {
        PinChange::Keep => return Ok(()),
        PinChange::Remove => {
            Sql::new(format!("UPDATE haproxy_servers SET {NO_PIN} WHERE id = $1")).bind(server)
        }
        PinChange::Set(state) => Sql::new(
            "UPDATE haproxy_servers SET
                 pin_state = $2, pin_by = $3, pin_reason = $4, pin_since = $5, pin_until = $6
             WHERE id = $1",
        )
        .bind(server)
        .bind(state.as_str())
        .text(&action.origin.actor)
        .optional_text(request.reason.as_deref())
        .bind(at.as_micros())
        .time(request.pin_for.map(|time| at.after(time))),
    };
    session.execute(sql).await.map(|_| ())
}
