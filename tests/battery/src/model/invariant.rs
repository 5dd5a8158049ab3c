//! What must hold, and how it is said that something did not.

use std::fmt;

/// What must hold, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// I1: what was acknowledged is never lost.
    Acknowledged,
    /// I2: a task has as many effects as its guarantee class allows.
    Effects,
    /// I3: a task succeeded only if its effect is in the ledger.
    Truth,
    /// I4: compensation in the reverse order of completion, and only of what may have run.
    Undoing,
    /// I6: at most one live attempt, and stale attempts change nothing.
    OneAttempt,
    /// I7: no task runs before its dependencies succeeded, or were skipped where the edge says so.
    Order,
    /// I8: only legal moves; what has ended stays so unless a person reopened it; events record all of it.
    History,
    /// I9: one idempotency key, one effect.
    Once,
    /// I10: a reader sees every event exactly once and in order.
    Readers,
    /// I12: when faults stop, everything ends.
    Ends,
    /// No two tasks share a concurrency key; queues give no more than their limits.
    Limits,
    /// The counters of a run are what counting it comes to.
    Counters,
}

impl Invariant {
    /// Its name; the numbers are those of the design.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "I1 acknowledged",
            Self::Effects => "I2 effects",
            Self::Truth => "I3 truth",
            Self::Undoing => "I4 undoing",
            Self::OneAttempt => "I6 one attempt",
            Self::Order => "I7 order",
            Self::History => "I8 history",
            Self::Once => "I9 once",
            Self::Readers => "I10 readers",
            Self::Ends => "I12 ends",
            Self::Limits => "limits",
            Self::Counters => "counters",
        }
    }

    pub(super) fn broken(self, message: impl Into<String>) -> Broken {
        let message = message.into();
        Broken {
            invariant: self,
            message,
        }
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub invariant: Invariant,
    /// How it showed.
    pub message: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.as_str(), self.message)
    }
}

impl std::error::Error for Broken {}

pub(super) fn require(holds: bool, invariant: Invariant, message: &str) -> Result<(), Broken> {
    require_that(holds, invariant, || message.to_owned())
}

pub(super) fn require_that(
    holds: bool,
    invariant: Invariant,
    message: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(invariant.broken(message()))
    }
}
