//! The real clock and the real source of identifiers.

use std::sync::atomic::{AtomicI64, Ordering};

use drover_domain::Timestamp;
use drover_ports::{Clock, IdSource};
use uuid::Uuid;

/// The system's clock in whole microseconds; never goes back within one process.
#[derive(Debug, Default)]
pub(crate) struct SystemClock {
    last: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the Clock port's adapter"
        )]
        let now = chrono::Utc::now().timestamp_micros();
        let last = self.last.fetch_max(now, Ordering::AcqRel);
        Timestamp::from_micros(now.max(last))
    }
}

/// Identifiers of version 7: they sort by the time they were drawn.
#[derive(Debug, Default)]
pub(crate) struct UuidV7;

impl IdSource for UuidV7 {
    fn draw(&self) -> Uuid {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the IdSource port's adapter"
        )]
        Uuid::now_v7()
    }
}
