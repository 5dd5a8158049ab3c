//! By how much the clock was set since this process began.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Smaller differences of two clocks are no steps.
const LEAST: i64 = 500_000;

/// By how many microseconds the wall clock was moved against the monotonic one.
pub(crate) fn so_far() -> i64 {
    static FIRST: OnceLock<(SystemTime, Instant)> = OnceLock::new();
    static SUM: AtomicI64 = AtomicI64::new(0);
    let wall = wall();
    let (first, steady) = FIRST.get_or_init(|| (wall, Instant::now()));
    let before = SUM.load(Ordering::Relaxed);
    let sum = moved(before, difference(wall, *first + steady.elapsed()));
    if sum != before {
        SUM.store(sum, Ordering::Relaxed);
        tracing::warn!(
            by_ms = (sum - before) / 1_000,
            "the clock was set; times of the engine go on as before until the next start"
        );
    }
    sum
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the monotonic clock, and never a moment of its own"
)]
fn wall() -> SystemTime {
    SystemTime::now()
}

fn difference(wall: SystemTime, expected: SystemTime) -> i64 {
    let micros = |length: Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    match wall.duration_since(expected) {
        Ok(ahead) => micros(ahead),
        Err(error) => -micros(error.duration()),
    }
}

/// The sum of all steps, where it was `before` and the clocks differ by so much now.
const fn moved(before: i64, difference: i64) -> i64 {
    if difference.saturating_sub(before).saturating_abs() >= LEAST {
        difference
    } else {
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_taken_out_and_drift_is_none() {
        let hour = 3_600_000_000;
        assert_eq!(moved(0, 499_999), 0);
        assert_eq!(moved(0, -499_999), 0);
        assert_eq!(moved(0, hour), hour);
        assert_eq!(moved(hour, hour + 10), hour);
        assert_eq!(moved(hour, -hour), -hour);
        assert_eq!(moved(hour, 3), 3);
    }

    #[test]
    fn clocks_that_nobody_sets_do_not_differ() {
        assert_eq!(so_far(), 0);
        let now = wall();
        let hour = Duration::from_hours(1);
        assert_eq!(difference(now + hour, now), 3_600_000_000);
        assert_eq!(difference(now - hour, now), -3_600_000_000);
    }
}
