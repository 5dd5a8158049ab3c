//! What is kept around workflows: definitions, schedules, queues.

use axum::http::Method;
use serde_json::{Value, json};

use crate::workflows::{remote, started, waits};
use crate::world::World;

const PATH: &str = "/api/v1/workflow-definitions";

#[tokio::test]
async fn a_definition_has_versions_and_starts_workflows() {
    let world = World::new().await;
    let define = async |tasks: Value| {
        let body = json!({ "name": "nightly", "tasks": tasks });
        world.post(PATH, body).await.ok(201)
    };
    let first = define(json!([waits("a", &[])])).await;
    assert_eq!(first.json(), json!({ "name": "nightly", "version": 1 }));
    assert_eq!(define(json!([waits("a", &[])])).await.json(), first.json());
    let child = json!({ "key": "a", "kind": "subworkflow",
        "payload": { "definition": "nightly", "version": null, "input": [1.50] } });
    let second = define(json!([child.clone()])).await;
    assert_eq!(second.json()["version"], 2);

    let found = world.get(second.header("location")).await.ok(200).json();
    let retry = json!({ "strategy": "none", "initial_interval_s": 0.0, "base": 2.0, "max_interval_s": 300.0,
        "max_attempts": 0, "jitter": 0.0, "non_retryable": [] });
    let expected = json!({
        "name": "nightly", "version": 2, "execution_mode": "dag", "task_count": 1,
        "created_at": "2023-11-14T22:13:20.000Z",
        "tasks": [{
            "key": "a", "kind": "subworkflow", "queue": "default", "priority": 0, "guarantee": "g0",
            "payload": child["payload"], "retry": retry, "timeout_s": 300.0, "deadline_s": null, "depends_on": [],
            "concurrency_keys": [], "compensation": null,
        }],
    });
    assert_eq!(found, expected);
    let newest = world.get(&format!("{PATH}/nightly")).await.ok(200).json();
    assert_eq!(newest, expected);
    let list = world.get(&format!("{PATH}?limit=1")).await.ok(200).json();
    assert_eq!(list["items"][0]["version"], 2);
    assert!(list["next_cursor"].is_string());

    let body = json!({ "definition": { "name": "nightly", "version": 1 } });
    let started = world.post("/api/v1/workflows", body).await.ok(202);
    let workflow = world.get(started.header("location")).await.json();
    assert_eq!(workflow["name"], "nightly");
    assert_eq!(
        workflow["definition"],
        json!({ "name": "nightly", "version": 1 })
    );
    for definition in [
        json!({ "name": "nobody" }),
        json!({ "name": "nightly", "version": 3 }),
    ] {
        let problem = world
            .post("/api/v1/workflows", json!({ "definition": definition }))
            .await
            .problem(422, "refused");
        assert_eq!(problem["errors"][0]["pointer"], "/definition");
    }
}

#[tokio::test]
async fn a_definition_that_cannot_run_is_refused() {
    let world = World::new().await;
    for (body, places) in [
        (json!({}), "/name missing, /tasks missing"),
        (
            json!({ "name": "a/b", "tasks": [remote("a", &[])] }),
            "/name invalid",
        ),
        (
            json!({ "name": "n", "tasks": [remote("a", &["b"])] }),
            "/tasks/0/depends_on/0 unknown_dependency",
        ),
        (
            json!({ "name": "n", "tasks": [remote("a", &[])], "version": 2 }),
            "/version unknown_field",
        ),
    ] {
        assert_eq!(world.post(PATH, body).await.pointers().join(", "), places);
    }
    for path in ["nobody", "nobody?version=1"] {
        let path = format!("{PATH}/{path}");
        world.get(&path).await.problem(404, "not_found");
    }
    for version in ["0", "x", "99999999999"] {
        let path = format!("{PATH}/nobody?version={version}");
        world
            .get(&path)
            .await
            .problem(400, "invalid_query_parameter");
    }
    world
        .get(&format!("{PATH}/a%20b"))
        .await
        .problem(400, "invalid_path_parameter");
}

