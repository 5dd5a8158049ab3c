//! Waiting out what goes away by itself.

use std::time::Duration;

use drover_domain::workflow::run::Outcome;
use drover_ports::{Fault, StoreError};
use tokio::time::sleep;

/// How long a step that could not be done is left alone before it is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Why a task in hand is let go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// Another worker owns it now, or the store broke its contract: this worker stops.
    #[error("the task is no longer this worker's")]
    Lost(#[source] StoreError),
}

impl Interrupted {
    /// The outcome of the attempt: a report about a task of another worker is refused anyway; for a record
    /// that cannot be used, `unusable` gives the outcome.
    pub(crate) fn outcome(&self, unusable: impl FnOnce(&StoreError) -> Outcome) -> Outcome {
        let Self::Lost(error) = self;
        match error {
            StoreError::Stale { .. } => Outcome::Released,
            StoreError::AlreadyExists { .. }
            | StoreError::KeyReused { .. }
            | StoreError::Refused { .. }
            | StoreError::PositionGone
            | StoreError::Corrupt { .. }
            | StoreError::Rejected { .. }
            | StoreError::Unavailable { .. } => unusable(error),
        }
    }
}

/// Calls until the store answers: a transient failure is waited out for as long as the
/// engine keeps the lease alive.
pub(crate) async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Interrupted>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
            Err(error) => return Err(Interrupted::Lost(error)),
        }
    }
}

pub(crate) async fn warn_and_wait(error: &(dyn std::error::Error + Send + Sync + 'static)) {
    tracing::warn!(
        error = error as &(dyn std::error::Error + 'static),
        "tried again in {} s",
        RETRY_WAIT.as_secs()
    );
    sleep(RETRY_WAIT).await;
}
