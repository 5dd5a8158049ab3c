//! Handlers that hang, panic or must stop.

use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::run::Control;
use drover_domain::workflow::{
    Guarantee, Kind, Takeover, TaskPolicy, TaskStatus, WorkflowId, WorkflowStatus,
};
use drover_ports::WorkflowStore;
use drover_testkit::engine::fixtures;
use drover_usecases::{Handlers, KindTaken};

use crate::actors::{Act, Ledger, handlers};
use crate::harness::{World, one, retries, task, task_with};

const SECOND: Duration = Duration::from_secs(1);

async fn cancel(world: &World, id: WorkflowId) {
    let reason = "nobody wants it any more".to_owned();
    let control = Control::Cancel { reason };
    world.store.control(id, &control).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_stopped_and_the_others_go_on() {
    let world = World::new();
    let node = world.node("n1", &[("hang", Act::Hang), ("test", Act::Succeed)]);
    let policy = TaskPolicy {
        timeout: SECOND * 5,
        ..retries(SECOND, 1)
    };
    let hangs = world.start(one(task_with("hang", policy))).await;
    let other = world.start(fixtures::linear(&["b", "c"])).await;
    assert_eq!(world.end_of(other).await, WorkflowStatus::Succeeded);
    assert!(world.ledger.elapsed() < SECOND);
    assert_eq!(world.end_of(hangs).await, WorkflowStatus::Failed);
    let record = world.task(hangs).await;
    assert_eq!(record.task.status, TaskStatus::TimedOut);
    assert_eq!(record.task.attempt, 2);
    let elapsed = world.ledger.elapsed();
    assert!(
        elapsed >= SECOND * 11 && elapsed < SECOND * 12,
        "{elapsed:?}"
    );
    assert_eq!(node.engine.stats().timed_out, 2);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_attempt_and_nothing_else() {
    let world = World::new();
    let acts = [("panic", Act::Panic), ("test", Act::Succeed)];
    let node = world.node("n1", &acts);
    let panics = world
        .start(one(task_with("panic", retries(SECOND, 2))))
        .await;
    assert_eq!(world.end_of(panics).await, WorkflowStatus::Failed);
    let record = world.task(panics).await;
    assert_eq!(record.task.attempt, 3);
    let error = record.task.error.unwrap();
    assert_eq!(error.code, "panicked");
    assert_eq!(
        error.message,
        "the handler of `panic` panicked; the log of its worker says where"
    );
    let other = world.start(fixtures::linear(&["b"])).await;
    assert_eq!(world.end_of(other).await, WorkflowStatus::Succeeded);
    assert_eq!(node.queue.leases().len(), 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_repeated_is_not_repeated_after_a_panic() {
    let world = World::new();
    let node = world.node("n1", &[("panic", Act::Panic)]);
    let policy = TaskPolicy {
        takeover: Takeover::Unknown,
        ..retries(SECOND, 2)
    };
    let id = world.start(one(task_with("panic", policy))).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Failed);
    assert_eq!(world.ledger.of("a").len(), 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_listens_stops_when_its_workflow_is_called_off() {
    let world = World::new();
    let node = world.node("n1", &[("listen", Act::Listen)]);
    let bystander = world.start(one(task("listen"))).await;
    let id = world.start(one(task("listen"))).await;
    world.reaches(id, TaskStatus::Running).await;
    cancel(&world, id).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Cancelled);
    // The next heartbeat has it.
    assert!(world.ledger.elapsed() <= SECOND * 11);
    assert_eq!(world.status(bystander).await, WorkflowStatus::Running);
    assert_eq!(node.engine.stats().cancelled, 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_listen_is_dropped_after_a_while() {
    let world = World::new();
    let node = world.node_with("n1", &[("hang", Act::Hang)], |options| {
        options.drain_grace = SECOND * 3;
    });
    let id = world.start(one(task("hang"))).await;
    let unrepeatable = TaskPolicy::once(Guarantee::G4);
    let unsure = world.start(one(task_with("hang", unrepeatable))).await;
    world.reaches(unsure, TaskStatus::Running).await;
    cancel(&world, id).await;
    cancel(&world, unsure).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Cancelled);
    let elapsed = world.ledger.elapsed();
    assert!(
        elapsed >= SECOND * 3 && elapsed <= SECOND * 14,
        "{elapsed:?}"
    );
    assert_eq!(world.task(id).await.task.status, TaskStatus::Cancelled);
    // The effect of the unrepeatable one is unknown.
    let record = world.reaches(unsure, TaskStatus::Unknown).await;
    assert_eq!(record.task.error.unwrap().code, "cancelled");
    assert_eq!(node.engine.stats().in_hand, 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_has_one_handler() {
    let mut registry = handlers("n1", &[("test", Act::Succeed)], &Ledger::new());
    let kind = Kind::parse("test").unwrap();
    let first = registry.find(&kind).unwrap().clone();
    assert_eq!(
        registry.register(kind.clone(), Arc::clone(&first)),
        Err(KindTaken { kind: kind.clone() })
    );
    assert!(Arc::ptr_eq(registry.find(&kind).unwrap(), &first));
    let kinds: Vec<_> = registry.kinds().collect();
    assert_eq!(kinds, [(&kind, Guarantee::G1)]);
    assert_eq!(Handlers::default().kinds().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_keeps_its_thread_keeps_nobody_else_waiting() {
    let world = World::new();
    let long = SECOND * 3;
    let node = world.node("n1", &[("block", Act::Block(long)), ("test", Act::Succeed)]);
    let blocks = world.start(one(task("block"))).await;
    world
        .until("nothing blocks", || !world.ledger.of("a").is_empty())
        .await;
    for _ in 0..10 {
        let other = world.start(fixtures::linear(&["b", "c", "d"])).await;
        assert_eq!(world.end_of(other).await, WorkflowStatus::Succeeded);
    }
    assert_eq!(world.status(blocks).await, WorkflowStatus::Running);
    assert_eq!(world.end_of(blocks).await, WorkflowStatus::Succeeded);
    node.stop().await;
}
