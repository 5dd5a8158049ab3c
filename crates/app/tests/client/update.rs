//! Starting an update and watching it.

use std::io::Read as _;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::stub::{Asked, Done, Stub};

const TASK: &str = "0190b3a4-7c00-7000-8000-000000000001";

fn task(status: &str, outcome: &str) -> Value {
    json!({
        "id": TASK, "status": status, "progress": 50, "current_step": null,
        "params": {"app_ids": [1, 2], "distr_url": "http://x/a-1.1.0.zip", "mode": "update"},
        "created_at": "2026-11-21T08:00:00.000Z", "started_at": null, "completed_at": null,
        "result": null, "error": (status == "failed").then_some("the artifact is \u{1b}[31mbroken"),
        "attempt": 1, "requested_by": "admin",
        "targets": [{
            "application_id": 1, "name": "jurws_1", "server": "web1", "batch": "even", "haproxy_server": "s1",
            "outcome": outcome, "detail": null, "version_before": "1.0.0", "version_after": "1.1.0",
        }],
        "runs": [], "left_drained": [],
    })
}

fn event(sequence: i64, message: &str) -> Value {
    json!({"sequence": sequence, "at": "2026-11-21T08:00:01.000Z", "kind": "ok", "play": "Even", "task": "drain",
        "host": "web1", "instance": "web1::jurws_1", "status": "drained", "message": message})
}

/// A service whose task is processing twice and then ends as `ending`.
fn ends(ending: &'static str) -> impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static {
    let looks = AtomicUsize::new(0);
    move |asked| {
        let path = asked.line.split(['?']).next().unwrap();
        match path {
            "GET /api/v1/applications" => (
                200,
                json!({"items": [{"id": 1}, {"id": 2}], "next_cursor": null}),
            ),
            "POST /api/v1/rollouts" => (
                202,
                json!({"rollout_ids": [TASK], "warnings": ["joined the group `jurws`: `jurws_9` on evil\u{1b}[2J"]}),
            ),
            _ if path.ends_with("/events") => {
                let events = if asked.line.contains("cursor=two") {
                    json!({"items": [event(2, "second")], "next_cursor": "three"})
                } else if asked.line.contains("cursor=three") {
                    json!({"items": [], "next_cursor": null})
                } else {
                    json!({"items": [event(1, "first\u{1b}")], "next_cursor": "two"})
                };
                (200, events)
            }
            _ => match looks.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => (200, task("processing", "draining")),
                _ => (200, task(ending, "done")),
            },
        }
    }
}

