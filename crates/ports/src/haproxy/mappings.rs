//! Mappings of servers in HAProxy to applications, as people make, end and look at them.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::ApplicationKey;
use drover_domain::haproxy::{
    Exclusion, HaproxyInstanceKey, HaproxyServer, HaproxyServerKey, MappingAction, MappingBasis,
    ServerMapping,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::Origin;

use crate::StoreError;

/// Who wanted a change of a mapping, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingCause {
    /// Who, and in which request.
    pub origin: Origin,
    /// Why, in their words; at most 1,000 characters.
    pub reason: Option<String>,
}

/// A manual mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManualMapping {
    /// The server in HAProxy.
    pub server: HaproxyServerKey,
    /// The application behind it.
    pub application: ApplicationKey,
    /// When.
    pub at: Timestamp,
    /// Who and why.
    pub cause: MappingCause,
}

/// The end of a mapping by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmapping {
    /// The server in HAProxy.
    pub server: HaproxyServerKey,
    /// Whether it is excluded: it stays unmapped until a person maps it.
    pub exclude: bool,
    /// When.
    pub at: Timestamp,
    /// Who and why.
    pub cause: MappingCause,
}

/// What came of mapping a server by hand; only the first changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapOutcome {
    /// It is mapped so; perhaps it was before.
    Mapped(ServerMapping),
    /// There is no such server.
    NoServer,
    /// There is no such application.
    NoApplication,
    /// HAProxy no longer has the server with this name.
    Removed(String),
}

/// A present server without an active mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmappedServer {
    /// The server.
    pub server: HaproxyServer,
    /// The name of its backend.
    pub backend_name: String,
    /// Its instance.
    pub instance: HaproxyInstanceKey,
    /// The name of that at its agent.
    pub instance_name: String,
    /// The name of the server whose agent manages it.
    pub node_name: String,
    /// Its exclusion.
    pub exclusion: Option<Exclusion>,
}

/// A row of the history of a server's mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingChange {
    /// Its place in the list.
    pub position: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub action: MappingAction,
    /// To the mapping to which application.
    pub application: ApplicationKey,
    /// Why the two belonged together.
    pub basis: MappingBasis,
    /// Who wanted it; `None` when a sync did it.
    pub cause: Option<MappingCause>,
}

/// Which servers without a mapping are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnmappedFilter {
    /// Of this instance.
    pub instance: Option<HaproxyInstanceKey>,
    /// With this in their name or that of their backend, small or capital letters a to z alike.
    pub like: Option<String>,
}

/// Mappings by hand.
///
/// Every method is atomic and costs a number of statements that does not depend on the number of rows.
#[async_trait]
pub trait HaproxyMappings: Send + Sync {
    /// Makes a manual mapping active, whatever was active before; that one ends. An exclusion ends too. One that is active
    /// already is left as it is. Each change gets a history row with its cause.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn map_by_hand(&self, mapping: &ManualMapping) -> Result<MapOutcome, StoreError>;

    /// Ends the active mapping of a server, manual or not, with a history row; of one that left HAProxy too. It is
    /// excluded from then on, or no longer, as `exclude` says; an earlier exclusion that goes on is left as it is.
    /// `None` if there is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn unmap(&self, unmapping: &Unmapping) -> Result<Option<ServerMapping>, StoreError>;

    /// Where a server stands with its mapping; `None` if there is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, server: HaproxyServerKey) -> Result<Option<ServerMapping>, StoreError>;

    /// How the mappings of a server changed, newest first; `None` if there is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn history(
        &self,
        server: HaproxyServerKey,
        page: PageRequest,
    ) -> Result<Option<Page<MappingChange>>, StoreError>;

    /// The present servers of all active instances that have no active mapping, by key; excluded ones
    /// included.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn unmapped(
        &self,
        filter: &UnmappedFilter,
        page: PageRequest,
    ) -> Result<Page<UnmappedServer>, StoreError>;
}
