//! The playbooks of `deploy/ansible` on the real Ansible, with a stand-in for the agent.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::agent::{Agent, Trouble};
use crate::support::ControlHost;
use drover_domain::rollout::job::{
    InventoryHost, JobEvent, JobEventKind, JobStatus, PlaybookJob, Variable,
};
use drover_domain::rollout::record::TargetOutcome;
use drover_domain::rollout::request::{StepAnswer, StepKind, TargetAnswer, TargetState};
use drover_ports::{Place, PlaybookRunner as _};
use drover_runner_ansible::Options;
use drover_testkit::runner::{job, story};
use rustix::process::{Pid, Signal, kill_process_group};

const SERVERS: [&str; 4] = ["web1_a_1", "web1_a_2", "web2_a_1", "web2_a_2"];
const INSTANCES: &str =
    "web1::a_1::web1_a_1,web2::a_1::web2_a_1,web2::a_2::web2_a_2,web1::a_2::web1_a_2";

/// Two servers with two applications each, which are folders of the test. The plays run as by hand: without Drover.
fn fleet() -> ControlHost {
    fleet_with(|options| {
        let by_hand = options.spool.parent().unwrap().join("by-hand");
        std::fs::write(
            &by_hand,
            "#!/bin/sh\nunset DROVER_MAILBOX\nexec ansible-playbook \"$@\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&by_hand, Permissions::from_mode(0o755)).unwrap();
        by_hand
            .to_str()
            .unwrap()
            .clone_into(&mut options.ansible_playbook);
    })
}

fn fleet_with(change: impl FnOnce(&mut Options)) -> ControlHost {
    let host = ControlHost::local(|options| {
        options.playbooks =
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/ansible"));
        change(options);
        let root = options.spool.parent().unwrap().to_owned();
        options.inventory = Some(root.join("inventory.json"));
    });
    let mut hosts = Vec::new();
    for server in ["web1", "web2"] {
        let root = host.path(server);
        std::fs::create_dir_all(root.join("apps")).unwrap();
        for app in ["a_1", "a_2"] {
            std::fs::create_dir(root.join(app)).unwrap();
            host.write(&format!("{server}/{app}/VERSION"), "1.0.0\n");
            let description = format!(
                "name: {app}\ntype: service\npath: ../{app}\nversion_file: ../{app}/VERSION\ndistr_path_file: ../{app}/DISTR\n"
            );
            host.write(&format!("{server}/apps/{app}.yml"), &description);
        }
        hosts.push(format!(
            r#""{server}":{{"drover_apps_dir":"{}"}}"#,
            root.join("apps").display()
        ));
    }
    let python = r#""ansible_connection":"local","ansible_python_interpreter":"{{ ansible_playbook_python }}""#;
    host.write(
        "inventory.json",
        &format!(
            r#"{{"all":{{"vars":{{{python}}},"hosts":{{{}}}}}}}"#,
            hosts.join(",")
        ),
    );
    host
}

fn update(agent: &Agent) -> PlaybookJob {
    let mut asked = job(1, "orchestrator-even-odd.yml");
    let text = |value: &str| Variable::Text(value.to_owned());
    asked.variables = BTreeMap::from([
        ("app_instances".to_owned(), text(INSTANCES)),
        ("drain_delay".to_owned(), Variable::Integer(1)),
        ("update_playbook".to_owned(), text("update-app.yml")),
        (
            "distr_url".to_owned(),
            Variable::Text(format!("http://{}/artifacts/a-1.1.0.txt", agent.address)),
        ),
        ("haproxy_backend".to_owned(), text("web")),
        (
            "haproxy_api_url".to_owned(),
            Variable::Text(format!("http://{}/api/v1/haproxy/default", agent.address)),
        ),
        ("mode".to_owned(), text("update")),
        ("wait_after_update".to_owned(), Variable::Integer(0)),
    ]);
    asked.hosts = ["web1", "web2"]
        .map(|name| InventoryHost {
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
        })
        .to_vec();
    asked
}

struct Told {
    events: Vec<JobEvent>,
    status: JobStatus,
}

impl Told {
    /// What became of each instance, with its detail: the last report counts.
    fn outcomes(&self) -> BTreeMap<&str, (TargetOutcome, &str)> {
        let reports = self.events.iter().filter_map(|event| event.report.as_ref());
        reports
            .map(|report| {
                let name = report
                    .composite
                    .split("::")
                    .nth(2)
                    .unwrap_or(&report.composite);
                (
                    name,
                    (report.outcome, report.detail.as_deref().unwrap_or_default()),
                )
            })
            .collect()
    }

    fn failures(&self) -> Vec<&str> {
        let failed = self
            .events
            .iter()
            .filter(|event| event.kind == JobEventKind::Failed);
        failed
            .filter_map(|event| event.message.as_deref())
            .collect()
    }

    fn ended_badly(&self) -> bool {
        matches!(self.status, JobStatus::Ended { exit_code } if exit_code != 0)
    }
}

/// A fleet whose playbook folder has these update playbooks besides the shipped ones.
fn fleet_with_playbooks(playbooks: &[(&str, &str)]) -> ControlHost {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    fleet_with(|options| {
        let folder = options.spool.parent().unwrap().join("ansible");
        copy(&options.playbooks, &folder);
        for (name, text) in playbooks {
            std::fs::write(folder.join(name), text).unwrap();
        }
        options.playbooks = folder;
    })
}

async fn run(host: &ControlHost, asked: &PlaybookJob) -> Told {
    host.runner.launch(asked).await.unwrap();
    let (events, status) = story(&host.runner, asked.id).await;
    Told { events, status }
}

/// Runs a play and answers what it asks of Drover: `answer` says where a server was left, or why the step failed.
async fn run_with_drover(
    host: &ControlHost,
    asked: &PlaybookJob,
    answer: impl Fn(StepKind, &str) -> Result<TargetState, &'static str>,
) -> (Told, Vec<String>) {
    host.runner.launch(asked).await.unwrap();
    let (mut events, mut place, mut steps) = (Vec::new(), Place::default(), Vec::new());
    loop {
        let wait = Duration::from_secs(5);
        let batch = host.runner.follow(asked.id, place, wait).await.unwrap();
        place.offset = batch.offset;
        place.sequence += batch.events.len() as u64;
        if batch.status != JobStatus::Running && batch.events.is_empty() {
            let status = batch.status;
            return (Told { events, status }, steps);
        }
        events.extend(batch.events);
        let Some(request) = batch.request else {
            continue;
        };
        place.heard = request.number;
        let step = request.step.unwrap();
        let (mut targets, mut error) = (Vec::new(), None);
        for composite in step.targets {
            let name = composite.split("::").nth(2).unwrap();
            steps.push(format!("{} {name}", step.kind.as_str()));
            let state = answer(step.kind, name).unwrap_or_else(|reason| {
                error = Some(reason.to_owned());
                TargetState::LeftDrained
            });
            targets.push(TargetAnswer {
                composite: composite.clone(),
                state,
                detail: format!("{} as Drover saw it", state.as_str()),
            });
        }
        let answer = StepAnswer {
            number: request.number,
            error,
            targets,
        };
        host.runner.answer(asked.id, &answer).await.unwrap();
    }
}

fn as_wished(kind: StepKind) -> TargetState {
    match kind {
        StepKind::Drain => TargetState::Drained,
        StepKind::Verify => TargetState::Healthy,
        StepKind::Return | StepKind::Restore => TargetState::Serving,
    }
}

#[tokio::test]
async fn in_a_job_of_drover_it_is_drover_that_drains_and_returns() {
    let host = fleet_with(|_| ());
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let mut asked = update(&agent);
    asked
        .variables
        .insert("min_ready".to_owned(), Variable::Integer(2));
    let (told, steps) = run_with_drover(&host, &asked, |kind, name| {
        Ok(match (kind, name) {
            (StepKind::Drain, "web1_a_2") => TargetState::Kept,
            _ => as_wished(kind),
        })
    })
    .await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    // The agent was only asked for the artifact.
    assert!(
        agent.log().iter().all(|line| line.starts_with("fetch")),
        "{:?}",
        agent.log()
    );
    let expected = [
        "drain web1_a_1",
        "drain web2_a_2",
        "verify web1_a_1",
        "verify web2_a_2",
        "return web1_a_1",
        "return web2_a_2",
        "drain web2_a_1",
        "drain web1_a_2",
        "verify web2_a_1",
        "return web2_a_1",
    ];
    assert_eq!(steps, expected);
    let drained: Vec<&str> = told
        .events
        .iter()
        .filter_map(|event| event.report.as_ref())
        .filter(|report| report.outcome == TargetOutcome::Drained)
        .filter_map(|report| report.detail.as_deref())
        .collect();
    assert_eq!(drained[0], "drained as Drover saw it");
    let outcomes = told.outcomes();
    assert_eq!(
        outcomes["web1_a_2"],
        (TargetOutcome::Done, "it stays out of use, as it was before")
    );
    assert_eq!(
        outcomes["web1_a_1"],
        (TargetOutcome::Done, "version 1.1.0, not restarted")
    );
}

#[tokio::test]
async fn what_drover_refuses_to_drain_is_not_updated() {
    let host = fleet_with(|_| ());
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let (told, steps) = run_with_drover(&host, &update(&agent), |kind, name| match (kind, name) {
        (StepKind::Drain, "web2_a_2") => Err("refused to drain web2_a_2"),
        (StepKind::Drain, _) => Ok(TargetState::Untouched),
        _ => Ok(as_wished(kind)),
    })
    .await;
    assert!(told.ended_badly());
    assert_eq!(told.failures()[0], "refused to drain web2_a_2");
    assert_eq!(agent.log(), Vec::<String>::new());
    // Only what was touched is put back.
    assert_eq!(
        steps,
        ["drain web1_a_1", "drain web2_a_2", "restore web2_a_2"]
    );
    assert!(
        told.outcomes()
            .values()
            .all(|(outcome, _)| *outcome == TargetOutcome::Skipped),
        "{:?}",
        told.outcomes()
    );
}

#[tokio::test]
async fn what_drover_leaves_drained_is_named_with_its_reason() {
    let host = fleet_with(|_| ());
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let (told, _) = run_with_drover(&host, &update(&agent), |kind, name| match (kind, name) {
        (StepKind::Verify, "web1_a_1") => Err("`web1_a_1` is not healthy after the update"),
        (StepKind::Restore, "web1_a_1") => Ok(TargetState::LeftDrained),
        (StepKind::Restore, "web2_a_2") => Ok(TargetState::Unhealthy),
        _ => Ok(as_wished(kind)),
    })
    .await;
    assert!(told.ended_badly());
    let outcomes = told.outcomes();
    assert_eq!(
        outcomes["web1_a_1"],
        (
            TargetOutcome::LeftDrained,
            "version 1.1.0, not restarted; left_drained as Drover saw it"
        )
    );
    assert_eq!(outcomes["web2_a_2"].0, TargetOutcome::Failed);
    assert_eq!(outcomes["web1_a_2"].0, TargetOutcome::Skipped);
}

fn version(host: &ControlHost, instance: &str) -> String {
    host.lines(&format!("{instance}/VERSION")).concat()
}

/// Where these entries are in the log, which must have each of them once.
fn places(log: &[String], entries: &[&str]) -> Vec<usize> {
    let place = |entry: &&str| {
        let found: Vec<usize> = log
            .iter()
            .enumerate()
            .filter(|(_, line)| line == entry)
            .map(|(place, _)| place)
            .collect();
        assert_eq!(found.len(), 1, "{entry} in {log:?}");
        found[0]
    };
    entries.iter().map(place).collect()
}

#[tokio::test]
async fn the_even_half_is_wholly_back_before_the_odd_half_is_touched() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let mut asked = update(&agent);
    // It must arrive as it is and do nothing: no shell and no template may look at it.
    let mark = host.path("mark");
    let url = format!(
        "http://{}/artifacts/a-1.1.0.txt?x='\"$(touch${{IFS}}{mark});`touch${{IFS}}{mark}`{{{{lookup('pipe','touch${{IFS}}{mark}')}}}}",
        agent.address,
        mark = mark.display()
    );
    asked
        .variables
        .insert("distr_url".to_owned(), Variable::Text(url.clone()));
    let told = run(&host, &asked).await;

    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    for instance in ["web1/a_1", "web1/a_2", "web2/a_1", "web2/a_2"] {
        assert_eq!(version(&host, instance), "1.1.0");
        assert_eq!(host.lines(&format!("{instance}/DISTR")), [url.as_str()]);
        assert_eq!(
            host.lines(&format!("{instance}/current")),
            ["artifact 1.1.0"]
        );
    }
    assert!(!mark.exists());
    let log = agent.log();
    let steps = [
        places(&log, &["drain web1_a_1", "drain web2_a_2"]),
        places(&log, &["fetch web1/a_1", "fetch web2/a_2"]),
        places(&log, &["ready web1_a_1", "ready web2_a_2"]),
        places(&log, &["drain web2_a_1", "drain web1_a_2"]),
        places(&log, &["fetch web2/a_1", "fetch web1/a_2"]),
        places(&log, &["ready web2_a_1", "ready web1_a_2"]),
    ];
    for pair in steps.windows(2) {
        assert!(pair[0].iter().max() < pair[1].iter().min(), "{log:?}");
    }
    assert_eq!(log.len(), 12);
    assert!(
        told.outcomes()
            .values()
            .all(|(outcome, detail)| *outcome == TargetOutcome::Done && detail.contains("1.1.0"))
    );
    let walk: Vec<TargetOutcome> = told
        .events
        .iter()
        .filter_map(|event| event.report.as_ref())
        .filter(|report| report.composite == "web1::a_1::web1_a_1")
        .map(|report| report.outcome)
        .collect();
    assert_eq!(
        walk,
        [
            TargetOutcome::Draining,
            TargetOutcome::Drained,
            TargetOutcome::Updating,
            TargetOutcome::Verifying,
            TargetOutcome::Verifying,
            TargetOutcome::Returning,
            TargetOutcome::Done,
        ]
    );
}

