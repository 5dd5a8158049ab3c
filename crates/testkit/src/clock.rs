//! Time and identifiers that a test decides.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use drover_domain::Timestamp;
use drover_ports::{Clock, IdSource};
use uuid::Uuid;

/// A clock that stands still until a test advances it.
#[derive(Debug)]
pub struct FixedClock(Mutex<Timestamp>);

impl FixedClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Goes on by `step`.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it moved the clock.
    pub fn advance(&self, step: Duration) {
        let mut now = self.0.lock().expect("nobody panics while moving the clock");
        *now = now.after(step);
    }
}

impl Default for FixedClock {
    fn default() -> Self {
        Self::new(Timestamp::from_micros(1_700_000_000_000_000))
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("nobody panics while moving the clock")
    }
}

/// Identifiers 1, 2, 3, … times 4,096: each is the root of another workflow.
#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl IdSource for SequentialIds {
    fn draw(&self) -> Uuid {
        Uuid::from_u128((u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1) << 12)
    }
}
