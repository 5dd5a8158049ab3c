//! Workflows: starting, steering, looking, and everything that is refused.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_ports::WorkflowUpkeep as _;
use serde_json::{Value, json};

use crate::world::{Answer, World};

const PATH: &str = "/api/v1/workflows";

/// A task that waits for the signal `go`.
pub(crate) fn waits(key: &str, depends_on: &[&str]) -> Value {
    json!({ "key": key, "kind": "signal.wait", "payload": { "signal": "go" }, "depends_on": depends_on })
}

/// A task for a worker outside.
pub(crate) fn remote(key: &str, depends_on: &[&str]) -> Value {
    json!({ "key": key, "kind": "remote", "payload": { "n": 1 }, "depends_on": depends_on })
}

/// Starts a workflow of these tasks; its address.
pub(crate) async fn started(world: &World, tasks: Value) -> String {
    let answer = world.post(PATH, json!({ "tasks": tasks })).await.ok(202);
    answer.header("location").to_owned()
}

async fn with_key(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let request = world
        .request(Method::POST, path, Some(Role::Operator))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    world
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn a_workflow_is_started_and_found_where_it_says() {
    let world = World::new().await;
    for prefix in ["/api", "/api/v1"] {
        let body = json!({
            "name": "nightly", "labels": { "team": "blue" }, "input": { "day": 1 },
            "tasks": [
                waits("a", &[]),
                { "key": "b", "kind": "remote", "queue": "gpu", "priority": 7, "timeout_s": 1.5, "deadline_s": 60,
                  "depends_on": [{ "key": "a", "skipped_releases": true }], "concurrency_keys": ["x"],
                  "retry": { "strategy": "fixed", "initial_interval_s": 0.5, "max_attempts": 2 },
                  "compensation": { "kind": "remote" } },
            ],
        });
        let answer = world
            .post(&format!("{prefix}/workflows"), body)
            .await
            .ok(202);
        let id = answer.json()["id"].clone();
        let address = answer.header("location").to_owned();
        assert_eq!(
            address,
            format!("{prefix}/workflows/{}", id.as_str().unwrap())
        );

        let found = world.get(&address).await.ok(200).json();
        let expected = json!({
            "id": id, "name": "nightly", "status": "running", "execution_mode": "dag", "definition": null,
            "progress": 0, "tasks": { "total": 2, "open": 2, "failed": 0 }, "labels": { "team": "blue" },
            "parent_task_id": null, "error": null, "requested_by": "the admin",
            "created_at": found["created_at"], "started_at": found["started_at"], "finished_at": null,
            "input": { "day": 1 }, "output": null, "output_truncated": false,
        });
        assert_eq!(found, expected);
        assert!(found["started_at"].is_string());

        let tasks = world.get(&format!("{address}/tasks")).await.ok(200).json();
        let keys: Vec<&Value> = tasks["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| &task["key"])
            .collect();
        assert_eq!(keys, ["a", "b", "undo/b"]);
        let task = &tasks["items"][1];
        let path = format!("{address}/tasks/{}", task["id"].as_str().unwrap());
        let mut expected = json!({
            "id": task["id"], "workflow_id": id, "key": "b", "kind": "remote", "status": "pending", "attempt": 0,
            "queue": "gpu", "priority": 7, "guarantee": "g3", "depends_on": ["a"], "undoes_task_id": null,
            "concurrency_keys": ["x"], "timeout_s": 1.5, "deadline_at": null, "worker": null, "error": null,
            "started_at": null, "finished_at": null,
        });
        assert_eq!(*task, expected);
        expected["payload"] = Value::Null;
        expected["result"] = Value::Null;
        assert_eq!(world.get(&path).await.ok(200).json(), expected);
        assert_eq!(tasks["items"][2]["undoes_task_id"], task["id"]);
    }
}

#[tokio::test]
async fn a_signal_ends_a_wait_and_becomes_the_output() {
    let world = World::new().await;
    let address = started(&world, json!([waits("a", &[])])).await;
    let signal = format!("{address}/signals/go");
    let state = world
        .post(&signal, json!({ "payload": [1, "x"] }))
        .await
        .ok(200);
    assert_eq!(state.json()["status"], "succeeded");
    let found = world.get(&address).await.ok(200).json();
    assert_eq!(found["progress"], 100);
    assert_eq!(found["output"], json!({ "a": [1, "x"] }));

    world
        .post(&signal, Value::Null)
        .await
        .problem(409, "conflict");
    let history = world
        .get(&format!("{address}/history"))
        .await
        .ok(200)
        .json();
    let events = history["items"].as_array().unwrap();
    let words: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        words,
        [
            "workflow_created",
            "workflow_started",
            "task_waiting",
            "signal_received",
            "task_completed",
            "workflow_completed"
        ]
    );
    let numbers: Vec<i64> = events
        .iter()
        .map(|event| event["number"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(history["next_cursor"], Value::Null);
}

#[tokio::test]
async fn the_output_is_what_nobody_waits_for() {
    let world = World::new().await;
    let address = started(&world, json!([waits("a", &[]), waits("b", &["a"])])).await;
    for payload in ["first", "second"] {
        let signal = json!({ "payload": payload });
        world
            .post(&format!("{address}/signals/go"), signal)
            .await
            .ok(200);
    }
    let found = world.get(&address).await.ok(200).json();
    assert_eq!(found["output"], json!({ "b": "second" }));
}

#[tokio::test]
async fn a_workflow_is_steered() {
    let world = World::new().await;
    let body = json!({ "start": false, "tasks": [waits("a", &[])] });
    let address = world
        .post(PATH, body)
        .await
        .ok(202)
        .header("location")
        .to_owned();
    let ask = async |verb: &str, body: Value| world.post(&format!("{address}/{verb}"), body).await;
    assert_eq!(world.get(&address).await.json()["status"], "pending");
    ask("pause", Value::Null).await.problem(409, "conflict");
    for (verb, status) in [
        ("start", "running"),
        ("pause", "paused"),
        ("resume", "running"),
    ] {
        assert_eq!(
            ask(verb, Value::Null).await.ok(200).json()["status"],
            status
        );
        ask(verb, Value::Null).await.problem(409, "conflict");
    }
    let followed = world.get(&format!("{address}/history")).await.json();
    assert!(followed["next_cursor"].is_string(), "more may come");

    assert_eq!(
        ask("cancel", json!({ "reason": "" })).await.pointers(),
        ["/reason invalid"]
    );
    let cancelled = ask("cancel", json!({ "reason": "wrong day" }))
        .await
        .ok(200);
    assert_eq!(cancelled.json()["status"], "cancelled");
    let found = world.get(&address).await.json();
    assert_eq!(found["error"], "the admin called it off: wrong day");
    ask("cancel", Value::Null).await.problem(409, "conflict");
}

#[tokio::test(start_paused = true)]
async fn a_timer_and_a_delay_wait_their_time() {
    let world = World::new().await;
    let timer = json!([{ "key": "a", "kind": "timer", "payload": { "seconds": 0.25 } }]);
    let body = json!({ "start_after_s": 2, "tasks": timer });
    let address = world
        .post(PATH, body)
        .await
        .ok(202)
        .header("location")
        .to_owned();
    for (wait, status) in [(1, "pending"), (2, "running"), (1, "succeeded")] {
        tokio::time::advance(std::time::Duration::from_secs(wait)).await;
        world.store.wake_due(10).await.unwrap();
        assert_eq!(world.get(&address).await.json()["status"], status);
    }
}

#[tokio::test]
async fn workflows_are_listed_and_filtered() {
    let world = World::new().await;
    for (name, team) in [("one", "blue"), ("two", "blue"), ("three", "red")] {
        let labels = json!({ "team": team, "kind": "test" });
        let body = json!({ "name": name, "labels": labels, "tasks": [waits("a", &[])] });
        world.post(PATH, body).await.ok(202);
    }
    let page = world.get(&format!("{PATH}?limit=2")).await.ok(200).json();
    assert_eq!(page["items"][0]["name"], "three");
    let next = page["next_cursor"].as_str().unwrap();
    let rest = world
        .get(&format!("{PATH}?limit=2&cursor={next}"))
        .await
        .ok(200)
        .json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    for (query, count) in [
        ("name=one", 1),
        ("status=running", 3),
        ("status=failed", 0),
        ("labels=team:blue", 2),
        ("labels=team:blue,kind:test", 2),
        ("labels=team:green", 0),
        ("parent_task_id=00000000-0000-0000-0000-000000007001", 0),
    ] {
        let page = world.get(&format!("{PATH}?{query}")).await.ok(200).json();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }
    for query in [
        "status=done",
        "labels=team",
        "labels=",
        "name=",
        "parent_task_id=7",
    ] {
        world
            .get(&format!("{PATH}?{query}"))
            .await
            .problem(400, "invalid_query_parameter");
    }
    world
        .get(&format!("{PATH}?team=blue"))
        .await
        .problem(400, "unknown_query_parameter");
}

#[tokio::test]
async fn a_repeated_start_gets_the_same_workflow() {
    let world = World::new().await;
    let body = json!({ "name": "one", "tasks": [waits("a", &[])] });
    let first = with_key(&world, PATH, "k", &body).await.ok(202);
    assert_eq!(first.header("idempotency-replayed"), "");
    // Other spelling, same request.
    let same = json!({ "tasks": [waits("a", &[])], "name": "one" });
    let again = with_key(&world, PATH, "k", &same).await.ok(202);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("location"), first.header("location"));

    let other = json!({ "name": "two", "tasks": [waits("a", &[])] });
    with_key(&world, PATH, "k", &other)
        .await
        .problem(422, "idempotency_key_reused");
    let count = world.get(PATH).await.json()["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_repeated_signal_is_one_signal() {
    let world = World::new().await;
    let address = started(&world, json!([waits("a", &[]), waits("b", &["a"])])).await;
    let path = format!("{address}/signals/go");
    let body = json!({ "payload": 1 });
    for _ in 0..2 {
        let state = with_key(&world, &path, "k", &body).await.ok(200);
        assert_eq!(state.json()["status"], "running");
    }
    with_key(&world, &path, "k", &json!({ "payload": 2 }))
        .await
        .problem(422, "idempotency_key_reused");
    with_key(&world, &path, "l", &body).await.ok(200);
    assert_eq!(world.get(&address).await.json()["status"], "succeeded");
}

/// A body, the places of all that is wrong with it, and a part of what is said about it.
type Case = (Value, &'static str, &'static str);

async fn refused(cases: impl IntoIterator<Item = Case>) {
    let world = World::new().await;
    for (body, places, says) in cases {
        let shown = body.to_string().chars().take(300).collect::<String>();
        for path in [PATH, "/api/workflows"] {
            let (found, detail) = world.post(path, body.clone()).await.places();
            assert_eq!(found, places, "{shown}");
            assert!(detail.contains(says), "{detail} does not say {says}");
        }
    }
    assert_eq!(world.get(PATH).await.json()["items"], json!([]));
}

/// A workflow of one task with these fields.
#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better where it is called"
)]
fn task(more: Value) -> Value {
    let mut task = remote("a", &[]);
    task.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "tasks": [task] })
}

