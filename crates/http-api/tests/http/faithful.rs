//! What users give for others comes out as it went in.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;

use crate::world::{Answer, World};

/// Every kind of value that a float or a sorted map would change.
const DOCUMENT: &str = r#"{"z":123456789012345.67,"a":12345678901234567890123,"m":[1e2,1E-3,-0.0,100.0,0.10,1.50],"b":{"y":1,"x":"é\n"}}"#;

async fn send(world: &World, method: Method, path: &str, body: String) -> Answer {
    let request = world
        .request(method, path, Some(Role::Admin))
        .header("content-type", "application/json");
    world.send(request.body(Body::from(body)).unwrap()).await
}

async fn shown(world: &World, path: &str) -> String {
    let answer = world.get(path).await.ok(200);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn documents_come_out_as_they_went_in() {
    let world = World::new().await;
    let task = format!(r#"{{"key":"a","kind":"remote","payload":{DOCUMENT}}}"#);
    let waits = r#"{"key":"b","kind":"signal.wait","payload":{"signal":"go"}}"#;
    let definition = format!(r#"{{"name":"exact","tasks":[{task},{waits}]}}"#);
    send(
        &world,
        Method::POST,
        "/api/v1/workflow-definitions",
        definition,
    )
    .await
    .ok(201);
    let start = format!(r#"{{"definition":{{"name":"exact"}},"input":{DOCUMENT}}}"#);
    let started = send(&world, Method::POST, "/api/v1/workflows", start)
        .await
        .ok(202);
    let workflow = started.header("location").to_owned();
    let schedule = format!(r#"{{"definition":"exact","cron":"0 0 1 1 *","input":{DOCUMENT}}}"#);
    send(&world, Method::PUT, "/api/v1/schedules/s", schedule)
        .await
        .ok(200);

    let claim = r#"{"worker":"w","queues":["default"]}"#.to_owned();
    let claimed = send(&world, Method::POST, "/api/v1/workers/claim", claim)
        .await
        .ok(200);
    assert!(
        std::str::from_utf8(&claimed.body)
            .unwrap()
            .contains(DOCUMENT),
        "{claimed:?}"
    );
    let claimed = claimed.json();
    let (lease, task) = (&claimed["lease_id"], &claimed["tasks"][0]);
    let report = format!(
        r#"{{"lease_id":{lease},"task_id":{},"attempt":{},"result":{DOCUMENT}}}"#,
        task["task_id"], task["attempt"]
    );
    send(&world, Method::POST, "/api/v1/workers/complete", report)
        .await
        .ok(200);
    let signal = format!(r#"{{"payload":{DOCUMENT}}}"#);
    let path = format!("{workflow}/signals/go");
    let signalled = send(&world, Method::POST, &path, signal).await;
    assert!(signalled.status.is_success(), "{signalled:?}");

    let task = task["task_id"].as_str().unwrap();
    for (path, times) in [
        (workflow.clone(), 3),
        (format!("{workflow}/tasks/{task}"), 2),
        ("/api/v1/workflow-definitions/exact".to_owned(), 1),
        ("/api/v1/schedules/s".to_owned(), 1),
    ] {
        let text = shown(&world, &path).await;
        assert_eq!(text.matches(DOCUMENT).count(), times, "{path}: {text}");
    }
}

#[tokio::test]
async fn bodies_that_two_readers_read_differently_are_refused() {
    let world = World::new().await;
    let path = "/api/v1/workflows";
    for (body, expected) in [
        (
            r#"{"tasks":[{"key":"a","kind":"remote","payload":{"method":"GET","method":"DELETE"}}]}"#,
            "/tasks/0/payload/method repeated",
        ),
        (r#"{"tasks":[],"tasks":[]}"#, "/tasks repeated"),
        (
            r#"{"tasks":[{"key":"a","kind":"remote","payload":{"a/b":[{"x":1,"x":1}]}}]}"#,
            "/tasks/0/payload/a~1b/0/x repeated",
        ),
    ] {
        let answer = send(&world, Method::POST, path, body.to_owned()).await;
        assert_eq!(answer.pointers(), [expected]);
    }
    let deep = format!(
        r#"{{"tasks":[{{"key":"a","kind":"remote","payload":{}{}}}]}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let answer = send(&world, Method::POST, path, deep).await;
    assert_eq!(answer.pointers(), [" too_deep"]);
    assert!(answer.places().1.contains("125 are allowed"), "{answer:?}");
}

#[tokio::test]
async fn halves_of_character_pairs_are_replaced_and_not_refused() {
    let world = World::new().await;
    let body = r#"{"tasks":[{"key":"a","kind":"remote","payload":{"file":"gar\udce7on"}}]}"#;
    let started = send(&world, Method::POST, "/api/v1/workflows", body.to_owned())
        .await
        .ok(202);
    let claim = r#"{"worker":"w","queues":["default"]}"#.to_owned();
    let claimed = send(&world, Method::POST, "/api/v1/workers/claim", claim)
        .await
        .ok(200);
    assert_eq!(
        claimed.json()["tasks"][0]["payload"]["file"],
        "gar\u{fffd}on",
        "{started:?}"
    );
}
