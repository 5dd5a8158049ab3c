//! Rollouts: what is asked, how it is prepared, what came of it.

pub mod artifact;
pub mod composite;
pub mod definition;
pub mod drain;
pub mod executor;
pub mod grouping;
pub mod job;
pub mod orchestrator;
pub mod ordering;
pub mod parameter;
pub mod plan;
pub mod playbook_path;
pub mod record;
pub mod request;
pub mod snapshot;
pub mod verdict;
