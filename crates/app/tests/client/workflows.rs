//! Starting, looking at and steering workflows.

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const ID: &str = "0190b3a4-7c00-7000-8000-000000000000";
const BUILD: &str = "0190b3a4-7c00-7000-8000-000000000002";

fn workflow(status: &str) -> Value {
    json!({
        "id": ID, "name": "re\u{1b}[2Jlease", "status": status, "execution_mode": "dag",
        "definition": {"name": "release", "version": 3}, "progress": 50,
        "tasks": {"total": 2, "open": 1, "failed": 0}, "labels": {"env": "prod"}, "parent_task_id": null,
        "error": null, "requested_by": "admin", "created_at": "2020-01-01T00:00:00.000Z",
        "started_at": "2020-01-01T00:00:00.000Z", "finished_at": "2020-01-01T00:00:02.500Z",
        "input": null, "output": null, "output_truncated": false,
    })
}

fn task(id: &str, key: &str, status: &str, on: &[&str]) -> Value {
    json!({
        "id": id, "workflow_id": ID, "key": key, "kind": "timer", "status": status, "attempt": 1,
        "queue": "default", "priority": 0, "guarantee": "g0", "depends_on": on, "undoes_task_id": null,
        "concurrency_keys": [], "timeout_s": 300.0, "deadline_at": null, "worker": null, "error": null,
        "started_at": "2020-01-01T00:00:00.000Z", "finished_at": "2020-01-01T00:00:01.000Z",
    })
}

fn tasks() -> Vec<Value> {
    let fetch = "0190b3a4-7c00-7000-8000-000000000001";
    let mut build = task(BUILD, "build", "failed", &["fetch"]);
    let more = json!({
        "attempt": 2, "worker": "web1-4711",
        "error": {"code": "status_503", "message": "the peer said \u{1b}[31mno"},
    });
    if let (Some(build), Value::Object(more)) = (build.as_object_mut(), more) {
        build.extend(more);
    }
    vec![task(fetch, "fetch", "succeeded", &[]), build]
}

