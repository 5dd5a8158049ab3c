//! What happens because time passes.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::{ClockLeap, ClockWatch};

use crate::StoreError;

/// What a round of upkeep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upkeep {
    /// How many moments, leases or attempts were seen to. As many as the limit: there may be more.
    pub handled: u32,
    /// How long until the next known moment, by the database's clock; `None` if there is none.
    pub next: Option<Duration>,
}

/// How long ended workflows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionAges {
    /// Those that are not named below.
    pub usual: Duration,
    /// Those with these names.
    pub named: BTreeMap<String, Duration>,
}

impl RetentionAges {
    /// How long a workflow of this name is kept.
    #[must_use]
    pub fn of(&self, name: &str) -> Duration {
        self.named.get(name).copied().unwrap_or(self.usual)
    }

    /// The shortest time for which any is kept.
    #[must_use]
    pub fn least(&self) -> Duration {
        self.named.values().copied().fold(self.usual, Duration::min)
    }
}

/// The same age for all of them.
impl From<Duration> for RetentionAges {
    fn from(usual: Duration) -> Self {
        Self {
            usual,
            named: BTreeMap::new(),
        }
    }
}

/// What a look at the database's clock came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedClock {
    /// What it shows, and from when on it is believed.
    pub watch: ClockWatch,
    /// How it is not where it was expected.
    pub leap: Option<ClockLeap>,
}

/// Sees to what is due. Any number of nodes may call it at once; each thing is seen to once.
#[async_trait]
pub trait WorkflowUpkeep: Send + Sync {
    /// Lets due moments happen: retries, timers, expiries, deadlines, ends of children, delayed starts.
    /// At most `limit`, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn wake_due(&self, limit: u32) -> Result<Upkeep, StoreError>;

    /// Takes tasks away from leases that ran out, and attempts that have taken longer than their
    /// timeout from their workers: at once from remote ones, after `grace` more from engines, which end attempts by
    /// themselves. At most `limit` tasks.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn take_over(&self, grace: Duration, limit: u32) -> Result<Upkeep, StoreError>;

    /// Removes workflows that ended longer ago than they are kept, with everything about them; oldest first, at
    /// most `limit`. How many were removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn prune(&self, ages: &RetentionAges, limit: u32) -> Result<u32, StoreError>;

    /// Removes idempotency keys that are older than `age` and belong to no workflow, oldest first, at most `limit`. How
    /// many were removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn prune_keys(&self, age: Duration, limit: u32) -> Result<u32, StoreError>;

    /// Looks at the database's clock and remembers what it showed: one memory for all nodes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn watch_clock(&self) -> Result<WatchedClock, StoreError>;
}
