//! What the events of a real play report, and what they hide.

use crate::support::ControlHost;
use drover_domain::rollout::job::{InventoryHost, JobEvent, JobEventKind, JobStatus, Variable};
use drover_domain::rollout::record::TargetOutcome;
use drover_ports::PlaybookRunner as _;
use drover_testkit::runner::{job, story};
use serde_json::json;

/// One play with a bit of everything; most of its seconds are Ansible's own.
const PLAYBOOK: &str = r#"
- name: Everything
  hosts: localhost:gone
  gather_facts: false
  tasks:
    - name: Reach
      ansible.builtin.ping:
      when: inventory_hostname == 'gone'
    - name: Secrets
      ansible.builtin.debug:
        msg: "api_token={{ api_token }} {{ api_token }} password: hunter2 http://me:pw@host/x {{ {'db_password': 'p', 'n': 1} }}"
    - name: Long
      ansible.builtin.debug:
        msg: "{{ 'ab ' * 5000 }}"
    - name: Items
      ansible.builtin.debug:
        msg: "told {{ item }}"
      loop: [one, two]
      failed_when: item == 'two'
      ignore_errors: true
    - name: Report
      ansible.builtin.debug:
        msg:
          drover_report:
            - {composite: "w::a::s", outcome: drained, detail: "0 sessions"}
            - {composite: "w::b::t", outcome: nonsense}
    - name: Skip
      ansible.builtin.debug:
      when: false
    - name: Command
      ansible.builtin.command: sh -c 'echo the reason >&2; exit 7'
      retries: 1
      delay: 0
      register: tried
      until: tried.rc == 0
"#;

fn said<'a>(events: &'a [JobEvent], kind: JobEventKind, task: &str) -> Vec<&'a str> {
    let fits = |event: &&JobEvent| event.kind == kind && event.task.as_deref() == Some(task);
    events
        .iter()
        .filter(fits)
        .filter_map(|event| event.message.as_deref())
        .collect()
}

#[tokio::test]
async fn events_tell_reasons_and_reports_and_no_secrets() {
    let host = ControlHost::local(|options| {
        options.inventory = Some(options.spool.with_file_name("inventory.yml"));
    });
    host.write("playbooks/all.yml", PLAYBOOK);
    host.write(
        "inventory.yml",
        "all: {hosts: {gone: {ansible_port: 1, ansible_ssh_timeout: 3}}}\n",
    );
    let mut everything = job(1, "all.yml");
    everything.hosts.push(InventoryHost {
        name: "gone".to_owned(),
        address: "127.0.0.1".to_owned(),
    });
    // Without a name that gives it away in the text, only its value can be recognized.
    everything.variables.insert(
        "api_token".to_owned(),
        Variable::Text("tok-12345".to_owned()),
    );
    host.runner.launch(&everything).await.unwrap();
    let (events, status) = story(&host.runner, everything.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: 4 }, "{events:#?}");

    let unreachable = said(&events, JobEventKind::Unreachable, "Reach");
    assert!(
        unreachable
            .iter()
            .any(|text| text.contains("127.0.0.1 port 1")),
        "{unreachable:?}"
    );
    let secrets = said(&events, JobEventKind::Ok, "Secrets");
    assert_eq!(
        secrets,
        ["api_token=*** *** password: *** http://***@host/x {'db_password': '***', 'n': 1}"]
    );
    let raw = std::fs::read_to_string(host.job_folder(everything.id).join("events.jsonl")).unwrap();
    assert!(
        !raw.contains("tok-12345") && !raw.contains("hunter2") && !raw.contains("invocation"),
        "{raw}"
    );
    let long = said(&events, JobEventKind::Ok, "Long");
    assert_eq!(
        long.iter()
            .map(|text| text.chars().count())
            .collect::<Vec<_>>(),
        [JobEvent::MESSAGE_MAX]
    );
    assert_eq!(said(&events, JobEventKind::Ok, "Items"), ["one: told one"]);
    assert_eq!(
        said(&events, JobEventKind::Ignored, "Items"),
        ["two: told two"]
    );
    let reports: Vec<_> = events
        .iter()
        .filter_map(|event| event.report.as_ref())
        .collect();
    assert_eq!(
        reports
            .iter()
            .map(|report| (report.composite.as_str(), report.outcome))
            .collect::<Vec<_>>(),
        [("w::a::s", TargetOutcome::Drained)]
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| event.kind == JobEventKind::Skipped)
            .count(),
        2,
        "{events:#?}"
    );
    assert_eq!(
        said(&events, JobEventKind::Retry, "Command"),
        ["try 1 of 1 failed"]
    );
    assert_eq!(
        said(&events, JobEventKind::Failed, "Command"),
        ["non-zero return code: the reason"]
    );
    let counted = &events.last().unwrap().stats;
    let counts: Vec<_> = counted
        .iter()
        .map(|host| {
            (
                host.host.as_str(),
                host.unreachable,
                host.failed,
                host.ignored,
            )
        })
        .collect();
    assert_eq!(counts, [("gone", 1, 0, 0), ("localhost", 0, 1, 1)]);
}

