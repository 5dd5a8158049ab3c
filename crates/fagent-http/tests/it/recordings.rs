//! The public FAgent contract from the client's side: recorded exchanges, and what each means.
//!
//! `crates/testkit/recordings/fagent.json` has an exchange or two for every endpoint and every shape of an error, in our own
//! words after the contract; `drover-agent` passes the same file as a server. `means` is a line for each thing read.

use drover_domain::fleet::ObservedApplication;
use drover_domain::haproxy::{AdminBits, AdminState, ObservedServer};
use drover_ports::{AgentAddress, AgentError, AgentGateway as _, BackendAnswer};
use serde::Deserialize;
use serde_json::Value;

use crate::stub::{Answer, Stubs, gateway};

const RECORDINGS: &str = include_str!("../../../testkit/recordings/fagent.json");

#[derive(Debug, Deserialize)]
struct Recording {
    name: String,
    exchanges: Vec<Exchange>,
    ask: Option<String>,
    #[serde(default)]
    means: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    body: Option<Value>,
    status: u16,
    answer: Value,
}

impl Exchange {
    /// The line that the stub notes for this request.
    fn line(&self) -> String {
        let line = format!("{} {} HTTP/1.1", self.method, self.path);
        match &self.body {
            None => line,
            Some(body) => format!("{line} {body}"),
        }
    }
}

fn word<T: ToString>(name: &str, value: Option<T>) -> String {
    value.map_or_else(String::new, |value| {
        format!(" {name}={}", value.to_string())
    })
}

fn application(found: &ObservedApplication) -> String {
    let text = |name, value: &Option<String>| word(name, value.as_ref());
    [
        format!(
            "{} {} {}",
            found.kind.as_str(),
            found.name,
            found.status.as_str()
        ),
        text("version", &found.version.version),
        text("tag", &found.version.tag),
        text("image", &found.version.image),
        text("distr_path", &found.version.distr_path),
        text("address", &found.address),
        word("port", found.port),
        word("pid", found.pid),
        text("path", &found.path),
        text("log_path", &found.log_path),
        text("container", &found.container_id),
        text("start", &found.start_time),
    ]
    .concat()
}

fn server(found: &ObservedServer) -> String {
    [
        format!(
            "{} `{}` weight={}",
            found.name,
            found.word.as_str(),
            found.weight
        ),
        word("check", found.check_status.as_ref()),
        word("address", found.address.as_ref()),
        word("port", found.port),
        word("sessions", found.sessions),
        word("old", found.old_sessions),
        word("queue", found.queue),
        word("admin", found.admin.map(AdminBits::bits)),
    ]
    .concat()
}

fn servers(answer: BackendAnswer) -> Vec<String> {
    let mut lines: Vec<String> = answer.servers.iter().map(server).collect();
    let process = answer.process;
    lines.extend(
        process.map(|process| format!("process {} up {} s", process.pid, process.uptime.as_secs())),
    );
    lines.extend(complaints(answer.complaints));
    lines
}

fn complaints(complaints: Vec<String>) -> impl Iterator<Item = String> {
    complaints
        .into_iter()
        .map(|complaint| format!("complaint: {complaint}"))
}

/// What the gateway makes of the answer to this question, a line for each thing.
async fn read(agent: &AgentAddress, ask: &str) -> Result<Vec<String>, AgentError> {
    let gateway = gateway();
    let done = || vec!["done".to_owned()];
    Ok(match ask.split(' ').collect::<Vec<_>>()[..] {
        ["ping"] => gateway.ping(agent).await.map(|()| done())?,
        ["inventory"] => {
            let report = gateway.inventory(agent).await?;
            let mut lines: Vec<String> = report.applications.iter().map(application).collect();
            lines.extend(complaints(report.complaints));
            lines
        }
        ["instances"] => gateway.haproxy_instances(agent).await?.names,
        ["backends", instance] => gateway.backends(agent, instance).await?.names,
        ["servers", instance, backend] => {
            servers(gateway.backend_servers(agent, instance, backend).await?)
        }
        ["set_state", instance, backend, server, state] => {
            let state = AdminState::parse(state).unwrap();
            let set = gateway.set_state(agent, instance, backend, server, state);
            set.await.map(|()| done())?
        }
        _ => vec![format!("nobody can ask {ask}")],
    })
}

#[tokio::test]
async fn every_recorded_answer_is_understood_as_it_is_meant() {
    let recordings: Vec<Recording> = serde_json::from_str(RECORDINGS).unwrap();
    let mut asked = 0;
    let mut misunderstood = serde_json::Map::new();
    for recording in recordings {
        let Some(ask) = &recording.ask else {
            continue;
        };
        asked += 1;
        let stubs = Stubs::default();
        let exchanges = recording.exchanges.clone();
        let agent = stubs
            .start(move |path| {
                let found = exchanges.iter().find(|exchange| exchange.path == path);
                let found = found.unwrap_or_else(|| panic!("{path} is not recorded"));
                Answer::json(found.status, &found.answer.to_string())
            })
            .await;
        let read = read(&agent, ask).await.unwrap_or_else(|error| {
            vec![format!(
                "error: {}",
                error.to_string().replace(&agent.to_string(), "AGENT")
            )]
        });
        let lines: Vec<String> = recording.exchanges.iter().map(Exchange::line).collect();
        assert_eq!(stubs.seen(), lines, "{}", recording.name);
        if read != recording.means {
            misunderstood.insert(recording.name, read.into());
        }
    }
    assert!(misunderstood.is_empty(), "{}", Value::Object(misunderstood));
    assert!(asked >= 35, "{asked} recordings are for clients");
}
