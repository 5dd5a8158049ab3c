//! What runs where: servers, applications, groups, versions, events.

mod application;
mod event;
mod group;
pub mod inventory;
mod name;
mod server;
mod settings;
mod status;
mod version;

pub use application::{
    Application, ApplicationKey, ApplicationKind, ApplicationSettings, ObservedApplication,
};
pub use event::{Event, EventKey, EventKind, EventStatus, NewEvent};
pub use group::{
    CatalogEntry, CatalogKey, CatalogSettings, Group, GroupKey, GroupSettings, Resolution,
    resolve_group,
};
pub use name::{APPLICATION_NAME_MAX, ApplicationName};
pub use server::{
    NewServer, NewServerError, Server, ServerKey, ServerPlace, ServerStatus, short_name,
};
pub use settings::{EffectiveSettings, SettingsLayer, effective_settings};
pub use status::ApplicationStatus;
pub use version::{
    ChangeSource, ChangedBy, VersionChange, VersionChangeKey, VersionState, version_change,
};