#[tokio::test]
async fn a_broken_artifact_fails_with_its_reason_and_everything_serves_again() {
    let host = fleet();
    let trouble = Trouble {
        broken_for: Some("web2/a_2"),
        ..Trouble::default()
    };
    let agent = Agent::start(&SERVERS, trouble).await;
    let told = run(&host, &update(&agent)).await;

    assert!(told.ended_badly());
    let reason = told.failures()[0];
    assert!(
        reason.starts_with("a_2: the checksum of http://") && reason.contains("does not match"),
        "{reason}"
    );
    let outcomes = told.outcomes();
    assert_eq!(
        outcomes["web1_a_1"],
        (TargetOutcome::Done, "version 1.1.0, not restarted")
    );
    assert_eq!(outcomes["web2_a_2"].0, TargetOutcome::Failed);
    assert!(
        outcomes["web2_a_2"].1.contains("does not match"),
        "{outcomes:?}"
    );
    for name in ["web2_a_1", "web1_a_2"] {
        assert_eq!(
            outcomes[name],
            (TargetOutcome::Skipped, "the batch before it failed")
        );
    }
    assert!(
        SERVERS.iter().all(|name| agent.admin(name) == "ready"),
        "{:?}",
        agent.log()
    );
    assert!(
        !agent
            .log()
            .iter()
            .any(|line| line == "drain web2_a_1" || line == "drain web1_a_2")
    );
    assert_eq!(
        [version(&host, "web1/a_1"), version(&host, "web2/a_2")],
        ["1.1.0", "1.0.0"]
    );
    assert!(!host.path("web2/a_2/current").exists());
}

