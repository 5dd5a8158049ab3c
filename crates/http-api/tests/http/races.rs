//! Two requests that change one thing at the same moment: each answer is true, and no change is lost.

use axum::body::Body;
use axum::http::{Method, Request};
use drover_domain::access::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World};

fn request(
    world: &World,
    method: &Method,
    path: &str,
    tag: Option<&str>,
    body: &Value,
) -> Request<Body> {
    let mut request = world.request(method.clone(), path, Some(Role::Admin));
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    if body.is_null() {
        return request.body(Body::empty()).unwrap();
    }
    let request = request.header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

/// The things with tags: an address, how others change it, how we do, and whether it can be removed.
async fn things(world: &World) -> Vec<(String, Value, Value, bool)> {
    let server = world.post(
        "/api/v1/servers",
        json!({ "name": "old.example", "address": "192.0.2.9", "port": 1 }),
    );
    let server = server.await.ok(201).json()["id"].clone();
    let group = world
        .post("/api/v1/application-groups", json!({ "name": "old" }))
        .await
        .ok(201)
        .json()["id"]
        .clone();
    let entry = json!({ "name": "old", "app_type": "site" });
    let entry = world
        .post("/api/v1/application-catalog", entry)
        .await
        .ok(201)
        .json()["id"]
        .clone();
    let place = |name: &str| json!({ "name": name, "address": "192.0.2.9", "port": 1 });
    let name = |name: &str| json!({ "name": name });
    let own = |playbook: &str| json!({ "group": "jurws", "custom_playbook_path": playbook });
    vec![
        (
            format!("/api/v1/servers/{server}"),
            place("theirs.example"),
            place("ours.example"),
            true,
        ),
        (
            format!("/api/v1/application-groups/{group}"),
            name("theirs"),
            name("ours"),
            true,
        ),
        (
            format!("/api/v1/application-catalog/{entry}"),
            name("theirs"),
            name("ours"),
            true,
        ),
        (
            format!("/api/v1/applications/{}/settings", world.apps[0]),
            own("theirs.yml {server}"),
            own("ours.yml {server}"),
            false,
        ),
    ]
}

fn changed(answer: &Answer, wanted: &Value) {
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&answer.json()[field], value, "{answer:?}");
    }
}

#[tokio::test]
async fn without_a_tag_a_change_is_applied_after_the_other() {
    let world = World::with_fleet().await;
    for (path, theirs, ours, _) in things(&world).await {
        for tag in [None, Some("*")] {
            world.meddler.plan(
                &world.router,
                request(&world, &Method::PUT, &path, None, &theirs),
            );
            let answer = world
                .send(request(&world, &Method::PUT, &path, tag, &ours))
                .await
                .ok(200);
            changed(&answer, &ours);
            changed(&world.get(&path).await.ok(200), &ours);
        }
    }
}

#[tokio::test]
async fn with_a_tag_the_second_change_is_refused_and_the_first_stays() {
    let world = World::with_fleet().await;
    for (path, theirs, ours, _) in things(&world).await {
        let seen = world.get(&path).await.ok(200);
        let tag = format!("W/{}", seen.header("etag"));
        world.meddler.plan(
            &world.router,
            request(&world, &Method::PUT, &path, None, &theirs),
        );
        let answer = world
            .send(request(&world, &Method::PUT, &path, Some(&tag), &ours))
            .await;
        answer.problem(412, "precondition_failed");
        changed(&world.get(&path).await.ok(200), &theirs);
        // A tag that a proxy weakened is good for a change that no other request overtakes.
        let seen = world.get(&path).await.ok(200);
        let tag = format!("\"other\", W/{}", seen.header("etag"));
        let answer = world
            .send(request(&world, &Method::PUT, &path, Some(&tag), &ours))
            .await
            .ok(200);
        changed(&answer, &ours);
    }
}

#[tokio::test]
async fn what_is_removed_meanwhile_is_not_found() {
    let world = World::with_fleet().await;
    for (path, _, ours, can_be_removed) in things(&world).await {
        if !can_be_removed {
            continue;
        }
        for (method, body) in [(Method::PUT, ours), (Method::DELETE, Value::Null)] {
            let seen = world.get(&path).await;
            let tag = (seen.status == 200).then(|| seen.header("etag").to_owned());
            if tag.is_some() {
                world.meddler.plan(
                    &world.router,
                    request(&world, &Method::DELETE, &path, None, &Value::Null),
                );
            }
            let answer = world
                .send(request(&world, &method, &path, tag.as_deref(), &body))
                .await;
            answer.problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn schedules_and_webhooks_have_tags() {
    let world = World::new().await;
    let task = crate::workflows::waits("a", &[]);
    let body = json!({ "name": "nightly", "tasks": [task] });
    world
        .post("/api/v1/workflow-definitions", body)
        .await
        .ok(201);
    let cron = |cron: &str| json!({ "definition": "nightly", "cron": cron });
    let schedule = "/api/v1/schedules/s1".to_owned();
    let put = |path: &str, tag: Option<&str>, body: &Value| {
        let request = request(&world, &Method::PUT, path, tag, body);
        world.send(request)
    };
    put(&schedule, None, &cron("0 1 * * *")).await.ok(200);
    let hook =
        |description: &str| json!({ "url": "https://hooks.example/", "description": description });
    let made = world.post("/api/v1/webhooks", hook("old")).await.ok(201);
    let webhook = format!("/api/v1/webhooks/{}", made.json()["webhook"]["id"]);
    for (path, theirs, ours) in [
        (schedule, cron("0 2 * * *"), cron("0 3 * * *")),
        (webhook, hook("theirs"), hook("ours")),
    ] {
        let seen = world.get(&path).await.ok(200);
        let old = format!("W/{}", seen.header("etag"));
        let after = put(&path, Some(&old), &theirs).await.ok(200);
        // The tag of the answer is the tag of the new state.
        assert_eq!(after.header("etag"), world.get(&path).await.header("etag"));
        let refused = put(&path, Some(&old), &ours).await;
        refused.problem(412, "precondition_failed");
        changed(&world.get(&path).await.ok(200), &theirs);
        // Without a tag, and with `*`, the change is applied to the present state.
        put(&path, None, &ours).await.ok(200);
        put(&path, Some("*"), &theirs).await.ok(200);
        changed(
            &put(&path, Some(after.header("etag")), &ours).await.ok(200),
            &ours,
        );
        let gone = world.ask(Method::DELETE, &path, Value::Null).await;
        gone.ok(204);
        let absent = put(&path, Some(after.header("etag")), &ours).await;
        absent.problem(404, "not_found");
    }
}
