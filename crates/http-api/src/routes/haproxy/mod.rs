//! HAProxy instances, mappings and actions.

pub(crate) mod actions;
pub(crate) mod instances;
pub(crate) mod mappings;
