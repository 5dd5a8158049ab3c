//! HAProxy: looking at it, and setting its servers to a state.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const ID: &str = "0190b3a4-7c00-7000-8000-000000000001";
const AT: &str = "2026-11-21T08:00:00.000Z";

fn action(status: &str) -> Value {
    let is_over = matches!(status, "success" | "failed");
    let error = json!({"code": "still_busy", "detail": "2 sessions were left\u{1b}"});
    let looks = json!([
        {"at": AT, "status": "UP", "sessions": 4, "queue": 0},
        {"at": AT, "status": "DRAIN", "sessions": 2, "old_sessions": 1, "queue": null},
    ]);
    json!({
        "id": ID, "transaction_id": "t1", "server": 7, "action": "drain", "status": status, "wait_s": 300.0,
        "force": false, "reason": null, "actor": "the admin", "request_id": "r1", "created_at": AT,
        "started_at": (status != "pending").then_some(AT), "finished_at": is_over.then_some(AT),
        "error": (status == "failed").then_some(error),
        "evidence": (status != "pending").then(|| json!({"sends": 1, "looks": looks})),
    })
}

fn refused(server: i64) -> Value {
    json!({
        "server": server, "action": null,
        "error": {"code": "below_min_ready", "detail": "the backend `be` has 1 servers"},
    })
}

fn service(asked: &Asked) -> (u16, Value) {
    let page = |items: Value| (200, json!({"items": items, "next_cursor": null}));
    let instance = |status: &str, error: Option<&str>| {
        json!({
            "id": 3, "server_id": 1, "server_name": "web01.example", "name": "default", "active": true, "backends": 2,
            "version": "2.6.12", "observed_at": null, "last_sync": null, "last_sync_status": status, "last_sync_error": error,
        })
    };
    match asked.line.split('?').next().unwrap() {
        "GET /api/v1/haproxy/instances" => page(json!([instance("success", None)])),
        "GET /api/v1/servers" => page(json!([
            {"id": 1, "name": "web01.example", "last_error": null},
            {"id": 2, "name": "lb.example", "last_error": null},
        ])),
        "POST /api/v1/haproxy/instances/3/sync" => {
            (200, instance("failed", Some("connection refused")))
        }
        "GET /api/v1/haproxy/instances/3/backends" => page(json!([
            {"id": 5, "instance_id": 3, "name": "be_jurws", "last_fetch_status": "success", "last_fetch_error": null,
             "servers": 1, "ready": 1},
            {"id": 6, "instance_id": 3, "name": "be_new", "last_fetch_status": "failed",
             "last_fetch_error": "no answer", "servers": 0, "ready": 0},
        ])),
        "GET /api/v1/haproxy/backends/5/servers" => page(json!([
            {"id": 7, "backend_id": 5, "name": "web01_jurws_1", "status": "UP 1/3", "health": "going_down",
             "sessions": 4, "weight": 100, "application_id": 9, "pin": null, "drift": false},
            {"id": 8, "backend_id": 5, "name": "web02_jurws_1", "status": "DRAIN", "health": "drain",
             "sessions": 0, "weight": 100, "application_id": null, "drift": false,
             "pin": {"state": "drain", "owner": "ann", "reason": "new disks", "since": AT, "until": AT}},
            {"id": 9, "backend_id": 5, "name": "web03_jurws_1", "status": "UP", "health": "up",
             "sessions": 0, "weight": 100, "application_id": null, "drift": true,
             "pin": {"state": "maint", "owner": "bob", "reason": null, "since": AT, "until": null}},
        ])),
        "GET /api/v1/haproxy/backends/6/servers" => page(json!([])),
        "GET /api/v1/haproxy/servers/7/history" => page(json!([
            {"at": AT, "old_status": "UP", "new_status": "DRAIN", "reason": "command", "action": ID, "actor": "the admin"},
            {"at": AT, "old_status": "DOWN", "new_status": "UP", "reason": "sync", "action": null, "actor": null},
        ])),
        "GET /api/v1/haproxy/actions" => page(json!([action("failed"), action("success")])),
        "GET /api/v1/haproxy/servers/7/mapping" | "GET /api/v1/haproxy/servers/8/mapping" => {
            (200, json!({"mapping": null}))
        }
        "GET /api/v1/haproxy/servers/99999/mapping" => (
            404,
            json!({"code": "not_found", "detail": "there is no HAProxy server 99999"}),
        ),
        "POST /api/v1/haproxy/servers/7/action" => (202, action("pending")),
        "POST /api/v1/haproxy/servers/8/action" => (
            409,
            json!({"code": "below_min_ready", "detail": "at least 1 must stay"}),
        ),
        "POST /api/v1/haproxy/servers/9/action" => (503, json!({"detail": "later"})),
        "POST /api/v1/haproxy/batch/action" => {
            let accepted = json!({"server": 7, "action": action("pending"), "error": null});
            (200, json!({"results": [refused(8), accepted]}))
        }
        other => (404, json!({"detail": other})),
    }
}

