//! A circuit breaker for one HAProxy, as a pure state machine. Seed 002, "Circuit breaker".

use std::time::Duration;

use crate::Timestamp;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// How many failures in a row open it; at least 1.
    pub failures: u32,
    /// How long it stays open before one probe is let through.
    pub open_for: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 3,
            open_for: Duration::from_mins(1),
        }
    }
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through; so many failed in a row.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Calls are refused since then.
    Open {
        /// When it opened.
        since: Timestamp,
    },
    /// One probe is under way since then; other calls are refused.
    HalfOpen {
        /// When the probe was let through.
        since: Timestamp,
    },
}

/// A breaker: its policy and its state. Every move gives the breaker as it is afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// It may, and on its result depends whether the breaker closes.
    Probe,
    /// It may not, before this instant.
    Refused {
        /// When the next probe may be let through.
        until: Timestamp,
    },
}

impl Breaker {
    /// A closed breaker without failures.
    #[must_use]
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self::restore(policy, BreakerState::Closed { failures: 0 })
    }

    /// A breaker in a state that was kept.
    #[must_use]
    pub const fn restore(policy: BreakerPolicy, state: BreakerState) -> Self {
        Self { policy, state }
    }

    /// The state.
    #[must_use]
    pub const fn state(self) -> BreakerState {
        self.state
    }

    /// Asks whether a call may be made at `now`. A probe whose result never came is forgotten after
    /// the time the breaker stays open.
    #[must_use]
    pub fn admit(self, now: Timestamp) -> (Self, Admission) {
        match self.state {
            BreakerState::Closed { .. } => (self, Admission::Go),
            BreakerState::Open { since } | BreakerState::HalfOpen { since } => {
                let until = since.after(self.policy.open_for);
                if now < until {
                    return (self, Admission::Refused { until });
                }
                (
                    Self {
                        state: BreakerState::HalfOpen { since: now },
                        ..self
                    },
                    Admission::Probe,
                )
            }
        }
    }

    /// A call succeeded: the breaker is closed.
    #[must_use]
    pub const fn succeeded(self) -> Self {
        Self {
            policy: self.policy,
            state: BreakerState::Closed { failures: 0 },
        }
    }

    /// A call failed at `now`: one more failure, or the probe's, opens the breaker.
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        let state = match self.state {
            BreakerState::Closed { failures }
                if failures.saturating_add(1) < self.policy.failures =>
            {
                BreakerState::Closed {
                    failures: failures + 1,
                }
            }
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => {
                BreakerState::Open { since: now }
            }
            // A call from before the breaker opened: it does not keep it open for longer.
            BreakerState::Open { since } => BreakerState::Open { since },
        };
        Self { state, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(BreakerPolicy::default());
        breaker.failed(at(0)).failed(at(0)).failed(at(0))
    }

    #[test]
    fn it_opens_at_the_third_failure_in_a_row() {
        let breaker = Breaker::new(BreakerPolicy::default())
            .failed(at(0))
            .failed(at(0));
        assert_eq!(breaker.admit(at(0)).1, Admission::Go);
        assert_eq!(
            breaker
                .succeeded()
                .failed(at(0))
                .failed(at(0))
                .admit(at(0))
                .1,
            Admission::Go
        );
        assert_eq!(
            breaker.failed(at(0)).admit(at(59)).1,
            Admission::Refused { until: at(60) }
        );
    }

    #[test]
    fn after_a_minute_one_probe_goes_through() {
        let (breaker, admission) = opened().admit(at(60));
        assert_eq!(admission, Admission::Probe);
        assert_eq!(
            breaker.admit(at(61)).1,
            Admission::Refused { until: at(120) }
        );
        assert_eq!(breaker.succeeded().admit(at(61)).1, Admission::Go);
        assert_eq!(
            breaker.failed(at(62)).admit(at(63)).1,
            Admission::Refused { until: at(122) }
        );
    }

    #[test]
    fn a_probe_that_never_came_back_is_forgotten() {
        let (breaker, _) = opened().admit(at(60));
        assert_eq!(breaker.admit(at(120)).1, Admission::Probe);
    }

    proptest! {
        /// Whatever happens, no two probes are let through within the time the breaker stays open.
        #[test]
        fn probes_are_never_close_together(moves in proptest::collection::vec((0_u8..3, 0_i64..90), 1..60)) {
            let mut breaker = Breaker::new(BreakerPolicy::default());
            let (mut now, mut last_probe) = (0, None::<i64>);
            for (what, wait) in moves {
                now += wait;
                match what {
                    0 => {
                        let (next, admission) = breaker.admit(at(now));
                        breaker = next;
                        if admission == Admission::Probe {
                            prop_assert!(last_probe.is_none_or(|last| now - last >= 60));
                            last_probe = Some(now);
                        }
                    }
                    1 => breaker = breaker.failed(at(now)),
                    _ => {
                        breaker = breaker.succeeded();
                        last_probe = None;
                    }
                }
            }
        }
    }
}
