//! API keys.

use async_trait::async_trait;
use drover_domain::access::ApiKey;

use crate::StoreError;

/// The durable record of API keys. Secrets never reach it: only their digests do.
///
/// What one call writes is seen by every later call of every process.
#[async_trait]
pub trait AccessKeys: Send + Sync {
    /// The key with this public half, expired or not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError>;

    /// All keys, oldest first, expired ones among them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Stores a key, unless there already is one of any kind: the first start of two nodes makes
    /// one first key. Says whether it was stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn insert_first(&self, key: &ApiKey) -> Result<bool, StoreError>;

    /// Stores a key. Names are unique: they are the actors of requests.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when a key has its name or its public half, [`StoreError::Refused`] when there
    /// are [`KEYS_MAX`](drover_domain::access::KEYS_MAX) keys, [`StoreError::Unavailable`].
    async fn insert(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// Makes `key` the one key of the settings, or removes the one there is. A key with the same public half is
    /// replaced, another key with the same name keeps it. Says whether anything changed; if not, nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn configure(&self, key: Option<&ApiKey>) -> Result<bool, StoreError>;

    /// Removes the key with this public half, which is refused from now on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a key of the settings, and for the last administrator's key without an end;
    /// [`StoreError::Unavailable`]. In both cases nothing changed.
    async fn remove(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError>;
}
