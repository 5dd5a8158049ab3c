//! Workflows in memory, as people look at them.

use async_trait::async_trait;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::{TaskId, TaskNo, WorkflowEvent, WorkflowId};
use drover_ports::{
    DeadLetter, DeadLetterFilter, StoreError, TaskRecord, WorkflowFilter, WorkflowRecord,
    WorkflowView,
};

use super::Engine;
use super::stored::StoredWorkflow;
use crate::store::memory::{MemoryStore, ascending, descending};

impl Engine {
    fn task_record(&self, task: TaskId) -> Option<TaskRecord> {
        self.workflows.get(&task.workflow())?.view_task(task.no()?)
    }

    /// The dead letters that `filter` wants, in no order, with their places.
    pub(super) fn dead_letters(&self, filter: &DeadLetterFilter) -> Vec<(i64, TaskId)> {
        self.workflows
            .values()
            .flat_map(|stored| {
                stored
                    .run
                    .tasks
                    .keys()
                    .filter_map(|no| dead_letter(stored, *no, filter))
            })
            .collect()
    }
}

fn dead_letter(
    stored: &StoredWorkflow,
    no: TaskNo,
    filter: &DeadLetterFilter,
) -> Option<(i64, TaskId)> {
    let (state, row) = (stored.run.tasks.get(&no)?, stored.row(no)?);
    let (position, task) = (row.dead?, stored.id().task(no));
    let code = state.error.as_ref().map(|error| error.code.as_str());
    let is_meant = filter.task.is_none_or(|wanted| wanted == task)
        && filter
            .workflow
            .is_none_or(|wanted| wanted == task.workflow())
        && filter
            .queue
            .as_ref()
            .is_none_or(|wanted| *wanted == state.queue)
        && filter
            .kind
            .as_ref()
            .is_none_or(|wanted| *wanted == row.kind)
        && filter
            .code
            .as_deref()
            .is_none_or(|wanted| Some(wanted) == code)
        && !filter.without.contains(&row.kind);
    is_meant.then_some((position, task))
}

fn is_wanted(stored: &StoredWorkflow, filter: &WorkflowFilter) -> bool {
    let head = stored.head();
    (filter.statuses.is_empty() || filter.statuses.contains(&head.status))
        && filter
            .name
            .as_deref()
            .is_none_or(|wanted| wanted == stored.name())
        && stored.has_labels(&filter.labels)
        && filter
            .parent
            .is_none_or(|wanted| head.parent == Some(wanted))
}

#[async_trait]
impl WorkflowView for MemoryStore {
    async fn find(&self, workflow: WorkflowId) -> Result<Option<WorkflowRecord>, StoreError> {
        let engine = &self.state("find a workflow")?.engine;
        Ok(engine.workflows.get(&workflow).map(StoredWorkflow::view))
    }

    async fn list(
        &self,
        filter: &WorkflowFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, WorkflowRecord)>, StoreError> {
        let engine = &self.state("list workflows")?.engine;
        let mut wanted: Vec<&StoredWorkflow> = engine
            .workflows
            .values()
            .filter(|stored| is_wanted(stored, filter))
            .collect();
        wanted.sort_by_key(|stored| stored.position);
        let records = wanted
            .into_iter()
            .map(|stored| (stored.position, stored.view()));
        Ok(descending(records, page))
    }

    async fn tasks(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskRecord>>, StoreError> {
        let engine = &self.state("list the tasks of a workflow")?.engine;
        let Some(stored) = engine.workflows.get(&workflow) else {
            return Ok(None);
        };
        let records = stored.run.tasks.keys().filter_map(|no| {
            let record = engine.task_record(workflow.task(*no))?;
            Some((i64::from(no.get()) + 1, record))
        });
        Ok(Some(ascending(records, page).map(|(_, record)| record)))
    }

    async fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.state("find a task")?.engine.task_record(task))
    }

    async fn history(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> Result<Option<Page<(i64, WorkflowEvent)>>, StoreError> {
        let engine = &self.state("list what happened to a workflow")?.engine;
        if !engine.workflows.contains_key(&workflow) {
            return Ok(None);
        }
        let told = engine.events.values().map(|(event, _)| event);
        let told = told.filter(|event| event.workflow == workflow).cloned();
        Ok(Some(ascending((1..).zip(told), page)))
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        page: PageRequest,
    ) -> Result<Page<DeadLetter>, StoreError> {
        let engine = &self.state("list dead letters")?.engine;
        let mut dead = engine.dead_letters(filter);
        dead.sort_unstable();
        let letters = dead.into_iter().filter_map(|(position, task)| {
            let letter = DeadLetter {
                position,
                record: engine.task_record(task)?,
                workflow_name: engine.workflows.get(&task.workflow())?.name().to_owned(),
            };
            Some((position, letter))
        });
        let letters: Vec<_> = letters.collect();
        Ok(descending(letters.into_iter(), page).map(|(_, letter)| letter))
    }
}
