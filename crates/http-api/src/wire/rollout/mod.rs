//! Rollouts and orchestrator playbooks.

pub(crate) mod orchestrator;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod rollouts;
pub(crate) mod task;
