//! The gateway: which question is which path.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::fleet::inventory::InventoryReport;
use drover_domain::haproxy::AdminState;
use drover_egress::{ClientError, Proxy, client};
use drover_ports::{AgentAddress, AgentError, AgentGateway, BackendAnswer, NameAnswer};
use reqwest::header::HeaderValue;

use crate::call::Call;
use crate::wire::{Action, Done};
use crate::{haproxy, inventory, reading};

/// The deadlines of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most time for one answer to a ping or about applications.
    pub inventory_deadline: Duration,
    /// The most time for one answer about HAProxy.
    pub haproxy_deadline: Duration,
}

/// A token that cannot be sent. It is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token has characters that cannot be sent: letters, digits and signs of ASCII can")]
pub struct TokenError;

/// Agents that speak the FAgent contract over plain HTTP, such as `drover-agent`.
///
/// Half of the shorter deadline may go into connecting.
#[derive(Debug, Clone)]
pub struct FagentHttp {
    client: reqwest::Client,
    options: Options,
    // The token, then the one before it.
    authorizations: Vec<HeaderValue>,
}

impl FagentHttp {
    /// A gateway with these deadlines.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when no HTTP client can be made.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let shorter = options.inventory_deadline.min(options.haproxy_deadline);
        let longer = options.inventory_deadline.max(options.haproxy_deadline);
        let client = client(drover_egress::Options {
            connect_timeout: shorter / 2,
            // Each call has its own, shorter deadline; this one holds if that is ever forgotten.
            total_timeout: longer * 2,
            proxy: Proxy::Direct,
        })?;
        Ok(Self {
            client,
            options,
            authorizations: Vec::new(),
        })
    }

    /// The same gateway, which sends every agent this bearer token. FAgent itself asks for none and ignores it.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when it cannot stand in a header.
    pub fn with_token(self, token: &str) -> Result<Self, TokenError> {
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| TokenError)?;
        authorization.set_sensitive(true);
        let mut authorizations = self.authorizations;
        authorizations.push(authorization);
        Ok(Self {
            authorizations,
            ..self
        })
    }

    /// The same gateway, which sends this bearer token to an agent that refuses the one before it with 401: while a token
    /// is replaced, some agents have the new one and some the old one.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when it cannot stand in a header.
    pub fn with_former_token(self, token: &str) -> Result<Self, TokenError> {
        self.with_token(token)
    }

    fn call<'a>(&'a self, agent: &'a AgentAddress, deadline: Duration) -> Call<'a> {
        Call {
            client: &self.client,
            authorizations: &self.authorizations,
            agent,
            deadline,
        }
    }

    fn haproxy_call<'a>(&'a self, agent: &'a AgentAddress) -> Call<'a> {
        self.call(agent, self.options.haproxy_deadline)
    }
}

#[async_trait]
impl AgentGateway for FagentHttp {
    #[tracing::instrument(name = "agent.ping", level = "debug", skip_all, fields(agent.address = %agent))]
    async fn ping(&self, agent: &AgentAddress) -> Result<(), AgentError> {
        self.call(agent, self.options.inventory_deadline)
            .ping()
            .await
    }

    #[tracing::instrument(name = "agent.inventory", level = "debug", skip_all, fields(agent.address = %agent))]
    async fn inventory(&self, agent: &AgentAddress) -> Result<InventoryReport, AgentError> {
        let call = self.call(agent, self.options.inventory_deadline);
        // Agents of the first days know only the second path.
        let (body, agent_ip) = call.get_first(&["/api/v1/apps", "/app"]).await?;
        let report = reading::read(&call, &body, inventory::report)?;
        Ok(InventoryReport { agent_ip, ..report })
    }

    #[tracing::instrument(name = "agent.haproxy_instances", level = "debug", skip_all, fields(agent.address = %agent))]
    async fn haproxy_instances(&self, agent: &AgentAddress) -> Result<NameAnswer, AgentError> {
        let call = self.haproxy_call(agent);
        let body = call.get("/api/v1/haproxy/instances").await?;
        reading::read_data(&call, &body, |data| Ok(haproxy::instances(data)))
    }

    #[tracing::instrument(name = "agent.backends", level = "debug", skip_all, fields(agent.address = %agent))]
    async fn backends(
        &self,
        agent: &AgentAddress,
        instance: &str,
    ) -> Result<NameAnswer, AgentError> {
        let call = self.haproxy_call(agent);
        let instance = call.segment("HAProxy instance", instance)?;
        let body = call
            .get(&format!("/api/v1/haproxy/{instance}/backends"))
            .await?;
        reading::read_data(&call, &body, |data| haproxy::backends(data, instance))
    }

    #[tracing::instrument(name = "agent.backend_servers", level = "debug", skip_all, fields(agent.address = %agent))]
    async fn backend_servers(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
    ) -> Result<BackendAnswer, AgentError> {
        let call = self.haproxy_call(agent);
        let instance = call.segment("HAProxy instance", instance)?;
        let backend = call.segment("backend", backend)?;
        let body = call
            .get(&format!(
                "/api/v1/haproxy/{instance}/backends/{backend}/servers"
            ))
            .await?;
        reading::read_data(&call, &body, |data| {
            haproxy::servers(data, instance, backend)
        })
    }

    #[tracing::instrument(name = "agent.set_state", level = "debug", skip_all, fields(agent.address = %agent))]
    async fn set_state(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
        server: &str,
        state: AdminState,
    ) -> Result<(), AgentError> {
        let call = self.haproxy_call(agent);
        let instance = call.segment("HAProxy instance", instance)?;
        let backend = call.segment("backend", backend)?;
        let server = call.segment("server", server)?;
        let path = format!("/api/v1/haproxy/{instance}/backends/{backend}/servers/{server}/action");
        let action = Action {
            action: state.as_str(),
        };
        let body = call.post(&path, &action).await?;
        reading::read_data(&call, &body, |_: Done| Ok(()))
    }
}
