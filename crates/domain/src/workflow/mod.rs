//! Long work: the states of tasks and workflows, and when a retry is due.

mod retry;
mod status;

pub use retry::{RetryPolicy, RetryPolicyError, RetryStrategy};
pub use status::{IllegalMove, TaskStatus, WorkflowStatus};
