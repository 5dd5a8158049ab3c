//! How agents answer: what was asked, how it went, how long it took. Never which agent: that label would grow with the fleet.

use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::fleet::inventory::InventoryReport;
use drover_domain::haproxy::AdminState;
use drover_ports::{AgentAddress, AgentError, AgentGateway, BackendAnswer, NameAnswer};
use metrics::{Unit, describe_histogram, histogram};
use tokio::time::Instant;

const ANSWERS: &str = "drover_agent_answer_seconds";

/// Says what the metric means; before a recorder is installed this does nothing.
pub(super) fn describe() {
    describe_histogram!(
        ANSWERS,
        Unit::Seconds,
        "How long agents took to answer, by what was asked (`ping`, `inventory`, `instances`, `backends`, `servers`, `set_state`) and how it went: `answered`, `not_asked`, `unreachable`, `silent`, `refused`, `unreadable`"
    );
}

/// Agents whose answers are measured.
pub(crate) struct MeteredAgents {
    inner: Arc<dyn AgentGateway>,
}

impl MeteredAgents {
    pub(crate) const fn new(inner: Arc<dyn AgentGateway>) -> Self {
        Self { inner }
    }
}

async fn measured<T>(
    question: &'static str,
    answer: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    let begun = Instant::now();
    let answer = answer.await;
    let outcome = match &answer {
        Ok(_) => "answered",
        Err(AgentError::NotAsked { .. }) => "not_asked",
        Err(AgentError::Unreachable { .. }) => "unreachable",
        Err(AgentError::Silent { .. }) => "silent",
        Err(AgentError::Refused { .. }) => "refused",
        Err(AgentError::Unreadable { .. }) => "unreadable",
    };
    let labels = [("question", question), ("outcome", outcome)];
    histogram!(ANSWERS, &labels).record(begun.elapsed().as_secs_f64());
    answer
}

#[async_trait]
impl AgentGateway for MeteredAgents {
    async fn ping(&self, agent: &AgentAddress) -> Result<(), AgentError> {
        measured("ping", self.inner.ping(agent)).await
    }

    async fn inventory(&self, agent: &AgentAddress) -> Result<InventoryReport, AgentError> {
        measured("inventory", self.inner.inventory(agent)).await
    }

    async fn haproxy_instances(&self, agent: &AgentAddress) -> Result<NameAnswer, AgentError> {
        measured("instances", self.inner.haproxy_instances(agent)).await
    }

    async fn backends(
        &self,
        agent: &AgentAddress,
        instance: &str,
    ) -> Result<NameAnswer, AgentError> {
        measured("backends", self.inner.backends(agent, instance)).await
    }

    async fn backend_servers(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
    ) -> Result<BackendAnswer, AgentError> {
        let answer = self.inner.backend_servers(agent, instance, backend);
        measured("servers", answer).await
    }

    async fn set_state(
        &self,
        agent: &AgentAddress,
        instance: &str,
        backend: &str,
        server: &str,
        state: AdminState,
    ) -> Result<(), AgentError> {
        let answer = self
            .inner
            .set_state(agent, instance, backend, server, state);
        measured("set_state", answer).await
    }
}
