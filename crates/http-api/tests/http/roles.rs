//! Who may do what, on every route of the document.

use axum::body::Body;
use axum::http::{Method, Request};
use drover_domain::access::Role;
use futures::stream;

use crate::world::World;

/// What every route is expected to need: written by hand, so that a change of the table is seen.
const EXPECTED: &[(&str, &str, Role)] = &[
    ("GET", "/access/keys", Role::Admin),
    ("POST", "/access/keys", Role::Admin),
    ("DELETE", "/access/keys/{id}", Role::Admin),
    ("GET", "/application-catalog", Role::Viewer),
    ("POST", "/application-catalog", Role::Admin),
    ("DELETE", "/application-catalog/{id}", Role::Admin),
    ("GET", "/application-catalog/{id}", Role::Viewer),
    ("PUT", "/application-catalog/{id}", Role::Admin),
    ("GET", "/application-groups", Role::Viewer),
    ("POST", "/application-groups", Role::Admin),
    ("DELETE", "/application-groups/{id}", Role::Admin),
    ("GET", "/application-groups/{id}", Role::Viewer),
    ("PUT", "/application-groups/{id}", Role::Admin),
    ("GET", "/applications", Role::Viewer),
    ("POST", "/applications/batch_update", Role::Operator),
    ("GET", "/applications/{id}", Role::Viewer),
    ("GET", "/applications/{id}/events", Role::Viewer),
    ("GET", "/applications/{id}/settings", Role::Viewer),
    ("PUT", "/applications/{id}/settings", Role::Admin),
    ("GET", "/applications/{id}/versions", Role::Viewer),
    ("GET", "/dead-letters", Role::Viewer),
    ("POST", "/dead-letters/redrive", Role::Operator),
    ("GET", "/events", Role::Viewer),
    ("GET", "/events/stream", Role::Viewer),
    ("GET", "/haproxy/actions", Role::Viewer),
    ("GET", "/haproxy/actions/{id}", Role::Viewer),
    ("GET", "/haproxy/backends/{id}/servers", Role::Viewer),
    ("POST", "/haproxy/batch/action", Role::Operator),
    ("GET", "/haproxy/instances", Role::Viewer),
    ("GET", "/haproxy/instances/{id}/backends", Role::Viewer),
    ("POST", "/haproxy/instances/{id}/sync", Role::Operator),
    ("POST", "/haproxy/mapping/remap", Role::Operator),
    ("GET", "/haproxy/servers/unmapped", Role::Viewer),
    ("POST", "/haproxy/servers/{id}/action", Role::Operator),
    ("GET", "/haproxy/servers/{id}/history", Role::Viewer),
    ("POST", "/haproxy/servers/{id}/map", Role::Operator),
    ("GET", "/haproxy/servers/{id}/mapping", Role::Viewer),
    ("GET", "/haproxy/servers/{id}/mapping/history", Role::Viewer),
    ("POST", "/haproxy/servers/{id}/unmap", Role::Operator),
    ("GET", "/haproxy/summary", Role::Viewer),
    ("GET", "/orchestrators", Role::Viewer),
    ("POST", "/orchestrators/scan", Role::Operator),
    ("GET", "/queues", Role::Viewer),
    ("PUT", "/queues/{name}", Role::Admin),
    ("POST", "/queues/{name}/pause", Role::Operator),
    ("POST", "/queues/{name}/resume", Role::Operator),
    ("GET", "/rollouts", Role::Viewer),
    ("POST", "/rollouts", Role::Operator),
    ("GET", "/rollouts/{id}", Role::Viewer),
    ("POST", "/rollouts/{id}/cancel", Role::Operator),
    ("GET", "/rollouts/{id}/events", Role::Viewer),
    ("POST", "/rollouts:plan", Role::Operator),
    ("GET", "/schedules", Role::Viewer),
    ("DELETE", "/schedules/{name}", Role::Operator),
    ("GET", "/schedules/{name}", Role::Viewer),
    ("PUT", "/schedules/{name}", Role::Operator),
    ("POST", "/schedules/{name}/pause", Role::Operator),
    ("POST", "/schedules/{name}/resume", Role::Operator),
    ("GET", "/servers", Role::Viewer),
    ("POST", "/servers", Role::Admin),
    ("DELETE", "/servers/{id}", Role::Admin),
    ("GET", "/servers/{id}", Role::Viewer),
    ("PATCH", "/servers/{id}", Role::Admin),
    ("PUT", "/servers/{id}", Role::Admin),
    ("PUT", "/servers/{id}/haproxy", Role::Admin),
    ("POST", "/servers/{id}/refresh", Role::Operator),
    ("GET", "/tasks", Role::Viewer),
    ("GET", "/tasks/{id}", Role::Viewer),
    ("POST", "/tasks/{id}/cancel", Role::Operator),
    ("GET", "/tasks/{id}/events", Role::Viewer),
    ("GET", "/webhook-deliveries", Role::Operator),
    ("GET", "/webhook-deliveries/{id}", Role::Operator),
    ("POST", "/webhook-deliveries/{id}/redeliver", Role::Operator),
    ("GET", "/webhooks", Role::Operator),
    ("POST", "/webhooks", Role::Admin),
    ("DELETE", "/webhooks/{id}", Role::Admin),
    ("GET", "/webhooks/{id}", Role::Operator),
    ("PUT", "/webhooks/{id}", Role::Admin),
    ("POST", "/webhooks/{id}/rotate-secret", Role::Admin),
    ("POST", "/webhooks/{id}/test", Role::Operator),
    ("POST", "/workers/claim", Role::Operator),
    ("POST", "/workers/complete", Role::Operator),
    ("POST", "/workers/fail", Role::Operator),
    ("POST", "/workers/heartbeat", Role::Operator),
    ("GET", "/workflow-definitions", Role::Viewer),
    ("POST", "/workflow-definitions", Role::Operator),
    ("GET", "/workflow-definitions/{name}", Role::Viewer),
    ("GET", "/workflows", Role::Viewer),
    ("POST", "/workflows", Role::Operator),
    ("GET", "/workflows/{id}", Role::Viewer),
    ("POST", "/workflows/{id}/cancel", Role::Operator),
    ("GET", "/workflows/{id}/history", Role::Viewer),
    ("POST", "/workflows/{id}/pause", Role::Operator),
    ("POST", "/workflows/{id}/resume", Role::Operator),
    ("POST", "/workflows/{id}/signals/{name}", Role::Operator),
    ("POST", "/workflows/{id}/start", Role::Operator),
    ("GET", "/workflows/{id}/tasks", Role::Viewer),
    ("GET", "/workflows/{id}/tasks/{task_id}", Role::Viewer),
    (
        "POST",
        "/workflows/{id}/tasks/{task_id}/resolve",
        Role::Operator,
    ),
    (
        "POST",
        "/workflows/{id}/tasks/{task_id}/retry",
        Role::Operator,
    ),
    (
        "POST",
        "/workflows/{id}/tasks/{task_id}/skip",
        Role::Operator,
    ),
    ("GET", "/ws/tasks/stream", Role::Viewer),
    ("GET", "/ws/workflows/{id}", Role::Viewer),
];

