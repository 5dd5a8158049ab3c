//! One run of a workflow: its state, and what each thing that happens does to it.
//!
//! [`Run::apply`] is the engine's only place of decision: state, input and time in, state and
//! [`Changes`] out. Stores load what an input needs ([`Input::needs_whole_run`]), apply it, and write the
//! changes in the same transaction; the model test drives it alone.

mod changes;
mod create;
mod ends;
mod family;
mod input;
mod people;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use changes::{Changes, QueueMove, Wake, WakeKind};
pub use create::NewRun;
pub use family::{FAMILY_DEPTH_MAX, FAMILY_SIZE_MAX, Family};
pub use input::{Control, Decision, Input, Outcome, Refusal, TaskError};
pub use people::may_be_redone;

use super::{
    Action, Guarantee, Json, QueueName, SignalName, Takeover, TaskId, TaskKey, TaskNo, TaskPolicy,
    TaskStatus, WorkflowId, WorkflowStatus,
};
use crate::Timestamp;

/// A workflow as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its identifier.
    pub id: WorkflowId,
    /// Where it stands.
    pub status: WorkflowStatus,
    /// How many tasks it has, compensations not counted.
    pub total: u32,
    /// How many of them have not ended.
    pub open: u32,
    /// How many of them ended otherwise than succeeded or skipped.
    pub failed: u32,
    /// How many of them are done, or may be, and have something that undoes them.
    pub undoable: u32,
    /// How many ends of tasks were counted: the rank of the next one.
    pub ended: u32,
    /// Whether one of its tasks waits for a signal.
    pub has_signals: bool,
    /// The task of another workflow that waits for this one.
    pub parent: Option<TaskId>,
    /// The longest it may take from its start on.
    pub deadline: Option<Duration>,
    /// Why it did not succeed, in a sentence; the first reason.
    pub error: Option<String>,
}

impl Head {
    /// How far it is, 0 to 100: ended tasks of all tasks.
    #[must_use]
    pub fn progress(&self) -> u8 {
        if self.status == WorkflowStatus::Succeeded {
            return 100;
        }
        let ended = u64::from(self.total.saturating_sub(self.open));
        u8::try_from(ended * 100 / u64::from(self.total.max(1)))
            .unwrap_or(100)
            .min(99)
    }
}

/// A task of a run, as far as decisions need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its number.
    pub no: TaskNo,
    /// Its key.
    pub key: TaskKey,
    /// Where it stands.
    pub status: TaskStatus,
    /// How often it was started: the fencing token of every write about it.
    pub attempt: u32,
    /// How many retries were used up since a person last reopened it.
    pub retries: u32,
    /// How often its worker went away since then.
    pub lost: u32,
    /// Whether an earlier attempt may have had its effect: it was lost, took too long or
    /// ended as unknown.
    pub is_uncertain: bool,
    /// How many tasks it still waits for.
    pub pending: u32,
    /// Who waits for it, and whether they also run when it was skipped.
    pub dependants: Vec<(TaskNo, bool)>,
    /// What it undoes; `None` for an ordinary task.
    pub undoes: Option<TaskNo>,
    /// What undoes it.
    pub undone_by: Option<TaskNo>,
    /// Which of all ends of tasks in this run its own was, from 0.
    pub rank: Option<u32>,
    /// When its time over all attempts is up.
    pub deadline_at: Option<Timestamp>,
    /// What it does.
    pub action: Action,
    /// The queue it waits in.
    pub queue: QueueName,
    /// Its priority there.
    pub priority: i16,
    /// What it has to itself while it runs.
    pub concurrency_keys: Vec<String>,
    /// How often and how long.
    pub policy: TaskPolicy,
    /// Why its last attempt did not succeed.
    pub error: Option<TaskError>,
}

/// The most signals of a workflow that are kept until a task takes them.
pub const SIGNALS_MAX: usize = 1_000;

impl Task {
    /// Whether its effect may go on although no worker holds it: what was started once and cannot be repeated,
    /// such as a play on a control host.
    pub(crate) fn may_go_on(&self) -> bool {
        self.policy.guarantee == Guarantee::G4
            && self.policy.takeover == Takeover::Requeue
            && self.attempt > 0
    }
}

/// A signal that no task has taken yet.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSignal {
    /// Its place among all stored signals.
    pub position: i64,
    /// Its name.
    pub name: SignalName,
    /// What it brought.
    pub payload: Json,
}

/// A run, or the part of it that an input needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The workflow.
    pub head: Head,
    /// Its tasks: all of them, or those that the input touches and those that wait for these.
    pub tasks: BTreeMap<TaskNo, Task>,
    /// Untaken signals, oldest first; needed when a task of the run waits for one, and when one arrives.
    pub signals: Vec<StoredSignal>,
}
