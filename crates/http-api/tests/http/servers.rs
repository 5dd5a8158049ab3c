//! Adding servers, refreshing them, scanning for playbooks.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_ports::AgentAddress;
use drover_testkit::agent::{Agent, Sight};
use drover_testkit::runner::Script;
use serde_json::{Value, json};

use crate::world::{World, application};

fn server(name: &str) -> Value {
    json!({ "name": name, "address": "192.0.2.9", "port": 11_011 })
}

#[tokio::test]
async fn a_server_is_added_and_found_where_it_says() {
    let world = World::new().await;
    for (prefix, name) in [("/api", "web01"), ("/api/v1", "web02")] {
        let answer = world
            .post(&format!("{prefix}/servers"), server(name))
            .await
            .ok(201);
        let id = answer.json()["id"].clone();
        assert_eq!(answer.header("location"), format!("{prefix}/servers/{id}"));
        let expected = json!({
            "id": id, "name": name, "address": "192.0.2.9", "port": 11_011, "status": "unknown", "is_haproxy_node": false,
            "last_check": null, "last_error": null, "inventory_at": null, "inventory_failures": 0, "networks": [],
            "created_at": "2023-11-14T22:13:20.000Z",
        });
        assert_eq!(answer.json(), expected);
        assert_eq!(
            world.get(answer.header("location")).await.ok(200).json(),
            expected
        );
    }
}

