//! What people say about applications, groups and catalog entries.

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

fn items(answer: &Answer, field: &str) -> Vec<Value> {
    let page = answer.json();
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item[field].clone()).collect()
}

#[tokio::test]
async fn a_group_is_added_changed_as_it_was_seen_and_removed() {
    let world = World::with_fleet().await;
    let entry = world
        .get("/api/v1/application-catalog?q=jurws")
        .await
        .ok(200)
        .json()["items"][0]
        .clone();
    let body = json!({
        "name": "nightly", "catalog_id": entry["id"], "batch_grouping_strategy": "no_grouping",
        "update_playbook_path": "night.yml", "artifact_list_url": "http://nexus.example/", "artifact_extension": "zip",
    });
    let added = world
        .post("/api/v1/application-groups", body.clone())
        .await
        .ok(201);
    let path = added.header("location").to_owned();
    let seen = world.get(&path).await.ok(200);
    assert_eq!(seen.json(), added.json());
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&seen.json()[field], value, "{field}");
    }
    assert_eq!(seen.json()["catalog"], "jurws");
    let tag = seen.header("etag").to_owned();
    world
        .post("/api/v1/application-groups", body)
        .await
        .problem(409, "already_exists");
    let stray = json!({ "name": "stray", "catalog_id": 999 });
    let problem = world
        .post("/api/v1/application-groups", stray)
        .await
        .problem(422, "refused");
    assert_eq!(problem["errors"][0]["pointer"], "/catalog_id");

    let renamed = ask_if(&world, Method::PUT, &path, &tag, json!({ "name": "daily" }))
        .await
        .ok(200);
    let expected = json!({
        "id": seen.json()["id"], "name": "daily", "catalog_id": null, "catalog": null, "applications": 0, "online": 0,
        "update_playbook_path": null, "artifact_list_url": null, "artifact_extension": null,
        "batch_grouping_strategy": "by_group",
    });
    assert_eq!(renamed.json(), expected);
    ask_if(&world, Method::PUT, &path, &tag, json!({ "name": "late" }))
        .await
        .problem(412, "precondition_failed");
    ask_if(&world, Method::DELETE, &path, &tag, Value::Null)
        .await
        .problem(412, "precondition_failed");
    world
        .ask(Method::PUT, &path, json!({ "name": "jurws" }))
        .await
        .problem(409, "already_exists");
    let wrong = json!({ "catalog_id": 0, "batch_grouping_strategy": "by_moon", "update_playbook_path": " " });
    let expected = [
        "/name missing",
        "/catalog_id out_of_range",
        "/batch_grouping_strategy invalid",
        "/update_playbook_path invalid",
    ];
    assert_eq!(
        world.ask(Method::PUT, &path, wrong).await.pointers(),
        expected
    );

    let new_tag = renamed.header("etag").to_owned();
    ask_if(&world, Method::DELETE, &path, &new_tag, Value::Null)
        .await
        .ok(204);
    world.get(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn groups_are_listed_as_asked_for_and_stay_while_they_have_applications() {
    let world = World::with_fleet().await;
    let daily = json!({ "name": "daily" });
    world
        .post("/api/v1/application-groups", daily)
        .await
        .ok(201);
    let list = "/api/v1/application-groups";
    assert_eq!(
        items(
            &world.get(&format!("{list}?sort=name")).await.ok(200),
            "name"
        ),
        ["daily", "jurws"]
    );
    assert_eq!(
        items(
            &world.get(&format!("{list}?sort=-name")).await.ok(200),
            "name"
        ),
        ["jurws", "daily"]
    );
    assert_eq!(
        items(&world.get(&format!("{list}?q=DAI")).await.ok(200), "name"),
        ["daily"]
    );
    assert_eq!(
        items(
            &world.get(&format!("{list}?catalog=jurws")).await.ok(200),
            "name"
        ),
        ["jurws"]
    );
    world
        .get(&format!("{list}?sort=port"))
        .await
        .problem(400, "invalid_query_parameter");

    let full = world.get(&format!("{list}?q=jurws")).await.ok(200).json()["items"][0]["id"].clone();
    let problem = world
        .ask(Method::DELETE, &format!("{list}/{full}"), Value::Null)
        .await
        .problem(409, "conflict");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("applications 6"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_catalog_entry_is_added_changed_as_it_was_seen_and_removed() {
    let world = World::with_fleet().await;
    let list = "/api/v1/application-catalog";
    let body = json!({
        "name": "jurws", "app_type": "docker", "default_playbook_path": "docker.yml",
        "default_artifact_url": "http://nexus.example/", "default_artifact_extension": "tar",
    });
    let added = world.post(list, body.clone()).await.ok(201);
    let path = added.header("location").to_owned();
    let seen = world.get(&path).await.ok(200);
    assert_eq!(seen.json(), added.json());
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&seen.json()[field], value, "{field}");
    }
    let tag = seen.header("etag").to_owned();
    world.post(list, body).await.problem(409, "already_exists");
    assert_eq!(
        world
            .post(list, json!({ "app_type": "vm" }))
            .await
            .pointers(),
        ["/app_type invalid", "/name missing"]
    );

    let renamed = ask_if(&world, Method::PUT, &path, &tag, json!({ "name": "other" }))
        .await
        .ok(200);
    let expected = json!({
        "id": seen.json()["id"], "name": "other", "app_type": "docker", "default_playbook_path": null,
        "default_artifact_url": null, "default_artifact_extension": null, "applications": 0, "groups": 0,
    });
    assert_eq!(renamed.json(), expected);
    ask_if(&world, Method::PUT, &path, &tag, json!({ "name": "late" }))
        .await
        .problem(412, "precondition_failed");
    let kind = world
        .ask(
            Method::PUT,
            &path,
            json!({ "name": "other", "app_type": "site" }),
        )
        .await;
    assert_eq!(kind.pointers(), ["/app_type unknown_field"]);
    assert_eq!(
        items(
            &world.get(&format!("{list}?sort=-name")).await.ok(200),
            "name"
        ),
        ["other", "jurws"]
    );
    assert_eq!(
        items(
            &world
                .get(&format!("{list}?app_type=docker&q=O"))
                .await
                .ok(200),
            "name"
        ),
        ["other"]
    );

    world.ask(Method::DELETE, &path, Value::Null).await.ok(204);
    world.get(&path).await.problem(404, "not_found");
    let used = world.get(list).await.ok(200).json()["items"][0]["id"].clone();
    let problem = world
        .ask(Method::DELETE, &format!("{list}/{used}"), Value::Null)
        .await
        .problem(409, "conflict");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("applications 6, groups 1"), "{problem}");
}

