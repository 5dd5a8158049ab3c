//! Taking tasks: set by set, without loading their runs.
//!
//! What a claim writes is what `Input::Claimed` does to a run: the task runs, its attempt is counted up, one
//! event records it. Rows that others work with are skipped, so claims never wait.

use drover_domain::Timestamp;
use drover_domain::workflow::{Kind, LeaseId, QueueName, TaskKey, WorkflowId};
use drover_ports::{Assignment, ClaimRequest, StoreError};
use uuid::Uuid;

use super::read::{StoredUuid, by_place, optional_task_no, stored_task, task_no};
use super::report::lease_over;
use super::shape::{PolicyShape, json, read_action};
use crate::sql::Sql;
use crate::sql::batch::batch;
use crate::sql::dialect::{Dialect, EVENT_TURN};
use crate::sql::session::Session;
use crate::store::SeaOrmStore;

batch! {
    WantedQueue<'a> {
        name: &'a str => Text,
    }
}

batch! {
    /// A task that was taken.
    TakenRow {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
    }
}

by_place! {
    /// A task that was taken, with what its worker needs.
    ClaimedRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        attempt: i64,
        queued_at: i64,
        task_key: String,
        kind: String,
        action: String,
        queue: String,
        payload: String,
        policy: String,
        undoes: Option<i64>,
    }
}

by_place! {
    LeaseRow("lease") {
        is_live: bool,
    }
}

by_place! {
    CareRow("queue") {
        is_needed: bool,
    }
}

/// The columns of [`ClaimedRow`]; `q` is what was taken, `t` its task.
pub(super) const CLAIMED_COLUMNS: &str = "q.workflow_id, q.task_no, q.attempt, q.queued_at, t.task_key, t.kind, t.action, \
                                          t.queue, t.payload, t.policy, t.undoes";

impl ClaimedRow {
    pub(super) fn read(self) -> Result<Assignment, StoreError> {
        let workflow: WorkflowId = self.workflow_id.id();
        let stored = stored_task(workflow, self.task_no);
        let corrupt = |error: drover_domain::text::TextError| stored.corrupt(error.to_string());
        Ok(Assignment {
            task: workflow.task(task_no(&stored, self.task_no)?),
            attempt: stored.number("attempt", self.attempt)?,
            key: TaskKey::restore(&self.task_key)
                .ok_or_else(|| stored.corrupt(format!("`{}` is no key", self.task_key)))?,
            kind: Kind::parse(&self.kind).map_err(corrupt)?,
            action: read_action(&stored, &self.action)?,
            queue: QueueName::parse(&self.queue).map_err(corrupt)?,
            payload: json(&stored, self.payload)?,
            policy: stored
                .shape::<PolicyShape>("policy", &self.policy)?
                .read(&stored)?,
            undoes: optional_task_no(&stored, self.undoes)?,
            queued_at: Timestamp::from_micros(self.queued_at),
        })
    }
}

/// What a task becomes when it is taken; `$1` is the lease.
pub(super) fn taking(dialect: Dialect) -> String {
    let (lease, now) = (dialect.uuid(1), dialect.now());
    format!(
        "lease_id = {lease}, attempt = attempt + 1, claimed_at = {now}, overdue_at = {now} + timeout, holds_keys = is_keyed"
    )
}

/// Whether the lease `$1` is live; it stays until the end of the transaction.
pub(super) async fn keep_lease(session: &Session, lease: LeaseId) -> Result<(), StoreError> {
    lock_lease(session, lease, session.dialect.keeping()).await
}

/// The same, and no other transaction works with it: all claims under it have ended.
pub(super) async fn own_lease(session: &Session, lease: LeaseId) -> Result<(), StoreError> {
    let lock = session.dialect.locking_all("workflow_leases");
    lock_lease(session, lease, lock.as_deref().unwrap_or_default()).await
}

async fn lock_lease(session: &Session, lease: LeaseId, lock: &str) -> Result<(), StoreError> {
    let dialect = session.dialect;
    let text = format!(
        "SELECT expires_at > {} FROM workflow_leases WHERE id = {}{lock}",
        dialect.now(),
        dialect.uuid(1),
    );
    match session.row::<LeaseRow>(Sql::new(text).id(lease)).await? {
        Some(LeaseRow { is_live: true }) => Ok(()),
        Some(LeaseRow { is_live: false }) | None => Err(lease_over(lease)),
    }
}

