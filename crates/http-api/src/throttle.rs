//! Lines of the log for what strangers can repeat a thousand times a second.

use std::time::Duration;

use tokio::time::Instant;

/// How often one kind of line is written at most.
const PERIOD: Duration = Duration::from_mins(1);

/// Counts what happens and says when a line about it is due: the first time, and then once a minute at most.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    since: u64,
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self {
            last: None,
            since: 0,
        }
    }

    /// Counts once more; how often it happened since the last line, if a line is due.
    pub(crate) fn due(&mut self) -> Option<u64> {
        self.since += 1;
        let now = Instant::now();
        let is_due = self
            .last
            .is_none_or(|last| now.duration_since(last) >= PERIOD);
        is_due.then(|| {
            self.last = Some(now);
            std::mem::take(&mut self.since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_counts_them_all() {
        let mut throttle = Throttle::new();
        assert_eq!(throttle.due(), Some(1));
        for _ in 0..1_000 {
            assert_eq!(throttle.due(), None);
        }
        tokio::time::advance(PERIOD).await;
        assert_eq!(throttle.due(), Some(1_001));
        assert_eq!(throttle.due(), None);
    }
}
