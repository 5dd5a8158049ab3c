//! A store with a deliberate defect, or one whose answers get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::run::{Control, Decision};
use drover_domain::workflow::{
    Definition, Json, LeaseId, SignalName, TaskId, TaskSpec, WorkflowId, WorkflowStatus,
};
use drover_ports::{
    Assignment, Beat, ClaimRequest, DeadLetterFilter, HeldAttempt, Idempotency, NewWorkflow,
    Report, ReportVerdict, StartedWorkflow, StoreError, TaskQueue, WorkflowStore,
};
use drover_usecases::EnginePorts;

use super::defect::Defect;
use super::point::Place;

/// The defect shows once in so many calls.
const EVERY: u64 = 7;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It does not do what it should.
    Defect(Defect),
    /// It works, and sometimes its answer to this call is lost.
    Unheard(Place),
}

/// The same ports in trouble.
pub(crate) fn broken(ports: EnginePorts, trouble: Option<Trouble>) -> EnginePorts {
    let over = Arc::new(Broken {
        ports: ports.clone(),
        trouble,
        calls: AtomicU64::new(0),
    });
    EnginePorts {
        workflows: Arc::<Broken>::clone(&over),
        tasks: over,
        ..ports
    }
}

struct Broken {
    ports: EnginePorts,
    trouble: Option<Trouble>,
    calls: AtomicU64,
}

impl Broken {
    fn shows(&self, defect: Defect) -> bool {
        self.strikes(Trouble::Defect(defect))
    }

    fn strikes(&self, trouble: Trouble) -> bool {
        self.trouble == Some(trouble)
            && self.calls.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
    }

    /// What is heard of an answer.
    fn heard<T>(&self, place: Place, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if answer.is_ok() && self.strikes(Trouble::Unheard(place)) {
            return Err(StoreError::Unavailable {
                action: place.as_str(),
                source: "its answer was lost".into(),
            });
        }
        answer
    }
}

#[async_trait]
impl TaskQueue for Broken {
    async fn open_lease(
        &self,
        lease: LeaseId,
        worker: &str,
        term: Duration,
    ) -> Result<(), StoreError> {
        let opened = self.ports.tasks.open_lease(lease, worker, term).await;
        self.heard(Place::OpenLease, opened)
    }

    async fn heartbeat(&self, lease: LeaseId, term: Duration) -> Result<Beat, StoreError> {
        let beat = self.ports.tasks.heartbeat(lease, term).await;
        self.heard(Place::Heartbeat, beat)
    }

    async fn claim(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError> {
        let mut tasks = self.ports.tasks.claim(lease, request).await?;
        if !tasks.is_empty() && self.shows(Defect::GivesTwice) {
            tasks.extend(tasks.first().cloned());
        }
        if tasks.is_empty() {
            return Ok(tasks);
        }
        self.heard(Place::Claim, Ok(tasks))
    }

    async fn held(&self, lease: LeaseId, age: Duration) -> Result<Vec<HeldAttempt>, StoreError> {
        self.ports.tasks.held(lease, age).await
    }

    async fn report(
        &self,
        lease: LeaseId,
        reports: &[Report],
    ) -> Result<Vec<ReportVerdict>, StoreError> {
        if self.shows(Defect::DropsReports) {
            return Ok(vec![ReportVerdict::Accepted; reports.len()]);
        }
        let verdicts = self.ports.tasks.report(lease, reports).await;
        self.heard(Place::Report, verdicts)
    }

    async fn close_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ports.tasks.close_lease(lease).await
    }
}

#[async_trait]
impl WorkflowStore for Broken {
    async fn start(&self, workflows: &[NewWorkflow]) -> Result<Vec<StartedWorkflow>, StoreError> {
        if self.shows(Defect::DropsStarts) {
            let created = workflows.iter().map(|new| StartedWorkflow::Created(new.id));
            return Ok(created.collect());
        }
        if self.trouble == Some(Trouble::Defect(Defect::IgnoresKeys)) {
            let keyless: Vec<NewWorkflow> = workflows.iter().map(without_keys).collect();
            return self.ports.workflows.start(&keyless).await;
        }
        let started = self.ports.workflows.start(workflows).await;
        self.heard(Place::Start, started)
    }

    async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        self.ports.workflows.control(workflow, control).await
    }

    async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        self.ports.workflows.decide(task, decision).await
    }

    async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let workflows = &self.ports.workflows;
        workflows.signal(workflow, name, payload, idempotency).await
    }

    async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<TaskId>, StoreError> {
        self.ports
            .workflows
            .redrive(filter, limit, idempotency)
            .await
    }
}

fn without_keys(new: &NewWorkflow) -> NewWorkflow {
    let keyless = |task: &TaskSpec| TaskSpec {
        concurrency_keys: Vec::new(),
        ..task.clone()
    };
    let tasks = new.definition.tasks().iter().map(keyless).collect();
    let definition = Definition::new(new.definition.mode(), tasks);
    NewWorkflow {
        definition: definition.map_or_else(|_| Arc::clone(&new.definition), Arc::new),
        ..new.clone()
    }
}
