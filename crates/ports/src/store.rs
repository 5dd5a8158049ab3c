//! What every store may answer.

use async_trait::async_trait;

use crate::{BoxError, Fault};

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something unique is already there; nothing changed.
    #[error("{what} `{name}` already exists")]
    AlreadyExists {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The writer no longer owns what it writes about; nothing changed.
    #[error(
        "{what} {name} is no longer at attempt {attempt} of this worker; somebody else has taken it over"
    )]
    Stale {
        /// What kind of thing.
        what: &'static str,
        /// Its identifier.
        name: String,
        /// The writer's attempt.
        attempt: u32,
    },
    /// An idempotency key was used before with another request; nothing changed.
    #[error("the idempotency key `{key}` was used before with another request")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The state of the thing does not allow it; nothing changed.
    #[error("{reason}")]
    Refused {
        /// A sentence for the user.
        reason: String,
    },
    /// What a page of a list begins after is gone, so nobody can say where the page begins.
    #[error("the item this page begins after is gone; begin again without a cursor")]
    PositionGone,
    /// A stored row cannot be read.
    #[error("stored {what} {name} is not readable: {reason}")]
    Corrupt {
        /// What kind of thing.
        what: &'static str,
        /// Its identifier.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database does not answer, or not as it should.
    #[error("the database cannot {action}")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// Why.
        source: BoxError,
    },
}

impl StoreError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } => Fault::Transient,
            Self::AlreadyExists { .. }
            | Self::Stale { .. }
            | Self::KeyReused { .. }
            | Self::Refused { .. }
            | Self::PositionGone => Fault::Permanent,
            Self::Corrupt { .. } => Fault::Defect,
        }
    }
}

/// Whether the database answers.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Asks the database for one cheap answer, within its usual deadline.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it does not answer.
    async fn check(&self) -> Result<(), StoreError>;
}
