//! One service over fakes, with a small fleet behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::fleet::{
    ApplicationKey, ApplicationKind, ApplicationStatus, NewServer, ObservedApplication, Server,
    VersionState,
};
use drover_domain::haproxy::action::action_queue;
use drover_domain::haproxy::{ObservedServer, ServerWord};
use drover_domain::page::PageRequest;
use drover_domain::rollout::definition;
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::job::JobEventKind;
use drover_domain::rollout::record::{
    ArtifactUrl, Origin, RolloutDetail, RolloutId, TargetOutcome, UpdateMode,
};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_domain::webhook::delivery_queue;
use drover_domain::workflow::WorkflowStatus;
use drover_domain::workflow::run::Control;
use drover_ports::{
    AgentAddress, FleetSnapshots, RolloutView, ServerRegistry, WorkflowStore, WorkflowView,
};
use drover_testkit::agent::{Agent, ScriptedAgents, Sight};
use drover_testkit::clock::{FixedClock, SequentialIds};
use drover_testkit::eventually::eventually;
use drover_testkit::runner::{Script, ScriptedRunner};
use drover_testkit::store::MemoryStore;
use drover_testkit::webhook::ScriptedReceivers;
use drover_usecases::{
    ApplicationFilter, Engine, EngineOptions, EnginePorts, FleetView, Handlers, Policy, Ports,
    QueueOptions, RolloutOrder, Service,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::actions::set;

pub(crate) const ORCHESTRATOR: &str = "orchestrator-even-odd.yml";
pub(crate) const HEAD: &str = "# Halves\n# Two halves\n#\n# Required parameters:\n#   app_instances - names\n#   distr_url - url\n#\n# Optional parameters:\n#   haproxy_backend - backend\n---\n";

/// The fakes, and the service over them.
pub(crate) struct Harness {
    pub(crate) store: MemoryStore,
    pub(crate) agents: Arc<ScriptedAgents>,
    pub(crate) runner: Arc<ScriptedRunner>,
    pub(crate) service: Service,
    pub(crate) receivers: Arc<ScriptedReceivers>,
    pub(crate) clock: Arc<FixedClock>,
    ids: Arc<SequentialIds>,
}

/// A process that does updates and actions.
pub(crate) struct Worker {
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Worker {
    pub(crate) async fn stop(mut self) {
        self.stop.send(true).unwrap();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }

    /// As a kill would: nothing is handed over.
    pub(crate) async fn kill(mut self) {
        self.running.shutdown().await;
    }
}

impl Harness {
    pub(crate) fn new() -> Self {
        let store = MemoryStore::default();
        let agents = Arc::new(ScriptedAgents::default());
        let runner = Arc::new(ScriptedRunner::new());
        let ids = Arc::new(SequentialIds::default());
        let clock = Arc::new(FixedClock::default());
        let receivers = Arc::new(ScriptedReceivers::default());
        let mut ports = ports(&store, &agents, &runner, &clock, &ids);
        ports.webhook_sender = Arc::<ScriptedReceivers>::clone(&receivers);
        let policy = Policy {
            default_orchestrator: ORCHESTRATOR.to_owned(),
            lost_after: Duration::from_mins(20),
            ..Policy::default()
        };
        let service = Service::new(ports, policy);
        Self {
            store,
            agents,
            runner,
            service,
            receivers,
            clock,
            ids,
        }
    }

    /// Servers `s1`, `s2`, …, each with `a_1`, and `lb` with an HAProxy in front of them all.
    pub(crate) async fn with_fleet(servers: u8) -> Self {
        let harness = Self::new();
        for number in 1..=servers {
            let server = harness
                .add_server(&format!("s{number}"), number, false)
                .await;
            harness
                .agents
                .arrange(address(&server), Agent::Answers(sight(number, "1.0.0")));
            harness
                .service
                .servers
                .refresh(server.key)
                .await
                .unwrap()
                .unwrap();
        }
        let haproxy = harness.add_server("lb", 200, true).await;
        let members = (1..=servers)
            .map(|number| haproxy_server(number, "UP"))
            .collect();
        harness
            .agents
            .arrange(address(&haproxy), Agent::Answers(haproxy_sight(members)));
        harness
            .service
            .servers
            .refresh(haproxy.key)
            .await
            .unwrap()
            .unwrap();
        harness
            .runner
            .script(ORCHESTRATOR, Script::new().head(HEAD));
        harness.runner.script("update-app.yml", Script::new());
        harness.service.orchestrators.scan().await.unwrap();
        harness
    }

    /// The same world with another control host.
    pub(crate) fn ports_with_runner(&self, runner: &Arc<ScriptedRunner>) -> Ports {
        ports(&self.store, &self.agents, runner, &self.clock, &self.ids)
    }

    pub(crate) async fn add_server(&self, name: &str, number: u8, is_haproxy_node: bool) -> Server {
        let server =
            NewServer::new(name, &format!("10.0.0.{number}"), 5000, is_haproxy_node).unwrap();
        self.service.servers.add(server, &origin()).await.unwrap()
    }

    pub(crate) async fn applications(&self) -> Vec<ApplicationKey> {
        let all = PageRequest {
            after: None,
            limit: PageRequest::LIMIT_MAX,
        };
        let page = self
            .store
            .applications(&ApplicationFilter::default(), all)
            .await
            .unwrap();
        page.items
            .iter()
            .map(|application| application.key)
            .collect()
    }

    /// What an update of these applications knows of the fleet.
    pub(crate) async fn snapshot(&self, keys: &[ApplicationKey]) -> FleetSnapshot {
        let store: &dyn FleetSnapshots = &self.store;
        store.snapshot(keys).await.unwrap()
    }

    /// Lets the agents of `s1` and `s2` report this version from now on.
    pub(crate) async fn tell_version(&self, version: &str) {
        let page = ServerRegistry::list(&self.store, PageRequest::first())
            .await
            .unwrap();
        for number in 1..=2 {
            let name = format!("s{number}");
            let Some(server) = page.items.iter().find(|server| server.name == name) else {
                continue;
            };
            self.agents
                .arrange(address(server), Agent::Answers(sight(number, version)));
        }
    }

    /// As HAProxy shows a server that the play has drained itself.
    pub(crate) async fn show_drained(&self, server: &str) {
        let agent = address(&self.server("lb").await);
        self.agents.change(&agent, |sight| {
            set(sight, server, "DRAIN", Some(8), Some(0));
        });
    }

    /// Asks for an update of everything and returns its only task. Agents report the new version from then on.
    pub(crate) async fn update(&self) -> RolloutId {
        let accepted = self
            .service
            .rollouts
            .request(order(self.applications().await))
            .await
            .unwrap();
        assert_eq!(accepted.rollouts.len(), 1);
        self.tell_version("1.1.0").await;
        accepted.rollouts[0]
    }

    /// Starts a process called `name`.
    pub(crate) fn work(&self, name: &str) -> Worker {
        let mut handlers = Handlers::default();
        for (kind, handler) in [
            self.service.rollout_handler(),
            self.service.action_handler(),
            self.service.delivery_handler(),
        ] {
            handlers.register(kind, handler).unwrap();
        }
        let engine = Engine::new(
            EnginePorts::over(&Arc::new(self.store.clone())),
            Arc::new(FixedClock::default()),
            Arc::<SequentialIds>::clone(&self.ids),
            handlers,
            EngineOptions::new(
                name.to_owned(),
                [definition::queue(), action_queue(), delivery_queue()]
                    .map(QueueOptions::new)
                    .into(),
            ),
        )
        .unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(async move { engine.run(stopped).await });
        Worker { stop, running }
    }

    /// Calls an update off.
    pub(crate) async fn call_off(&self, task: RolloutId) {
        let reason = "not today".to_owned();
        let cancel = Control::Cancel { reason };
        let store: &dyn WorkflowStore = &self.store;
        store.control(task.workflow(), &cancel).await.unwrap();
    }

    /// Where the workflow of an update stands.
    pub(crate) async fn workflow(&self, task: RolloutId) -> WorkflowStatus {
        let view: &dyn WorkflowView = &self.store;
        let found = view.find(task.workflow()).await.unwrap().unwrap();
        found.head.status
    }

    pub(crate) async fn task(&self, task: RolloutId) -> RolloutDetail {
        RolloutView::find(&self.store, task).await.unwrap().unwrap()
    }

    /// Waits until the task is over.
    pub(crate) async fn until_over(&self, task: RolloutId) -> RolloutDetail {
        eventually(Duration::from_mins(1), || async {
            let detail = self.task(task).await;
            if detail.rollout.finished_at.is_some() {
                Ok(detail)
            } else {
                Err(format!("{detail:?}"))
            }
        })
        .await
    }

    /// Waits until the task is claimed for the `attempt`th time.
    pub(crate) async fn until_attempt(&self, task: RolloutId, attempt: u32) {
        eventually(Duration::from_mins(1), || async {
            let found = self.task(task).await.rollout.attempt;
            if found == attempt {
                Ok(())
            } else {
                Err(format!("attempt {found}"))
            }
        })
        .await;
    }

    /// Waits until a play waits for its release.
    pub(crate) async fn until_held(&self) {
        eventually(Duration::from_mins(1), || async {
            if self.runner.holds() > 0 {
                Ok(())
            } else {
                Err("no play waits".to_owned())
            }
        })
        .await;
    }

    pub(crate) async fn server(&self, name: &str) -> Server {
        let page = ServerRegistry::list(&self.store, PageRequest::first())
            .await
            .unwrap();
        page.items
            .into_iter()
            .find(|server| server.name == name)
            .unwrap()
    }
}

fn ports(
    store: &MemoryStore,
    agents: &Arc<ScriptedAgents>,
    runner: &Arc<ScriptedRunner>,
    clock: &Arc<FixedClock>,
    ids: &Arc<SequentialIds>,
) -> Ports {
    Ports::over(
        Arc::new(store.clone()),
        Arc::<ScriptedAgents>::clone(agents),
        Arc::<ScriptedRunner>::clone(runner),
        Arc::new(ScriptedReceivers::default()),
        Arc::<FixedClock>::clone(clock),
        Arc::<SequentialIds>::clone(ids),
    )
}

pub(crate) fn address(server: &Server) -> AgentAddress {
    AgentAddress {
        host: server.address.clone(),
        port: server.port,
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        actor: "ann".to_owned(),
        request_id: "r1".to_owned(),
    }
}

pub(crate) fn order(applications: Vec<ApplicationKey>) -> RolloutOrder {
    RolloutOrder {
        applications,
        artifact: ArtifactUrl::parse("http://nexus/a-1.1.0.zip").unwrap(),
        mode: UpdateMode::Update,
        orchestrator: None,
        drain_wait: DrainWait::DEFAULT,
        allow_undrained: false,
        origin: origin(),
        idempotency: None,
        plan: None,
    }
}

pub(crate) fn sight(number: u8, version: &str) -> Sight {
    let application = ObservedApplication {
        name: "a_1".to_owned(),
        kind: ApplicationKind::Service,
        status: ApplicationStatus::Online,
        version: VersionState {
            version: Some(version.to_owned()),
            ..VersionState::default()
        },
        address: Some(format!("10.0.0.{number}")),
        port: Some(8080),
        pid: None,
        path: None,
        log_path: None,
        container_id: None,
        start_time: None,
    };
    Sight {
        applications: vec![application],
        ..Sight::default()
    }
}

pub(crate) fn haproxy_server(number: u8, word: &str) -> ObservedServer {
    ObservedServer {
        name: format!("s{number}_a_1"),
        word: ServerWord::new(word),
        admin: None,
        sessions: Some(0),
        old_sessions: None,
        queue: Some(0),
        weight: 1,
        role: drover_domain::haproxy::ServerRole::default(),
        check_status: Some("L7OK".to_owned()),
        address: Some(format!("10.0.0.{number}")),
        port: Some(8080),
    }
}

pub(crate) fn haproxy_sight(members: Vec<ObservedServer>) -> Sight {
    let backends = BTreeMap::from([("be".to_owned(), members)]);
    Sight {
        haproxy: BTreeMap::from([("default".to_owned(), backends)]),
        ..Sight::default()
    }
}

/// A play that reports both instances of a two-server fleet as done.
pub(crate) fn successful() -> Script {
    Script::new()
        .head(HEAD)
        .task("Drain")
        .report("s1::a_1::s1_a_1", TargetOutcome::Draining, None)
        .report("s1::a_1::s1_a_1", TargetOutcome::Done, Some("UP"))
        .report("s2::a_1::s2_a_1", TargetOutcome::Done, Some("UP"))
        .stats(&[("localhost", 9, 0), ("s1", 1, 0), ("s2", 1, 0)])
}

/// A play whose first half fails.
pub(crate) fn failing() -> Script {
    Script::new()
        .head(HEAD)
        .report("s1::a_1::s1_a_1", TargetOutcome::Updating, None)
        .event(
            JobEventKind::Failed,
            Some("s1"),
            Some("The checksum did not match"),
        )
        .report(
            "s1::a_1::s1_a_1",
            TargetOutcome::Failed,
            Some("the checksum did not match"),
        )
        .event(
            JobEventKind::Failed,
            Some("localhost"),
            Some("the even half failed"),
        )
        .stats(&[("localhost", 3, 1)])
        .exits(2)
}
