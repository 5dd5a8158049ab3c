//! What a handler gets, and how it says that it did not succeed.

use std::fmt;
use std::sync::Arc;

use drover_domain::page::PageRequest;
use drover_domain::workflow::{TaskId, TaskStatus};
use drover_usecases::WorkflowView;
use serde::de::DeserializeOwned;

/// One attempt at a task, in a handler's hands.
pub struct Attempt<I> {
    /// What the task is given.
    pub input: I,
    pub(super) task: TaskId,
    pub(super) number: u32,
    pub(super) view: Arc<dyn WorkflowView>,
}

impl<I> Attempt<I> {
    /// Which attempt it is, from 1. It is higher after a failure, and after the process died in the middle.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The same for every attempt at this task, and for no other task: an idempotency key for the called
    /// system.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.task.to_string()
    }

    /// The result of another task of the same workflow; one that this task waits for has it.
    ///
    /// # Errors
    ///
    /// A [`Failure`] with the code `no_result` when there is none of this shape, which no repetition helps;
    /// `store` when the database does not answer.
    pub async fn result_of<R: DeserializeOwned>(&self, key: &str) -> Result<R, Failure>
    where
        I: Sync,
    {
        let mut page = PageRequest::first();
        loop {
            let found = self.view.tasks(self.task.workflow(), page).await;
            let found = found.map_err(|error| Failure::new("store", error.to_string()))?;
            let Some(found) = found else {
                return Err(no_result(key, "the workflow is gone"));
            };
            if let Some(record) = found
                .items
                .into_iter()
                .find(|record| record.task.key.as_str() == key)
            {
                let status = record.task.status;
                let result = record.result.filter(|_| status == TaskStatus::Succeeded);
                let result =
                    result.ok_or_else(|| no_result(key, &format!("it is {}", status.as_str())))?;
                return serde_json::from_str(result.as_str())
                    .map_err(|error| no_result(key, &error.to_string()));
            }
            page.after = found.next;
            if page.after.is_none() {
                return Err(no_result(key, "there is no such task"));
            }
        }
    }
}

fn no_result(key: &str, why: &str) -> Failure {
    let message = format!("the task `{key}` has no result that can be used: {why}");
    Failure::new("no_result", message).for_good()
}

impl<I: fmt::Debug> fmt::Debug for Attempt<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("input", &self.input)
            .field("task", &self.task)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Why an attempt did not succeed. Every error becomes one, with the code `failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) is_retryable: bool,
}

impl Failure {
    /// A failure after which another attempt may help; how many there are is up to the task.
    ///
    /// * `code` — a stable word of at most 64 characters.
    /// * `message` — a sentence without secrets; it is shown to people.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            is_retryable: true,
        }
    }

    /// The same failure, after which no attempt helps.
    #[must_use]
    pub fn for_good(self) -> Self {
        Self {
            is_retryable: false,
            ..self
        }
    }
}

// `Failure` is no error itself, so that every error can become one by `?`.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(current) = cause {
            message = format!("{message}: {current}");
            cause = current.source();
        }
        Self::new("failed", message)
    }
}
