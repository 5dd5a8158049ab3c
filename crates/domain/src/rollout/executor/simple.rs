//! The executor for applications that stand behind no HAProxy.

use crate::rollout::composite::{CompositeName, short_server_name};
use crate::rollout::snapshot::FleetSnapshot;

use super::select::ordered_targets;
use super::{BatchMember, OrchestratorContext, OrchestratorExecutor, PrepareError};

/// Names instances `server::instance` and adds nothing.
#[derive(Debug)]
pub struct SimpleExecutor<'a> {
    context: OrchestratorContext,
    snapshot: &'a FleetSnapshot,
}

impl<'a> SimpleExecutor<'a> {
    /// An executor for these applications.
    #[must_use]
    pub const fn new(context: OrchestratorContext, snapshot: &'a FleetSnapshot) -> Self {
        Self { context, snapshot }
    }
}

impl OrchestratorExecutor for SimpleExecutor<'_> {
    fn context(&self) -> &OrchestratorContext {
        &self.context
    }

    fn composite_names(&self) -> Result<Vec<BatchMember>, PrepareError> {
        ordered_targets(self.context.applications(), self.snapshot)?
            .into_iter()
            .map(|(target, server)| {
                let name = CompositeName::new(short_server_name(&server.name), &target.name, None)?;
                Ok(BatchMember {
                    application: target.application,
                    composite: name.to_string(),
                    haproxy_server: None,
                })
            })
            .collect()
    }
}
