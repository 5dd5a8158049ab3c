//! Rollouts: the engine has the queue, here is what is the update's own.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::NewEvent;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::{
    EndStatus, Rollout, RolloutDetail, RolloutEnd, RolloutEvent, RolloutId, RolloutRun,
    RolloutTarget, RunProgress,
};
use drover_domain::workflow::{TaskId, TaskStatus};

use crate::{NewWorkflow, StoreError};

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

/// An update to start.
#[derive(Debug, Clone)]
pub struct NewRollout {
    /// The workflow: a [`definition`](drover_domain::rollout::definition::definition) of one task.
    pub workflow: NewWorkflow,
    /// What that task does; it has the task's identifier.
    pub rollout: Rollout,
}

/// Updates to start together.
#[derive(Debug, Clone)]
pub struct NewRollouts {
    /// The updates.
    pub rollouts: Vec<NewRollout>,
    /// Entries for the fleet's event log.
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
    Replayed(Vec<RolloutId>),
}

/// A worker's hold on a task, as the engine's queue gave it. The attempt is the fencing token: a write
/// with an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
}

/// An update in a worker's hands.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutWork {
    /// The rollout with everything that was done before.
    pub detail: RolloutDetail,
    /// What it came to, if an earlier attempt wrote that down and went away before the engine heard
    /// of it.
    pub end: Option<EndStatus>,
    /// Whether it is called off.
    pub is_called_off: bool,
}

/// Rollouts, as those need them who start and do them. Who holds which task is the engine's to
/// say ([`TaskQueue`](crate::TaskQueue)).
///
/// * Every method is atomic; what was accepted is durable.
/// * A write under a claim that is no longer held is refused with [`StoreError::Stale`] and changes nothing.
#[async_trait]
pub trait RolloutStore: Send + Sync {
    /// Starts updates: their workflows, what is their own, their events and the idempotency key, in
    /// one transaction with a constant number of statements.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] for an identifier that is taken; [`StoreError::KeyReused`] when the
    /// key came with another digest before; [`StoreError::Unavailable`]; in each case nothing changed.
    async fn start(&self, rollouts: &NewRollouts) -> Result<Started, StoreError>;

    /// The rollouts that an earlier request with this key started; `None` if there was none. A repeated request gets them
    /// whatever changed since.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyReused`] when the key came with another digest before; [`StoreError::Unavailable`],
    /// [`StoreError::Corrupt`].
    async fn started_by(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<Vec<RolloutId>>, StoreError>;

    /// What there is to do, and that work on it began `at` this moment, unless it began earlier; `None`
    /// if the task is no update.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn begin(&self, claim: &Claim, at: Timestamp) -> Result<Option<RolloutWork>, StoreError>;

    /// Stores what the task will do, once: a task that already has runs keeps them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn plan(
        &self,
        claim: &Claim,
        runs: &[RolloutRun],
        targets: &[RolloutTarget],
    ) -> Result<(), StoreError>;

    /// Stores what following a run brought, in one transaction with a constant number of statements.
    /// Events that are already stored (same run, same sequence number) are ignored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], also after the end; [`StoreError::Unavailable`].
    async fn progress(&self, claim: &Claim, progress: &RunProgress) -> Result<(), StoreError>;

    /// Stores what the task came to: instances, versions of applications with their history, events, in
    /// one transaction. The first end holds; another one changes nothing. A change that polling saw
    /// first, since work on the task began, is the task's: it is in the history once. The task is the
    /// worker's until the engine hears of its end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn finish(
        &self,
        claim: &Claim,
        end: &RolloutEnd,
        at: Timestamp,
    ) -> Result<(), StoreError>;
}

/// Rollouts as people look at them: what is the update's own, together with where the engine says
/// it stands. Updates are removed with their workflows.
#[async_trait]
pub trait RolloutView: Send + Sync {
    /// A rollout with its runs and instances.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, rollout: RolloutId) -> Result<Option<RolloutDetail>, StoreError>;

    /// Rollouts, newest first, in any of these statuses or in all when there is none; each item comes with
    /// its position.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, Rollout)>, StoreError>;

    /// The events of a rollout's runs, oldest first; `None` if there is no such task.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn events(
        &self,
        rollout: RolloutId,
        page: PageRequest,
    ) -> Result<Option<Page<RolloutEvent>>, StoreError>;
}
