//! Asking agents what HAProxy shows, and making the stored state say so.

use std::collections::BTreeMap;

use drover_domain::balancer::BalancerInstance;
use drover_domain::balancer::sync::{ObservedBackends, failed, reconcile};
use drover_domain::fleet::Server;
use drover_ports::{AgentAddress, StoreError};

use crate::mappings::map_unmapped;
use crate::polling::{address, sentence};
use crate::service::Ports;

/// The most backends of one HAProxy that are read.
const BACKENDS_MAX: usize = 1_000;

/// Syncs HAProxy instances through their agents.
#[derive(Clone)]
pub(crate) struct BalancerSync {
    ports: Ports,
}

impl BalancerSync {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Discovers the instances of a server and syncs each. An agent that does not answer is written
    /// down at each instance, and why is returned; only a store that does not answer is an error.
    #[tracing::instrument(name = "balancer.sync", skip_all, fields(server.name = %server.name))]
    pub(crate) async fn sync(&self, server: &Server) -> Result<Option<String>, StoreError> {
        let agent = address(server);
        let instances = match self.ports.agents.balancer_instances(&agent).await {
            Ok(names) => {
                self.ports
                    .balancers
                    .discovered(server.key, &names, self.ports.clock.now())
                    .await?
            }
            Err(error) => {
                let reason = sentence(&error);
                for instance in self.ports.balancers.active_instances(server.key).await? {
                    self.failed(&instance, &reason).await?;
                }
                return Ok(Some(reason));
            }
        };
        for instance in instances {
            self.sync_instance(&agent, &instance).await?;
        }
        Ok(None)
    }

    async fn sync_instance(
        &self,
        agent: &AgentAddress,
        instance: &BalancerInstance,
    ) -> Result<(), StoreError> {
        let names = match self.ports.agents.backends(agent, &instance.name).await {
            Ok(names) if names.len() <= BACKENDS_MAX => names,
            Ok(names) => {
                let reason = format!(
                    "it lists {} backends; at most {BACKENDS_MAX} are read",
                    names.len()
                );
                return self.failed(instance, &reason).await;
            }
            Err(error) => return self.failed(instance, &sentence(&error)).await,
        };
        let mut observed: ObservedBackends = BTreeMap::new();
        for name in names {
            let answer = self
                .ports
                .agents
                .backend_servers(agent, &instance.name, &name)
                .await;
            observed.insert(
                name,
                answer
                    .map(|answer| answer.servers)
                    .map_err(|error| sentence(&error)),
            );
        }
        let Some(known) = self.ports.balancers.load(instance.key).await? else {
            return Ok(());
        };
        let change = reconcile(&known, &observed, self.ports.clock.now());
        for row in &change.history {
            let name = known
                .servers
                .iter()
                .find(|server| server.key == row.server)
                .map_or("?", |server| server.observed.name.as_str());
            tracing::info!(
                haproxy.instance = %instance.name,
                haproxy.server = name,
                "{name} in HAProxy {} on {} went from {} to {}",
                instance.name,
                instance.server_name,
                row.old,
                row.new
            );
        }
        self.ports.balancers.store(&change).await?;
        self.map(instance).await
    }

    async fn map(&self, instance: &BalancerInstance) -> Result<(), StoreError> {
        let found = map_unmapped(&self.ports, Some(instance.key), None).await?;
        if found.mapped > 0 {
            tracing::info!(
                mappings = found.mapped,
                "{} servers of HAProxy {} were mapped",
                found.mapped,
                instance.name
            );
        }
        Ok(())
    }

    async fn failed(&self, instance: &BalancerInstance, reason: &str) -> Result<(), StoreError> {
        tracing::warn!(haproxy.instance = %instance.name, "HAProxy {} on {} was not synced: {reason}", instance.name, instance.server_name);
        self.ports
            .balancers
            .store(&failed(instance, reason, self.ports.clock.now()))
            .await
    }
}
