//! How a workflow ended.

use drover_domain::page::PageRequest;
use drover_domain::workflow::{TaskStatus, WorkflowStatus};
use drover_usecases::{TaskRecord, WorkflowRecord, WorkflowView};
use serde::de::DeserializeOwned;

use super::EmbeddedError;

/// How a workflow ended, with what came of its tasks.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Where it stands.
    pub status: WorkflowStatus,
    /// Why it did not succeed.
    pub error: Option<String>,
    tasks: Vec<TaskRecord>,
}

impl Ended {
    pub(super) async fn read(
        record: WorkflowRecord,
        view: &dyn WorkflowView,
    ) -> Result<Self, EmbeddedError> {
        let id = record.head.id;
        let mut tasks = Vec::new();
        let mut page = PageRequest::first();
        loop {
            let found = view.tasks(id, page).await?;
            let found = found.ok_or(EmbeddedError::NoSuchWorkflow { id })?;
            tasks.extend(found.items);
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        Ok(Self {
            status: record.head.status,
            error: record.head.error,
            tasks,
        })
    }

    /// Where its tasks stand, in their author's order, and then what undid them: key, state and, if it did
    /// not succeed, the code and the message of its error.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, TaskStatus, Option<(&str, &str)>)> {
        self.tasks.iter().map(|record| {
            let task = &record.task;
            let error = task.error.as_ref();
            let error = error.map(|error| (error.code.as_str(), error.message.as_str()));
            (task.key.as_str(), task.status, error)
        })
    }

    /// What came of a task.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Result`] when it has not succeeded, or its result has another shape.
    pub fn result<R: DeserializeOwned>(&self, key: &str) -> Result<R, EmbeddedError> {
        let unusable = |reason: String| EmbeddedError::Result {
            key: key.to_owned(),
            reason,
        };
        let found = self
            .tasks
            .iter()
            .find(|record| record.task.key.as_str() == key);
        let record = found.ok_or_else(|| unusable("there is no such task".to_owned()))?;
        let status = record.task.status;
        let result = record
            .result
            .as_ref()
            .filter(|_| status == TaskStatus::Succeeded);
        let result = result.ok_or_else(|| unusable(format!("it is {}", status.as_str())))?;
        serde_json::from_str(result.as_str()).map_err(|error| unusable(error.to_string()))
    }
}
