//! The fleet as it is stored.

mod order;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::inventory::{InventoryChange, KnownInventory};
use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationStatus, Event, EventKind, EventStatus,
    NewServer, Server, ServerKey, ServerPlace, ServerStatus, VersionChange, VersionChangeKey,
};
use drover_domain::haproxy::{HaproxyInstanceKey, StandingServer};
use drover_domain::page::{Page, PageRequest, Sort};
use drover_domain::rollout::snapshot::FleetSnapshot;

use crate::{NamedGroup, StoreError};

pub use order::{ApplicationColumn, CatalogColumn, GroupColumn, ServerColumn};

/// The result of a request to remove a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Done,
    /// It is not there, or not as it was known; nothing changed.
    Changed,
    /// Something has not ended yet; nothing changed.
    UnderWay {
        /// Updates of applications that run on it or are served by its HAProxy.
        updates: u32,
        /// Actions on servers in its HAProxy.
        actions: u32,
    },
}

/// The durable record of servers.
#[async_trait]
pub trait ServerRegistry: Send + Sync {
    /// Adds a server. It has not been polled yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken, or another server of the fleet has the same short name
    /// (small and capital letters alike), and then nothing changed; [`StoreError::Unavailable`].
    async fn add(&self, server: &NewServer, at: Timestamp) -> Result<Server, StoreError>;

    /// The server with this key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, server: ServerKey) -> Result<Option<Server>, StoreError>;

    /// The server that [may be called](Server::may_be_called) so; the one with the least key if there are several.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find_by_name(&self, name: &str) -> Result<Option<Server>, StoreError>;

    /// Servers by key. A server that cannot be read is logged and left out, so that all others are polled.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn list(&self, page: PageRequest) -> Result<Page<Server>, StoreError>;

    /// Changes the name, address or port of a server if it is still as the caller read it. Another address is another agent: its
    /// status is unknown, and failures of the previous one do not count. `None` if the server does not exist or has changed
    /// since; then nothing changed.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the new name is taken, or another server has its short name, and then nothing
    /// changed; [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn change(
        &self,
        server: ServerKey,
        known: &ServerPlace,
        place: &ServerPlace,
    ) -> Result<Option<Server>, StoreError>;

    /// Removes a server, if it is still as it was known and nothing is under way on it, with its HAProxy instances and
    /// their mappings. Its applications stay, with their history and without a server; their status is unknown.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn remove(&self, server: ServerKey, known: &ServerPlace) -> Result<Removal, StoreError>;

    /// Says whether an HAProxy is managed through a server's agent; when not, its instances become inactive with it.
    /// The server as it is then, `None` if there is no such server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn set_haproxy_node(
        &self,
        server: ServerKey,
        is_haproxy_node: bool,
    ) -> Result<Option<Server>, StoreError>;
}

/// The durable record of what runs where, as polling needs it.
///
/// Each method costs a number of statements that does not depend on the number of applications.
#[async_trait]
pub trait InventoryStore: Send + Sync {
    /// A server with the applications that are present: those of its last believed inventory. The others are counted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn load(&self, server: ServerKey) -> Result<Option<KnownInventory>, StoreError>;

    /// The applications of a server that are gone and have these names.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn recall(
        &self,
        server: ServerKey,
        names: &[(ApplicationKind, &str)],
    ) -> Result<Vec<Application>, StoreError>;

    /// Writes what a poll changed in one transaction: the server's row, applications, catalog
    /// entries and groups by name (made when missing and the resolution says so; a group without a catalog entry gets
    /// one), version history, events; then it forgets as many of the server's gone applications as the change says, those
    /// gone longest first. A quiet change writes the server's row only. An application that is upserted is present: its
    /// last-seen time follows the server's inventory time from then on.
    ///
    /// An application without a group joins the group of its name, and the moment is noted. Where the resolution says
    /// that it is proposed, it joins only if the server has a member in the group already, or the group has no member
    /// and was found by polling; else it is proposed to the group and stays without one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], and then nothing changed.
    async fn store(&self, change: &InventoryChange) -> Result<(), StoreError>;
}

