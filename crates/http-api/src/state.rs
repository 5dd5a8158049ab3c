//! What handlers and middleware share.

use std::sync::Arc;

use drover_usecases::Service;
use tokio::sync::Semaphore;

use crate::Options;
use crate::guard::Shares;

/// The requests that steer (pause, cancel, set a server ready) which are worked on while all other places are taken.
const STEERING: usize = 32;

/// The service and the bounds around it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) options: Arc<Options>,
    /// For looking up API keys.
    pub(crate) authentications: Arc<Semaphore>,
    /// For bodies that arrive.
    pub(crate) bodies: Arc<Shares>,
    /// For requests at work.
    pub(crate) permits: Arc<Shares>,
    /// For requests that steer, when there is no other place.
    pub(crate) steering: Arc<Shares>,
    /// For streams.
    pub(crate) streams: Arc<Shares>,
    /// For workers that wait for tasks.
    pub(crate) claims: Arc<Shares>,
}

impl Api {
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let authentications = options.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            service,
            authentications: Arc::new(Semaphore::new(authentications)),
            bodies: Shares::new(options.concurrency, (1, 4)),
            permits: Shares::new(options.concurrency, (3, 4)),
            steering: Shares::new(STEERING, (1, 4)),
            streams: Shares::new(options.lasting, (1, 4)),
            claims: Shares::new(options.lasting, (3, 4)),
            options: Arc::new(options),
        }
    }

    /// Waits until the process is about to end; without a stop signal it waits for ever.
    pub(crate) async fn told_to_end(&self) {
        let Some(mut stop) = self.options.stop.clone() else {
            return std::future::pending().await;
        };
        // A sender that is gone says so too.
        let _ended = stop.wait_for(|stop| *stop).await.is_err();
    }
}
