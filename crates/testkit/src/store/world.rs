//! A store under test, and a side door into it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::fleet::{ApplicationKey, CatalogKey, GroupKey, SettingsLayer};
use drover_domain::haproxy::HaproxyServerKey;
use drover_ports::{
    AccessKeys, ActionView, ApplicationRegistry, CatalogRegistry, FleetSnapshots, FleetView,
    GroupRegistry, HaproxyActions, HaproxyMappings, HaproxyStore, HaproxyView, HistoryUpkeep,
    InventoryStore, OrchestratorStore, RolloutStore, RolloutView, ServerRegistry, StoreHealth,
    TaskQueue, WebhookStore, WorkflowStore, WorkflowUpkeep,
};

/// Everything that serves every store port.
pub trait AnyStore:
    ServerRegistry
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
    + OrchestratorStore
    + RolloutStore
    + RolloutView
    + HistoryUpkeep
    + WebhookStore
    + AccessKeys
    + StoreHealth
    + WorkflowStore
    + TaskQueue
    + WorkflowUpkeep
{
}

impl<S> AnyStore for S where
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
        + OrchestratorStore
        + RolloutStore
        + RolloutView
        + HistoryUpkeep
        + WebhookStore
        + AccessKeys
        + StoreHealth
        + WorkflowStore
        + TaskQueue
        + WorkflowUpkeep
{
}

/// Changes and shows what no port does, behind the store's back.
#[async_trait]
pub trait SideDoor: Send + Sync {
    /// Gives an application settings of its own.
    async fn set_application_settings(&self, application: ApplicationKey, settings: SettingsLayer);

    /// Gives a group settings and a word for how its applications are grouped into rollouts.
    async fn set_group_settings(&self, group: GroupKey, settings: SettingsLayer, grouping: &str);

    /// Gives a catalog entry settings.
    async fn set_catalog_settings(&self, catalog: CatalogKey, settings: SettingsLayer);

    /// Takes the catalog entry away from a group.
    async fn detach_group(&self, group: GroupKey);

    /// Adds a server with this name although another has its short name, as it was possible once.
    async fn add_server_unchecked(&self, name: &str);

    /// Makes an orchestrator playbook inactive.
    async fn retire_orchestrator(&self, file_path: &str);

    /// The status history of HAProxy servers: the server, its status before and after; oldest first.
    async fn status_history(&self) -> Vec<(HaproxyServerKey, String, String)>;

    /// Why each row of the status history was written, `sync` or `command`; oldest first.
    async fn status_reasons(&self) -> Vec<String>;

    /// The history of mappings: the server, the application and `created`, `updated`, `activated` or
    /// `deactivated`; oldest first.
    async fn mapping_history(&self) -> Vec<(HaproxyServerKey, ApplicationKey, String)>;

    /// Takes the database away for good.
    async fn cut(&self);
}

/// A store under test, and a side door into it.
#[derive(Clone)]
pub struct World {
    store: Arc<dyn AnyStore>,
    side_door: Arc<dyn SideDoor>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// The world of `store`; whatever keeps its database alive belongs into `side_door`.
    pub fn new(store: impl AnyStore + 'static, side_door: impl SideDoor + 'static) -> Self {
        Self {
            store: Arc::new(store),
            side_door: Arc::new(side_door),
        }
    }

    /// The side door.
    #[must_use]
    pub fn side_door(&self) -> &dyn SideDoor {
        &*self.side_door
    }

    /// The port.
    #[must_use]
    pub fn servers(&self) -> &dyn ServerRegistry {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn applications(&self) -> &dyn ApplicationRegistry {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn groups(&self) -> &dyn GroupRegistry {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn catalog(&self) -> &dyn CatalogRegistry {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn inventory(&self) -> &dyn InventoryStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn fleet(&self) -> &dyn FleetView {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn snapshots(&self) -> &dyn FleetSnapshots {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn haproxy(&self) -> &dyn HaproxyStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn haproxy_view(&self) -> &dyn HaproxyView {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn mappings(&self) -> &dyn HaproxyMappings {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn actions(&self) -> &dyn HaproxyActions {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn action_view(&self) -> &dyn ActionView {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn orchestrators(&self) -> &dyn OrchestratorStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn rollouts(&self) -> &dyn RolloutStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn rollout_view(&self) -> &dyn RolloutView {
        &*self.store
    }

    /// The engine's port: calls updates and actions off.
    #[must_use]
    pub fn workflows(&self) -> &dyn WorkflowStore {
        &*self.store
    }

    /// The engine's port: gives rollouts and actions out.
    #[must_use]
    pub fn queue(&self) -> &dyn TaskQueue {
        &*self.store
    }

    /// The engine's port: removes ended updates and actions.
    #[must_use]
    pub fn upkeep(&self) -> &dyn WorkflowUpkeep {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn history(&self) -> &dyn HistoryUpkeep {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn webhooks(&self) -> &dyn WebhookStore {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn keys(&self) -> &dyn AccessKeys {
        &*self.store
    }

    /// The port.
    #[must_use]
    pub fn health(&self) -> &dyn StoreHealth {
        &*self.store
    }
}