#[tokio::test]
async fn a_taken_name_is_a_conflict() {
    let world = World::new().await;
    world.post("/api/servers", server("web01")).await.ok(201);
    let problem = world
        .post("/api/servers", server("web01"))
        .await
        .problem(409, "already_exists");
    assert!(
        problem["detail"].as_str().unwrap().contains("`web01`"),
        "{problem}"
    );
    assert_eq!(
        world.get("/api/servers").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_taken_short_name_is_a_conflict_that_names_the_other() {
    let world = World::new().await;
    world.post("/api/servers", server("web1.msk")).await.ok(201);
    let other = world
        .post("/api/servers", server("web01.spb"))
        .await
        .ok(201)
        .json();
    for name in ["web1.spb", "WEB1"] {
        let problem = world
            .post("/api/servers", server(name))
            .await
            .problem(409, "already_exists");
        assert!(
            problem["detail"].as_str().unwrap().contains("`web1.msk`"),
            "{problem}"
        );
    }
    let path = format!("/api/servers/{}", other["id"]);
    world
        .ask(Method::PATCH, &path, json!({ "name": "web1.spb" }))
        .await
        .problem(409, "already_exists");
}

fn path_of(server: &Value) -> String {
    format!("/api/servers/{}", server["id"])
}

#[tokio::test]
async fn networks_are_kept_until_they_are_changed() {
    let world = World::new().await;
    let mut body = server("web1");
    body["networks"] = json!(["10.1.0.0/24", "10.2.0.7"]);
    let added = world.post("/api/servers", body).await.ok(201).json();
    let patch = async |body| world.ask(Method::PATCH, &path_of(&added), body).await;
    assert_eq!(added["networks"], json!(["10.1.0.0/24", "10.2.0.7/32"]));
    let renamed = patch(json!({ "name": "web2" })).await.ok(200).json();
    assert_eq!(renamed["networks"], added["networks"]);
    let changed = patch(json!({ "networks": [] })).await.ok(200).json();
    assert_eq!(changed["networks"], json!([]));
    for (networks, expected) in [
        (json!(["10.1.0.0/24", "10.1.0.1/24"]), "/networks/1 invalid"),
        (json!(["0.0.0.0/0"]), "/networks/0 invalid"),
        (json!(["web1"]), "/networks/0 invalid"),
        (json!("10.1.0.0/24"), "/networks wrong_type"),
    ] {
        let refused = patch(json!({ "networks": networks })).await;
        assert_eq!(refused.pointers(), [expected], "{networks}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_server_is_refused_with_its_place() {
    let world = World::new().await;
    for (body, expected) in [
        (
            json!({}),
            vec!["/name missing", "/address missing", "/port missing"],
        ),
        (
            json!({ "name": "web 1", "address": "192.0.2.9", "port": 1 }),
            vec!["/name invalid"],
        ),
        (
            json!({ "name": "-x", "address": "192.0.2.9", "port": 1 }),
            vec!["/name invalid"],
        ),
        (
            json!({ "name": "x".repeat(65), "address": "192.0.2.9", "port": 1 }),
            vec!["/name invalid"],
        ),
        (
            json!({ "name": "localhost", "address": "169.254.169.254", "port": 1 }),
            vec!["/name invalid"],
        ),
        (
            json!({ "name": "web01", "address": "169.254.169.254", "port": 1 }),
            vec!["/address invalid"],
        ),
        (
            json!({ "name": "web:1", "address": "192.0.2.9", "port": 1 }),
            vec!["/name invalid"],
        ),
        (
            json!({ "name": "web01", "address": "http://192.0.2.9", "port": 1 }),
            vec!["/address invalid"],
        ),
        (
            json!({ "name": "web01", "address": "192.0.2.9:11011", "port": 1 }),
            vec!["/address invalid"],
        ),
        (
            json!({ "name": "web01", "address": "192.0.2.9", "port": 0 }),
            vec!["/port out_of_range"],
        ),
        (
            json!({ "name": "web01", "address": "192.0.2.9", "port": 65_536 }),
            vec!["/port out_of_range"],
        ),
        (
            json!({ "name": "web01", "address": "192.0.2.9", "port": "1" }),
            vec!["/port wrong_type"],
        ),
        (
            json!({ "name": 7, "address": null, "port": 1.5 }),
            vec![
                "/name wrong_type",
                "/address wrong_type",
                "/port wrong_type",
            ],
        ),
        (
            json!({ "name": "web01", "address": "::1", "port": 1, "is_haproxy_node": "yes", "role": "lb" }),
            vec!["/is_haproxy_node wrong_type", "/role unknown_field"],
        ),
    ] {
        assert_eq!(
            world.post("/api/servers", body.clone()).await.pointers(),
            expected,
            "{body}"
        );
    }
    assert_eq!(world.get("/api/servers").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_refresh_tells_what_the_agent_said() {
    let world = World::new().await;
    world.post("/api/servers", server("web01")).await.ok(201);
    let address = AgentAddress {
        host: "192.0.2.9".to_owned(),
        port: 11_011,
    };
    let sight = Sight {
        applications: vec![application("192.0.2.9", 1)],
        ..Sight::default()
    };
    for (agent, outcome, applications, status) in [
        (None, "unreachable", 0, "unknown"),
        (Some(Agent::SpeaksNonsense), "unreadable", 0, "online"),
        (Some(Agent::Answers(sight.clone())), "stored", 1, "online"),
        (Some(Agent::Answers(sight)), "unchanged", 1, "online"),
        (
            Some(Agent::Answers(Sight::default())),
            "suspect",
            0,
            "online",
        ),
    ] {
        if let Some(agent) = agent {
            world.agents.arrange(address.clone(), agent);
        }
        let report = world
            .post("/api/servers/1/refresh", Value::Null)
            .await
            .ok(200)
            .json();
        assert_eq!(report["outcome"], outcome, "{report}");
        assert_eq!(report["applications"], applications, "{report}");
        assert_eq!(
            report["detail"].is_null(),
            matches!(outcome, "stored" | "unchanged"),
            "{report}"
        );
        assert_eq!(report["server"]["status"], status, "{report}");
        // Whatever the agent said, what is known stays known.
        let known = world.get("/api/applications").await.json()["items"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(
            known,
            usize::from(matches!(outcome, "stored" | "unchanged" | "suspect")),
            "{outcome}"
        );
    }
}

#[tokio::test]
async fn a_scan_tells_what_it_found() {
    let world = World::new().await;
    let report = world
        .post("/api/orchestrators/scan", Value::Null)
        .await
        .ok(200)
        .json();
    assert_eq!(
        report,
        json!({ "scanned": 1, "new": 1, "updated": 0, "errors": [] })
    );
    world
        .runner
        .script("orchestrator-other.yaml", Script::new());
    let report = world
        .post("/api/orchestrators/scan", Value::Null)
        .await
        .ok(200)
        .json();
    assert_eq!(
        report,
        json!({ "scanned": 2, "new": 1, "updated": 0, "errors": [] })
    );

    world.runner.go_away(1);
    world
        .post("/api/orchestrators/scan", Value::Null)
        .await
        .problem(503, "unavailable");
}

#[tokio::test]
async fn a_server_is_changed_only_as_it_was_seen() {
    let world = World::new().await;
    world.post("/api/servers", server("web01")).await.ok(201);
    world.post("/api/servers", server("web02")).await.ok(201);
    let seen = world.get("/api/servers/1").await.ok(200);
    let tag = seen.header("etag").to_owned();
    let ask = async |method: Method, tag: Option<&str>, body: Value| {
        let mut request = world.request(method, "/api/servers/1", Some(Role::Admin));
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            let request = request.header("content-type", "application/json");
            request.body(Body::from(body.to_string()))
        };
        world.send(request.unwrap()).await
    };
    let place =
        |name: &str, port: u16| json!({ "name": name, "address": "192.0.2.9", "port": port });
    let renamed = ask(Method::PUT, Some(&tag), place("web01.example", 11_011))
        .await
        .ok(200);
    assert_eq!(renamed.json()["name"], "web01.example");
    let new_tag = renamed.header("etag").to_owned();
    assert_ne!(new_tag, tag);
    assert_eq!(
        world.get("/api/servers/1").await.ok(200).header("etag"),
        new_tag
    );
    ask(Method::PUT, Some(&tag), place("web09", 1))
        .await
        .problem(412, "precondition_failed");
    ask(Method::PUT, Some("web09"), place("web09", 1))
        .await
        .problem(400, "invalid_header");
    ask(Method::PUT, None, place("web02", 1))
        .await
        .problem(409, "already_exists");
    let wrong = ask(
        Method::PUT,
        None,
        json!({ "name": "", "address": "a b", "port": 0, "is_haproxy_node": true }),
    )
    .await;
    assert_eq!(
        wrong.pointers(),
        ["/port out_of_range", "/is_haproxy_node unknown_field"]
    );
    let moved = ask(Method::PUT, None, place("web01.example", 12_000))
        .await
        .ok(200)
        .json();
    assert_eq!(
        (&moved["port"], &moved["status"]),
        (&json!(12_000), &json!("unknown"))
    );

    ask(Method::DELETE, Some(&new_tag), Value::Null)
        .await
        .problem(412, "precondition_failed");
    ask(Method::DELETE, Some("*"), Value::Null).await.ok(204);
    world.get("/api/servers/1").await.problem(404, "not_found");
    ask(Method::DELETE, None, Value::Null)
        .await
        .problem(404, "not_found");
    assert_eq!(
        world.get("/api/servers").await.ok(200).json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn what_the_caller_has_already_is_not_sent() {
    let world = World::new().await;
    world.post("/api/servers", server("web01")).await.ok(201);
    let tag = world
        .get("/api/servers/1")
        .await
        .ok(200)
        .header("etag")
        .to_owned();
    for (given, status) in [(tag.as_str(), 304), ("\"other\"", 200), ("*", 304)] {
        let request = world.request(Method::GET, "/api/servers/1", Some(Role::Viewer));
        let request = request.header("if-none-match", given).body(Body::empty());
        let answer = world.send(request.unwrap()).await.ok(status);
        assert_eq!(answer.header("etag"), tag);
    }
}
