//! The state that a reader of the log knows: what is open, and what waits for a person.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::workflow::{EventKind, EventPosition, TaskId, WorkflowId, WorkflowStatus};

use super::evidence::Told;
use super::ledger::{Deed, Entry};
use super::order::{Order, Verdict};
use super::plan::{Plan, Shape};

/// The state that a reader of the log knows.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) told: Vec<Told>,
    pub(crate) position: EventPosition,
    /// Workflows that have not ended.
    open: BTreeSet<WorkflowId>,
    ended: BTreeMap<WorkflowId, WorkflowStatus>,
    /// Tasks with an unknown result.
    unknown: BTreeSet<TaskId>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            told: Vec::new(),
            position: EventPosition::START,
            open: BTreeSet::new(),
            ended: BTreeMap::new(),
            unknown: BTreeSet::new(),
        }
    }
}

impl Watch {
    pub(crate) fn learn(&mut self, told: Vec<Told>) {
        for (event, _) in &told {
            let id = event.workflow;
            if let Some(no) = event.event.task {
                let task = id.task(no);
                if event.event.kind == EventKind::TaskUnknown {
                    self.unknown.insert(task);
                } else {
                    self.unknown.remove(&task);
                }
                continue;
            }
            let status = match event.event.kind {
                EventKind::WorkflowCompleted => Some(WorkflowStatus::Succeeded),
                EventKind::WorkflowFailed => Some(WorkflowStatus::Failed),
                EventKind::WorkflowCancelled => Some(WorkflowStatus::Cancelled),
                EventKind::WorkflowCompensated => Some(WorkflowStatus::Compensated),
                EventKind::WorkflowNeedsHuman => Some(WorkflowStatus::NeedsHuman),
                EventKind::SignalReceived => continue,
                _ => None,
            };
            if let Some(status) = status {
                self.open.remove(&id);
                self.ended.insert(id, status);
            } else {
                self.ended.remove(&id);
                self.open.insert(id);
            }
        }
        self.told.extend(told);
    }

    /// How many workflows go on by themselves.
    pub(crate) fn going_on(&self) -> usize {
        self.moving().count()
    }

    fn moving(&self) -> impl Iterator<Item = &WorkflowId> {
        let waiting: BTreeSet<WorkflowId> =
            self.unknown.iter().map(|task| task.workflow()).collect();
        self.open.iter().filter(move |id| !waiting.contains(id))
    }

    /// Whether a workflow was seen.
    pub(crate) fn knows(&self, id: WorkflowId) -> bool {
        self.open.contains(&id) || self.ended.contains_key(&id)
    }

    /// What still goes on, for people.
    pub(crate) fn stuck(&self) -> Vec<String> {
        self.moving().map(ToString::to_string).collect()
    }

    /// Whether everything has ended for good.
    pub(crate) fn is_over(&self, plan: Plan) -> bool {
        self.open.is_empty() && !self.has_poisoned(plan)
    }

    /// Whether something failed that has to be done again.
    pub(crate) fn has_poisoned(&self, plan: Plan) -> bool {
        self.ended.iter().any(|(id, status)| {
            let number = Plan::number(*id);
            *status == WorkflowStatus::Failed
                && plan.shape(number) == Shape::Poison
                && !self.is_decided_failure(*id)
        })
    }

    // The second task of a poisoned workflow may be one that a person resolved as failed.
    fn is_decided_failure(&self, id: WorkflowId) -> bool {
        self.told.iter().rev().any(|(event, key)| {
            event.workflow == id
                && event.event.kind == EventKind::TaskFailed
                && key.as_ref().is_some_and(|key| key.as_str() == "b")
        })
    }

    /// The decisions of a person with the ledger about tasks with an unknown result.
    pub(crate) fn verdicts(&self, ledger: &[Entry]) -> Vec<Order> {
        let said = |task: &TaskId| {
            let has = |deed: Deed| {
                let mut entries = ledger.iter().filter(|entry| entry.task == *task);
                entries.any(|entry| entry.deed == deed)
            };
            let verdict = if has(Deed::Effect) {
                Verdict::Succeeded
            } else if has(Deed::Begin) {
                Verdict::Failed
            } else {
                Verdict::Retry
            };
            Order::Decide {
                task: *task,
                verdict,
            }
        };
        self.unknown.iter().map(said).collect()
    }

    pub(crate) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }
}

/// The further orders for a workflow of the plan after its start.
pub(crate) fn follow_up(plan: Plan, number: u64) -> Option<Order> {
    match plan.shape(number) {
        Shape::Signal => Some(Order::Signal { number }),
        Shape::CalledOff | Shape::CalledOffParent => Some(Order::Cancel { number }),
        Shape::Paused => Some(Order::Pause { number }),
        Shape::Single
        | Shape::Chain
        | Shape::Diamond
        | Shape::Flaky
        | Shape::Poison
        | Shape::Saga
        | Shape::Parent
        | Shape::Locked
        | Shape::Delayed => None,
    }
}
