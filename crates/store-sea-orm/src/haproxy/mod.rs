//! The ports of HAProxy, its mappings and actions.

pub(crate) mod action_view;
pub(crate) mod actions;
pub(crate) mod mappings;
pub(crate) mod store;
pub(crate) mod view;
