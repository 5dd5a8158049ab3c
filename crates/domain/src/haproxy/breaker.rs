//! A circuit breaker: after consecutive failures no call is made for a while, then one probe comes first.

use std::time::Duration;

use crate::Timestamp;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// How many failures in a row open it; 0 counts as 1.
    pub failures: u32,
    /// How long it stays open, and how long a probe that says nothing holds the others back.
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

/// A breaker's place among its three states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everybody may ask.
    Closed,
    /// No call is made.
    Open,
    /// One is asking for all.
    HalfOpen,
}

impl BreakerState {
    const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Make it.
    Go,
    /// Make it; no other call is made before its result is recorded.
    Probe,
    /// Do not.
    Refused {
        /// When to ask again at the earliest.
        until: Timestamp,
    },
}

/// A circuit breaker: a value that every move replaces.
///
/// The result of every admitted call must be recorded by [`Breaker::succeeded`] or [`Breaker::failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    policy: BreakerPolicy,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Closed { failures: u32 },
    Open { since: Timestamp },
    HalfOpen { since: Timestamp },
}

/// A breaker as it is stored; the default is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerRecord {
    /// Failures in a row, while it is closed.
    pub failures: u32,
    /// Since when it is open.
    pub opened_at: Option<Timestamp>,
    /// Since when one is asking for all; outranks [`Self::opened_at`].
    pub probe_at: Option<Timestamp>,
}

impl Breaker {
    /// The breaker that was stored like this.
    #[must_use]
    pub const fn restore(policy: BreakerPolicy, record: BreakerRecord) -> Self {
        let place = match (record.probe_at, record.opened_at) {
            (Some(since), _) => Place::HalfOpen { since },
            (None, Some(since)) => Place::Open { since },
            (None, None) => Place::Closed {
                failures: record.failures,
            },
        };
        Self { policy, place }
    }

    /// What is to be stored of it.
    #[must_use]
    pub const fn record(self) -> BreakerRecord {
        let (failures, opened_at, probe_at) = match self.place {
            Place::Closed { failures } => (failures, None, None),
            Place::Open { since } => (0, Some(since), None),
            Place::HalfOpen { since } => (0, None, Some(since)),
        };
        BreakerRecord {
            failures,
            opened_at,
            probe_at,
        }
    }