#[tokio::test]
async fn what_is_too_much_is_cut_with_a_mark_and_the_verdict_is_kept() {
    let host = ControlHost::local(|_| ());
    let many = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - debug: {msg: \"{{ item }}\"}\n      \
                loop: \"{{ range(40) | list }}\"\n    - fail: {msg: the end}\n";
    host.write("playbooks/many.yml", many);
    let events = host.path("events");
    #[expect(
        clippy::disallowed_methods,
        reason = "the bound is the plugin's, so it is run without a job"
    )]
    let ended = std::process::Command::new("ansible-playbook")
        .arg(host.path("playbooks/many.yml"))
        .env("ANSIBLE_CALLBACK_PLUGINS", plugin_folder(&host))
        .env("ANSIBLE_STDOUT_CALLBACK", "drover_events")
        .env("DROVER_EVENTS_FILE", &events)
        .env("DROVER_EVENTS_MAX", "20")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let kinds: Vec<String> = host
        .lines("events")
        .iter()
        .map(|line| {
            line.split("\"kind\": \"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "truncated").count(), 1);
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds.get(20..), Some(&["truncated", "failed", "stats"][..]));
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_do_not_cost_an_event_or_a_report() {
    let host = ControlHost::local(|_| ());
    let program = "import sys\n(sys.stdout if sys.argv[1] == '0' else sys.stderr)\
                   .buffer.write(b'gar\\xe7on \\xf0\\x9f\\x98\\x80\\n')\nsys.exit(int(sys.argv[1]))\n";
    host.write("say.py", program);
    let say = host.path("say.py").display().to_string();
    host.write(
        "playbooks/raw.yml",
        &format!(
            "- name: Raw\n  hosts: localhost\n  gather_facts: false\n  tasks:\n\
             \x20   - {{name: Say, command: 'python3 {say} 0', register: said}}\n\
             \x20   - {{name: Report, debug: {{msg: {{drover_report: [{{composite: 'w::a', outcome: done, detail: '{{{{ said.stdout }}}}'}}]}}}}}}\n\
             \x20   - {{name: Fail, command: 'python3 {say} 3'}}\n"
        ),
    );
    let raw = job(3, "raw.yml");
    host.runner.launch(&raw).await.unwrap();
    let (events, status) = story(&host.runner, raw.id).await;
    assert_eq!(status, JobStatus::Ended { exit_code: 2 }, "{events:#?}");
    assert!(
        events
            .iter()
            .all(|event| event.kind != JobEventKind::Truncated),
        "{events:#?}"
    );
    let report = events
        .iter()
        .find_map(|event| event.report.as_ref())
        .unwrap();
    assert_eq!(report.outcome, TargetOutcome::Done);
    assert_eq!(report.detail.as_deref(), Some("gar\u{fffd}on \u{1f600}"));
    assert_eq!(
        said(&events, JobEventKind::Failed, "Fail"),
        ["non-zero return code: gar\u{fffd}on \u{1f600}"]
    );
}

/// What each task of the recorded plays failed of, in the same words on all versions.
const REASONS: [(&str, &str); 13] = [
    ("Command", "non-zero return code: err-text"),
    ("Shell", "non-zero return code: only-out"),
    ("Silent", "non-zero return code (exit code 1)"),
    ("Raw", "non-zero return code: raw-err"),
    (
        "Missing",
        "cannot execute `nosuchprogram`: No such file or directory",
    ),
    ("NoLog", HIDDEN),
    ("NoLogFail", HIDDEN),
    ("FailedWhen", "fine"),
    ("FailedWhenRc", "non-zero return code: bad"),
    (
        "Loop",
        "non-zero return code: bad-1; non-zero return code: bad-2",
    ),
    ("NoLogLoop", HIDDEN),
    ("Exit", "the module failed with exit code 9: half a word"),
    ("Own", "own words: E: details"),
];

const HIDDEN: &str =
    "the output has been hidden due to the fact that 'no_log: true' was specified for this result";

/// Prints the reasons of recorded results; Ansible itself is not needed.
const JUDGE: &str = "
import json, sys, types
for name in ('ansible', 'ansible.plugins', 'ansible.plugins.callback'):
    sys.modules[name] = types.ModuleType(name)
sys.modules['ansible.plugins.callback'].CallbackBase = object
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import drover_events
found = {version: {task: drover_events.failure_message(one['result'], one['action']) for task, one in tasks.items()}
         for version, tasks in json.load(open(sys.argv[2])).items()}
print(json.dumps(found))
";

fn reasons_of_recorded_results() -> serde_json::Value {
    reasons_of(&format!(
        "{}/tests/recorded/results.json",
        env!("CARGO_MANIFEST_DIR")
    ))
}

#[expect(clippy::disallowed_methods, reason = "the plugin is Python")]
fn reasons_of(recorded: &str) -> serde_json::Value {
    let folder = env!("CARGO_MANIFEST_DIR");
    let judged = std::process::Command::new("python3")
        .args(["-c", JUDGE])
        .arg(format!("{folder}/src/control_host"))
        .arg(recorded)
        .output()
        .unwrap();
    assert!(judged.status.success(), "{judged:?}");
    let text = String::from_utf8(judged.stdout).unwrap();
    serde_json::from_str(&drover_domain::text::without_lone_surrogates(&text)).unwrap()
}

#[test]
fn a_reason_is_never_what_ssh_or_ansible_adds() {
    let crashed = |stdout: &str, stderr: &str, exception: &str| {
        json!({"action": "boom", "result": {
            "module_stdout": stdout, "module_stderr": stderr, "exception": exception, "rc": 1,
            "msg": "MODULE FAILURE\nSee stdout/stderr for the exact error"}})
    };
    let traceback =
        "Traceback (most recent call last):\r\n  File \"x\", line 1\r\nValueError: boom\r\n";
    let goodbye = "Shared connection to 10.0.0.1 closed.\r\n";
    let other = |result: serde_json::Value| json!({"action": "other", "result": result});
    let cases = json!({"all": {
        "terminal": crashed(traceback, goodbye, traceback),
        "learned": crashed(traceback, "Warning: Permanently added '10.0.0.1' (ED25519) to the list of known hosts.\r\n", traceback),
        "pipelined": crashed("", &format!("{traceback}{goodbye}"), traceback),
        "garbage": crashed("half a word", goodbye, ""),
        "silent": crashed("", goodbye, ""),
        "failed_when": other(json!({"failed_when_result": true, "msg": "", "exception": "(traceback unavailable)"})),
        "unknown": other(json!({"exception": "(traceback unavailable)"})),
        "assert": other(json!({"assertion": "version is defined", "evaluated_to": false, "msg": "Assertion failed"})),
        "own_assert": other(json!({"assertion": "a == b", "evaluated_to": false, "msg": "a differs"})),
    }});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cases.to_string()).unwrap();
    let found = reasons_of(file.path().to_str().unwrap());
    for (case, expected) in [
        (
            "terminal",
            "the module failed with exit code 1: ValueError: boom",
        ),
        (
            "learned",
            "the module failed with exit code 1: ValueError: boom",
        ),
        (
            "pipelined",
            "the module failed with exit code 1: ValueError: boom",
        ),
        ("garbage", "the module failed with exit code 1: half a word"),
        (
            "silent",
            "the module failed with exit code 1: MODULE FAILURE\nSee stdout/stderr for the exact error",
        ),
        ("failed_when", "the task's `failed_when` is true"),
        ("unknown", "no reason was given"),
        ("assert", "Assertion failed: version is defined"),
        ("own_assert", "a differs: a == b"),
    ] {
        assert_eq!(found["all"][case], expected, "{case}");
    }
}

#[test]
fn recorded_results_of_all_versions_give_the_same_reasons() {
    let found = reasons_of_recorded_results();
    let versions = found.as_object().unwrap();
    assert_eq!(
        versions.keys().collect::<Vec<_>>(),
        [
            "2.14", "2.15", "2.16", "2.17", "2.18", "2.19", "2.20", "2.21"
        ]
    );
    for (version, reasons) in versions {
        for (task, expected) in REASONS {
            assert_eq!(reasons[task], expected, "{task} on {version}");
        }
        // The words around it are the version's own.
        let raised = reasons["Raise"].as_str().unwrap();
        assert!(
            raised.ends_with("boom because") && raised.len() < 100,
            "{version}: {raised}"
        );
    }
    for version in ["2.14", "2.15", "2.16", "2.17", "2.18"] {
        assert_eq!(
            versions[version]["RawBytes"],
            "non-zero return code: gar\u{fffd}on"
        );
    }
}

/// The tasks of [`REASONS`] that need no module of the recording's.
const FAILURES: &str = r#"
- name: Failures
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Command, command: "sh -c 'echo err-text >&2; exit 3'", ignore_errors: true}
    - {name: Shell, shell: "echo only-out; exit 4", ignore_errors: true}
    - {name: Silent, command: "false", ignore_errors: true}
    - {name: Raw, raw: "echo raw-err >&2; exit 5", ignore_errors: true}
    - {name: Missing, command: "nosuchprogram x", ignore_errors: true}
    - {name: NoLog, command: "sh -c 'echo s3cret >&2; exit 3'", no_log: true, ignore_errors: true}
    - {name: NoLogFail, fail: {msg: s3cret}, no_log: true, ignore_errors: true}
    - {name: FailedWhen, command: "echo fine", failed_when: true, ignore_errors: true}
    - {name: FailedWhenRc, command: "sh -c 'echo bad >&2; exit 2'", register: r, failed_when: r.rc == 2, ignore_errors: true}
