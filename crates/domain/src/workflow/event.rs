//! What happened to a workflow: immutable facts in the order in which they became true.

use std::fmt;
use std::str::FromStr;

use super::{TaskNo, WorkflowId};
use crate::Timestamp;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident => $word:literal,)+) => {
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $($(#[doc = $doc])* $name,)+
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word used in storage and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// It was created and has not started.
    WorkflowCreated => "workflow_created",
    /// Its tasks may run.
    WorkflowStarted => "workflow_started",
    /// No task starts until it is resumed.
    WorkflowPaused => "workflow_paused",
    /// Tasks start again.
    WorkflowResumed => "workflow_resumed",
    /// Every task succeeded or was rightly skipped.
    WorkflowCompleted => "workflow_completed",
    /// A task did not succeed.
    WorkflowFailed => "workflow_failed",
    /// It is being called off.
    WorkflowCancelling => "workflow_cancelling",
    /// It was called off.
    WorkflowCancelled => "workflow_cancelled",
    /// What it did is being undone.
    WorkflowCompensating => "workflow_compensating",
    /// What it did is undone.
    WorkflowCompensated => "workflow_compensated",
    /// Undoing it failed: a person must look.
    WorkflowNeedsHuman => "workflow_needs_human",
    /// A person reopened it to do a task again.
    WorkflowReopened => "workflow_reopened",
    /// A signal arrived; the detail is its name.
    SignalReceived => "signal_received",
    /// A worker may take the task.
    TaskQueued => "task_queued",
    /// A worker took it; the detail is the worker.
    TaskStarted => "task_started",
    /// It succeeded.
    TaskCompleted => "task_completed",
    /// An attempt failed and another one is due later.
    TaskRetrying => "task_retrying",
    /// It waits for a signal, a timer or a child.
    TaskWaiting => "task_waiting",
    /// It failed for good.
    TaskFailed => "task_failed",
    /// Its time ran out.
    TaskTimedOut => "task_timed_out",
    /// It was called off.
    TaskCancelled => "task_cancelled",
    /// Something it depends on did not succeed, or a person skipped it.
    TaskSkipped => "task_skipped",
    /// Its effect is unknown.
    TaskUnknown => "task_unknown",
    /// Its worker went away; it is queued again.
    TaskLost => "task_lost",
    /// Its worker gave it back unharmed; it is queued again.
    TaskReleased => "task_released",
    /// A person reopened it.
    TaskReopened => "task_reopened",
}

impl EventKind {
    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// One fact, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorkflowEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which task; `None` for the workflow itself.
    pub task: Option<TaskNo>,
    /// In which attempt of the task; 0 before the first and for the workflow.
    pub attempt: u32,
    /// A reason, a worker or a name; at most [`DETAIL_MAX`] characters.
    pub detail: Option<String>,
}

/// The most characters of an event's detail; longer ones are cut.
pub const DETAIL_MAX: usize = 1_000;

/// Where an event stands in the order of all commits.
///
/// A reader that has reached a position never misses an earlier one: readers see a position only when
/// nothing can appear before it. Positions are opaque outside: two numbers joined by `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventPosition {
    /// Its batch: the events of one workflow in one transaction.
    pub batch: i64,
    /// Its place within the batch, from 0.
    pub index: u32,
}

impl EventPosition {
    /// Before every event.
    pub const START: Self = Self { batch: 0, index: 0 };
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.batch, self.index)
    }
}

/// A text that is no event position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the position of an event; use the `id` of an event that was received")]
pub struct ParsePositionError {
    text: String,
}

impl FromStr for EventPosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut next = || {
            parts
                .next()
                .filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let position = next().zip(next()).and_then(|(batch, index)| {
            Some(Self {
                batch: batch.parse().ok()?,
                index: index.parse().ok()?,
            })
        });
        position
            .filter(|_| parts.next().is_none())
            .ok_or_else(|| ParsePositionError {
                text: text.chars().take(64).collect(),
            })
    }
}

/// One fact, as it is read.
///
/// Its number within its workflow (from 1, without gaps) is its rank in the order of positions: it
/// is counted when a history is read, so that writers have no counter to contend on (decision 0014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowEvent {
    /// Where it stands among all events.
    pub position: EventPosition,
    /// The workflow.
    pub workflow: WorkflowId,
    /// When it became true, by the database's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: NewWorkflowEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(*kind));
        }
    }

    #[test]
    fn a_position_reads_what_it_prints_and_nothing_else() {
        let position = EventPosition {
            batch: 12,
            index: 3,
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "1", "1-2-3", "-1-2", "+1-2", "1-x", "1--3"] {
            assert!(text.parse::<EventPosition>().is_err(), "{text}");
        }
    }
}