/// Which applications are wanted, and in which order; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplicationFilter {
    /// On this server.
    pub server: Option<ServerKey>,
    /// Of the group with exactly this name.
    pub group: Option<String>,
    /// Of this kind.
    pub kind: Option<ApplicationKind>,
    /// With exactly this instance name.
    pub name: Option<String>,
    /// With this status.
    pub status: Option<ApplicationStatus>,
    /// With exactly this version.
    pub version: Option<String>,
    /// Of a catalog entry with exactly this name, of whatever kind.
    pub catalog: Option<String>,
    /// With this in its instance name, small or capital letters a to z alike.
    pub like: Option<String>,
    /// In which order.
    pub sort: Sort<ApplicationColumn>,
}

/// Which groups are wanted, and in which order; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupFilter {
    /// Of a catalog entry with exactly this name, of whatever kind.
    pub catalog: Option<String>,
    /// With this in its name, small or capital letters a to z alike.
    pub like: Option<String>,
    /// In which order.
    pub sort: Sort<GroupColumn>,
}

/// Which servers are wanted, and in which order; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFilter {
    /// With this status.
    pub status: Option<ServerStatus>,
    /// Whether an HAProxy is managed through its agent.
    pub is_haproxy_node: Option<bool>,
    /// With this in its name or address, small or capital letters a to z alike.
    pub like: Option<String>,
    /// In which order.
    pub sort: Sort<ServerColumn>,
}

/// Which events are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetEventFilter {
    /// Of this server.
    pub server: Option<ServerKey>,
    /// Of this application.
    pub application: Option<ApplicationKey>,
    /// About this.
    pub kind: Option<EventKind>,
    /// That went like this.
    pub status: Option<EventStatus>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// The fleet as people look at it. A present application's `last_seen` is its server's last
/// believed inventory.
#[async_trait]
pub trait FleetView: Send + Sync {
    /// The application with this key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn application(
        &self,
        application: ApplicationKey,
    ) -> Result<Option<Application>, StoreError>;

    /// Applications in the order asked for. A page's position is the key of its last application; the next page begins
    /// where that one stands then.
    ///
    /// # Errors
    ///
    /// [`StoreError::PositionGone`], never in the order of keys; [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn applications(
        &self,
        filter: &ApplicationFilter,
        page: PageRequest,
    ) -> Result<Page<Application>, StoreError>;

    /// The version history of an application, newest first; `None` if there is no such application.
    /// A page's position is the key of the change.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn versions(
        &self,
        application: ApplicationKey,
        page: PageRequest,
    ) -> Result<Option<Page<(VersionChangeKey, VersionChange)>>, StoreError>;

    /// Groups in the order asked for, with their counts. A page's position is the key of its last group; the next page
    /// begins where that one stands then.
    ///
    /// # Errors
    ///
    /// [`StoreError::PositionGone`], never in the order of keys; [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn groups(
        &self,
        filter: &GroupFilter,
        page: PageRequest,
    ) -> Result<Page<NamedGroup>, StoreError>;

    /// Servers in the order asked for. A page's position is the key of its last server; the next page begins where that
    /// one stands then.
    ///
    /// # Errors
    ///
    /// [`StoreError::PositionGone`], never in the order of keys; [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn servers(
        &self,
        filter: &ServerFilter,
        page: PageRequest,
    ) -> Result<Page<Server>, StoreError>;

    /// Events, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn events(
        &self,
        filter: &FleetEventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>, StoreError>;
}

/// What the executor template needs, loaded at once.
#[async_trait]
pub trait FleetSnapshots: Send + Sync {
    /// The applications with their servers, groups, settings and active HAProxy mappings, in at most
    /// two statements for any number of applications. Unknown applications are absent.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn snapshot(&self, applications: &[ApplicationKey]) -> Result<FleetSnapshot, StoreError>;

    /// The servers of these HAProxy instances by key, with their backends, in one statement. Absent are the servers that
    /// were removed and those that HAProxy's last answer did not list.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn standing(
        &self,
        instances: &[HaproxyInstanceKey],
    ) -> Result<Vec<StandingServer>, StoreError>;
}
