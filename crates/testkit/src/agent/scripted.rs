//! A gateway to agents that exist only in a test.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use drover_domain::balancer::ObservedServer;
use drover_domain::fleet::inventory::InventoryReport;
use drover_domain::text::visible;
use drover_ports::{AgentAddress, AgentError, AgentGateway, BackendAnswer};

use super::{Agent, Sight};

/// Agents by address; where none is arranged, none can be reached.
#[derive(Debug, Default)]
pub struct ScriptedAgents {
    agents: Mutex<HashMap<AgentAddress, Agent>>,
}

impl ScriptedAgents {
    /// The deadline it claims to have, milliseconds. It does not really wait.
    pub const DEADLINE_MS: u64 = 5_000;

    /// Lets the agent at `address` behave like this from now on.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it arranged an agent.
    pub fn arrange(&self, address: AgentAddress, agent: Agent) {
        self.agents.lock().unwrap().insert(address, agent);
    }

    /// Takes the agent at `address` away.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it arranged an agent.
    pub fn remove(&self, address: &AgentAddress) {
        self.agents.lock().unwrap().remove(address);
    }

    fn agent(&self, address: &AgentAddress) -> Result<Agent, AgentError> {
        let agent = self.agents.lock().unwrap().get(address).cloned();
        agent.ok_or_else(|| AgentError::Unreachable {
            address: address.clone(),
            source: "connection refused".into(),
        })
    }

    fn sight(&self, address: &AgentAddress) -> Result<Sight, AgentError> {
        let unreadable = |reason: &str| {
            Err(AgentError::Unreadable {
                address: address.clone(),
                reason: reason.to_owned(),
            })
        };
        match self.agent(address)? {
            Agent::Answers(sight) => Ok(sight),
            Agent::Refuses {
                status,
                message,
                shape: _,
            } => Err(refused(address, status, &message)),
            Agent::Redirects => unreadable("it redirects"),
            Agent::SpeaksNonsense => unreadable("it is not JSON"),
            Agent::Babbles => unreadable("it does not end"),
            Agent::BreaksOff => unreadable("it broke off"),
            Agent::Hangs | Agent::Drips => Err(silent(address)),
        }
    }
}

#[async_trait]
impl AgentGateway for ScriptedAgents {
    async fn ping(&self, agent: &AgentAddress) -> Result<(), AgentError> {
        match self.agent(agent)? {
            // A ping is answered by its status alone.
            Agent::Answers(_) | Agent::SpeaksNonsense | Agent::Babbles | Agent::BreaksOff => Ok(()),
            Agent::Refuses { .. } | Agent::Redirects | Agent::Hangs | Agent::Drips => {
                self.sight(agent).map(|_| ())
            }
        }
    }

    async fn inventory(&self, agent: &AgentAddress) -> Result<InventoryReport, AgentError> {
        let sight = self.sight(agent)?;
        let complaints = vec!["an application has no name".to_owned(); sight.nameless];
        Ok(InventoryReport {
            applications: sight.applications,
            complaints,
        })
    }

    async fn balancer_instances(&self, agent: &AgentAddress) -> Result<Vec<String>, AgentError> {
        Ok(self.sight(agent)?.balancers.into_keys().collect())
    }

    async fn backends(
        &self,
        agent: &AgentAddress,
        instance: &str,
    ) -> Result<Vec<String>, AgentError> {
        check(agent, instance)?;
        let backends = self.sight(agent)?.balancers.remove(instance);
        Ok(backends
            .ok_or_else(|| refused(agent, 400, "no such instance"))?
            .into_keys()
            .collect())
    }

    async fn backend_servers(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
    ) -> Result<BackendAnswer, AgentError> {
        check(agent, instance)?;
        check(agent, backend)?;
        let backends = self.sight(agent)?.balancers.remove(instance);
        let mut backends = backends.ok_or_else(|| refused(agent, 400, "no such instance"))?;
        // As the real agent: an unknown backend is an empty list.
        let servers: Vec<ObservedServer> = backends.remove(backend).unwrap_or_default();
        Ok(BackendAnswer {
            servers,
            complaints: Vec::new(),
        })
    }
}

fn refused(address: &AgentAddress, status: u16, message: &str) -> AgentError {
    AgentError::Refused {
        address: address.clone(),
        status,
        message: visible(message, 500),
    }
}

fn silent(address: &AgentAddress) -> AgentError {
    AgentError::Silent {
        address: address.clone(),
        after_ms: ScriptedAgents::DEADLINE_MS,
    }
}

fn check(address: &AgentAddress, name: &str) -> Result<(), AgentError> {
    let is_dots = name == "." || name == "..";
    let is_plain = name
        .chars()
        .all(|found| found.is_ascii_alphanumeric() || "_.:-".contains(found));
    if name.is_empty() || is_dots || !is_plain {
        let reason = format!("the name {name:?} cannot stand in a path, so nothing was asked");
        return Err(AgentError::Unreadable {
            address: address.clone(),
            reason,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use crate::agent::AgentWorld;

    use super::*;

    #[derive(Default)]
    struct World {
        agents: ScriptedAgents,
        arranged: AtomicU8,
    }

    #[async_trait]
    impl AgentWorld for World {
        fn gateway(&self) -> &dyn AgentGateway {
            &self.agents
        }

        fn deadline_ms(&self) -> u64 {
            ScriptedAgents::DEADLINE_MS
        }

        async fn arrange(&self, agent: Agent) -> AgentAddress {
            let address = self.nobody().await;
            self.agents.arrange(address.clone(), agent);
            address
        }

        async fn nobody(&self) -> AgentAddress {
            let number = self.arranged.fetch_add(1, Ordering::Relaxed);
            AgentAddress {
                host: format!("192.0.2.{number}"),
                port: 11011,
            }
        }
    }

    #[expect(clippy::unused_async, reason = "the suite awaits its worlds")]
    async fn fresh() -> World {
        World::default()
    }

    agent_gateway_contract!(fresh);
}
