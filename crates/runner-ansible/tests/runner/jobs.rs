//! What a job goes through on its host: callers that die, signals, bounds, secrets. Mostly with a
//! stand-in for `ansible-playbook`, because only the supervision is looked at.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{ControlHost, kill, processes_of, until_exists};
use drover_domain::rollout::job::{JobEventKind, JobStatus, PlaybookJob, Variable};
use drover_ports::{Place, PlaybookRunner as _};
use drover_runner_ansible::{AnsibleRunner, Options};
use drover_testkit::eventually::eventually;
use drover_testkit::runner::{Play, RunnerWorld as _, job, story, until_waiting};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(25);

/// The variable that makes this test binary play the caller that is going to be killed.
const CALLER: &str = "DROVER_TEST_CALLER_FOLDER";

/// A host whose `ansible-playbook` is this shell script; `$here` is the host's folder.
fn scripted(script: &str, change: impl FnOnce(&mut Options)) -> ControlHost {
    let program = |options: &mut Options| {
        let folder = options.spool.parent().unwrap().to_owned();
        let file = folder.join("ansible-playbook");
        std::fs::write(
            &file,
            format!("#!/bin/sh\nhere='{}'\n{script}\n", folder.display()),
        )
        .unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        options.extra_path.push(folder);
        change(options);
    };
    let host = ControlHost::local(program);
    host.write("playbooks/play.yml", "[]\n");
    host
}

fn runner_in(folder: &Path) -> AnsibleRunner {
    let mut options = Options::local(folder.join("spool"), folder.join("playbooks"));
    if folder.join("ansible-playbook").exists() {
        options.extra_path.push(folder.to_owned());
    }
    AnsibleRunner::new(options).unwrap()
}

/// This test binary again, running only `test`, in a process group of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "a caller that can be killed must be a process"
)]
fn caller(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("jobs::{test}"), "--nocapture"])
        .env(CALLER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Kills the caller and everything it started that is still in its process group.
fn kill_caller(mut caller: Child) {
    let group = rustix::process::Pid::from_child(&caller);
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    caller.wait().unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "tells the caller to be from the test that starts it"
)]
fn folder_as_caller() -> Option<std::path::PathBuf> {
    std::env::var(CALLER).ok().map(Into::into)
}

#[tokio::test]
async fn a_real_play_goes_on_when_its_caller_is_killed_and_is_followed_again() {
    let waiting = job(1, "wait.yml");
    if let Some(folder) = folder_as_caller() {
        let runner = runner_in(&folder);
        runner.launch(&waiting).await.unwrap();
        story(&runner, waiting.id).await;
        return;
    }
    let host = ControlHost::local(|_| ());
    host.arrange("wait.yml", Play::Waits).await;
    let name = "a_real_play_goes_on_when_its_caller_is_killed_and_is_followed_again";
    let caller = caller(name, host.folder.path());
    until_waiting(&host, 1).await;
    kill_caller(caller);

    assert_eq!(
        host.runner.status(waiting.id).await.unwrap(),
        JobStatus::Running
    );
    host.runner.launch(&waiting).await.unwrap();
    host.release().await;
    let (events, status) = story(&host.runner, waiting.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: 0 });
    assert_eq!(
        events.last().map(|event| event.kind),
        Some(JobEventKind::Stats)
    );
    assert_eq!(host.waits_begun().await, 1);
}

#[tokio::test]
async fn a_caller_killed_at_any_moment_of_the_launch_leaves_one_run() {
    let id = job(2, "play.yml");
    if let Some(folder) = folder_as_caller() {
        runner_in(&folder).launch(&id).await.unwrap();
        return;
    }
    for delay_ms in [0, 5, 10, 20, 30, 40, 50, 60, 80, 120] {
        let host = scripted("echo x >> $here/begun", |_| ());
        let name = "a_caller_killed_at_any_moment_of_the_launch_leaves_one_run";
        let caller = caller(name, host.folder.path());
        // The moment is what this test varies; there is no state to wait for.
        let moment = tokio::time::timeout(
            Duration::from_millis(delay_ms),
            std::future::pending::<()>(),
        );
        assert!(moment.await.is_err());
        kill_caller(caller);
        host.runner.launch(&id).await.unwrap();
        let (_, status) = story(&host.runner, id.id).await;
        assert_eq!(
            status,
            JobStatus::Ended { exit_code: 0 },
            "killed after {delay_ms} ms"
        );
        assert_eq!(host.lines("begun").len(), 1, "killed after {delay_ms} ms");
    }
}

