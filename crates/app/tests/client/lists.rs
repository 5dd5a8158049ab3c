//! Lists, and the small verbs beside them.

use serde_json::{Value, json};

use crate::stub::{Asked, KEY, Stub};

fn server(id: i64, name: &str) -> Value {
    json!({
        "id": id, "name": name, "address": "10.0.0.1", "port": 11011, "status": "online", "is_haproxy_node": id == 1,
        "last_check": "2026-11-21T08:00:00.000Z", "last_error": null, "created_at": "2026-11-21T08:00:00.000Z",
    })
}

/// Two servers on two pages.
fn two_servers(asked: &Asked) -> (u16, Value) {
    match asked.line.as_str() {
        "GET /api/v1/servers?limit=200" => (
            200,
            json!({"items": [server(1, "web1.example")], "next_cursor": "more"}),
        ),
        "GET /api/v1/servers?limit=200&cursor=more" => (
            200,
            json!({"items": [server(2, "web\u{1b}[2J2")], "next_cursor": null}),
        ),
        "POST /api/v1/servers/2/refresh" => (
            200,
            json!({"server": server(2, "web2"), "outcome": "unreachable", "applications": 0, "detail": "refused"}),
        ),
        other => (404, json!({"title": "Not found", "detail": other})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_to_its_end_and_printed_safely() {
    let stub = Stub::start(two_servers).await;
    let done = stub.drover(&["servers", "list"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        done.lines(),
        [
            "ID NAME ADDRESS PORT STATUS HAPROXY LAST CHECK LAST ERROR",
            "1 web1.example 10.0.0.1 11011 online yes 2026-11-21T08:00:00.000Z -",
            "2 web\\u{1b}[2J2 10.0.0.1 11011 online no 2026-11-21T08:00:00.000Z -",
        ]
    );
    assert_eq!(stub.asked()[0].authorization, format!("Bearer {KEY}"));

    let done = stub.drover(&["servers", "list", "-o", "json"]);
    assert_eq!(
        done.json(),
        json!({"items": [server(1, "web1.example"), server(2, "web\u{1b}[2J2")], "next_cursor": null})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_refreshed_by_its_name_or_number() {
    let stub = Stub::start(two_servers).await;
    let done = stub.drover(&["servers", "refresh", "2"]);
    // The agent did not answer: what was asked for failed.
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert_eq!(done.lines()[1], "web2 online unreachable 0 refused");
    let done = stub.drover(&["servers", "refresh", "web3"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(5), "drover: there is no server `web3`\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_added_with_what_was_typed() {
    let stub = Stub::start(|_| (201, server(3, "web3"))).await;
    let done = stub.drover(&[
        "servers",
        "add",
        "web3",
        "--address",
        "10.0.0.3",
        "--port",
        "5000",
        "--haproxy",
    ]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let asked = stub.asked();
    assert_eq!(asked[0].line, "POST /api/v1/servers");
    assert_eq!(
        asked[0].body,
        json!({"name": "web3", "address": "10.0.0.3", "port": 5000, "is_haproxy_node": true})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_passed_on() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        "GET /api/v1/servers?limit=200" => (
            200,
            json!({"items": [server(7, "web7")], "next_cursor": null}),
        ),
        _ => (200, json!({"items": [], "next_cursor": null})),
    })
    .await;
    for (arguments, line) in [
        (
            &[
                "apps", "list", "--group", "a&b", "--on", "web7", "--type", "docker", "--name",
                "x_1",
            ][..],
            "GET /api/v1/applications?group=a%26b&server_id=7&app_type=docker&name=x_1&limit=200",
        ),
        (
            &[
                "apps",
                "list",
                "--status",
                "no_data",
                "--version",
                "1.0",
                "--catalog",
                "jurws",
                "--query",
                "ws",
                "--sort",
                "-last_seen",
            ],
            "GET /api/v1/applications?status=no_data&version=1.0&catalog=jurws&q=ws&sort=-last_seen&limit=200",
        ),
        (
            &[
                "servers",
                "list",
                "--status",
                "online",
                "--haproxy",
                "off",
                "--query",
                "web",
                "--sort",
                "name",
            ],
            "GET /api/v1/servers?status=online&is_haproxy_node=false&q=web&sort=name&limit=200",
        ),
        (
            &[
                "groups",
                "list",
                "--catalog",
                "jurws",
                "--query",
                "ws",
                "--sort",
                "-name",
            ],
            "GET /api/v1/application-groups?catalog=jurws&q=ws&sort=-name&limit=200",
        ),
        (
            &[
                "catalog", "list", "--type", "site", "--query", "ws", "--sort", "-name",
            ],
            "GET /api/v1/application-catalog?app_type=site&q=ws&sort=-name&limit=200",
        ),
        (
            &["apps", "events", "7", "--limit", "3"],
            "GET /api/v1/applications/7/events?limit=3",
        ),
        (
            &["rollout", "list", "--status", "failed"],
            "GET /api/v1/rollouts?status=failed&limit=200",
        ),
        (
            &["orchestrators", "list"],
            "GET /api/v1/orchestrators?limit=200",
        ),
    ] {
        let done = stub.drover(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.err);
        assert_eq!(stub.asked().last().unwrap().line, line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_with_unreadable_files_names_them() {
    let scan = json!({"scanned": 2, "new": 1, "updated": 0, "errors": [{"file": "x.yml", "error": "no UTF-8"}]});
    let stub = Stub::start(move |_| (207, scan.clone())).await;
    let done = stub.drover(&["orchestrators", "scan"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(1), "x.yml: no UTF-8\n")
    );
    assert_eq!(done.lines(), ["SCANNED NEW UPDATED", "2 1 0"]);
}
