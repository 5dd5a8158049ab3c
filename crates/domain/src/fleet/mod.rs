//! What runs where: servers, applications, groups, versions, events.

mod application;
mod event;
mod group;
pub mod inventory;
mod losses;
mod name;
mod network;
mod process;
mod server;
mod settings;
mod status;
mod version;

pub use application::{
    Application, ApplicationKey, ApplicationKind, ApplicationSettings, ObservedApplication,
};
pub use event::{Event, EventKey, EventKind, EventStatus, NewEvent};
pub use group::{
    CatalogEntry, CatalogKey, CatalogSettings, Group, GroupEntry, GroupKey, GroupSettings,
    Resolution, resolve_group,
};
pub use losses::FleetLosses;
pub use name::{APPLICATION_NAME_MAX, ApplicationName};
pub use network::{Network, NetworkError};
pub use process::Process;
pub use server::{
    AddressError, HostNameError, NewServer, NewServerError, Server, ServerKey, ServerPlace,
    ServerStatus, check_agent_address, check_host_name, refused_address, short_name,
};
pub use settings::{EffectiveSettings, SettingsLayer, effective_settings};
pub use status::ApplicationStatus;
pub use version::{
    ChangeSource, ChangedBy, VersionChange, VersionChangeKey, VersionState, known_version,
    version_change,
};
