//! Webhooks: receivers and deliveries.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const DELIVERY: &str = "0190b3a4-7c00-7000-8000-000000000001";

fn webhook() -> Value {
    json!({
        "id": 7, "url": "https://hooks.example/a", "description": "the board", "events": ["server.status_changed"],
        "active": true, "disabled": null,
    })
}

fn delivery(status: &str) -> Value {
    json!({
        "id": DELIVERY, "webhook_id": 7, "message_id": "msg_1", "event": "webhook.test", "status": status,
        "created_at": "2020-01-01T00:00:00.000Z", "payload": "{}",
        "attempts": [{
            "number": 1, "at": "2020-01-01T00:00:01.000Z", "took_s": 0.5, "status": 503,
            "failure": "the receiver answered\u{1b} with status 503",
        }],
    })
}

fn service(asked: &Asked) -> (u16, Value) {
    match asked.line.split('?').next().unwrap() {
        "GET /api/v1/webhooks" => (200, json!({"items": [webhook()]})),
        "POST /api/v1/webhooks" => (201, json!({"webhook": webhook(), "secret": "whsec_AAAA"})),
        "GET /api/v1/webhooks/7" | "PUT /api/v1/webhooks/7" => (200, webhook()),
        "DELETE /api/v1/webhooks/7" => (204, Value::Null),
        "POST /api/v1/webhooks/7/rotate-secret" => (200, json!({"secret": "whsec_BBBB"})),
        "POST /api/v1/webhooks/7/test" => (202, json!({"id": DELIVERY})),
        "GET /api/v1/webhook-deliveries" => (
            200,
            json!({"items": [delivery("failed")], "next_cursor": null}),
        ),
        line if line.ends_with("/redeliver") => (202, json!({"id": DELIVERY})),
        line if line.starts_with("GET /api/v1/webhook-deliveries/") => (200, delivery("pending")),
        other => (404, json!({"detail": other})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_made_and_its_secret_shown_once() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["webhooks", "add", "https://hooks.example/a"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.lines().last().unwrap(), "whsec_AAAA");
    assert!(done.err.contains("not shown again"), "{done:?}");
    let asked = stub.asked().pop().unwrap();
    assert_eq!(
        asked.body,
        json!({"url": "https://hooks.example/a", "events": [], "description": null, "secret": null})
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "whsec_CCCC\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let arguments = [
        "webhooks",
        "rotate-secret",
        "7",
        "--secret-file",
        file.to_str().unwrap(),
    ];
    let refused = stub.drover(&arguments);
    assert!(
        refused.err.contains("secret file") && refused.err.contains("chmod 600"),
        "{refused:?}"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let done = stub.drover(&arguments);
    assert_eq!(done.lines(), ["whsec_BBBB"]);
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.body, json!({"secret": "whsec_CCCC"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_said_stays_as_it_is() {
    let stub = Stub::start(service).await;
    let kept = json!({
        "url": "https://hooks.example/a", "description": "the board", "events": ["server.status_changed"], "active": true,
    });
    for (arguments, member, value) in [
        (&["--off"][..], "active", json!(false)),
        (&["--on"], "active", json!(true)),
        (&["--url", "https://b"], "url", json!("https://b")),
        (&["--all-events"], "events", json!([])),
        (
            &["--event", "haproxy.action.finished"],
            "events",
            json!(["haproxy.action.finished"]),
        ),
        (&["--description", "b"], "description", json!("b")),
    ] {
        let done = stub.drover(&[&["webhooks", "set", "7"], arguments].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        let mut wanted = kept.clone();
        wanted[member] = value;
        let asked = stub.asked().pop().unwrap();
        assert_eq!(
            (asked.line.as_str(), asked.body),
            ("PUT /api/v1/webhooks/7", wanted)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_listed_and_shown() {
    let stub = Stub::start(service).await;
    let log = stub.drover(&["webhooks", "log", "7", "--status", "failed", "--limit", "3"]);
    let lines = log.lines();
    assert_eq!(lines[0], "DELIVERY AGE WEBHOOK STATUS EVENT");
    assert!(lines[1].ends_with("d 7 failed webhook.test"), "{lines:?}");
    assert_eq!(
        stub.asked().pop().unwrap().line,
        "GET /api/v1/webhook-deliveries?webhook_id=7&status=failed&limit=3"
    );
    let shown = stub.drover(&["webhooks", "delivery", DELIVERY]);
    let text = shown.lines().join("\n");
    assert!(
        text.contains("503") && text.contains("\\u{1b}") && !text.contains('\u{1b}'),
        "{text}"
    );
    let again = stub.drover(&["webhooks", "redeliver", DELIVERY]);
    assert_eq!(again.code, Some(0));
    assert!(again.err.contains(DELIVERY), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_is_not_taken_is_a_failure() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["webhooks", "test", "7"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.out.contains("503"), "{done:?}");
    let listed = stub.drover(&["-o", "json", "webhooks", "list"]);
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed, json!({"items": [webhook()]}));
    let removed = stub.drover(&["webhooks", "remove", "7"]);
    assert_eq!(removed.code, Some(0));
}
