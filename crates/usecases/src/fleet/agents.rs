//! Where agents listen, and what their failures mean.

use drover_domain::fleet::Server;
use drover_ports::{AgentAddress, AgentError, Fault};

/// Where a server's agent listens.
pub(crate) fn address(server: &Server) -> AgentAddress {
    AgentAddress {
        host: server.address.clone(),
        port: server.port,
    }
}

/// An agent's failure with its cause, for people: the cause separates `refused` from `no route`.
pub(crate) fn sentence(error: &AgentError) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..4 {
        let Some(current) = cause else { break };
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    if error.fault() == Fault::Transient {
        text
    } else {
        format!("{text} (it will not go away by itself)")
    }
}
