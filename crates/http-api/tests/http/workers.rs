//! Workers outside: claiming, living, reporting, and being too late.

use std::time::Duration;

use drover_ports::WorkflowUpkeep as _;
use serde_json::{Value, json};

use crate::workflows::{remote, started, waits};
use crate::world::{Answer, World};

async fn say(world: &World, verb: &str, body: Value) -> Answer {
    world.post(&format!("/api/v1/workers/{verb}"), body).await
}

async fn claim(world: &World, more: Value) -> Value {
    let mut body = json!({ "worker": "w1", "queues": ["default"] });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    say(world, "claim", body).await.ok(200).json()
}

fn held(claimed: &Value) -> Value {
    let task = &claimed["tasks"][0];
    json!({ "lease_id": claimed["lease_id"], "task_id": task["task_id"], "attempt": task["attempt"] })
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

#[tokio::test]
async fn a_worker_drains_a_queue() {
    let world = World::new().await;
    let address = started(&world, json!([remote("a", &[]), remote("b", &["a"])])).await;
    for (key, result) in [("a", json!({ "rows": 7 })), ("b", Value::Null)] {
        let claimed = claim(&world, json!({ "lease_s": 20, "limit": 5 })).await;
        assert_eq!(claimed["lease_s"], 20.0);
        let task = &claimed["tasks"][0];
        let expected = json!({
            "task_id": task["task_id"], "workflow_id": task["workflow_id"], "attempt": 1, "key": key, "kind": "remote",
            "queue": "default", "payload": { "n": 1 }, "idempotency_key": task["task_id"], "guarantee": "g3",
            "timeout_s": 300.0, "undoes_task_id": null, "queued_at": task["queued_at"],
        });
        assert_eq!(claimed["tasks"], json!([expected]));
        let running = world
            .get(&format!(
                "{address}/tasks/{}",
                task["task_id"].as_str().unwrap()
            ))
            .await
            .json();
        assert_eq!(
            (&running["status"], &running["worker"]),
            (&json!("running"), &json!("w1"))
        );

        let beat = say(
            &world,
            "heartbeat",
            json!({ "lease_id": claimed["lease_id"] }),
        )
        .await;
        assert_eq!(
            beat.ok(200).json(),
            json!({ "lease_s": 30.0, "stop_task_ids": [] })
        );
        let done = say(&world, "complete", with(&held(&claimed), "result", result)).await;
        assert_eq!(
            done.ok(200).json(),
            json!({ "task_id": task["task_id"], "attempt": 1 })
        );
    }
    let found = world.get(&address).await.json();
    assert_eq!(found["status"], "succeeded");
    assert_eq!(found["output"], json!({ "b": null }));
    let nothing = claim(&world, json!({})).await;
    assert_eq!(
        nothing,
        json!({ "lease_id": null, "lease_s": 30.0, "tasks": [] })
    );
}

#[tokio::test]
async fn a_failed_task_is_retried_and_then_becomes_a_dead_letter_that_is_done_again() {
    let world = World::new().await;
    let mut task = remote("a", &[]);
    task["retry"] = json!({ "strategy": "fixed", "initial_interval_s": 0, "max_attempts": 1 });
    let address = started(&world, json!([task, waits("b", &["a"])])).await;
    let error = json!({ "code": "io", "message": "the disk is full" });
    for status in ["running", "failed"] {
        world.store.wake_due(10).await.unwrap();
        let claimed = claim(&world, json!({})).await;
        say(
            &world,
            "fail",
            with(&held(&claimed), "error", error.clone()),
        )
        .await
        .ok(200);
        assert_eq!(world.get(&address).await.json()["status"], status);
    }
    let found = world.get(&address).await.json();
    assert_eq!(
        found["tasks"],
        json!({ "total": 2, "open": 0, "failed": 1 })
    );
    assert_eq!(
        found["error"],
        "the task `a` ended as failed: io: the disk is full"
    );

    let dead = world
        .get("/api/v1/dead-letters?code=io&queue=default&kind=remote")
        .await
        .ok(200)
        .json();
    let letter = &dead["items"][0];
    assert_eq!(letter["workflow_name"], "workflow");
    assert_eq!(letter["task"]["error"], error);
    for query in [
        "code=other",
        "queue=other",
        "kind=timer",
        "workflow_id=00000000-0000-0000-0000-000000007000",
    ] {
        let none = world
            .get(&format!("/api/v1/dead-letters?{query}"))
            .await
            .ok(200)
            .json();
        assert_eq!(none["items"], json!([]), "{query}");
    }
    for query in ["queue=a%20b", "kind=", "workflow_id=7"] {
        world
            .get(&format!("/api/v1/dead-letters?{query}"))
            .await
            .problem(400, "invalid_query_parameter");
    }

    let redrive = async |body: Value| world.post("/api/v1/dead-letters/redrive", body).await;
    assert_eq!(
        redrive(json!({ "code": "other" })).await.ok(200).json(),
        json!({ "task_ids": [] })
    );
    let id = &letter["task"]["id"];
    let again = redrive(json!({ "task_id": id })).await.ok(200).json();
    assert_eq!(again, json!({ "task_ids": [id] }));
    redrive(json!({ "task_id": id }))
        .await
        .problem(409, "conflict");
    let nobody = json!({ "task_id": "00000000-0000-0000-0000-000000007001" });
    redrive(nobody).await.problem(404, "not_found");
    assert_eq!(
        redrive(json!({ "limit": 0, "task_id": 7, "code": "" }))
            .await
            .pointers(),
        [
            "/task_id wrong_type",
            "/code invalid",
            "/limit out_of_range"
        ]
    );
    assert_eq!(world.get(&address).await.json()["status"], "running");
    let claimed = claim(&world, json!({})).await;
    assert_eq!(claimed["tasks"][0]["attempt"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_late_report_changes_nothing() {
    let world = World::new().await;
    let address = started(&world, json!([remote("a", &[])])).await;
    let first = held(&claim(&world, json!({ "lease_s": 5 })).await);
    tokio::time::advance(Duration::from_secs(6)).await;
    world
        .store
        .take_over(Duration::from_secs(1), 10)
        .await
        .unwrap();
    say(
        &world,
        "heartbeat",
        json!({ "lease_id": first["lease_id"] }),
    )
    .await
    .problem(409, "conflict");
    say(
        &world,
        "claim",
        json!({ "worker": "w1", "queues": ["default"], "lease_id": first["lease_id"] }),
    )
    .await
    .problem(409, "conflict");
    let second = held(&claim(&world, json!({ "worker": "w2" })).await);
    assert_eq!(second["attempt"], 2);

    let error = json!({ "code": "io" });
    for wrong in [
        first.clone(),
        // Another's task under one's own lease, an attempt that was, and one that never was.
        with(&second, "lease_id", first["lease_id"].clone()),
        with(&second, "attempt", json!(1)),
        with(&second, "attempt", json!(3)),
        with(
            &second,
            "lease_id",
            json!("00000000-0000-0000-0000-00000000f000"),
        ),
    ] {
        say(&world, "complete", wrong.clone())
            .await
            .problem(409, "conflict");
        say(&world, "fail", with(&wrong, "error", error.clone()))
            .await
            .problem(409, "conflict");
        assert_eq!(world.get(&address).await.json()["status"], "running");
    }
    let absent = with(
        &second,
        "task_id",
        json!("00000000-0000-0000-0000-000000f00001"),
    );
    say(&world, "complete", absent)
        .await
        .problem(404, "not_found");
    say(&world, "complete", second.clone()).await.ok(200);
    say(&world, "complete", second)
        .await
        .problem(409, "conflict");
    assert_eq!(world.get(&address).await.json()["status"], "succeeded");
}

#[tokio::test]
async fn a_worker_says_how_it_went() {
    let world = World::new().await;
    let mut task = remote("a", &[]);
    task["retry"] = json!({ "strategy": "fixed" });
    let error = json!({ "code": "io", "message": "y" });
    for (more, status) in [
        (json!({ "error": error, "retryable": false }), "failed"),
        (json!({ "error": error, "retryable": true }), "retrying"),
        (json!({ "error": error, "outcome": "unknown" }), "unknown"),
        (json!({ "outcome": "released" }), "queued"),
    ] {
        let address = started(&world, json!([task.clone()])).await;
        let claimed = claim(&world, json!({})).await;
        let mut body = held(&claimed);
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        say(&world, "fail", body).await.ok(200);
        let id = claimed["tasks"][0]["task_id"].as_str().unwrap();
        let task = world.get(&format!("{address}/tasks/{id}")).await.json();
        assert_eq!(task["status"], status, "{more}");
        if status == "unknown" {
            let body = json!({ "outcome": "succeeded", "result": 5 });
            let state = world
                .post(&format!("{address}/tasks/{id}/resolve"), body)
                .await
                .ok(200);
            assert_eq!(state.json()["status"], "succeeded");
            assert_eq!(
                world.get(&address).await.json()["output"],
                json!({ "a": 5 })
            );
        }
        if status == "queued" {
            world
                .post(&format!("{address}/cancel"), Value::Null)
                .await
                .ok(200);
        }
    }
}

#[tokio::test]
async fn a_worker_is_told_to_stop() {
    let world = World::new().await;
    let address = started(&world, json!([remote("a", &[])])).await;
    let claimed = held(&claim(&world, json!({})).await);
    let state = world
        .post(&format!("{address}/cancel"), Value::Null)
        .await
        .ok(200);
    assert_eq!(state.json()["status"], "cancelling");
    let beat = say(
        &world,
        "heartbeat",
        json!({ "lease_id": claimed["lease_id"], "lease_s": 5 }),
    )
    .await;
    assert_eq!(
        beat.ok(200).json(),
        json!({ "lease_s": 5.0, "stop_task_ids": [claimed["task_id"]] })
    );
    say(
        &world,
        "fail",
        with(&claimed, "outcome", json!("cancelled")),
    )
    .await
    .ok(200);
    assert_eq!(world.get(&address).await.json()["status"], "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_worker_is_woken_by_a_start() {
    let world = World::new().await;
    let begun = tokio::time::Instant::now();
    let waits = claim(&world, json!({ "wait_s": 30 }));
    let starts = async {
        tokio::time::timeout(Duration::from_millis(500), std::future::pending::<()>())
            .await
            .unwrap_err();
        started(&world, json!([remote("a", &[])])).await
    };
    let (claimed, _) = tokio::join!(waits, starts);
    assert_eq!(claimed["tasks"][0]["key"], "a");
    assert!(
        begun.elapsed() < Duration::from_millis(600),
        "{:?}",
        begun.elapsed()
    );

    let begun = tokio::time::Instant::now();
    let nothing = claim(&world, json!({ "wait_s": 30, "lease_s": 5 })).await;
    assert_eq!(nothing["tasks"], json!([]));
    assert!(
        (30..=31).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_lease_can_be_kept_for_more_than_one_claim() {
    let world = World::new().await;
    started(&world, json!([remote("a", &[]), remote("b", &[])])).await;
    let first = claim(&world, json!({})).await;
    let one = |claimed: &Value| {
        let task = &claimed["tasks"][0];
        json!({ "task_id": task["task_id"], "attempt": task["attempt"] })
    };
    let lease = |holding: Value| json!({ "lease_id": first["lease_id"], "holding": holding });
    let second = claim(&world, lease(json!([one(&first)]))).await;
    assert_eq!(second["lease_id"], first["lease_id"]);
    assert_eq!(second["tasks"].as_array().unwrap().len(), 1);
    // It is the worker's own: an empty answer leaves it open.
    let third = claim(&world, lease(json!([one(&first), one(&second)]))).await;
    assert_eq!(
        (&third["lease_id"], &third["tasks"]),
        (&first["lease_id"], &json!([]))
    );
    for claimed in [&first, &second] {
        say(&world, "complete", held(claimed)).await.ok(200);
    }
}

#[tokio::test]
async fn what_no_worker_would_say_is_refused_with_its_place() {
    let world = World::new().await;
    let id = "00000000-0000-0000-0000-000000007001";
    let report = json!({ "lease_id": id, "task_id": id, "attempt": 1 });
    for (verb, body, places) in [
        ("claim", json!({}), "/worker missing, /queues missing"),
        (
            "claim",
            json!({ "worker": "", "queues": [] }),
            "/worker invalid, /queues empty",
        ),
        (
            "claim",
            json!({ "worker": "w", "queues": ["a", "a"] }),
            "/queues/1 duplicate",
        ),
        (
            "claim",
            json!({ "worker": "w", "queues": ["a"], "limit": 101, "wait_s": 31, "lease_s": 1 }),
            "/limit out_of_range, /wait_s out_of_range, /lease_s out_of_range",
        ),
        ("heartbeat", json!({ "lease_id": "x" }), "/lease_id invalid"),
        (
            "complete",
            json!({}),
            "/lease_id missing, /task_id missing, /attempt missing",
        ),
        (
            "complete",
            with(&report, "attempt", json!(0)),
            "/attempt out_of_range",
        ),
        (
            "complete",
            with(&report, "result", json!("x".repeat(300_000))),
            "/result too_large",
        ),
        ("fail", report.clone(), "/error missing"),
        (
            "fail",
            with(&report, "outcome", json!("tired")),
            "/outcome invalid",
        ),
        (
            "fail",
            with(
                &with(&report, "outcome", json!("released")),
                "error",
                json!({ "code": "x" }),
            ),
            "/error invalid",
        ),
        (
            "fail",
            with(&report, "error", json!({ "code": "" })),
            "/error/code invalid",
        ),
    ] {
        let answer = say(&world, verb, body.clone()).await;
        assert_eq!(answer.pointers().join(", "), places, "{verb} {body:.200}");
    }
}

#[tokio::test]
async fn a_worker_says_what_it_holds() {
    let world = World::new().await;
    let tasks = json!([remote("a", &[]), remote("b", &[])]);
    started(&world, tasks).await;
    let first = claim(&world, json!({ "lease_id": null, "holding": [] })).await;
    let one = |claimed: &Value| {
        let task = &claimed["tasks"][0];
        json!({ "task_id": task["task_id"], "attempt": task["attempt"] })
    };
    let mine = json!([one(&first)]);
    let under = json!({ "lease_id": first["lease_id"], "holding": mine });
    let lost = claim(&world, under.clone()).await;
    let again = claim(&world, under).await;
    assert_eq!(again["lease_id"], first["lease_id"]);
    assert_eq!(again["tasks"][0]["task_id"], lost["tasks"][0]["task_id"]);
    assert_eq!(again["tasks"][0]["attempt"], 2);

    // Without saying it, the worker gets the next tasks under another lease.
    let silent = json!({ "lease_id": first["lease_id"] });
    started(&world, json!([remote("c", &[])])).await;
    let other = claim(&world, silent).await;
    assert_ne!(other["lease_id"], first["lease_id"]);

    // A heartbeat names what the lease no longer holds.
    let gone = json!([one(&first), one(&lost)]);
    let beat = json!({ "lease_id": first["lease_id"], "holding": gone });
    let beat = say(&world, "heartbeat", beat).await.ok(200).json();
    assert_eq!(beat["stop_task_ids"], json!([lost["tasks"][0]["task_id"]]));

    for (holding, pointer) in [
        (json!({}), "/holding"),
        (
            json!([{ "task_id": "x", "attempt": 1 }]),
            "/holding/0/task_id",
        ),
        (
            json!([{ "task_id": first["lease_id"] }]),
            "/holding/0/attempt",
        ),
        (
            json!([{ "task_id": first["lease_id"], "attempt": 0 }]),
            "/holding/0/attempt",
        ),
    ] {
        let beat = json!({ "lease_id": first["lease_id"], "holding": holding });
        let refused = say(&world, "heartbeat", beat).await;
        let problem = refused.problem(422, "invalid_body");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}
