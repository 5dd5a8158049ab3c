//! Room in queues, and being woken up.

use std::time::Duration;

use drover_domain::workflow::{QueueName, TaskSpec, Work, WorkflowStatus};
use drover_testkit::engine::fixtures;
use drover_usecases::EngineOptions;

use crate::actors::{Act, pass};
use crate::harness::{World, line, start, work};
use crate::queue::RoughQueue;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::from_hours(24);

fn in_queue(key: &str, queue: &str) -> TaskSpec {
    let queue = QueueName::parse(queue).unwrap();
    fixtures::doing(
        key,
        Work {
            queue,
            ..work("test")
        },
    )
}

fn only_when_told(options: &mut EngineOptions) {
    options.poll = NEVER;
}

#[tokio::test(start_paused = true)]
async fn no_queue_gets_more_than_its_room_and_full_claims_follow_each_other() {
    let world = World::new();
    let acts = [("test", Act::Take(SECOND))];
    let node = world.node_with("n1", &acts, |options| {
        options.queues = vec![line("q1", 7), line("q2", 2), line("q3", 6)];
        options.poll = NEVER;
    });
    let mut tasks = Vec::new();
    for number in 0..20 {
        tasks.push(in_queue(&format!("one{number}"), "q1"));
        tasks.push(in_queue(&format!("three{number}"), "q3"));
    }
    for number in 0..6 {
        tasks.push(in_queue(&format!("two{number}"), "q2"));
    }
    let id = world.start(fixtures::dag(tasks)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let peaks = ["q1", "q2", "q3"].map(|queue| world.ledger.peak(queue));
    assert_eq!(peaks, [7, 2, 6]);
    // 20 tasks, 6 at a time, a second each.
    let took = world.ledger.elapsed();
    assert!(took < SECOND * 4 + SECOND / 10, "{took:?}");
    // Queues with about the same room are asked for together.
    let claims = node.queue.claims();
    assert!(claims.len() <= 40, "{} claims", claims.len());
    assert!(claims.iter().any(|(request, _)| request.queues.len() == 2));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_when_its_handler_has_ended_and_not_when_that_is_written() {
    let world = World::new();
    let node = world.node_with("n1", &[("test", Act::Succeed)], |options| {
        options.queues = vec![line("default", 2)];
    });
    node.queue.holds_reports.send_replace(true);
    let id = world.start(fixtures::parallel(9)).await;
    world
        .until("not all were done", || world.ledger.entries().len() == 9)
        .await;
    assert_eq!(node.engine.stats().unreported, 9);
    node.queue.holds_reports.send_replace(false);
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_while_too_much_is_unwritten() {
    let world = World::new();
    let node = world.node_with("n1", &[("test", Act::Succeed)], |options| {
        options.report_batch_max = 3;
    });
    node.queue.holds_reports.send_replace(true);
    let id = world.start(fixtures::parallel(200)).await;
    pass(SECOND * 5).await;
    // One claim of 64, and then more than four batches wait.
    assert_eq!(world.ledger.entries().len(), 64);
    node.queue.holds_reports.send_replace(false);
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert!(node.queue.reports().iter().all(|count| *count <= 3));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn work_that_comes_between_looking_and_waiting_is_not_overlooked() {
    let world = World::new();
    let queue = RoughQueue::new(&world.store);
    let store = world.store.clone();
    queue.after_next_claim(move || async move {
        start(&store, 100, fixtures::linear(&["a"])).await;
    });
    let node = world.node_over("n1", &[("test", Act::Succeed)], queue, only_when_told);
    let id = fixtures::workflow_id(100);
    world
        .until("it was overlooked", || !world.ledger.of("a").is_empty())
        .await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert!(world.ledger.elapsed() < SECOND);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_engine_is_woken_and_looks_by_itself_where_nobody_wakes_it() {
    let world = World::new();
    let node = world.node_with("n1", &[("test", Act::Succeed)], only_when_told);
    pass(SECOND * 100).await;
    assert_eq!(node.queue.claims().len(), 1);
    let id = world.start(fixtures::linear(&["a"])).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert!(world.ledger.elapsed() < SECOND * 101);
    node.stop().await;

    let poller = world.node("n2", &[("test", Act::Succeed)]);
    pass(SECOND * 10).await;
    assert!((10..=12).contains(&poller.queue.claims().len()));
    poller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_shares_a_concurrency_key_follows_at_once() {
    let world = World::new();
    let node = world.node_with("n1", &[("test", Act::Take(SECOND))], only_when_told);
    let tasks = ["a", "b", "c"].map(|key| fixtures::keyed(key, &["group"]));
    let id = world.start(fixtures::dag(tasks.to_vec())).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.peak("default"), 1);
    assert!(world.ledger.elapsed() < SECOND * 3 + SECOND / 10);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_asks_for_no_more_than_the_options_allow() {
    let world = World::new();
    let node = world.node_with("n1", &[("test", Act::Take(SECOND))], |options| {
        options.claim_batch_max = 10;
    });
    let id = world.start(fixtures::parallel(64)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let claims = node.queue.claims();
    assert!(claims.iter().all(|(request, _)| request.limit <= 10));
    // Full ones followed each other at once.
    assert_eq!(world.ledger.peak("default"), 64);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_queues_only_keeps_house() {
    let world = World::new();
    let node = world.node_with("n1", &[], |options| options.queues.clear());
    let tasks = vec![fixtures::timer("a", SECOND)];
    let id = world.start(fixtures::sequence(tasks)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert!(node.queue.leases().is_empty());
    node.stop().await;
}
