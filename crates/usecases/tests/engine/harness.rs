//! Engines over one store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::id::Uuid;
use drover_domain::page::PageRequest;
use drover_domain::workflow::{
    Definition, DefinitionName, Kind, QueueName, RetryPolicy, RetryStrategy, TaskNo, TaskPolicy,
    TaskSpec, TaskStatus, Work, WorkflowEvent, WorkflowId, WorkflowStatus,
};
use drover_ports::{Clock, DefinitionStore, IdSource, TaskRecord, WorkflowStore, WorkflowView};
use drover_testkit::engine::fixtures;
use drover_testkit::eventually::eventually;
use drover_testkit::store::MemoryStore;
use drover_usecases::{Engine, EngineOptions, EnginePorts, QueueOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::actors::{Act, Ledger, handlers};
use crate::queue::RoughQueue;

/// One store, and what all handlers did.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) ledger: Arc<Ledger>,
    /// How engines start children.
    pub(crate) workflows: Arc<dyn WorkflowStore>,
    started: AtomicU32,
    clock: Arc<TestClock>,
    ids: Arc<TestIds>,
}

/// One process.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) queue: Arc<RoughQueue>,
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

/// The time of day, as paused as tokio's.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(self.0.elapsed())
    }
}

/// Identifiers that differ where workflows' identifiers differ.
#[derive(Default)]
struct TestIds(AtomicU64);

impl IdSource for TestIds {
    fn draw(&self) -> Uuid {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Uuid::from_u128(u128::from(number) << 64)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let store = MemoryStore::default();
        Self {
            workflows: Arc::new(store.clone()),
            store,
            ledger: Ledger::new(),
            started: AtomicU32::new(0),
            clock: Arc::new(TestClock(Instant::now())),
            ids: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A process that takes from `default` and knows these kinds.
    pub(crate) fn node(&self, worker: &str, acts: &[(&str, Act)]) -> Node {
        self.node_with(worker, acts, |_| {})
    }

    pub(crate) fn node_with(
        &self,
        worker: &str,
        acts: &[(&str, Act)],
        change: impl FnOnce(&mut EngineOptions),
    ) -> Node {
        let queue = RoughQueue::new(&self.store);
        self.node_over(worker, acts, queue, change)
    }

    pub(crate) fn node_over(
        &self,
        worker: &str,
        acts: &[(&str, Act)],
        queue: Arc<RoughQueue>,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Node {
        let mut options = EngineOptions::new(worker.to_owned(), vec![line("default", 64)]);
        change(&mut options);
        let ports = EnginePorts {
            tasks: Arc::<RoughQueue>::clone(&queue),
            workflows: Arc::clone(&self.workflows),
            ..EnginePorts::over(&Arc::new(self.store.clone()))
        };
        let engine = Engine::new(
            ports,
            Arc::<TestClock>::clone(&self.clock),
            Arc::<TestIds>::clone(&self.ids),
            handlers(worker, acts, &self.ledger),
            options,
        )
        .unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        let runs = engine.clone();
        running.spawn(async move { runs.run(stopped).await });
        Node {
            engine,
            queue,
            stop,
            running,
        }
    }

    /// Starts a workflow now.
    pub(crate) async fn start(&self, definition: Definition) -> WorkflowId {
        start(
            &self.store,
            self.started.fetch_add(1, Ordering::Relaxed),
            definition,
        )
        .await
    }

    /// Stores a definition.
    pub(crate) async fn define(&self, name: &str, definition: Definition) {
        let name = DefinitionName::parse(name).unwrap();
        let store: &dyn DefinitionStore = &self.store;
        store.put(&name, &definition, self.now()).await.unwrap();
    }

    /// Waits until the workflow has ended, and says how.
    pub(crate) async fn end_of(&self, id: WorkflowId) -> WorkflowStatus {
        eventually(Duration::from_hours(1), || async {
            let status = self.status(id).await;
            if status.is_terminal() {
                Ok(status)
            } else {
                Err(format!("the workflow is {}", status.as_str()))
            }
        })
        .await
    }

    pub(crate) async fn status(&self, id: WorkflowId) -> WorkflowStatus {
        let view: &dyn WorkflowView = &self.store;
        view.find(id).await.unwrap().unwrap().head.status
    }

    /// The first task of a workflow.
    pub(crate) async fn task(&self, id: WorkflowId) -> TaskRecord {
        let no = TaskNo::new(0).unwrap();
        self.store.task(id.task(no)).await.unwrap().unwrap()
    }

    /// Waits until the first task of a workflow has this status.
    pub(crate) async fn reaches(&self, id: WorkflowId, wanted: TaskStatus) -> TaskRecord {
        eventually(Duration::from_hours(1), || async {
            let record = self.task(id).await;
            let status = record.task.status;
            if status == wanted {
                Ok(record)
            } else {
                Err(format!("the task is {}", status.as_str()))
            }
        })
        .await
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        eventually(Duration::from_hours(1), || {
            let is_so = is_so();
            async move { is_so.then_some(()).ok_or_else(|| what.to_owned()) }
        })
        .await;
    }

    /// The kinds of the events of a workflow, oldest first.
    pub(crate) async fn story(&self, id: WorkflowId) -> Vec<&'static str> {
        let page = PageRequest {
            after: None,
            limit: 200,
        };
        let history = self.store.history(id, page).await.unwrap().unwrap();
        let kind = |(_, event): &(i64, WorkflowEvent)| event.event.kind.as_str();
        history.items.iter().map(kind).collect()
    }
}

impl Node {
    /// Asks the process to end, and waits for it; returns how long that took.
    pub(crate) async fn stop(mut self) -> Duration {
        let asked = Instant::now();
        self.stop.send(true).unwrap();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        asked.elapsed()
    }

    /// As a kill would: nothing is handed over.
    pub(crate) async fn kill(mut self) {
        self.running.shutdown().await;
    }
}

/// Starts workflow `number` now.
pub(crate) async fn start(store: &MemoryStore, number: u32, definition: Definition) -> WorkflowId {
    let new = fixtures::workflow(number, definition);
    let id = new.id;
    store.start(&[new]).await.unwrap();
    id
}

pub(crate) fn line(name: &str, concurrency: u32) -> QueueOptions {
    QueueOptions {
        name: QueueName::parse(name).unwrap(),
        concurrency,
    }
}

/// Work of a kind, in `default`.
pub(crate) fn work(kind: &str) -> Work {
    Work {
        kind: Kind::parse(kind).unwrap(),
        ..fixtures::work()
    }
}

/// A workflow of one task.
pub(crate) fn one(task: TaskSpec) -> Definition {
    fixtures::sequence(vec![task])
}

/// The task `a` of a kind.
pub(crate) fn task(kind: &str) -> TaskSpec {
    fixtures::doing("a", work(kind))
}

/// The task `a` of a kind, with another policy.
pub(crate) fn task_with(kind: &str, policy: TaskPolicy) -> TaskSpec {
    let work = Work {
        policy,
        ..work(kind)
    };
    fixtures::doing("a", work)
}

/// So many retries, each after the same wait.
pub(crate) fn retries(wait: Duration, most: u32) -> TaskPolicy {
    TaskPolicy {
        retry: RetryPolicy::new(RetryStrategy::Fixed, wait, most).unwrap(),
        ..fixtures::work().policy
    }
}
