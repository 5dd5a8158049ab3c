//! What a step changed: everything a store has to write, and nothing it has to decide.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Json, NewWorkflowEvent, SignalName, TaskNo, WorkflowStatus};
use crate::Timestamp;

/// A change of the line of tasks that wait for workers or are with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueMove {
    /// The task waits for a worker, with what its record says. It keeps its concurrency keys where
    /// `holds_keys`: the effect of a lost worker may still go on.
    Enter {
        /// The task.
        no: TaskNo,
        /// Whether its keys stay taken while it waits.
        holds_keys: bool,
    },
    /// A worker took the task.
    Take {
        /// The task.
        no: TaskNo,
    },
    /// The task no longer waits or runs.
    Leave {
        /// The task.
        no: TaskNo,
    },
    /// The task's worker must stop.
    Stop {
        /// The task.
        no: TaskNo,
    },
}

/// What a moment is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WakeKind {
    /// The workflow starts.
    Start,
    /// The workflow's time is up.
    WorkflowDeadline,
    /// The next attempt of a task.
    Retry {
        /// The task.
        no: TaskNo,
        /// The attempt that failed.
        attempt: u32,
    },
    /// The end of a timer, or of the wait for a signal.
    WaitOver {
        /// The task.
        no: TaskNo,
        /// The attempt that waits.
        attempt: u32,
    },
    /// A task's time over all attempts is up.
    TaskDeadline {
        /// The task.
        no: TaskNo,
    },
    /// The child of a task has ended.
    ChildEnded {
        /// The task.
        no: TaskNo,
        /// How.
        status: WorkflowStatus,
    },
    /// The child of a task must be cancelled.
    CancelChild {
        /// The task.
        no: TaskNo,
    },
}

impl WakeKind {
    /// The task it is about.
    #[must_use]
    pub const fn task(self) -> Option<TaskNo> {
        match self {
            Self::Start | Self::WorkflowDeadline => None,
            Self::Retry { no, .. }
            | Self::WaitOver { no, .. }
            | Self::TaskDeadline { no }
            | Self::ChildEnded { no, .. }
            | Self::CancelChild { no } => Some(no),
        }
    }

    /// The word used in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::WorkflowDeadline => "workflow_deadline",
            Self::Retry { .. } => "retry",
            Self::WaitOver { .. } => "wait_over",
            Self::TaskDeadline { .. } => "task_deadline",
            Self::ChildEnded { .. } => "child_ended",
            Self::CancelChild { .. } => "cancel_child",
        }
    }
}

/// A moment at which the run wants to be looked at again. A moment that is no longer waited for when it
/// comes does nothing, so none has to be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// When.
    pub at: Timestamp,
    /// What for.
    pub kind: WakeKind,
}

/// What a step changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Whether the head changed.
    pub head: bool,
    /// The tasks whose records changed.
    pub tasks: BTreeSet<TaskNo>,
    /// New results; they go into the records of their tasks.
    pub results: BTreeMap<TaskNo, Json>,
    /// Moves in the queue, in this order.
    pub queue: Vec<QueueMove>,
    /// Moments to wake up at.
    pub wakes: Vec<Wake>,
    /// Whether the queued tasks of the run are out of reach of workers (`Some(true)`) or in reach
    /// again (`Some(false)`).
    pub parked: Option<bool>,
    /// Signals that were taken, by position.
    pub taken_signals: Vec<i64>,
    /// A signal that no task waits for yet.
    pub kept_signal: Option<(SignalName, Json)>,
    /// Whether the waiting parent gets the end: a [`WakeKind::ChildEnded`] for it, now.
    pub tell_parent: Option<WorkflowStatus>,
    /// Facts to write down, in this order.
    pub events: Vec<NewWorkflowEvent>,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the changes of a later step of the same run.
    pub fn absorb(&mut self, later: Self) {
        self.head |= later.head;
        self.tasks.extend(later.tasks);
        self.results.extend(later.results);
        self.queue.extend(later.queue);
        self.wakes.extend(later.wakes);
        self.parked = later.parked.or(self.parked);
        self.taken_signals.extend(later.taken_signals);
        self.kept_signal = later.kept_signal.or_else(|| self.kept_signal.take());
        self.tell_parent = later.tell_parent.or(self.tell_parent);
        self.events.extend(later.events);
    }
}