#[tokio::test]
async fn nothing_of_the_variables_is_visible_and_they_are_removed_at_the_end() {
    let host = scripted(
        "touch $here/begun; until [ -e $here/released ]; do sleep 0.02; done; exit 3",
        |_| (),
    );
    let secret = "s3cr3t-value-nobody-may-see";
    let mut given = job(3, "play.yml");
    given
        .variables
        .insert("api_token".to_owned(), Variable::Text(secret.to_owned()));
    host.runner.launch(&given).await.unwrap();
    until_exists(&host.path("begun")).await;

    let variables = host.job_folder(given.id).join("vars.json");
    assert!(
        std::fs::read_to_string(&variables)
            .unwrap()
            .contains(secret)
    );
    assert_eq!(
        std::fs::metadata(&variables).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        std::fs::metadata(host.path("spool/jobs"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    let session = processes_of(host.supervisor(given.id));
    assert!(session.len() >= 2, "{session:?}");
    for pid in session {
        for file in ["cmdline", "environ"] {
            let shown = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&shown).contains(secret),
                "{file} of {pid}"
            );
        }
    }
    host.release().await;
    assert_eq!(
        story(&host.runner, given.id).await.1,
        JobStatus::Ended { exit_code: 3 }
    );
    assert!(!variables.exists() && !host.job_folder(given.id).join("tmp").exists());
}

#[tokio::test]
async fn the_environment_of_a_play_is_ours() {
    let script = "env > $here/begun; printf '%s\\n' \"$@\" > $here/arguments";
    let host = scripted(script, |options| {
        options.ansible_config = Some("/etc/drover/ansible.cfg".into());
    });
    let asked = job(4, "play.yml");
    host.runner.launch(&asked).await.unwrap();
    story(&host.runner, asked.id).await;
    let found = host.lines("begun");
    for entry in [
        "ANSIBLE_STDOUT_CALLBACK=drover_events",
        "ANSIBLE_CONFIG=/etc/drover/ansible.cfg",
    ] {
        assert!(found.iter().any(|line| line == entry), "{found:?}");
    }
    assert!(
        !found
            .iter()
            .any(|line| line.starts_with("CARGO") || line.starts_with("NEXTEST")),
        "{found:?}"
    );
    let variables = host
        .job_folder(asked.id)
        .join("vars.json")
        .display()
        .to_string();
    let playbook = host
        .path("playbooks/play.yml")
        .canonicalize()
        .unwrap()
        .display()
        .to_string();
    assert_eq!(
        host.lines("arguments"),
        ["-e", &format!("@{variables}"), "--", &playbook]
    );
}

#[tokio::test]
async fn a_supervisor_that_is_told_to_stop_still_records_how_the_play_ended() {
    let host = scripted(
        "touch $here/begun; until [ -e $here/released ]; do sleep 0.02; done; kill -TERM $$",
        |_| (),
    );
    let waiting = job(5, "play.yml");
    host.runner.launch(&waiting).await.unwrap();
    until_exists(&host.path("begun")).await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill(host.supervisor(waiting.id), signal);
    }
    host.release().await;
    assert_eq!(
        story(&host.runner, waiting.id).await.1,
        JobStatus::Ended { exit_code: -15 }
    );
}

