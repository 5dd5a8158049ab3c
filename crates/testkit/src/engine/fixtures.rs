//! Workflows to start in tests, and a scripted worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::id::Uuid;
use drover_domain::page::PageRequest;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{
    Action, Definition, DefinitionName, Dependency, ExecutionMode, Executor, Guarantee, Json, Kind,
    LeaseId, QueueName, RetryPolicy, RetryStrategy, SignalName, TaskId, TaskKey, TaskNo,
    TaskPolicy, TaskSpec, TaskStatus, Work, WorkflowId, WorkflowStatus,
};
use drover_ports::{
    Assignment, ClaimRequest, Idempotency, NewWorkflow, Report, ReportVerdict, StartedWorkflow,
    TaskRecord, WorkflowRecord,
};

use super::EngineWorld;

/// How long the leases of a [`Driver`] last: longer than any test.
pub const LEASE: Duration = Duration::from_mins(1);

/// A JSON document that does not survive being parsed and printed again.
pub const HOSTILE_JSON: &str =
    r#"{ "b":1.10,  "a\u0000'": ["$1 {{ x }} ;--\\", "\u0001é😀", 1e400], "b":2 }"#;

/// The identifier of workflow `number`; they ascend with the numbers.
#[must_use]
pub fn workflow_id(number: u32) -> WorkflowId {
    let base = 0x0190_0000_0000_7000_8000_0000_0000_0000;
    WorkflowId::rooted(Uuid::from_u128(base + (u128::from(number) << 12)))
}

/// The identifier of lease `number`.
#[must_use]
pub fn lease_id(number: u32) -> LeaseId {
    LeaseId::from_uuid(Uuid::from_u128(u128::from(number) + 1))
}

/// The document with this text.
#[must_use]
pub fn json(text: &str) -> Json {
    Json::from_parsed("the test", text).unwrap()
}

/// The queue with this name.
#[must_use]
pub fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

/// The signal with this name.
#[must_use]
pub fn signal_name(name: &str) -> SignalName {
    SignalName::parse(name).unwrap()
}

/// What a handler executes once, in the queue `default`.
#[must_use]
pub fn work() -> Work {
    Work {
        kind: Kind::parse("test").unwrap(),
        action: Action::Run,
        queue: queue("default"),
        priority: 0,
        payload: Json::null(),
        policy: TaskPolicy::once(Guarantee::G1),
    }
}

/// The task `key`, which waits for nothing.
#[must_use]
pub fn task(key: &str) -> TaskSpec {
    doing(key, work())
}

/// The task `key`, which does `work`.
#[must_use]
pub fn doing(key: &str, work: Work) -> TaskSpec {
    TaskSpec {
        key: TaskKey::parse(key).unwrap(),
        work,
        depends_on: Vec::new(),
        concurrency_keys: Vec::new(),
        compensation: None,
    }
}

/// The task `key`, which waits for those named.
#[must_use]
pub fn after(key: &str, on: &[&str]) -> TaskSpec {
    let edge = |on: &&str| Dependency {
        on: TaskKey::parse(on).unwrap(),
        skipped_releases: false,
    };
    TaskSpec {
        depends_on: on.iter().map(edge).collect(),
        ..task(key)
    }
}

/// The task `key` in another queue.
#[must_use]
pub fn queued_in(key: &str, name: &str) -> TaskSpec {
    let queue = queue(name);
    doing(key, Work { queue, ..work() })
}

/// The task `key` for a worker outside.
#[must_use]
pub fn remote(key: &str) -> TaskSpec {
    let action = Action::RunRemotely;
    doing(key, Work { action, ..work() })
}

/// The task `key`, tried again `retries` times, five minutes after each failure.
#[must_use]
pub fn retried(key: &str, retries: u32) -> TaskSpec {
    let wait = Duration::from_mins(5);
    let retry = RetryPolicy::new(RetryStrategy::Fixed, wait, retries).unwrap();
    let policy = TaskPolicy {
        retry,
        ..TaskPolicy::once(Guarantee::G1)
    };
    doing(key, Work { policy, ..work() })
}

