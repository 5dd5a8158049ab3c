//! HAProxy as it is stored.

mod mappings;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{ApplicationKey, ServerKey};
use drover_domain::haproxy::sync::{KnownHaproxy, SyncChange};
use drover_domain::haproxy::{
    BackendKey, HaproxyBackend, HaproxyCounts, HaproxyInstance, HaproxyInstanceKey, HaproxyServer,
    HaproxyServerKey, MappingBasis, MappingCandidate,
};
use drover_domain::page::{Page, PageRequest};

use crate::StoreError;

pub use mappings::{
    HaproxyMappings, ManualMapping, MapOutcome, MappingCause, MappingChange, UnmappedFilter,
    UnmappedServer, Unmapping,
};

/// A mapping to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMapping {
    /// The server in HAProxy.
    pub server: HaproxyServerKey,
    /// The application behind it.
    pub application: ApplicationKey,
    /// Why they belong together.
    pub basis: MappingBasis,
    /// When it was found.
    pub at: Timestamp,
    /// Who wanted it; `None` when a sync found it.
    pub cause: Option<MappingCause>,
}

/// The durable record of HAProxy instances, backends, servers and mappings, as the sync needs it.
///
/// Every method is atomic and costs a number of statements that does not depend on the number of rows.
#[async_trait]
pub trait HaproxyStore: Send + Sync {
    /// Makes the instances of a server's agent be exactly `names`: new ones are added, missing
    /// ones become inactive, returning ones active again with their old key. Returns the active ones by name.
    /// A server that is not marked as an HAProxy node has none, whatever its agent lists.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn record_instances(
        &self,
        server: ServerKey,
        names: &[String],
        at: Timestamp,
    ) -> Result<Vec<HaproxyInstance>, StoreError>;

    /// The active instances of a server as they are stored, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn active_instances(&self, server: ServerKey)
    -> Result<Vec<HaproxyInstance>, StoreError>;

    /// An instance with all its backends and servers, removed ones included.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn load(&self, instance: HaproxyInstanceKey) -> Result<Option<KnownHaproxy>, StoreError>;

    /// Writes what a sync changed: the instance row, and of the rest only what the change names. A pin that has lapsed
    /// is ended unless it was renewed in the meantime. A status that an action under way brought is written down as that.
    /// A returning backend or server keeps its key; a removed server keeps its mapping for its return.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn store(&self, change: &SyncChange) -> Result<(), StoreError>;

    /// The present servers without an active mapping that are not excluded, by key: of an instance, or of all
    /// active ones.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn unmapped(
        &self,
        instance: Option<HaproxyInstanceKey>,
    ) -> Result<Vec<HaproxyServer>, StoreError>;

    /// Every application that may stand behind a server: those that are present on a server, by key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn candidates(&self) -> Result<Vec<MappingCandidate>, StoreError>;

    /// Makes these mappings active and says how many it made or changed. Only a manual one takes the place of an active
    /// manual mapping. What is gone is passed over, and so is a server that is excluded. Every change gets
    /// a history row with its cause.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn map(&self, mappings: &[NewMapping]) -> Result<u64, StoreError>;

    /// The active mappings by address of present servers, of an instance or of all active ones, whose application is
    /// reported at an address other than that of its server: whether they may stand is for the rule to say.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn doubtful(
        &self,
        instance: Option<HaproxyInstanceKey>,
    ) -> Result<Vec<DoubtfulMapping>, StoreError>;

    /// Ends these mappings where they are still active and not made by hand, each with a history row, and says
    /// how many ended.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn end(
        &self,
        mappings: &[(HaproxyServerKey, ApplicationKey)],
        at: Timestamp,
        cause: Option<&MappingCause>,
    ) -> Result<u64, StoreError>;
}

/// A mapping by address that the rule may not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtfulMapping {
    /// The server in HAProxy.
    pub server: HaproxyServerKey,
    /// Its name.
    pub server_name: String,
    /// The application behind it.
    pub candidate: MappingCandidate,
}

/// Which instances are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HaproxyInstanceFilter {
    /// Behind the agent of this server.
    pub server: Option<ServerKey>,
    /// Whether they are synced.
    pub is_active: Option<bool>,
    /// With this in their name or that of their server, small or capital letters a to z alike.
    pub like: Option<String>,
}

/// Which backends are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendFilter {
    /// With this in their name, small or capital letters a to z alike.
    pub like: Option<String>,
}

/// Which servers are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HaproxyServerFilter {
    /// Of which HAProxy says exactly this.
    pub word: Option<String>,
    /// Whether they are actively mapped to an application.
    pub is_mapped: Option<bool>,
    /// With this in their name, small or capital letters a to z alike.
    pub like: Option<String>,
}

/// HAProxy as people look at it; removed rows are not shown.
#[async_trait]
pub trait HaproxyView: Send + Sync {
    /// The instance with this key, active or not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn instance(
        &self,
        instance: HaproxyInstanceKey,
    ) -> Result<Option<HaproxyInstance>, StoreError>;

    /// Instances by key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn instances(
        &self,
        filter: &HaproxyInstanceFilter,
        page: PageRequest,
    ) -> Result<Page<HaproxyInstance>, StoreError>;

    /// The backends of an instance by key; `None` if there is no such instance.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn backends(
        &self,
        instance: HaproxyInstanceKey,
        filter: &BackendFilter,
        page: PageRequest,
    ) -> Result<Option<Page<HaproxyBackend>>, StoreError>;

    /// The servers of a backend by key; `None` if there is no such backend.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn servers(
        &self,
        backend: BackendKey,
        filter: &HaproxyServerFilter,
        page: PageRequest,
    ) -> Result<Option<Page<HaproxyServer>>, StoreError>;

    /// All of it in a few numbers, at one moment; a backend has too few servers that take requests when it has any
    /// and fewer than `min_ready` of them do.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn summary(&self, min_ready: u32) -> Result<HaproxyCounts, StoreError>;
}
