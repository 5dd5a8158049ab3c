//! The public FAgent contract from the server's side: the exchanges recorded in `crates/testkit/recordings/fagent.json`, which the
//! client of Drover is tested with, too. Every request gets the recorded status and an answer of the recorded shape: the
//! same members of the same types, whatever their values are; this agent may report more.

use std::collections::BTreeMap;

use drover_agent::Choices;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::docker;
use crate::support::{Haproxy, Served, answer};

const RECORDINGS: &str = include_str!("../../../testkit/recordings/fagent.json");

/// Optional members of the contract that this agent never sends.
const NEVER_TOLD: [&str; 9] = [
    "artifact_size_bytes",
    "artifact_size_mb",
    "artifact_type",
    "eureka_instance_id",
    "eureka_app_name",
    "eureka_status",
    "eureka_url",
    "eureka_health_url",
    "eureka_vip",
];

#[derive(Debug, Deserialize)]
struct Recording {
    name: String,
    exchanges: Vec<Exchange>,
    scene: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    body: Option<Value>,
    status: u16,
    answer: Value,
}

/// Where an answer has not the recorded shape.
fn misfit(at: &str, recorded: &Value, told: &Value) -> Option<String> {
    match (recorded, told) {
        (Value::Object(recorded), Value::Object(told)) => {
            recorded.iter().find_map(|(name, value)| {
                let at = format!("{at}/{name}");
                match told.get(name) {
                    Some(told) => misfit(&at, value, told),
                    None if NEVER_TOLD.contains(&name.as_str()) => None,
                    None => Some(format!("{at} is missing")),
                }
            })
        }
        (Value::Array(recorded), Value::Array(told)) => {
            let first = recorded.first()?;
            // Optional members are left out: the elements are not all alike.
            let at = format!("{at}/*");
            let misfits = told.iter().map(|told| misfit(&at, first, told));
            misfits
                .min_by_key(Option::is_some)
                .unwrap_or_else(|| Some(format!("{at} is missing")))
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => None,
        (recorded, told) => Some(format!(
            "{at} is {told} instead of something like {recorded}"
        )),
    }
}

async fn check(scene: &str, agent: &Served) -> usize {
    let recordings: Vec<Recording> = serde_json::from_str(RECORDINGS).unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    let of_scene = recordings
        .iter()
        .filter(|recording| recording.scene.as_deref() == Some(scene));
    for recording in of_scene {
        checked += 1;
        let exchange = recording.exchanges.last().unwrap();
        let method: Method = exchange.method.parse().unwrap();
        let mut request = agent.request(method, &exchange.path);
        match &exchange.body {
            None => {}
            Some(Value::String(text)) => request = request.body(text.clone()),
            Some(body) => request = request.body(body.to_string()),
        }
        let (status, told) = answer(request).await;
        if status != exchange.status {
            wrong.push(format!("{}: {status} {told}", recording.name));
        } else if let Some(misfit) = misfit("", &exchange.answer, &told) {
            wrong.push(format!("{}: {misfit}: {told}", recording.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    checked
}

#[tokio::test]
async fn an_agent_with_nothing_behind_it_answers_as_recorded() {
    let agent = Served::with(Choices::default()).await;
    assert!(check("bare", &agent).await >= 8);
}

#[tokio::test]
async fn an_agent_with_applications_answers_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let apps = folder.path().join("apps");
    std::fs::create_dir(&apps).unwrap();
    let own = std::process::id();
    std::fs::write(folder.path().join("app.pid"), own.to_string()).unwrap();
    for (name, kind) in [("jurws_1", "site"), ("cron_2", "service")] {
        let text = format!(
            "name: {name}\ntype: {kind}\nversion: 2.1.0\nip: 127.0.0.1\nport: 8080\npath: {name}\nlog_path: logs\n\
             distr_path: dist\npid_file: ../app.pid\n"
        );
        std::fs::write(apps.join(format!("{name}.yml")), text).unwrap();
    }
    let mut tasks = JoinSet::new();
    let socket = docker::start(folder.path(), &mut tasks);
    let agent = Served::with(Choices {
        apps_dir: Some(apps),
        docker_socket: Some(socket),
        server_ip: Some("192.0.2.11".parse().unwrap()),
        ..Choices::default()
    })
    .await;
    assert!(check("apps", &agent).await >= 4);
}

#[tokio::test]
async fn an_agent_beside_a_real_haproxy_answers_as_recorded() {
    let haproxy = Haproxy::start_with_master(
        "backend web\n  server app1 127.0.0.1:1 cookie one\n  server app2 127.0.0.1:1\nbackend other\n  server app1 127.0.0.1:1\n",
    )
    .await;
    let socket = haproxy.socket("admin.sock");
    let instances = BTreeMap::from([
        ("default".to_owned(), socket),
        ("down".to_owned(), "ipv4@127.0.0.1:1".to_owned()),
    ]);
    let agent = Served::with(Choices {
        haproxy: instances,
        haproxy_master: BTreeMap::from([("default".to_owned(), haproxy.socket("master.sock"))]),
        ..Choices::default()
    })
    .await;
    assert!(check("haproxy", &agent).await >= 23);
}
