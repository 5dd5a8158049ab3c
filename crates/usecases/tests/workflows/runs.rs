//! Workflows on their way: what they give, and what people do to them.

use std::time::Duration;

use drover_domain::access::Role;
use drover_domain::workflow::run::{Control, Decision, Outcome, TaskError};
use drover_domain::workflow::{Json, SignalName, TaskKey, TaskNo, WorkflowStatus};
use drover_ports::{Assignment, DeadLetterFilter, HeldAttempt, ReportVerdict, StoreError};
use drover_usecases::{ClaimOrder, Claimed, Redriven, RemoteWorkers};

use crate::world::{World, json, key, origin, queue, task, waits};

fn claim() -> ClaimOrder {
    ClaimOrder {
        worker: "w1".to_owned(),
        queues: vec![queue("default")],
        limit: 10,
        wait: Duration::ZERO,
        lease: None,
        holding: None,
        term: Duration::from_secs(30),
    }
}

fn holding(taken: &Assignment) -> HeldAttempt {
    HeldAttempt {
        task: taken.task,
        attempt: taken.attempt,
    }
}

#[tokio::test]
async fn the_output_is_bounded() {
    let world = World::new();
    let id = world
        .started(vec![waits("a"), waits("b"), waits("c")])
        .await;
    let half = format!("\"{}\"", "x".repeat(Json::BYTES_MAX / 2 - 2));
    let go = SignalName::parse("go").unwrap();
    for text in [half.as_str(), "1", half.as_str()] {
        world
            .workflows
            .signal(id, &go, &json(text), None, &origin())
            .await
            .unwrap();
    }
    let detail = world.workflows.find(id).await.unwrap().unwrap();
    assert_eq!(detail.record.head.status, WorkflowStatus::Succeeded);
    let keys: Vec<&str> = detail.output.keys().map(TaskKey::as_str).collect();
    assert_eq!(keys, ["a", "b"]);
    assert!(detail.is_output_cut);
}

