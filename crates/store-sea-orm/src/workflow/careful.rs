//! Taking tasks that have limits: concurrency keys, and queues with a concurrency or a rate.
//!
//! Such claims take turns, because each must see what the others have taken; which tasks may be taken is the
//! domain's [`admit`].

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::workflow::queue::{
    Candidate, QueueLimits, QueueState, RateLimit, Tokens, admit,
};
use drover_domain::workflow::{LeaseId, QueueName, TaskId, WorkflowId};
use drover_ports::{Assignment, ClaimRequest, StoreError};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::claim::{TakenKey, WantedQueue, describe, keep_lease, taking, wanted};
use super::read::{StoredUuid, by_place, stored_task, task_no};
use super::shape::read_list;
use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::batch::batch;
use crate::sql::session::{Row, Session};
use crate::store::SeaOrmStore;

/// How many more waiting tasks than are wanted one careful claim looks at: so many may be held up by what runs
/// before others behind them have to wait too.
const HELD_UP_MAX: i64 = 500;

batch! {
    AdmittedRow {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
    }
}

batch! {
    /// What is left of a queue's rate; the number in thousandths.
    TokensRow<'a> {
        name: &'a str => Text,
        tokens: i64 => Integer,
        tokens_at: i64 => Integer,
    }
}

by_place! {
    CandidateRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        queue: String,
        concurrency_keys: String,
    }
}

by_place! {
    HolderRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        concurrency_keys: String,
    }
}

/// A queue with its limits.
#[derive(Debug, FromQueryResult)]
pub(super) struct LimitsRow {
    pub(super) now: i64,
    pub(super) name: String,
    pub(super) is_paused: bool,
    pub(super) concurrency: Option<i64>,
    pub(super) rate_count: Option<i64>,
    pub(super) rate_per: Option<i64>,
    pub(super) tokens: Option<f64>,
    pub(super) tokens_at: Option<i64>,
    pub(super) running: i64,
}

impl Row for LimitsRow {
    const WHAT: &'static str = "queue";
}

/// The columns of [`LimitsRow`] but the time and the count; `l` is the queue.
pub(super) const LIMITS_COLUMNS: &str =
    "l.name, l.is_paused, l.concurrency, l.rate_count, l.rate_per, l.tokens, l.tokens_at";

impl LimitsRow {
    pub(super) fn read(self) -> Result<(QueueName, QueueState), StoreError> {
        let stored = Stored::new(Self::WHAT, &self.name);
        let name =
            QueueName::parse(&self.name).map_err(|error| stored.corrupt(error.to_string()))?;
        let rate = match self.rate_count.zip(self.rate_per) {
            None => None,
            Some((count, per)) => {
                let per = Duration::from_micros(stored.number("span", per)?);
                let rate = RateLimit::new(stored.number("rate", count)?, per);
                Some(rate.map_err(|error| stored.corrupt(error.to_string()))?)
            }
        };
        let state = QueueState {
            limits: QueueLimits {
                is_paused: self.is_paused,
                concurrency: stored.optional("concurrency", self.concurrency)?,
                rate,
            },
            running: stored.number("count", self.running)?,
            tokens: self.tokens.zip(self.tokens_at).map(|(left, at)| Tokens {
                left,
                at: Timestamp::from_micros(at),
            }),
        };
        Ok((name, state))
    }
}

impl SeaOrmStore {
    pub(super) async fn claim_carefully(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
        limit: u32,
    ) -> Result<Vec<Assignment>, StoreError> {
        let session = self.write("claim tasks").await?;
        keep_lease(&session, lease).await?;
        if let Some(turn) = session.dialect.claiming_turn() {
            session.execute(Sql::new(turn)).await?;
        }
        let candidates = candidates(&session, request, limit).await?;
        if candidates.is_empty() {
            session.undo().await?;
            return Ok(Vec::new());
        }
        let (now, mut queues) = limits(&session, request).await?;
        let taken = holders(&session).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let admitted = admit(&candidates, &mut queues, &taken, limit, now);
        let claimed = take(&session, lease, &admitted).await?;
        store_tokens(&session, &queues).await?;
        session.commit().await?;
        Ok(claimed)
    }
}

