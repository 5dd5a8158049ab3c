//! Servers, applications, groups and catalog entries.

pub(crate) mod applications;
pub(crate) mod catalog;
pub(crate) mod groups;
pub(crate) mod servers;
