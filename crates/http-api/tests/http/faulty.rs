//! Ports that misbehave when a test says so.

use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use drover_domain::access::ApiKey;
use drover_ports::{AccessKeys, StoreError, StoreHealth};

/// How a port behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Works,
    Fails,
    Hangs,
    Panics,
}

/// The mood of everything behind it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moody(Arc<Mutex<Mood>>);

/// A driver's message that no caller may read.
pub(crate) const DRIVER: &str = "SELECT secret FROM keys at /var/lib/drover.db";

impl Moody {
    pub(crate) fn be(&self, mood: Mood) {
        *self.0.lock().unwrap() = mood;
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let mood = *self.0.lock().unwrap();
        match mood {
            Mood::Works => Ok(()),
            Mood::Fails => Err(StoreError::Unavailable {
                action: "find a key",
                source: DRIVER.into(),
            }),
            Mood::Hangs => pending().await,
            Mood::Panics => unreachable!("a bug"),
        }
    }
}

#[async_trait]
impl StoreHealth for Moody {
    async fn check(&self) -> Result<(), StoreError> {
        self.pass().await
    }
}

/// Keys that can only be found while the mood is good.
pub(crate) struct MoodyKeys {
    pub(crate) mood: Moody,
    pub(crate) keys: Arc<dyn AccessKeys>,
}

#[async_trait]
impl AccessKeys for MoodyKeys {
    async fn find(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        self.mood.pass().await?;
        self.keys.find(public_id).await
    }

    async fn insert_first(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.keys.insert_first(key).await
    }

    async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.keys.list().await
    }

    async fn insert(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.keys.insert(key).await
    }

    async fn configure(&self, key: Option<&ApiKey>) -> Result<bool, StoreError> {
        self.keys.configure(key).await
    }

    async fn remove(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        self.keys.remove(public_id).await
    }
}
