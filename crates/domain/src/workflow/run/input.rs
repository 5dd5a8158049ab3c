//! What can happen to a run, and why it may be refused.

use super::super::{Json, SignalName, TaskKey, TaskNo, TaskStatus, WorkflowStatus};
use super::{FAMILY_DEPTH_MAX, FAMILY_SIZE_MAX, Head, SIGNALS_MAX, WakeKind};

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    /// A stable word; retry policies name these. At most [`TaskError::CODE_MAX`] characters.
    pub code: String,
    /// A sentence for people, without secrets. At most [`TaskError::MESSAGE_MAX`] characters.
    pub message: String,
}

impl TaskError {
    /// The most characters of a code.
    pub const CODE_MAX: usize = 64;
    /// The most characters of a message; longer ones are cut.
    pub const MESSAGE_MAX: usize = 4_000;

    /// An error; what is too long is cut.
    #[must_use]
    pub fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.chars().take(Self::CODE_MAX).collect(),
            message: message.chars().take(Self::MESSAGE_MAX).collect(),
        }
    }
}

/// How an attempt ended, as its worker says.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did what it should.
    Succeeded {
        /// What came of it.
        result: Json,
    },
    /// It did not.
    Failed {
        /// Why.
        error: TaskError,
        /// Whether another attempt may help; the task's policy has the last word.
        retryable: bool,
    },
    /// It took longer than its timeout and was stopped.
    TimedOut,
    /// Its effect is unknown.
    Unknown {
        /// Why not.
        error: TaskError,
    },
    /// It started its child and waits for its end; a failure of a task that has no child.
    Waiting,
    /// It was asked to stop and did.
    Cancelled,
    /// Its worker has done nothing and gives it back: another worker may do it.
    Released,
}

/// What a person wants of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Start it.
    Start,
    /// Start no more tasks.
    Pause,
    /// Start tasks again.
    Resume,
    /// Call it off.
    Cancel {
        /// Why, in a sentence.
        reason: String,
    },
}

/// What a person decides about a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Do it again.
    Retry,
    /// Do without it.
    Skip,
    /// It worked after all; for a task that is unknown.
    Succeeded {
        /// What came of it.
        result: Json,
    },
    /// It did not work; for a task that is unknown.
    Failed {
        /// Why.
        error: TaskError,
    },
}

/// Something that happens to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A worker took a queued task.
    Claimed {
        /// The task.
        no: TaskNo,
        /// Who took it.
        worker: String,
    },
    /// A worker reports how an attempt ended.
    Ended {
        /// The task.
        no: TaskNo,
        /// Which attempt; another one than the current is refused.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// The lease of a running task ran out.
    Lost {
        /// The task.
        no: TaskNo,
        /// Which attempt.
        attempt: u32,
    },
    /// An attempt has taken longer than its timeout, and its worker did not say so.
    Overdue {
        /// The task.
        no: TaskNo,
        /// Which attempt.
        attempt: u32,
    },
    /// A moment came that an earlier step asked for.
    Due {
        /// What it was asked for.
        kind: WakeKind,
    },
    /// A signal arrived. At most one to each load of a run: where it is kept is known only when it has been
    /// written, and what is released before that does not find it.
    Signal {
        /// Its name.
        name: SignalName,
        /// What it brings.
        payload: Json,
    },
    /// A person wants something of the workflow.
    Control(Control),
    /// A person decides about a task.
    Decide {
        /// The task.
        no: TaskNo,
        /// What.
        decision: Decision,
    },
}