    /// A closed breaker.
    #[must_use]
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            place: Place::Closed { failures: 0 },
        }
    }

    /// Its state, for display.
    #[must_use]
    pub const fn state(self) -> BreakerState {
        match self.place {
            Place::Closed { .. } => BreakerState::Closed,
            Place::Open { .. } => BreakerState::Open,
            Place::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Until when no call is made; `None` while it is closed. After that, the next call is the probe.
    #[must_use]
    pub fn until(self) -> Option<Timestamp> {
        match self.place {
            Place::Closed { .. } => None,
            Place::Open { since } | Place::HalfOpen { since } => {
                Some(since.after(self.policy.open_for))
            }
        }
    }

    /// Whether a call may be made now, and the breaker after that answer.
    #[must_use]
    pub fn admit(self, now: Timestamp) -> (Self, Admission) {
        match self.place {
            Place::Closed { .. } => (self, Admission::Go),
            // A probe without a recorded result (its process died) must not hold the breaker for ever.
            Place::Open { since } | Place::HalfOpen { since } => {
                let until = since.after(self.policy.open_for);
                if now < until {
                    (self, Admission::Refused { until })
                } else {
                    (
                        Self {
                            place: Place::HalfOpen { since: now },
                            ..self
                        },
                        Admission::Probe,
                    )
                }
            }
        }
    }

    /// The breaker after a call that reached its peer.
    #[must_use]
    pub const fn succeeded(self) -> Self {
        match self.place {
            Place::Closed { .. } | Place::HalfOpen { .. } => Self::new(self.policy),
            // A call admitted before it opened; only a probe closes it.
            Place::Open { .. } => self,
        }
    }

    /// The breaker after a call that did not reach its peer.
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        let place = match self.place {
            Place::Closed { failures } if failures.saturating_add(1) < self.policy.failures => {
                Place::Closed {
                    failures: failures + 1,
                }
            }
            Place::Closed { .. } | Place::HalfOpen { .. } => Place::Open { since: now },
            // A call admitted before it opened does not keep it open longer.
            Place::Open { since } => Place::Open { since },
        };
        Self { place, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        open_for: Duration::from_mins(1),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn opened(seconds: i64) -> Breaker {
        (0..3).fold(Breaker::new(POLICY), |breaker, _| {
            breaker.failed(at(seconds))
        })
    }

    #[test]
    fn words_read_back_and_the_usual_policy_is_three_and_a_minute() {
        for state in BreakerState::ALL {
            assert_eq!(BreakerState::parse(state.as_str()), Some(state));
        }
        assert_eq!(BreakerState::parse("ajar"), None);
        assert_eq!(BreakerPolicy::default(), POLICY);
    }

    #[test]
    fn what_is_stored_reads_back() {
        let closed = Breaker::new(POLICY).failed(at(0));
        for breaker in [closed, opened(1), opened(1).admit(at(61)).0] {
            assert_eq!(Breaker::restore(POLICY, breaker.record()), breaker);
        }
        assert_eq!(Breaker::new(POLICY).record(), BreakerRecord::default());
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let two = Breaker::new(POLICY).failed(at(0)).failed(at(1));
        assert_eq!(two.admit(at(1)), (two, Admission::Go));
        assert_eq!(
            two.succeeded().failed(at(2)).failed(at(2)).state(),
            BreakerState::Closed
        );
        let three = two.failed(at(2));
        assert_eq!(three.state(), BreakerState::Open);
        assert_eq!((two.until(), three.until()), (None, Some(at(62))));
        assert_eq!(
            three.admit(at(61)),
            (three, Admission::Refused { until: at(62) })
        );
    }

    #[test]
    fn exactly_one_probe_passes_after_the_wait() {
        let (probing, admission) = opened(0).admit(at(60));
        assert_eq!(
            (probing.state(), admission),
            (BreakerState::HalfOpen, Admission::Probe)
        );
        assert_eq!(
            probing.admit(at(61)),
            (probing, Admission::Refused { until: at(120) })
        );
        assert_eq!(probing.until(), Some(at(120)));
        assert_eq!(probing.succeeded(), Breaker::new(POLICY));
        let again = probing.failed(at(65));
        assert_eq!(
            again.admit(at(124)),
            (again, Admission::Refused { until: at(125) })
        );
    }

    #[test]
    fn a_lost_probe_is_replaced() {
        let (probing, _) = opened(0).admit(at(60));
        assert_eq!(probing.admit(at(120)).1, Admission::Probe);
    }

    #[test]
    fn late_calls_change_nothing_while_it_is_open() {
        let open = opened(0);
        assert_eq!(open.succeeded(), open);
        assert_eq!(open.failed(at(30)), open);
    }

    proptest! {
        #[test]
        fn an_unclosed_breaker_admits_at_most_one_call_per_wait(
            steps in prop::collection::vec((0_i64..40, 0_u8..3), 1..60),
        ) {
            let mut breaker = Breaker::new(POLICY);
            let mut now = 0;
            let mut last_probe = None;
            for (wait, step) in steps {
                now += wait;
                match step {
                    0 => breaker = breaker.failed(at(now)),
                    1 => breaker = breaker.succeeded(),
                    _ => {
                        let was = breaker.state();
                        let (next, admission) = breaker.admit(at(now));
                        breaker = next;
                        match admission {
                            Admission::Go => prop_assert_eq!(was, BreakerState::Closed),
                            Admission::Probe => {
                                prop_assert_ne!(was, BreakerState::Closed);
                                if was == BreakerState::HalfOpen {
                                    prop_assert!(last_probe.is_some_and(|last| now - last >= 60));
                                }
                                last_probe = Some(now);
                            }
                            Admission::Refused { until } => prop_assert!(until > at(now)),
                        }
                    }
                }
            }
        }
    }
}
