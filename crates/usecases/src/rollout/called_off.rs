//! Knowing that an update is called off, at the moments when it can be stopped.

use tokio::sync::watch;

/// Whether the update in hand is called off. What is under way is not simply dropped: a play that is just
/// being started must be known to run before it can be stopped.
#[derive(Debug, Default)]
pub(super) struct CalledOff(watch::Sender<bool>);

impl CalledOff {
    /// It is.
    pub(super) fn tell(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is.
    pub(super) fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is.
    pub(super) async fn told(&self) {
        // The sender is ours: there is always one.
        let _told = self.0.subscribe().wait_for(|told| *told).await.is_ok();
    }
}
