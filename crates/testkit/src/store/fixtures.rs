//! Things to store in tests, and the ways they get into a store.

pub mod actions;
pub mod mappings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::access::{ApiKey, KeyDigest, KeyOrigin, Role};
use drover_domain::fleet::inventory::{self, InventoryReport, PollPolicy, Reconciled};
use drover_domain::fleet::{
    ApplicationKey, ApplicationKind, ApplicationStatus, ChangeSource, ChangedBy, EventKind,
    EventStatus, NewEvent, NewServer, ObservedApplication, Server, ServerKey, VersionChange,
    VersionState,
};
use drover_domain::haproxy::sync::{self, ObservedBackends};
use drover_domain::haproxy::{
    AdminBits, HaproxyInstanceKey, ObservedServer, ServerRole, ServerWord,
};
use drover_domain::id::Uuid;
use drover_domain::rollout::definition;
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::executor::{
    Batch, BatchLabel, BatchMember, PreparedBackend, PreparedPlaybook,
};
use drover_domain::rollout::job::{
    HostStats, JobEvent, JobEventKind, JobId, TargetReport, Variable,
};
use drover_domain::rollout::orchestrator::{OrchestratorMetadata, Parameter};
use drover_domain::rollout::record::{
    ArtifactUrl, Origin, Rollout, RolloutId, RolloutRequest, RolloutRun, RolloutTarget, RunStatus,
    TargetOutcome, UpdateMode,
};
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{Executor, Json, LeaseId, QueueName, WorkflowId};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    Claim, ClaimRequest, NewRollout, NewRollouts, NewWorkflow, Report, ReportVerdict, TaskQueue,
};

use super::World;

/// Text that breaks whatever pastes text together.
pub const HOSTILE: &str = "a'b\"c\\u0000 $1 {{ x }} ;-- \t\u{1}é\u{1F600}";

/// `seconds` after the instant at which all fixtures start.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_001 + seconds * 1_000_000)
}

/// A server called `name` at 10.0.0.1:5000.
#[must_use]
pub fn new_server(name: &str) -> NewServer {
    NewServer::new(name, "10.0.0.1", 5000, false).unwrap()
}

/// An online service called `name`.
#[must_use]
pub fn observed(name: &str, version: Option<&str>) -> ObservedApplication {
    ObservedApplication {
        name: name.to_owned(),
        kind: ApplicationKind::Service,
        status: ApplicationStatus::Online,
        version: VersionState {
            version: version.map(str::to_owned),
            ..VersionState::default()
        },
        address: None,
        port: None,
        pid: None,
        path: None,
        log_path: None,
        container_id: None,
        start_time: None,
    }
}

/// Stores what polling finds when the agent lists exactly `applications`, however many are gone.
pub async fn poll(
    world: &World,
    server: ServerKey,
    applications: &[ObservedApplication],
    now: Timestamp,
) {
    let mut known = world.inventory().load(server).await.unwrap().unwrap();
    let report = InventoryReport {
        applications: applications.to_vec(),
        ..InventoryReport::default()
    };
    let policy = PollPolicy {
        suspect_percent: 100,
        ..PollPolicy::default()
    };
    let missing = known.missing(&report);
    let recalled = world.inventory().recall(server, &missing).await.unwrap();
    known.applications.extend(recalled);
    match inventory::reconcile(&known, &report, policy, now) {
        Reconciled::Apply(change) => world.inventory().store(&change).await.unwrap(),
        Reconciled::Hold(_, reason) => panic!("held: {reason}"),
    }
}

/// A polled server with online services; their keys in the order of `names`.
pub async fn fleet(world: &World, server: &str, names: &[&str]) -> (Server, Vec<ApplicationKey>) {
    let server = world
        .servers()
        .add(&new_server(server), at(0))
        .await
        .unwrap();
    let applications: Vec<ObservedApplication> = names
        .iter()
        .map(|name| observed(name, Some("1.0")))
        .collect();
    poll(world, server.key, &applications, at(1)).await;
    let known = world.inventory().load(server.key).await.unwrap().unwrap();
    let key = |name: &&str| {
        let mut applications = known.applications.iter();
        applications
            .find(|application| application.observed.name == **name)
            .unwrap()
            .key
    };
    let keys = names.iter().map(key).collect();
    (known.server, keys)
}