#[tokio::test]
async fn a_workflow_that_has_not_succeeded_has_no_output() {
    let world = World::new();
    let id = world
        .started(vec![waits("a"), waits("b").after([key("a")])])
        .await;
    let go = SignalName::parse("go").unwrap();
    let signal = async || {
        let payload = json("1");
        let wishes = &world.workflows;
        wishes.signal(id, &go, &payload, None, &origin()).await
    };
    signal().await.unwrap();
    let detail = world.workflows.find(id).await.unwrap().unwrap();
    assert!(detail.output.is_empty() && !detail.is_output_cut);

    let cancel = Control::Cancel {
        reason: "enough".to_owned(),
    };
    let steer = async |control: &Control| world.workflows.control(id, control, &origin()).await;
    assert_eq!(
        steer(&cancel).await.unwrap(),
        Some(WorkflowStatus::Cancelled)
    );
    let refused = steer(&Control::Start).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })));
    assert!(matches!(signal().await, Err(StoreError::Refused { .. })));
    let a = id.task(TaskNo::new(0).unwrap());
    let decided = world
        .workflows
        .decide(a, &Decision::Skip, &origin(), Role::Operator)
        .await;
    assert!(matches!(decided, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn a_dead_letter_is_done_again() {
    let world = World::new();
    let id = world.started(vec![task("a", "remote")]).await;
    let claimed = world
        .workers
        .claim(claim(), std::future::pending())
        .await
        .unwrap();
    let (lease, task) = (claimed.lease.unwrap(), claimed.tasks[0].task);
    let failed = Outcome::Failed {
        error: TaskError::new("io", "the disk is full"),
        retryable: true,
    };
    let verdict = world.workers.report(lease, task, 1, failed).await.unwrap();
    assert_eq!(verdict, ReportVerdict::Accepted);

    let redrive = async |filter: DeadLetterFilter| {
        let wishes = &world.workflows;
        wishes
            .redrive(&filter, u32::MAX, None, &origin())
            .await
            .unwrap()
    };
    let named = |no| DeadLetterFilter {
        task: Some(id.task(TaskNo::new(no).unwrap())),
        ..DeadLetterFilter::default()
    };
    assert_eq!(redrive(named(1)).await, Redriven::NoSuchTask);
    let all = DeadLetterFilter::default();
    assert_eq!(redrive(all.clone()).await, Redriven::Tasks(vec![task]));
    assert_eq!(redrive(all).await, Redriven::Tasks(Vec::new()));
    assert_eq!(redrive(named(0)).await, Redriven::NotAllowed);
}

#[tokio::test(start_paused = true)]
async fn an_idle_claim_leaves_no_lease_behind() {
    let world = World::new();
    let begun = tokio::time::Instant::now();
    let order = ClaimOrder {
        wait: Duration::from_secs(20),
        term: Duration::from_secs(5),
        ..claim()
    };
    let claimed = world
        .workers
        .claim(order, std::future::pending())
        .await
        .unwrap();
    assert_eq!((claimed.lease, claimed.tasks.len()), (None, 0));
    assert_eq!(begun.elapsed().as_secs(), 20);
    // The first identifier was drawn for the lease.
    let lease = drover_domain::Id::from_uuid(drover_domain::id::Uuid::from_u128(1 << 12));
    let beat = world
        .workers
        .heartbeat(lease, Duration::from_secs(5), None)
        .await;
    assert!(matches!(beat, Err(StoreError::Stale { .. })), "{beat:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_ends_when_it_is_told() {
    let world = World::new();
    let order = ClaimOrder {
        wait: Duration::from_secs(20),
        ..claim()
    };
    let begun = tokio::time::Instant::now();
    let claimed = world.workers.claim(order, std::future::ready(())).await;
    assert_eq!(claimed.unwrap().tasks.len(), 0);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlasts_a_long_wait() {
    let world = World::new();
    world.started(vec![task("a", "remote")]).await;
    let short = ClaimOrder {
        term: Duration::from_secs(5),
        ..claim()
    };
    let claimed = world
        .workers
        .claim(short.clone(), std::future::pending())
        .await
        .unwrap();
    let waiting = ClaimOrder {
        wait: Duration::from_secs(30),
        lease: claimed.lease,
        holding: Some(vec![holding(&claimed.tasks[0])]),
        ..short
    };
    // Six times as long as the lease, which still holds the task then.
    let more = world.workers.claim(waiting, std::future::pending()).await;
    assert_eq!(more.unwrap().lease, claimed.lease);
    let done = Outcome::Succeeded {
        result: Json::null(),
    };
    let (lease, task) = (claimed.lease.unwrap(), claimed.tasks[0].task);
    let verdict = world.workers.report(lease, task, 1, done).await.unwrap();
    assert_eq!(verdict, ReportVerdict::Accepted);
}

async fn claimed(world: &World, order: ClaimOrder) -> Claimed {
    world
        .workers
        .claim(order, std::future::pending())
        .await
        .unwrap()
}

/// A claim of one task under a lease.
fn next(lease: Option<drover_domain::workflow::LeaseId>) -> ClaimOrder {
    ClaimOrder {
        limit: 1,
        lease,
        term: Duration::from_secs(10),
        ..claim()
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_lost_answer_come_back_with_the_next_claim() {
    let world = World::new();
    world
        .started(vec![task("a", "remote"), task("b", "remote")])
        .await;
    let first = claimed(&world, next(None)).await;
    let under = || ClaimOrder {
        limit: 10,
        holding: Some(vec![holding(&first.tasks[0])]),
        ..next(first.lease)
    };
    // The worker does not receive this answer.
    let lost = claimed(&world, under()).await;
    assert_eq!(lost.tasks.len(), 1);
    let again = claimed(&world, under()).await;
    assert_eq!(again.lease, first.lease);
    let taken: Vec<_> = again
        .tasks
        .iter()
        .map(|taken| (taken.task, taken.attempt))
        .collect();
    assert_eq!(taken, [(lost.tasks[0].task, 2)]);
    // The task that the worker named was left alone.
    let done = Outcome::Succeeded {
        result: Json::null(),
    };
    let lease = first.lease.unwrap();
    let verdict = world.workers.report(lease, first.tasks[0].task, 1, done);
    assert_eq!(verdict.await.unwrap(), ReportVerdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn another_attempt_than_the_named_one_is_a_lost_answer_too() {
    let world = World::new();
    world.started(vec![task("a", "remote")]).await;
    let first = claimed(&world, next(None)).await;
    let under = |held| ClaimOrder {
        holding: Some(held),
        ..next(first.lease)
    };
    // Its own task comes back to the worker, which does not receive the answer and goes on with attempt 1.
    let lost = claimed(&world, under(Vec::new())).await;
    assert_eq!(lost.tasks[0].attempt, 2);
    let again = claimed(&world, under(vec![holding(&first.tasks[0])])).await;
    assert_eq!(again.tasks[0].attempt, 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_say_what_it_holds_strands_nothing() {
    let world = World::new();
    world
        .started(vec![task("a", "remote"), task("b", "remote")])
        .await;
    // This answer is lost, and the worker goes on under the lease of one before.
    let lost = claimed(&world, next(None)).await;
    let other = claimed(&world, next(lost.lease)).await;
    assert_ne!(other.lease, lost.lease);
    let stranded = lost.tasks[0].task;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(3)).await;
        let term = Duration::from_secs(10);
        let beat = world.workers.heartbeat(other.lease.unwrap(), term, None);
        beat.await.unwrap();
        let idle = claimed(&world, next(lost.lease));
        assert_eq!(idle.await.lease, lost.lease);
    }
    // The lease of the lost answer was never renewed.
    tokio::time::advance(Duration::from_secs(1)).await;
    world
        .ports
        .upkeep
        .take_over(Duration::ZERO, 10)
        .await
        .unwrap();
    let free = claimed(&world, next(None)).await;
    assert_eq!((free.tasks[0].task, free.tasks[0].attempt), (stranded, 2));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_gives_back_what_the_worker_does_not_hold() {
    let world = World::new();
    world
        .started(vec![task("a", "remote"), task("b", "remote")])
        .await;
    let first = claimed(&world, next(None)).await;
    let (lease, mine) = (first.lease.unwrap(), holding(&first.tasks[0]));
    let order = ClaimOrder {
        holding: Some(vec![mine]),
        ..next(first.lease)
    };
    let lost = holding(&claimed(&world, order).await.tasks[0]);
    let term = Duration::from_secs(30);
    let beat = async |holding: &[HeldAttempt]| {
        let beat = world.workers.heartbeat(lease, term, Some(holding));
        beat.await.unwrap().stop
    };
    // Its answer may still be on its way.
    assert_eq!(beat(&[mine]).await, []);
    assert_eq!(claimed(&world, next(None)).await.tasks, []);
    tokio::time::advance(RemoteWorkers::ANSWER_MAX).await;
    assert_eq!(beat(&[mine]).await, []);
    let other = claimed(&world, next(None)).await;
    assert_eq!(
        (other.tasks[0].task, other.tasks[0].attempt),
        (lost.task, 2)
    );
    // The answer came after all: the worker learns that the task is another one's.
    assert_eq!(beat(&[mine, lost]).await, [lost.task]);
}
