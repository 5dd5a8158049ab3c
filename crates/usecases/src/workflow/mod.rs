//! Workflows: starting and steering them, what is kept around them, and the engine that drives them.

mod definitions;
pub(crate) mod engine;
mod events;
mod kinds;
mod order;
mod own;
mod ports;
mod queues;
mod remote;
mod schedules;
mod start;
mod steer;

pub use definitions::{DefineError, Defined, Definitions};
pub use engine::{
    Engine, EngineOptions, EngineOptionsError, EngineStats, Handlers, KindTaken, LastError,
    QueueOptions,
};
pub use events::EventFeed;
pub use kinds::{KindSpec, Kinds, PayloadCheck, PayloadProblem, Performer};
pub use order::{KindList, OrderError, OrderPlace, TaskOrder, WorkOrder};
pub(crate) use own::reserved_queue;
pub use ports::EnginePorts;
pub use queues::Queues;
pub use remote::{ClaimOrder, Claimed, RemoteWorkers};
pub use schedules::{ScheduleError, ScheduleOrder, Schedules};
pub use start::{StartError, StartWhen, WorkflowDetail, WorkflowOrder, WorkflowSource, Workflows};
pub use steer::Redriven;
