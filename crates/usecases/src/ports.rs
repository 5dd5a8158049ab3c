//! Everything the service needs from outside, put together once.

use std::fmt;
use std::sync::Arc;

use drover_ports::{
    AccessKeys, ActionView, AgentGateway, ApplicationRegistry, ArtifactProbe, CatalogRegistry,
    Clock, DefinitionStore, EventLog, FleetSnapshots, FleetView, GroupRegistry, HaproxyActions,
    HaproxyMappings, HaproxyStore, HaproxyView, HistoryUpkeep, IdSource, InventoryStore,
    OrchestratorStore, PlaybookRunner, QueueStore, RolloutStore, RolloutView, ScheduleStore,
    ServerRegistry, StoreHealth, TaskQueue, WakeUps, WebhookSender, WebhookStore, WorkflowStore,
    WorkflowUpkeep, WorkflowView,
};

use crate::workflow::EnginePorts;

/// Everything the service needs from outside.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port its type names")]
pub struct Ports {
    pub servers: Arc<dyn ServerRegistry>,
    pub applications: Arc<dyn ApplicationRegistry>,
    pub groups: Arc<dyn GroupRegistry>,
    pub catalog: Arc<dyn CatalogRegistry>,
    pub inventory: Arc<dyn InventoryStore>,
    pub fleet: Arc<dyn FleetView>,
    pub snapshots: Arc<dyn FleetSnapshots>,
    pub haproxy: Arc<dyn HaproxyStore>,
    pub haproxy_view: Arc<dyn HaproxyView>,
    pub mappings: Arc<dyn HaproxyMappings>,
    pub actions: Arc<dyn HaproxyActions>,
    pub action_view: Arc<dyn ActionView>,
    pub rollouts: Arc<dyn RolloutStore>,
    pub rollout_view: Arc<dyn RolloutView>,
    pub orchestrators: Arc<dyn OrchestratorStore>,
    pub history: Arc<dyn HistoryUpkeep>,
    pub webhooks: Arc<dyn WebhookStore>,
    pub webhook_sender: Arc<dyn WebhookSender>,
    pub keys: Arc<dyn AccessKeys>,
    pub health: Arc<dyn StoreHealth>,
    pub agents: Arc<dyn AgentGateway>,
    pub runner: Arc<dyn PlaybookRunner>,
    pub artifacts: Arc<dyn ArtifactProbe>,
    pub engine: EnginePorts,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}

impl Ports {
    /// Ports over one store that serves all of its ports.
    #[must_use]
    pub fn over<S, R>(
        store: Arc<S>,
        agents: Arc<dyn AgentGateway>,
        runner: Arc<R>,
        webhook_sender: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self
    where
        R: PlaybookRunner + ArtifactProbe + 'static,
        S: ServerRegistry
            + ApplicationRegistry
            + GroupRegistry
            + CatalogRegistry
            + InventoryStore
            + FleetView
            + FleetSnapshots
            + HaproxyStore
            + HaproxyView
            + HaproxyMappings
            + HaproxyActions
            + ActionView
            + RolloutStore
            + RolloutView
            + OrchestratorStore
            + HistoryUpkeep
            + WebhookStore
            + AccessKeys
            + StoreHealth
            + WorkflowStore
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
            servers: Arc::<S>::clone(&store),
            applications: Arc::<S>::clone(&store),
            groups: Arc::<S>::clone(&store),
            catalog: Arc::<S>::clone(&store),
            inventory: Arc::<S>::clone(&store),
            fleet: Arc::<S>::clone(&store),
            snapshots: Arc::<S>::clone(&store),
            haproxy: Arc::<S>::clone(&store),
            haproxy_view: Arc::<S>::clone(&store),
            mappings: Arc::<S>::clone(&store),
            actions: Arc::<S>::clone(&store),
            action_view: Arc::<S>::clone(&store),
            rollouts: Arc::<S>::clone(&store),
            rollout_view: Arc::<S>::clone(&store),
            orchestrators: Arc::<S>::clone(&store),
            history: Arc::<S>::clone(&store),
            webhooks: Arc::<S>::clone(&store),
            webhook_sender,
            keys: Arc::<S>::clone(&store),
            engine: EnginePorts::over(&store),
            health: store,
            agents,
            artifacts: Arc::<R>::clone(&runner),
            runner,
            clock,
            ids,
        }
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}