#[tokio::test]
async fn tasks_that_do_not_fit_together_are_refused_with_their_place() {
    let chain = (1..101).map(|n| remote(&format!("t{n}"), &[&format!("t{}", n - 1)]));
    let chain: Vec<Value> = std::iter::once(remote("t0", &[])).chain(chain).collect();
    let many = (0..1_001).map(|n| json!({ "key": format!("t{n}"), "kind": "remote" }));
    let many: Vec<Value> = many.collect();
    let parallel = json!([remote("a", &[]), remote("b", &["a"])]);
    let circle = json!([
        remote("a", &["c"]),
        remote("b", &["a"]),
        remote("c", &["b"])
    ]);
    let tasks = |tasks: Value| json!({ "tasks": tasks });
    refused([
        (tasks(circle), "/tasks/0/depends_on cycle", "a → c → b → a"),
        (
            tasks(json!([remote("a", &["b", "x"]), remote("b", &[])])),
            "/tasks/0/depends_on/1 unknown_dependency",
            "`x`",
        ),
        (
            tasks(json!([remote("a", &[]), remote("a", &[])])),
            "/tasks/1/key duplicate",
            "`a`",
        ),
        (tasks(json!([])), "/tasks empty", "at least one task"),
        (
            tasks(json!([remote("a", &["a"])])),
            "/tasks/0/depends_on/0 self_dependency",
            "`a`",
        ),
        (
            tasks(json!([remote("a", &[]), remote("b", &["a", "a"])])),
            "/tasks/1/depends_on/1 duplicate",
            "twice",
        ),
        (tasks(json!(many)), "/tasks too_many", "1001 are given"),
        (
            tasks(json!(chain)),
            "/tasks/100/depends_on too_deep",
            "101 tasks",
        ),
        (
            json!({ "execution_mode": "parallel", "tasks": parallel }),
            "/tasks/1/depends_on not_in_this_mode",
            "parallel",
        ),
    ])
    .await;
}