#[tokio::test]
async fn what_is_not_healthy_after_its_update_stays_drained_and_is_named() {
    let host = fleet();
    let trouble = Trouble {
        down_after: Some(("web1/a_1", "web1_a_1")),
        ..Trouble::default()
    };
    let agent = Agent::start(&SERVERS, trouble).await;
    let mut asked = update(&agent);
    asked
        .variables
        .insert("health_timeout".to_owned(), Variable::Integer(1));
    let told = run(&host, &asked).await;

    assert!(told.ended_badly());
    assert_eq!(
        told.failures()[0],
        "`web1_a_1` is not healthy after the update: HAProxy says DOWN, check L4CON"
    );
    let outcomes = told.outcomes();
    assert_eq!(
        outcomes["web1_a_1"],
        (
            TargetOutcome::LeftDrained,
            "version 1.1.0, not restarted; it stays drained: HAProxy says DOWN, check L4CON"
        )
    );
    assert_eq!(outcomes["web2_a_2"].0, TargetOutcome::Done);
    assert_eq!(agent.admin("web1_a_1"), "drain");
    assert!(
        ["web1_a_2", "web2_a_1", "web2_a_2"]
            .iter()
            .all(|name| agent.admin(name) == "ready")
    );
}

#[tokio::test]
async fn a_server_haproxy_does_not_know_fails_before_anything_is_drained() {
    let host = fleet();
    let agent = Agent::start(
        &["web1_a_1", "web1_a_2", "web2_a_1", "spare"],
        Trouble::default(),
    )
    .await;
    let told = run(&host, &update(&agent)).await;
    assert!(told.ended_badly());
    assert_eq!(
        told.failures()[0],
        "HAProxy backend `web` has no server `web2_a_2`"
    );
    assert!(
        told.outcomes()
            .values()
            .all(|(outcome, _)| *outcome == TargetOutcome::Skipped),
        "{:?}",
        told.outcomes()
    );
    assert_eq!(agent.log(), Vec::<String>::new());
}

