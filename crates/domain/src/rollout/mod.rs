//! Updating applications: what is asked, how it is prepared, what came of it.

pub mod artifact;
pub mod composite;
pub mod drain;
pub mod executor;
pub mod grouping;
pub mod job;
pub mod orchestrator;
pub mod ordering;
pub mod parameter;
pub mod playbook_path;
pub mod request;
pub mod snapshot;
pub mod task;
pub mod update;
pub mod verdict;
