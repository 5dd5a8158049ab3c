//! Asking for rollouts, and looking at them.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_domain::rollout;
use drover_domain::rollout::record::TargetOutcome;
use drover_testkit::clock::{FixedClock, SequentialIds};
use drover_testkit::eventually::eventually;
use drover_testkit::runner::Script;
use drover_usecases::{Engine, EngineOptions, EnginePorts, Handlers, QueueOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

use crate::world::{Answer, HEADER, ORCHESTRATOR, World, update};

const PATH: &str = "/api/rollouts";

async fn with_key(world: &World, key: &str, body: &Value) -> Answer {
    let request = world
        .request(Method::POST, PATH, Some(Role::Operator))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    world
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

async fn rollouts(world: &World) -> usize {
    world.get("/api/rollouts").await.ok(200).json()["items"]
        .as_array()
        .unwrap()
        .len()
}

#[tokio::test]
async fn an_update_is_queued_and_found_where_it_says() {
    let world = World::with_fleet().await;
    for prefix in ["/api", "/api/v1"] {
        let body = json!({
            "app_ids": world.apps, "distr_url": "http://nexus.example/jurws-1.1.0.zip", "mode": "immediate",
            "orchestrator_playbook": ORCHESTRATOR, "drain_wait_time": 0.5,
        });
        let answer = world
            .post(&format!("{prefix}/rollouts"), body)
            .await
            .ok(202);
        let accepted = answer.json();
        let id = accepted["rollout_ids"][0].as_str().unwrap();
        assert_eq!(
            accepted,
            json!({
                "rollout_ids": [id], "warnings": [],
            })
        );
        assert_eq!(answer.header("location"), format!("{prefix}/rollouts/{id}"));
        assert_eq!(answer.header("idempotency-replayed"), "");

        let task = world.get(answer.header("location")).await.ok(200).json();
        let expected = json!({
            "id": id, "status": "pending",
            "params": {
                "app_ids": world.apps, "distr_url": "http://nexus.example/jurws-1.1.0.zip", "mode": "update",
                "playbook_path": "update-app.yml {server} {app} {distr_url} {mode}",
                "orchestrator_playbook": ORCHESTRATOR, "drain_wait_time": 0.5,
            },
            "created_at": "2023-11-14T22:13:20.000Z", "started_at": null, "completed_at": null, "progress": 0,
            "current_step": null, "result": null, "error": null, "attempt": 0, "requested_by": "the admin",
            "targets": [], "runs": [], "left_drained": [],
        });
        assert_eq!(task, expected);
    }
    let pending = world
        .get("/api/rollouts?status=pending")
        .await
        .ok(200)
        .json();
    assert_eq!(pending["items"].as_array().unwrap().len(), 2);
    assert_eq!(pending["items"][0].get("runs"), None);
    assert_eq!(
        world
            .get("/api/rollouts?status=failed")
            .await
            .ok(200)
            .json()["items"],
        json!([])
    );
    world
        .get("/api/rollouts?status=running")
        .await
        .problem(400, "invalid_query_parameter");
}

#[tokio::test]
async fn the_paths_and_words_of_earlier_clients_keep_answering() {
    let world = World::with_fleet().await;
    for prefix in ["/api", "/api/v1"] {
        let path = format!("{prefix}/applications/batch_update");
        let answer = world.post(&path, update(&world.apps)).await.ok(202);
        let accepted = answer.json();
        let id = accepted["task_ids"][0].as_str().unwrap();
        assert_eq!(
            accepted,
            json!({
                "success": true, "message": "the update of 6 applications is queued as 1 task", "task_ids": [id],
                "groups_count": 1, "warnings": [],
            })
        );
        let task = format!("{prefix}/tasks/{id}");
        assert_eq!(answer.header("location"), task);

        let mut expected = world.get(&format!("{prefix}/rollouts/{id}")).await.json();
        let members = expected.as_object_mut().unwrap();
        members.insert("task_type".to_owned(), json!("update"));
        members.insert("current_task".to_owned(), Value::Null);
        let targets = members.remove("targets").unwrap();
        members.insert("instances".to_owned(), targets);
        assert_eq!(world.get(&task).await.ok(200).json(), expected);
        let listed = world
            .get(&format!("{prefix}/tasks?status=pending"))
            .await
            .json();
        assert_eq!(listed["items"][0]["id"], id);
        let page = world.get(&format!("{task}/events")).await.ok(200).json();
        assert_eq!(page["items"], json!([]));
        let cancelled = world.post(&format!("{task}/cancel"), json!({})).await;
        assert_eq!(cancelled.ok(200).json()["id"], id);
    }
}

#[tokio::test]
async fn an_unknown_application_is_not_found_and_nothing_is_created() {
    let world = World::with_fleet().await;
    let problem = world
        .post(PATH, update(&[world.apps[0], 7_777, world.apps[1], 7_778]))
        .await
        .problem(404, "not_found");
    assert!(
        problem["detail"].as_str().unwrap().contains("7777, 7778"),
        "{problem}"
    );
    assert_eq!(rollouts(&world).await, 0);
}

#[tokio::test]
async fn what_cannot_be_an_update_is_refused_with_its_place() {
    let world = World::with_fleet().await;
    let url = "http://nexus.example/a.zip";
    for (body, expected) in [
        (json!({}), vec!["/app_ids missing", "/distr_url missing"]),
        (
            json!({ "app_ids": [], "distr_url": url }),
            vec!["/app_ids empty"],
        ),
        (
            json!({ "app_ids": null, "distr_url": null }),
            vec!["/app_ids wrong_type", "/distr_url wrong_type"],
        ),
        (
            json!({ "app_ids": [1, 2, 3, 1], "distr_url": url }),
            vec!["/app_ids/3 duplicate"],
        ),
        (
            json!({ "app_ids": [1, "2", 0, -1, 1.5], "distr_url": url }),
            vec![
                "/app_ids/1 wrong_type",
                "/app_ids/2 out_of_range",
                "/app_ids/3 out_of_range",
                "/app_ids/4 wrong_type",
            ],
        ),
        (
            json!({ "app_ids": (1..=1_001).collect::<Vec<_>>(), "distr_url": url }),
            vec!["/app_ids too_many"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": "" }),
            vec!["/distr_url invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": "a\nb" }),
            vec!["/distr_url invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": "-e x=y" }),
            vec!["/distr_url invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": "x".repeat(2_049) }),
            vec!["/distr_url invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": url, "mode": "restart" }),
            vec!["/mode invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": url, "orchestrator_playbook": "" }),
            vec!["/orchestrator_playbook invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": url, "drain_wait_time": -0.1 }),
            vec!["/drain_wait_time invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": url, "drain_wait_time": 60.5 }),
            vec!["/drain_wait_time invalid"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": url, "drain_wait_time": "5" }),
            vec!["/drain_wait_time wrong_type"],
        ),
        (
            json!({ "app_ids": [1], "distr_url": url, "dry_run": true }),
            vec!["/dry_run unknown_field"],
        ),
    ] {
        assert_eq!(
            world.post(PATH, body.clone()).await.pointers(),
            expected,
            "{body}"
        );
    }
    assert_eq!(rollouts(&world).await, 0);
}

