//! The use cases over a memory store.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_domain::id::Uuid;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::{
    Action, ExecutionMode, Json, Kind, QueueName, SignalName, TaskKey, WorkflowId,
};
use drover_ports::{IdSource, StartedWorkflow};
use drover_testkit::clock::{FixedClock, SequentialIds};
use drover_testkit::store::MemoryStore;
use drover_usecases::{
    Definitions, EnginePorts, EventFeed, Kinds, Queues, RemoteWorkers, Schedules, StartWhen,
    TaskOrder, WorkOrder, WorkflowOrder, WorkflowSource, Workflows,
};

/// Identifiers far enough from each other for the tasks of a workflow to be in between.
#[derive(Debug, Default)]
struct SpacedIds(SequentialIds);

impl IdSource for SpacedIds {
    fn draw(&self) -> Uuid {
        Uuid::from_u128(self.0.draw().as_u128() << 12)
    }
}

pub(crate) struct World {
    pub(crate) ports: EnginePorts,
    pub(crate) workflows: Workflows,
    pub(crate) definitions: Definitions,
    pub(crate) schedules: Schedules,
    pub(crate) queues: Queues,
    pub(crate) workers: RemoteWorkers,
    pub(crate) events: EventFeed,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Kinds::default())
    }

    pub(crate) fn with(kinds: Kinds) -> Self {
        Self::over(&EnginePorts::over(&Arc::new(MemoryStore::default())), kinds)
    }

    pub(crate) fn over(ports: &EnginePorts, kinds: Kinds) -> Self {
        let ids = Arc::new(SpacedIds::default());
        let clock = Arc::new(FixedClock::default());
        Self {
            ports: ports.clone(),
            workflows: Workflows::new(ports, ids.clone(), kinds.clone()),
            definitions: Definitions::new(ports, clock.clone(), kinds),
            schedules: Schedules::new(ports, clock),
            queues: Queues::new(ports),
            workers: RemoteWorkers::new(ports, ids),
            events: EventFeed::new(ports),
        }
    }

    pub(crate) async fn started(&self, tasks: Vec<TaskOrder>) -> WorkflowId {
        let started = self.workflows.start(order(dag(tasks))).await.unwrap();
        match started {
            StartedWorkflow::Created(id) | StartedWorkflow::Replayed(id) => id,
        }
    }
}

pub(crate) fn kind(name: &str) -> Kind {
    Kind::parse(name).unwrap()
}

pub(crate) fn key(name: &str) -> TaskKey {
    TaskKey::parse(name).unwrap()
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

pub(crate) fn json(text: &str) -> Json {
    Json::from_parsed("it", text).unwrap()
}

pub(crate) fn origin() -> Origin {
    Origin {
        actor: "somebody".to_owned(),
        request_id: "r1".to_owned(),
    }
}

/// A task of this kind.
pub(crate) fn task(name: &str, of: &str) -> TaskOrder {
    TaskOrder::new(key(name), WorkOrder::of(kind(of), Json::null()))
}

/// A task that waits for the signal `go`.
pub(crate) fn waits(name: &str) -> TaskOrder {
    let mut task = task(name, Kinds::SIGNAL);
    task.work.action = Some(Action::Signal {
        name: SignalName::parse("go").unwrap(),
        expires_after: None,
    });
    task
}

pub(crate) const fn dag(tasks: Vec<TaskOrder>) -> WorkflowSource {
    WorkflowSource::Tasks {
        mode: ExecutionMode::Dag,
        tasks,
    }
}

pub(crate) fn order(source: WorkflowSource) -> WorkflowOrder {
    WorkflowOrder {
        name: None,
        source,
        labels: BTreeMap::new(),
        input: Json::null(),
        start: StartWhen::After(std::time::Duration::ZERO),
        deadline: None,
        origin: origin(),
        idempotency: None,
    }
}
