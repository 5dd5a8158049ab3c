//! Workflows that go well, or fail as their authors foresaw.

use std::time::Duration;

use drover_domain::workflow::{Guarantee, TaskPolicy, TaskStatus, WorkflowStatus};
use drover_testkit::engine::fixtures;
use drover_usecases::EngineOptions;

use crate::actors::{Act, pass};
use crate::harness::{World, line, one, retries, task_with};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn tasks_of_a_line_run_one_after_the_other() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Take(SECOND))]);
    let id = world.start(fixtures::linear(&["a", "b", "c"])).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let entries = world.ledger.entries();
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(world.ledger.peak("default"), 1);
    // What one task releases is claimed at once and not with the next poll.
    let took = entries.last().unwrap().ended.unwrap();
    assert!(took < SECOND * 3 + SECOND / 10, "{took:?}");
    node.stop().await;
    assert_eq!(world.story(id).await.last(), Some(&"workflow_completed"));
}

#[tokio::test(start_paused = true)]
async fn the_sides_of_a_diamond_run_side_by_side() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Take(SECOND))]);
    let id = world.start(fixtures::diamond()).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let began = |key: &str| world.ledger.of(key).first().unwrap().began;
    assert!(began("b") >= began("a") + SECOND);
    assert!(began("b").abs_diff(began("c")) < SECOND / 10);
    assert!(began("d") >= began("c") + SECOND);
    let stats = node.engine.stats();
    assert_eq!((stats.claimed, stats.succeeded, stats.reported), (4, 4, 4));
    assert_eq!(
        (stats.in_hand, stats.unreported, stats.last_error),
        (0, 0, None)
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_comes_when_its_wait_is_over_and_not_with_the_next_round() {
    let world = World::new();
    let node = world.node("n1", &[("flaky", Act::Fail("busy", 2))]);
    let wait = Duration::from_millis(50);
    let id = world.start(one(task_with("flaky", retries(wait, 5)))).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let entries = world.ledger.of("a");
    assert_eq!(entries.len(), 3);
    for pair in entries.windows(2) {
        let [before, after] = pair else { continue };
        let waited = after.began.saturating_sub(before.ended.unwrap());
        assert!(
            waited >= wait && waited <= wait + Duration::from_millis(30),
            "{waited:?}"
        );
        assert_eq!(after.attempt, before.attempt + 1);
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_no_attempt_left_fails_with_what_its_handler_said() {
    let world = World::new();
    let node = world.node(
        "n1",
        &[("flaky", Act::Fail("busy", 9)), ("rambling", Act::Ramble)],
    );
    let twice = retries(Duration::from_millis(50), 1);
    let id = world.start(one(task_with("flaky", twice))).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Failed);
    let record = world.task(id).await;
    assert_eq!(record.task.attempt, 2);
    assert_eq!(record.task.error.unwrap().code, "busy");
    // An error is cut to what the store takes.
    let once = TaskPolicy::once(Guarantee::G1);
    let id = world.start(one(task_with("rambling", once))).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Failed);
    let error = world.task(id).await.task.error.unwrap();
    assert_eq!((error.code.len(), error.message.len()), (64, 4_000));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_starts_later_ends_on_time() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    let wait = Duration::from_millis(300);
    let tasks = vec![
        fixtures::task("a"),
        fixtures::timer("b", wait),
        fixtures::task("c"),
    ];
    let id = world.start(fixtures::sequence(tasks)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let [a, c] = ["a", "c"].map(|key| world.ledger.of(key).first().unwrap().clone());
    let waited = c.began.saturating_sub(a.ended.unwrap());
    assert!(
        waited >= wait && waited <= wait + Duration::from_millis(30),
        "{waited:?}"
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_engines_share_the_work_and_do_nothing_twice() {
    let world = World::new();
    let acts = [("test", Act::Take(SECOND))];
    let small = |options: &mut EngineOptions| {
        options.queues = vec![line("default", 5)];
    };
    let nodes = [
        world.node_with("n1", &acts, small),
        world.node_with("n2", &acts, small),
    ];
    let id = world.start(fixtures::parallel(40)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let entries = world.ledger.entries();
    assert_eq!(entries.len(), 40);
    for worker in ["n1", "n2"] {
        let own = entries.iter().filter(|entry| entry.worker == worker);
        assert_eq!(own.count(), 20, "{worker}");
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_nobody_knows_is_left_to_a_process_that_does() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    let policy = TaskPolicy::once(Guarantee::G1);
    let strange = world.start(one(task_with("strange", policy.clone()))).await;
    let usual = world.start(fixtures::linear(&["b"])).await;
    assert_eq!(world.end_of(usual).await, WorkflowStatus::Succeeded);
    pass(Duration::from_mins(10)).await;
    // 1 + 2 + 4 + … + 32 s, then once a minute.
    let stats = node.engine.stats();
    assert!((10..=16).contains(&stats.released), "{stats:?}");
    assert_eq!(world.status(strange).await, WorkflowStatus::Running);
    let other = world.node("n2", &[("strange", Act::Succeed)]);
    assert_eq!(world.end_of(strange).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.of("a").first().unwrap().worker, "n2");
    assert_eq!(world.task(strange).await.task.status, TaskStatus::Succeeded);
    node.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_strange_task_that_is_kept_does_not_delay_the_end() {
    let world = World::new();
    let node = world.node("n1", &[]);
    let policy = TaskPolicy::once(Guarantee::G1);
    let id = world.start(one(task_with("strange", policy))).await;
    pass(Duration::from_mins(2)).await;
    world.reaches(id, TaskStatus::Running).await;
    assert!(node.stop().await < Duration::from_millis(100));
    assert_eq!(world.task(id).await.task.status, TaskStatus::Queued);
    assert_eq!(world.task(id).await.task.lost, 0);
}