/// The task `key`, whose effect cannot be repeated.
#[must_use]
pub fn unrepeatable(key: &str) -> TaskSpec {
    let policy = TaskPolicy::once(Guarantee::G4);
    doing(key, Work { policy, ..work() })
}

/// The task `key`, which has `keys` to itself.
#[must_use]
pub fn keyed(key: &str, keys: &[&str]) -> TaskSpec {
    TaskSpec {
        concurrency_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..task(key)
    }
}

/// The task `key`, which a handler undoes.
#[must_use]
pub fn undoable(key: &str) -> TaskSpec {
    TaskSpec {
        compensation: Some(work()),
        ..task(key)
    }
}

/// The task `key`, which waits for time to pass.
#[must_use]
pub fn timer(key: &str, wait: Duration) -> TaskSpec {
    let action = Action::Timer { wait };
    doing(key, Work { action, ..work() })
}

/// The task `key`, which waits for the signal `name`.
#[must_use]
pub fn waits_for(key: &str, name: &str, expires_after: Option<Duration>) -> TaskSpec {
    let name = signal_name(name);
    let action = Action::Signal {
        name,
        expires_after,
    };
    doing(key, Work { action, ..work() })
}

/// The task `key`, which starts another workflow.
#[must_use]
pub fn parent(key: &str) -> TaskSpec {
    let action = Action::Child {
        definition: DefinitionName::parse("child").unwrap(),
        version: None,
    };
    doing(key, Work { action, ..work() })
}

/// Tasks as their dependencies say.
#[must_use]
pub fn dag(tasks: Vec<TaskSpec>) -> Definition {
    Definition::new(ExecutionMode::Dag, tasks).unwrap()
}

/// Tasks one after the other.
#[must_use]
pub fn sequence(tasks: Vec<TaskSpec>) -> Definition {
    Definition::new(ExecutionMode::Sequential, tasks).unwrap()
}

/// One task after the other.
#[must_use]
pub fn linear(keys: &[&str]) -> Definition {
    sequence(keys.iter().map(|key| task(key)).collect())
}

/// `count` tasks at once: `t0`, `t1`, …
#[must_use]
pub fn parallel(count: usize) -> Definition {
    let tasks = (0..count).map(|number| task(&format!("t{number}")));
    Definition::new(ExecutionMode::Parallel, tasks.collect()).unwrap()
}

/// `a`, then `b` and `c`, then `d`.
#[must_use]
pub fn diamond() -> Definition {
    dag(vec![
        task("a"),
        after("b", &["a"]),
        after("c", &["a"]),
        after("d", &["b", "c"]),
    ])
}

/// Workflow `number`, to start at once.
#[must_use]
pub fn workflow(number: u32, definition: Definition) -> NewWorkflow {
    NewWorkflow {
        id: workflow_id(number),
        name: format!("workflow {number}"),
        definition: Arc::new(definition),
        source: None,
        labels: BTreeMap::new(),
        input: Json::null(),
        origin: Origin {
            actor: "tester".to_owned(),
            request_id: format!("request-{number}"),
        },
        parent: None,
        start_after: Some(Duration::ZERO),
        deadline: None,
        idempotency: None,
    }
}

/// Workflow `number` that a request with this idempotency key asks for.
#[must_use]
pub fn asked(number: u32, scope: &str, key: &str, digest: u8) -> NewWorkflow {
    NewWorkflow {
        idempotency: Some(idempotency(scope, key, digest)),
        ..workflow(number, linear(&["a"]))
    }
}

/// An idempotency key of a request whose digest is this byte 32 times.
#[must_use]
pub fn idempotency(scope: &str, key: &str, digest: u8) -> Idempotency {
    Idempotency {
        scope: scope.to_owned(),
        key: key.to_owned(),
        digest: vec![digest; 32],
    }
}