const UPDATE: [&str; 6] = [
    "rollout",
    "start",
    "--group",
    "jurws",
    "--distr-url",
    "http://x/a-1.1.0.zip",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    UPDATE.iter().copied().chain(more.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_becomes_the_numbers_of_its_applications() {
    let stub = Stub::start(ends("completed")).await;
    let more = [
        "--mode",
        "deliver",
        "--orchestrator",
        "o.yml",
        "--drain-minutes",
        "0.5",
        "--idempotency-key",
        "k1",
    ];
    let done = stub.drover(&with(&more));
    assert_eq!(
        (done.code, done.out.trim()),
        (Some(0), TASK),
        "{}",
        done.err
    );
    let asked = stub.asked();
    assert_eq!(
        asked[0].line,
        "GET /api/v1/applications?group=jurws&limit=200"
    );
    assert_eq!(
        asked[1].body,
        json!({"app_ids": [1, 2], "distr_url": "http://x/a-1.1.0.zip", "mode": "deliver",
            "orchestrator_playbook": "o.yml", "drain_wait_time": 0.5})
    );
    assert_eq!(asked[1].idempotency_key.as_deref(), Some("k1"));
    assert!(
        done.err
            .contains("joined the group `jurws`: `jurws_9` on evil\\u{1b}[2J"),
        "{}",
        done.err
    );

    let done = stub.drover(&[
        "rollout",
        "start",
        "--app",
        "3",
        "4",
        "--distr-url",
        "u",
        "--json",
    ]);
    assert_eq!(done.json()["rollout_ids"], json!([TASK]));
    let last = stub.asked().pop().unwrap();
    assert_eq!(last.body, json!({"app_ids": [3, 4], "distr_url": "u"}));
    assert_eq!(last.idempotency_key.unwrap().len(), 32);

    let done = stub.drover(&[
        "rollout",
        "start",
        "--app",
        "3",
        "--distr-url",
        "u",
        "--allow-undrained",
    ]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let last = stub.asked().pop().unwrap();
    assert_eq!(
        last.body,
        json!({"app_ids": [3], "distr_url": "u", "allow_undrained": true})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_group_starts_nothing() {
    let stub = Stub::start(|_| (200, json!({"items": [], "next_cursor": null}))).await;
    let done = stub.drover(&UPDATE);
    assert_eq!(
        (done.code, done.out.as_str(), stub.asked().len()),
        (Some(5), "", 2)
    );
    assert_eq!(done.err, "drover: there is no group `jurws`\n");
    let stub = Stub::start(|asked| {
        let items = if asked.line.contains("application-groups") {
            json!([{"id": 3, "name": "jurws"}])
        } else {
            json!([])
        };
        (200, json!({"items": items, "next_cursor": null}))
    })
    .await;
    let done = stub.drover(&UPDATE);
    assert_eq!((done.code, done.out.as_str()), (Some(5), ""));
    assert!(
        done.err.contains("the group `jurws` has no applications"),
        "{}",
        done.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_how_a_watched_update_ended() {
    for (ending, code) in [
        ("completed", 0),
        ("failed", 1),
        ("cancelled", 3),
        ("unknown", 9),
    ] {
        let stub = Stub::start(ends(ending)).await;
        let done = stub.drover(&with(&["--watch"]));
        assert_eq!(done.code, Some(code), "{ending}: {}", done.err);
        let lines = done.lines();
        assert_eq!(lines[1], format!("status {ending}"));
        assert!(
            lines.contains(&"jurws_1 web1 even s1 done 1.0.0 1.1.0 -".to_owned()),
            "{}",
            done.out
        );
        if ending == "failed" {
            assert!(
                done.out.contains("the artifact is \\u{1b}[31mbroken"),
                "{}",
                done.out
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_each_event_is_one_line_told_once() {
    let stub = Stub::start(ends("completed")).await;
    let done = stub.drover(&with(&["--watch"]));
    let lines: Vec<&str> = done.err.lines().collect();
    assert_eq!(
        lines,
        [
            "joined the group `jurws`: `jurws_9` on evil\\u{1b}[2J",
            format!("update of 2 applications accepted as {TASK}").as_str(),
            "2026-11-21T08:00:01.000Z  ok  web1  Even  drain  web1::jurws_1  drained  first\\u{1b}",
            "2026-11-21T08:00:01.000Z  ok  web1  Even  drain  web1::jurws_1  drained  second",
            &format!("rollout {TASK}  processing"),
            &format!("rollout {TASK}  completed"),
        ]
    );
    assert!(!done.err.contains('\u{1b}') && !done.out.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_update_is_json_for_programs() {
    let stub = Stub::start(ends("failed")).await;
    let done = stub.drover(&with(&["--watch", "--json"]));
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert_eq!(
        done.json(),
        json!({"items": [task("failed", "done")], "next_cursor": null})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_runs_out_is_7_and_says_that_the_update_goes_on() {
    let stub = Stub::start(ends("processing")).await;
    let done = stub.drover(&with(&["--watch", "--timeout", "1"]));
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(7), ""),
        "{}",
        done.err
    );
    assert!(
        done.err.contains(&format!(
            "the rollout goes on: `drover rollout show {TASK} --watch`"
        )),
        "{}",
        done.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_detaches_and_leaves_the_update_alone() {
    let stub = Stub::start(ends("processing")).await;
    let mut child = stub.start_drover(&["rollout", "show", TASK, "--watch"]);
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    // The first line says that watching has begun, so the interrupt is waited for.
    while !said.contains("processing") {
        let mut piece = [0; 256];
        let length = stderr.read(&mut piece).unwrap();
        assert!(length > 0, "{said}");
        said.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    interrupt(&child);
    stderr.read_to_string(&mut said).unwrap();
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.out.as_str()), (Some(130), ""), "{said}");
    assert!(said.contains("detached; the rollout goes on"), "{said}");
    assert!(
        stub.asked()
            .iter()
            .all(|asked| asked.line.starts_with("GET "))
    );
}

fn interrupt(child: &Child) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the standard library sends no signals"
    )]
    let sent = std::process::Command::new("kill")
        .arg("-INT")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_restarts_is_waited_for() {
    let looks = AtomicUsize::new(0);
    let inner = ends("completed");
    let stub = Stub::start(move |asked| match looks.fetch_add(1, Ordering::Relaxed) {
        3 | 4 => (
            503,
            json!({"title": "Unavailable", "detail": "the database does not answer"}),
        ),
        _ => inner(asked),
    })
    .await;
    let done = stub.drover(&["rollout", "show", TASK, "--watch"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(
        done.err
            .matches("the database does not answer; trying again")
            .count(),
        1,
        "{}",
        done.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_shown_with_its_parts() {
    let stub = Stub::start(|_| (200, task("failed", "rolled_back"))).await;
    let done = stub.drover(&["rollout", "show", TASK]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let lines = done.lines();
    assert_eq!(lines[0], format!("rollout {TASK}"));
    assert!(
        lines.contains(&"error the artifact is \\u{1b}[31mbroken".to_owned()),
        "{}",
        done.out
    );
    assert_eq!(
        stub.drover(&["rollout", "show", TASK, "-o", "json"]).json(),
        task("failed", "rolled_back")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_waits_says_for_what() {
    let looks = AtomicUsize::new(0);
    let inner = ends("completed");
    let stub = Stub::start(move |asked| {
        let is_task = asked.line == format!("GET /api/v1/rollouts/{TASK}");
        if is_task && looks.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut task = task("pending", "pending");
            task["current_step"] = "waits for the update 7 of the group shop".into();
            return (200, task);
        }
        inner(asked)
    })
    .await;
    let done = stub.drover(&["rollout", "show", TASK, "--watch"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let line = format!("rollout {TASK}  pending  waits for the update 7 of the group shop");
    assert!(done.err.lines().any(|shown| shown == line), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_batches_and_warnings_and_starts_nothing() {
    let digest = "0000000000000001-0000000000000002-0000000000000003-0000000000000004";
    let stub = Stub::start(move |asked: &Asked| match asked.line.as_str() {
        "POST /api/v1/rollouts:plan" => (
            200,
            json!({"plan": digest, "targets": 2, "warnings": ["a\u{1b}[2J warning"], "rollouts": [{
                "playbook_path": "update-app.yml", "runs": [{
                    "orchestrator_playbook": "o.yml", "backend": {"haproxy": "main", "name": "web"},
                    "parameters": {"distr_url": "u"},
                    "batches": [
                        {"batch": "even", "targets": [{"application_id": 1, "name": "jurws_1", "server": "web1",
                            "haproxy_server": "s1", "version": "1.0.0"}],
                         "capacity": [{"backend": "web", "serving": 2, "left": 1, "below_min_ready": false}]},
                        {"batch": "odd", "targets": [{"application_id": 2, "name": "jurws_2", "server": "web2",
                            "haproxy_server": null, "version": null}],
                         "capacity": [{"backend": "web", "serving": 2, "left": 0, "below_min_ready": true}]},
                    ]}]}]}),
        ),
        "POST /api/v1/rollouts" => (
            409,
            json!({"type": "about:blank", "title": "What was planned has changed", "status": 409, "code": "plan_stale",
                "detail": "the plan is stale: a playbook file changed", "errors": []}),
        ),
        other => panic!("{other}"),
    })
    .await;
    let done = stub.drover(&["rollout", "plan", "--app", "1", "2", "--distr-url", "u"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    for wanted in [
        "backend           web of the HAProxy main",
        "batch even        backend web keeps 1 of 2 servers that take requests",
        "batch odd         backend web keeps 0 of 2 servers that take requests: the drain will be refused",
        "jurws_2",
    ] {
        assert!(done.out.contains(wanted), "{wanted}: {}", done.out);
    }
    assert!(!done.out.contains("parameter "), "{}", done.out);
    assert!(
        done.out.ends_with(&format!("--plan {digest}\n")),
        "{}",
        done.out
    );
    assert!(
        done.err.contains("warning: a\\u{1b}[2J warning"),
        "{}",
        done.err
    );

    let start = [
        "rollout",
        "start",
        "--app",
        "1",
        "2",
        "--distr-url",
        "u",
        "--plan",
        digest,
    ];
    let done = stub.drover(&start);
    assert_eq!(done.code, Some(6), "{}", done.err);
    assert!(done.err.contains("a playbook file changed"), "{}", done.err);
    let last = stub.asked().pop().unwrap();
    assert_eq!(
        last.body,
        json!({"app_ids": [1, 2], "distr_url": "u", "plan": digest})
    );
}
