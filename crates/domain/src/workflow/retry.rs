//! When the next attempt is due.

use std::time::Duration;

/// How the waits between attempts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryStrategy {
    /// There is no second attempt.
    None,
    /// Every wait is the first one.
    Fixed,
    /// Every wait is longer by the first one.
    Linear,
    /// Every wait is the one before times the base.
    Exponential,
}

impl RetryStrategy {
    const ALL: [Self; 4] = [Self::None, Self::Fixed, Self::Linear, Self::Exponential];

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

/// A rule for the waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    strategy: RetryStrategy,
    initial: Duration,
    base: f64,
    max_interval: Duration,
    max_attempts: u32,
    jitter: f64,
}

impl RetryPolicy {
    /// The usual [`RetryStrategy::Exponential`] base.
    pub const DEFAULT_BASE: f64 = 2.0;
    /// The usual longest wait.
    pub const DEFAULT_MAX_INTERVAL: Duration = Duration::from_mins(5);
    /// The longest wait a policy may ask for.
    pub const MAX_INTERVAL_LIMIT: Duration = Duration::from_hours(24);
    /// The most retries a policy may ask for.
    pub const MAX_ATTEMPTS_LIMIT: u32 = 1_000;

    /// One attempt and no retry.
    pub const NEVER: Self = Self {
        strategy: RetryStrategy::None,
        initial: Duration::ZERO,
        base: Self::DEFAULT_BASE,
        max_interval: Self::DEFAULT_MAX_INTERVAL,
        max_attempts: 0,
        jitter: 0.0,
    };

    /// A policy with the usual base and longest wait and without jitter: at most `max_attempts`
    /// retries, the first after `initial`.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError`], naming the value and what is allowed.
    pub fn new(
        strategy: RetryStrategy,
        initial: Duration,
        max_attempts: u32,
    ) -> Result<Self, RetryPolicyError> {
        Self {
            strategy,
            initial,
            max_attempts,
            ..Self::NEVER
        }
        .checked()
    }

    /// The same policy with another base, at least 1.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError::Base`].
    pub fn with_base(self, base: f64) -> Result<Self, RetryPolicyError> {
        Self { base, ..self }.checked()
    }

    /// The same policy with another longest wait.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError::MaxInterval`]; [`RetryPolicyError::Initial`] if the first wait is longer.
    pub fn with_max_interval(self, max_interval: Duration) -> Result<Self, RetryPolicyError> {
        Self {
            max_interval,
            ..self
        }
        .checked()
    }

    /// The same policy with another jitter: the part of a wait, 0 to 1, that chance may take away.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError::Jitter`].
    pub fn with_jitter(self, jitter: f64) -> Result<Self, RetryPolicyError> {
        Self { jitter, ..self }.checked()
    }

