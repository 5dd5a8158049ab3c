//! Records of what happened, which are kept for a while.

use async_trait::async_trait;
use drover_domain::Timestamp;

use crate::StoreError;

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum History {
    /// What happened to servers and applications.
    FleetEvents,
    /// How the status of servers in HAProxy changed.
    HaproxyStatuses,
    /// How the status of applications changed.
    InstanceStatuses,
    /// Servers that HAProxy no longer has, with their history and mappings.
    GoneServers,
    /// Backends that HAProxy no longer has.
    GoneBackends,
    /// Applications that are gone, by when they were last seen; those of removed servers whenever that was.
    GoneApplications,
    /// Groups without an application that polling found and no person has changed, by when they were made.
    EmptyGroups,
    /// Catalog entries without an application and a group, likewise.
    EmptyCatalogEntries,
}

impl History {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::FleetEvents,
        Self::HaproxyStatuses,
        Self::InstanceStatuses,
        Self::GoneApplications,
        Self::EmptyGroups,
        Self::EmptyCatalogEntries,
        Self::GoneServers,
        Self::GoneBackends,
    ];

    /// What it is, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FleetEvents => "events of the fleet",
            Self::HaproxyStatuses => "status changes in HAProxy",
            Self::InstanceStatuses => "status changes of applications",
            Self::GoneServers => "servers gone from HAProxy",
            Self::GoneBackends => "backends gone from HAProxy",
            Self::GoneApplications => "applications that are gone",
            Self::EmptyGroups => "groups without applications",
            Self::EmptyCatalogEntries => "catalog entries without applications",
        }
    }
}

/// Forgets what is old. Any number of nodes may call it at once.
#[async_trait]
pub trait HistoryUpkeep: Send + Sync {
    /// Removes records of what happened before this moment, oldest first, at most `limit`. How many were removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn prune(
        &self,
        history: History,
        before: Timestamp,
        limit: u32,
    ) -> Result<u32, StoreError>;
}