/// A server in HAProxy with every field filled.
#[must_use]
pub fn haproxy_server(name: &str, word: &str) -> ObservedServer {
    ObservedServer {
        name: name.to_owned(),
        word: ServerWord::new(word),
        admin: Some(AdminBits::from_bits(8)),
        sessions: Some(3),
        old_sessions: None,
        queue: Some(1),
        weight: 100,
        role: ServerRole::default(),
        check_status: Some("L7OK".to_owned()),
        address: Some("10.0.0.9".to_owned()),
        port: Some(8080),
    }
}

/// Stores what a sync finds when HAProxy shows exactly these backends.
pub async fn sync(
    world: &World,
    instance: HaproxyInstanceKey,
    backends: &[(&str, &[ObservedServer])],
    now: Timestamp,
) {
    sync_once(world, instance, backends, now).await;
    // What is not shown is believed to be gone the second time.
    sync_once(world, instance, backends, now).await;
}

/// Stores what one sync finds.
pub async fn sync_once(
    world: &World,
    instance: HaproxyInstanceKey,
    backends: &[(&str, &[ObservedServer])],
    now: Timestamp,
) {
    let known = world.haproxy().load(instance).await.unwrap().unwrap();
    let shown: ObservedBackends = backends
        .iter()
        .map(|(name, servers)| ((*name).to_owned(), Ok(servers.to_vec())))
        .collect();
    world
        .haproxy()
        .store(&sync::reconcile(&known, &shown, None, now))
        .await
        .unwrap();
}

/// A server with an HAProxy called `default` behind its agent, synced.
pub async fn haproxy(
    world: &World,
    server: &str,
    backends: &[(&str, &[ObservedServer])],
) -> HaproxyInstanceKey {
    let new = NewServer::new(server, "10.0.0.2", 5001, true).unwrap();
    let server = world.servers().add(&new, at(0)).await.unwrap();
    let instances = world
        .haproxy()
        .record_instances(server.key, &["default".to_owned()], at(1))
        .await
        .unwrap();
    let instance = instances.first().unwrap().key;
    sync(world, instance, backends, at(2)).await;
    instance
}

/// The identifier of task `number`.
#[must_use]
pub fn task_id(number: u128) -> RolloutId {
    definition::task(WorkflowId::rooted(Uuid::from_u128(number << 12)))
}

/// The queued task `number`.
#[must_use]
pub fn task(number: u128, applications: &[ApplicationKey]) -> Rollout {
    let request = RolloutRequest {
        applications: applications.to_vec(),
        artifact: ArtifactUrl::parse("http://nexus/jurws/2.0/jurws-2.0.zip").unwrap(),
        mode: UpdateMode::Update,
        orchestrator: "orchestrator-50-50.yml".to_owned(),
        drain_wait: DrainWait::parse(Some(0.5)).unwrap(),
        allow_undrained: false,
    };
    let origin = Origin {
        actor: "tester".to_owned(),
        request_id: "request-1".to_owned(),
    };
    Rollout::queued(
        task_id(number),
        request,
        "update-app.yml".to_owned(),
        origin,
        at(10),
    )
}

/// The update that does this task, which has `keys` to itself.
#[must_use]
pub fn update(task: Rollout, keys: &[&str]) -> NewRollout {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let workflow = NewWorkflow {
        id: task.id.workflow(),
        name: definition::KIND.to_owned(),
        definition: Arc::new(definition::definition(keys).unwrap()),
        source: None,
        labels: BTreeMap::new(),
        input: Json::null(),
        origin: task.origin.clone(),
        parent: None,
        start_after: Some(Duration::ZERO),
        deadline: None,
        idempotency: None,
    };
    NewRollout {
        workflow,
        rollout: task,
    }
}

