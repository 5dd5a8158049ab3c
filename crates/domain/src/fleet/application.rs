//! An application instance on a server.

use crate::{Key, Timestamp};

use super::{ApplicationStatus, CatalogKey, GroupKey, ServerKey, SettingsLayer, VersionState};

/// Marks application keys.
#[derive(Debug)]
pub enum ApplicationMarker {}
/// The key of an application instance.
pub type ApplicationKey = Key<ApplicationMarker>;

/// What kind of thing an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplicationKind {
    /// A docker container.
    Docker,
    /// A site.
    Site,
    /// A system service.
    Service,
}

impl ApplicationKind {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Site => "site",
            Self::Service => "service",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Docker, Self::Site, Self::Service]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// An application as an agent describes it; what the agent left out is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedApplication {
    /// Its instance name; unique on its server together with the kind.
    pub name: String,
    /// What kind it is.
    pub kind: ApplicationKind,
    /// Its status, normalized.
    pub status: ApplicationStatus,
    /// Its version.
    pub version: VersionState,
    /// The address it listens on.
    pub address: Option<String>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it lives; for a container the compose folder.
    pub path: Option<String>,
    /// Where it logs.
    pub log_path: Option<String>,
    /// Its container.
    pub container_id: Option<String>,
    /// When it was started, in the agent's words.
    pub start_time: Option<String>,
}

/// An application as Drover knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its key.
    pub key: ApplicationKey,
    /// The server it runs on, with its name; `None` when the server was removed.
    pub server: Option<(ServerKey, String)>,
    /// What was last seen of it.
    pub observed: ObservedApplication,
    /// Its catalog entry.
    pub catalog: Option<CatalogKey>,
    /// Its group, with its name.
    pub group: Option<(GroupKey, String)>,
    /// The group it is proposed to, with its name, while it has none.
    pub proposed: Option<(GroupKey, String)>,
    /// Its instance number in the group.
    pub number: u32,
    /// Its own settings.
    pub settings: SettingsLayer,
    /// When its agent last listed it.
    pub last_seen: Option<Timestamp>,
}

/// What people say about an application. Everything else is found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplicationSettings {
    /// The name of its group. One that has none is put into the group of its base name when it is polled.
    pub group: Option<String>,
    /// Its own settings: they come before those of its group.
    pub own: SettingsLayer,
}

impl Application {
    /// What people say about it.
    #[must_use]
    pub fn chosen(&self) -> ApplicationSettings {
        ApplicationSettings {
            group: self.group.as_ref().map(|(_, name)| name.clone()),
            own: self.settings.clone(),
        }
    }
}
