//! Workflows as people look at them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::{Head, Task};
use drover_domain::workflow::{
    ExecutionMode, Json, Kind, TaskId, TaskKey, WorkflowEvent, WorkflowId, WorkflowStatus,
};

use super::runs::{DeadLetterFilter, DefinitionRef};
use crate::StoreError;

/// A workflow as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRecord {
    /// Where it stands.
    pub head: Head,
    /// What it is called.
    pub name: String,
    /// The order of its tasks.
    pub mode: ExecutionMode,
    /// The stored definition it came from.
    pub source: Option<DefinitionRef>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// What it was given.
    pub input: Json,
    /// Who asked for it.
    pub origin: Origin,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A task as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its state; a task that a worker holds is `running`.
    pub task: Task,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// Its kind.
    pub kind: Kind,
    /// What it is given.
    pub payload: Json,
    /// What came of it.
    pub result: Option<Json>,
    /// The keys of the tasks it waits for.
    pub depends_on: Vec<TaskKey>,
    /// Who holds it.
    pub worker: Option<String>,
    /// When it was last taken by a worker.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A task that failed, timed out or is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its place in the list; ascending by time.
    pub position: i64,
    /// The task.
    pub record: TaskRecord,
    /// What its workflow is called.
    pub workflow_name: String,
}

/// Which workflows are wanted; nothing is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkflowFilter {
    /// In one of these states.
    pub statuses: Vec<WorkflowStatus>,
    /// With exactly this name.
    pub name: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Started by this task.
    pub parent: Option<TaskId>,
}

/// Workflows as people look at them; each method reads one state of the store.
#[async_trait]
pub trait WorkflowView: Send + Sync {
    /// The workflow, or `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, workflow: WorkflowId) -> Result<Option<WorkflowRecord>, StoreError>;

    /// Workflows, newest first; each item comes with its position.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(
        &self,
        filter: &WorkflowFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, WorkflowRecord)>, StoreError>;

    /// The tasks of a workflow by number, compensations last; a page's position is the number plus one.
    /// `None` if there is no such workflow.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn tasks(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskRecord>>, StoreError>;

    /// The task, or `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// What happened to a workflow, oldest first; each event with its number, from 1 and without
    /// gaps, which is the position of a page. `None` if there is no such workflow.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn history(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> Result<Option<Page<(i64, WorkflowEvent)>>, StoreError>;

    /// Tasks that failed, timed out or are unknown, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        page: PageRequest,
    ) -> Result<Page<DeadLetter>, StoreError>;
}