/// A service with this one workflow.
fn service(asked: &Asked) -> (u16, Value) {
    let path = asked.line.split('?').next().unwrap();
    let state = |status: &str| (200, json!({"id": ID, "status": status}));
    match path {
        "POST /api/v1/workflows" => (202, json!({"id": ID})),
        "GET /api/v1/workflows" => (
            200,
            json!({"items": [workflow("failed")], "next_cursor": "more"}),
        ),
        _ if path == format!("GET /api/v1/workflows/{ID}") => (200, workflow("failed")),
        _ if path == format!("GET /api/v1/workflows/{ID}/tasks") => {
            (200, json!({"items": tasks(), "next_cursor": null}))
        }
        _ if path.ends_with("/pause") => state("paused"),
        _ if path.ends_with("/cancel") => state("cancelling"),
        _ if path.starts_with("POST ") => state("running"),
        other => (404, json!({"title": "Not found", "detail": other})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yaml_file_is_sent_with_what_was_typed_in_its_place() {
    let stub = Stub::start(service).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.yml");
    let text = "name: nightly\nlabels: { env: test, site: spb }\ntasks:\n  - key: a\n    kind: timer\n    payload: { seconds: 1 }\n";
    std::fs::write(&path, text).unwrap();
    let more = [
        "--name",
        "tonight",
        "--label",
        "env=prod",
        "--label",
        "by=me=you",
        "--input",
        "{\"a\": [1, null]}",
        "--idempotency-key",
        "k1",
    ];
    let file = ["workflows", "start", path.to_str().unwrap()];
    let done = stub.drover(&[&file[..], &more].concat());
    assert_eq!((done.code, done.out.trim()), (Some(0), ID), "{}", done.err);
    assert!(
        done.err.contains(&format!("drover workflows watch {ID}")),
        "{}",
        done.err
    );
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.line, "POST /api/v1/workflows");
    assert_eq!(asked.idempotency_key.as_deref(), Some("k1"));
    assert_eq!(
        asked.body,
        json!({
            "name": "tonight", "labels": {"env": "prod", "site": "spb", "by": "me=you"},
            "input": {"a": [1, null]},
            "tasks": [{"key": "a", "kind": "timer", "payload": {"seconds": 1}}],
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_and_stored_definitions_start_workflows_too() {
    let stub = Stub::start(service).await;
    let body = json!({"tasks": [{"key": "a", "kind": "timer", "payload": {"seconds": 0.5}}]});
    let done = stub.drover_reading(
        &["workflows", "start", "-", "-o", "json"],
        &body.to_string(),
    );
    assert_eq!(
        (done.code, done.json()),
        (Some(0), json!({"id": ID})),
        "{}",
        done.err
    );
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.body, body);
    assert_eq!(asked.idempotency_key.unwrap().len(), 32);

    for (given, sent) in [
        ("release", json!({"name": "release"})),
        ("release@3", json!({"name": "release", "version": 3})),
    ] {
        let done = stub.drover(&["workflows", "start", "--definition", given]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert_eq!(
            stub.asked().pop().unwrap().body,
            json!({"definition": sent})
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_is_never_sent() {
    let stub = Stub::start(service).await;
    for (text, words) in [
        ("{\"tasks\": [}", "is no JSON"),
        ("tasks:\n - a\n  - b: [", "is no YAML"),
        ("- a\n- b\n", "is no object"),
        ("", "is no object"),
        (&" ".repeat(1_100_000), "has more than 1048576 bytes"),
    ] {
        let done = stub.drover_reading(&["workflows", "start", "-"], text);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{words}: {}",
            done.err
        );
        assert!(
            done.err.contains("standard input") && done.err.contains(words),
            "{}",
            done.err
        );
    }
    assert!(stub.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_listed_as_far_as_wanted() {
    let stub = Stub::start(service).await;
    let filters = [
        "--status",
        "needs_human",
        "--name",
        "nightly run",
        "--label",
        "env=prod",
        "--label",
        "site=spb",
    ];
    let list = ["workflows", "list", "--limit", "1"];
    let done = stub.drover(&[&list[..], &filters].concat());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        stub.asked().pop().unwrap().line,
        "GET /api/v1/workflows?status=needs_human&name=nightly+run&labels=env%3Aprod%2Csite%3Aspb&limit=1"
    );
    let lines = done.lines();
    assert_eq!(lines[0], "ID STATUS DONE AGE NAME");
    assert!(
        lines[1].starts_with(&format!("{ID} ✗ failed 50% ")),
        "{}",
        done.out
    );
    assert!(lines[1].ends_with("d re\\u{1b}[2Jlease"), "{}", done.out);
    assert_eq!((lines.len(), stub.asked().len()), (2, 1));

    let done = stub.drover(&[&list[..], &["-o", "json"]].concat());
    assert_eq!(
        done.json(),
        json!({"items": [workflow("failed")], "next_cursor": null})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_drawn() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["workflows", "show", ID]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(
        lines,
        [
            &format!("workflow      {ID}"),
            "name          re\\u{1b}[2Jlease",
            "status        ✗ failed  50%, 1 of 2 tasks ended",
            "definition    release@3",
            "labels        env=prod",
            "requested by  admin",
            "created       2020-01-01T00:00:00.000Z",
            "started       2020-01-01T00:00:00.000Z  (2.5s)",
            "finished      2020-01-01T00:00:02.500Z",
            "",
            "✓ fetch  succeeded      1.0s",
            "✗ build  failed     #2  1.0s  web1-4711",
            "    status_503: the peer said \\u{1b}[31mno",
        ]
    );
    let done = stub.drover(&["workflows", "show", ID, "-o", "json"]);
    assert_eq!(
        done.json(),
        json!({"workflow": workflow("failed"), "tasks": tasks()})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_asks_for_what_it_says() {
    let stub = Stub::start(service).await;
    let base = format!("POST /api/v1/workflows/{ID}");
    for (arguments, line, body) in [
        (&["cancel", ID][..], format!("{base}/cancel"), json!({})),
        (
            &["cancel", ID, "--reason", "too late"],
            format!("{base}/cancel"),
            json!({"reason": "too late"}),
        ),
        (&["pause", ID], format!("{base}/pause"), json!({})),
        (&["resume", ID], format!("{base}/resume"), json!({})),
        (
            &["retry", ID, "build"],
            format!("{base}/tasks/{BUILD}/retry"),
            json!({}),
        ),
        (
            &["skip", ID, BUILD],
            format!("{base}/tasks/{BUILD}/skip"),
            json!({}),
        ),
        (
            &["signal", ID, "approve", "{\"by\": \"me\"}"],
            format!("{base}/signals/approve"),
            json!({"payload": {"by": "me"}}),
        ),
        (
            &["signal", ID, "../x"],
            format!("{base}/signals/..%2Fx"),
            json!({"payload": null}),
        ),
    ] {
        let done = stub.drover(&[&["workflows"], arguments].concat());
        assert_eq!(
            (done.code, done.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert_eq!(done.lines()[0], "ID STATUS");
        let asked = stub.asked().pop().unwrap();
        assert_eq!((asked.line, asked.body), (line, body), "{arguments:?}");
        assert_eq!(asked.idempotency_key.is_some(), arguments[0] == "signal");
    }
    let done = stub.drover(&["workflows", "retry", ID, "publish"]);
    assert_eq!((done.code, done.out.as_str()), (Some(5), ""));
    assert!(done.err.contains("no task `publish`"), "{}", done.err);
}