#[tokio::test]
async fn bounds_and_retries_are_refused_with_their_place() {
    let retry = |more: Value| {
        let mut retry = json!({ "strategy": "fixed" });
        retry
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        task(json!({ "retry": retry }))
    };
    refused([
        (
            task(json!({ "timeout_s": 0 })),
            "/tasks/0/timeout_s out_of_range",
            "more than 0 s",
        ),
        (
            task(json!({ "timeout_s": 86_401 })),
            "/tasks/0/timeout_s out_of_range",
            "86401",
        ),
        (
            task(json!({ "timeout_s": -1 })),
            "/tasks/0/timeout_s out_of_range",
            "0 to",
        ),
        (
            task(json!({ "timeout_s": 1e300 })),
            "/tasks/0/timeout_s out_of_range",
            "0 to",
        ),
        (
            task(json!({ "timeout_s": "5" })),
            "/tasks/0/timeout_s wrong_type",
            "a number",
        ),
        (
            task(json!({ "deadline_s": 0 })),
            "/tasks/0/deadline_s out_of_range",
            "more than 0 s",
        ),
        (
            task(json!({ "priority": 101 })),
            "/tasks/0/priority out_of_range",
            "-100 to 100",
        ),
        (
            retry(json!({ "strategy": "often" })),
            "/tasks/0/retry/strategy invalid",
            "exponential",
        ),
        (
            retry(json!({ "max_attempts": 1_001 })),
            "/tasks/0/retry/max_attempts out_of_range",
            "1001",
        ),
        (
            retry(json!({ "initial_interval_s": 400 })),
            "/tasks/0/retry/initial_interval_s out_of_range",
            "400 s",
        ),
        (
            retry(json!({ "base": 0.5 })),
            "/tasks/0/retry/base out_of_range",
            "0.5",
        ),
        (
            retry(json!({ "jitter": 2 })),
            "/tasks/0/retry/jitter out_of_range",
            "2",
        ),
        (
            retry(json!({ "max_interval_s": 0 })),
            "/tasks/0/retry/max_interval_s out_of_range",
            "0 s",
        ),
        (
            retry(json!({ "non_retryable": [""] })),
            "/tasks/0/retry/non_retryable/0 invalid",
            "empty",
        ),
    ])
    .await;
}

