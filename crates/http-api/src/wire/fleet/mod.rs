//! Servers, applications, groups and catalog entries.

pub(crate) mod application;
pub(crate) mod application_settings;
pub(crate) mod group;
pub(crate) mod server;
