//! API keys.

use async_trait::async_trait;
use drover_domain::access::ApiKey;

use crate::StoreError;

/// The durable record of API keys. Secrets never reach it: only their digests do.
#[async_trait]
pub trait AccessKeys: Send + Sync {
    /// The key with this public half.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError>;

    /// Stores a key, unless there already is one of any kind: the first start of two nodes makes
    /// one first key. Says whether it was stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn insert_first(&self, key: &ApiKey) -> Result<bool, StoreError>;

    /// Stores a key, or replaces the one with the same public half: how a key from the
    /// configuration is kept true.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn put(&self, key: &ApiKey) -> Result<(), StoreError>;
}
