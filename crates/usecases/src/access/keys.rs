//! Who is asking, and the keys that say so.

use std::fmt;
use std::sync::Arc;

use drover_domain::Timestamp;
use drover_domain::access::{Actor, ApiKey, KEY_NAME_MAX, KeyDigest, KeyOrigin, Role};
use drover_domain::rollout::record::Origin;
use drover_domain::text::check_title;
use drover_ports::{AccessKeys, Clock, StoreError};

/// Identifies callers by their API keys, and manages the keys.
///
/// A key is read from the store for each request: what one node changes holds on every other at once.
#[derive(Clone)]
pub struct Access {
    keys: Arc<dyn AccessKeys>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

/// What became of a key that was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// It is valid.
    By(Actor),
    /// It was valid until this moment.
    Expired {
        /// Its name.
        name: String,
        /// Its end.
        at: Timestamp,
    },
    /// It is unknown or revoked, or its secret is wrong.
    Unknown,
}

/// A key to issue; the secret stays with the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The public half, fresh.
    pub public_id: String,
    /// The digest of the secret half.
    pub digest: KeyDigest,
    /// The person or program it is for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// Why a key is not issued or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A member of the request cannot be used.
    #[error("{reason}")]
    Unusable {
        /// The member.
        member: &'static str,
        /// A sentence for the user.
        reason: String,
    },
    /// There is no such key.
    #[error("there is no API key {id}")]
    NoSuchKey {
        /// Its public half.
        id: String,
    },
    /// The store refuses, or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Access {
    pub(crate) fn new(keys: Arc<dyn AccessKeys>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock }
    }

    /// The caller with this key. An unknown key and a wrong secret are the same.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the keys cannot be read.
    pub async fn authenticate(
        &self,
        public_id: &str,
        digest: KeyDigest,
    ) -> Result<Presented, StoreError> {
        let key = self.keys.find(public_id).await?;
        let Some(key) = key.filter(|key| key.digest.matches(&digest)) else {
            return Ok(Presented::Unknown);
        };
        Ok(match key.expires_at {
            Some(at) if key.is_expired(self.clock.now()) => {
                Presented::Expired { name: key.name, at }
            }
            _ => Presented::By(Actor {
                name: key.name,
                role: key.role,
            }),
        })
    }

    /// All keys, oldest first, expired ones among them.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the keys cannot be read.
    pub async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.keys.list().await
    }

    /// Issues a key.
    ///
    /// # Errors
    ///
    /// [`AccessError::Unusable`] for a name that is none or an end that has passed; [`AccessError::Store`] for a name
    /// that a key has already.
    pub async fn issue(&self, new: NewKey, origin: &Origin) -> Result<ApiKey, AccessError> {
        let now = self.clock.now();
        check_title("the name", &new.name, KEY_NAME_MAX).map_err(|error| {
            AccessError::Unusable {
                member: "name",
                reason: error.to_string(),
            }
        })?;
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(AccessError::Unusable {
                member: "expires_at",
                reason: "must be in the future".to_owned(),
            });
        }
        let key = ApiKey {
            public_id: new.public_id,
            digest: new.digest,
            role: new.role,
            name: new.name,
            origin: KeyOrigin::Issued,
            created_by: Some(origin.actor.clone()),
            created_at: now,
            expires_at: new.expires_at,
        };
        self.keys.insert(&key).await?;
        tracing::info!(
            key.id = key.public_id,
            key.name = key.name,
            key.role = %key.role,
            actor = origin.actor,
            "an API key was issued"
        );
        Ok(key)
    }

    /// Revokes a key: it is refused from now on.
    ///
    /// # Errors
    ///
    /// [`AccessError::NoSuchKey`]; [`AccessError::Store`] for the last administrator and the key of the settings.
    pub async fn revoke(&self, public_id: &str, origin: &Origin) -> Result<(), AccessError> {
        let removed = self.keys.remove(public_id).await?;
        let key = removed.ok_or_else(|| AccessError::NoSuchKey {
            id: public_id.to_owned(),
        })?;
        tracing::info!(
            key.id = key.public_id,
            key.name = key.name,
            key.role = %key.role,
            actor = origin.actor,
            "an API key was revoked"
        );
        Ok(())
    }

    /// Stores `key` if there is no key at all, and says whether it did.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn ensure_first_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.keys.insert_first(key).await
    }

    /// Makes `key` the one key of the settings, or removes the one there is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn configure(&self, key: Option<&ApiKey>) -> Result<bool, StoreError> {
        self.keys.configure(key).await
    }
}
