//! Rollouts and orchestrator playbooks.

pub(crate) mod orchestrators;
pub(crate) mod rollouts;
pub(crate) mod tasks;
