//! Actions on servers in HAProxy: the engine has the queue, here is what is the action's own.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::haproxy::action::{ActionEnd, ActionTarget, Evidence, HaproxyAction};
use drover_domain::haproxy::{
    AdminState, Admission, BreakerPolicy, HaproxyInstanceKey, HaproxyServerKey, ObservedServer,
    ServerWord,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::TaskId;

use crate::{Claim, NewWorkflow, StartedWorkflow, StoreError};

/// An action to start.
#[derive(Debug, Clone)]
pub struct NewAction {
    /// The workflow: an [`action_definition`](drover_domain::haproxy::action::action_definition), with the transaction
    /// identifier as its idempotency key.
    pub workflow: NewWorkflow,
    /// What its task does; it has the task's identifier.
    pub action: HaproxyAction,
}

/// A change of a server's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// Its place in the list.
    pub position: i64,
    /// When it was seen.
    pub at: Timestamp,
    /// HAProxy's word before.
    pub old: ServerWord,
    /// HAProxy's word since.
    pub new: ServerWord,
    /// The action that brought it; `None` when a sync found it.
    pub action: Option<TaskId>,
    /// Who asked for that action.
    pub actor: Option<String>,
}

/// Actions, as those need them who start and do them.
///
/// * Every method is atomic; what was accepted is durable.
/// * A write under a claim that is no longer held is refused with [`StoreError::Stale`] and changes nothing.
/// * The number of statements depends on no number of rows.
#[async_trait]
pub trait HaproxyActions: Send + Sync {
    /// Where these servers are, by key; those that do not exist are absent.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn targets(&self, servers: &[HaproxyServerKey]) -> Result<Vec<ActionTarget>, StoreError>;

    /// Starts actions: their workflows and what is their own, in one transaction. One whose idempotency key was used
    /// before by the same request is left as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] for an identifier that is taken; [`StoreError::KeyReused`] when a key came with
    /// another digest before; [`StoreError::Unavailable`]; in each case nothing changed.
    async fn start(&self, actions: &[NewAction]) -> Result<Vec<StartedWorkflow>, StoreError>;

    /// What there is to do, and that work on it began `at` this moment, unless it began earlier; `None` if the task
    /// is no action.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn begin(
        &self,
        claim: &Claim,
        at: Timestamp,
    ) -> Result<Option<HaproxyAction>, StoreError>;

    /// Whether an HAProxy may be asked now; its breaker is where that leaves it. An instance that is gone may.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn admit(
        &self,
        instance: HaproxyInstanceKey,
        policy: BreakerPolicy,
        at: Timestamp,
    ) -> Result<Admission, StoreError>;

    /// Records for the circuit breaker of an HAProxy instance whether its agent was reached.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn record_answer(
        &self,
        instance: HaproxyInstanceKey,
        policy: BreakerPolicy,
        was_reached: bool,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Stores what an action has done and seen so far. After its end nothing changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn record_evidence(&self, claim: &Claim, evidence: &Evidence) -> Result<(), StoreError>;

    /// Stores what an action came to, with all it did and saw, what was last seen of its server, with a row of its history where the status is
    /// another one, and the pin of the server from then on, as
    /// [`pin_after`](drover_domain::haproxy::pin_after) says. The first end holds; another one changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn finish(
        &self,
        claim: &Claim,
        end: &ActionEnd,
        evidence: &Evidence,
        seen: Option<&ObservedServer>,
    ) -> Result<(), StoreError>;
}

/// Which actions are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActionFilter {
    /// On this server.
    pub server: Option<HaproxyServerKey>,
    /// That set it to this state.
    pub wanted: Option<AdminState>,
    /// Asked for not before this moment.
    pub since: Option<Timestamp>,
    /// Asked for before this moment.
    pub until: Option<Timestamp>,
}

/// Actions as people look at them: what is the action's own, with where the engine says it stands. Actions are removed
/// with their workflows.
#[async_trait]
pub trait ActionView: Send + Sync {
    /// An action.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, action: TaskId) -> Result<Option<HaproxyAction>, StoreError>;

    /// The actions with these transaction identifiers, in no order; at most one of each.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn of_transactions(
        &self,
        transactions: &[String],
    ) -> Result<Vec<HaproxyAction>, StoreError>;

    /// Actions, newest first; each comes with its position.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(
        &self,
        filter: &ActionFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, HaproxyAction)>, StoreError>;

    /// How a server's status changed, newest first; `None` if there is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn history(
        &self,
        server: HaproxyServerKey,
        page: PageRequest,
    ) -> Result<Option<Page<StatusChange>>, StoreError>;
}
