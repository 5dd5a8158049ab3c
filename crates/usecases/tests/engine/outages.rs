//! Outcomes on their way into a store that is slow, away or forgetful.

use std::time::Duration;

use drover_domain::workflow::{TaskStatus, WorkflowStatus};
use drover_testkit::engine::fixtures;
use drover_testkit::eventually::eventually;

use crate::actors::{Act, pass};
use crate::harness::{World, one, task};
use crate::queue::Weather;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_ends_during_a_slow_write_is_written_together() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.holds_reports.send_replace(true);
    let first = world.start(fixtures::linear(&["a"])).await;
    world
        .until("nothing was reported", || node.queue.reports() == [1])
        .await;
    let rest = world.start(fixtures::parallel(50)).await;
    world
        .until("not all were done", || world.ledger.entries().len() == 51)
        .await;
    node.queue.holds_reports.send_replace(false);
    for id in [first, rest] {
        assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    }
    assert_eq!(node.queue.reports(), [1, 50]);
    assert_eq!(node.engine.stats().reports, 2);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_in_the_middle_gets_everything_once_it_is_back() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Take(SECOND / 2))]);
    let id = world.start(fixtures::parallel(300)).await;
    world
        .until("nothing was done", || node.engine.stats().reported > 0)
        .await;
    for _ in 0..3 {
        node.queue.set(Weather {
            is_away: true,
            ..Weather::default()
        });
        pass(SECOND * 7).await;
        node.queue.set(Weather::default());
        pass(SECOND).await;
    }
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.entries().len(), 300);
    let stats = node.engine.stats();
    assert_eq!(
        (stats.reported, stats.refused, stats.leases_lost),
        (300, 0, 0)
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_makes_nothing_happen_twice() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.set(Weather {
        loses_verdicts: true,
        ..Weather::default()
    });
    let id = world.start(fixtures::linear(&["a", "b"])).await;
    pass(SECOND * 5).await;
    node.queue.set(Weather::default());
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    pass(SECOND * 5).await;
    assert_eq!(world.ledger.entries().len(), 2);
    let story = world.story(id).await;
    let completed = story.iter().filter(|kind| **kind == "task_completed");
    assert_eq!(completed.count(), 2);
    let stats = node.engine.stats();
    assert_eq!((stats.unreported, stats.claimed), (0, 2));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_and_never_heard_of_is_given_back() {
    let world = World::new();
    let acts = [("test", Act::Succeed), ("slow", Act::Take(SECOND * 8))];
    let node = world.node("n1", &acts);
    let slow = world.start(one(task("slow"))).await;
    world.reaches(slow, TaskStatus::Running).await;
    node.queue.set(Weather {
        loses_claims: true,
        ..Weather::default()
    });
    let id = world.start(fixtures::parallel(5)).await;
    pass(SECOND * 5).await;
    assert_eq!(world.ledger.entries().len(), 1);
    node.queue.set(Weather::default());
    // Long before its timeout, and without another lease.
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert!(world.ledger.elapsed() < SECOND * 8);
    assert_eq!(world.end_of(slow).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.entries().len(), 6);
    assert_eq!(node.queue.leases().len(), 1);
    let stats = node.engine.stats();
    assert_eq!(
        (stats.refused, stats.unreported, stats.leases_lost),
        (0, 0, 0)
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_gives_back_what_it_never_heard_of() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.set(Weather {
        loses_claims: true,
        ..Weather::default()
    });
    let id = world.start(fixtures::linear(&["a"])).await;
    world.reaches(id, TaskStatus::Running).await;
    assert!(node.stop().await < SECOND);
    let record = world.task(id).await.task;
    assert_eq!((record.status, record.attempt), (TaskStatus::Queued, 1));
    assert!(world.ledger.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_written_is_taken_apart_while_the_store_answers_otherwise() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.set(Weather {
        chokes_on: Some(10),
        ..Weather::default()
    });
    let id = world.start(fixtures::parallel(64)).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert!(node.queue.reports().contains(&64));
    assert_eq!(world.ledger.entries().len(), 64);
    assert_eq!(node.engine.stats().reported, 64);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_database_refuses_ends_its_task_as_unknown() {
    let world = World::new();
    let node = world.node(
        "n1",
        &[("test", Act::Succeed), ("fail", Act::Fail("odd", 9))],
    );
    node.queue.set(Weather {
        refuses_results: true,
        ..Weather::default()
    });
    let id = world.start(one(task("test"))).await;
    let other = world.start(one(task("fail"))).await;
    eventually(SECOND * 30, async || {
        let record = world.task(id).await.task;
        if record.status == TaskStatus::Unknown {
            Ok(())
        } else {
            Err(format!("{:?}", record.status))
        }
    })
    .await;
    let error = world.task(id).await.task.error.unwrap();
    assert_eq!(error.code, "outcome_refused");
    assert_eq!(world.end_of(other).await, WorkflowStatus::Failed);
    assert_eq!(world.ledger.entries().len(), 2);
    node.stop().await;
}
