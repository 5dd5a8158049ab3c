//! API keys: issued, used, refused.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, KeyOrigin, Role};
use drover_http_api::ApiKeyText;
use drover_ports::AccessKeys;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{Answer, World};

const KEYS: &str = "/api/v1/access/keys";

async fn issued(world: &World, name: &str, role: &str) -> Value {
    let body = json!({ "name": name, "role": role });
    world.post(KEYS, body).await.ok(201).json()
}

fn with_key(method: Method, path: &str, key: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .body(Body::empty())
        .unwrap()
}

async fn ask_with(world: &World, key: &str, path: &str) -> Answer {
    world.send(with_key(Method::GET, path, key)).await
}

#[tokio::test]
async fn a_key_is_issued_used_and_revoked() {
    let world = World::new().await;
    let body =
        json!({ "name": "build server", "role": "operator", "expires_at": "2030-01-31T12:00:00Z" });
    let answer = world.post(KEYS, body).await.ok(201);
    let path = answer.header("location").to_owned();
    let issued = answer.json();
    let (id, key) = (
        issued["id"].as_str().unwrap(),
        issued["key"].as_str().unwrap(),
    );
    assert_eq!(path, format!("{KEYS}/{id}"));
    assert!(key.starts_with(&format!("drv_{id}_")), "{key}");
    let listed = json!({
        "id": id, "name": "build server", "role": "operator", "origin": "issued", "created_by": "the admin",
        "created_at": "2023-11-14T22:13:20.000Z", "expires_at": "2030-01-31T12:00:00.000Z",
    });
    let list = world.get(KEYS).await.ok(200);
    assert!(list.json()["items"].as_array().unwrap().contains(&listed));
    let text = String::from_utf8(list.body.to_vec()).unwrap();
    let secret = &key["drv_0123456789abcdef_".len()..];
    assert!(!text.contains(secret), "no secret is listed");

    ask_with(&world, key, "/api/v1/webhooks").await.ok(200);
    ask_with(&world, key, KEYS).await.problem(403, "forbidden");
    // The name of the key is the actor of its requests.
    world.ask(Method::DELETE, &path, Value::Null).await.ok(204);
    let refusal = ask_with(&world, key, "/api/v1/webhooks").await;
    refusal.problem(401, "unauthenticated");
    world
        .ask(Method::DELETE, &path, Value::Null)
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn the_actor_of_a_request_is_the_name_of_its_key() {
    let world = World::new().await;
    let key = issued(&world, "Anna's laptop", "admin").await["key"].clone();
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/webhooks")
        .header("x-api-key", key.as_str().unwrap())
        .header("content-type", "application/json")
        .body(Body::from(
            json!({ "url": "https://hooks.example/a" }).to_string(),
        ))
        .unwrap();
    let made = world.send(request).await.ok(201).json();
    assert_eq!(made["webhook"]["created_by"], "Anna's laptop");
}

#[tokio::test]
async fn an_expired_key_is_refused_with_its_end() {
    let world = World::new().await;
    let (text, key) = ApiKeyText::compose([9; 8], [9; 32]);
    let stored = ApiKey {
        public_id: text.public_id().to_owned(),
        digest: text.digest(),
        role: Role::Admin,
        name: "of last year".to_owned(),
        origin: KeyOrigin::Issued,
        created_by: None,
        created_at: Timestamp::EPOCH,
        expires_at: Some(Timestamp::from_micros(1_700_000_000_000_000)),
    };
    AccessKeys::insert(&*world.store, &stored).await.unwrap();
    let refusal = ask_with(&world, &key, "/api/v1/servers").await;
    let detail = refusal.problem(401, "unauthenticated")["detail"].clone();
    let detail = detail.as_str().unwrap();
    assert!(
        detail.contains("`of last year` has expired at 2023-11-14"),
        "{detail}"
    );
    // With a wrong secret nothing is said about the key.
    let (_, wrong) = ApiKeyText::compose([9; 8], [8; 32]);
    let refusal = ask_with(&world, &wrong, "/api/v1/servers").await;
    let detail = refusal.problem(401, "unauthenticated")["detail"].clone();
    assert!(
        !detail.as_str().unwrap().contains("of last year"),
        "{detail}"
    );
}

#[tokio::test]
async fn wrong_keys_are_refused_before_they_are_issued() {
    let world = World::new().await;
    for (body, place) in [
        (json!({ "role": "viewer" }), "/name missing"),
        (json!({ "name": "a" }), "/role missing"),
        (json!({ "name": "a", "role": "root" }), "/role invalid"),
        (
            json!({ "name": "a", "role": "viewer", "expires_at": "tomorrow" }),
            "/expires_at invalid",
        ),
        (
            json!({ "name": "a", "role": "viewer", "expires_at": 7 }),
            "/expires_at wrong_type",
        ),
        (
            json!({ "name": "a", "role": "viewer", "secret": "x" }),
            "/secret unknown_field",
        ),
    ] {
        let places = world.post(KEYS, body.clone()).await.pointers();
        assert_eq!(places, [place], "{body}");
    }
    for name in ["", " a ", "a\nb", &"x".repeat(256)] {
        let body = json!({ "name": name, "role": "viewer" });
        let places = world.post(KEYS, body).await.pointers();
        assert!(places[0].starts_with("/name "), "{name:?}: {places:?}");
    }
    let past = json!({ "name": "a", "role": "viewer", "expires_at": "2023-11-14T22:13:20Z" });
    let detail = world.post(KEYS, past).await.problem(422, "refused")["detail"].clone();
    assert_eq!(detail, "`expires_at` must be in the future");
    issued(&world, "a", "viewer").await;
    let again = world
        .post(KEYS, json!({ "name": "a", "role": "admin" }))
        .await;
    again.problem(409, "already_exists");
    let whole = "/api/v1/access/keys/drv_0101010101010101_secretsecret";
    let refusal = world.ask(Method::DELETE, whole, Value::Null).await;
    let detail = refusal.problem(400, "invalid_path_parameter")["detail"].clone();
    assert!(
        !detail.as_str().unwrap().contains("secretsecret"),
        "{detail}"
    );
}

#[tokio::test]
async fn the_last_administrator_is_not_revoked() {
    let world = World::new().await;
    let own = format!("{KEYS}/{}", "03".repeat(8));
    let refusal = world.ask(Method::DELETE, &own, Value::Null).await;
    let detail = refusal.problem(409, "conflict")["detail"].clone();
    assert!(
        detail
            .as_str()
            .unwrap()
            .contains("the last one with the role admin"),
        "{detail}"
    );
    let body = json!({ "name": "passing", "role": "admin", "expires_at": "2030-01-31T12:00:00Z" });
    world.post(KEYS, body).await.ok(201);
    world
        .ask(Method::DELETE, &own, Value::Null)
        .await
        .problem(409, "conflict");
    issued(&world, "another", "admin").await;
    world.ask(Method::DELETE, &own, Value::Null).await.ok(204);
    world.get(KEYS).await.problem(401, "unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_a_revoked_key_waits_five_seconds_at_most() {
    let world = World::new().await;
    let key = issued(&world, "worker", "operator").await;
    let claim = || {
        let body = json!({ "worker": "w1", "queues": ["default"], "wait_s": 30 });
        Request::builder()
            .method(Method::POST)
            .uri("/api/v1/workers/claim")
            .header("x-api-key", key["key"].as_str().unwrap())
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    let begun = tokio::time::Instant::now();
    let revoke = async {
        let path = format!("{KEYS}/{}", key["id"].as_str().unwrap());
        tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>())
            .await
            .unwrap_err();
        world.ask(Method::DELETE, &path, Value::Null).await.ok(204);
    };
    let (answer, ()) = tokio::join!(world.send(claim()), revoke);
    assert_eq!(answer.ok(200).json()["tasks"], json!([]));
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    world.send(claim()).await.problem(401, "unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn streams_of_a_revoked_key_end_within_five_seconds() {
    let world = World::new().await;
    let key = issued(&world, "reader", "viewer").await;
    let path = "/api/v1/events/stream";
    let request = with_key(Method::GET, path, key["key"].as_str().unwrap());
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.into_body().into_data_stream();
    stream.next().await.unwrap().unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(7), stream.next()).await;
    assert!(quiet.is_err(), "a valid key goes on: {quiet:?}");
    let revoke = format!("{KEYS}/{}", key["id"].as_str().unwrap());
    world
        .ask(Method::DELETE, &revoke, Value::Null)
        .await
        .ok(204);
    let end = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
}
