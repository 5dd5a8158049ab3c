//! HAProxy instances, mappings and actions.

pub(crate) mod action;
pub(crate) mod instance;
pub(crate) mod mapping;
pub(crate) mod summary;
