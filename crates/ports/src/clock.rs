//! Time and identifiers, handed in.

use drover_domain::{Id, Timestamp};

/// The time of day.
pub trait Clock: Send + Sync {
    /// The current instant. Never goes back within one process.
    fn now(&self) -> Timestamp;
}

/// A source of fresh identifiers.
pub trait IdSource: Send + Sync {
    /// A new unique identifier (UUID). Later identifiers sort after earlier ones.
    fn draw(&self) -> drover_domain::id::Uuid;
}

impl dyn IdSource {
    /// A fresh identifier of a `K`.
    #[must_use]
    pub fn next<K>(&self) -> Id<K> {
        Id::from_uuid(self.draw())
    }
}
