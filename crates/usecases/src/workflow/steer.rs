//! What people do to workflows and tasks once they are there.

use drover_domain::access::Role;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::{Control, Decision};
use drover_domain::workflow::{Json, SignalName, TaskId, TaskNo, WorkflowId, WorkflowStatus};
use drover_ports::{DeadLetterFilter, Idempotency, StoreError};

use super::own::Own;
use super::start::Workflows;

/// What came of doing dead letters again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// These tasks are queued again.
    Tasks(Vec<TaskId>),
    /// The one task that was named does not exist.
    NoSuchTask,
    /// The named task is no dead letter, or its workflow no longer allows it.
    NotAllowed,
}

impl Workflows {
    /// The most dead letters of one redrive request.
    pub const REDRIVE_MAX: u32 = 1_000;

    /// Starts, pauses, resumes or cancels a workflow; its status afterwards, or `None` if there is no
    /// such workflow.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when its state does not allow it, and then nothing changed;
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
        origin: &Origin,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let own = self.own(workflow).await?;
        allowed(own.and_then(|own| own.no_control(control)))?;
        let status = self.store.control(workflow, control).await?;
        if let Some(status) = status {
            let wish = match control {
                Control::Start => "start",
                Control::Pause => "pause",
                Control::Resume => "resume",
                Control::Cancel { .. } => "cancel",
            };
            told(origin, wish, workflow, status);
        }
        Ok(status)
    }

    /// Decides about a task; the workflow's status afterwards, or `None` if there is no such task.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when its state does not allow it, or it is a task of Drover's own, and then nothing changed;
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
        origin: &Origin,
        role: Role,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let own = self.own(task.workflow()).await?;
        allowed(own.and_then(|own| own.no_decision(decision, role >= Role::Admin)))?;
        let status = self.store.decide(task, decision).await?;
        if let Some(status) = status {
            let wish = match decision {
                Decision::Retry => "retry the task",
                Decision::Skip => "skip the task",
                Decision::Succeeded { .. } => "count the task as succeeded",
                Decision::Failed { .. } => "count the task as failed",
            };
            told(origin, wish, task, status);
        }
        Ok(status)
    }

    /// Brings a signal to a workflow; its status afterwards, or `None` if there is no such workflow.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the workflow has ended; [`StoreError::KeyReused`];
    /// [`StoreError::Unavailable`]; [`StoreError::Corrupt`].
    pub async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
        origin: &Origin,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let own = self.own(workflow).await?;
        allowed(own.map(Own::no_signal))?;
        let status = self
            .store
            .signal(workflow, name, payload, idempotency)
            .await?;
        if let Some(status) = status {
            told(origin, "signal", workflow, status);
        }
        Ok(status)
    }

    /// Whether the workflow is one that only Drover starts.
    async fn own(&self, workflow: WorkflowId) -> Result<Option<Own>, StoreError> {
        let task = self.view.task(workflow.task(TaskNo::FIRST)).await?;
        Ok(task.and_then(|record| Own::of(&record.kind)))
    }

    /// Whether only dead letters of Drover's own are meant.
    async fn own_letters(&self, filter: &DeadLetterFilter) -> Result<Option<Own>, StoreError> {
        let named = filter.kind.as_ref().and_then(Own::of);
        let queued = filter.queue.as_ref().and_then(Own::in_queue);
        if let Some(own) = named.or(queued) {
            return Ok(Some(own));
        }
        match filter.workflow.or(filter.task.map(TaskId::workflow)) {
            Some(workflow) => self.own(workflow).await,
            None => Ok(None),
        }
    }

    /// Does dead letters again, oldest first: at most `limit` and [`Self::REDRIVE_MAX`]. Those of Drover's own are left
    /// alone: they have verbs of their own. With an idempotency key, the
    /// same request made again finds the tasks of the first one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when only dead letters of Drover's own are meant; [`StoreError::KeyReused`];
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
        origin: &Origin,
    ) -> Result<Redriven, StoreError> {
        allowed(self.own_letters(filter).await?.map(Own::no_retry))?;
        let filter = &DeadLetterFilter {
            without: Own::kinds(),
            ..filter.clone()
        };
        let limit = limit.min(Self::REDRIVE_MAX);
        let tasks = self.store.redrive(filter, limit, idempotency).await?;
        if let (Some(task), true) = (filter.task, tasks.is_empty()) {
            return Ok(if self.view.task(task).await?.is_some() {
                Redriven::NotAllowed
            } else {
                Redriven::NoSuchTask
            });
        }
        tracing::info!(
            tasks = tasks.len(), actor = %origin.actor, request.id = %origin.request_id,
            "{} asked to do {} dead letters again", origin.actor, tasks.len()
        );
        Ok(Redriven::Tasks(tasks))
    }
}

fn allowed(refusal: Option<String>) -> Result<(), StoreError> {
    match refusal {
        Some(reason) => Err(StoreError::Refused { reason }),
        None => Ok(()),
    }
}

fn told(origin: &Origin, wish: &str, what: impl std::fmt::Display, status: WorkflowStatus) {
    tracing::info!(
        actor = %origin.actor, request.id = %origin.request_id, status = status.as_str(),
        "{} asked to {wish} {what}", origin.actor
    );
}
