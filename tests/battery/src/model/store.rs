//! What the simulated database keeps.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::Timestamp;
use drover_domain::workflow::queue::{QueueLimits, Tokens};
use drover_domain::workflow::run::{Input, Run, Task, WakeKind};
use drover_domain::workflow::{NewWorkflowEvent, QueueName, TaskId, WorkflowId, WorkflowStatus};

/// A lease, by its number.
pub(super) type LeaseNo = u64;

/// The tables.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) runs: BTreeMap<WorkflowId, Run>,
    pub(super) queue: BTreeMap<TaskId, Row>,
    pub(super) leases: BTreeMap<LeaseNo, Timestamp>,
    pub(super) wakes: BTreeMap<(Timestamp, u64), (WorkflowId, WakeKind)>,
    pub(super) events: Vec<(WorkflowId, NewWorkflowEvent)>,
    pub(super) limits: BTreeMap<QueueName, (QueueLimits, Option<Tokens>)>,
    /// Requests with an idempotency key, and the workflows they were about.
    pub(super) requests: BTreeMap<Request, WorkflowId>,
    /// The last number that was drawn.
    pub(super) last: u64,
}

/// What makes a repetition the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Request {
    /// To start the workflow that was ordered under this number.
    Order(usize),
    /// To start the child of a task.
    Child(TaskId),
    /// To bring a signal; the number of the call.
    Signal(u64),
}

/// A task that waits for a worker or is with one.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) position: u64,
    pub(super) lease: Option<LeaseNo>,
    pub(super) claimed_at: Timestamp,
    pub(super) shall_stop: bool,
    pub(super) holds_keys: bool,
    pub(super) is_parked: bool,
}

impl Store {
    pub(super) fn draw(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn task(&self, task: TaskId) -> Option<&Task> {
        self.runs.get(&task.workflow())?.tasks.get(&task.no()?)
    }

    /// The rows that a lease holds, in the order of the queue.
    pub(super) fn held_by(&self, lease: LeaseNo) -> Vec<TaskId> {
        let held = self
            .queue
            .iter()
            .filter(|(_, row)| row.lease == Some(lease));
        let mut held: Vec<(u64, TaskId)> = held.map(|(task, row)| (row.position, *task)).collect();
        held.sort_unstable();
        held.into_iter().map(|(_, task)| task).collect()
    }

    pub(super) fn leases_in_use(&self) -> BTreeSet<LeaseNo> {
        self.queue.values().filter_map(|row| row.lease).collect()
    }

    pub(super) fn children_of(&self, parent: TaskId) -> Vec<WorkflowId> {
        let of = |run: &&Run| run.head.parent == Some(parent);
        self.runs
            .values()
            .filter(of)
            .map(|run| run.head.id)
            .collect()
    }

    /// The workflows above one with this parent, the nearest first.
    pub(super) fn above(&self, parent: Option<TaskId>) -> Vec<WorkflowId> {
        let up = |id: &WorkflowId| self.runs.get(id)?.head.parent.map(TaskId::workflow);
        std::iter::successors(parent.map(TaskId::workflow), up).collect()
    }

    /// How many workflows are below the one at the top of these.
    pub(super) fn size_below(&self, above: &[WorkflowId]) -> u32 {
        let top = above.last();
        let is_below = |run: &&Run| top.is_some() && self.above(run.head.parent).last() == top;
        u32::try_from(self.runs.values().filter(is_below).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn status(&self, workflow: WorkflowId) -> Option<WorkflowStatus> {
        Some(self.runs.get(&workflow)?.head.status)
    }

    /// A copy of what an input needs of a run: never more, so that a step that would need more shows.
    pub(super) fn part(run: &Run, input: &Input) -> Run {
        if input.needs_whole_run(&run.head) {
            return run.clone();
        }
        let named = input.task().and_then(|no| run.tasks.get(&no));
        let behind = named.iter().flat_map(|task| &task.dependants);
        let behind = behind.filter_map(|(no, _)| run.tasks.get(no));
        Run {
            head: run.head.clone(),
            tasks: named
                .into_iter()
                .chain(behind)
                .map(|task| (task.no, task.clone()))
                .collect(),
            signals: Vec::new(),
        }
    }
}
