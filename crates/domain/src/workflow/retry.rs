//! When the next attempt is due.

use std::time::Duration;

/// How waits grow from retry to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryStrategy {
    /// No retry.
    None,
    /// Always the initial interval.
    Fixed,
    /// The initial interval times 1, 2, 3, …
    Linear,
    /// The initial interval times 1, base, base², …
    Exponential,
}

impl RetryStrategy {
    /// Every strategy.
    pub const ALL: [Self; 4] = [Self::None, Self::Fixed, Self::Linear, Self::Exponential];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fixed => "fixed",
            Self::Linear => "linear",
            Self::Exponential => "exponential",
        }
    }

    /// The strategy with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == word)
    }
}

/// How often, and after which waits, something is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    strategy: RetryStrategy,
    initial_interval: Duration,
    base: f64,
    max_interval: Duration,
    max_attempts: u32,
    jitter: f64,
}

/// A retry policy that is not possible; the message goes to the user unchanged.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RetryPolicyError {
    /// The base does not let waits grow.
    #[error("the base of a retry policy must be 1 to 100, not {base}")]
    Base {
        /// What was given.
        base: f64,
    },
    /// The jitter is no share.
    #[error("the jitter of a retry policy must be 0 to 1, not {jitter}")]
    Jitter {
        /// What was given.
        jitter: f64,
    },
    /// The longest wait is too long.
    #[error("the longest wait of a retry policy is {} s at most, not {given_s} s", RetryPolicy::MAX_INTERVAL.as_secs())]
    MaxInterval {
        /// What was given, seconds.
        given_s: u64,
    },
    /// Too many attempts.
    #[error(
        "a retry policy allows {} attempts at most, not {attempts}",
        RetryPolicy::MAX_ATTEMPTS
    )]
    Attempts {
        /// What was given.
        attempts: u32,
    },
}

impl RetryPolicy {
    /// The longest wait any policy may have.
    pub const MAX_INTERVAL: Duration = Duration::from_mins(5);
    /// The most attempts any policy may have.
    pub const MAX_ATTEMPTS: u32 = 1_000;

    /// A possible policy.
    ///
    /// * `max_attempts` — retries after the first attempt.
    /// * `jitter` — the share of each wait that is left to chance, 0 to 1.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError`], naming the part.
    pub fn new(
        strategy: RetryStrategy,
        initial_interval: Duration,
        base: f64,
        max_interval: Duration,
        max_attempts: u32,
        jitter: f64,
    ) -> Result<Self, RetryPolicyError> {
        if !(1.0..=100.0).contains(&base) {
            return Err(RetryPolicyError::Base { base });
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(RetryPolicyError::Jitter { jitter });
        }
        if max_interval > Self::MAX_INTERVAL {
            return Err(RetryPolicyError::MaxInterval {
                given_s: max_interval.as_secs(),
            });
        }
        if max_attempts > Self::MAX_ATTEMPTS {
            return Err(RetryPolicyError::Attempts {
                attempts: max_attempts,
            });
        }
        Ok(Self {
            strategy,
            initial_interval,
            base,
            max_interval,
            max_attempts,
            jitter,
        })
    }

    /// The wait before retry `number`, counted from 0; `None` when there is none any more.
    ///
    /// * `chance` — a number from 0 to 1; the jitter shortens the wait by that share of itself.
    #[must_use]
    pub fn delay(&self, number: u32, chance: f64) -> Option<Duration> {
        if number >= self.max_attempts {
            return None;
        }
        let factor = match self.strategy {
            RetryStrategy::None => return None,
            RetryStrategy::Fixed => 1.0,
            RetryStrategy::Linear => f64::from(number) + 1.0,
            RetryStrategy::Exponential => self.base.powf(f64::from(number)),
        };
        let capped =
            (self.initial_interval.as_secs_f64() * factor).min(self.max_interval.as_secs_f64());
        let shortened = capped * self.jitter.mul_add(-chance.clamp(0.0, 1.0), 1.0);
        Some(Duration::try_from_secs_f64(shortened).unwrap_or(self.max_interval))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(strategy: RetryStrategy, jitter: f64) -> RetryPolicy {
        RetryPolicy::new(
            strategy,
            Duration::from_secs(1),
            2.0,
            Duration::from_mins(5),
            12,
            jitter,
        )
        .unwrap()
    }

    #[track_caller]
    fn waits(strategy: RetryStrategy, expected: [u64; 4]) {
        let policy = policy(strategy, 0.0);
        let seconds: Vec<_> = (0..4)
            .filter_map(|number| policy.delay(number, 0.5))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(seconds, expected);
    }

    #[test]
    fn each_strategy_has_its_waits() {
        waits(RetryStrategy::Fixed, [1, 1, 1, 1]);
        waits(RetryStrategy::Linear, [1, 2, 3, 4]);
        waits(RetryStrategy::Exponential, [1, 2, 4, 8]);
        assert_eq!(policy(RetryStrategy::None, 0.0).delay(0, 0.0), None);
    }

    #[test]
    fn waits_are_capped_and_end() {
        let policy = policy(RetryStrategy::Exponential, 0.0);
        assert_eq!(policy.delay(11, 0.0), Some(Duration::from_mins(5)));
        assert_eq!(policy.delay(12, 0.0), None);
    }

    #[test]
    fn impossible_policies_are_refused() {
        let new = |base, max, attempts, jitter| {
            RetryPolicy::new(
                RetryStrategy::Fixed,
                Duration::ZERO,
                base,
                Duration::from_secs(max),
                attempts,
                jitter,
            )
        };
        assert!(new(0.5, 1, 1, 0.0).is_err() && new(f64::NAN, 1, 1, 0.0).is_err());
        assert!(
            new(2.0, 301, 1, 0.0).is_err()
                && new(2.0, 1, 1_001, 0.0).is_err()
                && new(2.0, 1, 1, 1.1).is_err()
        );
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_jitter_only_shortens(number in 0_u32..11, jitter in 0.0..=1.0_f64, chance in 0.0..=1.0_f64) {
            for strategy in [RetryStrategy::Fixed, RetryStrategy::Linear, RetryStrategy::Exponential] {
                let plain = policy(strategy, 0.0);
                prop_assert!(plain.delay(number, 0.0) <= plain.delay(number + 1, 0.0));
                prop_assert!(policy(strategy, jitter).delay(number, chance) <= plain.delay(number, 0.0));
            }
        }
    }
}
