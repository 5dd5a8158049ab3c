//! Starting workflows and telling them what to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::{Control, Decision};
use drover_domain::workflow::{
    Definition, DefinitionName, Json, Kind, QueueName, SignalName, TaskId, WorkflowId,
    WorkflowStatus,
};

use crate::{Idempotency, StoreError};

/// The stored definition a workflow came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionRef {
    /// Its name.
    pub name: DefinitionName,
    /// Its version, from 1.
    pub version: u32,
}

/// A workflow to start.
#[derive(Debug, Clone)]
pub struct NewWorkflow {
    /// Its identifier, drawn by the caller: a start whose answer was lost can be asked for again.
    pub id: WorkflowId,
    /// What it is called; 1 to 255 printable characters.
    pub name: String,
    /// What it consists of.
    pub definition: Arc<Definition>,
    /// Where that came from, if it was stored.
    pub source: Option<DefinitionRef>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// What it is given.
    pub input: Json,
    /// Who asks.
    pub origin: Origin,
    /// The task that waits for it.
    pub parent: Option<TaskId>,
    /// Whether and when it starts by itself: `None` waits for [`Control::Start`].
    pub start_after: Option<Duration>,
    /// The longest it may take from its start on.
    pub deadline: Option<Duration>,
    /// What makes a repetition the same request.
    pub idempotency: Option<Idempotency>,
}

/// What came of starting a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedWorkflow {
    /// It exists now.
    Created(WorkflowId),
    /// The same request was made before and this came of it; nothing changed.
    Replayed(WorkflowId),
}

/// Which dead letters are meant; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterFilter {
    /// This task only.
    pub task: Option<TaskId>,
    /// Tasks of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Tasks of this queue.
    pub queue: Option<QueueName>,
    /// Tasks of this kind.
    pub kind: Option<Kind>,
    /// Tasks whose last error has this code.
    pub code: Option<String>,
    /// No tasks of these kinds.
    pub without: Vec<Kind>,
}

/// The durable record of workflows, as those need it who start and steer them.
///
/// * Every method is atomic; what was accepted is durable.
/// * What follows from an input is decided by [`Run::apply`](drover_domain::workflow::run::Run::apply)
///   and by nothing else; events of a change are written with it.
/// * An input the run refuses is [`StoreError::Refused`], and then nothing changed.
#[async_trait]
pub trait WorkflowStore: Send + Sync {
    /// Starts workflows, all or none, in a number of statements that depends neither on how many they
    /// are nor on how many tasks they have. The answer has the order of the request. A workflow whose
    /// idempotency key was used before, also earlier in the same call, is replayed.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] for an identifier that is taken; [`StoreError::KeyReused`] when a
    /// key came with another digest before; [`StoreError::Unavailable`]. In each case nothing changed.
    async fn start(&self, workflows: &[NewWorkflow]) -> Result<Vec<StartedWorkflow>, StoreError>;

    /// Starts, pauses, resumes or cancels a workflow; its status afterwards, or `None` if there is no
    /// such workflow. Running tasks of a cancelled workflow learn of it at their next [`heartbeat`].
    ///
    /// [`heartbeat`]: crate::TaskQueue::heartbeat
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
    ) -> Result<Option<WorkflowStatus>, StoreError>;

    /// Decides about a task; the workflow's status afterwards, or `None` if there is no such task.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
    ) -> Result<Option<WorkflowStatus>, StoreError>;

    /// Brings a signal: a task that waits for it takes it, else it is kept until one does. The
    /// workflow's status afterwards, or `None` if there is no such workflow. A signal whose idempotency
    /// key was used before changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the workflow has ended, or keeps
    /// [`SIGNALS_MAX`](drover_domain::workflow::run::SIGNALS_MAX) others; [`StoreError::KeyReused`];
    /// [`StoreError::Unavailable`]; [`StoreError::Corrupt`].
    async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<WorkflowStatus>, StoreError>;

    /// Does dead letters again, oldest first, at most `limit`: each as by [`Decision::Retry`]. Those
    /// whose workflows no longer allow it stay as they are. The tasks that are queued again. A request whose
    /// idempotency key was used before changes nothing and finds the tasks of the first.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyReused`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<TaskId>, StoreError>;
}
