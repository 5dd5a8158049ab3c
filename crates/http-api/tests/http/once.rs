//! A request whose answer was lost, made again: each route has its effect once.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn with_key(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let request = world
        .request(Method::POST, path, Some(Role::Admin))
        .header("idempotency-key", key);
    let request = if body.is_null() {
        request.body(Body::empty())
    } else {
        request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
    };
    world.send(request.unwrap()).await
}

/// The same request twice: the same answer, and the second one is marked.
async fn twice(world: &World, path: &str, status: u16, body: Value) -> Value {
    let first = with_key(world, path, "k", &body).await.ok(status);
    assert_eq!(first.header("idempotency-replayed"), "", "{path}");
    let again = with_key(world, path, "k", &body).await.ok(status);
    assert_eq!(again.header("idempotency-replayed"), "true", "{path}");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.json(), first.json(), "{path}");
    first.json()
}

async fn count(world: &World, path: &str) -> usize {
    let listed = world.get(path).await.ok(200).json();
    listed["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_server_is_added_once() {
    let world = World::new().await;
    let body = json!({ "name": "web01", "address": "192.0.2.1", "port": 11_011 });
    twice(&world, "/api/v1/servers", 201, body.clone()).await;
    assert_eq!(count(&world, "/api/v1/servers").await, 1);
    // Without a key, and with another place, it is a conflict.
    world
        .post("/api/v1/servers", body.clone())
        .await
        .problem(409, "already_exists");
    let mut other = body;
    other["port"] = json!(11_012);
    with_key(&world, "/api/v1/servers", "k", &other)
        .await
        .problem(409, "already_exists");
}

#[tokio::test]
async fn groups_and_catalog_entries_are_added_once_by_their_names() {
    let world = World::new().await;
    for (path, body) in [
        ("/api/v1/application-groups", json!({ "name": "jurws" })),
        (
            "/api/v1/application-catalog",
            json!({ "name": "jurws", "app_type": "service" }),
        ),
    ] {
        with_key(&world, path, "k", &body).await.ok(201);
        let again = with_key(&world, path, "k", &body).await;
        again.problem(409, "already_exists");
        assert_eq!(count(&world, path).await, 1);
    }
}

#[tokio::test]
async fn a_webhook_is_added_once_and_its_secret_is_not_lost() {
    let world = World::new().await;
    let body = json!({ "url": "https://hooks.example/drover" });
    let made = twice(&world, "/api/v1/webhooks", 201, body).await;
    assert_eq!(made["secret"], "whsec_0");
    assert_eq!(count(&world, "/api/v1/webhooks").await, 1);
    let other = json!({ "url": "https://hooks.example/other" });
    with_key(&world, "/api/v1/webhooks", "k", &other)
        .await
        .problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_secret_is_changed_once() {
    let world = World::new().await;
    let body = json!({ "url": "https://hooks.example/drover" });
    let made = world.post("/api/v1/webhooks", body).await.ok(201).json();
    let path = format!("/api/v1/webhooks/{}/rotate-secret", made["webhook"]["id"]);
    let rotated = twice(&world, &path, 200, Value::Null).await;
    assert_eq!(rotated["secret"], "whsec_1");
}

#[tokio::test]
async fn a_message_is_tested_and_sent_again_once() {
    let world = World::new().await;
    let body = json!({ "url": "https://hooks.example/drover" });
    let made = world.post("/api/v1/webhooks", body).await.ok(201).json();
    let path = format!("/api/v1/webhooks/{}/test", made["webhook"]["id"]);
    let tested = twice(&world, &path, 202, Value::Null).await;
    assert_eq!(count(&world, "/api/v1/webhook-deliveries").await, 1);
    let id = tested["id"].as_str().unwrap();
    let path = format!("/api/v1/webhook-deliveries/{id}/redeliver");
    let again = twice(&world, &path, 202, Value::Null).await;
    assert_ne!(again["id"], tested["id"]);
    assert_eq!(count(&world, "/api/v1/webhook-deliveries").await, 2);
}

#[tokio::test]
async fn servers_in_haproxy_are_set_once() {
    let world = World::with_fleet().await;
    let backends = world.get("/api/v1/haproxy/summary").await.ok(200).json();
    assert!(backends.is_object());
    let instances = world.get("/api/v1/haproxy/instances").await.ok(200).json();
    let instance = &instances["items"][0]["id"];
    let path = format!("/api/v1/haproxy/instances/{instance}/backends");
    let backend = world.get(&path).await.ok(200).json()["items"][0]["id"].clone();
    let path = format!("/api/v1/haproxy/backends/{backend}/servers");
    let servers = world.get(&path).await.ok(200).json();
    let ids: Vec<&Value> = servers["items"]
        .as_array()
        .unwrap()
        .iter()
        .take(2)
        .map(|server| &server["id"])
        .collect();
    let body = json!({ "servers": ids, "action": "drain" });
    let path = "/api/v1/haproxy/batch/action";
    let first = with_key(&world, path, "k", &body).await.ok(200).json();
    let again = with_key(&world, path, "k", &body).await.ok(200).json();
    let made = |results: &Value| -> Vec<Value> {
        let results = results["results"].as_array().unwrap();
        let actions = results.iter().map(|result| result["action"]["id"].clone());
        actions.collect()
    };
    assert_eq!(made(&first), made(&again));
    assert_eq!(count(&world, "/api/v1/haproxy/actions").await, 2);
    let long = "k".repeat(200);
    with_key(&world, path, &long, &body)
        .await
        .problem(400, "invalid_header");
}

#[tokio::test]
async fn dead_letters_are_done_again_once() {
    let world = World::new().await;
    let path = "/api/v1/dead-letters/redrive";
    let first = with_key(&world, path, "k", &json!({})).await.ok(200).json();
    assert_eq!(first["task_ids"], json!([]));
    let again = with_key(&world, path, "k", &json!({})).await.ok(200);
    assert_eq!(again.json(), first);
    with_key(&world, path, "k", &json!({ "code": "io" }))
        .await
        .problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn reading_again_changes_nothing() {
    let world = World::with_fleet().await;
    let servers = world.get("/api/v1/servers").await.ok(200).json();
    let refresh = format!("/api/v1/servers/{}/refresh", servers["items"][0]["id"]);
    let before = count(&world, "/api/v1/orchestrators").await;
    for path in ["/api/v1/orchestrators/scan", refresh.as_str()] {
        with_key(&world, path, "k", &Value::Null).await.ok(200);
        with_key(&world, path, "k", &Value::Null).await.ok(200);
    }
    assert_eq!(count(&world, "/api/v1/orchestrators").await, before);
}