#[tokio::test]
async fn kinds_and_payloads_are_refused_with_their_place() {
    let large = "x".repeat(256 * 1024);
    let of = |kind: &str, payload: Value| task(json!({ "kind": kind, "payload": payload }));
    let undone = |by: Value| task(json!({ "compensation": by }));
    let timer = json!({ "kind": "timer", "payload": { "seconds": 1 } });
    refused([
        (
            of("shell", json!(1)),
            "/tasks/0/kind unknown_kind",
            "there are remote, signal.wait",
        ),
        (
            of("remote", json!(large)),
            "/tasks/0/payload too_large",
            "262146 bytes",
        ),
        (
            of("timer", json!({ "seconds": 0 })),
            "/tasks/0/payload/seconds out_of_range",
            "more than 0",
        ),
        (
            of("timer", Value::Null),
            "/tasks/0/payload wrong_type",
            "an object",
        ),
        (
            of("signal.wait", json!({ "signal": "go", "expires": 1 })),
            "/tasks/0/payload/expires unknown_field",
            "expires",
        ),
        (
            of("subworkflow", json!({ "version": 0 })),
            "/tasks/0/payload/definition missing, /tasks/0/payload/version out_of_range",
            "definition",
        ),
        (
            undone(timer),
            "/tasks/0/compensation/kind invalid",
            "compensation",
        ),
        (
            undone(json!({ "kind": "shell" })),
            "/tasks/0/compensation/kind unknown_kind",
            "shell",
        ),
    ])
    .await;
}

