//! The queue of tasks, as workers use it.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{Outcome, Refusal};
use drover_domain::workflow::{
    Action, Executor, Json, Kind, LeaseId, QueueName, TaskId, TaskKey, TaskNo, TaskPolicy,
};

use crate::StoreError;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Which kind of worker it is.
    pub executor: Executor,
    /// The queues it takes from, each once.
    pub queues: Vec<QueueName>,
    /// At most this many tasks; [`ClaimRequest::LIMIT_MAX`] at most.
    pub limit: u32,
}

impl ClaimRequest {
    /// The most tasks of one claim.
    pub const LIMIT_MAX: u32 = 2_000;
}

/// A task that a worker holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// The attempt; the fencing token of every write about it.
    pub attempt: u32,
    /// Its key.
    pub key: TaskKey,
    /// Its kind.
    pub kind: Kind,
    /// What it does.
    pub action: Action,
    /// The queue it came from.
    pub queue: QueueName,
    /// What it is given.
    pub payload: Json,
    /// How often and how long.
    pub policy: TaskPolicy,
    /// The task that this one undoes.
    pub undoes: Option<TaskNo>,
    /// When it was put into the queue, by the database's clock.
    pub queued_at: Timestamp,
}

impl Assignment {
    /// The same for every attempt of the task, and for no other task: for peers that honour a key.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.task.to_string()
    }
}

/// An attempt that is held under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeldAttempt {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportVerdict {
    /// It is written down.
    Accepted,
    /// The worker no longer holds the attempt; nothing changed.
    Refused(Refusal),
    /// There is no such task.
    NoSuchTask,
}

/// What a sign of life brings back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beat {
    /// Tasks of the lease that must stop.
    pub stop: Vec<TaskId>,
}

/// The queue of tasks, as workers use it.
///
/// * Every method is atomic; what was accepted is durable.
/// * Everything a worker claims is held under a lease of its own; leases are measured by the database's
///   clock. A task is never held under two leases, and an attempt never starts twice.
/// * A report about an attempt that the lease no longer holds changes nothing.
/// * The number of statements depends neither on how many tasks are claimed nor on how many are reported.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Begins a lease of the length `term` for `worker` (1 to 255 printable characters).
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`], [`StoreError::Unavailable`].
    async fn open_lease(
        &self,
        lease: LeaseId,
        worker: &str,
        term: Duration,
    ) -> Result<(), StoreError>;

    /// Renews a lease, with everything held under it, to the length `term` from now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] when it ran out: what it held belongs to others;
    /// [`StoreError::Unavailable`].
    async fn heartbeat(&self, lease: LeaseId, term: Duration) -> Result<Beat, StoreError>;

    /// Takes tasks: of each queue those with the highest priority first, and of these the ones that
    /// have waited longest. Tasks of paused queues and paused workflows are not taken, nor more of a
    /// queue than its limits allow, nor one that shares a concurrency key with a task that is held, or
    /// was lost and may go on. Each attempt is counted up.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] when the lease ran out; [`StoreError::Unavailable`]: whether tasks were taken
    /// is not known, and [`Self::held`] lists them; [`StoreError::Corrupt`].
    async fn claim(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError>;

    /// What has been held under a lease for at least `least`, in no order: what it claimed and was not reported. Zero
    /// is everything. A claim that is still under way is waited for.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] when the lease ran out; [`StoreError::Unavailable`];
    /// [`StoreError::Corrupt`].
    async fn held(&self, lease: LeaseId, least: Duration) -> Result<Vec<HeldAttempt>, StoreError>;

    /// Writes down how attempts ended, with everything that follows, in one transaction. The answer has
    /// the order of the reports; a refused one does not hinder the others.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: whether it was written is not known, and repeating it is safe;
    /// [`StoreError::Corrupt`].
    async fn report(
        &self,
        lease: LeaseId,
        reports: &[Report],
    ) -> Result<Vec<ReportVerdict>, StoreError>;

    /// Ends a lease. What is still held under it is lost at once instead of later.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]; the lease then runs out by itself.
    async fn close_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
}
