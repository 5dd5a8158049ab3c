//! The durable engine's ports in memory: whole runs, and what the database of an adapter keeps beside them.

mod events;
mod lines;
mod queue;
mod registry;
mod rollouts;
mod runs;
mod side_door;
mod stored;
mod upkeep;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::workflow::queue::{QueueLimits, Tokens};
use drover_domain::workflow::run::{Changes, Input, QueueMove, Refusal, WakeKind};
use drover_domain::workflow::{
    ClockWatch, EventKind, EventPosition, LeaseId, QueueName, Schedule, TaskId, TaskKey,
    WorkflowEvent, WorkflowId,
};
use drover_ports::{DefinitionRecord, StoreError};
use tokio::time::Instant;

use self::events::Hints;
use self::lines::QueueRow;
use self::stored::StoredWorkflow;

/// What the engine keeps.
#[derive(Debug, Default)]
pub(super) struct Engine {
    clock: DatabaseClock,
    last: i64,
    workflows: BTreeMap<WorkflowId, StoredWorkflow>,
    /// How many workflows are below one that no task started.
    descendants: BTreeMap<WorkflowId, u32>,
    queue: BTreeMap<TaskId, QueueRow>,
    leases: BTreeMap<LeaseId, Lease>,
    wakes: BTreeMap<(Timestamp, i64), (WorkflowId, WakeKind)>,
    requests: BTreeMap<(String, String), Request>,
    watch: Option<ClockWatch>,
    redriven: BTreeMap<(String, String), (Vec<u8>, Vec<TaskId>)>,
    events: BTreeMap<EventPosition, (WorkflowEvent, Option<TaskKey>)>,
    pruned_to: Option<EventPosition>,
    held_event: Option<WorkflowId>,
    definitions: BTreeMap<i64, DefinitionRecord>,
    limits: BTreeMap<QueueName, (QueueLimits, Option<Tokens>)>,
    schedules: BTreeMap<i64, Schedule>,
    hints: Hints,
}

#[derive(Debug)]
struct Lease {
    worker: String,
    until: Timestamp,
}

/// What came of the first request with an idempotency key.
#[derive(Debug)]
struct Request {
    digest: Vec<u8>,
    workflow: WorkflowId,
    /// When it was made, where the key ends by age and not with the workflow.
    made_at: Option<Timestamp>,
}

/// The database's clock: tokio's, so that a test with paused time decides.
#[derive(Debug)]
struct DatabaseClock {
    zero: Instant,
}

impl DatabaseClock {
    const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn now(&self) -> Timestamp {
        Self::START.after(self.zero.elapsed())
    }
}

impl Default for DatabaseClock {
    fn default() -> Self {
        Self {
            zero: Instant::now(),
        }
    }
}

impl Engine {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn draw(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// Lets something happen to a workflow, as one transaction. Refused, nothing changed; a workflow
    /// that is gone is left alone.
    fn step(&mut self, id: WorkflowId, input: Input) -> Result<(), Refusal> {
        let now = self.now();
        let Some(stored) = self.workflows.get_mut(&id) else {
            return Ok(());
        };
        let mut part = stored.part(&input);
        let changes = part.apply(input, now)?;
        stored.put_back(part);
        self.write(id, &changes, now);
        Ok(())
    }

    /// Writes what a step changed besides the run itself.
    fn write(&mut self, id: WorkflowId, changes: &Changes, now: Timestamp) {
        let last = &mut self.last;
        let Some(stored) = self.workflows.get_mut(&id) else {
            return;
        };
        stored.record(changes, now, last);
        let head = &stored.run.head;
        let mut wakes: Vec<(Timestamp, WorkflowId, WakeKind)> = changes
            .wakes
            .iter()
            .map(|wake| (wake.at, id, wake.kind))
            .collect();
        if let Some((status, parent)) = changes.tell_parent.zip(head.parent)
            && let Some(no) = parent.no()
        {
            wakes.push((now, parent.workflow(), WakeKind::ChildEnded { no, status }));
        }
        self.move_tasks(id, changes, now);
        for (at, workflow, kind) in wakes {
            let position = self.draw();
            self.wakes.insert((at, position), (workflow, kind));
        }
        self.tell(id, changes, now);
    }

    fn move_tasks(&mut self, id: WorkflowId, changes: &Changes, now: Timestamp) {
        let Some(stored) = self.workflows.get(&id) else {
            return;
        };
        for change in &changes.queue {
            match *change {
                QueueMove::Enter { no, holds_keys } => {
                    self.last += 1;
                    let row = stored.run.tasks.get(&no).and_then(|task| {
                        let place = (self.last, now);
                        QueueRow::new(&stored.run.head, task, place, holds_keys)
                    });
                    if let Some(row) = row {
                        self.queue.insert(id.task(no), row);
                    }
                }
                // The claim writes the lease: the step does not know it.
                QueueMove::Take { .. } => {}
                QueueMove::Leave { no } => {
                    self.queue.remove(&id.task(no));
                }
                QueueMove::Stop { no } => {
                    if let Some(row) = self.queue.get_mut(&id.task(no)) {
                        row.shall_stop = true;
                    }
                }
            }
        }
        if let Some(parked) = changes.parked {
            for (_, row) in self
                .queue
                .iter_mut()
                .filter(|(task, _)| task.workflow() == id)
            {
                row.is_parked = parked;
            }
        }
        let is_work = changes
            .queue
            .iter()
            .any(|change| !matches!(change, QueueMove::Take { .. }));
        if is_work || changes.parked == Some(false) {
            self.hints.work();
        }
    }

    fn tell(&mut self, id: WorkflowId, changes: &Changes, now: Timestamp) {
        if changes.events.is_empty() {
            return;
        }
        let batch = self.draw();
        let tasks = self.workflows.get(&id).map(|stored| &stored.run.tasks);
        for (index, event) in (0..).zip(&changes.events) {
            let position = EventPosition { batch, index };
            let key = event.task.and_then(|no| Some(tasks?.get(&no)?.key.clone()));
            let event = WorkflowEvent {
                position,
                workflow: id,
                at: now,
                event: event.clone(),
            };
            self.events.insert(position, (event, key));
        }
        self.hints.events();
    }

    /// Takes a task from its worker, because the lease is over.
    fn lose(&mut self, task: TaskId) {
        let attempt = self.workflows.get(&task.workflow()).and_then(|stored| {
            let no = task.no()?;
            Some((no, stored.run.tasks.get(&no)?.attempt))
        });
        if let Some((no, attempt)) = attempt {
            self.step(task.workflow(), Input::Lost { no, attempt })
                .expect("what a lease holds is running");
        }
    }

    /// How long until the first of `moments`.
    fn wait_until(&self, moments: impl Iterator<Item = Timestamp>) -> Option<Duration> {
        let now = self.now();
        moments.min().map(|first| first.since(now))
    }
}

/// Whether a workflow started by these changes.
fn tells_start(changes: &Changes) -> bool {
    changes
        .events
        .iter()
        .any(|event| event.kind == EventKind::WorkflowStarted)
}

fn refused(refusal: &Refusal) -> StoreError {
    StoreError::Refused {
        reason: refusal.to_string(),
    }
}