#[tokio::test]
async fn a_schedule_is_kept_paused_and_forgotten() {
    let world = World::new().await;
    let body = json!({ "name": "nightly", "tasks": [waits("a", &[])] });
    world.post(PATH, body).await.ok(201);
    let path = "/api/v1/schedules/s1";
    let put = async |body: Value| world.ask(Method::PUT, path, body).await;
    let kept =
        put(json!({ "definition": "nightly", "cron": "30 4 * * *", "time_zone": "Europe/Berlin" }))
            .await;
    let expected = json!({
        "name": "s1", "definition": "nightly", "version": null, "input": null, "cron": "30 4 * * *",
        "time_zone": "Europe/Berlin", "missed_runs": "skip", "paused": false,
        "next_at": ["2023-11-15T03:30:00.000Z", "2023-11-16T03:30:00.000Z", "2023-11-17T03:30:00.000Z",
            "2023-11-18T03:30:00.000Z", "2023-11-19T03:30:00.000Z"],
        "broken": null,
    });
    assert_eq!(kept.ok(200).json(), expected);
    assert_eq!(world.get(path).await.ok(200).json(), expected);
    let list = world.get("/api/v1/schedules").await.ok(200).json();
    assert_eq!(list["items"], json!([expected]));

    for verb in ["pause", "resume", "resume"] {
        let answer = world.post(&format!("{path}/{verb}"), Value::Null).await;
        assert_eq!(answer.ok(200).json()["paused"], verb == "pause");
    }
    let changed = json!({ "definition": "nightly", "version": 1, "cron": "0 0 1 1 *", "missed_runs": "run_once",
        "paused": true, "input": { "a": 1 } });
    let kept = put(changed).await.ok(200).json();
    assert_eq!(kept["next_at"], json!([]));
    assert_eq!(kept["missed_runs"], "run_once");

    for (body, places) in [
        (json!({}), "/definition missing, /cron missing"),
        (
            json!({ "definition": "nightly", "cron": "* * *" }),
            "/cron invalid",
        ),
        (
            json!({ "definition": "nightly", "cron": "0 0 30 2 *" }),
            "/cron invalid",
        ),
        (
            json!({ "definition": "nightly", "cron": "0 0 * * *", "time_zone": "Mars" }),
            "/time_zone invalid",
        ),
        (
            json!({ "definition": "nightly", "cron": "0 0 * * *", "missed_runs": "all" }),
            "/missed_runs invalid",
        ),
    ] {
        assert_eq!(put(body).await.pointers().join(", "), places);
    }
    let unknown = json!({ "definition": "nobody", "cron": "0 0 * * *" });
    let problem = put(unknown).await.problem(422, "refused");
    assert_eq!(problem["errors"][0]["pointer"], "/definition");

    let gone = world.ask(Method::DELETE, path, Value::Null).await.ok(204);
    assert!(gone.body.is_empty());
    for method in [Method::GET, Method::DELETE] {
        world
            .ask(method, path, Value::Null)
            .await
            .problem(404, "not_found");
    }
    for verb in ["pause", "resume"] {
        world
            .post(&format!("{path}/{verb}"), Value::Null)
            .await
            .problem(404, "not_found");
    }
}

#[tokio::test]
async fn queues_tell_how_full_they_are_and_are_held_back() {
    let world = World::new().await;
    started(&world, json!([remote("a", &[]), remote("b", &[])])).await;
    let path = "/api/v1/queues/default";
    let limits = json!({ "concurrency": 2, "rate": { "count": 5, "per_s": 1.5 } });
    let set = world.ask(Method::PUT, path, limits).await.ok(200).json();
    let mut expected = json!({ "name": "default", "paused": false, "concurrency": 2,
        "rate": { "count": 5, "per_s": 1.5 } });
    assert_eq!(set, expected);
    expected["paused"] = json!(true);
    let paused = world.post(&format!("{path}/pause"), Value::Null).await;
    assert_eq!(paused.ok(200).json(), expected);
    world
        .ask(
            Method::PUT,
            "/api/v1/queues/other",
            json!({ "concurrency": 1 }),
        )
        .await
        .ok(200);

    let page = world.get("/api/v1/queues?limit=1").await.ok(200).json();
    let queue = &page["items"][0];
    expected["waiting"] = json!(2);
    expected["parked"] = json!(0);
    expected["running"] = json!(0);
    expected["oldest"] = queue["oldest"].clone();
    assert_eq!(*queue, expected);
    assert!(queue["oldest"].is_string());
    let next = page["next_cursor"].as_str().unwrap();
    let rest = world
        .get(&format!("/api/v1/queues?limit=1&cursor={next}"))
        .await
        .ok(200)
        .json();
    assert_eq!(rest["items"][0]["name"], "other");
    assert_eq!(rest["next_cursor"], Value::Null);

    // New limits leave a pause alone; what is left out is no limit.
    let set = world.ask(Method::PUT, path, json!({})).await.ok(200).json();
    assert_eq!(
        set,
        json!({ "name": "default", "paused": true, "concurrency": null, "rate": null })
    );
    let resumed = world.post(&format!("{path}/resume"), Value::Null).await;
    assert_eq!(resumed.ok(200).json()["paused"], false);

    for (body, places) in [
        (json!({ "concurrency": 0 }), "/concurrency out_of_range"),
        (
            json!({ "rate": { "count": 0, "per_s": 1 } }),
            "/rate/count out_of_range",
        ),
        (
            json!({ "rate": { "count": 1, "per_s": 0.5 } }),
            "/rate/per_s out_of_range",
        ),
        (
            json!({ "rate": {} }),
            "/rate/count missing, /rate/per_s missing",
        ),
        (json!({ "paused": true }), "/paused unknown_field"),
    ] {
        let answer = world.ask(Method::PUT, path, body).await;
        assert_eq!(answer.pointers().join(", "), places);
    }
}