/// A success with this result.
#[must_use]
pub fn success(result: &str) -> Outcome {
    Outcome::Succeeded {
        result: json(result),
    }
}

/// A failure with this code; another attempt may help.
#[must_use]
pub fn failure(code: &str) -> Outcome {
    let error = TaskError::new(code, "it did not work");
    let retryable = true;
    Outcome::Failed { error, retryable }
}

/// Starts workflow `number` at once.
pub async fn start(world: &EngineWorld, number: u32, definition: Definition) -> WorkflowId {
    start_new(world, workflow(number, definition)).await
}

/// Starts a workflow that is not there yet.
pub async fn start_new(world: &EngineWorld, new: NewWorkflow) -> WorkflowId {
    let id = new.id;
    let answers = world.workflows().start(&[new]).await.unwrap();
    assert_eq!(answers, [StartedWorkflow::Created(id)]);
    id
}

/// The workflow as it is shown.
pub async fn record(world: &EngineWorld, id: WorkflowId) -> WorkflowRecord {
    let found = world.view().find(id).await.unwrap();
    found.expect("the workflow is stored")
}

/// Where the workflow stands.
pub async fn status(world: &EngineWorld, id: WorkflowId) -> WorkflowStatus {
    record(world, id).await.head.status
}

/// Every task of the workflow, by number.
pub async fn records(world: &EngineWorld, id: WorkflowId) -> Vec<TaskRecord> {
    let mut all = Vec::new();
    let mut page = PageRequest {
        after: None,
        limit: PageRequest::LIMIT_MAX,
    };
    loop {
        let found = world.view().tasks(id, page).await.unwrap();
        let found = found.expect("the workflow is stored");
        all.extend(found.items);
        if found.next.is_none() {
            return all;
        }
        page.after = found.next;
    }
}

/// The task of the workflow with this key.
pub async fn task_record(world: &EngineWorld, id: WorkflowId, key: &str) -> TaskRecord {
    let mut records = records(world, id).await.into_iter();
    let found = records.find(|record| record.task.key.as_str() == key);
    found.expect("the workflow has the task")
}

/// Where the task of the workflow with this key stands.
pub async fn task_status(world: &EngineWorld, id: WorkflowId, key: &str) -> TaskStatus {
    task_record(world, id, key).await.task.status
}

/// What happened to the workflow, each as `kind` or `kind key`, and that it is numbered from 1.
pub async fn story(world: &EngineWorld, id: WorkflowId) -> Vec<String> {
    let keys: BTreeMap<TaskNo, String> = records(world, id)
        .await
        .into_iter()
        .map(|record| (record.task.no, record.task.key.as_str().to_owned()))
        .collect();
    let mut told = Vec::new();
    let mut page = PageRequest {
        after: None,
        limit: PageRequest::LIMIT_MAX,
    };
    loop {
        let found = world.view().history(id, page).await.unwrap();
        let found = found.expect("the workflow is stored");
        for (number, event) in found.items {
            let kind = event.event.kind.as_str();
            told.push(match event.event.task.and_then(|no| keys.get(&no)) {
                Some(key) => format!("{kind} {key}"),
                None => kind.to_owned(),
            });
            assert_eq!(usize::try_from(number).unwrap(), told.len());
        }
        if found.next.is_none() {
            return told;
        }
        page.after = found.next;
    }
}

/// Lets every moment happen that is due.
pub async fn see_to_what_is_due(world: &EngineWorld) {
    while world.upkeep().wake_due(100).await.unwrap().handled > 0 {}
}

/// Lets every moment happen that the workflow waits for, whenever it would be due.
pub async fn let_time_pass(world: &EngineWorld, id: WorkflowId) {
    world.side_door().make_due(id).await;
    see_to_what_is_due(world).await;
}

