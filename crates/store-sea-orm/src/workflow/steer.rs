//! Starting workflows and telling them what to do.

use async_trait::async_trait;
use drover_domain::workflow::run::{Control, Decision, Input, Refusal};
use drover_domain::workflow::{Json, SignalName, TaskId, WorkflowId, WorkflowStatus};
use drover_ports::{
    DeadLetterFilter, Idempotency, NewWorkflow, StartedWorkflow, StoreError, WorkflowStore,
};

use super::load::lock;
use super::report::AllChanges;
use super::start::{now, start_all};
use super::view::dead_letter_keys;
use crate::row::Stored;
use crate::sql::once::{remember, repeated};
use crate::sql::session::Session;
use crate::store::SeaOrmStore;

/// How many dead letters that wait for another one may stand before those that are done again.
const BLOCKED_MAX: u32 = 100;

#[async_trait]
impl WorkflowStore for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.start", level = "debug", skip_all)]
    async fn start(&self, workflows: &[NewWorkflow]) -> Result<Vec<StartedWorkflow>, StoreError> {
        if workflows.is_empty() {
            return Ok(Vec::new());
        }
        let session = self.write("start workflows").await?;
        let (started, told) = start_all(&session, workflows).await?;
        session.commit().await?;
        self.hints().tell(told);
        Ok(started)
    }

    #[tracing::instrument(name = "db.engine.control", level = "debug", skip_all)]
    async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let session = self.write("steer a workflow").await?;
        self.step(session, workflow, Input::Control(control.clone()))
            .await
    }

    #[tracing::instrument(name = "db.engine.decide", level = "debug", skip_all)]
    async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let Some(no) = task.no() else { return Ok(None) };
        let session = self.write("decide about a task").await?;
        let decision = decision.clone();
        self.step(session, task.workflow(), Input::Decide { no, decision })
            .await
    }

    #[tracing::instrument(name = "db.engine.signal", level = "debug", skip_all)]
    async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let session = self.write("bring a signal").await?;
        if let Some(key) = idempotency {
            let locked = lock(&session, [workflow]).await?;
            let Some(found) = locked.found.get(&workflow) else {
                session.undo().await?;
                return Ok(None);
            };
            if repeated(&session, key, locked.now).await?.is_some() {
                session.undo().await?;
                return Ok(Some(found.run.head.status));
            }
        }
        let input = Input::Signal {
            name: name.clone(),
            payload: payload.clone(),
        };
        self.step(session, workflow, input).await
    }

    #[tracing::instrument(name = "db.engine.redrive", level = "debug", skip_all)]
    async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<TaskId>, StoreError> {
        let session = self.write("do dead letters again").await?;
        if let Some(key) = idempotency {
            let now = now(&session).await?;
            if let Some(first) = repeated(&session, key, now).await? {
                session.undo().await?;
                let stored = Stored::new("idempotency key", &key.key);
                let ids = first.iter().map(|id| stored.id("task identifier", id));
                return ids.collect();
            }
        }
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let tasks = dead_letter_keys(&session, filter, limit.saturating_add(BLOCKED_MAX)).await?;
        let mut locked = lock(&session, tasks.iter().map(|task| task.workflow())).await?;
        let inputs: Vec<(TaskId, Input)> = tasks
            .iter()
            .filter_map(|task| {
                let decision = Decision::Retry;
                Some((
                    *task,
                    Input::Decide {
                        no: task.no()?,
                        decision,
                    },
                ))
            })
            .collect();
        let all_inputs: Vec<(WorkflowId, &Input)> = inputs
            .iter()
            .map(|(task, input)| (task.workflow(), input))
            .collect();
        locked.load(&session, &all_inputs).await?;
        let mut all = AllChanges::default();
        let mut queued = Vec::new();
        let now = locked.now;
        for (task, input) in inputs {
            if queued.len() >= wanted {
                break;
            }
            let Some(found) = locked.found.get_mut(&task.workflow()) else {
                continue;
            };
            match found.run.apply(input, now) {
                Ok(changes) => {
                    all.add(task.workflow(), changes);
                    queued.push(task);
                }
                Err(refusal) if refusal.is_defect() => {
                    return Err(refused(task.workflow(), &refusal));
                }
                Err(_) => {}
            }
        }
        if let Some(key) = idempotency {
            let ids: Vec<String> = queued.iter().map(ToString::to_string).collect();
            remember(&session, key, &ids).await?;
        }
        self.write_all(session, &locked, &all).await?;
        Ok(queued)
    }
}

impl SeaOrmStore {
    // One input for one workflow; its status afterwards.
    async fn step(
        &self,
        session: Session,
        workflow: WorkflowId,
        input: Input,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let mut locked = lock(&session, [workflow]).await?;
        locked.load(&session, &[(workflow, &input)]).await?;
        let now = locked.now;
        let Some(found) = locked.found.get_mut(&workflow) else {
            session.undo().await?;
            return Ok(None);
        };
        let changes = match found.run.apply(input, now) {
            Ok(changes) => changes,
            Err(Refusal::NoSuchTask { .. }) => {
                session.undo().await?;
                return Ok(None);
            }
            Err(refusal) => {
                session.undo().await?;
                return Err(refused(workflow, &refusal));
            }
        };
        let status = found.run.head.status;
        let mut all = AllChanges::default();
        all.add(workflow, changes);
        self.write_all(session, &locked, &all).await?;
        Ok(Some(status))
    }
}

fn refused(workflow: WorkflowId, refusal: &Refusal) -> StoreError {
    match refusal {
        Refusal::Finished { .. }
        | Refusal::WorkflowState { .. }
        | Refusal::TaskState { .. }
        | Refusal::TooManySignals
        | Refusal::TooDeep
        | Refusal::FamilyTooLarge
        | Refusal::FamilyClosed { .. }
        | Refusal::Stale { .. } => StoreError::Refused {
            reason: refusal.to_string(),
        },
        Refusal::NoSuchTask { .. } | Refusal::Illegal(_) => {
            Stored::new("workflow", workflow).corrupt(refusal.to_string())
        }
    }
}
