//! The contract suite on the HTTP adapter.

use async_trait::async_trait;
use drover_fagent_http::FagentHttp;
use drover_ports::{AgentAddress, AgentGateway};
use drover_testkit::agent::{Agent, AgentWorld};

use crate::render;
use crate::stub::{Answer, DEADLINE, Stubs, gateway, nobody};

struct World {
    gateway: FagentHttp,
    stubs: Stubs,
}

#[async_trait]
impl AgentWorld for World {
    fn gateway(&self) -> &dyn AgentGateway {
        &self.gateway
    }

    fn deadline_ms(&self) -> u64 {
        u64::try_from(DEADLINE.as_millis()).unwrap()
    }

    async fn arrange(&self, agent: Agent) -> AgentAddress {
        self.stubs.start(move |path| answer(&agent, path)).await
    }

    async fn nobody(&self) -> AgentAddress {
        nobody().await
    }
}

fn answer(agent: &Agent, path: &str) -> Answer {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    match agent {
        Agent::Answers(sight) => render::answer(sight, path),
        Agent::Refuses {
            shape,
            status,
            message,
        } => render::refusal(*shape, *status, message),
        Agent::Redirects => Answer::Bytes(
            b"HTTP/1.1 302 Found\r\nLocation: /ping\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        Agent::SpeaksNonsense => Answer::json(200, "<html>It works!</html>"),
        Agent::Babbles => Answer::Forever(
            format!("{json}\r\n{{\"data\":\"").into_bytes(),
            vec![b'x'; 65_536],
        ),
        Agent::BreaksOff => {
            Answer::Reset(format!("{json}Content-Length: 100\r\n\r\n{{\"server\":").into_bytes())
        }
        Agent::Hangs => Answer::Stall(Vec::new()),
        Agent::Drips => {
            Answer::Drip(format!("{json}Content-Length: 100000\r\n\r\n{{").into_bytes())
        }
    }
}

#[expect(clippy::unused_async, reason = "the suite awaits its worlds")]
async fn fresh() -> World {
    World {
        gateway: gateway(),
        stubs: Stubs::default(),
    }
}

drover_testkit::agent_gateway_contract!(fresh);
