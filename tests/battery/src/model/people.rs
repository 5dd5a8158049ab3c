//! Clients who order workflows, people who interfere, and one who reads along.

use std::time::Duration;

use drover_domain::workflow::queue::{QueueLimits, RateLimit};
use drover_domain::workflow::run::{Control, Decision, TaskError};
use drover_domain::workflow::{
    Action, Definition, Json, NewWorkflowEvent, TaskId, TaskStatus, WorkflowId, WorkflowStatus,
};

use super::calls::{Answer, Call};
use super::chance::Chance;
use super::invariant::{Broken, Invariant, require};
use super::network::Party;
use super::sim::World;

/// A requested workflow.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) definition: Definition,
    pub(super) start_after: Option<Duration>,
    pub(super) deadline: Option<Duration>,
    /// Its identifier, once its client got it.
    pub(super) acknowledged: Option<WorkflowId>,
}

impl Order {
    pub(super) fn new(definition: Definition, chance: &mut Chance) -> Self {
        let start_after = match chance.below(8) {
            0 => None,
            1 => Some(chance.seconds(1, 20)),
            _ => Some(Duration::ZERO),
        };
        Self {
            definition,
            start_after,
            deadline: chance.one_in(8).then(|| chance.seconds(20, 120)),
            acknowledged: None,
        }
    }
}

/// A reader of all events, page by page.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What was read.
    pub(super) seen: Vec<(WorkflowId, NewWorkflowEvent)>,
}

impl World {
    /// Clients repeat requests without an answer.
    pub(super) fn order(&mut self) {
        let open = |order: &Order| order.acknowledged.is_none();
        let orders: Vec<usize> = (0..self.orders.len())
            .filter(|at| open(&self.orders[*at]))
            .collect();
        if let Some(order) = self.chance.among(&orders).copied() {
            self.call(Party::Client, Call::Start { order });
        }
    }

    /// The reader asks for the next page.
    pub(super) fn read_on(&mut self) {
        let from = self.reader.seen.len();
        self.call(Party::Reader, Call::Read { from });
    }

    /// The reader gets a page; it is only interested in what follows what it has.
    pub(super) fn read(&mut self, answer: &Answer) -> Result<(), Broken> {
        if let Answer::Events { from, events } = answer
            && *from == self.reader.seen.len()
        {
            self.reader.seen.extend(events.iter().cloned());
        }
        let seen = self.reader.seen.len();
        let is_there = seen <= self.store.events.len();
        require(is_there, Invariant::Readers, "what was read is not there")
    }

    /// A person makes a request, whether it makes sense or not.
    pub(super) fn interfere(&mut self) {
        let workflows: Vec<WorkflowId> = self.store.runs.keys().copied().collect();
        let Some(workflow) = self.chance.among(&workflows).copied() else {
            return;
        };
        self.tally.wishes += 1;
        let call = match self.chance.below(30) {
            0 | 1 => control(workflow, Control::Start),
            2 | 3 => control(workflow, Control::Pause),
            4..=9 => control(workflow, Control::Resume),
            10 => {
                let reason = "somebody said so".to_owned();
                control(workflow, Control::Cancel { reason })
            }
            11..=18 => {
                let at = self.chance.below(self.names.signals.len());
                let name = self.names.signals[at].clone();
                Call::Signal { workflow, name }
            }
            19..=28 => match self.some_task(workflow) {
                Some(task) => {
                    let decision = self.some_decision();
                    Call::Decide { task, decision }
                }
                None => return,
            },
            _ => self.some_limits(),
        };
        self.call(Party::Person, call);
    }

    /// A task of a workflow, rather one about which something can be decided.
    fn some_task(&mut self, workflow: WorkflowId) -> Option<TaskId> {
        let run = self.store.runs.get(&workflow)?;
        let is_tempting = |status| {
            matches!(
                status,
                TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Unknown
            )
        };
        let all: Vec<TaskId> = run.tasks.keys().map(|no| workflow.task(*no)).collect();
        let tempting = run.tasks.values().filter(|task| is_tempting(task.status));
        let tempting: Vec<TaskId> = tempting.map(|task| workflow.task(task.no)).collect();
        if tempting.is_empty() || self.chance.one_in(4) {
            self.chance.among(&all).copied()
        } else {
            self.chance.among(&tempting).copied()
        }
    }

    fn some_decision(&mut self) -> Decision {
        match self.chance.below(10) {
            0..=5 => Decision::Retry,
            6 | 7 => Decision::Skip,
            8 => Decision::Succeeded {
                result: Json::null(),
            },
            _ => Decision::Failed {
                error: TaskError::new("looked_at", "it did not work"),
            },
        }
    }

    fn some_limits(&mut self) -> Call {
        let at = self.chance.below(self.names.queues.len());
        let queue = self.names.queues[at].clone();
        let limits = QueueLimits {
            is_paused: self.chance.one_in(4),
            concurrency: self.chance.one_in(2).then_some(2),
            rate: self
                .chance
                .one_in(3)
                .then(|| RateLimit::new(2, Duration::from_secs(5)).ok())
                .flatten(),
        };
        Call::Limit { queue, limits }
    }

    /// People see to everything that waits for them.
    pub(super) fn decide_everything(&mut self) {
        let mut wishes = Vec::new();
        for run in self.store.runs.values() {
            let workflow = run.head.id;
            match run.head.status {
                WorkflowStatus::Pending => wishes.push(control(workflow, Control::Start)),
                WorkflowStatus::Paused => wishes.push(control(workflow, Control::Resume)),
                WorkflowStatus::Draft
                | WorkflowStatus::Running
                | WorkflowStatus::Succeeded
                | WorkflowStatus::Failed
                | WorkflowStatus::Cancelling
                | WorkflowStatus::Cancelled
                | WorkflowStatus::Compensating
                | WorkflowStatus::Compensated
                | WorkflowStatus::NeedsHuman => {}
            }
            let needs_human = run.head.status == WorkflowStatus::NeedsHuman;
            for task in run.tasks.values() {
                let no = task.no;
                let is_stuck = task.status.is_terminal()
                    && !matches!(task.status, TaskStatus::Succeeded | TaskStatus::Skipped);
                let is_stuck = needs_human && task.undoes.is_some() && is_stuck;
                if is_stuck || task.status == TaskStatus::Unknown {
                    let mut decision = self.chance.percent(40).then_some(Decision::Retry);
                    if !is_stuck && self.chance.percent(30) {
                        let result = Json::null();
                        decision = Some(Decision::Succeeded { result });
                    }
                    let decision = decision.unwrap_or(Decision::Skip);
                    let task = workflow.task(no);
                    wishes.push(Call::Decide { task, decision });
                } else if let (TaskStatus::Waiting, Action::Signal { name, .. }) =
                    (task.status, &task.action)
                {
                    let name = name.clone();
                    wishes.push(Call::Signal { workflow, name });
                }
            }
        }
        for wish in wishes {
            self.tally.wishes += 1;
            self.call(Party::Person, wish);
        }
    }

    /// All queues are resumed.
    pub(super) fn open_queues(&mut self) {
        for queue in self.names.queues.clone() {
            let limits = QueueLimits::default();
            self.call(Party::Person, Call::Limit { queue, limits });
        }
    }
}

const fn control(workflow: WorkflowId, control: Control) -> Call {
    Call::Control { workflow, control }
}