/// The updates that do those tasks, without events and without an idempotency key.
#[must_use]
pub fn updates(tasks: Vec<Rollout>) -> NewRollouts {
    NewRollouts {
        rollouts: tasks.into_iter().map(|task| update(task, &[])).collect(),
        events: Vec::new(),
        idempotency: None,
        at: at(10),
    }
}

/// A worker that takes rollouts.
#[derive(Clone, Copy)]
pub struct Updater<'a> {
    queue: &'a dyn TaskQueue,
    lease: LeaseId,
}

impl std::fmt::Debug for Updater<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Updater").field(&self.lease).finish()
    }
}

impl<'a> Updater<'a> {
    /// Worker `number`, whose lease lasts longer than any test.
    pub async fn open(queue: &'a dyn TaskQueue, number: u128) -> Self {
        let lease = LeaseId::from_uuid(Uuid::from_u128(number + 1));
        let worker = format!("worker {number}");
        let term = Duration::from_hours(1);
        queue.open_lease(lease, &worker, term).await.unwrap();
        Self { queue, lease }
    }

    /// Takes the next task there is.
    pub async fn claim(&self) -> Option<Claim> {
        self.claim_of(definition::queue()).await
    }

    /// Takes the next task of another queue.
    pub async fn claim_of(&self, queue: QueueName) -> Option<Claim> {
        let request = ClaimRequest {
            executor: Executor::Engine,
            queues: vec![queue],
            limit: 1,
        };
        let taken = self.queue.claim(self.lease, &request).await.unwrap().pop();
        taken.map(|assigned| Claim {
            task: assigned.task,
            attempt: assigned.attempt,
        })
    }

    /// Takes the next task; there must be one.
    pub async fn take(&self) -> Claim {
        self.claim().await.expect("there is a task to take")
    }

    /// Reports to the engine how the attempt ended.
    pub async fn report(&self, claim: &Claim, outcome: Outcome) {
        let report = Report {
            task: claim.task,
            attempt: claim.attempt,
            outcome,
        };
        let verdicts = self.queue.report(self.lease, &[report]).await.unwrap();
        assert_eq!(verdicts, [ReportVerdict::Accepted]);
    }

    /// Reports to the engine that the attempt succeeded.
    pub async fn succeed(&self, claim: &Claim) {
        let result = Json::null();
        self.report(claim, Outcome::Succeeded { result }).await;
    }

    /// Gives everything up; others may go on with it.
    pub async fn leave(&self) {
        self.queue.close_lease(self.lease).await.unwrap();
    }
}

/// The pending run `index` of a rollout, as job `job`, of these applications.
#[must_use]
pub fn run(index: u32, job: u128, applications: &[ApplicationKey]) -> RolloutRun {
    let member = |application: &ApplicationKey| BatchMember {
        application: *application,
        composite: format!("app01::jurws_{application}::srv{application}"),
        haproxy_server: Some(format!("srv{application}")),
    };
    let (even, odd): (Vec<_>, Vec<_>) = applications
        .iter()
        .enumerate()
        .partition(|(place, _)| place % 2 == 0);
    let batch = |label, half: Vec<(usize, &ApplicationKey)>| Batch {
        label,
        members: half
            .into_iter()
            .map(|(_, application)| member(application))
            .collect(),
    };
    RolloutRun {
        index,
        job: JobId::from_uuid(Uuid::from_u128(job)),
        prepared: PreparedPlaybook {
            playbook: "orchestrator-50-50.yml".to_owned(),
            playbook_path: "orchestrator-50-50.yml{app_instances}".to_owned(),
            extra_params: BTreeMap::from([
                ("text".to_owned(), Variable::Text(HOSTILE.to_owned())),
                ("number".to_owned(), Variable::Integer(i64::MAX)),
                ("truth".to_owned(), Variable::Boolean(true)),
            ]),
            batches: vec![batch(BatchLabel::Even, even), batch(BatchLabel::Odd, odd)],
            backend: Some(PreparedBackend {
                instance: Key::new(7),
                instance_name: "default".to_owned(),
                backend: Key::new(8),
                backend_name: "be_jurws".to_owned(),
                api_url: "http://10.0.0.2:5001/api/v1/haproxy/default".to_owned(),
            }),
        },
        status: RunStatus::Pending,
        exit_code: None,
        started_at: None,
        finished_at: None,
        hosts: Vec::new(),
    }
}

