//! The demonstration as a test: a real fleet behind a real HAProxy, updated under load.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, Turn, binary};

/// Longer than the demo ever takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(200);

/// Runs the demo with these arguments and returns its exit code and report.
fn run(arguments: &[&str]) -> (Option<i32>, Value) {
    let _turn = Turn::take();
    let folder = tempfile::tempdir().unwrap();
    let (report, log) = (folder.path().join("report.json"), folder.path().join("log"));
    let playbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/ansible");
    let (playbooks, report_path) = (
        playbooks.display().to_string(),
        report.display().to_string(),
    );
    let mut all = vec!["--playbooks", &playbooks, "--json", &report_path];
    all.extend(arguments);
    let mut demo = Process::start(&binary("drover-demo"), &all, &[], &log);
    let code = demo.wait(PATIENCE).code();
    let text = std::fs::read_to_string(&report)
        .unwrap_or_else(|_| panic!("no report; log:\n{}", demo.log()));
    (code, serde_json::from_str(&text).unwrap())
}

#[test]
fn a_fleet_is_updated_without_a_failed_request() {
    let (code, report) = run(&[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["requests"]["failed"], 0, "{report}");
    assert!(
        report["requests"]["total"].as_u64().unwrap() >= 5_000,
        "{report}"
    );
    assert!(report["min_ready"].as_u64().unwrap() >= 3, "{report}");
    assert_eq!(report["task"]["status"], "completed", "{report}");
    let versions: Vec<&Value> = report["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["version_after"])
        .collect();
    assert_eq!(versions, ["1.1.0"; 6]);
}

#[test]
fn a_reload_in_each_half_costs_no_request_that_an_old_worker_holds() {
    let (code, report) = run(&["--reload=6", "--instances", "1"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["requests"]["failed"], 0, "{report}");
    assert!(report["requests"]["long"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["reloads"], 2, "{report}");
    assert_eq!(report["task"]["status"], "completed", "{report}");
}

#[test]
fn a_broken_artifact_fails_the_update_and_no_request() {
    let (code, report) = run(&["--fail-update"]);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["requests"]["failed"], 0, "{report}");
    assert_eq!(report["task"]["status"], "failed", "{report}");
    let error = report["task"]["error"].as_str().unwrap();
    assert!(error.contains("checksum"), "{error}");
    let drained = report["timeline"].as_array().unwrap().iter().fold(
        std::collections::BTreeMap::new(),
        |mut last, entry| {
            last.insert(entry["server"].to_string(), entry["state"].to_string());
            last
        },
    );
    assert!(
        drained.values().all(|state| state.contains("UP")),
        "{drained:?}"
    );
}
