//! What people say about applications.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World};

/// Asks as an admin, only if what is there still has this tag.
async fn ask_if(world: &World, method: Method, path: &str, tag: &str, body: Value) -> Answer {
    let request = world.request(method, path, Some(Role::Admin));
    let request = request.header("if-match", tag);
    let request = if body.is_null() {
        request.body(Body::empty())
    } else {
        let request = request.header("content-type", "application/json");
        request.body(Body::from(body.to_string()))
    };
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn an_application_is_told_its_group_and_its_playbook() {
    let world = World::with_fleet().await;
    let id = world.apps[0];
    let path = format!("/api/v1/applications/{id}/settings");
    let seen = world.get(&path).await.ok(200);
    let tag = seen.header("etag").to_owned();
    let before = seen.json();
    assert_eq!(before["group"], "jurws");
    assert!(before["group_id"].is_i64());
    assert_eq!(before["custom_playbook_path"], Value::Null);
    let default = before["effective_playbook"].clone();

    let wanted = json!({
        "group": "jurws", "custom_playbook_path": "own.yml {server}", "custom_artifact_url": "http://nexus.example/own/",
        "custom_artifact_extension": "war",
    });
    let changed = ask_if(&world, Method::PUT, &path, &tag, wanted.clone())
        .await
        .ok(200);
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&changed.json()[field], value, "{field}");
    }
    assert_eq!(changed.json()["effective_playbook"], "own.yml {server}");
    let same = world.get(&path).await.ok(200);
    assert_eq!(
        (same.json(), same.header("etag")),
        (changed.json(), changed.header("etag"))
    );
    let application = world
        .get(&format!("/api/v1/applications/{id}"))
        .await
        .ok(200)
        .json();
    assert_eq!(application["effective_playbook"], "own.yml {server}");

    ask_if(&world, Method::PUT, &path, &tag, json!({}))
        .await
        .problem(412, "precondition_failed");
    let alone = world
        .ask(Method::PUT, &path, json!({}))
        .await
        .ok(200)
        .json();
    assert_eq!(
        (&alone["group"], &alone["group_id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(alone["effective_playbook"], default);
    // The poll puts it back.
    let server = world
        .get(&format!("/api/v1/applications/{id}"))
        .await
        .json()["server_id"]
        .clone();
    let refresh = format!("/api/v1/servers/{server}/refresh");
    world.post(&refresh, Value::Null).await.ok(200);
    assert_eq!(world.get(&path).await.ok(200).json()["group"], "jurws");
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_with_their_place() {
    let world = World::with_fleet().await;
    let path = format!("/api/v1/applications/{}/settings", world.apps[0]);
    let body = json!({
        "group": "", "custom_playbook_path": "../x.yml", "custom_artifact_url": "-x", "custom_artifact_extension": 7,
        "playbook": null,
    });
    let answer = world.ask(Method::PUT, &path, body).await;
    let expected = [
        "/group invalid",
        "/custom_playbook_path invalid",
        "/custom_artifact_url invalid",
        "/custom_artifact_extension wrong_type",
        "/playbook unknown_field",
    ];
    assert_eq!(answer.pointers(), expected);
    let problem = world
        .ask(Method::PUT, &path, json!({ "group": "nobody" }))
        .await
        .problem(422, "refused");
    assert_eq!(problem["errors"][0]["pointer"], "/group");
    assert!(
        problem["detail"].as_str().unwrap().contains("`nobody`"),
        "{problem}"
    );
    world
        .get("/api/v1/applications/999/settings")
        .await
        .problem(404, "not_found");
    world
        .ask(Method::PUT, "/api/v1/applications/999/settings", json!({}))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn events_of_an_application_are_its_own() {
    let world = World::with_fleet().await;
    let id = world.apps[0];
    let path = format!("/api/v1/applications/{id}/events");
    let page = world.get(&path).await.ok(200).json();
    let all = world
        .get(&format!("/api/v1/events?application_id={id}"))
        .await
        .ok(200)
        .json();
    assert_eq!(page["items"], all["items"]);
    world
        .get(&format!(
            "{path}?event_type=update&status=failed&since=2026-01-01T00:00:00Z"
        ))
        .await
        .ok(200);
    world
        .get(&format!("{path}?server_id=1"))
        .await
        .problem(400, "unknown_query_parameter");
    world
        .get("/api/v1/applications/999/events")
        .await
        .problem(404, "not_found");
}