impl Input {
    /// Whether the input may touch any task of the run. Otherwise the named task, and for a success
    /// those that wait for it, are enough.
    #[must_use]
    pub fn needs_whole_run(&self, head: &Head) -> bool {
        let goes_well = matches!(
            head.status,
            WorkflowStatus::Running | WorkflowStatus::Paused
        ) && head.failed == 0
            && !head.has_signals;
        match self {
            Self::Claimed { .. } => false,
            Self::Ended { outcome, .. } => match outcome {
                Outcome::Succeeded { .. } => !goes_well,
                Outcome::Released
                | Outcome::Failed { .. }
                | Outcome::TimedOut
                | Outcome::Unknown { .. }
                | Outcome::Waiting
                | Outcome::Cancelled => true,
            },
            Self::Lost { .. }
            | Self::Overdue { .. }
            | Self::Due { .. }
            | Self::Signal { .. }
            | Self::Control(_)
            | Self::Decide { .. } => true,
        }
    }

    /// The task the input is about, if it is about one.
    #[must_use]
    pub const fn task(&self) -> Option<TaskNo> {
        match self {
            Self::Claimed { no, .. }
            | Self::Ended { no, .. }
            | Self::Lost { no, .. }
            | Self::Overdue { no, .. }
            | Self::Decide { no, .. } => Some(*no),
            Self::Due { kind } => kind.task(),
            Self::Signal { .. } | Self::Control(_) => None,
        }
    }
}

/// Why an input changed nothing. All but the last two are found before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The writer's attempt is over.
    #[error("attempt {attempt} of the task is over; somebody else has it or it has ended")]
    Stale {
        /// The writer's attempt.
        attempt: u32,
    },
    /// The workflow has ended.
    #[error("the workflow is {}", status.as_str())]
    Finished {
        /// How.
        status: WorkflowStatus,
    },
    /// The workflow is in a state that does not allow it.
    #[error("a workflow that is {} cannot be {wish}", status.as_str())]
    WorkflowState {
        /// The state.
        status: WorkflowStatus,
        /// What was wished, as a participle.
        wish: &'static str,
    },
    /// The task is in a state that does not allow it.
    #[error("the task `{key}` is {} in a workflow that is {}; it cannot be {wish}", status.as_str(), workflow.as_str())]
    TaskState {
        /// The task.
        key: TaskKey,
        /// Its state.
        status: TaskStatus,
        /// The workflow's state.
        workflow: WorkflowStatus,
        /// What was wished, as a participle.
        wish: &'static str,
    },
    /// The workflow keeps as many untaken signals as it may.
    #[error("the workflow keeps {SIGNALS_MAX} signals that no task has taken; it keeps no more")]
    TooManySignals,
    /// Too many workflows stand above it.
    #[error(
        "{FAMILY_DEPTH_MAX} workflows stand above the new one, each started by a task of the one before; more are not \
         allowed. Look whether a definition starts itself"
    )]
    TooDeep,
    /// Too many workflows have the same topmost one.
    #[error(
        "the tasks of one workflow have started {FAMILY_SIZE_MAX} workflows, directly and through each other; more are \
         not allowed. Look whether a definition starts itself"
    )]
    FamilyTooLarge,
    /// A workflow above it starts nothing.
    #[error("a workflow above the new one is {}; nothing is started below it", status.as_str())]
    FamilyClosed {
        /// Where that one stands.
        status: WorkflowStatus,
    },
    /// There is no such task.
    #[error("the workflow has no task number {no}")]
    NoSuchTask {
        /// Its number.
        no: TaskNo,
    },
    /// The rules of moves were broken: a defect of ours.
    #[error(transparent)]
    Illegal(#[from] super::super::IllegalMove),
}

impl Refusal {
    /// Whether a contract was broken: the run may then be half changed, and must be dropped.
    #[must_use]
    pub const fn is_defect(&self) -> bool {
        match self {
            Self::NoSuchTask { .. } | Self::Illegal(_) => true,
            Self::Stale { .. }
            | Self::Finished { .. }
            | Self::WorkflowState { .. }
            | Self::TaskState { .. }
            | Self::TooManySignals
            | Self::TooDeep
            | Self::FamilyTooLarge
            | Self::FamilyClosed { .. } => false,
        }
    }
}
