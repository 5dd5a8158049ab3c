//! HAProxy as it is stored.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::balancer::sync::{KnownBalancer, SyncChange};
use drover_domain::balancer::{
    BackendKey, BalancerBackend, BalancerInstance, BalancerServer, BalancerServerKey, InstanceKey,
    MappingBasis, MappingCandidate,
};
use drover_domain::fleet::{ApplicationKey, ServerKey};
use drover_domain::page::{Page, PageRequest};

use crate::StoreError;

/// A mapping to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMapping {
    /// The server in HAProxy.
    pub server: BalancerServerKey,
    /// The application behind it.
    pub application: ApplicationKey,
    /// Why they belong together.
    pub basis: MappingBasis,
    /// When it was found.
    pub at: Timestamp,
}

/// The durable record of HAProxy instances, backends, servers and mappings, as the sync needs it.
///
/// Every method is atomic and costs a number of statements that does not depend on the number of rows.
#[async_trait]
pub trait BalancerStore: Send + Sync {
    /// Makes the instances of a server's agent be exactly `names`: new ones are added, missing
    /// ones become inactive, returning ones active again with their old key. Returns the active ones by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn discovered(
        &self,
        server: ServerKey,
        names: &[String],
        at: Timestamp,
    ) -> Result<Vec<BalancerInstance>, StoreError>;

    /// The active instances of a server as they are stored, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn active_instances(
        &self,
        server: ServerKey,
    ) -> Result<Vec<BalancerInstance>, StoreError>;

    /// An instance with all its backends and servers, removed ones included.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn load(&self, instance: InstanceKey) -> Result<Option<KnownBalancer>, StoreError>;

    /// Writes what a sync changed: the instance row, and of the rest only what the change names.
    /// A returning backend or server keeps its key; a removed server keeps its mapping for its return.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn store(&self, change: &SyncChange) -> Result<(), StoreError>;

    /// The present servers of an instance without an active mapping.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn unmapped(&self, instance: InstanceKey) -> Result<Vec<BalancerServer>, StoreError>;

    /// Every application that may stand behind a server: those with a server, by key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn candidates(&self) -> Result<Vec<MappingCandidate>, StoreError>;

    /// Makes these mappings active. A server that already has an active manual mapping keeps it;
    /// every change gets a history row.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn map(&self, mappings: &[NewMapping]) -> Result<(), StoreError>;
}

/// HAProxy as people look at it; removed rows are not shown.
#[async_trait]
pub trait BalancerView: Send + Sync {
    /// All instances by key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn instances(&self, page: PageRequest) -> Result<Page<BalancerInstance>, StoreError>;

    /// The backends of an instance by key; `None` if there is no such instance.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn backends(
        &self,
        instance: InstanceKey,
        page: PageRequest,
    ) -> Result<Option<Page<BalancerBackend>>, StoreError>;

    /// The servers of a backend by key; `None` if there is no such backend.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn servers(
        &self,
        backend: BackendKey,
        page: PageRequest,
    ) -> Result<Option<Page<BalancerServer>>, StoreError>;
}
