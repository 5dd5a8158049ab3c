//! HAProxy: the applications behind its servers, and all of it in a few numbers.

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const AT: &str = "2026-11-21T08:00:00.000Z";

fn mapped(application: i64) -> Value {
    json!({"server_id": 7, "application_id": application, "basis": "manual", "mapped_at": AT, "exclusion": null})
}

fn excluded(reason: Option<&str>) -> Value {
    json!({
        "server_id": 7, "application_id": null, "basis": null, "mapped_at": null,
        "exclusion": {"at": AT, "actor": "ann", "reason": reason},
    })
}

fn summary() -> Value {
    let breaker = |name: &str, state: &str, until: Option<&str>| {
        json!({
            "instance_id": 3, "instance_name": name, "server_name": "web01.example", "state": state, "until": until,
        })
    };
    json!({
        "instances": {"total": 4, "synced": 1, "partial": 1, "failed": 1, "unread_nodes": 1}, "backends": 4,
        "servers": {"up": 5, "drain": 1, "maint": 2, "down": 3, "other": 0}, "unmapped": 2, "excluded": 1, "pinned": 2, "drifting": 1,
        "breakers": [breaker("b", "open", Some(AT)), breaker("a", "closed", None)], "min_ready": 1, "short": 2,
        "short_backends": [
            {"id": 5, "name": "be\u{1b}", "instance_id": 3, "instance_name": "a", "servers": 2, "ready": 0},
        ],
    })
}

fn service(asked: &Asked) -> (u16, Value) {
    let page = |items: Value| (200, json!({"items": items, "next_cursor": null}));
    match asked.line.split('?').next().unwrap() {
        "POST /api/v1/haproxy/servers/7/map" => {
            let application = asked.body.get("application_id").and_then(Value::as_i64);
            (200, mapped(application.unwrap()))
        }
        "POST /api/v1/haproxy/servers/8/map" => {
            let detail = "the server `x` is not in HAProxy any more";
            (409, json!({"code": "conflict", "detail": detail}))
        }
        "POST /api/v1/haproxy/servers/7/unmap" => {
            let reason = asked.body.get("reason").and_then(Value::as_str);
            (200, excluded(reason))
        }
        "POST /api/v1/haproxy/mapping/remap" => (200, json!({"looked_at": 5, "mapped": 2})),
        "GET /api/v1/haproxy/servers/unmapped" => page(json!([
            {
                "server": {"id": 7, "name": "web01_x", "address": "10.0.0.9", "port": 80}, "backend_name": "be",
                "instance_id": 3, "instance_name": "default", "server_name": "web01.example", "exclusion": null,
                "reason": "no application fits its address or its name",
            },
            {
                "server": {"id": 8, "name": "web02_x", "address": null, "port": null}, "backend_name": "be",
                "instance_id": 3, "instance_name": "default", "server_name": "web01.example",
                "exclusion": {"at": AT, "actor": "ann", "reason": "wrong"}, "reason": null,
            },
        ])),
        "GET /api/v1/haproxy/servers/7/mapping" => (200, mapped(9)),
        "GET /api/v1/haproxy/servers/7/mapping/history" => page(json!([
            {
                "at": AT, "action": "created", "basis": "manual", "application_id": 9, "actor": "ann",
                "request_id": "r1", "reason": "moved",
            },
            {
                "at": AT, "action": "deactivated", "basis": "name", "application_id": 4, "actor": null,
                "request_id": null, "reason": null,
            },
        ])),
        "GET /api/v1/haproxy/summary" => (200, summary()),
        other => (404, json!({"detail": other})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mappings_are_made_and_ended() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "map", "7", "9", "--reason", "moved"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let expected = format!("server 7 is application 9, by manual since {AT}");
    assert_eq!(done.lines(), [expected]);
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.body, json!({"application_id": 9, "reason": "moved"}));
    let done = stub.drover(&["haproxy", "map", "7", "9", "-o", "json"]);
    assert_eq!((done.code, done.json()), (Some(0), mapped(9)));
    let done = stub.drover(&["haproxy", "map", "8", "9"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (
            Some(6),
            "drover: the server `x` is not in HAProxy any more\n"
        )
    );

    let done = stub.drover(&["haproxy", "unmap", "7", "--reason", "wrong"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        ["server 7 has no mapping; it is excluded by ann: wrong"]
    );
    let done = stub.drover(&["haproxy", "unmap", "7", "--release", "-o", "json"]);
    assert_eq!((done.code, done.json()), (Some(0), excluded(None)));
    assert_eq!(stub.asked().pop().unwrap().body, json!({"exclude": false}));
    let done = stub.drover(&["haproxy", "unmap", "9"]);
    assert_eq!((done.code, done.out.as_str()), (Some(5), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_mapping_is_listed_and_mapped() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "unmapped"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        [
            "ID NAME BACKEND HAPROXY ADDRESS EXCLUDED BY REASON",
            "7 web01_x be default on web01.example 10.0.0.9:80 - no application fits its address or its name",
            "8 web02_x be default on web01.example - ann: wrong -",
        ]
    );
    let done = stub.drover(&["haproxy", "unmapped", "-o", "json"]);
    assert_eq!(done.json()["items"][1]["server"]["id"], 8);
    let done = stub.drover(&["haproxy", "remap"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        ["2 of 5 servers without a mapping were mapped"]
    );
    let done = stub.drover(&["haproxy", "remap", "-o", "json"]);
    assert_eq!(done.json(), json!({"looked_at": 5, "mapped": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_shown_with_its_history() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "mapping", "7", "--limit", "3"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        [
            format!("server 7 is application 9, by manual since {AT}"),
            "AT ACTION APPLICATION BASIS ACTOR REASON".to_owned(),
            format!("{AT} created 9 manual ann moved"),
            format!("{AT} deactivated 4 name - -"),
        ]
    );
    let asked = stub.asked().pop().unwrap().line;
    assert_eq!(
        asked,
        "GET /api/v1/haproxy/servers/7/mapping/history?limit=3"
    );
    let done = stub.drover(&["haproxy", "mapping", "7", "-o", "json"]);
    let document = done.json();
    assert_eq!(document["mapping"], mapped(9));
    assert_eq!(document["history"][0]["actor"], "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_summed_up() {
    let stub = Stub::start(service).await;
    let done = stub.drover(&["haproxy", "summary"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(0), "1 more backends are short\n")
    );
    assert_eq!(
        done.lines(),
        [
            "instances 4, 1 synced, 1 partial, 1 failed, 1 unknown".to_owned(),
            "HAProxy nodes whose instances are unknown 1 (`drover haproxy list`)".to_owned(),
            "backends 4".to_owned(),
            "servers 5 up, 1 drain, 2 maint, 3 down, 0 other".to_owned(),
            "unmapped 2, 1 of them excluded".to_owned(),
            "pinned 2 in drain or maint, 1 of them show another state".to_owned(),
            format!("left alone b on web01.example: open until {AT}"),
            "short be\\u{1b} of a: 0 of 2 servers take requests; at least 1 should".to_owned(),
        ]
    );
    let done = stub.drover(&["haproxy", "summary", "-o", "json"]);
    assert_eq!((done.code, done.json()), (Some(0), summary()));
}
