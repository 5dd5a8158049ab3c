//! `deploy/monitoring` uses the metrics that the program exports: names that are declared, and all of these on a real `/metrics`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use drover_testkit::eventually::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

const KEY: &str = "drv_00000000000000aa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PREFIX: &str = "drover_";

/// Metrics that exist only for a fleet with faults: an HAProxy whose breaker was open.
const OF_TROUBLE: [&str; 1] = ["drover_haproxy_breaker_open"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The sources that export metrics.
fn sources() -> Vec<String> {
    let mut sources = vec![
        read("crates/app/src/meter.rs"),
        read("crates/http-api/src/trace.rs"),
    ];
    // The parts of the meter, if it has any.
    for entry in std::fs::read_dir(root().join("crates/app/src/meter"))
        .into_iter()
        .flatten()
    {
        sources.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    sources
}

/// The metrics that the program declares.
fn declared() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources() {
        for line in source.lines().filter(|line| line.starts_with("const ")) {
            let quoted = line.split_once(": &str = \"").map(|(_, rest)| rest);
            if let Some(name) = quoted.and_then(|rest| rest.strip_suffix("\";"))
                && name.starts_with(PREFIX)
            {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// The metrics that a text is about: a histogram's three kinds of lines are one metric.
fn watched(text: &str, declared: &BTreeSet<String>) -> BTreeSet<String> {
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_of_names(c))
        .filter(|word| word.starts_with(PREFIX))
        .map(|word| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| word.strip_suffix(suffix))
                .find(|name| declared.contains(*name))
                .unwrap_or(word)
                .to_owned()
        })
        .collect()
}

/// The value of `key` wherever it stands in a document.
fn all_of<'a>(key: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                all_of(key, value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all_of(key, item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn alerts_and_panels_are_about_metrics_that_are_declared() {
    let declared = declared();
    assert!(declared.contains("drover_queue_tasks") && declared.len() >= 15);
    for path in [
        "deploy/monitoring/alerts.yml",
        "deploy/monitoring/dashboard.json",
    ] {
        let watched = watched(&read(path), &declared);
        assert!(watched.len() >= 8, "{path} watches {watched:?} only");
        let strange: Vec<_> = watched.difference(&declared).collect();
        assert!(strange.is_empty(), "{path}: nobody tells {strange:?}");
    }
}

#[test]
fn every_rule_says_what_it_means() {
    let alerts: Value = serde_saphyr::from_str(&read("deploy/monitoring/alerts.yml")).unwrap();
    let mut names = BTreeSet::new();
    for group in alerts["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(names.insert(name), "{name} is there twice");
            for part in ["/expr", "/labels/severity", "/annotations/summary"] {
                let text = rule.pointer(part).and_then(Value::as_str);
                assert!(text.is_some_and(|text| !text.is_empty()), "{name}{part}");
            }
        }
    }
    assert!(names.len() >= 8, "{names:?}");
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(dashboard["id"], Value::Null, "an id belongs to one Grafana");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(
        variables
            .iter()
            .any(|variable| variable["type"] == "datasource" && variable["name"] == "datasource")
    );
    let mut sources = Vec::new();
    all_of("datasource", &dashboard, &mut sources);
    assert!(!sources.is_empty());
    for source in sources {
        assert_eq!(
            source["uid"], "${datasource}",
            "one of a certain Grafana: {source}"
        );
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
}

/// The built program, on SQLite in a folder of its own.
struct Service {
    api: String,
    metrics: String,
    _process: Child,
    _log_reader: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        #[expect(
            clippy::disallowed_methods,
            reason = "the program under test is a process"
        )]
        let mut process = Command::new(env!("CARGO_BIN_EXE_drover"))
            .arg("serve")
            .current_dir(folder.path())
            .env("DROVER_SERVER__LISTEN", "127.0.0.1:0")
            .env("DROVER_SERVER__ADMIN_LISTEN", "127.0.0.1:0")
            .env(
                "DROVER_DATABASE__URL",
                format!("sqlite://{root}/d.sqlite?mode=rwc"),
            )
            .env("DROVER_ANSIBLE__PLAYBOOKS", root.to_string())
            .env("DROVER_ANSIBLE__SPOOL", format!("{root}/spool"))
            .env("DROVER_HTTP_REQUEST__ALLOW", "127.0.0.0/8")
            .env("DROVER_ACCESS__ADMIN_KEY", KEY)
            .env_remove("DROVER_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let (mut api, mut metrics) = (None, None);
        while let Some(line) = lines.next_line().await.unwrap() {
            let after = |words: &str| line.split_once(words).map(|(_, rest)| rest.to_owned());
            api = api.or_else(|| after("the API listens on "));
            metrics = metrics.or_else(|| after("metrics are on "));
            log.push_str(&line);
            log.push('\n');
            if api.is_some() && metrics.is_some() {
                break;
            }
        }
        // The pipe must stay open and be read.
        let mut log_reader = JoinSet::new();
        log_reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let said = |address: Option<String>| address.unwrap_or_else(|| panic!("{log}"));
        Self {
            api: said(api),
            metrics: said(metrics),
            _process: process,
            _log_reader: log_reader,
            _folder: folder,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_answer_has_every_metric_that_is_declared() {
    let service = Service::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    // Some metrics need an event: a request to a port without a listener is a failed attempt, and a dead letter.
    let workflow = json!({"name": "nobody", "tasks": [
        {"key": "ask", "kind": "http.request", "payload": {"method": "GET", "url": "http://127.0.0.1:1/"}},
    ]});
    let url = format!("{}/api/v1/workflows", service.api);
    let request = client.post(url).bearer_auth(KEY).json(&workflow);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    // And a server whose agent cannot be reached.
    let server = json!({"name": "nobody", "address": "127.0.0.1", "port": 1});
    let url = format!("{}/api/v1/servers", service.api);
    let answer = client
        .post(url)
        .bearer_auth(KEY)
        .json(&server)
        .send()
        .await
        .unwrap();
    let server: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let url = format!("{}/api/v1/servers/{}/refresh", service.api, server["id"]);
    let answer = client
        .post(url)
        .bearer_auth(KEY)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let declared = declared();
    let told = eventually(Duration::from_mins(1), async || {
        let answer = client.get(&service.metrics).send().await;
        let text = answer.unwrap().text().await.unwrap();
        let told: BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .map(str::to_owned)
            .collect();
        let missing: Vec<_> = declared
            .difference(&told)
            .filter(|name| !OF_TROUBLE.contains(&name.as_str()))
            .collect();
        if missing.is_empty() {
            Ok(told)
        } else {
            Err(format!("{missing:?} are not in\n{text}"))
        }
    })
    .await;
    // And no metric is exported without a declaration: `deploy/monitoring` could not be checked against it.
    let strange: Vec<_> = told.difference(&declared).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