#[tokio::test]
async fn the_playbook_comes_from_the_first_layer_that_says_one() {
    let world = World::with_fleet().await;
    let application = format!("/api/v1/applications/{}/settings", world.apps[0]);
    let holds = async || world.get(&application).await.ok(200).json()["effective_playbook"].clone();
    let first = async |list: &str| {
        let page = world.get(list).await.ok(200).json();
        format!("{list}/{}", page["items"][0]["id"])
    };
    let entry = first("/api/v1/application-catalog").await;
    let group = first("/api/v1/application-groups").await;
    let body = json!({ "name": "jurws", "default_playbook_path": "catalog.yml" });
    world.ask(Method::PUT, &entry, body).await.ok(200);
    assert_eq!(holds().await, "catalog.yml");
    let body = json!({ "name": "jurws", "update_playbook_path": "group.yml" });
    world.ask(Method::PUT, &group, body).await.ok(200);
    assert_eq!(holds().await, "group.yml");
    let body = json!({ "group": "jurws", "custom_playbook_path": "own.yml" });
    world.ask(Method::PUT, &application, body).await.ok(200);
    assert_eq!(holds().await, "own.yml");
}

#[tokio::test]
async fn a_playbook_outside_the_folder_is_refused_by_every_layer() {
    let world = World::with_fleet().await;
    let post = async |path: &str, body: Value| {
        let made = world.ask(Method::POST, path, body).await.ok(201).json();
        format!("{path}/{}", made["id"])
    };
    let group = post("/api/v1/application-groups", json!({ "name": "shop" })).await;
    let catalog = "/api/v1/application-catalog";
    let entry = post(catalog, json!({ "name": "shop", "app_type": "service" })).await;
    let application = format!("/api/v1/applications/{}/settings", world.apps[0]);
    let outside = "/nonexistent/dir/update.yml {server}";
    let sentence = "the playbook path `/nonexistent/dir/update.yml` is not in the playbook folder `/etc/drover/ansible` of \
                    the control host; put the file there and write its name";
    let places = [
        (
            Method::PUT,
            application.as_str(),
            "custom_playbook_path",
            json!({}),
        ),
        (
            Method::PUT,
            group.as_str(),
            "update_playbook_path",
            json!({ "name": "shop" }),
        ),
        (
            Method::POST,
            "/api/v1/application-groups",
            "update_playbook_path",
            json!({ "name": "other" }),
        ),
        (
            Method::PUT,
            entry.as_str(),
            "default_playbook_path",
            json!({ "name": "shop" }),
        ),
        (
            Method::POST,
            catalog,
            "default_playbook_path",
            json!({ "name": "other", "app_type": "service" }),
        ),
    ];
    for (method, path, field, mut body) in places {
        body[field] = json!(outside);
        let answer = world.ask(method.clone(), path, body.clone()).await;
        let problem = answer.problem(422, "refused");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
        assert_eq!(problem["detail"], sentence, "{method} {path}");
        // What a file of the folder is called, also with the folder before it, is taken.
        body[field] = json!("/etc/drover/ansible//update.yml {server}");
        let status = if method == Method::PUT { 200 } else { 201 };
        world.ask(method, path, body).await.ok(status);
    }
}
