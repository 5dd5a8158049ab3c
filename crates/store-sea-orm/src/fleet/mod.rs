//! The ports of servers, applications and their settings.

pub(crate) mod catalog;
pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod inventory;
pub(crate) mod servers;
pub(crate) mod settings;
pub(crate) mod view;
