//! Leases that are lost, and leases that are handed over.

use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::{Guarantee, TaskPolicy, TaskStatus, WorkflowStatus};
use drover_ports::TaskQueue;
use drover_testkit::engine::fixtures;

use crate::actors::{Act, pass};
use crate::harness::{World, one, start, task, task_with};
use crate::queue::{RoughQueue, Weather};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_lease_that_lives_holds_a_task_for_as_long_as_it_takes() {
    let world = World::new();
    let nodes = ["n1", "n2"].map(|worker| world.node(worker, &[("slow", Act::Take(MINUTE * 4))]));
    let id = world.start(one(task("slow"))).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.of("a").len(), 1);
    for node in nodes {
        assert_eq!(node.queue.leases().len(), 1);
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_loses_the_lease_drops_everything_and_says_nothing() {
    let world = World::new();
    let node = world.node("n1", &[("slow", Act::Take(SECOND * 25))]);
    let id = world.start(one(task("slow"))).await;
    world.reaches(id, TaskStatus::Running).await;
    let other = world.node("n2", &[("slow", Act::Succeed)]);
    // As if the process had been stopped for longer than the lease.
    let lease = *node.queue.leases().first().unwrap();
    world.store.close_lease(lease).await.unwrap();
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    pass(MINUTE).await;
    let entries = world.ledger.of("a");
    let seen: Vec<(&str, bool)> = entries
        .iter()
        .map(|entry| (entry.worker.as_str(), entry.ended.is_some()))
        .collect();
    assert_eq!(seen, [("n1", false), ("n2", true)]);
    assert!(node.queue.reports().is_empty());
    let stats = node.engine.stats();
    assert_eq!((stats.leases_lost, stats.in_hand, stats.refused), (1, 0, 0));
    // It works on under a new one.
    assert_eq!(node.queue.leases().len(), 2);
    other.stop().await;
    let next = world.start(one(task("slow"))).await;
    assert_eq!(world.end_of(next).await, WorkflowStatus::Succeeded);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_cut_off_lets_go_by_its_own_clock() {
    let world = World::new();
    let node = world.node("n1", &[("hang", Act::Hang)]);
    let id = world.start(one(task("hang"))).await;
    world.reaches(id, TaskStatus::Running).await;
    pass(SECOND * 9).await;
    node.queue.set(Weather {
        is_away: true,
        ..Weather::default()
    });
    pass(SECOND * 20).await;
    assert_eq!(node.engine.stats().in_hand, 1);
    pass(SECOND * 2).await;
    // Before anybody can have taken over.
    let stats = node.engine.stats();
    assert_eq!((stats.in_hand, stats.leases_lost), (0, 1));
    let error = stats.last_error.unwrap().message;
    assert_eq!(
        error,
        "the engine gets no lease: the database cannot begin a lease: nobody answers"
    );
    let other = world.node("n2", &[("hang", Act::Succeed)]);
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    // The store is there again.
    node.queue.set(Weather::default());
    other.stop().await;
    let next = world.start(one(task("hang"))).await;
    world.reaches(next, TaskStatus::Running).await;
    node.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_beat_that_fails_now_and_then_costs_nothing() {
    let world = World::new();
    let node = world.node("n1", &[("slow", Act::Take(MINUTE * 3))]);
    let id = world.start(one(task("slow"))).await;
    for _ in 0..8 {
        node.queue.set(Weather {
            loses_beats: true,
            ..Weather::default()
        });
        pass(SECOND * 17).await;
        node.queue.set(Weather::default());
        pass(SECOND * 3).await;
    }
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.of("a").len(), 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_held_is_taken_over_after_the_lease() {
    let world = World::new();
    let node = world.node("n1", &[("slow", Act::Take(SECOND * 10))]);
    let id = world.start(one(task("slow"))).await;
    let unrepeatable = TaskPolicy::once(Guarantee::G4);
    let unsure = world.start(one(task_with("slow", unrepeatable))).await;
    world.reaches(unsure, TaskStatus::Running).await;
    node.kill().await;
    let other = world.node("n2", &[("slow", Act::Succeed)]);
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    let elapsed = world.ledger.elapsed();
    assert!(
        elapsed >= SECOND * 29 && elapsed <= SECOND * 32,
        "{elapsed:?}"
    );
    assert_eq!(world.task(unsure).await.task.status, TaskStatus::Unknown);
    let workers: Vec<String> = world
        .ledger
        .entries()
        .into_iter()
        .map(|e| e.worker)
        .collect();
    assert_eq!(workers, ["n1", "n1", "n2"]);
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_engine_waits_for_what_ends_in_time_and_hands_over_the_rest_at_once() {
    let world = World::new();
    let acts = [
        ("listen", Act::Listen),
        ("quick", Act::FinishOnHandOver(SECOND)),
        ("hang", Act::Hang),
    ];
    let node = world.node_with("n1", &acts, |options| options.drain_grace = SECOND * 4);
    let mut ids = Vec::new();
    for kind in ["listen", "quick", "hang"] {
        let id = world.start(one(task(kind))).await;
        world.reaches(id, TaskStatus::Running).await;
        ids.push(id);
    }
    let acts = [("listen", Act::Succeed), ("hang", Act::Succeed)];
    let other = world.node("n2", &acts);
    let took = node.stop().await;
    assert!(took >= SECOND * 4 && took < SECOND * 5, "{took:?}");
    for id in &ids {
        assert_eq!(world.end_of(*id).await, WorkflowStatus::Succeeded);
    }
    let elapsed = world.ledger.elapsed();
    assert!(
        elapsed < SECOND * 6,
        "the lease was not waited for: {elapsed:?}"
    );
    let entries = world.ledger.entries();
    let who: Vec<&str> = entries.iter().map(|entry| entry.worker.as_str()).collect();
    assert_eq!(who, ["n1", "n1", "n1", "n2", "n2"]);
    let mut lost = Vec::new();
    for id in ids {
        lost.push(world.task(id).await.task.lost);
    }
    assert_eq!(lost, [0, 0, 1]);
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_engine_has_written_what_ended() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.set(Weather {
        chokes_on: Some(1),
        ..Weather::default()
    });
    let id = world.start(fixtures::parallel(5)).await;
    world
        .until("not all were done", || world.ledger.entries().len() == 5)
        .await;
    let queue = Arc::clone(&node.queue);
    let (took, ()) = tokio::join!(node.stop(), async {
        pass(SECOND * 3).await;
        queue.set(Weather::default());
    });
    assert!(took >= SECOND * 3 && took < SECOND * 6, "{took:?}");
    assert_eq!(world.status(id).await, WorkflowStatus::Succeeded);
    assert_eq!(world.ledger.entries().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_engine_ends_although_the_store_is_away() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    let id = world.start(fixtures::linear(&["a"])).await;
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    node.queue.set(Weather {
        chokes_on: Some(1),
        ..Weather::default()
    });
    world.start(fixtures::linear(&["b"])).await;
    world
        .until("it was not done", || !world.ledger.of("b").is_empty())
        .await;
    node.queue.set(Weather {
        is_away: true,
        ..Weather::default()
    });
    // The lease runs out, and with it what there was to say.
    let took = node.stop().await;
    assert!(took > SECOND * 5 && took <= SECOND * 31, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_engine_ends_although_something_cannot_be_written() {
    let world = World::new();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    node.queue.set(Weather {
        chokes_on: Some(1),
        ..Weather::default()
    });
    let id = world.start(fixtures::linear(&["a"])).await;
    world
        .until("it was not done", || !world.ledger.of("a").is_empty())
        .await;
    // Its time to drain, and then its lease.
    let took = node.stop().await;
    assert!(took > SECOND * 30 && took <= SECOND * 40, "{took:?}");
    let other = world.node("n2", &[("test", Act::Succeed)]);
    assert_eq!(world.end_of(id).await, WorkflowStatus::Succeeded);
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_while_the_engine_stops_is_given_back_untouched() {
    let world = World::new();
    let queue = RoughQueue::new(&world.store);
    let gate = tokio::sync::watch::Sender::new(true);
    let mut closed = gate.subscribe();
    queue.after_next_claim(move || async move {
        closed.wait_for(|closed| !closed).await.unwrap();
    });
    let id = start(&world.store, 100, fixtures::parallel(3)).await;
    let node = world.node_over("n1", &[("test", Act::Succeed)], queue, |_| {});
    world.reaches(id, TaskStatus::Running).await;
    let (took, ()) = tokio::join!(node.stop(), async {
        pass(SECOND).await;
        gate.send_replace(false);
    });
    assert!(took < SECOND * 2, "{took:?}");
    assert!(world.ledger.entries().is_empty());
    let record = world.task(id).await;
    assert_eq!(record.task.status, TaskStatus::Queued);
    assert_eq!((record.task.attempt, record.task.lost), (1, 0));
}
