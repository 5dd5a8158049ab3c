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
}

impl Api {
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let permits = Arc::new(Semaphore::new(
            options.concurrency.min(Semaphore::MAX_PERMITS),
        ));
        Self {
            service,
            options: Arc::new(options),
            permits,
        }
    }
}
