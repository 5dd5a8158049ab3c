//! Tasks that start another workflow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::page::PageRequest;
use drover_domain::workflow::run::{Control, Decision, FAMILY_DEPTH_MAX};
use drover_domain::workflow::{
    Json, SignalName, TaskId, TaskSpec, TaskStatus, WorkflowId, WorkflowStatus,
};
use drover_ports::{
    DeadLetterFilter, Idempotency, NewWorkflow, StartedWorkflow, StoreError, WorkflowFilter,
    WorkflowRecord, WorkflowStore, WorkflowView,
};
use drover_testkit::engine::fixtures;
use drover_testkit::store::MemoryStore;

use crate::actors::{Act, pass};
use crate::harness::{World, one, retries, task, task_with};

const SECOND: Duration = Duration::from_secs(1);

// A workflow of one task that starts the definition `child`.
fn parent() -> TaskSpec {
    fixtures::parent("a")
}

async fn children(world: &World, id: WorkflowId) -> Vec<WorkflowRecord> {
    let filter = WorkflowFilter {
        parent: Some(world.task(id).await.task.no).map(|no| id.task(no)),
        ..WorkflowFilter::default()
    };
    let view: &dyn WorkflowView = &world.store;
    let page = view.list(&filter, PageRequest::first()).await.unwrap();
    page.items.into_iter().map(|(_, record)| record).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_when_the_workflow_it_started_has() {
    let world = World::new();
    world.define("child", fixtures::linear(&["x", "y"])).await;
    let node = world.node("n1", &[("test", Act::Take(SECOND))]);
    let id = world.start(one(parent())).await;
    world.reaches(id, TaskStatus::Waiting).await;
    let [child] = <[WorkflowRecord; 1]>::try_from(children(&world, id).await).unwrap();
    assert_eq!(child.name, "child");
    assert_eq!(child.source.map(|source| source.version), Some(1));
    assert_eq!(child.origin.actor, "engine");
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let elapsed = world.ledger.elapsed();
    assert!(elapsed >= SECOND * 2 && elapsed < SECOND * 3, "{elapsed:?}");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_nobody_knows_fails_the_task_for_good() {
    let world = World::new();
    let node = world.node("n1", &[]);
    let mut task = parent();
    task.work.policy = retries(SECOND, 5);
    let id = world.start(one(task)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Failed);
    let record = world.task(id).await;
    assert_eq!(record.task.attempt, 1);
    let error = record.task.error.unwrap();
    assert_eq!(error.code, "unknown_definition");
    assert_eq!(error.message, "there is no definition `child`");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_off_the_parent_calls_off_the_child() {
    let world = World::new();
    world.define("child", one(task("listen"))).await;
    let node = world.node("n1", &[("listen", Act::Listen)]);
    let id = world.start(one(parent())).await;
    world.reaches(id, TaskStatus::Waiting).await;
    let child = children(&world, id).await.first().unwrap().head.id;
    let reason = "nobody wants it any more".to_owned();
    let control = Control::Cancel { reason };
    world.store.control(id, &control).await.unwrap();
    assert_eq!(world.end_of(id).await, WorkflowStatus::Cancelled);
    assert_eq!(world.end_of(child).await, WorkflowStatus::Cancelled);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_fails_its_task_and_a_person_may_have_it_done_again() {
    let world = World::new();
    world
        .define("child", one(task_with("broken", retries(SECOND, 0))))
        .await;
    let node = world.node("n1", &[("broken", Act::Fail("broken", 9))]);
    let id = world.start(one(parent())).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Failed);
    let record = world.task(id).await;
    assert_eq!(record.task.error.unwrap().code, "child_not_succeeded");
    node.stop().await;

    let node = world.node("n2", &[("broken", Act::Succeed)]);
    world
        .store
        .decide(id.task(record.task.no), &Decision::Retry)
        .await
        .unwrap();
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let statuses: Vec<_> = children(&world, id)
        .await
        .iter()
        .map(|child| child.head.status)
        .collect();
    assert_eq!(
        statuses,
        [WorkflowStatus::Succeeded, WorkflowStatus::Failed]
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_after_starting_a_child_leaves_one_child() {
    let world = World::new();
    world.define("child", fixtures::linear(&["x"])).await;
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.holds_reports.send_replace(true);
    let id = world.start(one(parent())).await;
    world
        .until("no child was done", || !world.ledger.of("x").is_empty())
        .await;
    node.kill().await;
    // The child ends before anybody waits for it.
    let other = world.node("n2", &[("test", Act::Succeed)]);
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert_eq!(children(&world, id).await.len(), 1);
    let record = world.task(id).await;
    assert_eq!((record.task.attempt, record.task.lost), (2, 1));
    pass(SECOND * 5).await;
    assert_eq!(world.status(id).await, WorkflowStatus::Succeeded);
    other.stop().await;
}

/// Starts workflows, and loses the first answers.
struct Forgetful {
    store: MemoryStore,
    losses: AtomicU32,
}

#[async_trait]
impl WorkflowStore for Forgetful {
    async fn start(&self, workflows: &[NewWorkflow]) -> Result<Vec<StartedWorkflow>, StoreError> {
        let answer = self.store.start(workflows).await?;
        let left = self.losses.load(Ordering::Relaxed);
        if left > 0 {
            self.losses.store(left - 1, Ordering::Relaxed);
            return Err(StoreError::Unavailable {
                action: "start workflows",
                source: "the answer was lost".into(),
            });
        }
        Ok(answer)
    }

    async fn control(
        &self,
        workflow: WorkflowId,
        control: &Control,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        self.store.control(workflow, control).await
    }

    async fn decide(
        &self,
        task: TaskId,
        decision: &Decision,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        self.store.decide(task, decision).await
    }

    async fn signal(
        &self,
        workflow: WorkflowId,
        name: &SignalName,
        payload: &Json,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        self.store
            .signal(workflow, name, payload, idempotency)
            .await
    }

    async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: u32,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<TaskId>, StoreError> {
        self.store.redrive(filter, limit, idempotency).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_answer_is_lost_is_asked_for_again_and_made_once() {
    let mut world = World::new();
    world.workflows = Arc::new(Forgetful {
        store: world.store.clone(),
        losses: AtomicU32::new(3),
    });
    world.define("child", fixtures::linear(&["x"])).await;
    let node = world.node("n1", &[("test", Act::Succeed)]);
    let id = world.start(one(parent())).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert_eq!(children(&world, id).await.len(), 1);
    assert_eq!(world.task(id).await.task.attempt, 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_starts_itself_ends_at_the_bound() {
    let world = World::new();
    world.define("child", one(parent())).await;
    let node = world.node("n1", &[]);
    let id = world.start(one(parent())).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Failed);
    let view: &dyn WorkflowView = &world.store;
    let page = PageRequest {
        after: None,
        limit: PageRequest::LIMIT_MAX,
    };
    let all = view.list(&WorkflowFilter::default(), page).await.unwrap();
    assert_eq!(
        all.items.len(),
        1 + usize::try_from(FAMILY_DEPTH_MAX).unwrap()
    );
    let last = &all.items[0].1;
    let record = world.task(last.head.id).await;
    let error = record.task.error.unwrap();
    assert_eq!(
        (error.code.as_str(), record.task.attempt),
        ("child_refused", 1)
    );
    assert!(error.message.contains("starts itself"), "{}", error.message);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_faster_than_workflows_that_start_themselves() {
    let world = World::new();
    // Ten of itself, each after a second: without a bound it grows tenfold each second.
    let tasks: Vec<TaskSpec> = (0..10)
        .flat_map(|number| {
            let wait = fixtures::timer(&format!("t{number}"), SECOND);
            let (first, second) = (format!("t{number}"), format!("p{number}"));
            let start = TaskSpec {
                work: fixtures::parent(&second).work,
                ..fixtures::after(&second, &[&first])
            };
            [wait, start]
        })
        .collect();
    world.define("child", fixtures::dag(tasks.clone())).await;
    let node = world.node("n1", &[]);
    let id = world.start(fixtures::dag(tasks)).await;
    pass(SECOND * 3).await;
    let view: &dyn WorkflowView = &world.store;
    let count = async || {
        let mut page = PageRequest {
            after: None,
            limit: PageRequest::LIMIT_MAX,
        };
        let (mut all, mut open) = (0, 0);
        loop {
            let found = view.list(&WorkflowFilter::default(), page).await.unwrap();
            all += found.items.len();
            let is_open = |item: &&(i64, WorkflowRecord)| !item.1.head.status.is_terminal();
            open += found.items.iter().filter(is_open).count();
            page.after = found.next;
            if page.after.is_none() {
                return (all, open);
            }
        }
    };
    let reason = "too many".to_owned();
    let control = Control::Cancel { reason };
    world.store.control(id, &control).await.unwrap();
    let (before, _) = count().await;
    assert!(before > 100, "{before}");
    pass(SECOND * 4).await;
    let (after, open) = count().await;
    assert_eq!((after, open), (before, 0));
    node.stop().await;
}
