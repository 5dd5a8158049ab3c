//! Tasks that start another workflow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::page::PageRequest;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{DefinitionName, Json, WorkflowId, WorkflowStatus};
use drover_ports::{
    Assignment, DefinitionRecord, Fault, Idempotency, NewWorkflow, Progress, StartedWorkflow,
    StopReason, StoreError, WorkflowFilter,
};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::backoff::Backoff;
use super::stops::{Stops, TaskProgress};
use crate::workflow::reserved_queue;

/// The actor of workflows that the engine starts.
pub(super) const ACTOR: &str = "engine";
const SCOPE: &str = "engine:child";

/// Starts the workflow a task stands for; the task then waits for its end.
pub(super) async fn execute(
    engine: Arc<Shared>,
    task: Assignment,
    definition: DefinitionName,
    version: Option<u32>,
    stops: Arc<Stops>,
) -> Outcome {
    let limit = task.policy.timeout;
    let progress = TaskProgress {
        task: task.task,
        stops,
    };
    let start = Start {
        engine: &engine,
        task: &task,
        definition: &definition,
        version,
    };
    timeout(limit, start.patiently(&progress))
        .await
        .unwrap_or(Outcome::TimedOut)
}

struct Start<'a> {
    engine: &'a Shared,
    task: &'a Assignment,
    definition: &'a DefinitionName,
    version: Option<u32>,
}

impl Start<'_> {
    // That the store is away for a while is no failure of the task.
    async fn patiently(&self, progress: &dyn Progress) -> Outcome {
        let mut backoff = Backoff::default();
        loop {
            let before = backoff.failures();
            match self.once(before > 0).await {
                Ok(outcome) => return outcome,
                Err(error) if error.fault() == Fault::Transient => {
                    self.engine
                        .complain("a child workflow cannot be started", &error, before);
                }
                // A bound, or a workflow above that is cancelled: another attempt is refused too.
                Err(error @ StoreError::Refused { .. }) => {
                    return failed("child_refused", &error.to_string(), false);
                }
                Err(error) => return failed("child_not_started", &error.to_string(), true),
            }
            // Cancelled or not: it must be known whether the child exists, or it could never be cancelled.
            tokio::select! {
                () = sleep(backoff.fail()) => {}
                () = handed_over(progress) => return Outcome::Released,
            }
        }
    }

    async fn once(&self, is_repetition: bool) -> Result<Outcome, StoreError> {
        let definitions = &self.engine.ports.definitions;
        let Some(record) = definitions.find(self.definition, self.version).await? else {
            let version = self.version.map(|version| format!(" in version {version}"));
            let message = format!(
                "there is no definition `{}`{}",
                self.definition,
                version.unwrap_or_default()
            );
            return Ok(failed("unknown_definition", &message, false));
        };
        if let Some(queue) = reserved_queue(&record.definition) {
            let message = format!(
                "the definition `{}` names the queue `{queue}`, which is Drover's own",
                self.definition
            );
            return Ok(failed("reserved_queue", &message, false));
        }
        match self.start(&record, self.task.idempotency_key()).await? {
            StartedWorkflow::Created(_) => Ok(Outcome::Waiting),
            StartedWorkflow::Replayed(_) => self.go_on(&record, is_repetition).await,
        }
    }

    // An earlier attempt started a child. If that has ended, this attempt gets no hint about it.
    async fn go_on(
        &self,
        record: &DefinitionRecord,
        is_repetition: bool,
    ) -> Result<Outcome, StoreError> {
        let filter = WorkflowFilter {
            parent: Some(self.task.task),
            ..WorkflowFilter::default()
        };
        let newest = PageRequest {
            after: None,
            limit: 1,
        };
        let children = self.engine.ports.view.list(&filter, newest).await?;
        let status = children.items.first().map(|(_, child)| child.head.status);
        match status {
            Some(WorkflowStatus::Succeeded) => Ok(Outcome::Succeeded {
                result: Json::null(),
            }),
            Some(ended) if ended.is_terminal() => {
                if is_repetition || self.was_interrupted().await? {
                    let message = format!("the workflow it started is {}", ended.as_str());
                    return Ok(failed("child_not_succeeded", &message, false));
                }
                // A person retried the task after its child had failed.
                let key = format!("{}/{}", self.task.idempotency_key(), self.task.attempt);
                self.start(record, key).await?;
                Ok(Outcome::Waiting)
            }
            Some(_) | None => Ok(Outcome::Waiting),
        }
    }

    // Whether this attempt follows one that did not come to its end. Reopening a task resets the counts.
    async fn was_interrupted(&self) -> Result<bool, StoreError> {
        let record = self.engine.ports.view.task(self.task.task).await?;
        Ok(record.is_some_and(|record| record.task.lost > 0 || record.task.retries > 0))
    }

    async fn start(
        &self,
        record: &DefinitionRecord,
        key: String,
    ) -> Result<StartedWorkflow, StoreError> {
        let id = WorkflowId::rooted(self.engine.ids.draw());
        let child = NewWorkflow {
            parent: Some(self.task.task),
            ..by_itself(id, record, &self.task.payload, SCOPE, key)
        };
        let started = self.engine.ports.workflows.start(&[child]).await?;
        Ok(started
            .first()
            .copied()
            .unwrap_or(StartedWorkflow::Created(id)))
    }
}

/// A workflow the engine starts by itself, at once. The key stands for the whole request, so every request
/// with it has the same digest.
pub(super) fn by_itself(
    id: WorkflowId,
    record: &DefinitionRecord,
    input: &Json,
    scope: &str,
    key: String,
) -> NewWorkflow {
    NewWorkflow {
        id,
        name: record.reference.name.to_string(),
        definition: Arc::clone(&record.definition),
        source: Some(record.reference.clone()),
        labels: BTreeMap::new(),
        input: input.clone(),
        origin: Origin {
            actor: ACTOR.to_owned(),
            request_id: key.clone(),
        },
        parent: None,
        start_after: Some(Duration::ZERO),
        deadline: None,
        idempotency: Some(Idempotency {
            scope: scope.to_owned(),
            digest: ACTOR.as_bytes().to_vec(),
            key,
        }),
    }
}

async fn handed_over(progress: &dyn Progress) {
    if progress.stopped().await != StopReason::HandOver {
        std::future::pending::<()>().await;
    }
}

fn failed(code: &str, message: &str, retryable: bool) -> Outcome {
    Outcome::Failed {
        error: TaskError::new(code, message),
        retryable,
    }
}
