//! What handlers and middleware share.

use std::sync::Arc;

use drover_usecases::Service;
use tokio::sync::Semaphore;

use crate::Options;

/// The service and the bounds around it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) options: Arc<Options>,
    pub(crate) permits: Arc<Semaphore>,
    /// For requests that may last.
    pub(crate) lasting: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let permits = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self {
            service,
            permits: permits(options.concurrency),
            lasting: permits(options.lasting),
            options: Arc::new(options),
        }
    }

    /// Waits until the process is about to end; for ever when nobody would say so.
    pub(crate) async fn told_to_end(&self) {
        let Some(mut stop) = self.options.stop.clone() else {
            return std::future::pending().await;
        };
        // A sender that is gone says so too.
        let _ended = stop.wait_for(|stop| *stop).await.is_err();
    }
}
