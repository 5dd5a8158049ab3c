//! What every store may answer.

use std::fmt;

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
    /// The item that a page begins after was removed, so the position of the page is unknown.
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
    /// The database answers and refuses this work, and will refuse it again; nothing changed.
    #[error("the database cannot {action}: {why}")]
    Rejected {
        /// What was being done.
        action: &'static str,
        /// What has to change before it can work.
        why: Rejection,
        /// What the database says.
        source: BoxError,
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
            Self::Unavailable { .. }
            | Self::Rejected {
                // Work in hand waits for the administrator; it must not be lost to a missing right.
                why: Rejection::Setup(_),
                ..
            } => Fault::Transient,
            Self::AlreadyExists { .. }
            | Self::Stale { .. }
            | Self::KeyReused { .. }
            | Self::Refused { .. }
            | Self::PositionGone
            | Self::Rejected {
                why: Rejection::Value(_),
                ..
            } => Fault::Permanent,
            Self::Corrupt { .. }
            | Self::Rejected {
                why: Rejection::Defect,
                ..
            } => Fault::Defect,
        }
    }
}

/// What has to change before the database does what it refuses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The value that was to be stored; with a sentence for the user.
    Value(&'static str),
    /// The database, its rights or its files, by its administrator; with a sentence for the administrator.
    Setup(&'static str),
    /// Drover: a statement or a value that it must not send.
    Defect,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value(sentence) | Self::Setup(sentence) => sentence,
            Self::Defect => "it refuses the statement",
        })
    }
}

/// Whether the database can be worked with.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Writes to the database, within its usual deadline. After a write failed for want of space it writes as
    /// much as a large request, so that success means that such requests work again. A success is repeated for up
    /// to a second without another write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it does not answer, is read-only or has no space left;
    /// [`StoreError::Rejected`] when its rights or settings do not suffice. The error's own sentence says which,
    /// without a word of the driver.
    async fn check(&self) -> Result<(), StoreError>;
}
