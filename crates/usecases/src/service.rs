//! The service put together from its ports.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::fleet::inventory::PollPolicy;
use drover_domain::haproxy::{BreakerPolicy, action};
use drover_domain::rollout::definition;
use drover_domain::webhook;
use drover_domain::workflow::Kind;
use drover_ports::{
    AccessKeys, ActionView, AgentGateway, ApplicationRegistry, ArtifactProbe, CatalogRegistry,
    Clock, DefinitionStore, EventLog, FleetSnapshots, FleetView, GroupRegistry, HaproxyActions,
    HaproxyMappings, HaproxyStore, HaproxyView, HistoryUpkeep, IdSource, InventoryStore,
    OrchestratorStore, PlaybookRunner, QueueStore, RolloutStore, RolloutView, ScheduleStore,
    ServerRegistry, StoreHealth, TaskHandler, TaskQueue, WakeUps, WebhookSender, WebhookStore,
    WorkflowStore, WorkflowUpkeep, WorkflowView,
};

use crate::actions::ActionHandler;
use crate::background::Background;
use crate::polling::Polling;
use crate::retention::HistoryAges;
use crate::rollout::RolloutHandler;
use crate::webhooks::{DeliveryHandler, Webhooks};
use crate::{
    Access, Actions, Definitions, EnginePorts, EventFeed, Fleet, Kinds, Mappings, Orchestrators,
    Queues, RemoteWorkers, Rollouts, Schedules, Servers, Settings, Workflows,
};

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

/// How the service behaves where there is a choice.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The update playbook with its parameters where no setting names one.
    pub default_playbook: String,
    /// The orchestrator playbook where a request names none.
    pub default_orchestrator: String,
    /// The playbook folder of the control host.
    pub playbook_folder: String,
    /// The name of this node: nodes poll the same server at different moments.
    pub node: String,
    /// How long records of what happened are kept.
    pub history: HistoryAges,
    /// How polls are judged.
    pub poll: PollPolicy,
    /// How often each server is polled.
    pub polling_interval: Duration,
    /// How often each HAProxy is synced.
    pub sync_interval: Duration,
    /// How many agents are asked at once, by polls and by syncs each.
    pub poll_concurrency: usize,
    /// How many servers of a backend must go on taking requests when one is taken out.
    pub min_ready: u32,
    /// When an HAProxy whose agent does not answer is left alone, and for how long.
    pub breaker: BreakerPolicy,
    /// How long one look at a running play waits for something new.
    pub follow_wait: Duration,
    /// How long the control host may be silent about a play that runs: longer than plays run. Then what became of the play is
    /// unknown.
    pub lost_after: Duration,
    /// Which kinds of tasks there are.
    pub kinds: Kinds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_playbook: "update-app.yml {server} {app} {distr_url} {mode}".to_owned(),
            default_orchestrator: "orchestrator-even-odd.yml".to_owned(),
            playbook_folder: "/etc/drover/ansible".to_owned(),
            node: String::new(),
            history: HistoryAges::default(),
            poll: PollPolicy::default(),
            polling_interval: Duration::from_mins(1),
            sync_interval: Duration::from_mins(1),
            poll_concurrency: 64,
            min_ready: 1,
            breaker: BreakerPolicy::default(),
            follow_wait: Duration::from_secs(2),
            lost_after: Duration::from_hours(6),
            kinds: Kinds::default(),
        }
    }
}

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
