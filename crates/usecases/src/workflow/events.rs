//! Following the log of events.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::EventPosition;
use drover_ports::{EventFilter, EventLog, EventPage, StoreError, Topic, WakeUps};
use tokio::time::{Instant, sleep, timeout};

use crate::EnginePorts;

/// How long to wait for a hint before looking by oneself.
const POLL: Duration = Duration::from_secs(1);
/// The shortest time between two looks that find nothing: hints about other workflows come in swarms.
const PAUSE: Duration = Duration::from_millis(20);

/// The log of events, for those who follow it.
#[derive(Clone)]
pub struct EventFeed {
    log: Arc<dyn EventLog>,
    wake_ups: Arc<dyn WakeUps>,
}

impl fmt::Debug for EventFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventFeed")
    }
}

impl EventFeed {
    /// The log behind these ports.
    #[must_use]
    pub fn new(ports: &EnginePorts) -> Self {
        Self {
            log: Arc::clone(&ports.events),
            wake_ups: Arc::clone(&ports.wake_ups),
        }
    }

    /// The position behind the last event there is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn end(&self) -> Result<EventPosition, StoreError> {
        self.log.end().await
    }

    /// The events after `after`, at most about `limit`; waits up to `patience` for the first one, and
    /// gives an empty page then. Who asks again from [`EventPage::next`] misses none and sees none
    /// twice. One page is in memory at a time, however slow the reader is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn follow(
        &self,
        after: EventPosition,
        filter: EventFilter,
        limit: u32,
        patience: Duration,
    ) -> Result<EventPage, StoreError> {
        let end = Instant::now() + patience;
        let mut from = after;
        loop {
            // Before the look: a hint that comes during it counts.
            let seen = self.wake_ups.seen(Topic::Events);
            let page = self.log.after(from, filter, limit).await?;
            let left = end.saturating_duration_since(Instant::now());
            if !page.events.is_empty() || page.gap || left.is_zero() {
                return Ok(page);
            }
            from = page.next;
            sleep(PAUSE.min(left)).await;
            let left = end.saturating_duration_since(Instant::now());
            let hint = self.wake_ups.changed(Topic::Events, seen);
            let _hinted = timeout(POLL.min(left), hint).await.is_ok();
        }
    }
}
