//! What a running play asks of Drover, and waits for.
//!
//! A play has no drain rule of its own: it names servers of its run, and the actions on HAProxy do the rest with
//! their evidence. A request is an effect with a key, the job and its number: repeated, it has one effect.

use std::time::Duration;

/// A request of a play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayRequest {
    /// Its place among the requests of the job, from 1. A play has one open request at a time.
    pub number: u32,
    /// What it asks for, or why that cannot be read.
    pub step: Result<Step, String>,
}

/// A step for some servers of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub kind: StepKind,
    /// The composite names of the instances.
    pub targets: Vec<String>,
    /// How long sessions may take to end after a drain.
    pub drain_wait: Duration,
    /// How long health checks must have passed.
    pub settle: Duration,
    /// How long health checks may take to pass.
    pub health_wait: Duration,
    /// How long a returned server may take until it gets requests.
    pub ready_wait: Duration,
    /// How many servers of the backend must go on taking requests; `None` is the service's own bound.
    pub min_ready: Option<u32>,
}

/// What a play can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Take the servers out and wait until they have no sessions.
    Drain,
    /// Wait until their health checks have passed.
    Verify,
    /// Put them back and wait until they get requests.
    Return,
    /// After a failure: put back those that are healthy.
    Restore,
}

impl StepKind {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Drain, Self::Verify, Self::Return, Self::Restore];

    /// The word that plays use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Verify => "verify",
            Self::Return => "return",
            Self::Restore => "restore",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepAnswer {
    /// The number of the request.
    pub number: u32,
    /// Why the step failed as a whole.
    pub error: Option<String>,
    /// What is known of each target, with the evidence; also after a failure.
    pub targets: Vec<TargetAnswer>,
}

/// Where the server of one target was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetAnswer {
    /// The composite name.
    pub composite: String,
    /// Where the server was left.
    pub state: TargetState,
    /// Evidence or reason, one sentence.
    pub detail: String,
}

/// Where a server was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// The run has not touched it.
    Untouched,
    /// Someone else took it out before the run, and it stays out.
    Kept,
    /// The run took it out.
    Drained,
    /// It is drained and its checks pass.
    Healthy,
    /// It gets requests.
    Serving,
    /// It is still drained.
    LeftDrained,
    /// It is released, and its checks fail.
    Unhealthy,
}

impl TargetState {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Untouched,
        Self::Kept,
        Self::Drained,
        Self::Healthy,
        Self::Serving,
        Self::LeftDrained,
        Self::Unhealthy,
    ];

    /// The word that plays read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Kept => "kept",
            Self::Drained => "drained",
            Self::Healthy => "healthy",
            Self::Serving => "serving",
            Self::LeftDrained => "left_drained",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for kind in StepKind::ALL {
            assert_eq!(StepKind::parse(kind.as_str()), Some(kind));
        }
        for state in TargetState::ALL {
            assert_eq!(TargetState::parse(state.as_str()), Some(state));
        }
    }
}