#[tokio::test]
async fn the_last_servers_in_traffic_are_not_drained() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    agent.set_admin("web1_a_2", "maint");
    agent.set_admin("web2_a_1", "drain");
    let told = run(&host, &update(&agent)).await;
    assert!(told.ended_badly());
    assert_eq!(
        told.failures()[0],
        "refused to drain web1_a_1, web2_a_2: outside the batch only 0 server(s) of backend `web` take traffic, and 1 must stay"
    );
    assert_eq!(agent.log(), Vec::<String>::new());
}

#[tokio::test]
async fn a_drain_that_is_only_said_to_be_done_fails_and_is_taken_back() {
    let host = fleet();
    let agent = Agent::start(
        &SERVERS,
        Trouble {
            lies: true,
            ..Trouble::default()
        },
    )
    .await;
    let told = run(&host, &update(&agent)).await;
    assert!(told.ended_badly());
    assert_eq!(
        told.failures()[0],
        "`web1_a_1` was told to drain, but HAProxy shows it as UP, check L7OK"
    );
    assert!(
        told.outcomes()
            .values()
            .all(|(outcome, _)| *outcome == TargetOutcome::Skipped),
        "{:?}",
        told.outcomes()
    );
    assert!(!agent.log().iter().any(|line| line.starts_with("fetch")));
}

