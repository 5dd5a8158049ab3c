//! A store whose callers can be made to end at every commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::queue::QueueLimits;
use drover_domain::workflow::run::{Control, Decision};
use drover_domain::workflow::{
    Definition, DefinitionName, Json, LeaseId, QueueName, Schedule, ScheduleName, SignalName,
    TaskId, WorkflowId, WorkflowStatus,
};
use drover_ports::{
    Assignment, Beat, ClaimRequest, DeadLetterFilter, DefinitionRecord, DefinitionStore,
    DueSchedules, HeldAttempt, Idempotency, ListedSchedule, NewWorkflow, QueueStats, QueueStore,
    Report, ReportVerdict, RetentionAges, ScheduleStore, StartedWorkflow, StoreError, TaskQueue,
    Upkeep, WatchedClock, WorkflowStore, WorkflowUpkeep,
};
use drover_usecases::EnginePorts;

use super::point::{Place, Points};

/// The same ports, of which each passes the points around what it commits.
pub(crate) fn failing(ports: EnginePorts, points: &Arc<Points>) -> EnginePorts {
    let over = Arc::new(Failing {
        ports: ports.clone(),
        points: Arc::clone(points),
    });
    EnginePorts {
        workflows: Arc::<Failing>::clone(&over),
        tasks: Arc::<Failing>::clone(&over),
        upkeep: Arc::<Failing>::clone(&over),
        definitions: Arc::<Failing>::clone(&over),
        queues: Arc::<Failing>::clone(&over),
        schedules: over,
        ..ports
    }
}

struct Failing {
    ports: EnginePorts,
    points: Arc<Points>,
}

#[async_trait]
impl TaskQueue for Failing {
    async fn open_lease(
        &self,
        lease: LeaseId,
        worker: &str,
        term: Duration,
    ) -> Result<(), StoreError> {
        let call = self.ports.tasks.open_lease(lease, worker, term);
        self.points.call(Place::OpenLease, call).await
    }

    async fn heartbeat(&self, lease: LeaseId, term: Duration) -> Result<Beat, StoreError> {
        let call = self.ports.tasks.heartbeat(lease, term);
        self.points.call(Place::Heartbeat, call).await
    }

    async fn claim(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError> {
        let call = self.ports.tasks.claim(lease, request);
        self.points.call(Place::Claim, call).await
    }

    async fn held(&self, lease: LeaseId, age: Duration) -> Result<Vec<HeldAttempt>, StoreError> {
        self.ports.tasks.held(lease, age).await
    }

    async fn report(
        &self,
        lease: LeaseId,
        reports: &[Report],
    ) -> Result<Vec<ReportVerdict>, StoreError> {
        let call = self.ports.tasks.report(lease, reports);
        self.points.call(Place::Report, call).await
    }

    async fn close_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let call = self.ports.tasks.close_lease(lease);
        self.points.call(Place::CloseLease, call).await
    }
}

#[async_trait]
impl WorkflowUpkeep for Failing {
    async fn wake_due(&self, limit: u32) -> Result<Upkeep, StoreError> {
        let call = self.ports.upkeep.wake_due(limit);
        self.points.call(Place::WakeDue, call).await
    }

    async fn take_over(&self, grace: Duration, limit: u32) -> Result<Upkeep, StoreError> {
        let call = self.ports.upkeep.take_over(grace, limit);
        self.points.call(Place::TakeOver, call).await
    }

    async fn prune(&self, ages: &RetentionAges, limit: u32) -> Result<u32, StoreError> {
        let call = self.ports.upkeep.prune(ages, limit);
        self.points.call(Place::Prune, call).await
    }

    async fn prune_keys(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.ports.upkeep.prune_keys(age, limit).await
    }

    async fn watch_clock(&self) -> Result<WatchedClock, StoreError> {
        self.ports.upkeep.watch_clock().await
    }
}

#[async_trait]
impl WorkflowStore for Failing {
    async fn start(&self, workflows: &[NewWorkflow]) -> Result<Vec<StartedWorkflow>, StoreError> {
        let call = self.ports.workflows.start(workflows);
        self.points.call(Place::Start, call).await
    }

    async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let call = self.ports.workflows.control(workflow, control);
        self.points.call(Place::Control, call).await
    }

    async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let call = self.ports.workflows.decide(task, decision);
        self.points.call(Place::Decide, call).await
    }

    async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let workflows = &self.ports.workflows;
        let call = workflows.signal(workflow, name, payload, idempotency);
        self.points.call(Place::Signal, call).await
    }

    async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<TaskId>, StoreError> {
        let call = self.ports.workflows.redrive(filter, limit, idempotency);
        self.points.call(Place::Redrive, call).await
    }
}

#[async_trait]
impl DefinitionStore for Failing {
    async fn put(
        &self,
        name: &DefinitionName,
        definition: &Definition,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        let call = self.ports.definitions.put(name, definition, at);
        self.points.call(Place::PutDefinition, call).await
    }

    async fn find(
        &self,
        name: &DefinitionName,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, StoreError> {
        self.ports.definitions.find(name, version).await
    }

    async fn list(&self, page: PageRequest) -> Result<Page<DefinitionRecord>, StoreError> {
        self.ports.definitions.list(page).await
    }
}

#[async_trait]
impl QueueStore for Failing {
    async fn stats(&self) -> Result<Vec<QueueStats>, StoreError> {
        self.ports.queues.stats().await
    }

    async fn limit(&self, queue: &QueueName, limits: QueueLimits) -> Result<(), StoreError> {
        let call = self.ports.queues.limit(queue, limits);
        self.points.call(Place::Limit, call).await
    }
}

#[async_trait]
impl ScheduleStore for Failing {
    async fn put(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let call = self.ports.schedules.put(schedule);
        self.points.call(Place::PutSchedule, call).await
    }

    async fn replace(&self, known: &Schedule, schedule: &Schedule) -> Result<bool, StoreError> {
        let call = self.ports.schedules.replace(known, schedule);
        self.points.call(Place::PutSchedule, call).await
    }

    async fn remove(&self, name: &ScheduleName) -> Result<bool, StoreError> {
        let call = self.ports.schedules.remove(name);
        self.points.call(Place::RemoveSchedule, call).await
    }

    async fn list(&self, page: PageRequest) -> Result<Page<(i64, ListedSchedule)>, StoreError> {
        self.ports.schedules.list(page).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<DueSchedules, StoreError> {
        self.ports.schedules.due(now, limit).await
    }

    async fn fire(
        &self,
        schedule: &Schedule,
        next: Option<Timestamp>,
        workflow: Option<&NewWorkflow>,
    ) -> Result<bool, StoreError> {
        let call = self.ports.schedules.fire(schedule, next, workflow);
        self.points.call(Place::Fire, call).await
    }
}
