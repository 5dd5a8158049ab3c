//! The durable engine's needs: one store, seen by those who start, work, watch and keep house.

mod events;
mod handler;
mod queue;
mod registry;
mod runs;
mod upkeep;
mod view;

pub use events::{EventFilter, EventLog, EventPage, Topic, WakeUps};
pub use handler::{Assigned, Progress, StopReason, TaskHandler};
pub use queue::{Assignment, Beat, ClaimRequest, HeldAttempt, Report, ReportVerdict, TaskQueue};
pub use registry::{
    BrokenSchedule, DefinitionRecord, DefinitionStore, DueSchedules, ListedSchedule, QueueStats,
    QueueStore, ScheduleStore,
};
pub use runs::{DeadLetterFilter, DefinitionRef, NewWorkflow, StartedWorkflow, WorkflowStore};
pub use upkeep::{RetentionAges, Upkeep, WatchedClock, WorkflowUpkeep};
pub use view::{DeadLetter, TaskRecord, WorkflowFilter, WorkflowRecord, WorkflowView};
