//! Queues: how full they are, and what holds them back.

use std::fmt;
use std::sync::Arc;

use drover_domain::workflow::QueueName;
use drover_domain::workflow::queue::{QueueLimits, RateLimit};
use drover_ports::{QueueStats, QueueStore, StoreError};

use crate::EnginePorts;

/// Requests about queues.
#[derive(Clone)]
pub struct Queues {
    store: Arc<dyn QueueStore>,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queues")
    }
}

impl Queues {
    /// Requests over these ports.
    #[must_use]
    pub fn new(ports: &EnginePorts) -> Self {
        Self {
            store: Arc::clone(&ports.queues),
        }
    }

    /// Every queue that has tasks or limits, by name; at most [`QueueStats::LISTED_MAX`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn stats(&self) -> Result<Vec<QueueStats>, StoreError> {
        self.store.stats().await
    }

    /// Sets how many tasks of a queue run at once and how often they start; whether it is paused stays
    /// as it is. A queue without tasks may be limited too.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn limit(
        &self,
        queue: &QueueName,
        concurrency: Option<u32>,
        rate: Option<RateLimit>,
    ) -> Result<QueueLimits, StoreError> {
        let limits = QueueLimits {
            is_paused: self.limits(queue).await?.is_paused,
            concurrency,
            rate,
        };
        self.set(queue, limits).await
    }

    /// Pauses a queue or lets it go on; its limits stay as they are.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn pause(
        &self,
        queue: &QueueName,
        is_paused: bool,
    ) -> Result<QueueLimits, StoreError> {
        let limits = QueueLimits {
            is_paused,
            ..self.limits(queue).await?
        };
        self.set(queue, limits).await
    }

    async fn set(&self, queue: &QueueName, limits: QueueLimits) -> Result<QueueLimits, StoreError> {
        self.store.limit(queue, limits).await?;
        tracing::info!(queue = %queue, paused = limits.is_paused, "the limits of the queue {queue} are set");
        Ok(limits)
    }

    async fn limits(&self, queue: &QueueName) -> Result<QueueLimits, StoreError> {
        let stats = self.store.stats().await?;
        let found = stats.into_iter().find(|stats| stats.name == *queue);
        Ok(found.map(|stats| stats.limits).unwrap_or_default())
    }
}