    /// A policy from all of its parts, as they were stored.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError`], naming the value and what is allowed.
    pub fn restore(
        strategy: RetryStrategy,
        initial: Duration,
        base: f64,
        max_interval: Duration,
        max_attempts: u32,
        jitter: f64,
    ) -> Result<Self, RetryPolicyError> {
        Self {
            strategy,
            initial,
            base,
            max_interval,
            max_attempts,
            jitter,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, RetryPolicyError> {
        if self.max_interval.is_zero() || self.max_interval > Self::MAX_INTERVAL_LIMIT {
            return Err(RetryPolicyError::MaxInterval {
                given: self.max_interval,
            });
        }
        if self.initial > self.max_interval {
            return Err(RetryPolicyError::Initial {
                given: self.initial,
                most: self.max_interval,
            });
        }
        if !self.base.is_finite() || self.base < 1.0 {
            return Err(RetryPolicyError::Base { given: self.base });
        }
        if self.max_attempts > Self::MAX_ATTEMPTS_LIMIT {
            return Err(RetryPolicyError::MaxAttempts {
                given: self.max_attempts,
            });
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(RetryPolicyError::Jitter { given: self.jitter });
        }
        Ok(self)
    }

    /// How the waits grow.
    #[must_use]
    pub const fn strategy(&self) -> RetryStrategy {
        self.strategy
    }

    /// The first wait.
    #[must_use]
    pub const fn initial(&self) -> Duration {
        self.initial
    }

    /// What each wait is multiplied with where they grow exponentially.
    #[must_use]
    pub const fn base(&self) -> f64 {
        self.base
    }

    /// The longest wait.
    #[must_use]
    pub const fn max_interval(&self) -> Duration {
        self.max_interval
    }

    /// The most retries.
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// The part of a wait that chance may take away.
    #[must_use]
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The wait before the retry with this number, counted from 0; `None` when there is no such
    /// retry. `jitter_sample` is a random number of 0 to 1; what lies outside counts as the nearer
    /// end.
    #[must_use]
    pub fn delay(&self, retry: u32, jitter_sample: f64) -> Option<Duration> {
        if retry >= self.max_attempts {
            return None;
        }
        let factor = match self.strategy {
            RetryStrategy::None => return None,
            RetryStrategy::Fixed => 1.0,
            RetryStrategy::Linear => f64::from(retry) + 1.0,
            RetryStrategy::Exponential => self.base.powf(f64::from(retry)),
        };
        // A huge power is infinite, and zero times infinite is no number: both end in the bounds.
        let grown =
            (self.initial.as_secs_f64() * factor).clamp(0.0, self.max_interval.as_secs_f64());
        let sample = if jitter_sample.is_nan() {
            0.0
        } else {
            jitter_sample.clamp(0.0, 1.0)
        };
        let seconds = grown * (1.0 - self.jitter * sample);
        Some(
            Duration::try_from_secs_f64(seconds)
                .unwrap_or(Duration::ZERO)
                .min(self.max_interval),
        )
    }
}

/// A retry policy that makes no sense; durations are shown in seconds.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RetryPolicyError {
    /// The first wait is longer than the longest.
    #[error("the first wait is {} s; it must not be longer than the longest wait, {} s", given.as_secs_f64(), most.as_secs_f64())]
    Initial {
        /// The first wait.
        given: Duration,
        /// The longest wait.
        most: Duration,
    },
    /// The waits would shrink.
    #[error("the base of the waits is {given}; it must be 1 or more")]
    Base {
        /// The base.
        given: f64,
    },
    /// The longest wait is nothing or longer than allowed.
    #[error("the longest wait is {} s; it must be more than 0 s and at most {} s", given.as_secs_f64(), RetryPolicy::MAX_INTERVAL_LIMIT.as_secs())]
    MaxInterval {
        /// The longest wait.
        given: Duration,
    },
    /// Too many retries.
    #[error(
        "{given} retries were asked for; at most {} are allowed",
        RetryPolicy::MAX_ATTEMPTS_LIMIT
    )]
    MaxAttempts {
        /// How many.
        given: u32,
    },
    /// No part of a whole.
    #[error("the jitter is {given}; it must be from 0 to 1")]
    Jitter {
        /// The jitter.
        given: f64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(policy: RetryPolicy) -> Vec<Option<u64>> {
        (0..5)
            .map(|retry| policy.delay(retry, 0.5).map(|wait| wait.as_secs()))
            .collect()
    }

    #[test]
    fn words_read_back() {
        for strategy in RetryStrategy::ALL {
            assert_eq!(RetryStrategy::parse(strategy.as_str()), Some(strategy));
        }
        assert_eq!(RetryStrategy::parse("random"), None);
    }

    #[test]
    fn waits_grow_by_their_strategy_and_end_after_the_last_retry() {
        for (strategy, expected) in [
            (RetryStrategy::None, [None; 5]),
            (
                RetryStrategy::Fixed,
                [Some(10), Some(10), Some(10), Some(10), None],
            ),
            (
                RetryStrategy::Linear,
                [Some(10), Some(20), Some(30), Some(40), None],
            ),
            (
                RetryStrategy::Exponential,
                [Some(10), Some(20), Some(40), Some(80), None],
            ),
        ] {
            let policy = RetryPolicy::new(strategy, Duration::from_secs(10), 4).unwrap();
            assert_eq!(seconds(policy), expected, "{strategy:?}");
        }
        assert_eq!(seconds(RetryPolicy::NEVER), [None; 5]);
    }

    #[test]
    fn a_wait_is_capped_even_where_the_power_is_infinite() {
        let policy =
            RetryPolicy::new(RetryStrategy::Exponential, Duration::from_secs(1), 1_000).unwrap();
        let policy = policy.with_base(1e300).unwrap();
        assert_eq!(
            policy.delay(999, 0.0),
            Some(RetryPolicy::DEFAULT_MAX_INTERVAL)
        );
        let idle = RetryPolicy::new(RetryStrategy::Exponential, Duration::ZERO, 1_000).unwrap();
        assert_eq!(
            idle.with_base(1e300).unwrap().delay(999, 0.0),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn jitter_takes_its_part_away() {
        let policy = RetryPolicy::new(RetryStrategy::Fixed, Duration::from_secs(100), 1).unwrap();
        let policy = policy.with_jitter(0.5).unwrap();
        for (sample, expected) in [
            (0.0, 100),
            (0.5, 75),
            (1.0, 50),
            (9.0, 50),
            (-1.0, 100),
            (f64::NAN, 100),
        ] {
            assert_eq!(
                policy.delay(0, sample),
                Some(Duration::from_secs(expected)),
                "{sample}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let policy = RetryPolicy::new(RetryStrategy::Fixed, Duration::from_secs(10), 3).unwrap();
        let refusals = [
            RetryPolicy::new(RetryStrategy::Fixed, Duration::from_secs(301), 3).unwrap_err(),
            RetryPolicy::new(RetryStrategy::Fixed, Duration::ZERO, 1_001).unwrap_err(),
            policy.with_base(0.5).unwrap_err(),
            policy.with_jitter(1.5).unwrap_err(),
            policy
                .with_max_interval(Duration::from_secs(86_401))
                .unwrap_err(),
        ];
        assert_eq!(
            refusals.map(|refusal| refusal.to_string()),
            [
                "the first wait is 301 s; it must not be longer than the longest wait, 300 s",
                "1001 retries were asked for; at most 1000 are allowed",
                "the base of the waits is 0.5; it must be 1 or more",
                "the jitter is 1.5; it must be from 0 to 1",
                "the longest wait is 86401 s; it must be more than 0 s and at most 86400 s",
            ]
        );
        assert!(policy.with_base(f64::NAN).is_err() && policy.with_jitter(f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds_and_never_shrink(
            strategy in prop::sample::select(&RetryStrategy::ALL[..]),
            initial in 0_u64..=300,
            base in 1.0_f64..10.0,
            max_attempts in 0_u32..20,
            jitter in 0.0_f64..=1.0,
            sample in 0.0_f64..=1.0,
        ) {
            let policy = RetryPolicy::new(strategy, Duration::from_secs(initial), max_attempts).unwrap();
            let policy = policy.with_base(base).unwrap().with_jitter(jitter).unwrap();
            let mut before = Duration::ZERO;
            for retry in 0..25 {
                match policy.delay(retry, sample) {
                    Some(wait) => {
                        prop_assert!(retry < max_attempts && strategy != RetryStrategy::None);
                        prop_assert!(before <= wait && wait <= RetryPolicy::DEFAULT_MAX_INTERVAL);
                        before = wait;
                    }
                    None => prop_assert!(retry >= max_attempts || strategy == RetryStrategy::None),
                }
            }
        }
    }
}
