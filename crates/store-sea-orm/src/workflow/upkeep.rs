//! What happens because time passes.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{Control, Input, WakeKind};
use drover_domain::workflow::{ClockWatch, LeaseId, TaskId, TaskNo, WorkflowId, WorkflowStatus};
use drover_ports::{RetentionAges, StoreError, Upkeep, WatchedClock, WorkflowUpkeep};
use uuid::Uuid;

use super::load::{Locked, WantedWorkflow, lock};
use super::read::{StoredUuid, by_place, optional_task_no, task_no};
use super::report::AllChanges;
use super::shape::micros;
use super::start::now;
use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::batch::batch;
use crate::sql::session::Session;
use crate::store::SeaOrmStore;

/// How many tasks are taken away from one lease in one transaction.
const TASKS_MAX: u32 = 500;

batch! {
    WakeKey {
        id: i64 => Integer,
    }
}

batch! {
    /// How long workflows of a name are kept.
    AgeRow<'a> {
        name: &'a str => Text,
        age: i64 => Integer,
    }
}

batch! {
    ParentTask {
        parent_task: Uuid => Uuid,
    }
}

batch! {
    LeaseKey {
        id: Uuid => Uuid,
    }
}

by_place! {
    WakeRow("wake") {
        id: i64,
        workflow_id: StoredUuid,
        kind: String,
        task_no: Option<i64>,
        attempt: Option<i64>,
        child_status: Option<String>,
    }
}

by_place! {
    NextRow("wake") {
        wait: Option<i64>,
    }
}

by_place! {
    ClockRow("clock") {
        seen_at: i64,
        trusted_from: i64,
    }
}

by_place! {
    LeaseRow("lease") {
        id: StoredUuid,
    }
}

by_place! {
    HeldRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        attempt: i64,
    }
}

by_place! {
    ChildRow("workflow") {
        id: StoredUuid,
    }
}

impl WakeRow {
    fn read(&self) -> Result<Option<(WorkflowId, WakeKind)>, StoreError> {
        let stored = Stored::new("wake", self.id);
        let no = optional_task_no(&stored, self.task_no)?;
        let attempt: Option<u32> = stored.optional("attempt", self.attempt)?;
        let kind = match (self.kind.as_str(), no, attempt) {
            ("start", _, _) => WakeKind::Start,
            ("workflow_deadline", _, _) => WakeKind::WorkflowDeadline,
            ("retry", Some(no), Some(attempt)) => WakeKind::Retry { no, attempt },
            ("wait_over", Some(no), Some(attempt)) => WakeKind::WaitOver { no, attempt },
            ("task_deadline", Some(no), _) => WakeKind::TaskDeadline { no },
            ("cancel_child", Some(no), _) => WakeKind::CancelChild { no },
            ("child_ended", Some(no), _) => {
                let word = self.child_status.as_deref().unwrap_or_default();
                let status = stored.word("status", word, WorkflowStatus::parse)?;
                WakeKind::ChildEnded { no, status }
            }
            _ => return Err(stored.corrupt(format!("`{}` is no whole wake", self.kind))),
        };
        Ok(Some((self.workflow_id.id(), kind)))
    }
}

