//! Queues and dead letters.

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const TASK: &str = "0190b3a4-7c00-7000-8000-000000000001";
const WORKFLOW: &str = "0190b3a4-7c00-7000-8000-000000000000";

fn service(asked: &Asked) -> (u16, Value) {
    let limits = |paused: bool| json!({"name": "http", "paused": paused, "concurrency": 4, "rate": {"count": 10, "per_s": 60.0}});
    match asked.line.split('?').next().unwrap() {
        "GET /api/v1/queues" => {
            let mut queue = limits(false);
            let more = json!({"waiting": 12, "parked": 2, "running": 4, "oldest": null});
            if let (Some(queue), Value::Object(more)) = (queue.as_object_mut(), more) {
                queue.extend(more);
            }
            (200, json!({"items": [queue], "next_cursor": null}))
        }
        "POST /api/v1/queues/http/pause" => (200, limits(true)),
        "POST /api/v1/queues/http/resume" | "PUT /api/v1/queues/http" => (200, limits(false)),
        "GET /api/v1/dead-letters" => {
            let task = json!({
                "id": TASK, "key": "a-key-that-is-rather-long", "status": "failed",
                "error": {"code": "status_503", "message": "no\u{1b}"}, "finished_at": "2020-01-01T00:00:00.000Z",
            });
            (
                200,
                json!({"items": [{"workflow_name": "nightly", "task": task}], "next_cursor": null}),
            )
        }
        "POST /api/v1/dead-letters/redrive" => (200, json!({"task_ids": [TASK]})),
        other => (404, json!({"detail": other})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_listed_with_or_without_the_verb() {
    let stub = Stub::start(service).await;
    for arguments in [&["queues"][..], &["queues", "list"]] {
        let done = stub.drover(arguments);
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
        assert_eq!(
            done.lines(),
            [
                "WAITING PARKED RUNNING OLDEST AT ONCE RATE PAUSED QUEUE",
                "12 2 4 - 4 10/60.0s no http",
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_held_back() {
    let stub = Stub::start(service).await;
    for (arguments, line, body) in [
        (
            &["pause", "http"][..],
            "POST /api/v1/queues/http/pause",
            json!({}),
        ),
        (
            &["resume", "http"],
            "POST /api/v1/queues/http/resume",
            json!({}),
        ),
        (
            &["limit", "http", "--at-once", "4", "--rate", "10/60"],
            "PUT /api/v1/queues/http",
            json!({"concurrency": 4, "rate": {"count": 10, "per_s": 60.0}}),
        ),
        (
            &["limit", "http", "--none"],
            "PUT /api/v1/queues/http",
            json!({"concurrency": null, "rate": null}),
        ),
    ] {
        let done = stub.drover(&[&["queues"], arguments].concat());
        assert_eq!(
            (done.code, done.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert_eq!(done.lines()[0], "QUEUE PAUSED AT ONCE RATE PER S");
        let asked = stub.asked().pop().unwrap();
        assert_eq!(
            (asked.line.as_str(), asked.body),
            (line, body),
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_done_again() {
    let stub = Stub::start(service).await;
    let filter = [
        "--workflow",
        WORKFLOW,
        "--queue",
        "http",
        "--kind",
        "http.request",
        "--code",
        "status_503",
    ];
    let done = stub.drover(&[&["dead-letters", "list"], &filter[..]].concat());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let query = format!("workflow_id={WORKFLOW}&queue=http&kind=http.request&code=status_503");
    assert_eq!(
        stub.asked().pop().unwrap().line,
        format!("GET /api/v1/dead-letters?{query}&limit=50")
    );
    let lines = done.lines();
    assert!(lines[1].starts_with(&format!("{TASK} ")), "{}", done.out);
    assert!(
        lines[1].ends_with("a-key-that-is-r… ✗ status_503: no\\u{1b}"),
        "{}",
        done.out
    );

    for (arguments, body) in [
        (&[TASK][..], json!({"task_id": TASK, "limit": 100})),
        (&["--all", "--limit", "7"], json!({"limit": 7})),
        (&["--queue", "http"], json!({"queue": "http", "limit": 100})),
    ] {
        let done = stub.drover(&[&["dead-letters", "redrive"], arguments].concat());
        assert_eq!((done.code, done.out.trim()), (Some(0), TASK));
        assert_eq!(done.err, "1 task is queued again\n");
        assert_eq!(stub.asked().pop().unwrap().body, body);
    }
}
