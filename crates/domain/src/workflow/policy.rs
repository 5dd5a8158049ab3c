//! How often a task is tried and how long it may take.

use std::time::Duration;

use super::{Guarantee, RetryPolicy, Takeover, TaskNo, WorkflowId};

/// How a task is executed: bounds and what happens when an attempt does not succeed.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPolicy {
    /// The waits between attempts.
    pub retry: RetryPolicy,
    /// Error codes after which no attempt follows.
    pub non_retryable: Vec<String>,
    /// The longest one attempt may take.
    pub timeout: Duration,
    /// The longest all attempts may take, from the moment the task is first queued.
    pub deadline: Option<Duration>,
    /// What its kind promises.
    pub guarantee: Guarantee,
    /// What happens when its worker goes away.
    pub takeover: Takeover,
}

/// A policy out of its bounds; durations are shown in seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskPolicyError {
    /// The timeout of an attempt.
    #[error("the timeout is {} s; it must be more than 0 s and at most {} s", given.as_secs_f64(), TaskPolicy::TIMEOUT_MAX.as_secs())]
    Timeout {
        /// What was given.
        given: Duration,
    },
    /// The deadline over all attempts.
    #[error("the deadline is {} s; it must be more than 0 s and at most {} s", given.as_secs_f64(), TaskPolicy::DEADLINE_MAX.as_secs())]
    Deadline {
        /// What was given.
        given: Duration,
    },
    /// Too many error codes.
    #[error(
        "{given} error codes are named; at most {} are allowed",
        TaskPolicy::CODES_MAX
    )]
    Codes {
        /// How many.
        given: usize,
    },
}

impl TaskPolicy {
    /// The longest timeout of one attempt: a day.
    pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);
    /// The usual timeout of one attempt.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_mins(5);
    /// The longest deadline over all attempts, also of a wait: a year.
    pub const DEADLINE_MAX: Duration = Duration::from_hours(24 * 366);
    /// The most error codes that may be named.
    pub const CODES_MAX: usize = 20;
    /// How often the worker of one task may go away before the task is given up: something about it
    /// How often a task may be given back without being done; it fails the next time.
    pub const RELEASED_MAX: u32 = 1_000;
    /// is then likely to be what kills them.
    pub const LOST_MAX: u32 = 10;

    /// One attempt of the usual length for a kind with this guarantee. What cannot be repeated
    /// becomes `unknown` when its worker goes away, everything else is queued again.
    #[must_use]
    pub const fn once(guarantee: Guarantee) -> Self {
        let takeover = match guarantee {
            Guarantee::G0 | Guarantee::G1 | Guarantee::G2 | Guarantee::G3 => Takeover::Requeue,
            Guarantee::G4 => Takeover::Unknown,
        };
        Self {
            retry: RetryPolicy::NEVER,
            non_retryable: Vec::new(),
            timeout: Self::TIMEOUT_DEFAULT,
            deadline: None,
            guarantee,
            takeover,
        }
    }

    /// The same policy if everything is within its bounds.
    ///
    /// # Errors
    ///
    /// [`TaskPolicyError`], naming the first value that is not.
    pub fn checked(self) -> Result<Self, TaskPolicyError> {
        if self.timeout.is_zero() || self.timeout > Self::TIMEOUT_MAX {
            let given = self.timeout;
            return Err(TaskPolicyError::Timeout { given });
        }
        match self.deadline {
            Some(given) if given.is_zero() || given > Self::DEADLINE_MAX => {
                return Err(TaskPolicyError::Deadline { given });
            }
            Some(_) | None => {}
        }
        if self.non_retryable.len() > Self::CODES_MAX {
            let given = self.non_retryable.len();
            return Err(TaskPolicyError::Codes { given });
        }
        Ok(self)
    }

    /// The wait before the next attempt after `retries` of them, for an error with this code; `None`
    /// when there is no next attempt.
    #[must_use]
    pub fn next_wait(&self, retries: u32, code: &str, sample: f64) -> Option<Duration> {
        if self.non_retryable.iter().any(|given| given == code) {
            return None;
        }
        self.retry.delay(retries, sample)
    }
}

/// A number from 0 to 1 that looks random and is always the same for one attempt, for the jitter of
/// its retry: the step function has no source of chance.
#[must_use]
pub(super) fn sample(workflow: WorkflowId, no: TaskNo, attempt: u32) -> f64 {
    let raw = workflow.as_uuid().as_u128();
    #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed in")]
    let mut bits = (raw as u64) ^ ((raw >> 64) as u64);
    bits ^= u64::from(no.get()) << 32 | u64::from(attempt);
    // The finalizer of SplitMix64: neighbours come out far apart.
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    f64::from(u32::try_from(bits >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Uuid;
    use crate::workflow::RetryStrategy;

    #[test]
    fn what_cannot_be_repeated_is_not_queued_again() {
        for class in Guarantee::ALL {
            let expected = if class == Guarantee::G4 {
                Takeover::Unknown
            } else {
                Takeover::Requeue
            };
            assert_eq!(TaskPolicy::once(class).takeover, expected, "{class:?}");
        }
    }

    #[test]
    fn bounds_are_named() {
        let policy = TaskPolicy::once(Guarantee::G1);
        let refusals = [
            TaskPolicy {
                timeout: Duration::ZERO,
                ..policy.clone()
            },
            TaskPolicy {
                timeout: Duration::from_secs(86_401),
                ..policy.clone()
            },
            TaskPolicy {
                deadline: Some(Duration::ZERO),
                ..policy.clone()
            },
            TaskPolicy {
                non_retryable: vec![String::new(); 21],
                ..policy.clone()
            },
        ]
        .map(|policy| policy.checked().unwrap_err().to_string());
        assert_eq!(
            refusals,
            [
                "the timeout is 0 s; it must be more than 0 s and at most 86400 s",
                "the timeout is 86401 s; it must be more than 0 s and at most 86400 s",
                "the deadline is 0 s; it must be more than 0 s and at most 31622400 s",
                "21 error codes are named; at most 20 are allowed",
            ]
        );
        assert!(policy.checked().is_ok());
    }

    #[test]
    fn a_named_code_ends_the_attempts() {
        let retry = RetryPolicy::new(RetryStrategy::Fixed, Duration::from_secs(1), 3).unwrap();
        let policy = TaskPolicy {
            retry,
            non_retryable: vec!["not_found".to_owned()],
            ..TaskPolicy::once(Guarantee::G1)
        };
        assert_eq!(
            policy.next_wait(0, "timeout", 0.0),
            Some(Duration::from_secs(1))
        );
        assert_eq!(policy.next_wait(0, "not_found", 0.0), None);
        assert_eq!(policy.next_wait(3, "timeout", 0.0), None);
    }

    #[test]
    fn samples_spread() {
        let workflow = WorkflowId::rooted(Uuid::from_u128(1 << 64));
        let samples: Vec<f64> = (0..1_000)
            .map(|attempt| sample(workflow, TaskNo::new(0).unwrap(), attempt))
            .collect();
        let mean = samples.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(samples.iter().all(|sample| (0.0..=1.0).contains(sample)));
    }
}
