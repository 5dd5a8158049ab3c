//! Whether the clock may be believed by which old records are removed.

use std::time::Duration;

use crate::Timestamp;

/// What is remembered of the clock between rounds of retention, also over restarts.
///
/// Removing is final, and how old a record is depends on one number. So a clock that is not where it should be, after the
/// time since the last round, is believed only when it has gone on for a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockWatch {
    /// What it showed in the last round.
    pub seen_at: Timestamp,
    /// From when on it is believed.
    pub trusted_from: Timestamp,
}

/// A clock that is not where it was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockLeap {
    /// Nothing is known of it yet.
    New,
    /// It is later by this much than in the last round: the process was paused, or the clock was set.
    Ahead(Duration),
    /// It is earlier by this much than in the last round: it was set.
    Back(Duration),
}

impl ClockWatch {
    /// How far rounds may be apart; how long a clock must go on to be believed.
    pub const DAY: Duration = Duration::from_hours(24);
    /// By how much clocks of several nodes may differ.
    const SLACK: Duration = Duration::from_mins(5);

    /// What is to be remembered now.
    #[must_use]
    pub fn look(known: Option<Self>, now: Timestamp) -> (Self, Option<ClockLeap>) {
        let leap = match known {
            None => Some(ClockLeap::New),
            Some(known) => {
                let (ahead, back) = (now.since(known.seen_at), known.seen_at.since(now));
                if ahead > Self::DAY {
                    Some(ClockLeap::Ahead(ahead))
                } else if back > Self::SLACK {
                    Some(ClockLeap::Back(back))
                } else {
                    None
                }
            }
        };
        let trusted_from = match (leap, known) {
            (None, Some(known)) => known.trusted_from,
            (Some(_), _) | (None, None) => now.after(Self::DAY),
        };
        let watch = Self {
            seen_at: now,
            trusted_from,
        };
        (watch, leap)
    }

    /// For how long nothing may be removed.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        let left = self.trusted_from.since(self.seen_at);
        Some(left).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn start() -> Timestamp {
        Timestamp::EPOCH.after(Duration::from_hours(500_000))
    }

    /// Rounds each hour from `watch` on; when the first one may remove.
    fn rounds(mut watch: ClockWatch) -> u32 {
        for round in 0..100 {
            if watch.hold().is_none() {
                return round;
            }
            let (next, leap) = ClockWatch::look(Some(watch), watch.seen_at.after(HOUR));
            assert_eq!(leap, None);
            watch = next;
        }
        100
    }

    #[test]
    fn a_new_clock_is_believed_after_a_day() {
        let (watch, leap) = ClockWatch::look(None, start());
        assert_eq!(
            (watch.hold(), leap),
            (Some(ClockWatch::DAY), Some(ClockLeap::New))
        );
        assert_eq!(rounds(watch), 24);
    }

    #[test]
    fn a_clock_that_was_set_removes_nothing_for_a_day() {
        let now = start();
        let trusted = ClockWatch {
            seen_at: now,
            trusted_from: now,
        };
        let years = HOUR * 24 * 3_650;
        let (ahead, leap) = ClockWatch::look(Some(trusted), now.after(years));
        assert_eq!(leap, Some(ClockLeap::Ahead(years)));
        assert_eq!(rounds(ahead), 24);
        // Set right before the day is over, it never removed anything, and is watched for another day.
        let (back, leap) = ClockWatch::look(Some(ahead), now.after(HOUR));
        assert_eq!(leap, Some(ClockLeap::Back(years.saturating_sub(HOUR))));
        assert_eq!(rounds(back), 24);
    }

    #[test]
    fn a_restart_and_clocks_that_differ_a_little_hold_up_nothing() {
        let now = start();
        let trusted = ClockWatch {
            seen_at: now,
            trusted_from: now,
        };
        for later in [
            now,
            now.after(HOUR * 23),
            now.before(Duration::from_mins(4)),
        ] {
            let (watch, leap) = ClockWatch::look(Some(trusted), later);
            assert_eq!(leap, None);
            // What was believed stays so.
            assert!(
                watch
                    .hold()
                    .is_none_or(|left| left < Duration::from_mins(5))
            );
        }
    }
}
