//! Asking agents what HAProxy shows, and making the stored state say so.

use std::collections::BTreeMap;

use drover_domain::balancer::sync::{ObservedBackends, failed, reconcile};
use drover_domain::balancer::{
    BalancerInstance, BalancerProcess, BalancerServerKey, DesiredState, ObservedProcess,
};
use drover_domain::fleet::Server;
use drover_ports::{AgentAddress, StoreError};

use crate::mappings::map_unmapped;
use crate::polling::{address, sentence};
use crate::service::Ports;

/// The most backends of one HAProxy that are read.
const BACKENDS_MAX: usize = 1_000;

/// What a sync came to.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    /// Why the agent could not be asked which instances there are.
    pub(crate) error: Option<String>,
    /// What HAProxy forgot in a reload.
    pub(crate) forgotten: Vec<Forgotten>,
}

/// A server that is held out of use, and that a new process of HAProxy has in use.
#[derive(Debug, Clone)]
pub(crate) struct Forgotten {
    /// The server.
    pub(crate) server: BalancerServerKey,
    /// Who holds it.
    pub(crate) desired: DesiredState,
    /// The process.
    pub(crate) process: BalancerProcess,
}

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
    /// down at each instance, and why is told; only a store that does not answer is an error.
    #[tracing::instrument(name = "balancer.sync", skip_all, fields(server.name = %server.name))]
    pub(crate) async fn sync(&self, server: &Server) -> Result<Synced, StoreError> {
        let mut synced = Synced::default();
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
                synced.error = Some(reason);
                return Ok(synced);
            }
        };
        for instance in instances {
            let forgotten = self.sync_instance(&agent, &instance).await?;
            synced.forgotten.extend(forgotten);
        }
        Ok(synced)
    }

    async fn sync_instance(
        &self,
        agent: &AgentAddress,
        instance: &BalancerInstance,
    ) -> Result<Vec<Forgotten>, StoreError> {
        let names = match self.ports.agents.backends(agent, &instance.name).await {
            Ok(names) if names.len() <= BACKENDS_MAX => names,
            Ok(names) => {
                let reason = format!(
                    "it lists {} backends; at most {BACKENDS_MAX} are read",
                    names.len()
                );
                self.failed(instance, &reason).await?;
                return Ok(Vec::new());
            }
            Err(error) => {
                self.failed(instance, &sentence(&error)).await?;
                return Ok(Vec::new());
            }
        };
        let mut observed: ObservedBackends = BTreeMap::new();
        let mut process: Option<ObservedProcess> = None;
        for name in names {
            let answer = self
                .ports
                .agents
                .backend_servers(agent, &instance.name, &name)
                .await;
            let answer = answer.map_err(|error| sentence(&error));
            if let Ok(Some(told)) = answer.as_ref().map(|answer| answer.process) {
                // In a reload in between, what the later process says is what counts.
                process = process
                    .filter(|earlier| earlier.uptime < told.uptime)
                    .or(Some(told));
            }
            observed.insert(name, answer.map(|answer| answer.servers));
        }
        let Some(known) = self.ports.balancers.load(instance.key).await? else {
            return Ok(Vec::new());
        };
        let change = reconcile(&known, &observed, process, self.ports.clock.now());
        tell_reload(&known.instance, &change.instance);
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
        for lapsed in &change.lapsed {
            let server = known.servers.iter().find(|server| server.key == *lapsed);
            if let Some((server, desired)) =
                server.and_then(|server| Some((server, server.desired.as_ref()?)))
            {
                let (name, owner) = (&server.observed.name, &desired.owner);
                tracing::warn!(
                    haproxy.instance = %instance.name,
                    "the time is over for which {owner} held {name} in HAProxy {} on {}; it shows {}",
                    instance.name, instance.server_name, server.observed.word
                );
            }
        }
        self.ports.balancers.store(&change).await?;
        self.map(instance).await?;
        let Some(process) = change.instance.process else {
            return Ok(Vec::new());
        };
        let forgotten = change.forgotten.into_iter();
        Ok(forgotten
            .map(|(server, desired)| Forgotten {
                server,
                desired,
                process,
            })
            .collect())
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

fn tell_reload(before: &BalancerInstance, now: &BalancerInstance) {
    if let (Some(before), Some(process)) = (before.process, now.process)
        && before != process
    {
        tracing::info!(
            haproxy.instance = %now.name, haproxy.pid = process.pid,
            "HAProxy {} on {} was reloaded or started again at {}", now.name, now.server_name, process.started_at
        );
    }
}
