//! Who is asking.

use std::fmt;
use std::sync::Arc;

use drover_domain::access::{Actor, ApiKey, KeyDigest};
use drover_ports::{AccessKeys, StoreError};

/// Tells callers apart by their API keys.
#[derive(Clone)]
pub struct Access {
    keys: Arc<dyn AccessKeys>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    pub(crate) fn new(keys: Arc<dyn AccessKeys>) -> Self {
        Self { keys }
    }

    /// The caller with this key, or `None` for an unknown key and for a wrong secret alike.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the keys cannot be read.
    pub async fn authenticate(
        &self,
        public_id: &str,
        digest: KeyDigest,
    ) -> Result<Option<Actor>, StoreError> {
        let key = self.keys.find(public_id).await?;
        Ok(key
            .filter(|key| key.digest.matches(&digest))
            .map(|key| Actor {
                name: key.name,
                role: key.role,
            }))
    }

    /// Stores `key` if there is no key at all, and says whether it did.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn ensure_first_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.keys.insert_first(key).await
    }

    /// Stores `key` as it is, replacing the one with the same public half.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn keep_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.keys.put(key).await
    }
}
