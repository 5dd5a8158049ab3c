//! Secrets in everything that is given, looked for in everything that each role may read.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use serde_json::json;

use crate::world::{Answer, World};

/// Found in an answer, it is a leak.
const CANARY: &str = "CANARY";

/// Where secrets are, each with a word of its own.
async fn scene() -> World {
    let world = World::with_fleet().await;
    let call = json!({
        "key": "call", "kind": "remote", "payload": {
            "url": "https://hook.example/a?sig=CANARY-query",
            "headers": { "X-Anything": "CANARY-header", "Authorization": "Bearer CANARY-authorization" },
            "body": { "password": "CANARY-body", "nested": [{ "apiKey": "CANARY-nested" }] },
        },
    });
    let definition = json!({ "name": "nightly", "tasks": [call] });
    world
        .post("/api/v1/workflow-definitions", definition)
        .await
        .ok(201);
    let input =
        json!({ "db_password": "CANARY-input", "from": "postgres://u:CANARY-userinfo@db/x" });
    let start = json!({ "definition": { "name": "nightly" }, "input": input });
    world.post("/api/v1/workflows", start).await.ok(202);
    let schedule = json!({ "definition": "nightly", "cron": "0 0 1 1 *", "input": input });
    world
        .ask(Method::PUT, "/api/v1/schedules/yearly", schedule)
        .await
        .ok(200);

    let playbook = "update-app.yml {server} {app} {distr_url} {api_token=CANARY-parameter}";
    let app = world.apps[0];
    let settings = json!({
        "group": "jurws", "custom_playbook_path": playbook,
        "custom_artifact_url": "https://u:CANARY-own@nexus.example/",
    });
    let path = format!("/api/v1/applications/{app}/settings");
    world.ask(Method::PUT, &path, settings).await.ok(200);
    let group = json!({
        "name": "keepers", "artifact_list_url": "https://nexus.example/?token=CANARY-list",
        "update_playbook_path": "update-app.yml {server} {app} {db_pass=CANARY-group}",
    });
    world
        .post("/api/v1/application-groups", group)
        .await
        .ok(201);
    let update = json!({
        "app_ids": [world.apps[0]], "distr_url": "https://ann:CANARY-artifact@nexus.example/a-1.1.0.zip?token=CANARY-token",
    });
    world
        .post("/api/v1/applications/batch_update", update)
        .await
        .ok(202);
    world
}

async fn read(world: &World, role: Role, path: &str) -> Answer {
    let request = world.request(Method::GET, path, Some(role));
    world
        .send(request.body(Body::empty()).unwrap())
        .await
        .ok(200)
}

