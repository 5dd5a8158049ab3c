//! Things by their names, where a number is taken as well.

use serde_json::{Value, json};

use crate::stub::{Asked, Stub};

const ID: &str = "0190b3a4-7c00-7000-8000-000000000001";
const AT: &str = "2026-11-21T08:00:00.000Z";

fn page(items: &Value) -> (u16, Value) {
    (200, json!({"items": items, "next_cursor": null}))
}

/// Two HAProxy instances called `default` and one called `edge`; `shop_1` is in three backends, `lone` in one.
fn service(asked: &Asked) -> (u16, Value) {
    let instance = |id: i64, name: &str, server: &str| {
        json!({
            "id": id, "server_id": id, "server_name": server, "name": name, "active": true, "backends": 1,
            "last_sync": AT, "last_sync_status": "success", "last_sync_error": null,
        })
    };
    let backend = |id: i64, name: &str| json!({"id": id, "name": name, "last_fetch_error": null, "servers": 1, "ready": 1});
    let server = |id: i64, name: &str| json!({"id": id, "name": name, "status": "UP"});
    let application = |id: i64, name: &str, server: &str| json!({"id": id, "name": name, "server_name": server, "group": "shop", "status": "online"});
    let (path, query) = asked.line.split_once('?').unwrap_or((&asked.line, ""));
    let part = query.split('&').find_map(|pair| pair.strip_prefix("q="));
    let filtered = |items: Vec<Value>| {
        let fits = |item: &Value| {
            let part = part.unwrap_or_default().replace("%2F", "/");
            item["name"].as_str().unwrap().contains(&part)
        };
        page(&items.into_iter().filter(fits).collect())
    };
    match path {
        "GET /api/v1/haproxy/instances" => filtered(vec![
            instance(1, "default", "lb1.example"),
            instance(2, "default", "lb2.example"),
            instance(3, "edge", "lb1.example"),
        ]),
        "GET /api/v1/haproxy/instances/1/backends" => filtered(vec![backend(10, "shop")]),
        "GET /api/v1/haproxy/instances/2/backends" => filtered(vec![backend(20, "shop")]),
        "GET /api/v1/haproxy/instances/3/backends" => {
            filtered(vec![backend(30, "shop"), backend(31, "shop_internal")])
        }
        "GET /api/v1/haproxy/backends/10/servers" => filtered(vec![
            server(100, "shop_1"),
            server(101, "shop_10"),
            server(102, "shop_01"),
            server(103, "shop-1"),
            server(104, "Shop_1"),
            server(105, "01"),
        ]),
        "GET /api/v1/haproxy/backends/20/servers" => filtered(vec![server(200, "shop_1")]),
        "GET /api/v1/haproxy/backends/30/servers" => filtered(vec![server(300, "shop_2")]),
        "GET /api/v1/haproxy/backends/31/servers" => {
            filtered(vec![server(310, "shop_1"), server(311, "lone")])
        }
        "GET /api/v1/applications" => match query.split('&').next().unwrap() {
            "name=shop_1" => page(&json!([
                application(7, "shop_1", "web1.example"),
                application(8, "shop_1", "web2.example")
            ])),
            "name=shop_01" => page(&json!([application(10, "shop_01", "web01.example")])),
            "name=lone" => page(&json!([application(9, "lone", "web1.example")])),
            _ => page(&json!([])),
        },
        _ if path.ends_with("/action") => {
            let number: i64 = path.split('/').nth(5).unwrap().parse().unwrap();
            let action =
                json!({"id": ID, "server": number, "action": "drain", "status": "pending"});
            (202, action)
        }
        _ if path.ends_with("/batch/action") => (200, json!({"results": []})),
        _ if path.ends_with("/rollouts") => (202, json!({"rollout_ids": [ID]})),
        _ if path.ends_with("/history")
            || path.ends_with("/events")
            || path.ends_with("/versions") =>
        {
            page(&json!([{"at": AT}]))
        }
        _ => (
            200,
            json!({"id": 1, "server_id": 1, "status": "x", "last_sync_status": "success"}),
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_does_where_a_number_does() {
    let stub = Stub::start(service).await;
    for (arguments, line) in [
        (
            "haproxy drain edge/shop_internal/shop_1",
            "POST /api/v1/haproxy/servers/310/action",
        ),
        (
            "haproxy drain shop_internal/shop_1",
            "POST /api/v1/haproxy/servers/310/action",
        ),
        (
            "haproxy maint default@lb2/shop/shop_1",
            "POST /api/v1/haproxy/servers/200/action",
        ),
        (
            "haproxy ready default@lb1.example/shop/shop_1",
            "POST /api/v1/haproxy/servers/100/action",
        ),
        (
            "haproxy ready lone",
            "POST /api/v1/haproxy/servers/311/action",
        ),
        ("haproxy ready 5", "POST /api/v1/haproxy/servers/5/action"),
        (
            "haproxy history lone",
            "GET /api/v1/haproxy/servers/311/history?limit=50",
        ),
        (
            "haproxy map lone lone",
            "POST /api/v1/haproxy/servers/311/map",
        ),
        (
            "haproxy unmap shop/shop_2",
            "POST /api/v1/haproxy/servers/300/unmap",
        ),
        ("haproxy sync edge", "POST /api/v1/haproxy/instances/3/sync"),
        (
            "haproxy sync default@lb2",
            "POST /api/v1/haproxy/instances/2/sync",
        ),
        ("apps show shop_1@web2", "GET /api/v1/applications/8"),
        ("apps show lone", "GET /api/v1/applications/9"),
        // Zeros, `-` and `_`, and the case are parts of a name.
        ("apps show shop_01@web01", "GET /api/v1/applications/10"),
        (
            "haproxy drain shop_01",
            "POST /api/v1/haproxy/servers/102/action",
        ),
        (
            "haproxy drain shop-1",
            "POST /api/v1/haproxy/servers/103/action",
        ),
        (
            "haproxy drain Shop_1",
            "POST /api/v1/haproxy/servers/104/action",
        ),
        (
            "haproxy drain 01",
            "POST /api/v1/haproxy/servers/105/action",
        ),
        ("haproxy drain 1", "POST /api/v1/haproxy/servers/1/action"),
        (
            "apps history shop_1@web1.example",
            "GET /api/v1/applications/7/versions?limit=50",
        ),
        (
            "apps events 7",
            "GET /api/v1/applications/7/events?limit=50",
        ),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words);
        assert_eq!(done.code, Some(0), "{arguments}: {}", done.err);
        assert_eq!(stub.asked().last().unwrap().line, line, "{arguments}");
    }
    let asked = |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        stub.drover(&words);
        stub.asked().pop().unwrap().body
    };
    assert_eq!(asked("haproxy map lone lone")["application_id"], 9);
    assert_eq!(
        asked("haproxy drain lone 311 shop/shop_2")["servers"],
        json!([311, 300])
    );
    for apps in ["lone 7,shop_1@web2", "9,7 8"] {
        let body = asked(&format!("rollout start --distr-url u --app {apps}"));
        assert_eq!(body["app_ids"], json!([9, 7, 8]), "{apps}");
    }
    let done = stub.drover(&["haproxy", "show", "edge"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.lines()[2].starts_with("shop backend 30"),
        "{}",
        done.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_several_have_is_refused_with_all_of_them() {
    let stub = Stub::start(service).await;
    for (arguments, code, words) in [
        (
            "haproxy drain shop_1",
            64,
            &[
                "default@lb1.example/shop/shop_1 (number 100)",
                "edge@lb1.example/shop_internal/shop_1 (number 310)",
            ][..],
        ),
        (
            "haproxy drain shop/shop_1",
            64,
            &["(number 100)", "(number 200)"],
        ),
        (
            "haproxy drain default/shop/shop_1",
            64,
            &["(number 100)", "(number 200)"],
        ),
        ("haproxy drain lone shop_1", 64, &["(number 310)"]),
        (
            "haproxy show default",
            64,
            &[
                "default@lb1.example (number 1)",
                "default@lb2.example (number 2)",
            ],
        ),
        ("haproxy drain a/b/c/d", 64, &["BACKEND/SERVER"]),
        (
            "haproxy drain shop",
            5,
            &["there is no server in HAProxy `shop`"],
        ),
        ("haproxy drain lone nope", 5, &["`nope`"]),
        (
            "haproxy drain other/shop/shop_1",
            5,
            &["`other/shop/shop_1`"],
        ),
        (
            "haproxy show edge@lb2",
            5,
            &["there is no HAProxy instance `edge@lb2`"],
        ),
        ("haproxy show 4", 5, &["there is no HAProxy instance `4`"]),
        (
            "apps show shop_1",
            64,
            &[
                "shop_1@web1.example (number 7)",
                "shop_1@web2.example (number 8)",
            ],
        ),
        (
            "apps show shop_1@web3",
            5,
            &["there is no application `shop_1@web3`"],
        ),
        (
            "rollout start --distr-url u --app lone,shop_1",
            64,
            &["(number 7)"],
        ),
    ] {
        let arguments_of =
            |arguments: &str| arguments.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let words_typed = arguments_of(arguments);
        let words_typed: Vec<&str> = words_typed.iter().map(String::as_str).collect();
        let done = stub.drover(&words_typed);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(code), ""),
            "{arguments}: {}",
            done.err
        );
        for word in words {
            assert!(done.err.contains(word), "{arguments}: {}", done.err);
        }
    }
    // Not one of several is drained.
    let is_asked = |asked: &Asked| asked.line.starts_with("POST");
    assert!(!stub.asked().iter().any(is_asked), "{:?}", stub.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_behind_a_blank_is_no_server() {
    let stub = Stub::start(service).await;
    for arguments in [
        "haproxy drain 1 --wait 5",
        "haproxy drain --wait 5 1",
        "haproxy drain --wait 5",
        "haproxy maint 1 --wait 0.5",
        "haproxy ready lone --wait 30s",
        "haproxy ready 1 --reason x --wait 5 -o json",
        "-o json haproxy drain 1 --wait 5",
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{arguments}"
        );
        assert!(done.err.contains("--wait="), "{arguments}: {}", done.err);
    }
    assert_eq!(stub.asked(), []);
    // Nothing else takes a number that was meant for a flag before it.
    for arguments in [
        "rollout start --app 1 --distr-url u --watch 5",
        "rollout show 0190b3a4-7c00-7000-8000-000000000001 --watch 5",
        "workflows start --definition n --watch 5",
        "haproxy actions 1 2",
        "haproxy unmap 1 --release 5",
        "webhooks set 1 --off 5",
        "queues limit http --none 5",
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let done = stub.drover(&words);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{arguments}"
        );
    }
    assert_eq!(stub.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_an_haproxy_says_how_old_it_is() {
    for (status, error, words) in [
        ("success", Value::Null, "edge on lb1.example, as of "),
        (
            "failed",
            json!("refused"),
            " failed, what follows is older: refused",
        ),
        (
            "success",
            json!("2 backends cannot be read"),
            ": 2 backends cannot be read",
        ),
    ] {
        let error_of = error.clone();
        let stub = Stub::start(move |asked| {
            let (code, mut body) = service(asked);
            if asked.line.starts_with("GET /api/v1/haproxy/instances?") {
                for instance in body["items"].as_array_mut().unwrap() {
                    instance["last_sync_status"] = status.into();
                    instance["last_sync_error"] = error_of.clone();
                }
            }
            (code, body)
        })
        .await;
        let done = stub.drover(&["haproxy", "show", "edge"]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        let first = done.lines().swap_remove(0);
        assert!(first.contains(words) && first.contains(" ago"), "{first}");
    }
}
