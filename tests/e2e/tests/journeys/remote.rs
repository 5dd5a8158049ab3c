//! Workers outside: the one that the documentation shows, and one that comes too late.

use std::path::{Path, PathBuf};

use drover_testkit::eventually::eventually;
use serde_json::{Value, json};

use crate::nodes::{Node, Nodes, PATIENCE, story, text};
use crate::process::Process;

/// The folder of the guides.
fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how-to")
}

/// The worker as it is shown.
fn script() -> PathBuf {
    guides().join("remote_worker.py")
}

fn start_worker(nodes: &Nodes, node: &Node, folder: &Path) -> Process {
    let variables = [
        ("DROVER_URL", node.url.as_str()),
        ("DROVER_API_KEY", nodes.key()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let script = script().display().to_string();
    Process::start(
        Path::new("python3"),
        &[&script, "texts"],
        &variables,
        &folder.join("worker.log"),
    )
}

fn name(worker: &Process) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    format!("{}-{}", host.trim(), worker.id())
}

fn task(key: &str, payload: &Value) -> Value {
    json!({"key": key, "kind": "remote", "queue": "texts", "payload": payload})
}

/// Waits until the workflow's first task is so, and returns it.
async fn until(node: &Node, workflow: &str, status: &str, worker: &Process) -> Value {
    eventually(PATIENCE, || async {
        let task = node.tasks(workflow).await.remove(0);
        if text(&task["status"]) == status {
            Ok(task)
        } else {
            Err(format!("{task}; log of the worker:\n{}", worker.log()))
        }
    })
    .await
}

#[test]
fn the_guide_shows_the_worker() {
    let guide = std::fs::read_to_string(guides().join("remote-worker.md")).unwrap();
    let script = std::fs::read_to_string(script()).unwrap();
    let shown = guide.split("```python\n").nth(1).unwrap();
    assert_eq!(shown.split("```").next().unwrap(), script);
}

#[tokio::test]
async fn the_worker_of_the_guide_drains_a_queue_and_may_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = Nodes::new(&[]);
    let node = nodes.start().await;
    let tasks: Vec<Value> = (0..20)
        .map(|number| {
            task(
                &format!("t{number}"),
                &json!({"text": "a few words ".repeat(number)}),
            )
        })
        .collect();
    let drained = node.begin(&tasks).await;
    let mut first = start_worker(&nodes, &node, folder.path());
    node.until_succeeded(&drained).await;
    for (task, number) in node.tasks(&drained).await.iter().zip(0..) {
        assert_eq!(node.result(task).await, json!({"words": 3 * number}));
        assert_eq!(
            (text(&task["worker"]), &task["attempt"]),
            (&*name(&first), &json!(1))
        );
    }

    let killed = node
        .begin(&[task(
            "slow",
            &json!({"text": "four words of it", "seconds": 3}),
        )])
        .await;
    until(&node, &killed, "running", &first).await;
    let dead = name(&first);
    first.kill();
    let second = start_worker(&nodes, &node, folder.path());
    let done = until(&node, &killed, "succeeded", &second).await;
    node.until_succeeded(&killed).await;
    assert_eq!(node.result(&done).await, json!({"words": 4}));
    let told = |kind: &str, attempt, detail: &str| (kind.to_owned(), attempt, detail.to_owned());
    assert_eq!(
        story(&node.history(&killed).await, &done),
        [
            told("task_queued", 0, ""),
            told("task_started", 1, &dead),
            told("task_lost", 1, ""),
            told("task_queued", 1, ""),
            told("task_started", 2, &name(&second)),
            told("task_completed", 2, ""),
        ]
    );

    let broken = node.begin(&[task("broken", &json!({"no": "text"}))]).await;
    let failed = until(&node, &broken, "failed", &second).await;
    assert_eq!(
        failed["error"],
        json!({"code": "KeyError", "message": "'text'"})
    );

    let endless = node
        .begin(&[task("endless", &json!({"text": "", "seconds": 600}))])
        .await;
    until(&node, &endless, "running", &second).await;
    let path = format!("/api/v1/workflows/{endless}/cancel");
    let answer = node.api.post(&path, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    until(&node, &endless, "cancelled", &second).await;
}

#[tokio::test]
async fn a_worker_whose_lease_ran_out_is_refused() {
    let nodes = Nodes::new(&[]);
    let node = nodes.start().await;
    let workflow = node.begin(&[task("a", &json!(null))]).await;
    let claim = json!({"worker": "one", "queues": ["texts"], "lease_s": 5, "wait_s": 20});
    let one = node.api.post("/api/v1/workers/claim", &claim).await.body;
    let claim = json!({"worker": "two", "queues": ["texts"], "wait_s": 5});
    let two = eventually(PATIENCE, || async {
        let answer = node.api.post("/api/v1/workers/claim", &claim).await;
        match answer.body["tasks"].as_array() {
            Some(tasks) if !tasks.is_empty() => Ok(answer.body),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    let report = |claimed: &Value| {
        let task = &claimed["tasks"][0];
        json!({
            "lease_id": claimed["lease_id"],
            "task_id": task["task_id"],
            "attempt": task["attempt"],
            "result": task["attempt"],
        })
    };
    let (late, own) = (report(&one), report(&two));
    let before = (node.history(&workflow).await, node.tasks(&workflow).await);
    assert_eq!(before.1[0]["worker"], "two");

    let beat = json!({"lease_id": one["lease_id"]});
    assert_eq!(
        node.api
            .post("/api/v1/workers/heartbeat", &beat)
            .await
            .status,
        409
    );
    let answer = node.api.post("/api/v1/workers/complete", &late).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let mut foreign = late.clone();
    foreign["lease_id"] = two["lease_id"].clone();
    assert_eq!(
        node.api
            .post("/api/v1/workers/complete", &foreign)
            .await
            .status,
        409
    );
    let mut stolen = own.clone();
    stolen["lease_id"] = one["lease_id"].clone();
    assert_eq!(
        node.api
            .post("/api/v1/workers/complete", &stolen)
            .await
            .status,
        409
    );
    assert_eq!(
        (node.history(&workflow).await, node.tasks(&workflow).await),
        before
    );

    assert_eq!(
        node.api.post("/api/v1/workers/complete", &own).await.status,
        200
    );
    node.until_succeeded(&workflow).await;
    assert_eq!(node.result(&before.1[0]).await, 2);
}
