//! Workers outside: the one that the documentation shows, and one that comes too late.

use std::path::{Path, PathBuf};

use drover_testkit::eventually::eventually;
use serde_json::{Value, json};

use crate::nodes::{Node, Nodes, PATIENCE, story, text};
use crate::process::{Process, free_port};

/// The folder of the guides.
fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how-to")
}

/// The worker as it is shown.
fn script() -> PathBuf {
    guides().join("remote_worker.py")
}

fn start_worker(nodes: &Nodes, node: &Node, folder: &Path) -> Process {
    start_script(nodes, node, &script(), &folder.join("worker.log"))
}

fn start_script(nodes: &Nodes, node: &Node, script: &Path, log: &Path) -> Process {
    let variables = [
        ("DROVER_URL", node.url.as_str()),
        ("DROVER_API_KEY", nodes.key()),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let script = script.display().to_string();
    Process::start(Path::new("python3"), &[&script, "texts"], &variables, log)
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

/// The worker of the guide with other work: ends that cannot be reported as they are.
const ODD_WORK: &str = r#"
import os, sys

sys.path.insert(0, GUIDES)
import remote_worker

DEEP = []
for _ in range(300):
    DEEP = [DEEP]
CYCLE = []
CYCLE.append(CYCLE)
ENDS = {
    "large": "x" * 300_000,
    "larger": "x" * 3_000_000,
    "object": object(),
    "bytes": b"caf\xe9",
    "latin": os.fsdecode(b"caf\xe9.txt"),
    "key": {os.fsdecode(b"caf\xe9.txt"): 1},
    "nan": float("nan"),
    "deep": DEEP,
    "cycle": CYCLE,
    "good": {"name": "caf\u00e9"},
}


def work(task, stop):
    name = task["payload"]["end"]
    if name == "raise":
        raise OSError(2, "No such file", os.fsdecode(b"caf\xe9.txt"))
    if name == "long":
        raise type("E" * 100, (Exception,), {})()
    return "complete", {"result": ENDS[name]}


remote_worker.work = work
remote_worker.main()
"#;

#[tokio::test]
async fn an_end_that_cannot_be_reported_is_a_failure_and_the_worker_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = Nodes::new(&[]);
    let node = nodes.start().await;
    let odd = folder.path().join("odd.py");
    let from = format!("{:?}", guides().display().to_string());
    std::fs::write(&odd, ODD_WORK.replace("GUIDES", &from)).unwrap();
    let worker = start_script(&nodes, &node, &odd, &folder.path().join("odd.log"));
    for (end, code) in [
        ("large", "report_refused"),
        ("larger", "report_refused"),
        ("object", "report_refused"),
        ("bytes", "report_refused"),
        ("latin", "report_refused"),
        ("key", "report_refused"),
        ("nan", "report_refused"),
        ("deep", "report_refused"),
        ("cycle", "report_refused"),
        ("raise", "FileNotFoundError"),
        ("long", &*"E".repeat(64)),
    ] {
        let workflow = node.begin(&[task(end, &json!({ "end": end }))]).await;
        let failed = until(&node, &workflow, "failed", &worker).await;
        assert_eq!(failed["error"]["code"], code, "{failed}");
        assert_eq!(failed["attempt"], 1, "{failed}");
        if end != "long" {
            assert_ne!(failed["error"]["message"], "", "{failed}");
        }
    }
    let workflow = node.begin(&[task("good", &json!({"end": "good"}))]).await;
    let done = until(&node, &workflow, "succeeded", &worker).await;
    assert_eq!(node.result(&done).await, json!({"name": "café"}));
    assert_eq!(text(&done["worker"]), name(&worker));
}

/// A number that the environment may set, for the full size of a case.
#[expect(
    clippy::disallowed_methods,
    reason = "the size of one case, which no command sets"
)]
fn size(variable: &str, usual: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().unwrap())
}

/// `DROVER_E2E_KILLS=30 DROVER_E2E_TASKS=10000` is the full size.
#[tokio::test]
async fn no_task_is_stuck_when_the_service_is_killed_again_and_again() {
    const OF_ONE_WORKFLOW: usize = 500;
    let kills = size("DROVER_E2E_KILLS", 4);
    let all = size("DROVER_E2E_TASKS", 160);
    let folder = tempfile::tempdir().unwrap();
    let nodes = Nodes::new(&[]);
    let port = free_port();
    let mut node = nodes.start_on(port).await;
    let mut workflows = Vec::new();
    for begin in (0..all).step_by(OF_ONE_WORKFLOW) {
        let tasks: Vec<Value> = (begin..all.min(begin + OF_ONE_WORKFLOW))
            .map(|number| {
                task(
                    &format!("t{number}"),
                    &json!({"text": "two words", "seconds": 0.02}),
                )
            })
            .collect();
        workflows.push(node.begin(&tasks).await);
    }
    let workers: Vec<Process> = (0..4)
        .map(|number| {
            let log = folder.path().join(format!("worker-{number}.log"));
            start_script(&nodes, &node, &script(), &log)
        })
        .collect();
    for kill in 1..=kills {
        // In the middle of the work, at a moment that nothing here decides.
        let enough = all * kill / (kills + 1);
        eventually(PATIENCE * 5, || async {
            let ended = ended(&node, &workflows).await;
            if ended >= enough {
                Ok(())
            } else {
                Err(format!("{ended} of {enough}"))
            }
        })
        .await;
        node.process.kill();
        node = nodes.start_on(port).await;
    }
    // No task is left to its timeout, which is five minutes.
    eventually(
        PATIENCE + PATIENCE * u32::try_from(all / 1_000).unwrap(),
        || async {
            let ended = ended(&node, &workflows).await;
            if ended == all {
                Ok(())
            } else {
                Err(format!("{ended} of {all}; log:\n{}", node.process.log()))
            }
        },
    )
    .await;
    for workflow in &workflows {
        node.until_succeeded(workflow).await;
    }
    assert_eq!(workers.len(), 4);
}

/// How many tasks of these workflows have ended.
async fn ended(node: &Node, workflows: &[String]) -> usize {
    let mut ended = 0;
    for workflow in workflows {
        let tasks = node.workflow(workflow).await["tasks"].clone();
        let count = |name: &str| usize::try_from(tasks[name].as_u64().unwrap_or(0)).unwrap();
        ended += count("total") - count("open");
    }
    ended
}
