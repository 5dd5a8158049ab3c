//! The executor for applications that are drained and returned through HAProxy.

use crate::rollout::composite::{CompositeName, short_server_name};
use crate::rollout::job::Variable;
use crate::rollout::snapshot::{FleetSnapshot, TargetHaproxyServer};

use super::select::ordered_targets;
use super::{
    BatchMember, OrchestratorContext, OrchestratorExecutor, PrepareError, PreparedBackend,
};

/// Names instances `server::instance::haproxy_server` and adds the backend and the agent's URL.
#[derive(Debug)]
pub struct HaproxyExecutor<'a> {
    context: OrchestratorContext,
    snapshot: &'a FleetSnapshot,
}

impl<'a> HaproxyExecutor<'a> {
    /// An executor for these applications; all of them are mapped to servers of one backend.
    #[must_use]
    pub const fn new(context: OrchestratorContext, snapshot: &'a FleetSnapshot) -> Self {
        Self { context, snapshot }
    }

    fn first_mapping(&self) -> Option<&TargetHaproxyServer> {
        self.context.applications().iter().find_map(|application| {
            self.snapshot
                .targets
                .get(application)?
                .haproxy_servers
                .first()
        })
    }
}

impl OrchestratorExecutor for HaproxyExecutor<'_> {
    fn context(&self) -> &OrchestratorContext {
        &self.context
    }

    fn composite_names(&self) -> Result<Vec<BatchMember>, PrepareError> {
        ordered_targets(self.context.applications(), self.snapshot)?
            .into_iter()
            .map(|(target, server)| {
                let short = short_server_name(&server.name);
                // Without a mapping the playbook gets the name HAProxy would have by convention.
                let haproxy_server = target.haproxy_servers.first().map_or_else(
                    || format!("{short}_{}", target.name),
                    |mapped| mapped.name.clone(),
                );
                let name = CompositeName::new(short, &target.name, Some(&haproxy_server))?;
                Ok(BatchMember {
                    application: target.application,
                    composite: name.to_string(),
                    haproxy_server: Some(haproxy_server),
                })
            })
            .collect()
    }

    fn backend(&self) -> Option<PreparedBackend> {
        let mapped = self.first_mapping()?;
        Some(PreparedBackend {
            instance: mapped.instance,
            instance_name: mapped.instance_name.clone(),
            backend: mapped.backend,
            backend_name: mapped.backend_name.clone(),
            api_url: api_url(mapped),
        })
    }

    fn specific_parameters(&self) -> Vec<(&'static str, Variable)> {
        self.first_mapping().map_or_else(Vec::new, |mapped| {
            vec![
                (
                    "haproxy_backend",
                    Variable::Text(mapped.backend_name.clone()),
                ),
                ("haproxy_api_url", Variable::Text(api_url(mapped))),
            ]
        })
    }
}

fn api_url(mapped: &TargetHaproxyServer) -> String {
    let (host, port) = &mapped.agent;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    format!(
        "http://{host}:{port}/api/v1/haproxy/{}",
        mapped.instance_name
    )
}
