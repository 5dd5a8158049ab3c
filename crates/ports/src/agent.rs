//! Agents on servers.

use async_trait::async_trait;
use drover_domain::fleet::inventory::InventoryReport;
use drover_domain::haproxy::{AdminState, ObservedProcess, ObservedServer};

use crate::{BoxError, Fault};

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentAddress {
    /// An IP address or a host name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Names that an agent lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameAnswer {
    /// The names, in the agent's order.
    pub names: Vec<String>,
    /// What could not be read, one sentence each. Where there is any, the list is not complete.
    pub complaints: Vec<String>,
}

/// The servers of one backend, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendAnswer {
    /// The servers.
    pub servers: Vec<ObservedServer>,
    /// The HAProxy process that answered, if the agent reports it.
    pub process: Option<ObservedProcess>,
    /// The version of that HAProxy, where the agent says.
    pub version: Option<String>,
    /// Whether a server may be missing in [`Self::servers`] because it could not be read.
    pub is_partial: bool,
    /// What could not be read, one sentence each; the rest stands.
    pub complaints: Vec<String>,
}

/// Why an agent's answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The question was not sent, for want of something on this machine: file descriptors, local ports, memory. It says
    /// nothing about the agent.
    #[error(
        "the agent at {address} was not asked, because this node lacks file descriptors, ports or memory"
    )]
    NotAsked {
        /// Where it should be.
        address: AgentAddress,
        /// What the system said.
        source: BoxError,
    },
    /// No connection: nothing was asked.
    #[error("the agent at {address} cannot be reached")]
    Unreachable {
        /// Where it should be.
        address: AgentAddress,
        /// Why not.
        source: BoxError,
    },
    /// No complete answer in time: what it did is unknown.
    #[error("the agent at {address} did not answer within {after_ms} ms")]
    Silent {
        /// Where it is.
        address: AgentAddress,
        /// The deadline, milliseconds.
        after_ms: u64,
    },
    /// It said no, in one of its three error shapes.
    #[error("the agent at {address} refused with status {status}: {message}")]
    Refused {
        /// Where it is.
        address: AgentAddress,
        /// The HTTP status.
        status: u16,
        /// Its own words, made visible, at most 500 characters.
        message: String,
    },
    /// It said something that is no answer: not JSON, another shape, too large, a redirect.
    #[error("the agent at {address} answered something unreadable: {reason}")]
    Unreadable {
        /// Where it is.
        address: AgentAddress,
        /// What is wrong, a sentence.
        reason: String,
    },
}

impl AgentError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotAsked { .. } | Self::Unreachable { .. } | Self::Silent { .. } => {
                Fault::Transient
            }
            Self::Refused { status, .. } => {
                if *status >= 500 {
                    Fault::Transient
                } else {
                    Fault::Permanent
                }
            }
            Self::Unreadable { .. } => Fault::Permanent,
        }
    }
}

/// The agents of the fleet. Every answer is bounded in size and in time; the deadline is the
/// adapter's and is shown in [`AgentError::Silent`]. What this machine lacks is [`AgentError::NotAsked`], never the agent's
/// silence.
#[async_trait]
pub trait AgentGateway: Send + Sync {
    /// Whether the agent answers.
    ///
    /// # Errors
    ///
    /// Any [`AgentError`].
    async fn ping(&self, agent: &AgentAddress) -> Result<(), AgentError>;

    /// The applications the agent lists. One unreadable application is a complaint, not an error.
    ///
    /// # Errors
    ///
    /// Any [`AgentError`].
    async fn inventory(&self, agent: &AgentAddress) -> Result<InventoryReport, AgentError>;

    /// The names of the HAProxy instances behind the agent. One unreadable name is a complaint, not an error.
    ///
    /// # Errors
    ///
    /// Any [`AgentError`].
    async fn haproxy_instances(&self, agent: &AgentAddress) -> Result<NameAnswer, AgentError>;

    /// The names of the backends of an instance. One unreadable name is a complaint, not an error.
    ///
    /// # Errors
    ///
    /// Any [`AgentError`].
    async fn backends(
        &self,
        agent: &AgentAddress,
        instance: &str,
    ) -> Result<NameAnswer, AgentError>;

    /// The servers of a backend. One unreadable server is a complaint, not an error.
    ///
    /// # Errors
    ///
    /// Any [`AgentError`].
    async fn backend_servers(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
    ) -> Result<BackendAnswer, AgentError>;

    /// Sets the administrative state of a server. The agent's answer proves nothing: read the state back with
    /// [`Self::backend_servers`].
    ///
    /// # Errors
    ///
    /// Any [`AgentError`]; after [`AgentError::Silent`] it may have been done.
    async fn set_state(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
        server: &str,
        state: AdminState,
    ) -> Result<(), AgentError>;
}
