//! How a loop learns that it is time to end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Says `true` when it is time to end.
pub type Stop = watch::Receiver<bool>;

/// Waits until it is time to end; a dropped sender says so too.
pub(crate) async fn stopped(stop: &mut Stop) {
    let _ended = stop.wait_for(|stop| *stop).await.is_err();
}

/// Waits for `wait`, or until it is time to end; says whether it is.
pub(crate) async fn pause(stop: &mut Stop, wait: Duration) -> bool {
    tokio::select! {
        () = stopped(stop) => true,
        () = sleep(wait) => false,
    }
}
