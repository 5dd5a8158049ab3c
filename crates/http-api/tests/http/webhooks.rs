//! Webhooks: receivers and deliveries.

use axum::http::Method;
use serde_json::{Value, json};

use crate::world::World;

const URL: &str = "https://hooks.example/drover";

async fn made(world: &World) -> Value {
    let body =
        json!({ "url": URL, "description": "the board", "events": ["server.status_changed"] });
    world.post("/api/v1/webhooks", body).await.ok(201).json()
}

#[tokio::test]
async fn a_webhook_is_made_changed_and_removed() {
    let world = World::new().await;
    let answer = world.post("/api/webhooks", json!({ "url": URL })).await;
    let answer = answer.ok(201);
    let path = answer.header("location").to_owned();
    let made = answer.json();
    assert_eq!(made["secret"], "whsec_0");
    let webhook = &made["webhook"];
    assert_eq!(
        *webhook,
        json!({
            "id": webhook["id"], "url": URL, "description": null, "events": [], "active": true, "disabled": null,
            "created_at": "2023-11-14T22:13:20.000Z", "created_by": "the admin",
        })
    );
    assert_eq!(world.get(&path).await.ok(200).json(), *webhook);
    let listed = world.get("/api/webhooks").await.ok(200).json();
    assert_eq!(listed, json!({ "items": [webhook] }));

    let body = json!({ "url": URL, "events": ["haproxy.action.finished", "haproxy.action.finished"], "active": false });
    let changed = world.ask(Method::PUT, &path, body).await.ok(200).json();
    assert_eq!(
        (&changed["events"], &changed["active"]),
        (&json!(["haproxy.action.finished"]), &json!(false))
    );
    let rotated = world
        .post(&format!("{path}/rotate-secret"), Value::Null)
        .await;
    assert_eq!(rotated.ok(200).json(), json!({ "secret": "whsec_1" }));
    world.ask(Method::DELETE, &path, Value::Null).await.ok(204);
    world.get(&path).await.problem(404, "not_found");
    world
        .ask(Method::DELETE, &path, Value::Null)
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_message_is_started_and_found() {
    let world = World::new().await;
    let id = made(&world).await["webhook"]["id"].clone();
    let tried = world
        .post(&format!("/api/webhooks/{id}/test"), Value::Null)
        .await;
    let delivery = tried.ok(202).json()["id"].as_str().unwrap().to_owned();
    let found = world
        .get(&format!("/api/webhook-deliveries/{delivery}"))
        .await
        .ok(200)
        .json();
    assert_eq!(
        found,
        json!({
            "id": delivery, "webhook_id": id, "message_id": found["message_id"], "event": "webhook.test",
            "status": "pending", "created_at": "2023-11-14T22:13:20.000Z", "payload": found["payload"], "attempts": [],
        })
    );
    let listed = world
        .get(&format!(
            "/api/webhook-deliveries?webhook_id={id}&status=pending&event=webhook.test"
        ))
        .await
        .ok(200)
        .json();
    assert_eq!(listed["items"], json!([found]));
    let again = world
        .post(
            &format!("/api/webhook-deliveries/{delivery}/redeliver"),
            Value::Null,
        )
        .await;
    let again = again.ok(202).json()["id"].as_str().unwrap().to_owned();
    assert_ne!(again, delivery);
    let again = world
        .get(&format!("/api/webhook-deliveries/{again}"))
        .await
        .ok(200)
        .json();
    assert_eq!(again["message_id"], found["message_id"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_where_it_is_wrong() {
    let world = World::new().await;
    let long = format!("https://a/{}", "x".repeat(2_048));
    for (body, places) in [
        (json!({}), vec!["/url missing"]),
        (json!({ "url": 1 }), vec!["/url wrong_type"]),
        (json!({ "url": long }), vec!["/url invalid"]),
        (json!({ "url": "a\u{0}b" }), vec!["/url invalid"]),
        (
            json!({ "url": URL, "events": "all" }),
            vec!["/events wrong_type"],
        ),
        (
            json!({ "url": URL, "events": ["server.gone", 1] }),
            vec!["/events/0 invalid", "/events/1 wrong_type"],
        ),
        (
            json!({ "url": URL, "active": "yes" }),
            vec!["/active wrong_type"],
        ),
        (json!({ "url": URL, "secret": "" }), vec!["/secret invalid"]),
        (
            json!({ "url": URL, "color": 1 }),
            vec!["/color unknown_field"],
        ),
    ] {
        let answer = world.post("/api/webhooks", body.clone()).await;
        assert_eq!(answer.pointers(), places, "{body}");
    }
    world
        .post("/api/webhooks", json!({ "url": "bad" }))
        .await
        .problem(422, "refused");
    world
        .get("/api/webhooks/7777")
        .await
        .problem(404, "not_found");
    let listed = world.get("/api/webhook-deliveries?webhook_id=7777").await;
    assert_eq!(listed.ok(200).json()["items"], json!([]));
    for wrong in [
        "webhook_id=a",
        "event=server",
        "status=sent",
        "since=now",
        "until=5",
    ] {
        let path = format!("/api/webhook-deliveries?{wrong}");
        world
            .get(&path)
            .await
            .problem(400, "invalid_query_parameter");
    }
    let nobody = "00000000-0000-0000-0000-000000000001";
    world
        .get(&format!("/api/webhook-deliveries/{nobody}"))
        .await
        .problem(404, "not_found");
    assert_eq!(
        world.get("/api/webhooks").await.ok(200).json(),
        json!({ "items": [] })
    );
}
