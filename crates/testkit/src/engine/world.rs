//! A store of the durable engine under test, and a side door into it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::WorkflowId;
use drover_ports::{
    DefinitionStore, EventLog, QueueStore, ScheduleStore, TaskQueue, WakeUps, WorkflowStore,
    WorkflowUpkeep, WorkflowView,
};

/// Everything that serves every port of the engine.
pub trait AnyEngineStore:
    WorkflowStore
    + TaskQueue
    + WorkflowUpkeep
    + WorkflowView
    + EventLog
    + WakeUps
    + DefinitionStore
    + QueueStore
    + ScheduleStore
{
}

impl<S> AnyEngineStore for S where
    S: WorkflowStore
        + TaskQueue
        + WorkflowUpkeep
        + WorkflowView
        + EventLog
        + WakeUps
        + DefinitionStore
        + QueueStore
        + ScheduleStore
{
}

/// Changes what no port does, behind the store's back.
#[async_trait]
pub trait EngineSideDoor: Send + Sync {
    /// Moves every moment that the workflow's run asked to be woken at into the past.
    async fn make_due(&self, workflow: WorkflowId);

    /// Moves the end of an ended workflow into the past, by `by`.
    async fn end_earlier(&self, workflow: WorkflowId, by: Duration);

    /// Keeps the first `count` signals that the workflow keeps once more, behind all others.
    async fn copy_signals(&self, workflow: WorkflowId, count: usize);

    /// Begins a transaction that writes one event about the workflow, `signal_received` without a
    /// task and a detail, and stays open. A store that takes one writer at a time begins nothing.
    async fn begin_event(&self, workflow: WorkflowId);

    /// Commits that transaction. A store that began none writes the event now.
    async fn commit_event(&self);

    /// Takes the database away for good.
    async fn cut(&self);
}

/// A store of the durable engine under test, and a side door into it. Clones share it.
#[derive(Clone)]
pub struct EngineWorld {
    store: Arc<dyn AnyEngineStore>,
    side_door: Arc<dyn EngineSideDoor>,
}

impl fmt::Debug for EngineWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineWorld").finish_non_exhaustive()
    }
}

impl EngineWorld {
    /// The world of `store`; whatever keeps its database alive belongs into `side_door`.
    pub fn new(
        store: impl AnyEngineStore + 'static,
        side_door: impl EngineSideDoor + 'static,
    ) -> Self {
        Self {
            store: Arc::new(store),
            side_door: Arc::new(side_door),
        }
    }

    /// The side door.
    #[must_use]
    pub fn side_door(&self) -> &dyn EngineSideDoor {
        &*self.side_door
    }

    /// The port.
    #[must_use]
    pub fn workflows(&self) -> &dyn WorkflowStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn tasks(&self) -> &dyn TaskQueue {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn upkeep(&self) -> &dyn WorkflowUpkeep {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn view(&self) -> &dyn WorkflowView {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn events(&self) -> &dyn EventLog {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn wake_ups(&self) -> &dyn WakeUps {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn definitions(&self) -> &dyn DefinitionStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn queues(&self) -> &dyn QueueStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn schedules(&self) -> &dyn ScheduleStore {
        &*self.store
    }
}
