//! The service put together from its ports.

use std::fmt;
use std::sync::Arc;

use drover_domain::haproxy::action;
use drover_domain::rollout::definition;
use drover_domain::webhook;
use drover_domain::workflow::Kind;
use drover_ports::{
    ActionView, CatalogRegistry, FleetView, GroupRegistry, HaproxyMappings, HaproxyView,
    OrchestratorStore, RolloutView, ServerRegistry, StoreHealth, TaskHandler, WorkflowView,
};

use crate::access::Access;
use crate::background::Background;
use crate::fleet::polling::Polling;
use crate::fleet::{Fleet, Servers, Settings};
use crate::haproxy::actions::ActionHandler;
use crate::haproxy::{Actions, Mappings};
use crate::policy::Policy;
use crate::ports::Ports;
use crate::rollout::{Orchestrators, RolloutHandler, Rollouts};
use crate::webhook::{DeliveryHandler, Webhooks};
use crate::workflow::{Definitions, EventFeed, Queues, RemoteWorkers, Schedules, Workflows};

/// What people may look at, straight from the stores.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the view its type names")]
pub struct Views {
    pub fleet: Arc<dyn FleetView>,
    pub servers: Arc<dyn ServerRegistry>,
    pub groups: Arc<dyn GroupRegistry>,
    pub catalog: Arc<dyn CatalogRegistry>,
    pub haproxy: Arc<dyn HaproxyView>,
    pub mappings: Arc<dyn HaproxyMappings>,
    pub actions: Arc<dyn ActionView>,
    pub rollouts: Arc<dyn RolloutView>,
    pub orchestrators: Arc<dyn OrchestratorStore>,
    pub health: Arc<dyn StoreHealth>,
    pub workflows: Arc<dyn WorkflowView>,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Views")
    }
}

/// What can be asked of Drover.
#[derive(Debug, Clone)]
pub struct Service {
    /// Who is asking.
    pub access: Access,
    /// Adding and refreshing servers.
    pub servers: Servers,
    /// Looking at applications with what holds for them.
    pub fleet: Fleet,
    /// Saying what holds for applications, groups and catalog entries.
    pub settings: Settings,
    /// Starting updates.
    pub rollouts: Rollouts,
    /// Setting servers in HAProxy to a state.
    pub actions: Actions,
    /// Saying which application stands behind a server in HAProxy.
    pub mappings: Mappings,
    /// Telling other systems what happened.
    pub webhooks: Webhooks,
    /// Finding orchestrator playbooks.
    pub orchestrators: Orchestrators,
    /// Starting and steering workflows.
    pub workflows: Workflows,
    /// Keeping definitions of workflows.
    pub definitions: Definitions,
    /// Starting definitions again and again.
    pub schedules: Schedules,
    /// Looking at queues and holding them back.
    pub queues: Queues,
    /// Working off queues from outside.
    pub remote_workers: RemoteWorkers,
    /// Following what happens to workflows.
    pub events: EventFeed,
    /// Looking.
    pub views: Views,
    /// How it behaves.
    pub policy: Arc<Policy>,
    background: Arc<Background>,
    rolling_out: RolloutHandler,
    acting: ActionHandler,
    delivering: DeliveryHandler,
}

impl Service {
    /// The service over these ports.
    #[must_use]
    pub fn new(ports: Ports, policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let polling = Polling::new(ports.clone(), Arc::clone(&policy));
        let rollouts = Rollouts::new(ports.clone(), Arc::clone(&policy));
        let rolling_out = RolloutHandler::new(ports.clone(), Arc::clone(&policy), polling.clone());
        let actions = Actions::new(ports.clone(), Arc::clone(&policy), polling.clone());
        let mappings = Mappings::new(ports.clone(), Arc::clone(&policy));
        let acting = ActionHandler::new(ports.clone(), Arc::clone(&policy));
        let webhooks = Webhooks::new(&ports);
        let delivering = DeliveryHandler::new(&ports);
        let background = Arc::new(Background::new(&ports, polling.clone(), actions.clone()));
        let engine = &ports.engine;
        let (clock, ids, kinds) = (&ports.clock, &ports.ids, &policy.kinds);
        Self {
            workflows: Workflows::new(engine, Arc::clone(ids), kinds.clone()),
            definitions: Definitions::new(engine, Arc::clone(clock), kinds.clone()),
            schedules: Schedules::new(engine, Arc::clone(clock)),
            queues: Queues::new(engine),
            remote_workers: RemoteWorkers::new(engine, Arc::clone(ids)),
            events: EventFeed::new(engine),
            fleet: Fleet::new(&ports, Arc::clone(&policy)),
            settings: Settings::new(&ports, &policy),
            access: Access::new(Arc::clone(&ports.keys), Arc::clone(clock)),
            servers: Servers::new(&ports, polling.clone()),
            rollouts,
            actions,
            mappings,
            webhooks,
            orchestrators: Orchestrators::new(&ports),
            views: Views {
                fleet: ports.fleet,
                servers: ports.servers,
                groups: ports.groups,
                catalog: ports.catalog,
                haproxy: ports.haproxy_view,
                mappings: ports.mappings,
                actions: ports.action_view,
                rollouts: ports.rollout_view,
                orchestrators: ports.orchestrators,
                health: ports.health,
                workflows: ports.engine.view,
            },
            policy,
            background,
            rolling_out,
            acting,
            delivering,
        }
    }

    /// What goes on by itself besides the [`Engine`](crate::Engine); run it once per process.
    #[must_use]
    pub fn background(&self) -> Background {
        Background::clone(&self.background)
    }

    /// What does updates, for the [`Handlers`](crate::Handlers) of an engine that takes from the queue
    /// [`definition::queue`].
    #[must_use]
    pub fn rollout_handler(&self) -> (Kind, Arc<dyn TaskHandler>) {
        (definition::kind(), Arc::new(self.rolling_out.clone()))
    }

    /// What sends messages to webhooks, for the [`Handlers`](crate::Handlers) of an engine that takes from the queue
    /// [`webhook::delivery_queue`].
    #[must_use]
    pub fn delivery_handler(&self) -> (Kind, Arc<dyn TaskHandler>) {
        (webhook::delivery_kind(), Arc::new(self.delivering.clone()))
    }

    /// What does actions on servers in HAProxy, for the [`Handlers`](crate::Handlers) of an engine that takes from the
    /// queue [`action::action_queue`].
    #[must_use]
    pub fn action_handler(&self) -> (Kind, Arc<dyn TaskHandler>) {
        (action::action_kind(), Arc::new(self.acting.clone()))
    }
}