/// Routes without a key; the list may only shrink.
const OPEN: &[(&str, &str)] = &[
    ("GET", "/livez"),
    ("GET", "/openapi.json"),
    ("GET", "/readyz"),
];

const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

fn concrete(path: &str) -> String {
    let is_long = [
        "/rollouts/",
        "/tasks/",
        "/workflows/",
        "/actions/",
        "/webhook-deliveries/",
    ]
    .iter()
    .any(|part| path.contains(part));
    let id = if is_long {
        "00000000-0000-0000-0000-000000007000"
    } else {
        "9"
    };
    let path = path
        .replace("{id}", id)
        .replace("{task_id}", "00000000-0000-0000-0000-000000007009")
        .replace("{name}", "nobody");
    // A stream has no end that a test could wait for.
    if path.ends_with("/events/stream") {
        format!("{path}?after=nowhere")
    } else {
        path
    }
}

async fn document(world: &World) -> Vec<(String, String, serde_json::Value)> {
    let document = world.get("/openapi.json").await.ok(200).json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            routes.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    routes
}

#[tokio::test]
async fn the_document_has_exactly_the_expected_routes_and_roles() {
    let world = World::new().await;
    let (mut guarded, mut open) = (Vec::new(), Vec::new());
    for (method, path, operation) in document(&world).await {
        let schemes = operation["security"].as_array().map(Vec::len);
        if let Some(path) = path.strip_prefix("/api/v1") {
            assert_eq!(schemes, Some(2), "{path}");
            let role = Role::parse(operation["x-role"].as_str().unwrap()).unwrap();
            guarded.push((method, path.to_owned(), role));
        } else {
            assert_eq!(schemes, Some(0), "{path}");
            open.push((method, path));
        }
    }
    let owned = |(method, path, role): &(&str, &str, Role)| {
        ((*method).to_owned(), (*path).to_owned(), *role)
    };
    assert_eq!(guarded, EXPECTED.iter().map(owned).collect::<Vec<_>>());
    let owned = |(method, path): &(&str, &str)| ((*method).to_owned(), (*path).to_owned());
    assert_eq!(open, OPEN.iter().map(owned).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_route_asks_for_a_key_and_for_its_role() {
    let world = World::new().await;
    for prefix in ["/api/v1", "/api", ""] {
        for (method, path, needed) in EXPECTED {
            // The seed has its WebSockets at the root, and nothing else.
            if prefix.is_empty() && !path.starts_with("/ws/") {
                continue;
            }
            let path = concrete(&format!("{prefix}{path}"));
            let method: Method = method.parse().unwrap();
            let ask = |role| {
                world
                    .request(method.clone(), &path, role)
                    .body(Body::empty())
                    .unwrap()
            };

            let anonymous = world.send(ask(None)).await;
            anonymous.problem(401, "unauthenticated");
            assert_eq!(
                anonymous.header("www-authenticate"),
                "Bearer realm=\"drover\""
            );
            for role in [Role::Viewer, Role::Operator, Role::Admin] {
                let answer = world.send(ask(Some(role))).await;
                if role < *needed {
                    let problem = answer.problem(403, "forbidden");
                    assert!(
                        problem["detail"]
                            .as_str()
                            .unwrap()
                            .contains(needed.as_str()),
                        "{problem}"
                    );
                } else {
                    assert!(
                        !matches!(answer.status.as_u16(), 401 | 403 | 405 | 500..),
                        "{method} {path}: {answer:?}"
                    );
                    assert_ne!(answer.json()["code"], "no_such_route", "{method} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn no_route_has_a_method_that_the_document_does_not_know() {
    let world = World::new().await;
    let routes = document(&world).await;
    for (_, path, _) in &routes {
        let known: Vec<&str> = routes
            .iter()
            .filter(|(_, other, _)| other == path)
            .map(|(method, _, _)| method.as_str())
            .collect();
        let alias = path.replacen("/api/v1/", "/api/", 1);
        for method in METHODS
            .iter()
            .filter(|method| !known.contains(&method.as_str()))
        {
            for path in [path, &alias] {
                let request = world
                    .request(method.clone(), &concrete(path), None)
                    .body(Body::empty())
                    .unwrap();
                let answer = world.send(request).await;
                answer.problem(405, "method_not_allowed");
                let mut allowed: Vec<&str> = answer
                    .header("allow")
                    .split(',')
                    .filter(|method| *method != "HEAD")
                    .collect();
                allowed.sort_unstable();
                assert_eq!(allowed, known, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_head_request_needs_the_role_of_get() {
    let world = World::new().await;
    let ask = |role| {
        world
            .request(Method::HEAD, "/api/servers", role)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(world.send(ask(None)).await.status, 401);
    let answer = world.send(ask(Some(Role::Viewer))).await.ok(200);
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn wrong_keys_are_nobody() {
    let world = World::new().await;
    let good = world.key(Role::Viewer).to_owned();
    let other = world.key(Role::Admin).to_owned();
    // The public half of one key and the secret half of another.
    let mixed = format!("{}{}", good.get(..21).unwrap(), other.get(21..).unwrap());
    let unknown = good.replacen("0101", "0102", 1);
    for (name, value) in [
        ("authorization", format!("Bearer {mixed}")),
        ("authorization", format!("Bearer {unknown}")),
        ("authorization", format!("Basic {good}")),
        ("authorization", "Bearer".to_owned()),
        ("authorization", String::new()),
        ("x-api-key", mixed.clone()),
        ("x-api-key", "x".repeat(5_000)),
    ] {
        let request = Request::get("/api/v1/servers")
            .header(name, &value)
            .body(Body::empty())
            .unwrap();
        let answer = world.send(request).await;
        answer.problem(401, "unauthenticated");
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"drover\", error=\"invalid_token\""
        );
        assert!(!String::from_utf8_lossy(&answer.body).contains(&mixed));
    }
    let request = Request::get("/api/v1/servers")
        .header("x-api-key", good)
        .body(Body::empty())
        .unwrap();
    world.send(request).await.ok(200);
}

#[tokio::test]
async fn the_role_is_checked_before_the_body_is_read() {
    let world = World::new().await;
    let endless = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = world
        .request(
            Method::POST,
            "/api/applications/batch_update",
            Some(Role::Viewer),
        )
        .header("content-type", "application/json")
        .body(endless)
        .unwrap();
    world.send(request).await.problem(403, "forbidden");
}