#[tokio::test]
async fn without_haproxy_the_halves_are_only_updated() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let mut asked = update(&agent);
    asked
        .variables
        .retain(|name, _| !name.starts_with("haproxy_"));
    asked.variables.insert(
        "app_instances".to_owned(),
        Variable::Text("web1::a_1,web2::a_1,web1::a_2".to_owned()),
    );
    // What the update playbook's path gives it reaches it, and reaches it literally.
    for (name, value) in [
        ("update_parameters", "version"),
        ("version", "9.9-{{ 1 + 1 }}"),
    ] {
        asked
            .variables
            .insert(name.to_owned(), Variable::Text(value.to_owned()));
    }
    let told = run(&host, &asked).await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    // The even half is one run, for both applications of the one server.
    assert_eq!(
        agent.log(),
        ["fetch web1/a_1", "fetch web1/a_2", "fetch web2/a_1"]
    );
    let outcomes = told.outcomes();
    assert_eq!(outcomes.len(), 3);
    assert!(
        outcomes
            .values()
            .all(|(outcome, _)| *outcome == TargetOutcome::Done),
        "{outcomes:?}"
    );
    assert_eq!(version(&host, "web1/a_1"), "9.9-{{ 1 + 1 }}");
    assert_eq!(version(&host, "web2/a_2"), "1.0.0");
}

#[tokio::test]
async fn an_agent_that_tells_no_sessions_is_waited_for_by_timer() {
    let host = fleet();
    let trouble = Trouble {
        is_plain: true,
        ..Trouble::default()
    };
    let agent = Agent::start(&SERVERS, trouble).await;
    let mut asked = update(&agent);
    asked.variables.insert(
        "app_instances".to_owned(),
        Variable::Text("web1::a_1::web1_a_1".to_owned()),
    );
    asked
        .variables
        .insert("drain_delay".to_owned(), Variable::Integer(1));
    let told = run(&host, &asked).await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    assert_eq!(
        agent.log(),
        ["drain web1_a_1", "fetch web1/a_1", "ready web1_a_1"]
    );
    let mut reports = told.events.iter().filter_map(|event| event.report.as_ref());
    let drained = reports
        .find(|report| report.outcome == TargetOutcome::Drained)
        .unwrap();
    assert_eq!(
        drained.detail.as_deref(),
        Some("by timer, not proven: 1 s are over")
    );
}