/// The pending instance of an application in run `run`.
#[must_use]
pub fn instance(application: ApplicationKey, run: u32) -> RolloutTarget {
    RolloutTarget {
        application,
        name: format!("jurws_{application}"),
        server: "app01.example".to_owned(),
        composite: format!("app01::jurws_{application}::srv{application}"),
        run,
        batch: "even".to_owned(),
        haproxy_server: Some(format!("srv{application}")),
        outcome: TargetOutcome::Pending,
        detail: None,
        version_before: Some("1.0".to_owned()),
        process_before: Some("process 7".to_owned()),
        version_after: None,
    }
}

/// Event `sequence` of a job, with every field filled.
#[must_use]
pub fn job_event(sequence: u64) -> JobEvent {
    JobEvent {
        sequence,
        at: at(20),
        kind: JobEventKind::Ok,
        play: Some("Update".to_owned()),
        task: Some("Report".to_owned()),
        host: Some("app01".to_owned()),
        message: Some(format!("event {sequence} {HOSTILE}")),
        report: Some(TargetReport {
            composite: "app01::jurws_1".to_owned(),
            outcome: TargetOutcome::Draining,
            detail: Some("3 sessions left".to_owned()),
        }),
        stats: vec![host_stats("app01")],
    }
}

/// The closing counts of a host, each another number.
#[must_use]
pub fn host_stats(host: &str) -> HostStats {
    HostStats {
        host: host.to_owned(),
        ok: 1,
        changed: 2,
        unreachable: 3,
        failed: 4,
        skipped: 5,
        rescued: 6,
        ignored: 7,
    }
}

/// The change of version `old` to `new` by a task.
#[must_use]
pub fn version_change(old: &str, new: &str, task: RolloutId) -> VersionChange {
    let state = |version: &str| VersionState {
        version: Some(version.to_owned()),
        tag: Some(format!("tag-{version}")),
        image: Some(format!("image:{version}")),
        distr_path: Some(format!("http://nexus/{version}.zip")),
    };
    VersionChange {
        old: state(old),
        new: state(new),
        changed_at: at(30),
        changed_by: ChangedBy::User,
        source: ChangeSource::UpdateTask,
        rollout: Some(task),
    }
}

/// An event about an update.
#[must_use]
pub fn event(
    server: Option<ServerKey>,
    application: Option<ApplicationKey>,
    description: &str,
) -> NewEvent {
    NewEvent {
        at: at(15),
        kind: EventKind::Update,
        status: EventStatus::Pending,
        server,
        application,
        description: description.to_owned(),
    }
}

/// An orchestrator playbook with parameters of every kind.
#[must_use]
pub fn orchestrator(file_path: &str, version: &str) -> OrchestratorMetadata {
    let parameter = |name: &str, default| Parameter {
        name: name.to_owned(),
        description: Some(format!("the {name}")),
        default,
    };
    OrchestratorMetadata {
        file_path: file_path.to_owned(),
        name: format!("Orchestrator {file_path}"),
        description: Some(HOSTILE.to_owned()),
        version: Some(version.to_owned()),
        required: vec![parameter("app_instances", None)],
        optional: vec![
            parameter("drain_delay", Some(Variable::Integer(300))),
            parameter("mode", Some(Variable::Text("update".to_owned()))),
            parameter("dry_run", Some(Variable::Boolean(false))),
        ],
    }
}

/// An API key.
#[must_use]
pub fn api_key(public_id: &str, role: Role) -> ApiKey {
    ApiKey {
        public_id: public_id.to_owned(),
        digest: KeyDigest::from_bytes([7; 32]),
        role,
        name: format!("key {public_id}"),
        origin: KeyOrigin::Issued,
        created_by: Some("first admin".to_owned()),
        created_at: at(0),
        expires_at: None,
    }
}