impl SeaOrmStore {
    pub(super) async fn claim_tasks(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError> {
        let limit = request.limit.min(ClaimRequest::LIMIT_MAX);
        if limit == 0 || request.queues.is_empty() {
            return Ok(Vec::new());
        }
        let claimed = match self.dialect() {
            Dialect::Postgres => self.claim_at_once(lease, request, limit).await?,
            Dialect::Sqlite if self.needs_care(request).await? => Vec::new(),
            Dialect::Sqlite => return self.claim_in_steps(lease, request, limit).await,
        };
        if claimed.is_empty() && self.needs_care(request).await? {
            return self.claim_carefully(lease, request, limit).await;
        }
        Ok(claimed)
    }

    // One statement, one round trip, one commit.
    async fn claim_at_once(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
        limit: u32,
    ) -> Result<Vec<Assignment>, StoreError> {
        let session = self.write_once("claim tasks").await?;
        let dialect = session.dialect;
        let now = dialect.now();
        let text = format!(
            "WITH held AS MATERIALIZED (
                 SELECT worker FROM workflow_leases WHERE id = CAST($1 AS uuid) AND expires_at > {now} FOR KEY SHARE),
             care AS MATERIALIZED ({}),
             taken AS (
                 UPDATE workflow_queue AS q SET {}
                 WHERE NOT (SELECT is_needed FROM care) AND q.ctid = ANY (ARRAY(
                     SELECT c.ctid
                     FROM {} CROSS JOIN held LEFT JOIN workflow_queues l ON l.name = r.name
                     CROSS JOIN LATERAL (
                         SELECT w.ctid, w.priority, w.position FROM workflow_queue w
                         WHERE w.executor = $2 AND w.queue = r.name AND w.lease_id IS NULL AND NOT w.is_parked
                           AND NOT w.is_keyed
                         ORDER BY w.priority DESC, w.position LIMIT $3 FOR UPDATE SKIP LOCKED) c
                     WHERE NOT COALESCE(l.is_paused, FALSE)
                     ORDER BY c.priority DESC, c.position LIMIT $3))
                 RETURNING q.workflow_id, q.task_no, q.attempt, q.queued_at, q.priority, q.position),
             {EVENT_TURN},
             told AS (
                 INSERT INTO workflow_events (position, workflow_id, at, event_count, events)
                 SELECT nextval('workflow_event_order'), x.* FROM event_turn CROSS JOIN (
                     SELECT k.workflow_id, {now}, count(*),
                            CAST(json_agg(json_build_array('task_started', k.task_no, k.attempt, held.worker)) AS text)
                     FROM taken k CROSS JOIN held GROUP BY k.workflow_id) x)
             SELECT {CLAIMED_COLUMNS} FROM taken q
             JOIN workflow_tasks t ON t.workflow_id = q.workflow_id AND t.task_no = q.task_no
             ORDER BY q.priority DESC, q.position",
            care(dialect, 2, 4),
            taking(dialect),
            dialect.batch::<WantedQueue<'_>>(4, "r"),
        );
        let sql = Sql::new(text)
            .id(lease)
            .bind(request.executor.as_str())
            .bind(i64::from(limit))
            .batch(dialect, &wanted(request));
        let rows = session.rows::<ClaimedRow>(sql).await?;
        if rows.is_empty() {
            // Nothing to take, or nothing to take it under?
            keep_lease(&session, lease).await?;
        }
        rows.into_iter().map(ClaimedRow::read).collect()
    }