#[tokio::test]
async fn what_the_fleet_or_the_playbooks_do_not_allow_is_refused_by_name() {
    let world = World::with_fleet().await;
    world.runner.script(
        "orchestrator-needs.yml",
        Script::new().head("# Required parameters:\n#   wait_for_moon - the phase\n\n---\n"),
    );
    world
        .post("/api/orchestrators/scan", Value::Null)
        .await
        .ok(200);
    for (name, told) in [
        ("orchestrator-none.yml", "orchestrator-none.yml"),
        ("orchestrator-needs.yml", "wait_for_moon"),
    ] {
        let mut body = update(&world.apps[..1]);
        body["orchestrator_playbook"] = json!(name);
        let problem = world.post(PATH, body).await.problem(422, "refused");
        assert_eq!(problem["errors"][0]["pointer"], "/orchestrator_playbook");
        assert!(
            problem["detail"].as_str().unwrap().contains(told),
            "{problem}"
        );
    }

    // A sibling of what stands behind HAProxy, to which no server in HAProxy is mapped.
    let other = json!({ "name": "web09.elsewhere", "address": "192.0.2.1", "port": 11_011 });
    let id = world.post("/api/servers", other).await.ok(201).json()["id"].clone();
    world
        .post(&format!("/api/servers/{id}/refresh"), Value::Null)
        .await
        .ok(200);
    let twins = world.get("/api/applications?name=jurws_1").await.json();
    let ids: Vec<i64> = twins["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_i64().unwrap())
        .collect();
    let problem = world.post(PATH, update(&ids)).await.problem(422, "refused");
    assert_eq!(problem["errors"][0]["pointer"], "/app_ids");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`jurws_1` on web09.elsewhere,") && detail.contains("allow_undrained"),
        "{detail}"
    );
    assert_eq!(rollouts(&world).await, 0);

    world.runner.go_away(1);
    world
        .post(PATH, update(&world.apps[..1]))
        .await
        .problem(503, "unavailable");
    assert_eq!(rollouts(&world).await, 0);
}