/// Takes every task away that a lease that ran out holds.
pub async fn take_over(world: &EngineWorld) {
    let grace = Duration::from_hours(24);
    while world.upkeep().take_over(grace, 100).await.unwrap().handled > 0 {}
}

/// A scripted worker.
#[derive(Debug)]
pub struct Driver<'a> {
    world: &'a EngineWorld,
    /// Its lease.
    pub lease: LeaseId,
    request: ClaimRequest,
}

impl<'a> Driver<'a> {
    /// The engine's worker `number`, on the queue `default`.
    pub async fn open(world: &'a EngineWorld, number: u32) -> Self {
        Self::on(world, number, Executor::Engine, &["default"]).await
    }

    /// A worker of another kind or on other queues. Its name is `worker` and its number.
    pub async fn on(
        world: &'a EngineWorld,
        number: u32,
        executor: Executor,
        queues: &[&str],
    ) -> Self {
        let lease = lease_id(number);
        let worker = format!("worker {number}");
        let tasks = world.tasks();
        tasks.open_lease(lease, &worker, LEASE).await.unwrap();
        let request = ClaimRequest {
            executor,
            queues: queues.iter().map(|name| queue(name)).collect(),
            limit: 0,
        };
        Self {
            world,
            lease,
            request,
        }
    }

    /// Takes up to `limit` tasks.
    pub async fn claim(&self, limit: u32) -> Vec<Assignment> {
        let request = ClaimRequest {
            limit,
            ..self.request.clone()
        };
        let tasks = self.world.tasks();
        tasks.claim(self.lease, &request).await.unwrap()
    }

    /// Takes one task; there must be one.
    pub async fn take(&self) -> Assignment {
        let taken = self.claim(1).await.pop();
        taken.expect("a task can be taken")
    }

    /// Takes everything there is; the keys, sorted.
    pub async fn take_all(&self) -> Vec<String> {
        let taken = self.claim(ClaimRequest::LIMIT_MAX).await;
        let mut keys: Vec<String> = taken.iter().map(key).collect();
        keys.sort();
        keys
    }

    /// Says how an attempt ended.
    pub async fn report(&self, task: &Assignment, outcome: Outcome) -> ReportVerdict {
        let reports = [Report {
            task: task.task,
            attempt: task.attempt,
            outcome,
        }];
        let tasks = self.world.tasks();
        let mut verdicts = tasks.report(self.lease, &reports).await.unwrap();
        assert_eq!(verdicts.len(), 1);
        verdicts.remove(0)
    }

    /// Says how an attempt ended, and is believed.
    pub async fn end(&self, task: &Assignment, outcome: Outcome) {
        assert_eq!(self.report(task, outcome).await, ReportVerdict::Accepted);
    }

    /// Takes one task, which must be `key`, and ends it.
    pub async fn run(&self, key: &str, outcome: Outcome) {
        let task = self.take().await;
        assert_eq!(task.key.as_str(), key);
        self.end(&task, outcome).await;
    }

    /// Takes tasks one at a time, with success, until there is none; their keys in order.
    pub async fn drain(&self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(task) = self.claim(1).await.pop() {
            self.end(&task, success("null")).await;
            done.push(key(&task));
        }
        done
    }

    /// What the lease holds: tasks in their order, and the attempt of each.
    pub async fn held(&self) -> Vec<(TaskId, u32)> {
        let held = self
            .world
            .tasks()
            .held(self.lease, Duration::ZERO)
            .await
            .unwrap();
        let mut held: Vec<_> = held.iter().map(|held| (held.task, held.attempt)).collect();
        held.sort_unstable();
        held
    }

    /// Lets the lease run out.
    pub async fn expire(&self) {
        let tasks = self.world.tasks();
        tasks.heartbeat(self.lease, Duration::ZERO).await.unwrap();
    }
}

/// The key of a task that was taken.
#[must_use]
pub fn key(task: &Assignment) -> String {
    task.key.as_str().to_owned()
}