/// Every address that a reader comes to.
async fn addresses(world: &World) -> Vec<String> {
    let mut found: Vec<String> = [
        "servers",
        "applications",
        "application-groups",
        "application-catalog",
        "events",
        "tasks",
        "workflows",
        "workflow-definitions",
        "workflow-definitions/nightly",
        "schedules",
        "schedules/yearly",
        "queues",
        "dead-letters",
        "orchestrators",
        "haproxy/instances",
        "haproxy/summary",
        "haproxy/actions",
    ]
    .iter()
    .map(|path| format!("/api/v1/{path}"))
    .collect();
    for (list, parts) in [
        ("workflows", &["", "/tasks", "/history"][..]),
        ("tasks", &["", "/events"]),
        ("applications", &["", "/settings", "/versions", "/events"]),
        ("application-groups", &[""]),
    ] {
        let page = world.get(&format!("/api/v1/{list}")).await.ok(200).json();
        for item in page["items"].as_array().unwrap() {
            let id = item["id"]
                .as_str()
                .map_or_else(|| item["id"].to_string(), str::to_owned);
            found.extend(
                parts
                    .iter()
                    .map(|part| format!("/api/v1/{list}/{id}{part}")),
            );
            if list == "workflows" {
                let tasks = world
                    .get(&format!("/api/v1/workflows/{id}/tasks"))
                    .await
                    .ok(200)
                    .json();
                for task in tasks["items"].as_array().unwrap() {
                    let task = task["id"].as_str().unwrap();
                    found.push(format!("/api/v1/workflows/{id}/tasks/{task}"));
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn only_admins_read_secrets() {
    let world = scene().await;
    let mut seen_by_admin = String::new();
    for path in addresses(&world).await {
        for role in [Role::Viewer, Role::Operator] {
            let answer = read(&world, role, &path).await;
            let text = std::str::from_utf8(&answer.body).unwrap();
            assert!(!text.contains(CANARY), "{role} at {path}: {text}");
        }
        let answer = read(&world, Role::Admin, &path).await;
        seen_by_admin.push_str(std::str::from_utf8(&answer.body).unwrap());
    }
    for place in [
        "query",
        "header",
        "authorization",
        "body",
        "nested",
        "input",
        "userinfo",
        "parameter",
        "own",
        "list",
        "group",
        "artifact",
        "token",
    ] {
        let canary = format!("{CANARY}-{place}");
        assert!(
            seen_by_admin.contains(&canary),
            "an admin does not see {canary}"
        );
    }
    // Events are for everybody and for webhooks: no role finds secrets there.
    for path in [
        "/api/v1/events".to_owned(),
        format!("/api/v1/applications/{}/events", world.apps[0]),
    ] {
        let answer = read(&world, Role::Admin, &path).await;
        let text = std::str::from_utf8(&answer.body).unwrap();
        assert!(
            text.contains("https://***@nexus.example/a-1.1.0.zip?***"),
            "{text}"
        );
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn operators_see_documents_and_viewers_do_not() {
    let world = scene().await;
    let path = "/api/v1/workflow-definitions/nightly";
    let payload = |answer: Answer| answer.json()["tasks"][0]["payload"].clone();
    let shown = payload(read(&world, Role::Operator, path).await);
    assert_eq!(
        shown,
        json!({
            "url": "https://hook.example/a?***", "headers": { "X-Anything": "***", "Authorization": "***" },
            "body": { "password": "***", "nested": [{ "apiKey": "***" }] },
        })
    );
    assert_eq!(
        payload(read(&world, Role::Viewer, path).await),
        json!("***")
    );
}

#[tokio::test]
async fn workers_and_repetitions_have_the_real_values() {
    let world = scene().await;
    let claim = json!({ "worker": "w", "queues": ["default"] });
    let request = world
        .request(Method::POST, "/api/v1/workers/claim", Some(Role::Operator))
        .header("content-type", "application/json");
    let claimed = world
        .send(request.body(Body::from(claim.to_string())).unwrap())
        .await;
    let payload = &claimed.ok(200).json()["tasks"][0]["payload"];
    assert_eq!(payload["headers"]["X-Anything"], "CANARY-header");

    let update = json!({
        "app_ids": [world.apps[1]], "distr_url": "https://ann:CANARY@nexus.example/a-1.1.0.zip",
    });
    let send = async || {
        let request = world
            .request(
                Method::POST,
                "/api/v1/applications/batch_update",
                Some(Role::Operator),
            )
            .header("content-type", "application/json")
            .header("idempotency-key", "once");
        world
            .send(request.body(Body::from(update.to_string())).unwrap())
            .await
            .ok(202)
    };
    let (first, second) = (send().await, send().await);
    assert_eq!(first.body, second.body);
    assert_eq!(second.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn a_masked_value_replaces_no_secret() {
    let world = scene().await;
    let seen = read(
        &world,
        Role::Operator,
        "/api/v1/workflow-definitions/nightly",
    )
    .await
    .json();
    let again = json!({ "name": "nightly", "tasks": [{
        "key": "call", "kind": "remote", "payload": seen["tasks"][0]["payload"],
    }] });
    let refused = world.post("/api/v1/workflow-definitions", again).await;
    assert_eq!(
        refused.pointers(),
        [
            "/tasks/0/payload/body/nested/0/apiKey masked",
            "/tasks/0/payload/body/password masked",
            "/tasks/0/payload/headers/Authorization masked",
            "/tasks/0/payload/headers/X-Anything masked",
            "/tasks/0/payload/url masked",
        ]
    );
    // What a worker reports may be anything.
    let report = json!({ "lease_id": "0190b3a4-7c00-7000-8000-000000000000",
        "task_id": "0190b3a4-7c00-7000-8000-000000000000", "attempt": 1, "result": "***" });
    let answer = world.post("/api/v1/workers/complete", report).await;
    assert!(
        answer.json()["errors"]
            .as_array()
            .is_none_or(|errors| errors.iter().all(|error| error["code"] != "masked")),
        "{answer:?}"
    );
}