#[tokio::test]
async fn fields_are_refused_with_their_place() {
    let own = |more: Value| {
        let mut body = json!({ "tasks": [remote("a", &[])] });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    refused([
        (
            task(json!({ "queue": "a b" })),
            "/tasks/0/queue invalid",
            "the queue",
        ),
        (
            task(json!({ "concurrency_keys": [""] })),
            "/tasks/0/concurrency_keys/0 invalid",
            "empty",
        ),
        (
            task(json!({ "depends_on": [{ "on": "a" }] })),
            "/tasks/0/depends_on/0/key missing, /tasks/0/depends_on/0/on unknown_field",
            "`key` is missing",
        ),
        (
            task(json!({ "shell": "rm" })),
            "/tasks/0/shell unknown_field",
            "`shell`",
        ),
        (
            json!({ "tasks": [{ "key": "a b", "kind": 7 }] }),
            "/tasks/0/key invalid, /tasks/0/kind wrong_type",
            "the task key",
        ),
        (json!({ "tasks": [7] }), "/tasks/0 wrong_type", "an object"),
        (json!({}), "/tasks missing", "`tasks`"),
        (
            own(json!({ "labels": { "a b": "x", "c": 1 } })),
            "/labels/a b invalid, /labels/c wrong_type",
            "label",
        ),
        (
            own(json!({ "start": false, "start_after_s": 1 })),
            "/start_after_s invalid",
            "start",
        ),
        (
            own(json!({ "deadline_s": 0 })),
            "/deadline_s out_of_range",
            "more than 0",
        ),
        (
            own(json!({ "definition": { "name": "d" } })),
            "/definition invalid",
            "either",
        ),
        (
            own(json!({ "execution_mode": "chaos" })),
            "/execution_mode invalid",
            "dag",
        ),
        (own(json!({ "name": "" })), "/name invalid", "empty"),
    ])
    .await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_on_every_verb() {
    let world = World::new().await;
    let nobody = "/api/v1/workflows/00000000-0000-0000-0000-000000007000";
    let task = format!("{nobody}/tasks/00000000-0000-0000-0000-000000007001");
    for path in [
        nobody.to_owned(),
        format!("{nobody}/tasks"),
        format!("{nobody}/history"),
        task.clone(),
        format!(
            "/api/v1/events/stream?workflow_id={}",
            nobody.rsplit('/').next().unwrap()
        ),
        "/api/v1/ws/workflows/00000000-0000-0000-0000-000000007000".to_owned(),
        "/ws/workflows/00000000-0000-0000-0000-000000007000".to_owned(),
    ] {
        world.get(&path).await.problem(404, "not_found");
    }
    for verb in ["start", "pause", "resume", "cancel", "signals/go"] {
        let path = format!("{nobody}/{verb}");
        world
            .post(&path, Value::Null)
            .await
            .problem(404, "not_found");
    }
    for verb in ["retry", "skip"] {
        let path = format!("{task}/{verb}");
        world
            .post(&path, Value::Null)
            .await
            .problem(404, "not_found");
    }
    let resolution = json!({ "outcome": "succeeded" });
    world
        .post(&format!("{task}/resolve"), resolution)
        .await
        .problem(404, "not_found");

    // A task of another workflow is not one of this.
    let one = started(&world, json!([waits("a", &[])])).await;
    let other = started(&world, json!([waits("a", &[])])).await;
    let tasks = world.get(&format!("{other}/tasks")).await.json();
    let task = tasks["items"][0]["id"].as_str().unwrap();
    world.get(&format!("{other}/tasks/{task}")).await.ok(200);
    world
        .get(&format!("{one}/tasks/{task}"))
        .await
        .problem(404, "not_found");
    for path in [
        "/api/workflows/7",
        "/api/workflows/00000000-0000-0000-0000-000000007000/tasks/7",
    ] {
        world.get(path).await.problem(400, "invalid_path_parameter");
    }
    world
        .post(&format!("{one}/signals/a%20b"), Value::Null)
        .await
        .problem(400, "invalid_path_parameter");
}

#[tokio::test]
async fn a_person_decides_about_tasks() {
    let world = World::new().await;
    let address = started(&world, json!([waits("a", &[]), waits("b", &[])])).await;
    let tasks = world.get(&format!("{address}/tasks")).await.json();
    let task = |at: usize| {
        format!(
            "{address}/tasks/{}",
            tasks["items"][at]["id"].as_str().unwrap()
        )
    };
    world
        .post(&format!("{}/retry", task(0)), Value::Null)
        .await
        .problem(409, "conflict");
    for (body, places) in [
        (json!({}), "/outcome missing"),
        (json!({ "outcome": "maybe" }), "/outcome invalid"),
        (json!({ "outcome": "failed" }), "/error missing"),
        (
            json!({ "outcome": "failed", "error": {} }),
            "/error/code missing",
        ),
        (
            json!({ "outcome": "succeeded", "error": { "code": "x" } }),
            "/error invalid",
        ),
        (
            json!({ "outcome": "failed", "error": { "code": "x" }, "result": 1 }),
            "/result invalid",
        ),
    ] {
        let answer = world
            .post(&format!("{}/resolve", task(0)), body.clone())
            .await;
        assert_eq!(answer.pointers().join(", "), places, "{body}");
    }
    let body = json!({ "outcome": "failed", "error": { "code": "x", "message": "y" } });
    world
        .post(&format!("{}/resolve", task(0)), body)
        .await
        .problem(409, "conflict");
    let state = world
        .post(&format!("{}/skip", task(0)), Value::Null)
        .await
        .ok(200);
    assert_eq!(state.json()["status"], "running");
    let skipped = world.get(&task(0)).await.json();
    assert_eq!(skipped["status"], "skipped");
    world
        .post(&format!("{}/skip", task(0)), Value::Null)
        .await
        .problem(409, "conflict");
}