#[tokio::test]
async fn what_is_only_delivered_is_neither_drained_nor_switched() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let mut asked = update(&agent);
    asked.variables.insert(
        "app_instances".to_owned(),
        Variable::Text("web1::a_1::web1_a_1".to_owned()),
    );
    asked
        .variables
        .insert("mode".to_owned(), Variable::Text("deliver".to_owned()));
    let told = run(&host, &asked).await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    assert_eq!(agent.log(), ["fetch web1/a_1"]);
    assert_eq!(
        told.outcomes()["web1_a_1"],
        (TargetOutcome::Done, "a-1.1.0.txt is delivered")
    );
    assert_eq!(
        host.lines("web1/a_1/releases/a-1.1.0.txt"),
        ["artifact 1.1.0"]
    );
    assert_eq!(version(&host, "web1/a_1"), "1.0.0");
}

/// A process that is started again whenever it ends, as a supervisor would; killed with the test.
struct Respawned(Child);

impl Respawned {
    #[expect(
        clippy::disallowed_methods,
        reason = "the application that is restarted"
    )]
    fn start(pid_file: &Path) -> Self {
        let script =
            r#"while :; do sleep 600 & echo $! > "$0.new"; mv "$0.new" "$0"; wait $!; done"#;
        Self(
            Command::new("sh")
                .args(["-c", script])
                .arg(pid_file)
                .process_group(0)
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Respawned {
    fn drop(&mut self) {
        kill_process_group(Pid::from_child(&self.0), Signal::KILL).unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn applications_are_restarted_and_waited_for_each_on_its_own() {
    let host = fleet();
    let agent = Agent::start(&[], Trouble::default()).await;
    let health = |version: &str| format!("health_url: http://{}/health/{version}\n", agent.address);
    host.write(
        "web1/apps/a_1.yml",
        &format!(
            "name: a_1\ntype: service\npath: ../a_1\n{}restart_argv: [sh, -c, 'cp VERSION restarted']\n",
            health("1.1.0")
        ),
    );
    let described = "name: a_2\ntype: service\npath: ../a_2\npid_file: ../a_2/pid\n".to_owned()
        + &health("1.1.0");
    host.write("web1/apps/a_2.yml", &described);
    std::fs::create_dir(host.path("web1/a_3")).unwrap();
    host.write(
        "web1/apps/a_3.yml",
        &("name: a_3\ntype: site\npath: ../a_3\n".to_owned() + &health("1.0.0")),
    );
    let _running = Respawned::start(&host.path("web1/a_2/pid"));
    crate::support::until_exists(&host.path("web1/a_2/pid")).await;
    let before = host.lines("web1/a_2/pid");

    let mut asked = update(&agent);
    asked.playbook = "update-app.yml".to_owned();
    for (name, value) in [
        ("server", "web1"),
        ("app", "a_1,a_2,a_3"),
        ("app_instances", "web1::a_1,web1::a_2,web1::a_3"),
    ] {
        asked
            .variables
            .insert(name.to_owned(), Variable::Text(value.to_owned()));
    }
    asked
        .variables
        .insert("start_timeout".to_owned(), Variable::Integer(1));
    let told = run(&host, &asked).await;

    assert!(told.ended_badly());
    let expected = format!(
        "a_3: http://{}/health/1.0.0 was not well as version 1.1.0 within 1 s; it last said: {{\"version\": \"1.0.0\"}}",
        agent.address
    );
    assert_eq!(told.failures(), [expected]);
    assert_eq!(host.lines("web1/a_1/restarted"), ["1.1.0"]);
    let after = host.lines("web1/a_2/pid");
    assert_ne!(before, after);
    let outcomes = told.outcomes();
    assert_eq!(
        outcomes["web1::a_1"],
        (TargetOutcome::Verifying, "version 1.1.0, restarted")
    );
    assert_eq!(
        outcomes["web1::a_2"].1,
        format!("version 1.1.0, process {}", after[0])
    );
    assert_eq!(outcomes["web1::a_3"].0, TargetOutcome::Updating);
}

#[tokio::test]
async fn a_server_in_maintenance_is_updated_and_stays_there() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    agent.set_admin("web1_a_1", "maint");
    let mut asked = update(&agent);
    asked.variables.insert(
        "app_instances".to_owned(),
        Variable::Text("web1::a_1::web1_a_1".to_owned()),
    );
    let told = run(&host, &asked).await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    assert_eq!(
        told.outcomes()["web1_a_1"],
        (TargetOutcome::Done, "it stays out of use, as it was before")
    );
    assert_eq!(
        (agent.admin("web1_a_1").as_str(), agent.log()),
        ("maint", vec!["fetch web1/a_1".to_owned()])
    );
}

#[tokio::test]
async fn an_update_playbook_for_a_host_nobody_knows_is_a_failure() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let mut asked = update(&agent);
    asked.variables.insert(
        "app_instances".to_owned(),
        Variable::Text("web9::a_1::web1_a_1".to_owned()),
    );
    let told = run(&host, &asked).await;
    assert!(told.ended_badly());
    assert_eq!(
        told.failures()[0],
        "the update of web9 failed: no play of the update playbook has `web9` in its `hosts:`, or the inventory lacks it"
    );
    assert_eq!(told.outcomes()["web1_a_1"].0, TargetOutcome::Failed);
    assert_eq!(agent.admin("web1_a_1"), "ready");
}

/// Update playbooks that end with exit code 0 and do no work on the server, with what is said of them.
const IDLE: [(&str, &str, &str); 8] = [
    (
        "ignored.yml",
        "- hosts: '{{ server }}'\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'false', ignore_errors: true}]\n",
        "every task on `web1` failed, which the update playbook ignores",
    ),
    (
        "unreachable.yml",
        "- hosts: '{{ server }}'\n  gather_facts: false\n  ignore_unreachable: true\n  vars: {ansible_connection: ssh, ansible_port: 1, ansible_host: 127.0.0.1}\n  tasks: [{ansible.builtin.command: 'true'}]\n",
        "`web1` was unreachable, which the update playbook ignores",
    ),
    (
        "excluded.yml",
        "- hosts: '{{ server }}:!web1'\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true'}]\n- hosts: localhost\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true'}]\n",
        "the update playbook did no task on `web1`",
    ),
    (
        "other-host.yml",
        "- hosts: web2\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true'}]\n",
        "the update playbook did no task on `web1`",
    ),
    (
        "end-host.yml",
        "- hosts: '{{ server }}'\n  gather_facts: false\n  tasks: [{ansible.builtin.meta: end_host}, {ansible.builtin.command: 'true'}]\n",
        "the update playbook did no task on `web1`",
    ),
    (
        "end-play.yml",
        "- hosts: '{{ server }}'\n  gather_facts: false\n  tasks: [{ansible.builtin.meta: end_play}, {ansible.builtin.command: 'true'}]\n",
        "the update playbook did no task on `web1`",
    ),
    (
        "empty.yml",
        "- hosts: '{{ server }}'\n  gather_facts: false\n  tasks: []\n",
        "the update playbook did no task on `web1`",
    ),
    (
        "skipped.yml",
        "- hosts: '{{ server }}'\n  gather_facts: false\n  tasks: [{ansible.builtin.command: 'true', when: false}]\n",
        "the update playbook did no task on `web1`",
    ),
];

#[tokio::test]
async fn an_update_playbook_that_does_no_work_on_its_server_is_a_failure() {
    let playbooks = IDLE.map(|(name, text, _)| (name, text));
    let host = fleet_with_playbooks(&playbooks);
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    for (number, (name, _, expected)) in (1..).zip(IDLE) {
        let mut asked = update(&agent);
        asked.id = job(number, "").id;
        asked
            .variables
            .retain(|name, _| !name.starts_with("haproxy_"));
        for (variable, value) in [
            ("app_instances", "web1::a_1,web2::a_1"),
            ("update_playbook", name),
        ] {
            let value = Variable::Text(value.to_owned());
            asked.variables.insert(variable.to_owned(), value);
        }
        let told = run(&host, &asked).await;
        assert!(told.ended_badly(), "{name}");
        let outcomes = told.outcomes();
        assert_eq!(
            outcomes["web1::a_1"].0,
            TargetOutcome::Failed,
            "{name}: {outcomes:?}"
        );
        assert!(
            outcomes["web1::a_1"].1.contains(expected),
            "{name}: {outcomes:?}"
        );
        // The next half is not touched.
        assert_eq!(outcomes["web2::a_1"].0, TargetOutcome::Skipped, "{name}");
    }
}

#[tokio::test]
async fn an_update_playbook_that_works_from_another_host_and_reports_is_asked_for_each_instance() {
    let text = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug:\n        msg: {drover_report: [{composite: '{{ app_instances }}', outcome: verifying, detail: over the api, ok: true}]}\n";
    let host = fleet_with_playbooks(&[("remote.yml", text)]);
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let mut asked = update(&agent);
    asked
        .variables
        .retain(|name, _| !name.starts_with("haproxy_"));
    for (variable, value) in [
        ("app_instances", "web1::a_1"),
        ("update_playbook", "remote.yml"),
    ] {
        let value = Variable::Text(value.to_owned());
        asked.variables.insert(variable.to_owned(), value);
    }
    let told = run(&host, &asked).await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    assert_eq!(
        told.outcomes()["web1::a_1"],
        (TargetOutcome::Done, "over the api")
    );
}

/// Names that become equal without their zeros, with `-` for `_`, or in lower case.
const NEAR_NAMES: [&str; 4] = ["jurws_01", "jurws_1", "jurws-01", "Jurws_1"];

#[tokio::test]
async fn near_names_stay_apart_from_the_request_to_the_folder() {
    let host = fleet();
    let agent = Agent::start(&SERVERS, Trouble::default()).await;
    let servers = ["fdmz01", "fdmz1", "fdmz-01"];
    let (mut hosts, mut instances) = (serde_json::Map::new(), Vec::new());
    for server in servers {
        for app in NEAR_NAMES {
            let folder = format!("{server}/{app}");
            std::fs::create_dir_all(host.path(&folder)).unwrap();
            std::fs::create_dir_all(host.path(&format!("{server}/apps"))).unwrap();
            host.write(&format!("{folder}/VERSION"), "1.0.0\n");
            host.write(
                &format!("{server}/apps/{app}.yml"),
                &format!("name: {app}\ntype: service\npath: ../{app}\n"),
            );
            instances.push(format!("{server}::{app}"));
        }
        let apps = host.path(server).join("apps");
        let variables = serde_json::json!({
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "drover_apps_dir": apps,
        });
        hosts.insert(server.to_owned(), variables);
    }
    let inventory = serde_json::json!({ "all": { "hosts": hosts } });
    host.write("inventory.json", &inventory.to_string());
    let mut asked = update(&agent);
    asked
        .variables
        .retain(|name, _| !name.starts_with("haproxy_"));
    // All but one: what is not asked for is not touched, however near its name is.
    let left = instances.remove(5);
    assert_eq!(left, "fdmz1::jurws_1");
    asked.variables.insert(
        "app_instances".to_owned(),
        Variable::Text(instances.join(",")),
    );
    asked.hosts = servers
        .map(|name| InventoryHost {
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
        })
        .to_vec();
    let told = run(&host, &asked).await;
    assert_eq!(
        told.status,
        JobStatus::Ended { exit_code: 0 },
        "{:?}",
        told.failures()
    );
    let outcomes = told.outcomes();
    for instance in &instances {
        assert_eq!(outcomes[instance.as_str()].0, TargetOutcome::Done);
        assert_eq!(version(&host, &instance.replace("::", "/")), "1.1.0");
    }
    assert_eq!(outcomes.len(), instances.len());
    assert_eq!(version(&host, "fdmz1/jurws_1"), "1.0.0");
    let mut fetched = agent.log();
    fetched.sort();
    let mut expected: Vec<String> = instances
        .iter()
        .map(|instance| format!("fetch {}", instance.replace("::", "/")))
        .collect();
    expected.sort();
    assert_eq!(fetched, expected);
}