#[async_trait]
impl WorkflowUpkeep for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.wake_due", level = "debug", skip_all)]
    async fn wake_due(&self, limit: u32) -> Result<Upkeep, StoreError> {
        let wait = self.next_wake().await?;
        match wait {
            Some(wait) if wait.is_zero() => {}
            Some(_) | None => {
                return Ok(Upkeep {
                    handled: 0,
                    next: wait,
                });
            }
        }
        let session = self.write("wake up what is due").await?;
        let wakes = due(&session, limit).await?;
        let handled = u32::try_from(wakes.len()).unwrap_or(u32::MAX);
        if wakes.is_empty() {
            // Another node handles them.
            session.undo().await?;
            return Ok(Upkeep {
                handled,
                next: None,
            });
        }
        let mut inputs = Vec::new();
        let mut parents = Vec::new();
        for wake in &wakes {
            let Some((workflow, kind)) = wake.read()? else {
                continue;
            };
            if let WakeKind::CancelChild { no } = kind {
                parents.push(workflow.task(no));
            }
            inputs.push((workflow, Input::Due { kind }));
        }
        for child in children(&session, &parents).await? {
            let reason = "the workflow that started it was called off".to_owned();
            inputs.push((child, Input::Control(Control::Cancel { reason })));
        }
        let keys: Vec<WakeKey> = wakes.iter().map(|wake| WakeKey { id: wake.id }).collect();
        let batch = session.dialect.batch::<WakeKey>(1, "r");
        let text = session.dialect.delete_by("workflow_wakes", &["id"], &batch);
        session
            .execute(Sql::new(text).batch(session.dialect, &keys))
            .await?;
        self.step_all(session, inputs).await?;
        Ok(Upkeep {
            handled,
            next: self.next_wake().await?,
        })
    }

    #[tracing::instrument(name = "db.engine.take_over", level = "debug", skip_all)]
    async fn take_over(&self, grace: Duration, limit: u32) -> Result<Upkeep, StoreError> {
        let mut handled = self.take_over_expired(limit).await?;
        if handled < limit {
            handled += self.take_over_overdue(grace, limit - handled).await?;
        }
        let session = self.read("look for the next lease that runs out");
        let text = format!(
            "SELECT min(expires_at) - {} FROM workflow_leases",
            session.dialect.now()
        );
        let row = session.row::<NextRow>(Sql::new(text)).await?;
        Ok(Upkeep {
            handled,
            next: row.and_then(|row| row.wait).map(length),
        })
    }

    #[tracing::instrument(name = "db.engine.prune", level = "debug", skip_all)]
    async fn prune(&self, ages: &RetentionAges, limit: u32) -> Result<u32, StoreError> {
        let session = self.write("remove old workflows").await?;
        let dialect = session.dialect;
        let locking = match dialect.locking_all("w") {
            Some(locking) => format!("{locking} SKIP LOCKED"),
            None => String::new(),
        };
        let text = format!(
            "SELECT w.id FROM workflows w
             WHERE w.finished_at < {now} - $1
               AND w.finished_at < {now} - COALESCE((SELECT r.age FROM {named} WHERE r.name = w.name), $3)
               AND w.status IN ('succeeded', 'failed', 'cancelled', 'compensated', 'needs_human')
             ORDER BY w.finished_at LIMIT $2{locking}",
            now = dialect.now(),
            named = dialect.batch::<AgeRow<'_>>(4, "r"),
        );
        let named: Vec<AgeRow<'_>> = ages
            .named
            .iter()
            .map(|(name, age)| AgeRow {
                name,
                age: micros(*age),
            })
            .collect();
        let sql = Sql::new(text)
            .bind(micros(ages.least()))
            .bind(i64::from(limit))
            .bind(micros(ages.usual))
            .batch(dialect, &named);
        let rows = session.rows::<ChildRow>(sql).await?;
        let old: Vec<WantedWorkflow> = rows
            .iter()
            .map(|row| WantedWorkflow {
                workflow_id: row.id.0,
            })
            .collect();
        if old.is_empty() {
            session.undo().await?;
            return Ok(0);
        }
        let batch = || dialect.batch::<WantedWorkflow>(1, "r");
        let text = format!(
            "INSERT INTO workflow_events_removed (id, position, event_count)
             SELECT 1, e.position, e.event_count
             FROM {} JOIN workflow_events e ON e.workflow_id = r.workflow_id WHERE TRUE
             ORDER BY e.position DESC LIMIT 1
             ON CONFLICT (id) DO UPDATE SET position = excluded.position, event_count = excluded.event_count
             WHERE excluded.position > workflow_events_removed.position",
            batch(),
        );
        session.execute(Sql::new(text).batch(dialect, &old)).await?;
        for table in [
            "workflow_events",
            "workflow_signals",
            "workflow_wakes",
            "workflow_dead_letters",
            "workflow_tasks",
        ] {
            let text = dialect.delete_by(table, &["workflow_id"], &batch());
            session.execute(Sql::new(text).batch(dialect, &old)).await?;
        }
        let text = dialect.delete_by(
            "idempotency_keys",
            &["scope", "request_key"],
            &format!(
                "(SELECT w.idempotency_scope AS scope, w.idempotency_key AS request_key
                  FROM {} JOIN workflows w ON w.id = r.workflow_id WHERE w.idempotency_key IS NOT NULL) AS r",
                batch()
            ),
        );
        session.execute(Sql::new(text).batch(dialect, &old)).await?;
        let text = dialect.delete_by(
            "workflows",
            &["id"],
            &format!("(SELECT r.workflow_id AS id FROM {}) AS r", batch()),
        );
        session.execute(Sql::new(text).batch(dialect, &old)).await?;
        session.commit().await?;
        Ok(u32::try_from(old.len()).unwrap_or(u32::MAX))
    }

    #[tracing::instrument(name = "db.engine.prune_keys", level = "debug", skip_all)]
    async fn prune_keys(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let session = self.write_once("remove old idempotency keys").await?;
        let text = format!(
            "DELETE FROM idempotency_keys WHERE (scope, request_key) IN (
                 SELECT k.scope, k.request_key FROM idempotency_keys k
                 WHERE k.ends_by_age AND k.created_at < {} - $1 ORDER BY k.created_at LIMIT $2)",
            session.dialect.now(),
        );
        let sql = Sql::new(text).bind(micros(age)).bind(i64::from(limit));
        let removed = session.execute(sql).await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }

    #[tracing::instrument(name = "db.engine.watch_clock", level = "debug", skip_all)]
    async fn watch_clock(&self) -> Result<WatchedClock, StoreError> {
        let session = self.write("look at the clock").await?;
        let now = now(&session).await?;
        let text = "SELECT seen_at, trusted_from FROM engine_clock WHERE id = 1";
        let known = session.row::<ClockRow>(Sql::new(text)).await?;
        let known = known.map(|row| ClockWatch {
            seen_at: Timestamp::from_micros(row.seen_at),
            trusted_from: Timestamp::from_micros(row.trusted_from),
        });
        let (watch, leap) = ClockWatch::look(known, now);
        let text = "INSERT INTO engine_clock (id, seen_at, trusted_from) VALUES (1, $1, $2)
                    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, trusted_from = excluded.trusted_from";
        let sql = Sql::new(text)
            .bind(watch.seen_at.as_micros())
            .bind(watch.trusted_from.as_micros());
        session.execute(sql).await?;
        session.commit().await?;
        Ok(WatchedClock { watch, leap })
    }
}

