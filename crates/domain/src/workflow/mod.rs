//! Long work: definitions, runs and their steps, queues, schedules.
//!
//! Start reading at [`Definition`] (what a workflow consists of) and [`run`] (what happens to it).

mod definition;
mod event;
mod graph;
mod guarantee;
mod ids;
mod json;
pub mod mutant;
mod name;
mod policy;
pub mod queue;
mod retry;
pub mod run;
mod schedule;
mod status;
mod watch;

pub use definition::{
    Action, CONCURRENCY_KEYS_MAX, DEPTH_MAX, Definition, DefinitionError, Dependency,
    ExecutionMode, Executor, PRIORITY_RANGE, TASKS_MAX, TaskSpec, Work,
};
pub use event::{
    DETAIL_MAX, EventKind, EventPosition, NewWorkflowEvent, ParsePositionError, WorkflowEvent,
};
pub use graph::Graph;
pub use guarantee::{Guarantee, Takeover};
pub use ids::{LeaseId, LeaseMark, TaskId, TaskMark, TaskNo, WorkflowId, WorkflowMark};
pub use json::{Json, JsonTooLarge};
pub use name::{DefinitionName, Kind, QueueName, SignalName, TaskKey, check_concurrency_key};
pub use policy::{TaskPolicy, TaskPolicyError};
pub use retry::{RetryPolicy, RetryPolicyError, RetryStrategy};
pub use schedule::{Cron, CronError, MissedRuns, Schedule, ScheduleName};
pub use status::{IllegalMove, TaskStatus, WorkflowStatus};
pub use watch::{ClockLeap, ClockWatch};
