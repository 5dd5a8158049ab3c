//! What the durable engine needs from outside.

use std::fmt;
use std::sync::Arc;

use drover_ports::{
    DefinitionStore, EventLog, QueueStore, ScheduleStore, TaskQueue, WakeUps, WorkflowStore,
    WorkflowUpkeep, WorkflowView,
};

/// What the durable engine needs from outside: one store, seen from its sides.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port its type names")]
pub struct EnginePorts {
    pub workflows: Arc<dyn WorkflowStore>,
    pub tasks: Arc<dyn TaskQueue>,
    pub upkeep: Arc<dyn WorkflowUpkeep>,
    pub view: Arc<dyn WorkflowView>,
    pub events: Arc<dyn EventLog>,
    pub wake_ups: Arc<dyn WakeUps>,
    pub definitions: Arc<dyn DefinitionStore>,
    pub queues: Arc<dyn QueueStore>,
    pub schedules: Arc<dyn ScheduleStore>,
}

impl EnginePorts {
    /// The ports over one store that serves all of them.
    #[must_use]
    pub fn over<S>(store: &Arc<S>) -> Self
    where
        S: WorkflowStore
            + TaskQueue
            + WorkflowUpkeep
            + WorkflowView
            + EventLog
            + WakeUps
            + DefinitionStore
            + QueueStore
            + ScheduleStore
            + 'static,
    {
        Self {
            workflows: Arc::<S>::clone(store),
            tasks: Arc::<S>::clone(store),
            upkeep: Arc::<S>::clone(store),
            view: Arc::<S>::clone(store),
            events: Arc::<S>::clone(store),
            wake_ups: Arc::<S>::clone(store),
            definitions: Arc::<S>::clone(store),
            queues: Arc::<S>::clone(store),
            schedules: Arc::<S>::clone(store),
        }
    }
}

impl fmt::Debug for EnginePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnginePorts")
    }
}