// What is past is now.
fn length(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

async fn due(session: &Session, limit: u32) -> Result<Vec<WakeRow>, StoreError> {
    let dialect = session.dialect;
    let text = format!(
        "SELECT id, workflow_id, kind, task_no, attempt, child_status FROM workflow_wakes
         WHERE at <= {} ORDER BY at, id LIMIT $1{}",
        dialect.now(),
        dialect.skipping_locked(),
    );
    session
        .rows::<WakeRow>(Sql::new(text).bind(i64::from(limit)))
        .await
}

async fn children(session: &Session, parents: &[TaskId]) -> Result<Vec<WorkflowId>, StoreError> {
    if parents.is_empty() {
        return Ok(Vec::new());
    }
    let parents: Vec<ParentTask> = parents
        .iter()
        .map(|task| ParentTask {
            parent_task: task.as_uuid(),
        })
        .collect();
    let text = format!(
        "SELECT w.id FROM {} JOIN workflows w ON w.parent_task = r.parent_task",
        session.dialect.batch::<ParentTask>(1, "r"),
    );
    let rows = session
        .rows::<ChildRow>(Sql::new(text).batch(session.dialect, &parents))
        .await?;
    Ok(rows.into_iter().map(|row| row.id.id()).collect())
}

impl SeaOrmStore {
    async fn next_wake(&self) -> Result<Option<Duration>, StoreError> {
        let session = self.read("look for the next wake");
        let text = format!(
            "SELECT min(at) - {} FROM workflow_wakes",
            session.dialect.now()
        );
        let row = session.row::<NextRow>(Sql::new(text)).await?;
        Ok(row.and_then(|row| row.wait).map(length))
    }

    /// Lets inputs happen to their runs; what a run refuses is left out.
    async fn step_all(
        &self,
        session: Session,
        inputs: Vec<(WorkflowId, Input)>,
    ) -> Result<(), StoreError> {
        let mut locked = lock(&session, inputs.iter().map(|(workflow, _)| *workflow)).await?;
        let wanted: Vec<(WorkflowId, &Input)> = inputs
            .iter()
            .map(|(workflow, input)| (*workflow, input))
            .collect();
        locked.load(&session, &wanted).await?;
        let all = apply_all(&mut locked, inputs)?;
        self.write_all(session, &locked, &all).await
    }

    async fn take_over_expired(&self, limit: u32) -> Result<u32, StoreError> {
        let session = self.read("look for leases that ran out");
        let text = format!(
            "SELECT id FROM workflow_leases WHERE expires_at <= {} ORDER BY expires_at LIMIT $1",
            session.dialect.now(),
        );
        let expired = session
            .rows::<LeaseRow>(Sql::new(text).bind(i64::from(limit)))
            .await?;
        drop(session);
        let mut handled = 0;
        for lease in expired {
            handled += self.take_over_one(lease.id.id(), limit - handled).await?;
            if handled >= limit {
                break;
            }
        }
        Ok(handled)
    }

    /// Takes everything away from a lease that ran out.
    pub(super) async fn take_over_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        while self.take_over_one(lease, TASKS_MAX).await? == TASKS_MAX {}
        Ok(())
    }

    // The lease's row is removed with the last of its tasks, so that claims under it come to nothing.
    async fn take_over_one(&self, lease: LeaseId, limit: u32) -> Result<u32, StoreError> {
        let session = self.write("take over from a lease that ran out").await?;
        let dialect = session.dialect;
        let text = format!(
            "SELECT id FROM workflow_leases WHERE id = {} AND expires_at <= {}{}",
            dialect.uuid(1),
            dialect.now(),
            dialect.skipping_locked(),
        );
        if session
            .row::<LeaseRow>(Sql::new(text).id(lease))
            .await?
            .is_none()
        {
            session.undo().await?;
            return Ok(0);
        }
        let text = format!(
            "SELECT workflow_id, task_no, attempt FROM workflow_queue WHERE lease_id = {} ORDER BY position LIMIT $2",
            dialect.uuid(1),
        );
        let sql = Sql::new(text).id(lease).bind(i64::from(limit));
        let rows = session.rows::<HeldRow>(sql).await?;
        let handled = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        if handled < limit {
            let text = dialect.delete_by(
                "workflow_leases",
                &["id"],
                &dialect.batch::<LeaseKey>(1, "r"),
            );
            let key = [LeaseKey {
                id: lease.as_uuid(),
            }];
            session.execute(Sql::new(text).batch(dialect, &key)).await?;
        }
        let inputs = inputs(&rows, |no, attempt| Input::Lost { no, attempt })?;
        self.step_all(session, inputs).await?;
        Ok(handled)
    }

    async fn take_over_overdue(&self, grace: Duration, limit: u32) -> Result<u32, StoreError> {
        let session = self.read("look for attempts that take too long");
        let text = format!(
            "SELECT q.workflow_id, q.task_no, q.attempt
             FROM workflow_leases l JOIN workflow_queue q ON q.lease_id = l.id
             WHERE q.overdue_at < {} - CASE WHEN q.executor = 'remote' THEN 0 ELSE $1 END LIMIT $2",
            session.dialect.now(),
        );
        let sql = Sql::new(text).bind(micros(grace)).bind(i64::from(limit));
        let rows = session.rows::<HeldRow>(sql).await?;
        drop(session);
        if rows.is_empty() {
            return Ok(0);
        }
        let session = self.write("take away what takes too long").await?;
        let inputs = inputs(&rows, |no, attempt| Input::Overdue { no, attempt })?;
        self.step_all(session, inputs).await?;
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }
}

fn inputs(
    rows: &[HeldRow],
    input: impl Fn(TaskNo, u32) -> Input,
) -> Result<Vec<(WorkflowId, Input)>, StoreError> {
    rows.iter()
        .map(|row| {
            let workflow: WorkflowId = row.workflow_id.id();
            let stored = Stored::new("task of workflow", workflow);
            let no = task_no(&stored, row.task_no)?;
            Ok((workflow, input(no, stored.number("attempt", row.attempt)?)))
        })
        .collect()
}

fn apply_all(
    locked: &mut Locked,
    inputs: Vec<(WorkflowId, Input)>,
) -> Result<AllChanges, StoreError> {
    let now = locked.now;
    let mut all = AllChanges::default();
    for (workflow, input) in inputs {
        let Some(found) = locked.found.get_mut(&workflow) else {
            continue;
        };
        match found.run.apply(input, now) {
            Ok(changes) => all.add(workflow, changes),
            Err(refusal) if refusal.is_defect() => {
                return Err(Stored::new("workflow", workflow).corrupt(refusal.to_string()));
            }
            // It has changed: another node was faster.
            Err(_) => {}
        }
    }
    Ok(all)
}
