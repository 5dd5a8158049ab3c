//! The log of all workflow events, and hints that new ones are there.

use async_trait::async_trait;
use drover_domain::workflow::{EventPosition, TaskKey, WorkflowEvent, WorkflowId};

use crate::StoreError;

/// Which events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Of this workflow only.
    pub workflow: Option<WorkflowId>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// Events in the order of their positions, each with the key of its task.
    pub events: Vec<(WorkflowEvent, Option<TaskKey>)>,
    /// Where the next page starts; the given position when nothing followed.
    pub next: EventPosition,
    /// Whether the given position is older than what retention has kept, so that events may be missing
    /// before these.
    pub gap: bool,
}

/// The log of all events in the order in which they became true for readers.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Events after `position`, at most about `limit` (a transaction's events of one workflow are not
    /// taken apart), and at least one if there is one. A reader that continues from [`EventPage::next`] sees
    /// every committed event exactly once and in order, however writers overlap.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn after(
        &self,
        position: EventPosition,
        filter: EventFilter,
        limit: u32,
    ) -> Result<EventPage, StoreError>;

    /// The position behind the last event there is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn end(&self) -> Result<EventPosition, StoreError>;
}

/// What one may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Tasks that wait for a worker.
    Work,
    /// Events.
    Events,
}

/// Hints that new work or new events may be there. A hint may come late, without cause or not at all, so
/// each reader also polls at an interval.
#[async_trait]
pub trait WakeUps: Send + Sync {
    /// The number of hints about `topic` so far.
    fn seen(&self, topic: Topic) -> u64;

    /// Waits until the number of hints is another one than `seen`, and returns it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing.
    async fn changed(&self, topic: Topic, seen: u64) -> u64;
}
