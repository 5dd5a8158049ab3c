//! Definitions, schedules, events, and what people decide about tasks.

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const WORKFLOW: &str = "0190b3a4-7c00-7000-8000-000000000000";
const TASK: &str = "0190b3a4-7c00-7000-8000-000000000001";

fn service(asked: &Asked) -> (u16, Value) {
    let page = |items: Value| (200, json!({"items": items, "next_cursor": null}));
    let (path, _) = asked.line.split_once('?').unwrap_or((&asked.line, ""));
    match path {
        "GET /api/v1/workflow-definitions" => page(json!([
            {"name": "nightly", "version": 2, "task_count": 3, "execution_mode": "dag", "created_at": "2026-11-21T08:00:00.000Z"}
        ])),
        "GET /api/v1/schedules" => page(json!([
            {"name": "night", "definition": "nightly", "version": null, "cron": "0 3 * * *", "time_zone": "UTC",
             "paused": false, "missed_runs": "skip", "next_at": ["2026-11-22T03:00:00.000Z"], "input": null, "broken": null}
        ])),
        "GET /api/v1/events" => page(json!([
            {"id": 1, "at": "2026-11-21T08:00:00.000Z", "event_type": "disconnect", "status": "failed", "server_id": 1,
             "application_id": null, "description": "the agent does not answer"}
        ])),
        "GET /api/v1/servers" => page(json!([{"id": 3, "name": "web1"}])),
        "GET /api/v1/applications" => {
            page(json!([{"id": 9, "name": "shop_1", "server_name": "web1"}]))
        }
        "GET /api/v1/webhook-deliveries" => page(json!([])),
        _ if path.starts_with("DELETE") => (204, Value::Null),
        _ if path.ends_with("/tasks") => page(json!([{"id": TASK, "key": "publish"}])),
        _ => (
            200,
            json!({"id": WORKFLOW, "name": "nightly", "version": 3, "status": "running", "tasks": []}),
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_what_is_asked() {
    let stub = Stub::start(service).await;
    let resolve = format!("POST /api/v1/workflows/{WORKFLOW}/tasks/{TASK}/resolve");
    for (arguments, line, body) in [
        (
            format!("workflows resolve {WORKFLOW} publish --succeeded"),
            resolve.as_str(),
            json!({"outcome": "succeeded"}),
        ),
        (
            format!("workflows resolve {WORKFLOW} {TASK} --succeeded --result {{\"a\":1}}"),
            &resolve,
            json!({"outcome": "succeeded", "result": {"a": 1}}),
        ),
        (
            format!("workflows resolve {WORKFLOW} publish --failed"),
            &resolve,
            json!({"outcome": "failed", "error": {"code": "resolved_as_failed", "message": null}}),
        ),
        (
            format!("workflows resolve {WORKFLOW} publish --failed --code no_disk --message seen"),
            &resolve,
            json!({"outcome": "failed", "error": {"code": "no_disk", "message": "seen"}}),
        ),
        (
            format!("rollout cancel {TASK} --reason wrong"),
            "POST /api/v1/rollouts/0190b3a4-7c00-7000-8000-000000000001/cancel",
            json!({"reason": "wrong"}),
        ),
        ("definitions list".to_owned(), "GET /api/v1/workflow-definitions?limit=200", Value::Null),
        ("definitions show a/b@3".to_owned(), "GET /api/v1/workflow-definitions/a%2Fb?version=3", Value::Null),
        ("definitions show nightly".to_owned(), "GET /api/v1/workflow-definitions/nightly", Value::Null),
        ("schedules list".to_owned(), "GET /api/v1/schedules?limit=200", Value::Null),
        ("schedules show night".to_owned(), "GET /api/v1/schedules/night", Value::Null),
        ("schedules pause night".to_owned(), "POST /api/v1/schedules/night/pause", json!({})),
        ("schedules resume night".to_owned(), "POST /api/v1/schedules/night/resume", json!({})),
        ("schedules remove night".to_owned(), "DELETE /api/v1/schedules/night", Value::Null),
        (
            "events --on web1 --app shop_1 --type disconnect --status failed --since 2026-11-21T08:00:00Z --limit 3".to_owned(),
            "GET /api/v1/events?server_id=3&application_id=9&event_type=disconnect&status=failed&since=2026-11-21T08%3A00%3A00Z&limit=3",
            Value::Null,
        ),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words);
        assert_eq!(done.code, Some(0), "{arguments}: {}", done.err);
        let asked = stub.asked().pop().unwrap();
        assert_eq!((asked.line.as_str(), asked.body), (line, body), "{arguments}");
    }
    let put = [
        "schedules",
        "put",
        "night",
        "--definition",
        "nightly@2",
        "--cron",
        "0 3 * * *",
        "--time-zone",
        "Europe/Berlin",
        "--input",
        "{\"a\":1}",
        "--missed-runs",
        "run_once",
        "--paused",
    ];
    let done = stub.drover(&put);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.line, "PUT /api/v1/schedules/night");
    assert_eq!(
        asked.body,
        json!({"definition": "nightly", "version": 2, "cron": "0 3 * * *", "time_zone": "Europe/Berlin",
            "input": {"a": 1}, "missed_runs": "run_once", "paused": true})
    );
    let file = "tasks:\n  - key: a\n    kind: timer\n    payload: { seconds: 1 }\n";
    let done = stub.drover_reading(&["definitions", "put", "-", "--name", "nightly"], file);
    assert_eq!(
        (done.code, done.lines()[1].as_str()),
        (Some(0), "nightly 3"),
        "{}",
        done.err
    );
    let asked = stub.asked().pop().unwrap();
    assert_eq!(
        (asked.line.as_str(), &asked.body["name"]),
        ("POST /api/v1/workflow-definitions", &json!("nightly"))
    );
    let done = stub.drover(&["webhooks", "log", "--since", "1h"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(stub.asked().pop().unwrap().line.contains("since=20"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused() {
    let stub = Stub::start(service).await;
    for arguments in [
        format!("workflows resolve {WORKFLOW} publish"),
        format!("workflows resolve {WORKFLOW} publish --succeeded --failed"),
        format!("workflows resolve {WORKFLOW} publish --succeeded --code x"),
        format!("workflows resolve {WORKFLOW} publish --failed --result 1"),
        format!("workflows resolve {WORKFLOW} publish --succeeded --result {{"),
        "rollout cancel 7".to_owned(),
        "schedules put night --definition nightly".to_owned(),
        "schedules put night --definition nightly@new --cron x".to_owned(),
        "events --since soon".to_owned(),
        "webhooks log --since yesterdayish".to_owned(),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{arguments}: {}",
            done.err
        );
    }
    assert!(
        stub.asked()
            .iter()
            .all(|asked| asked.line.starts_with("GET"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_printed() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["schedules", "list"]);
    assert_eq!(
        done.lines(),
        [
            "CRON TIME ZONE PAUSED DEFINITION NEXT NAME",
            "0 3 * * * UTC no nightly 2026-11-22T03:00:00.000Z night"
        ]
    );
    let done = stub.drover(&["events"]);
    assert_eq!(
        done.lines()[1],
        "2026-11-21T08:00:00.000Z disconnect failed 1 - the agent does not answer"
    );
    let done = stub.drover(&["definitions", "list"]);
    assert!(done.lines()[1].starts_with("2 3 dag "), "{}", done.out);
}
