//! A gateway to agents that exist only in a test.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use drover_domain::fleet::inventory::InventoryReport;
use drover_domain::haproxy::{AdminBits, AdminState, ObservedServer, ServerWord};
use drover_domain::text::visible;
use drover_ports::{AgentAddress, AgentError, AgentGateway, BackendAnswer, NameAnswer};

use super::{Agent, Sight};

/// A command that an agent was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The instance, the backend and the server.
    pub path: [String; 3],
    /// The state that was wanted.
    pub state: AdminState,
}

/// What an agent does when it is given a command, in place of obeying: it may change what it sees, and answers.
pub type Habit =
    Arc<dyn Fn(&mut Sight, &Command) -> Result<(), AgentError> + Send + Sync + 'static>;

/// Agents by address; where none is arranged, none can be reached. They obey, as HAProxy would for a healthy server.
#[derive(Default)]
pub struct ScriptedAgents {
    agents: Mutex<HashMap<AgentAddress, Agent>>,
    habits: Mutex<HashMap<AgentAddress, Habit>>,
    commands: Mutex<Vec<Command>>,
    looks: AtomicUsize,
    pings: AtomicUsize,
    is_starved: AtomicBool,
    held: Mutex<HashSet<AgentAddress>>,
}

impl fmt::Debug for ScriptedAgents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedAgents")
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
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

    /// Lets the agent at `address` do this with every command from now on.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it arranged an agent.
    pub fn on_command(&self, address: AgentAddress, habit: Habit) {
        self.habits.lock().unwrap().insert(address, habit);
    }

    /// Changes what the agent at `address` sees, if it answers.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it arranged an agent.
    pub fn change(&self, address: &AgentAddress, change: impl FnOnce(&mut Sight)) {
        if let Some(Agent::Answers(sight)) = self.agents.lock().unwrap().get_mut(address) {
            change(sight);
        }
    }

    /// The commands that agents which answer were given.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it gave one.
    #[must_use]
    pub fn commands(&self) -> Vec<Command> {
        self.commands.lock().unwrap().clone()
    }

    /// How often the servers of a backend were read, over all agents.
    #[must_use]
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// How often an agent was pinged, over all agents.
    #[must_use]
    pub fn pings(&self) -> usize {
        self.pings.load(Ordering::Relaxed)
    }

    /// Lets pings of the agent at `address` wait without an end, as if no client had a deadline.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it held one.
    pub fn hold(&self, address: AgentAddress) {
        self.held.lock().unwrap().insert(address);
    }

    /// Whether this node lacks what it takes to ask an agent.
    pub fn starve(&self, is_starved: bool) {
        self.is_starved.store(is_starved, Ordering::Relaxed);
    }

    fn agent(&self, address: &AgentAddress) -> Result<Agent, AgentError> {
        if self.is_starved.load(Ordering::Relaxed) {
            return Err(AgentError::NotAsked {
                address: address.clone(),
                source: "too many open files".into(),
            });
        }
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
        self.pings.fetch_add(1, Ordering::Relaxed);
        let is_held = self.held.lock().unwrap().contains(agent);
        if is_held {
            pending::<()>().await;
        }
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
            server: sight.server,
            applications: sight.applications,
            is_partial: !complaints.is_empty(),
            complaints,
            agent_ip: agent.host.parse().ok(),
            ..InventoryReport::default()
        })
    }

    async fn haproxy_instances(&self, agent: &AgentAddress) -> Result<NameAnswer, AgentError> {
        Ok(NameAnswer {
            names: self.sight(agent)?.haproxy.into_keys().collect(),
            complaints: Vec::new(),
        })
    }

    async fn backends(
        &self,
        agent: &AgentAddress,
        instance: &str,
    ) -> Result<NameAnswer, AgentError> {
        check(agent, instance)?;
        let mut sight = self.sight(agent)?;
        let backends = sight.haproxy.remove(instance);
        let backends = backends.ok_or_else(|| refused(agent, 400, "no such instance"))?;
        Ok(NameAnswer {
            names: backends.into_keys().collect(),
            complaints: sight.unread,
        })
    }

    async fn backend_servers(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
    ) -> Result<BackendAnswer, AgentError> {
        check(agent, instance)?;
        check(agent, backend)?;
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut sight = self.sight(agent)?;
        let process = sight.processes.get(instance).copied();
        let backends = sight.haproxy.remove(instance);
        let mut backends = backends.ok_or_else(|| refused(agent, 400, "no such instance"))?;
        // As the real agent: an unknown backend is an empty list.
        let servers: Vec<ObservedServer> = backends.remove(backend).unwrap_or_default();
        Ok(BackendAnswer {
            servers,
            process,
            version: sight.version,
            is_partial: !sight.unread.is_empty(),
            complaints: sight.unread,
        })
    }

    async fn set_state(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
        server: &str,
        state: AdminState,
    ) -> Result<(), AgentError> {
        for name in [instance, backend, server] {
            check(agent, name)?;
        }
        if !self.sight(agent)?.haproxy.contains_key(instance) {
            return Err(refused(agent, 400, "no such instance"));
        }
        let command = Command {
            path: [instance, backend, server].map(str::to_owned),
            state,
        };
        self.commands.lock().unwrap().push(command.clone());
        let habit = self.habits.lock().unwrap().get(agent).cloned();
        let mut done = Ok(());
        self.change(agent, |sight| {
            if let Some(habit) = habit {
                done = habit(sight, &command);
            } else {
                obey(sight, &command);
            }
        });
        done
    }
}

/// What a command does to a healthy server with checks. One for a server that is not there does nothing, and
/// FAgent calls that a success.
pub fn obey(sight: &mut Sight, command: &Command) {
    let [instance, backend, server] = &command.path;
    let servers = sight
        .haproxy
        .get_mut(instance)
        .and_then(|backends| backends.get_mut(backend));
    let found = servers
        .into_iter()
        .flatten()
        .find(|found| found.name == *server);
    if let Some(found) = found {
        let (word, bits) = match command.state {
            AdminState::Ready => ("UP", 0),
            AdminState::Drain => ("DRAIN", 8),
            AdminState::Maint => ("MAINT", 1),
        };
        found.word = ServerWord::new(word);
        found.admin = found.admin.map(|_| AdminBits::from_bits(bits));
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
    use std::sync::atomic::AtomicU8;

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
