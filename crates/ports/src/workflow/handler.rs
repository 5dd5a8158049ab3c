//! What executes tasks.

use async_trait::async_trait;
use drover_domain::workflow::Guarantee;
use drover_domain::workflow::run::Outcome;

use super::queue::Assignment;

/// What the engine gives a handler besides the task.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Waits until the task must stop: its workflow is cancelled, its lease is lost or the process
    /// ends. A handler that can stop early races its work against this and says
    /// [`Outcome::Cancelled`], or [`Outcome::Released`] when it has done nothing or its effect can be
    /// taken up by another worker. Dropped handlers are stopped in any case.
    async fn stopped(&self) -> StopReason;
}

/// Why a task must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its workflow is called off.
    Cancelled,
    /// The process ends; another one will go on.
    HandOver,
}

/// A task in a handler's hands.
#[derive(Clone, Copy)]
pub struct Assigned<'a> {
    /// The task.
    pub task: &'a Assignment,
    /// The engine.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Assigned<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assigned")
            .field("task", self.task)
            .finish_non_exhaustive()
    }
}

/// Executes the tasks of one kind.
///
/// * It may be called again for the same task after a crash, with a higher attempt and the same
///   [`Assignment::idempotency_key`]; what it does then is what its guarantee class says.
/// * Its future is dropped when the attempt's timeout has passed, when the lease is lost, or at the end of
///   the process.
/// * A panic ends the attempt as failed with the code `panicked`; the worker lives on.
#[async_trait]
pub trait TaskHandler: Send + Sync {
    /// What it promises about its effect.
    fn guarantee(&self) -> Guarantee;

    /// Executes one attempt and says how it ended.
    async fn run(&self, assigned: Assigned<'_>) -> Outcome;
}
