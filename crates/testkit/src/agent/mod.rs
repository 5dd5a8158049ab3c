//! Agents that behave as arranged, and what [`AgentGateway`] promises about them.
//!
//! [`ScriptedAgents`] is the fake; [`agent_gateway_contract`](crate::agent_gateway_contract) is the suite that it and the HTTP adapter pass.

#[macro_use]
mod contract;
mod scripted;

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::fleet::ObservedApplication;
use drover_domain::haproxy::{ObservedProcess, ObservedServer};
use drover_ports::{AgentAddress, AgentGateway};

pub use contract::*;
pub use scripted::{Command, Habit, ScriptedAgents, obey};

/// How an agent behaves, whatever it is asked.
#[derive(Debug, Clone)]
pub enum Agent {
    /// It answers what it sees.
    Answers(Sight),
    /// It says no.
    Refuses {
        /// In which of its three ways.
        shape: RefusalShape,
        /// With which HTTP status.
        status: u16,
        /// In which words.
        message: String,
    },
    /// It sends the caller elsewhere.
    Redirects,
    /// It says something that is no JSON.
    SpeaksNonsense,
    /// Its answer does not end.
    Babbles,
    /// Its answer breaks off in the middle.
    BreaksOff,
    /// It takes the request and says nothing.
    Hangs,
    /// It answers one byte a second.
    Drips,
}

/// The three shapes of an agent's no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalShape {
    /// `{"success":false,"status_code":N,"error":"…"}`.
    Controller,
    /// `{"success":false,"status_code":N,"data":{"error":"…"}}`.
    Command,
    /// `{"error":"…"}`.
    Router,
}

/// What an agent sees.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// The name of its server.
    pub server: Option<String>,
    /// The applications on its server.
    pub applications: Vec<ObservedApplication>,
    /// How many more it lists without a name.
    pub nameless: usize,
    /// The servers by HAProxy instance and backend.
    pub haproxy: BTreeMap<String, BTreeMap<String, Vec<ObservedServer>>>,
    /// The process of each HAProxy instance that reports it.
    pub processes: BTreeMap<String, ObservedProcess>,
    /// The version of its HAProxy, if it reports it; it does so beside a process.
    pub version: Option<String>,
    /// What it could not read of HAProxy's answers, a sentence each.
    pub unread: Vec<String>,
}

/// A gateway, and a way to arrange the agents behind it.
#[async_trait]
pub trait AgentWorld: Send + Sync {
    /// The gateway.
    fn gateway(&self) -> &dyn AgentGateway;

    /// The gateway's deadline, milliseconds.
    fn deadline_ms(&self) -> u64;

    /// A new agent that behaves like this; where it listens.
    async fn arrange(&self, agent: Agent) -> AgentAddress;

    /// An address without a listener.
    async fn nobody(&self) -> AgentAddress;
}