/// A service that takes an action up at the second look and ends it at the third.
fn ends(ending: &'static str) -> impl Fn(&Asked) -> (u16, Value) + Send + Sync {
    let looks = AtomicUsize::new(0);
    move |asked| {
        if asked.line != format!("GET /api/v1/haproxy/actions/{ID}") {
            return service(asked);
        }
        let status = match looks.fetch_add(1, Ordering::Relaxed) {
            0 => return (503, json!({"detail": "not yet"})),
            1 => "running",
            _ => ending,
        };
        (200, action(status))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_instances_are_listed() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "list"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        [
            "ID NAME SERVER VERSION BACKENDS AS OF STATUS",
            "3 default web01.example 2.6.12 2 - ✓ success",
            "- - lb.example - - - ? unknown: its agent has listed no HAProxy yet",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_haproxy_is_shown_backend_by_backend() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "show", "3"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        [
            "be_jurws backend 5; 1 of 1 servers take requests",
            "ID NAME STATUS SESSIONS WEIGHT APPLICATION PINNED",
            "7 web01_jurws_1 UP 1/3 4 100 9 -",
            &format!("8 web02_jurws_1 DRAIN 0 100 - drain by ann until {AT}: new disks"),
            "9 web03_jurws_1 UP 0 100 - ! maint wanted by bob",
            "",
            "be_new backend 6; 0 of 0 servers take requests",
            "! failed: no answer",
        ]
    );
    let done = stub.drover(&["haproxy", "show", "3", "-o", "json"]);
    let items = done.json()["items"].clone();
    assert_eq!(items[0]["backend"]["name"], "be_jurws");
    assert_eq!(items[0]["servers"][0]["id"], 7);
    let done = stub.drover(&["haproxy", "show", "4"]);
    assert_eq!((done.code, done.out.as_str()), (Some(5), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_haproxy_that_cannot_be_synced_is_a_failure() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "sync", "3"]);
    assert_eq!((done.code, done.err.as_str()), (Some(1), ""));
    assert_eq!(
        done.lines()[1],
        "3 default web01.example 2.6.12 2 - ✗ failed: connection refused"
    );
    let done = stub.drover(&["haproxy", "sync", "3", "-o", "json"]);
    assert_eq!(
        (done.code, &done.json()["last_sync_status"]),
        (Some(1), &json!("failed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_history_and_actions_are_listed() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "history", "7", "--limit", "3"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        [
            "AT FROM TO REASON ACTOR ACTION".to_owned(),
            format!("{AT} UP DRAIN command the admin {ID}"),
            format!("{AT} DOWN UP sync - -"),
        ]
    );
    let asked = stub.asked().pop().unwrap().line;
    assert_eq!(asked, "GET /api/v1/haproxy/servers/7/history?limit=3");
    for (arguments, line) in [
        (&["haproxy", "actions"][..], "limit=50"),
        (&["haproxy", "actions", "7"], "server=7&limit=50"),
    ] {
        let done = stub.drover(arguments);
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
        let lines = done.lines();
        assert_eq!(lines[0], "ID SERVER ACTION AGE STATUS");
        assert!(lines[1].starts_with(&format!("{ID} 7 drain ")), "{lines:?}");
        assert!(
            lines[1].ends_with("✗ failed: still_busy: 2 sessions were left\\u{1b}"),
            "{lines:?}"
        );
        assert!(lines[2].ends_with("✓ success"), "{lines:?}");
        let asked = stub.asked().pop().unwrap().line;
        assert_eq!(asked, format!("GET /api/v1/haproxy/actions?{line}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_asked_for_and_printed() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "drain", "7"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let lines = done.lines();
    assert!(lines[1].starts_with(&format!("{ID} 7 drain ")), "{lines:?}");
    assert!(lines[1].ends_with("· pending"), "{lines:?}");
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.body["action"], "drain");
    assert_eq!(asked.body.get("wait_s"), None);
    // A repeated command is another request, unless it names the same transaction.
    let made_up = asked.body["transaction_id"].clone();
    assert_eq!(made_up.as_str().map(str::len), Some(32));
    stub.drover(&["haproxy", "drain", "7"]);
    assert_ne!(stub.asked().pop().unwrap().body["transaction_id"], made_up);

    let done = stub.drover(&["haproxy", "maint", "7", "-o", "json"]);
    assert_eq!((done.code, done.json()), (Some(0), action("pending")));
    let done = stub.drover(&["haproxy", "drain", "8"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(6), "drover: at least 1 must stay\n")
    );
    let done = stub.drover(&["haproxy", "drain", "9", "--transaction", "t9"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (
            Some(69),
            "drover: later; it is safe to repeat the command with --transaction t9\n"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_on_several_servers_are_asked_for_together() {
    let stub = Stub::start(ends("success")).await;
    let arguments = [
        "haproxy",
        "drain",
        "8",
        "7",
        "--force",
        "--reason",
        "fire",
        "--transaction",
        "t1",
    ];
    let done = stub.drover(&arguments);
    assert_eq!((done.code, done.err.as_str()), (Some(1), ""));
    let lines = done.lines();
    assert_eq!(
        lines[1],
        "- 8 - - ✗ refused: below_min_ready: the backend `be` has 1 servers"
    );
    assert!(lines[2].ends_with("· pending"), "{lines:?}");
    let asked = stub.asked().pop().unwrap();
    assert_eq!(
        asked.body,
        json!({"servers": [8, 7], "action": "drain", "transaction_id": "t1", "force": true, "reason": "fire"})
    );
    let done = stub.drover(&["haproxy", "drain", "8", "7", "99999"]);
    assert_eq!(done.code, Some(5), "{}", done.err);
    assert!(done.err.contains("no HAProxy server 99999"), "{}", done.err);
    let posts = |stub: &Stub| {
        stub.asked()
            .iter()
            .filter(|asked| asked.line.starts_with("POST"))
            .count()
    };
    assert_eq!(
        posts(&stub),
        1,
        "nothing is done while one server is unknown"
    );
    let done = stub.drover(&["haproxy", "drain", "8", "7", "--wait", "-o", "json"]);
    assert_eq!(done.code, Some(1));
    let accepted = json!({"server": 7, "action": action("success"), "error": null});
    assert_eq!(done.json(), json!({"results": [refused(8), accepted]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_is_waited_for_is_followed_to_its_end() {
    for (ending, code, status) in [
        ("success", 0, "status ✓ success"),
        (
            "failed",
            1,
            "status ✗ failed: still_busy: 2 sessions were left\\u{1b}",
        ),
    ] {
        let stub = Stub::start(ends(ending)).await;
        let done = stub.drover(&["haproxy", "drain", "7", "--wait=20"]);
        assert_eq!(done.code, Some(code), "{}", done.err);
        let asked = stub.asked();
        assert_eq!(asked[0].body["wait_s"], 20.0);
        let told = |status: &str| format!("action {ID}  drain server 7  {status}");
        assert_eq!(
            done.err.lines().collect::<Vec<_>>(),
            [
                told("pending"),
                "not yet; trying again for 60 s".to_owned(),
                told("running  DRAIN, sessions 2 (1 in old workers)"),
                told(ending)
            ]
        );
        let lines = done.lines();
        assert_eq!(lines[0], format!("action {ID}"));
        assert!(lines.contains(&status.to_owned()), "{lines:?}");
        let seen = [
            "SEEN STATUS SESSIONS QUEUE IN OLD WORKERS".to_owned(),
            format!("{AT} UP 4 0 -"),
            format!("{AT} DRAIN 2 - 1"),
        ];
        assert!(lines.ends_with(&seen), "{lines:?}");
    }
}
