//! Every failure is a problem document, and the log has it once.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_http_api::Options;
use futures::stream;
use serde_json::{Value, json};

use crate::faulty::Mood;
use crate::world::{World, update};

const UPDATE: &str = "/api/v1/applications/batch_update";

async fn raw(
    world: &World,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> crate::world::Answer {
    let mut request = world.request(Method::POST, path, Some(Role::Admin));
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    world.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn unknown_routes_are_problems() {
    let world = World::new().await;
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v2/servers",
        "/api/servers/",
        "/api/v1/servers/1/nothing",
        "/%ff",
    ] {
        let problem = world.get(path).await.problem(404, "no_such_route");
        assert_eq!(problem["instance"], path);
    }
}

#[tokio::test]
async fn bad_ids_are_problems() {
    let world = World::new().await;
    for id in [
        "0",
        "-1",
        "x",
        "1.0",
        "9007199254740992",
        "99999999999999999999",
        "%00",
        "%ff",
        "1%20",
    ] {
        world
            .get(&format!("/api/servers/{id}"))
            .await
            .problem(400, "invalid_path_parameter");
    }
    for id in [
        "7",
        "00000000000000000000000000000007",
        "0190b3a4-7c00-7000-8000-00000000000g",
    ] {
        world
            .get(&format!("/api/tasks/{id}"))
            .await
            .problem(400, "invalid_path_parameter");
    }
}

#[tokio::test]
async fn absent_things_are_problems() {
    let world = World::new().await;
    for path in [
        "/api/servers/7",
        "/api/applications/7",
        "/api/applications/7/versions",
        "/api/haproxy/instances/7/backends",
        "/api/haproxy/backends/7/servers",
        "/api/tasks/00000000-0000-0000-0000-000000000007",
        "/api/tasks/00000000-0000-0000-0000-000000000007/events",
    ] {
        world.get(path).await.problem(404, "not_found");
    }
    world
        .post("/api/servers/7/refresh", Value::Null)
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn unknown_query_parameters_are_refused_everywhere() {
    let world = World::with_fleet().await;
    let id = |path: &'static str| {
        let world = &world;
        async move { world.get(path).await.ok(200).json()["items"][0]["id"].to_string() }
    };
    let (server, instance) = (id("/api/servers").await, id("/api/haproxy/instances").await);
    let app = world.apps[0];
    for path in [
        "servers",
        &format!("servers/{server}"),
        "applications",
        &format!("applications/{app}"),
        &format!("applications/{app}/versions"),
        "application-groups",
        "events",
        "haproxy/instances",
        &format!("haproxy/instances/{instance}/backends"),
        "tasks",
        "orchestrators",
        "workflows",
        "workflow-definitions",
        "schedules",
        "queues",
        "dead-letters",
    ] {
        world.get(&format!("/api/{path}")).await.ok(200);
        world
            .get(&format!("/api/{path}?dry_run=true"))
            .await
            .problem(400, "unknown_query_parameter");
    }
    for path in [&format!("servers/{server}/refresh"), "orchestrators/scan"] {
        world
            .post(&format!("/api/{path}?x"), Value::Null)
            .await
            .problem(400, "unknown_query_parameter");
    }
    for path in ["servers", "applications/batch_update"] {
        world
            .post(&format!("/api/{path}?x"), json!({}))
            .await
            .problem(400, "unknown_query_parameter");
    }
}

#[tokio::test]
async fn bad_bodies_are_problems() {
    let world = World::with(|options| Options {
        body_limit: 1_000,
        ..options
    })
    .await;
    for path in [UPDATE, "/api/v1/servers"] {
        for text in ["", "{", "not json", "{\"a\":1}}", "\u{0}"] {
            raw(&world, path, Some("application/json"), text)
                .await
                .problem(400, "malformed_body");
        }
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data"),
        ] {
            raw(&world, path, content_type, "{}")
                .await
                .problem(415, "unsupported_media_type");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
        raw(&world, path, Some("application/json"), large)
            .await
            .problem(413, "body_too_large");
        for (text, pointer) in [("[]", ""), ("null", ""), ("7", "")] {
            let answer = raw(&world, path, Some("application/json; charset=utf-8"), text).await;
            assert_eq!(answer.pointers(), [format!("{pointer} wrong_type")]);
        }
    }
}

#[tokio::test]
async fn bodies_of_the_engine_are_read_like_all_others() {
    let world = World::new().await;
    let workflow = "/api/v1/workflows/00000000-0000-0000-0000-000000007000";
    let task = format!("{workflow}/tasks/00000000-0000-0000-0000-000000007001");
    for (method, path, needs_body) in [
        (Method::POST, "/api/v1/workflows", true),
        (Method::POST, "/api/v1/workflow-definitions", true),
        (Method::PUT, "/api/v1/schedules/s", true),
        (Method::PUT, "/api/v1/queues/q", true),
        (Method::POST, &format!("{task}/resolve"), true),
        (Method::POST, "/api/v1/workers/claim", true),
        (Method::POST, "/api/v1/workers/heartbeat", true),
        (Method::POST, "/api/v1/workers/complete", true),
        (Method::POST, "/api/v1/workers/fail", true),
        (Method::POST, &format!("{workflow}/cancel"), false),
        (Method::POST, &format!("{workflow}/signals/go"), false),
        (Method::POST, "/api/v1/dead-letters/redrive", false),
    ] {
        let ask = async |path: &str, content_type: &str, text: &str| {
            let request = world.request(method.clone(), path, Some(Role::Admin));
            let request = request.header("content-type", content_type);
            world
                .send(request.body(Body::from(text.to_owned())).unwrap())
                .await
        };
        let json = "application/json";
        ask(path, json, "{").await.problem(400, "malformed_body");
        ask(path, "text/plain", "{}")
            .await
            .problem(415, "unsupported_media_type");
        ask(&format!("{path}?x"), json, "{}")
            .await
            .problem(400, "unknown_query_parameter");
        assert_eq!(ask(path, json, "null").await.pointers(), [" wrong_type"]);
        let refused = ask(path, json, "{\"x\":1}").await.pointers();
        assert!(
            refused.contains(&"/x unknown_field".to_owned()),
            "{path}: {refused:?}"
        );
        let empty = ask(path, json, "").await;
        assert_eq!(empty.status == 400, needs_body, "{path}: {empty:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_times_out() {
    let world = World::with(|options| Options {
        body_timeout: Duration::from_millis(20),
        ..options
    })
    .await;
    let endless = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    raw(&world, UPDATE, Some("application/json"), endless)
        .await
        .problem(408, "body_timeout");
    let broken = Body::from_stream(stream::iter([Err::<Vec<u8>, _>(std::io::Error::other(
        "gone",
    ))]));
    raw(&world, UPDATE, Some("application/json"), broken)
        .await
        .problem(400, "malformed_body");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let world = World::with(|options| Options {
        request_timeout: Duration::from_millis(20),
        ..options
    })
    .await;
    world.keys_mood.be(Mood::Hangs);
    world.get("/api/servers").await.problem(503, "timed_out");
    world.keys_mood.be(Mood::Works);
    world.get("/api/servers").await.ok(200);
}

#[tokio::test]
async fn too_many_requests_at_once_are_told_so_at_once() {
    let world = World::with(|options| Options {
        concurrency: 1,
        ..options
    })
    .await;
    world.keys_mood.be(Mood::Hangs);
    let mut first = Box::pin(world.get("/api/servers"));
    assert!(futures::poll!(&mut first).is_pending());
    world.get("/api/tasks").await.problem(503, "overloaded");
    world.get("/livez").await.ok(200);
    world.get("/readyz").await.ok(200);

    drop(first);
    world.keys_mood.be(Mood::Works);
    world.get("/api/tasks").await.ok(200);
}

#[tokio::test]
async fn request_ids_are_taken_or_made() {
    let world = World::new().await;
    for (given, expected) in [
        ("build-7.1_a", Some("build-7.1_a")),
        ("a b", None),
        ("", None),
    ] {
        for path in ["/api/servers", "/livez", "/nowhere"] {
            let request = world
                .request(Method::GET, path, Some(Role::Viewer))
                .header("x-request-id", given);
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            let id = answer.header("x-request-id");
            match expected {
                Some(expected) => assert_eq!(id, expected),
                None => assert_eq!(id.len(), 36, "{id}"),
            }
        }
    }
}

#[tokio::test]
async fn a_panic_is_the_problem_of_one_request() {
    let world = World::new().await;
    world.keys_mood.be(Mood::Panics);
    let problem = world.get("/api/servers").await.problem(500, "internal");
    assert!(!problem.to_string().contains("a bug"), "{problem}");
    world.keys_mood.be(Mood::Works);
    world.get("/api/servers").await.ok(200);
}

#[tokio::test]
async fn answers_are_neither_sniffed_nor_stored() {
    let world = World::new().await;
    for path in ["/api/servers", "/api/nowhere", "/livez", "/openapi.json"] {
        let answer = world.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let refused = world.post(UPDATE, update(&[])).await;
    assert_eq!(refused.header("cache-control"), "no-store");
}