    async fn claim_in_steps(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
        limit: u32,
    ) -> Result<Vec<Assignment>, StoreError> {
        let session = self.write("claim tasks").await?;
        let dialect = session.dialect;
        keep_lease(&session, lease).await?;
        let text = format!(
            "UPDATE workflow_queue SET {} WHERE position IN (
                 SELECT w.position FROM workflow_queue w JOIN {} ON r.name = w.queue
                 LEFT JOIN workflow_queues l ON l.name = w.queue
                 WHERE w.executor = $2 AND w.lease_id IS NULL AND NOT w.is_parked AND NOT w.is_keyed
                   AND NOT COALESCE(l.is_paused, FALSE)
                 ORDER BY w.priority DESC, w.position LIMIT $3)
             RETURNING workflow_id, task_no",
            taking(dialect),
            dialect.batch::<WantedQueue<'_>>(4, "r"),
        );
        let sql = Sql::new(text)
            .id(lease)
            .bind(request.executor.as_str())
            .bind(i64::from(limit))
            .batch(dialect, &wanted(request));
        let taken = session.rows::<TakenKey>(sql).await?;
        let claimed = describe(&session, lease, &taken).await?;
        session.commit().await?;
        Ok(claimed)
    }

    async fn needs_care(&self, request: &ClaimRequest) -> Result<bool, StoreError> {
        let session = self.read("look for tasks with limits");
        let text = care(session.dialect, 1, 2);
        let sql = Sql::new(text)
            .bind(request.executor.as_str())
            .batch(session.dialect, &wanted(request));
        let row = session.row::<CareRow>(sql).await?;
        Ok(row.is_some_and(|row| row.is_needed))
    }
}

// Whether tasks with limits wait in these queues: then all of them are taken carefully, in their order.
fn care(dialect: Dialect, executor: u8, queues: usize) -> String {
    let batch = dialect.batch::<WantedQueue<'_>>(queues, "r");
    format!(
        "SELECT EXISTS (
             SELECT 1 FROM workflow_queue w JOIN {batch} ON r.name = w.queue
             WHERE w.is_keyed AND w.executor = ${executor} AND w.lease_id IS NULL AND NOT w.is_parked)
         OR EXISTS (
             SELECT 1 FROM workflow_queues l JOIN {batch} ON r.name = l.name
             WHERE NOT l.is_paused AND (l.concurrency IS NOT NULL OR l.rate_count IS NOT NULL)) AS is_needed"
    )
}

/// The queues of a request as rows.
pub(super) fn wanted(request: &ClaimRequest) -> Vec<WantedQueue<'_>> {
    request
        .queues
        .iter()
        .map(|queue| WantedQueue {
            name: queue.as_str(),
        })
        .collect()
}

by_place! {
    /// The key of a task that was taken.
    TakenKey("task") {
        workflow_id: StoredUuid,
        task_no: i64,
    }
}

/// Records the tasks that were claimed in this transaction, and reads what their worker needs.
pub(super) async fn describe(
    session: &Session,
    lease: LeaseId,
    taken: &[TakenKey],
) -> Result<Vec<Assignment>, StoreError> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = session.dialect;
    let rows: Vec<TakenRow> = taken
        .iter()
        .map(|key| TakenRow {
            workflow_id: key.workflow_id.0,
            task_no: key.task_no,
        })
        .collect();
    let batch = dialect.batch::<TakenRow>(2, "r");
    let (list, shape) = dialect.json_list();
    let text = format!(
        "SELECT q.workflow_id, {}, count(*),
                CAST({list}({shape}('task_started', q.task_no, q.attempt, l.worker)) AS text)
         FROM {batch} JOIN workflow_queue q ON q.workflow_id = r.workflow_id AND q.task_no = r.task_no
         JOIN workflow_leases l ON l.id = {} GROUP BY q.workflow_id",
        dialect.now(),
        dialect.uuid(1),
    );
    session
        .execute(
            Sql::new(dialect.tell(&text))
                .id(lease)
                .batch(dialect, &rows),
        )
        .await?;
    let text = format!(
        "SELECT {CLAIMED_COLUMNS} FROM {}
         JOIN workflow_queue q ON q.workflow_id = r.workflow_id AND q.task_no = r.task_no
         JOIN workflow_tasks t ON t.workflow_id = q.workflow_id AND t.task_no = q.task_no
         ORDER BY q.priority DESC, q.position",
        dialect.batch::<TakenRow>(1, "r"),
    );
    let rows = session
        .rows::<ClaimedRow>(Sql::new(text).batch(dialect, &rows))
        .await?;
    rows.into_iter().map(ClaimedRow::read).collect()
}
