//! Starting workflows, and looking at one with what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::page::PageRequest;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::{
    DefinitionName, ExecutionMode, Json, Kind, QueueName, TaskKey, WorkflowId, WorkflowStatus,
};
use drover_ports::{
    DefinitionStore, Fault, IdSource, Idempotency, NewWorkflow, StartedWorkflow, StoreError,
    WorkflowRecord, WorkflowStore, WorkflowView,
};

use super::kinds::Kinds;
use super::order::{OrderError, TaskOrder};
use super::own::reserved_queue;
use crate::EnginePorts;

/// Requests about workflows.
#[derive(Clone)]
pub struct Workflows {
    pub(super) store: Arc<dyn WorkflowStore>,
    pub(super) view: Arc<dyn WorkflowView>,
    definitions: Arc<dyn DefinitionStore>,
    ids: Arc<dyn IdSource>,
    kinds: Kinds,
}

impl fmt::Debug for Workflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workflows")
    }
}

/// What a workflow consists of.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkflowSource {
    /// These tasks.
    Tasks {
        /// Their order.
        mode: ExecutionMode,
        /// The tasks.
        tasks: Vec<TaskOrder>,
    },
    /// A stored definition.
    Stored {
        /// Its name.
        name: DefinitionName,
        /// Its version; the newest one where there is none.
        version: Option<u32>,
    },
}

/// When a workflow starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWhen {
    /// On request.
    Asked,
    /// After this long; zero is at once.
    After(Duration),
}

/// A requested workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowOrder {
    /// What it is called, 1 to 255 printable characters; the name of its definition where there is
    /// none.
    pub name: Option<String>,
    /// What it consists of.
    pub source: WorkflowSource,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// What it is given.
    pub input: Json,
    /// When it starts.
    pub start: StartWhen,
    /// The longest it may take from its start on.
    pub deadline: Option<Duration>,
    /// Who asks.
    pub origin: Origin,
    /// What makes a repetition the same request.
    pub idempotency: Option<Idempotency>,
}

/// Why a workflow was refused; nothing was created.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its tasks make no workflow.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// There is no such definition.
    #[error("there is no definition `{name}`{}", version_of(*version))]
    UnknownDefinition {
        /// Its name.
        name: DefinitionName,
        /// The version, if one was asked for.
        version: Option<u32>,
    },
    /// The definition has a task of a kind that no longer exists.
    #[error("the definition `{name}` has tasks of the kind `{kind}`, which there is no more")]
    KindGone {
        /// The definition.
        name: DefinitionName,
        /// The kind.
        kind: Kind,
    },
    /// The definition was stored before the queue was reserved.
    #[error(
        "the definition `{name}` names the queue `{queue}`, which is Drover's own; store it again with another one"
    )]
    ReservedQueue {
        /// The definition.
        name: DefinitionName,
        /// The queue.
        queue: QueueName,
    },
    /// The store did not do its part.
    #[error("the workflow cannot be started")]
    Store(#[from] StoreError),
}

impl StartError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Order(_)
            | Self::UnknownDefinition { .. }
            | Self::KindGone { .. }
            | Self::ReservedQueue { .. } => Fault::Permanent,
            Self::Store(source) => source.fault(),
        }
    }
}

/// A workflow with what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowDetail {
    /// The workflow.
    pub record: WorkflowRecord,
    /// The results of the last tasks (those that no other task depends on), by key; empty until it has succeeded.
    pub output: BTreeMap<TaskKey, Json>,
    /// Whether results were left out because all of them together are larger than
    /// [`Json::BYTES_MAX`].
    pub is_output_cut: bool,
}

impl Workflows {
    /// The name of a workflow that was given none and has no definition to lend it one.
    pub const NAME: &str = "workflow";

    /// Requests over these ports.
    #[must_use]
    pub fn new(ports: &EnginePorts, ids: Arc<dyn IdSource>, kinds: Kinds) -> Self {
        Self {
            store: Arc::clone(&ports.workflows),
            view: Arc::clone(&ports.view),
            definitions: Arc::clone(&ports.definitions),
            ids,
            kinds,
        }
    }

    /// Creates a workflow, and starts it when its order says so. With an idempotency key, the same
    /// order made again finds what came of the first one.
    ///
    /// # Errors
    ///
    /// [`StartError`], and then nothing changed.
    #[tracing::instrument(name = "workflows.start", skip_all)]
    pub async fn start(&self, order: WorkflowOrder) -> Result<StartedWorkflow, StartError> {
        let (definition, source) = match order.source {
            WorkflowSource::Tasks { mode, tasks } => {
                (Arc::new(self.kinds.define(mode, tasks)?), None)
            }
            WorkflowSource::Stored { name, version } => {
                let Some(found) = self.definitions.find(&name, version).await? else {
                    return Err(StartError::UnknownDefinition { name, version });
                };
                if let Some(kind) = self.kinds.missing(&found.definition) {
                    return Err(StartError::KindGone { name, kind });
                }
                if let Some(queue) = reserved_queue(&found.definition).cloned() {
                    return Err(StartError::ReservedQueue { name, queue });
                }
                (found.definition, Some(found.reference))
            }
        };
        let name = order.name.unwrap_or_else(|| {
            source.as_ref().map_or_else(
                || Self::NAME.to_owned(),
                |source| source.name.as_str().to_owned(),
            )
        });
        let new = NewWorkflow {
            id: WorkflowId::rooted(self.ids.draw()),
            name,
            definition,
            source,
            labels: order.labels,
            input: order.input,
            origin: order.origin,
            parent: None,
            start_after: match order.start {
                StartWhen::Asked => None,
                StartWhen::After(wait) => Some(wait),
            },
            deadline: order.deadline,
            idempotency: order.idempotency,
        };
        let started = self.store.start(std::slice::from_ref(&new)).await?;
        let started = started
            .first()
            .copied()
            .unwrap_or(StartedWorkflow::Created(new.id));
        if let StartedWorkflow::Created(id) = started {
            tracing::info!(
                workflow = %id, actor = %new.origin.actor, request.id = %new.origin.request_id,
                "{} started the workflow {}", new.origin.actor, new.name
            );
        }
        Ok(started)
    }

    /// The workflow with this identifier.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find(&self, id: WorkflowId) -> Result<Option<WorkflowDetail>, StoreError> {
        let Some(record) = self.view.find(id).await? else {
            return Ok(None);
        };
        let mut detail = WorkflowDetail {
            record,
            output: BTreeMap::new(),
            is_output_cut: false,
        };
        if detail.record.head.status == WorkflowStatus::Succeeded {
            self.collect(id, &mut detail).await?;
        }
        Ok(Some(detail))
    }

    async fn collect(&self, id: WorkflowId, detail: &mut WorkflowDetail) -> Result<(), StoreError> {
        let mut page = PageRequest::first();
        let mut left = Json::BYTES_MAX;
        while let Some(found) = self.view.tasks(id, page).await? {
            for record in found.items {
                let is_last = record.task.dependants.is_empty() && record.task.undoes.is_none();
                let Some(result) = record.result.filter(|_| is_last) else {
                    continue;
                };
                match left.checked_sub(result.as_str().len()) {
                    Some(rest) => {
                        left = rest;
                        detail.output.insert(record.task.key, result);
                    }
                    None => detail.is_output_cut = true,
                }
            }
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        Ok(())
    }
}

fn version_of(version: Option<u32>) -> String {
    version.map_or_else(String::new, |version| format!(" in version {version}"))
}
