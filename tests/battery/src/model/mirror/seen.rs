//! A task as its events describe it.

use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{
    Action, Guarantee, SignalName, Takeover, TaskPolicy, TaskStatus, Work,
};

/// A task as its events describe it.
#[derive(Debug)]
pub(in super::super) struct Seen {
    pub(in super::super) status: TaskStatus,
    pub(in super::super) attempt: u32,
    /// How often a person did it again.
    pub(in super::super) reopened: u32,
    /// How often a worker said for sure that an attempt failed, and another one followed.
    pub(in super::super) surely_failed: u32,
    /// Whether it waits for the next worker with its keys in hand: it was lost or given back.
    pub(in super::super) keeps_keys: bool,
    pub(super) undoes: Option<usize>,
    pub(super) undone_by: Option<usize>,
    pub(super) waits_for: Vec<(usize, bool)>,
    /// The place of its end among all ends.
    pub(super) end: Option<u32>,
    /// When it was first queued, or began to wait, since it was last reopened.
    pub(super) begun_at: Option<Timestamp>,
    /// How many reasons there were for another attempt.
    pub(super) reasons: u32,
    /// How many retries it had since it was last reopened.
    pub(super) retries: u32,
    pub(super) between: Between,
    /// Whether an earlier attempt has an unknown effect.
    pub(super) is_uncertain: bool,
    /// Whether a person wanted to do without it.
    pub(super) is_dropped: bool,
    action: Action,
    policy: TaskPolicy,
}

/// The last event of a task in the middle of a step: the next event has to follow in the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Between {
    Nothing,
    /// No worker has it: it was lost or given back.
    Freed,
    /// A person retried it while its effect was unknown.
    Resumed,
}

impl Seen {
    pub(super) fn new(work: &Work, waits_for: Vec<(usize, bool)>, undoes: Option<usize>) -> Self {
        Self {
            status: TaskStatus::Pending,
            attempt: 0,
            reopened: 0,
            surely_failed: 0,
            keeps_keys: false,
            undoes,
            undone_by: None,
            waits_for,
            end: None,
            begun_at: None,
            reasons: 0,
            retries: 0,
            between: Between::Nothing,
            is_uncertain: false,
            is_dropped: false,
            action: work.action.clone(),
            policy: work.policy.clone(),
        }
    }

    /// Whether the next worker finds what is alive.
    pub(in super::super) fn is_adopted(&self) -> bool {
        self.is_unrepeatable() && self.policy.takeover == Takeover::Requeue
    }

    /// Whether it must not begin twice.
    pub(in super::super) fn is_unrepeatable(&self) -> bool {
        self.policy.guarantee == Guarantee::G4
    }

    /// Whether its effect is unknown without a report of its worker.
    pub(super) fn is_obscure(&self) -> bool {
        self.policy.takeover == Takeover::Unknown
    }

    pub(in super::super) const fn is_parent(&self) -> bool {
        matches!(self.action, Action::Child { .. })
    }

    pub(super) const fn signal(&self) -> Option<&SignalName> {
        match &self.action {
            Action::Signal { name, .. } => Some(name),
            Action::Run | Action::RunRemotely | Action::Timer { .. } | Action::Child { .. } => None,
        }
    }

    /// How long it waits, or waits at most.
    pub(super) const fn wait(&self) -> Option<Duration> {
        match &self.action {
            Action::Timer { wait } => Some(*wait),
            Action::Signal { expires_after, .. } => *expires_after,
            Action::Run | Action::RunRemotely | Action::Child { .. } => None,
        }
    }

    pub(super) const fn is_timer(&self) -> bool {
        matches!(self.action, Action::Timer { .. })
    }

    /// Whether its time over all attempts is up.
    pub(super) fn is_out_of_time(&self, now: Timestamp) -> bool {
        let end = self.begun_at.zip(self.policy.deadline);
        end.is_some_and(|(begun, deadline)| begun.after(deadline) <= now)
    }

    /// Whether another attempt follows what a worker said, by the task's policy.
    pub(super) fn is_tried_again(&self, outcome: &Outcome) -> bool {
        let code = match outcome {
            Outcome::Failed { error, retryable } if *retryable => error.code.as_str(),
            Outcome::TimedOut if !self.is_obscure() => "timeout",
            Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::Succeeded { .. }
            | Outcome::Unknown { .. }
            | Outcome::Waiting
            | Outcome::Cancelled
            | Outcome::Released => return false,
        };
        let is_final = self.policy.non_retryable.iter().any(|given| given == code);
        !is_final && self.retries < self.policy.retry.max_attempts()
    }

    pub(in super::super) const fn may_have_happened(&self) -> bool {
        match self.status {
            TaskStatus::Succeeded => true,
            TaskStatus::TimedOut => self.attempt > 0,
            TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped => self.is_uncertain,
            TaskStatus::Pending
            | TaskStatus::Queued
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Waiting
            | TaskStatus::Unknown => false,
        }
    }

    pub(in super::super) const fn ended_well(&self) -> bool {
        matches!(self.status, TaskStatus::Succeeded | TaskStatus::Skipped)
    }
}
