//! How an update is prepared: the executor template of seed 000, without any I/O.
//!
//! [`prepare_all`] splits an update by backend, [`select_executor`] picks the executor of each
//! part, and [`OrchestratorExecutor::prepare`] is the template they share.

mod context;
mod haproxy;
mod prepared;
mod select;
mod simple;
mod template;

pub use context::{ContextError, OrchestratorContext};
pub use haproxy::HaproxyExecutor;
pub use prepared::{Batch, BatchLabel, BatchMember, PreparedBackend, PreparedPlaybook};
pub use select::{check_drained, prepare_all, select_executor};
pub use simple::SimpleExecutor;
pub use template::{OrchestratorExecutor, PrepareError, UPDATE_PARAMETERS};

#[cfg(test)]
mod tests;
