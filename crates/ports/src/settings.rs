//! What people say about applications.

use async_trait::async_trait;
use drover_domain::fleet::{Application, ApplicationKey, ApplicationSettings};

use crate::StoreError;

/// What became of the wish to change what people say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled<T> {
    /// It is as wished.
    Done(T),
    /// It is not there, or not as it was known; nothing changed.
    Changed,
    /// What it shall belong to is not there; nothing changed.
    NoOwner,
}

/// The durable record of what people say about applications. Polling makes them and leaves alone what people said.
#[async_trait]
pub trait ApplicationRegistry: Send + Sync {
    /// Changes what people say about an application, if it is still as they knew it. Its number in the group stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn change(
        &self,
        application: ApplicationKey,
        known: &ApplicationSettings,
        wanted: &ApplicationSettings,
    ) -> Result<Settled<Application>, StoreError>;
}
