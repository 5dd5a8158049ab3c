//! The real clock and the real source of identifiers.

use std::time::UNIX_EPOCH;

use drover_domain::Timestamp;
use drover_domain::id::Uuid;
use drover_ports::{Clock, IdSource};

/// The system's clock; it is not set back while the battery runs.
#[derive(Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the Clock port's adapter"
        )]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.after(since)
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