#[tokio::test]
async fn a_play_whose_supervisor_died_is_still_running_and_can_be_stopped() {
    let host = scripted("touch $here/begun; sleep 60 & wait", |_| ());
    let orphan = job(6, "play.yml");
    host.runner.launch(&orphan).await.unwrap();
    until_exists(&host.path("begun")).await;
    let session = host.supervisor(orphan.id);
    kill(session, Signal::KILL);
    eventually(PATIENCE, || async {
        let left = processes_of(session);
        if left.contains(&session) {
            Err(format!("{left:?}"))
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(
        host.runner.status(orphan.id).await.unwrap(),
        JobStatus::Running
    );
    host.runner.cancel(orphan.id).await.unwrap();
    assert_eq!(processes_of(session), Vec::<i32>::new());
    assert_eq!(
        host.runner.status(orphan.id).await.unwrap(),
        JobStatus::Lost
    );
}

#[tokio::test]
async fn a_stopped_real_play_leaves_no_process() {
    let host = ControlHost::local(|_| ());
    host.arrange("wait.yml", Play::Waits).await;
    let waiting = job(7, "wait.yml");
    host.runner.launch(&waiting).await.unwrap();
    until_waiting(&host, 1).await;
    let session = host.supervisor(waiting.id);
    assert!(processes_of(session).len() >= 3);
    host.runner.cancel(waiting.id).await.unwrap();
    assert_eq!(processes_of(session), Vec::<i32>::new());
}

#[tokio::test]
async fn a_play_that_takes_too_long_is_stopped_and_says_so() {
    let host = scripted("sleep 60", |options| {
        options.max_runtime = Duration::from_secs(1);
    });
    let slow = job(8, "play.yml");
    host.runner.launch(&slow).await.unwrap();
    let (_, status) = story(&host.runner, slow.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: -2 });
    let said = host.runner.diagnostics(slow.id).await.unwrap();
    assert_eq!(said, "drover stopped the play: it ran longer than 1 s");
}

#[tokio::test]
async fn a_play_that_says_nothing_for_too_long_is_stopped() {
    let host = scripted("echo loud >&2; sleep 60", |options| {
        options.max_idle = Some(Duration::from_secs(1));
    });
    let silent = job(9, "play.yml");
    host.runner.launch(&silent).await.unwrap();
    assert_eq!(
        story(&host.runner, silent.id).await.1,
        JobStatus::Ended { exit_code: -2 }
    );
    let said = host.runner.diagnostics(silent.id).await.unwrap();
    assert_eq!(
        said,
        "loud\ndrover stopped the play: it said nothing for 1 s"
    );
}

#[tokio::test]
async fn error_output_is_shown_bounded_and_visible() {
    let host = scripted(
        "head -c 300000 /dev/zero | tr '\\0' x >&2; printf '\\nlast \\033[31mline\\n' >&2; exit 1",
        |_| (),
    );
    let loud = job(10, "play.yml");
    host.runner.launch(&loud).await.unwrap();
    assert_eq!(
        story(&host.runner, loud.id).await.1,
        JobStatus::Ended { exit_code: 1 }
    );
    let said = host.runner.diagnostics(loud.id).await.unwrap();
    assert!(
        said.ends_with("\nlast \\u{1b}[31mline") && said.chars().count() <= 4_000,
        "{} characters",
        said.len()
    );
}

#[tokio::test]
async fn many_events_are_told_in_pieces_and_a_torn_line_waits_for_its_end() {
    let line = r#"{\"at\":1,\"kind\":\"ok\",\"message\":\"m\"}"#;
    let script = format!(
        "i=0; while [ $i -lt 1200 ]; do echo \"{line}\"; i=$((i+1)); done >> $DROVER_EVENTS_FILE\n\
         printf '{{\"at\":2,' >> $DROVER_EVENTS_FILE; touch $here/begun\n\
         until [ -e $here/released ]; do sleep 0.02; done; echo '\"kind\":\"changed\"}}' >> $DROVER_EVENTS_FILE"
    );
    let host = scripted(&script, |_| ());
    let many = job(11, "play.yml");
    host.runner.launch(&many).await.unwrap();
    until_exists(&host.path("begun")).await;
    let first = host
        .runner
        .follow(many.id, Place::default(), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(first.events.len(), 500);
    let half = host
        .runner
        .follow(many.id, Place::at(first.offset, 500), Duration::ZERO)
        .await
        .unwrap();
    let rest = host
        .runner
        .follow(many.id, Place::at(half.offset, 1000), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((half.events.len(), rest.events.len()), (500, 200));
    let torn = host
        .runner
        .follow(many.id, Place::at(rest.offset, 1200), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((torn.events.len(), torn.offset), (0, rest.offset));
    host.release().await;
    let (events, _) = story(&host.runner, many.id).await;
    assert_eq!(
        (events.len(), events[1200].kind, events[1200].sequence),
        (1201, JobEventKind::Changed, 1200)
    );
}

#[tokio::test]
async fn a_missing_ansible_is_named() {
    let host =
        ControlHost::local(|options| options.ansible_playbook = "ansible-playbook-9000".to_owned());
    host.write("playbooks/play.yml", "[]\n");
    for refusal in [
        host.runner.probe().await.map(drop),
        host.runner.launch(&job(12, "play.yml")).await,
    ] {
        let refusal = refusal.unwrap_err();
        let source = std::error::Error::source(&refusal).unwrap().to_string();
        assert_eq!(
            source,
            "`ansible-playbook-9000` is not installed on the control host"
        );
    }
    assert_eq!(
        host.runner.status(job(12, "").id).await.unwrap(),
        JobStatus::Absent
    );
}

#[tokio::test]
async fn playbooks_outside_the_folder_are_neither_listed_nor_run() {
    let host = scripted("exit 0", |_| ());
    host.write("outside.yml", "secret: x\n");
    std::os::unix::fs::symlink(host.path("outside.yml"), host.path("playbooks/link.yml")).unwrap();
    std::os::unix::fs::symlink(
        host.path("playbooks/play.yml"),
        host.path("playbooks/same.yml"),
    )
    .unwrap();
    std::fs::create_dir(host.path("playbooks/folder.yml")).unwrap();
    host.write("playbooks/long.yml", &"# line\n".repeat(400));
    std::fs::write(host.path("playbooks/raw.yml"), b"\xff\xfe").unwrap();
    let listed = host.runner.playbooks().await.unwrap();
    let names: Vec<&str> = listed.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["long.yml", "play.yml", "raw.yml", "same.yml"]);
    assert_eq!(listed[0].head.as_ref().unwrap().lines().count(), 150);
    assert_eq!(listed[2].head, Err("it is not UTF-8 text".to_owned()));
    let outside: PlaybookJob = job(13, "link.yml");
    assert!(host.runner.launch(&outside).await.is_err());
}
