//! Waits that grow while something keeps failing.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// How long to wait before a store is asked again: 100 ms, then twice as long each time, at most 2 s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How many failures there were in a row.
    pub(super) const fn failures(self) -> u32 {
        self.failures
    }

    /// Counts a failure; how long to wait after it.
    pub(super) fn fail(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        wait.min(LONGEST)
    }

    /// It worked.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        for _ in 0..100 {
            assert_eq!(backoff.fail(), LONGEST);
        }
        backoff.reset();
        assert_eq!(backoff.fail(), FIRST);
    }
}
