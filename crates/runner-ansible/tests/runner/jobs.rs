//! What a job goes through on its host: callers that die, signals, bounds, secrets. Mostly with a
//! stand-in for `ansible-playbook`, because only the supervision is looked at.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{ControlHost, kill, processes_of, until_exists};
use drover_domain::rollout::job::{JobEventKind, JobStatus, PlaybookJob, Variable};
use drover_ports::{Fault, Place, PlaybookRunner as _, RunnerError};
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

/// The host's Python with `statements` executed before Drover's own program.
fn prepared_python(folder: &Path, statements: &str) -> String {
    let file = folder.join("python");
    let text = format!(
        "#!/usr/bin/python3\nimport os, pwd, runpy, sys\n{statements}\nsys.argv = sys.argv[3:]\n\
         if sys.argv[0] == '-c':\n    exec(sys.argv.pop(1), {{}})\n\
         elif not os.path.exists(sys.argv[0]):\n    sys.exit(2)\n\
         else:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    );
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
    file.display().to_string()
}

async fn home_of_a_play(statements: &str) -> (ControlHost, String) {
    let host = scripted("echo $HOME > $here/home; touch $HOME/written", |options| {
        let folder = options.spool.parent().unwrap().to_owned();
        options.python = prepared_python(
            &folder,
            &statements.replace("HERE", &folder.display().to_string()),
        );
    });
    let asked = job(20, "play.yml");
    host.runner.launch(&asked).await.unwrap();
    assert_eq!(
        story(&host.runner, asked.id).await.1,
        JobStatus::Ended { exit_code: 0 }
    );
    let home = host.lines("home").remove(0);
    (host, home)
}

#[tokio::test]
async fn the_home_of_a_play_is_a_folder_also_when_its_user_has_none() {
    let no_entry = "pwd.getpwuid = lambda number: (_ for _ in ()).throw(KeyError(number))";
    let no_folder = "pwd.getpwuid = lambda _: type('User', (), {'pw_name': 'drover', 'pw_dir': '/home/none/drover'})";
    for user in [no_entry, no_folder] {
        let service =
            "os.makedirs('HERE/service', exist_ok=True)\nos.environ['HOME'] = 'HERE/service'";
        let (host, home) = home_of_a_play(&format!("{user}\n{service}")).await;
        assert_eq!(home, host.path("service").display().to_string());

        let (host, home) =
            home_of_a_play(&format!("{user}\nos.environ['HOME'] = '/home/none/drover'")).await;
        assert_eq!(home, host.path("spool/home").display().to_string());
    }
    let own = "pwd.getpwuid = lambda _: type('User', (), {'pw_name': 'drover', 'pw_dir': 'HERE'})";
    let (host, home) = home_of_a_play(own).await;
    assert_eq!(home, host.folder.path().display().to_string());
}

#[tokio::test]
async fn what_a_control_host_lacks_is_named_before_anything_starts() {
    let absent =
        |change: fn(&mut Options)| scripted("echo 'ansible-playbook [core 2.14.18]'", change);
    for (host, parts) in [
        (
            absent(|options| options.ansible_playbook = "ansible-playbook-9000".to_owned()),
            [
                "`ansible-playbook-9000` is not installed",
                "`ansible.ansible_playbook`",
            ],
        ),
        (
            absent(|options| options.ansible_playbook = "/nowhere/bin/ansible-playbook".to_owned()),
            [
                "`/nowhere/bin/ansible-playbook` is not installed",
                "ansible-core",
            ],
        ),
        (
            absent(|options| options.python = "python-9000".to_owned()),
            ["`python-9000` is not installed", "`ansible.python`"],
        ),
        (
            absent(|options| {
                options.spool = options
                    .spool
                    .parent()
                    .unwrap()
                    .join("ansible-playbook/spool");
            }),
            [
                "ansible-playbook/spool` cannot be written: Not a directory",
                "`ansible.spool`",
            ],
        ),
        (
            absent(|options| options.spool = format!("/proc/{}", "s".repeat(40)).into()),
            ["cannot be written", "`ansible.spool`"],
        ),
    ] {
        for refusal in [
            host.runner.probe().await.map(drop),
            host.runner.launch(&job(12, "play.yml")).await,
        ] {
            let refusal = refusal.unwrap_err();
            let RunnerError::Unfit { reason } = &refusal else {
                unreachable!("{refusal:?}")
            };
            assert!(parts.iter().all(|part| reason.contains(part)), "{reason}");
            assert_eq!(refusal.fault(), Fault::Permanent);
        }
    }
}

#[tokio::test]
async fn a_probe_looks_at_everything_a_launch_needs() {
    for (script, change, part) in [
        (
            "echo 'ansible-playbook [core 2.9.27]'",
            (|_| ()) as fn(&mut Options),
            "2.9.27; 2.14 or newer",
        ),
        (
            "echo 'bad interpreter' >&2; exit 126",
            |_| (),
            "ended with 126: bad interpreter",
        ),
        (
            "exit 0",
            |options| options.playbooks = "/nowhere".into(),
            "`/nowhere` cannot be read",
        ),
        (
            "exit 0",
            |options| options.inventory = Some("/nowhere/hosts".into()),
            "`ansible.inventory`",
        ),
        (
            "exit 0",
            |options| options.ansible_config = Some("/nowhere/ansible.cfg".into()),
            "`ansible.config`",
        ),
    ] {
        let host = scripted(script, change);
        let refusal = host.runner.probe().await.unwrap_err();
        assert!(
            matches!(&refusal, RunnerError::Unfit { reason } if reason.contains(part)),
            "{part}: {refusal:?}"
        );
    }
    let host = scripted("echo 'ansible-playbook [core 2.14.18]'; echo noise", |_| ());
    assert_eq!(
        host.runner.probe().await.unwrap(),
        "ansible-playbook [core 2.14.18]"
    );
    let left = std::fs::read_dir(host.path("spool/tmp")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_program_in_the_path_of_the_service_is_installed() {
    let host = scripted("touch $here/begun", |options| {
        let folder = options.extra_path.remove(0);
        let named = folder.join("ansible-playbook-of-a-venv");
        std::fs::rename(folder.join("ansible-playbook"), named).unwrap();
        options.ansible_playbook = "ansible-playbook-of-a-venv".to_owned();
        options.python = prepared_python(
            &folder,
            &format!(
                "os.environ['PATH'] = 'relative:{}:/usr/bin'",
                folder.display()
            ),
        );
    });
    let asked = job(21, "play.yml");
    host.runner.launch(&asked).await.unwrap();
    assert_eq!(
        story(&host.runner, asked.id).await.1,
        JobStatus::Ended { exit_code: 0 }
    );
    assert!(host.path("begun").exists());
}

#[tokio::test]
async fn a_play_can_make_sockets_however_long_the_path_of_the_spool_is() {
    let script = "echo $TMPDIR > $here/begun; stat -c %a $TMPDIR >> $here/begun; echo $ANSIBLE_LOCAL_TEMP >> $here/begun\n\
                  exec python3 -c \"import os, socket; p = os.environ['TMPDIR'] + '/pymp-12345678/listener-12345678'; \
                  os.mkdir(os.path.dirname(p)); socket.socket(socket.AF_UNIX).bind(p)\"";
    for length in [1, 40, 80, 150] {
        let host = scripted(script, |options| {
            options.spool = options.spool.join("s".repeat(length));
        });
        let asked = job(22, "play.yml");
        host.runner.launch(&asked).await.unwrap();
        let (_, status) = story(&host.runner, asked.id).await;
        let said = host.runner.diagnostics(asked.id).await.unwrap();
        assert_eq!(
            status,
            JobStatus::Ended { exit_code: 0 },
            "{length}: {said}"
        );
        let found = host.lines("begun");
        let [temporary, mode, ansible] = found.as_slice() else {
            unreachable!("{found:?}")
        };
        assert_eq!((mode.as_str(), ansible), ("700", temporary));
        assert!(temporary.len() <= 60, "{temporary}");
        assert!(!Path::new(temporary).exists(), "{temporary} is left");
    }
}

#[tokio::test]
async fn sockets_of_ssh_move_out_of_a_home_whose_path_is_long() {
    let script = "echo ${ANSIBLE_SSH_CONTROL_PATH_DIR:-none} > $here/home; touch $HOME/written";
    for (length, moved) in [(10, false), (120, true)] {
        let host = scripted(script, |options| {
            let folder = options.spool.parent().unwrap().to_owned();
            let home = folder.join("h".repeat(length));
            std::fs::create_dir(&home).unwrap();
            let statements = format!(
                "pwd.getpwuid = lambda _: type('User', (), {{'pw_name': 'drover', 'pw_dir': '{}'}})",
                home.display()
            );
            options.python = prepared_python(&folder, &statements);
        });
        let asked = job(23, "play.yml");
        host.runner.launch(&asked).await.unwrap();
        story(&host.runner, asked.id).await;
        let folder = host.lines("home").remove(0);
        assert_eq!(folder != "none", moved, "{folder}");
        assert!(folder.len() <= 107 - 28, "{folder}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_utf_8_is_listed_with_the_reason() {
    use std::os::unix::ffi::OsStrExt as _;
    let host = scripted("exit 0", |_| ());
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9-orchestrator.yml");
    std::fs::write(host.path("playbooks").join(name), "- hosts: all\n").unwrap();
    let listed = host.runner.playbooks().await.unwrap();
    let found = listed.iter().find(|file| file.name != "play.yml").unwrap();
    assert_eq!(found.name, "caf\u{fffd}-orchestrator.yml");
    assert_eq!(
        found.head,
        Err("its name is not UTF-8 text; rename it".to_owned())
    );

    std::fs::remove_dir_all(host.path("spool")).unwrap();
    let folder = std::ffi::OsStr::from_bytes(b"spool-\xe9");
    std::os::unix::fs::symlink(
        host.path("playbooks").join(name),
        host.path("playbooks/l.yml"),
    )
    .unwrap();
    std::fs::create_dir(host.path("playbooks").join(folder)).unwrap();
    assert_eq!(host.runner.playbooks().await.unwrap().len(), 3);
}

#[tokio::test]
async fn files_without_a_play_are_named_and_long_comments_are_not_the_end() {
    let host = scripted("exit 0", |_| ());
    let comments = "# a comment\n".repeat(9_000);
    for (name, text, is_playbook) in [
        ("a.yml", "", false),
        ("b.yml", "\n\n  \n", false),
        ("c.yml", "---\n# name: nothing\n#\n...\n", false),
        ("d.yml", "\u{feff}# only a comment\r\n", false),
        ("e.yml", "---\n[]\n", false),
        ("f.yml", &comments, false),
        ("g.yml", &format!("{comments}- hosts: all\n"), true),
        ("h.yml", "- hosts: all\n", true),
    ] {
        host.write(&format!("playbooks/{name}"), text);
        let listed = host.runner.playbooks().await.unwrap();
        let file = listed.iter().find(|file| file.name == name).unwrap();
        assert_eq!(file.has_plays, is_playbook, "{name}");
        let reason = file.why_unusable().unwrap_or("it has no play");
        assert!(reason.starts_with("it has no play"), "{name}: {reason}");
    }
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
