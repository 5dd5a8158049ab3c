//! Health, metrics, and the document.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use drover_http_api::{Options, admin_router, openapi};
use drover_ports::IdSource;
use drover_testkit::clock::SequentialIds;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};

use crate::faulty::Mood;
use crate::world::{World, send};

const COMMITTED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/openapi.json"
);

#[tokio::test]
async fn readiness_follows_the_database() {
    let world = World::with(|options| Options {
        readiness_timeout: Duration::from_millis(20),
        ..options
    })
    .await;
    assert_eq!(
        world.get("/readyz").await.ok(200).json(),
        json!({ "status": "ready" })
    );
    for mood in [Mood::Fails, Mood::Hangs] {
        world.health_mood.be(mood);
        world.keys_mood.be(mood);
        world.get("/readyz").await.problem(503, "unavailable");
        assert_eq!(
            world.get("/livez").await.ok(200).json(),
            json!({ "status": "live" })
        );
    }
    world.health_mood.be(Mood::Works);
    world.keys_mood.be(Mood::Works);
    world.get("/readyz").await.ok(200);
    world.get("/api/servers").await.ok(200);
}

#[tokio::test]
async fn operators_see_metrics_by_route_and_nothing_else() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new().await;
    world
        .get("/api/v1/servers/76543217654321")
        .await
        .problem(404, "not_found");
    world
        .get("/api/v1/servers/78")
        .await
        .problem(404, "not_found");
    world
        .get("/nowhere/secret")
        .await
        .problem(404, "no_such_route");
    world
        .send(
            world
                .request("BREW".parse::<Method>().unwrap(), "/livez", None)
                .body(Body::empty())
                .unwrap(),
        )
        .await;

    let ids = SequentialIds::default();
    let admin = admin_router(
        handle,
        world.service.clone(),
        Options::new(Arc::new(move || ids.draw())),
    );
    let get = |path: &str| Request::get(path.to_owned()).body(Body::empty()).unwrap();
    let metrics = send(&admin, get("/metrics")).await.ok(200);
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "drover_http_requests_total{method=\"GET\",route=\"/api/v1/servers/{id}\",status=\"404\"} 2",
        "drover_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "drover_http_requests_total{method=\"other\",route=\"/livez\",status=\"405\"} 1",
        "drover_http_request_duration_seconds_count{method=\"GET\",route=\"/api/v1/servers/{id}\",status=\"404\"} 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(
        !text.contains("secret") && !text.contains("76543217654321"),
        "{text}"
    );

    send(&admin, get("/livez")).await.ok(200);
    send(&admin, get("/readyz")).await.ok(200);
    send(&admin, get("/api/servers"))
        .await
        .problem(404, "no_such_route");
    world.get("/metrics").await.problem(404, "no_such_route");
}

#[tokio::test]
async fn the_document_is_served_and_shown() {
    let world = World::new().await;
    let answer = world
        .send(Request::get("/openapi.json").body(Body::empty()).unwrap())
        .await
        .ok(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Drover");

    let redirect = world.get("/docs").await;
    assert_eq!(
        (redirect.status.as_u16(), redirect.header("location")),
        (303, "/docs/")
    );
    let page = world.get("/docs/").await.ok(200);
    assert!(String::from_utf8_lossy(&page.body).contains("swagger-ui"));
    let script = world.get("/docs/swagger-initializer.js").await.ok(200);
    assert!(String::from_utf8_lossy(&script.body).contains("/openapi.json"));
}

#[test]
fn the_committed_document_is_the_one_of_the_routes() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    let generated = format!("{}\n", openapi().to_pretty_json().unwrap());
    assert!(
        committed == generated,
        "docs/reference/openapi.json is stale; run `cargo xtask openapi` and commit it"
    );
}

#[test]
fn requests_are_closed_and_answers_are_whole() {
    let document: Value = serde_json::from_str(&openapi().to_json().unwrap()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let requests = requests(&document);
    for name in [
        "NewServer",
        "NewRollout",
        "NewWorkflow",
        "NewTask",
        "NewRetry",
        "ClaimTasks",
    ] {
        assert!(requests.contains(name), "{name} is not in {requests:?}");
    }
    for (name, schema) in schemas {
        let Some(properties) = schema["properties"].as_object() else {
            continue;
        };
        if requests.contains(name) {
            assert_eq!(schema["additionalProperties"], false, "{name}");
        } else {
            assert_eq!(
                schema["required"].as_array().unwrap().len(),
                properties.len(),
                "{name}"
            );
        }
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let media = match status.as_str() {
                    "204" | "304" => continue,
                    status if status >= "400" => "application/problem+json",
                    _ if path.ends_with("/events/stream") => "text/event-stream",
                    _ => "application/json",
                };
                assert!(
                    response["content"][media]["schema"].is_object(),
                    "{path} {status}"
                );
            }
        }
    }
}

/// The names of all schemas that a body of a request is made of.
fn requests(document: &Value) -> BTreeSet<String> {
    fn links(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(link) = map.get("$ref").and_then(Value::as_str) {
                    found.extend(link.rsplit('/').next().map(str::to_owned));
                }
                map.values().for_each(|value| links(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| links(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut open = Vec::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            links(&operation["requestBody"], &mut open);
        }
    }
    let mut names = BTreeSet::new();
    while let Some(name) = open.pop() {
        if names.insert(name.clone()) {
            links(&document["components"]["schemas"][&name], &mut open);
        }
    }
    names
}
