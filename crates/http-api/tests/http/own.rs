//! What is Drover's own: its queues take no tasks of users, and its workflows have verbs of their own.

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_domain::id::Uuid;
use drover_domain::rollout::definition;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Executor, LeaseId};
use drover_ports::{ClaimRequest, Report, TaskQueue as _};
use serde_json::{Value, json};

use crate::world::{Answer, World, update as wanted};

const OWN: [&str; 3] = ["haproxy", "rollouts", "webhooks"];

#[tokio::test]
async fn tasks_of_users_stand_in_no_queue_of_ours() {
    let world = World::new().await;
    for queue in OWN {
        let task = json!({ "key": "a", "kind": "remote", "queue": queue });
        let undone = json!({ "key": "a", "kind": "remote", "compensation": { "kind": "remote", "queue": queue } });
        for (task, place) in [
            (task, "/tasks/0/queue reserved"),
            (undone, "/tasks/0/compensation/queue reserved"),
        ] {
            let body = json!({ "tasks": [task] });
            let refused = world.post("/api/v1/workflows", body).await;
            assert_eq!(refused.pointers(), [place]);
            let body = json!({ "name": "d", "tasks": [task] });
            let refused = world.post("/api/v1/workflow-definitions", body).await;
            assert_eq!(refused.pointers(), [place]);
        }
    }
    let body = json!({ "tasks": [{ "key": "a", "kind": "remote", "queue": "haproxy2" }] });
    world.post("/api/v1/workflows", body).await.ok(202);
}

async fn as_operator(world: &World, path: &str, body: &Value) -> Answer {
    let request = world
        .request(Method::POST, path, Some(Role::Operator))
        .header("content-type", "application/json");
    let body = Body::from(body.to_string());
    world.send(request.body(body).unwrap()).await
}

/// An update that waits; the address of its workflow and the identifier of its task.
async fn updating(world: &World) -> (String, String) {
    let path = "/api/v1/applications/batch_update";
    let accepted = world.post(path, wanted(&world.apps[..1])).await.ok(202);
    let task = accepted.json()["task_ids"][0].as_str().unwrap().to_owned();
    let workflow = format!("{}000", task.split_at(task.len() - 3).0);
    (format!("/api/v1/workflows/{workflow}"), task)
}

/// Lets a worker end the update so.
async fn end(world: &World, outcome: Outcome) {
    let lease = LeaseId::from_uuid(Uuid::from_u128(4_711));
    let term = std::time::Duration::from_mins(1);
    world.store.open_lease(lease, "w", term).await.unwrap();
    let request = ClaimRequest {
        executor: Executor::Engine,
        queues: vec![definition::queue()],
        limit: 1,
    };
    let taken = world.store.claim(lease, &request).await.unwrap();
    let report = Report {
        task: taken[0].task,
        attempt: taken[0].attempt,
        outcome,
    };
    world.store.report(lease, &[report]).await.unwrap();
}

fn detail(answer: &Answer) -> String {
    let problem = answer.problem(409, "conflict");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_update_is_not_steered_as_a_workflow() {
    let world = World::with_fleet().await;
    let (workflow, task) = updating(&world).await;
    for verb in ["start", "pause", "resume"] {
        let refused = world.post(&format!("{workflow}/{verb}"), Value::Null).await;
        let detail = detail(&refused);
        assert!(
            detail.contains("pause the queue `rollouts`"),
            "{verb}: {detail}"
        );
    }
    let signal = format!("{workflow}/signals/go");
    let refused = world.post(&signal, Value::Null).await;
    assert!(detail(&refused).contains("waits for no signal"));
    for verb in ["retry", "skip"] {
        let path = format!("{workflow}/tasks/{task}/{verb}");
        let detail = detail(&world.post(&path, Value::Null).await);
        assert!(detail.contains("/api/v1/rollouts"), "{verb}: {detail}");
    }
    // Cancelling is the verb of updates too.
    world
        .post(&format!("{workflow}/cancel"), Value::Null)
        .await
        .ok(200);
}

#[tokio::test]
async fn a_failed_update_is_no_dead_letter_to_be_done_again() {
    let world = World::with_fleet().await;
    let (workflow, task) = updating(&world).await;
    let error = TaskError::new("play_failed", "2 of 4");
    let retryable = false;
    end(&world, Outcome::Failed { error, retryable }).await;
    let redrive = "/api/v1/dead-letters/redrive";
    let id = workflow.rsplit('/').next().unwrap();
    for only in [
        json!({ "task_id": task }),
        json!({ "workflow_id": id }),
        json!({ "kind": "rollout.update" }),
        json!({ "queue": "rollouts" }),
    ] {
        let detail = detail(&world.post(redrive, only.clone()).await);
        assert!(detail.contains("start a new one"), "{only}: {detail}");
    }
    // All of them means those of users.
    let all = world.post(redrive, json!({})).await.ok(200).json();
    assert_eq!(all["task_ids"], json!([]));
    let found = world.get(&workflow).await.ok(200).json();
    assert_eq!(found["status"], "failed");
    assert_eq!(
        world.get("/api/v1/dead-letters").await.ok(200).json()["items"][0]["task"]["id"],
        json!(task)
    );
}

#[tokio::test]
async fn an_unknown_update_is_resolved_by_an_admin_with_a_reason() {
    let world = World::with_fleet().await;
    let (workflow, task) = updating(&world).await;
    let error = TaskError::new("unknown", "its process vanished");
    end(&world, Outcome::Unknown { error }).await;
    let resolve = format!("{workflow}/tasks/{task}/resolve");
    let succeeded = json!({ "outcome": "succeeded" });
    let error = json!({ "code": "looked", "message": "the play did nothing" });
    let failed = json!({ "outcome": "failed", "error": error });
    assert!(detail(&as_operator(&world, &resolve, &failed).await).contains("only an admin"));
    for role in [
        as_operator(&world, &resolve, &succeeded).await,
        world.post(&resolve, succeeded.clone()).await,
    ] {
        assert!(detail(&role).contains("only be resolved as failed"));
    }
    let resolved = world.post(&resolve, failed).await.ok(200).json();
    assert_eq!(resolved["status"], "failed");
}