#[tokio::test]
async fn an_update_is_cancelled_by_its_own_id() {
    let world = World::with_fleet().await;
    let answer = world.post(PATH, update(&world.apps[..1])).await.ok(202);
    let task = answer.header("location").to_owned();
    let cancel = format!("{task}/cancel");
    let cancelled = world
        .post(&cancel, json!({"reason": "wrong version"}))
        .await;
    assert_eq!(
        cancelled.ok(200).json()["id"],
        answer.json()["rollout_ids"][0]
    );
    let now = world.get(&task).await.ok(200).json();
    assert_eq!(now["status"], "cancelled", "{now}");
    world
        .post(&cancel, json!({}))
        .await
        .problem(409, "conflict");
    let other = "/api/rollouts/0190b3a4-7c00-7000-8000-000000000001/cancel";
    world.post(other, json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_hostile_artifact_url_is_kept_literally() {
    let world = World::with_fleet().await;
    let url = r#"http://nexus/'"; $(id) `id` {{ lookup('pipe', 'id') }} \ %0a"#;
    let mut body = update(&world.apps[..1]);
    body["distr_url"] = json!(url);
    let answer = world.post(PATH, body).await.ok(202);
    let task = world.get(answer.header("location")).await.ok(200).json();
    assert_eq!(task["params"]["distr_url"], url);
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_rollouts() {
    let world = World::with_fleet().await;
    let first = with_key(&world, "deploy 7", &update(&world.apps[..2]))
        .await
        .ok(202);
    // The same request in another spelling.
    let mut again = update(&world.apps[..2]);
    again["mode"] = json!("immediate");
    again["drain_wait_time"] = Value::Null;
    let replay = with_key(&world, "deploy 7", &again).await.ok(202);
    assert_eq!(replay.header("idempotency-replayed"), "true");
    assert_eq!(replay.header("location"), first.header("location"));
    assert_eq!(replay.json(), first.json());
    assert_eq!(rollouts(&world).await, 1);

    with_key(&world, "deploy 7", &update(&[world.apps[1], world.apps[0]]))
        .await
        .problem(422, "idempotency_key_reused");
    assert_eq!(rollouts(&world).await, 1);
    with_key(&world, "deploy 8", &update(&world.apps[..2]))
        .await
        .ok(202);
    // The key belongs to its caller.
    let request = world
        .request(Method::POST, PATH, Some(Role::Admin))
        .header("content-type", "application/json");
    let request = request
        .header("idempotency-key", "deploy 7")
        .body(Body::from(
            update(&[world.apps[1], world.apps[0]]).to_string(),
        ));
    assert_eq!(
        world
            .send(request.unwrap())
            .await
            .ok(202)
            .header("idempotency-replayed"),
        ""
    );
    assert_eq!(rollouts(&world).await, 3);
}

#[tokio::test]
async fn an_idempotency_key_is_printable() {
    let world = World::with_fleet().await;
    for key in ["", "a\tb", &"x".repeat(256)] {
        with_key(&world, key, &update(&world.apps[..1]))
            .await
            .problem(400, "invalid_header");
    }
    let request = world
        .request(Method::POST, PATH, Some(Role::Operator))
        .header("content-type", "application/json");
    let request = request
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    let request = request
        .body(Body::from(update(&world.apps[..1]).to_string()))
        .unwrap();
    world.send(request).await.problem(400, "invalid_header");
    assert_eq!(rollouts(&world).await, 0);
    with_key(&world, &"x".repeat(255), &update(&world.apps[..1]))
        .await
        .ok(202);
}

#[tokio::test]
async fn a_finished_rollout_tells_what_became_of_every_target() {
    let world = World::with_fleet().await;
    world.runner.script(
        ORCHESTRATOR,
        Script::new()
            .head(HEADER)
            .task("drain")
            .report(
                "web01::jurws_1::web01_jurws_1",
                TargetOutcome::Drained,
                Some("no sessions"),
            )
            .stats(&[("localhost", 1, 1)])
            .exits(2),
    );
    let answer = world.post(PATH, update(&world.apps[..2])).await.ok(202);
    let (stop, stopped) = watch::channel(false);
    let mut handlers = Handlers::default();
    let (kind, handler) = world.service.rollout_handler();
    handlers.register(kind, handler).unwrap();
    let engine = Engine::new(
        EnginePorts::over(&world.store),
        Arc::new(FixedClock::default()),
        Arc::new(SequentialIds::default()),
        handlers,
        EngineOptions::new(
            "w1".to_owned(),
            vec![QueueOptions::new(rollout::definition::queue())],
        ),
    )
    .unwrap();
    let worker = engine.run(stopped);
    let watch = async {
        let path = answer.header("location");
        let task = eventually(Duration::from_secs(10), || async {
            let task = world.get(path).await.ok(200).json();
            if task["status"] == "failed" {
                Ok(task)
            } else {
                Err(task.to_string())
            }
        })
        .await;
        stop.send(true).unwrap();
        task
    };
    let ((), task) = tokio::join!(worker, watch);

    assert_eq!(task["attempt"], 1);
    assert_eq!(
        task["progress"].as_u64().map(|progress| progress <= 100),
        Some(true)
    );
    assert!(
        task["error"].is_string() && task["completed_at"].is_string(),
        "{task}"
    );
    let run = &task["runs"][0];
    assert_eq!(
        (&run["status"], &run["exit_code"], &run["backend"]),
        (&json!("failed"), &json!(2), &json!("be_jurws"))
    );
    let counts = json!({
        "host": "localhost", "ok": 1, "changed": 1, "unreachable": 0, "failed": 1, "skipped": 0, "rescued": 0, "ignored": 0,
    });
    assert_eq!(run["hosts"], json!([counts]));
    let instances = task["targets"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    let drained: Vec<&Value> = instances
        .iter()
        .filter(|instance| instance["outcome"] == "left_drained")
        .map(|instance| &instance["haproxy_server"])
        .collect();
    assert!(drained.iter().all(|server| server.is_string()), "{task}");
    assert_eq!(json!(drained), task["left_drained"], "{task}");
    assert_eq!(drained.len(), 1, "{task}");

    // The events, page by page, to their end.
    let mut path = format!("{}/events?limit=2", answer.header("location"));
    let (mut kinds, mut last) = (Vec::new(), -1);
    loop {
        let page = world.get(&path).await.ok(200).json();
        for event in page["items"].as_array().unwrap() {
            let sequence = event["sequence"].as_i64().unwrap();
            assert!(sequence > last, "{page}");
            last = sequence;
            kinds.push(event["kind"].as_str().unwrap().to_owned());
            if event["status"] == "drained" {
                assert_eq!(event["message"], "no sessions");
            }
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!(
            "{}/events?limit=2&cursor={cursor}",
            answer.header("location")
        );
    }
    assert_eq!(kinds, ["playbook_start", "task_start", "ok", "stats"]);
}

#[tokio::test]
async fn events_of_a_waiting_task_can_be_followed() {
    let world = World::with_fleet().await;
    let answer = world.post(PATH, update(&world.apps[..1])).await.ok(202);
    let path = format!("{}/events", answer.header("location"));
    let page = world.get(&path).await.ok(200).json();
    assert_eq!(page["items"], json!([]));
    let cursor = page["next_cursor"].as_str().expect("more may come");
    let next = world
        .get(&format!("{path}?cursor={cursor}"))
        .await
        .ok(200)
        .json();
    assert_eq!(next["next_cursor"], cursor);
}

#[tokio::test]
async fn a_plan_shows_what_a_start_would_do_and_pins_it() {
    let world = World::with_fleet().await;
    let mut body = update(&world.apps);
    let plan = world
        .post("/api/v1/rollouts:plan", body.clone())
        .await
        .ok(200)
        .json();
    assert_eq!(plan["targets"], world.apps.len());
    let run = &plan["rollouts"][0]["runs"][0];
    assert_eq!(run["orchestrator_playbook"], ORCHESTRATOR);
    let planned: usize = run["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|batch| batch["targets"].as_array().unwrap().len())
        .sum();
    assert_eq!(planned, world.apps.len());
    assert_eq!(rollouts(&world).await, 0, "a plan creates nothing");

    for (wrong, code) in [(json!("latest"), "invalid"), (json!(7), "wrong_type")] {
        body["plan"] = wrong;
        let refused = world.post(PATH, body.clone()).await.ok(422).json();
        assert_eq!(refused["errors"][0]["pointer"], "/plan", "{refused}");
        assert_eq!(refused["errors"][0]["code"], code, "{refused}");
    }
    body["plan"] = json!("0000000000000000-0000000000000000-0000000000000000-0000000000000000");
    let stale = world.post(PATH, body.clone()).await.ok(409).json();
    assert_eq!(stale["code"], "plan_stale", "{stale}");
    assert_eq!(rollouts(&world).await, 0);
    body["plan"] = plan["plan"].clone();
    world.post(PATH, body).await.ok(202);
}
