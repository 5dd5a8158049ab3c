//! Following workflows over a stream that breaks off.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const ID: &str = "0190b3a4-7c00-7000-8000-000000000000";
const TASK: &str = "0190b3a4-7c00-7000-8000-000000000001";

fn event(number: u32, event: &str) -> Value {
    let is_of_task = event.starts_with("task_");
    json!({
        "number": number, "position": format!("0-0-{number}"), "at": "2026-11-21T08:00:00.000Z", "event": event,
        "workflow_id": ID, "task_id": is_of_task.then_some(TASK), "task_key": is_of_task.then_some("build"),
        "attempt": u32::from(is_of_task) * number, "detail": (event == "task_started").then_some("web1-4711\u{1b}"),
    })
}

fn sent(event: &Value) -> String {
    format!(
        "id: {}\ndata: {event}\n\n",
        event["position"].as_str().unwrap()
    )
}

/// A service whose workflow runs until its last event was sent, and stands at `ending` then. A stream
/// breaks off after each event; each time something is left of the next one.
fn ends(ending: &'static str, last: &'static str) -> impl Fn(&Asked) -> (u16, Value) + Send + Sync {
    let told = AtomicUsize::new(0);
    move |asked| {
        let path = asked.line.split('?').next().unwrap();
        if path == "GET /api/v1/events/stream" {
            let next = match asked.last_event_id.as_deref() {
                Some("0-0-2") => event(3, "task_completed"),
                Some("0-0-3") => event(4, last),
                _ => return (400, json!({"detail": "that is no place to go on from"})),
            };
            told.fetch_add(1, Ordering::Relaxed);
            let half = "id: 0-0-9\ndata: {\"half";
            let stream = format!("id: 0-0-2\nretry: 1\n\n{}{half}", sent(&next));
            return (200, stream.into());
        }
        if path.ends_with("/history") {
            let events = [event(1, "workflow_started"), event(2, "task_started")];
            return (200, json!({"items": events, "next_cursor": "later"}));
        }
        if path.ends_with("/tasks") {
            let task = json!({"id": TASK, "key": "build", "status": "queued", "attempt": 1, "depends_on": []});
            return (200, json!({"items": [task], "next_cursor": null}));
        }
        let status = if told.load(Ordering::Relaxed) < 2 {
            "running"
        } else {
            ending
        };
        (
            200,
            json!({"id": ID, "name": "nightly", "status": status, "progress": 100}),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_taken_up_where_it_was() {
    let stub = Stub::start(ends("succeeded", "workflow_completed")).await;
    let done = stub.drover(&["workflows", "watch", ID]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let lines: Vec<&str> = done.err.lines().collect();
    assert_eq!(
        lines,
        [
            "2026-11-21T08:00:00.000Z  workflow_started",
            "2026-11-21T08:00:00.000Z  task_started        build  #2  web1-4711\\u{1b}",
            "2026-11-21T08:00:00.000Z  task_completed      build  #3",
            "2026-11-21T08:00:00.000Z  workflow_completed",
        ]
    );
    assert!(
        done.out.contains("status        ✓ succeeded"),
        "{}",
        done.out
    );
    assert!(!done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'));
    let streams: Vec<Option<String>> = stub
        .asked()
        .into_iter()
        .filter(|asked| asked.line == format!("GET /api/v1/events/stream?workflow_id={ID}"))
        .map(|asked| asked.last_event_id)
        .collect();
    assert_eq!(
        streams,
        [Some("0-0-2".to_owned()), Some("0-0-3".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_how_a_watched_workflow_ended() {
    for (ending, last, code) in [
        ("succeeded", "workflow_completed", 0),
        ("failed", "workflow_failed", 1),
        ("compensated", "workflow_compensated", 1),
        ("cancelled", "workflow_cancelled", 3),
        ("needs_human", "workflow_needs_human", 9),
    ] {
        let stub = Stub::start(ends(ending, last)).await;
        let done = stub.drover(&["workflows", "watch", ID, "-o", "json"]);
        assert_eq!(done.code, Some(code), "{ending}: {}", done.err);
        assert_eq!(done.json()["workflow"]["status"], ending);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_has_ended_needs_no_stream() {
    let inner = ends("failed", "workflow_failed");
    let stub = Stub::start(move |asked| match inner(asked) {
        (200, mut body) if body.get("status").is_some() => {
            body["status"] = "failed".into();
            (200, body)
        }
        other => other,
    })
    .await;
    let done = stub.drover(&["workflows", "watch", ID]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert_eq!(done.err.lines().count(), 2, "{}", done.err);
    assert!(
        stub.asked()
            .iter()
            .all(|asked| !asked.line.contains("stream"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_restarts_is_waited_for_and_a_gap_is_told() {
    let looks = AtomicUsize::new(0);
    let inner = ends("succeeded", "workflow_completed");
    let stub = Stub::start(move |asked| {
        if !asked.line.contains("/events/stream") {
            return inner(asked);
        }
        match looks.fetch_add(1, Ordering::Relaxed) {
            0 => (200, "retry: 1\n\n".into()),
            1 | 2 => (503, json!({"detail": "the database does not answer"})),
            3 => {
                let gap = "event: gap\ndata: {\"event\": \"gap\", \"after\": \"0-0-2\"}\n\n";
                (200, gap.into())
            }
            _ => inner(asked),
        }
    })
    .await;
    let done = stub.drover(&["workflows", "watch", ID]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    for words in [
        "the database does not answer; trying again for 60 s",
        "some events are gone",
    ] {
        assert_eq!(done.err.matches(words).count(), 1, "{}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_runs_out_is_7_and_says_that_the_workflow_goes_on() {
    let inner = ends("succeeded", "workflow_completed");
    let stub = Stub::start(move |asked| {
        if asked.line.contains("/events/stream") {
            return (200, "retry: 50\n\n: nothing new\n\n".into());
        }
        inner(asked)
    })
    .await;
    let begun = std::time::Instant::now();
    let done = stub.drover(&["workflows", "watch", ID, "--timeout", "1"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(7), ""),
        "{}",
        done.err
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let hint = format!("the wait is over; the workflow goes on: `drover workflows watch {ID}`");
    assert!(done.err.contains(&hint), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_is_started_can_be_watched_at_once() {
    let inner = ends("failed", "workflow_failed");
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        "POST /api/v1/workflows" => (202, json!({"id": ID})),
        _ => inner(asked),
    })
    .await;
    let done = stub.drover(&["workflows", "start", "--definition", "nightly", "--watch"]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(
        done.err.starts_with(&format!("accepted as {ID}\n")),
        "{}",
        done.err
    );
    assert!(done.out.contains("✗ failed"), "{}", done.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_cannot_be_watched() {
    let stub = Stub::start(|_| (404, json!({"detail": "there is no such workflow"}))).await;
    let done = stub.drover(&["workflows", "watch", ID]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(5), ""),
        "{}",
        done.err
    );
}