async fn candidates(
    session: &Session,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<Candidate>, StoreError> {
    let dialect = session.dialect;
    let locking = match dialect.locking_all("w") {
        Some(locking) => format!("{locking} SKIP LOCKED"),
        None => String::new(),
    };
    let text = format!(
        "SELECT w.workflow_id, w.task_no, w.queue, t.concurrency_keys
         FROM {} JOIN workflow_queue w ON w.queue = r.name
         JOIN workflow_tasks t ON t.workflow_id = w.workflow_id AND t.task_no = w.task_no
         LEFT JOIN workflow_queues l ON l.name = w.queue
         WHERE w.executor = $1 AND w.lease_id IS NULL AND NOT w.is_parked AND NOT COALESCE(l.is_paused, FALSE)
         ORDER BY w.priority DESC, w.position LIMIT $2{locking}",
        dialect.batch::<WantedQueue<'_>>(3, "r"),
    );
    let sql = Sql::new(text)
        .bind(request.executor.as_str())
        .bind(i64::from(limit) + HELD_UP_MAX)
        .batch(dialect, &wanted(request));
    let rows = session.rows::<CandidateRow>(sql).await?;
    rows.into_iter()
        .map(|row| {
            let workflow: WorkflowId = row.workflow_id.id();
            let stored = stored_task(workflow, row.task_no);
            Ok(Candidate {
                task: workflow.task(task_no(&stored, row.task_no)?),
                queue: QueueName::parse(&row.queue)
                    .map_err(|error| stored.corrupt(error.to_string()))?,
                keys: read_list(&stored, "list of keys", &row.concurrency_keys)?,
            })
        })
        .collect()
}

async fn limits(
    session: &Session,
    request: &ClaimRequest,
) -> Result<(Timestamp, BTreeMap<QueueName, QueueState>), StoreError> {
    let dialect = session.dialect;
    let text = format!(
        "SELECT {} AS now, {LIMITS_COLUMNS},
                (SELECT count(*) FROM workflow_queue q WHERE q.queue = l.name AND q.lease_id IS NOT NULL) AS running
         FROM {} JOIN workflow_queues l ON l.name = r.name",
        dialect.now(),
        dialect.batch::<WantedQueue<'_>>(1, "r"),
    );
    let sql = Sql::new(text).batch(dialect, &wanted(request));
    let mut now = Timestamp::EPOCH;
    let mut queues = BTreeMap::new();
    for row in session.rows::<LimitsRow>(sql).await? {
        now = now.max(Timestamp::from_micros(row.now));
        let (name, state) = row.read()?;
        queues.insert(name, state);
    }
    Ok((now, queues))
}

async fn holders(session: &Session) -> Result<Vec<(TaskId, Vec<String>)>, StoreError> {
    let text = "SELECT q.workflow_id, q.task_no, t.concurrency_keys
                FROM workflow_queue q
                JOIN workflow_tasks t ON t.workflow_id = q.workflow_id AND t.task_no = q.task_no
                WHERE q.is_keyed AND q.holds_keys";
    let rows = session.rows::<HolderRow>(Sql::new(text)).await?;
    rows.into_iter()
        .map(|row| {
            let workflow: WorkflowId = row.workflow_id.id();
            let stored = stored_task(workflow, row.task_no);
            let task = workflow.task(task_no(&stored, row.task_no)?);
            Ok((
                task,
                read_list(&stored, "list of keys", &row.concurrency_keys)?,
            ))
        })
        .collect()
}

async fn take(
    session: &Session,
    lease: LeaseId,
    admitted: &[TaskId],
) -> Result<Vec<Assignment>, StoreError> {
    let rows: Vec<AdmittedRow> = admitted
        .iter()
        .filter_map(|task| {
            Some(AdmittedRow {
                workflow_id: task.workflow().as_uuid(),
                task_no: i64::from(task.no()?.get()),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = session.dialect;
    let text = format!(
        "UPDATE workflow_queue SET {} WHERE (workflow_id, task_no) IN (SELECT r.workflow_id, r.task_no FROM {})
         RETURNING workflow_id, task_no",
        taking(dialect),
        dialect.batch::<AdmittedRow>(2, "r"),
    );
    let taken = session
        .rows::<TakenKey>(Sql::new(text).id(lease).batch(dialect, &rows))
        .await?;
    describe(session, lease, &taken).await
}

async fn store_tokens(
    session: &Session,
    queues: &BTreeMap<QueueName, QueueState>,
) -> Result<(), StoreError> {
    let rows: Vec<TokensRow<'_>> = queues
        .iter()
        .filter_map(|(name, state)| {
            let tokens = state.tokens?;
            // At most a million tokens: exact in both.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "bounded by RateLimit::COUNT_MAX"
            )]
            let thousandths = (tokens.left * 1_000.0).floor() as i64;
            Some(TokensRow {
                name: name.as_str(),
                tokens: thousandths,
                tokens_at: tokens.at.as_micros(),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let text = format!(
        "UPDATE workflow_queues AS l SET tokens = r.tokens / 1000.0, tokens_at = r.tokens_at
         FROM {} WHERE l.name = r.name",
        session.dialect.batch::<TokensRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).batch(session.dialect, &rows))
        .await
        .map(|_| ())
}