"#;

/// The programs `ansible-playbook` of the versions to try, joined by colons; by default the installed one.
#[expect(
    clippy::disallowed_methods,
    reason = "which versions there are is said from outside"
)]
fn versions() -> Vec<String> {
    let listed = std::env::var("DROVER_TEST_ANSIBLE_PLAYBOOKS").ok();
    let listed = listed.unwrap_or_else(|| "ansible-playbook".to_owned());
    listed.split(':').map(str::to_owned).collect()
}

#[tokio::test]
async fn every_version_that_is_there_gives_the_same_reasons() {
    for program in versions() {
        let host = ControlHost::local(|options| {
            options.ansible_playbook.clone_from(&program);
            options.spool = options
                .spool
                .join("a-spool-with-a-path-that-is-longer-than-sockets-may-have-it");
        });
        host.write("playbooks/failures.yml", FAILURES);
        let version = host.runner.probe().await.unwrap();
        let failures = job(5, "failures.yml");
        host.runner.launch(&failures).await.unwrap();
        let (events, status) = story(&host.runner, failures.id).await;
        let said_by_ansible = host.runner.diagnostics(failures.id).await.unwrap();
        assert_eq!(
            status,
            JobStatus::Ended { exit_code: 0 },
            "{version}: {events:#?} {said_by_ansible}"
        );
        for (task, expected) in REASONS {
            if FAILURES.contains(&format!("name: {task},")) {
                assert_eq!(
                    said(&events, JobEventKind::Ignored, task),
                    [expected],
                    "{task} on {version}"
                );
            }
        }
    }
}

fn plugin_folder(host: &ControlHost) -> std::path::PathBuf {
    let folder = host.path("callback");
    std::fs::create_dir(&folder).unwrap();
    let plugin = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/control_host/drover_events.py"
    );
    std::fs::copy(plugin, folder.join("drover_events.py")).unwrap();
    folder
}
