//! The queue of update tasks.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::NewEvent;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::task::{
    RunProgress, TaskDetail, TaskEnd, TaskEvent, TaskId, TaskInstance, TaskRun, UpdateTask,
};
use drover_domain::workflow::TaskStatus;

use crate::StoreError;

/// What makes a repeated request the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller and the route; keys of different scopes do not meet.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// A digest of the request's body.
    pub digest: Vec<u8>,
}

/// Tasks to start together.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUpdates {
    /// The tasks, all queued.
    pub tasks: Vec<UpdateTask>,
    /// What to tell in the fleet's event log.
    pub events: Vec<NewEvent>,
    /// The request's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// When they were asked for.
    pub at: Timestamp,
}

/// What came of starting tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// They are queued.
    Created,
    /// The same request was made before and these tasks came of it; nothing changed.
    Replayed(Vec<TaskId>),
}

/// A worker's hold on a task. The attempt is the fencing token: a write with an older one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// The worker.
    pub worker: String,
}

/// The durable queue of update tasks, as workers need it.
///
/// * Every method is atomic; what was accepted is durable.
/// * Leases are measured by the database's clock.
/// * A write under a claim that is no longer held is refused with [`StoreError::Stale`] and changes nothing.
#[async_trait]
pub trait UpdateTasks: Send + Sync {
    /// Queues tasks, with their events and the idempotency key, in one transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyReused`] when the key came with another digest before;
    /// [`StoreError::Unavailable`]; in both cases nothing changed.
    async fn start(&self, updates: &NewUpdates) -> Result<Started, StoreError>;

    /// Takes the oldest task that is queued, or running under a lease that ran out, and counts its
    /// attempt up. Two workers never get one task, and no task is taken while another one that
    /// shares a concurrency key with it is running.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn claim(
        &self,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<(Claim, TaskDetail)>, StoreError>;

    /// Renews the lease.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn heartbeat(&self, claim: &Claim, lease: Duration) -> Result<(), StoreError>;

    /// Stores what the task will do, once: a task that already has runs keeps them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn plan(
        &self,
        claim: &Claim,
        runs: &[TaskRun],
        instances: &[TaskInstance],
    ) -> Result<(), StoreError>;

    /// Stores what following a run brought, in one transaction with a constant number of statements.
    /// Events that are already stored (same run, same sequence number) are ignored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn progress(&self, claim: &Claim, progress: &RunProgress) -> Result<(), StoreError>;

    /// Ends the task and gives up the claim: status, instances, versions of applications with their
    /// history, events, in one transaction. A change that polling saw first, while the task ran, is
    /// the task's: it is in the history once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn finish(&self, claim: &Claim, end: &TaskEnd, at: Timestamp) -> Result<(), StoreError>;

    /// Gives the task back at once, for another worker to go on with; its runs go on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn release(&self, claim: &Claim) -> Result<(), StoreError>;
}

/// Update tasks as people look at them.
#[async_trait]
pub trait TaskView: Send + Sync {
    /// A task with its runs and instances.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError>;

    /// Tasks, newest first, in any of these statuses or in all when there is none. A page's position
    /// is the task's place in the queue; each item comes with its own.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, UpdateTask)>, StoreError>;

    /// The events of a task's runs, oldest first; `None` if there is no such task.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn events(
        &self,
        task: TaskId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskEvent>>, StoreError>;
}
