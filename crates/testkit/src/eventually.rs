//! Waiting for a state without sleeping blindly.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, interval};

/// Looks every 20 ms until `look` says `Ok`, at most for `deadline`.
///
/// # Panics
///
/// After `deadline`, with the last reason why it was not so yet.
pub async fn eventually<T, F>(deadline: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    let mut ticks = interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(reason) => assert!(Instant::now() < end, "not within {deadline:?}: {reason}"),
        }
    }
}
