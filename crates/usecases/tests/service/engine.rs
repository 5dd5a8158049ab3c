//! Updates on the engine: handed over, taken up again, called off; the play is started at most once.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::page::PageRequest;
use drover_domain::rollout::definition;
use drover_domain::rollout::record::{RolloutDetail, TargetOutcome};
use drover_domain::workflow::run::{Decision, Outcome};
use drover_domain::workflow::{Executor, Json, LeaseId, TaskStatus, WorkflowStatus};
use drover_ports::{
    Assigned, Assignment, Claim, ClaimRequest, FleetEventFilter, Progress, RolloutStore,
    StopReason, TaskQueue, WorkflowStore, WorkflowView,
};
use drover_testkit::eventually::eventually;
use drover_testkit::runner::Script;
use drover_testkit::store::fixtures::{self, Updater};
use drover_usecases::FleetView;

use crate::harness::{HEAD, Harness, ORCHESTRATOR, failing, successful};

/// A play that stands still with one instance drained.
fn standing_still() -> Script {
    Script::new()
        .head(HEAD)
        .report("s1::a_1::s1_a_1", TargetOutcome::Drained, None)
        .hold()
        .report("s1::a_1::s1_a_1", TargetOutcome::Done, None)
        .report("s2::a_1::s2_a_1", TargetOutcome::Done, None)
        .stats(&[("localhost", 1, 0), ("s1", 1, 0), ("s2", 1, 0)])
}

/// An engine that never says stop.
struct Undisturbed;

#[async_trait]
impl Progress for Undisturbed {
    async fn stopped(&self) -> StopReason {
        std::future::pending().await
    }
}

/// Takes the only waiting task, as the engine of a process does.
async fn assigned(harness: &Harness, lease: LeaseId) -> Assignment {
    let queue: &dyn TaskQueue = &harness.store;
    let term = Duration::from_mins(1);
    queue.open_lease(lease, "w0", term).await.unwrap();
    let request = ClaimRequest {
        executor: Executor::Engine,
        queues: vec![definition::queue()],
        limit: 1,
    };
    queue.claim(lease, &request).await.unwrap().remove(0)
}

fn outcomes(detail: &RolloutDetail) -> Vec<TargetOutcome> {
    detail
        .targets
        .iter()
        .map(|instance| instance.outcome)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_engine_did_not_hear_of_is_told_again_and_done_once() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    let lease = LeaseId::from_uuid(fixtures::task_id(77).as_uuid());
    let assignment = assigned(&harness, lease).await;
    let handler = harness.service.rollout_handler().1;
    let told = Assigned {
        task: &assignment,
        progress: &Undisturbed,
    };
    let outcome = handler.run(told).await;
    let done = Json::from_parsed("the result", "\"2 done of 2\"").unwrap();
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            result: done.clone()
        }
    );
    let events = harness
        .store
        .events(&FleetEventFilter::default(), PageRequest::first())
        .await
        .unwrap();
    // The process dies before the engine hears of it.
    let queue: &dyn TaskQueue = &harness.store;
    queue.close_lease(lease).await.unwrap();
    assert_eq!(harness.task(task).await.rollout.status, TaskStatus::Queued);

    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(
        (
            detail.rollout.status,
            detail.rollout.attempt,
            detail.rollout.result.as_deref()
        ),
        (TaskStatus::Succeeded, 2, Some("2 done of 2"))
    );
    let view: &dyn WorkflowView = &harness.store;
    assert_eq!(view.task(task).await.unwrap().unwrap().result, Some(done));
    assert_eq!(harness.runner.started().len(), 1);
    let again = harness
        .store
        .events(&FleetEventFilter::default(), PageRequest::first())
        .await
        .unwrap();
    assert_eq!(again.items, events.items, "something is told twice");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_update_is_not_repeated_by_hand() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, failing());
    let task = harness.update().await;
    let worker = harness.work("w1");
    let first = harness.until_over(task).await;
    let store: &dyn WorkflowStore = &harness.store;
    store.decide(task, &Decision::Retry).await.unwrap();
    harness.until_attempt(task, 2).await;
    let again = harness.until_over(task).await;
    assert_eq!(
        (again.rollout.status, again.rollout.error),
        (TaskStatus::Failed, first.rollout.error)
    );
    assert_eq!(harness.runner.started().len(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn updates_of_one_group_run_one_after_the_other() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, standing_still());
    let first = harness.update().await;
    let second = harness.update().await;
    let worker = harness.work("w1");
    let other = harness.work("w2");
    harness.until_held().await;
    // However often it is read: the second one waits.
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(
        harness.task(first).await.rollout.status,
        TaskStatus::Running
    );
    assert_eq!(
        harness.task(second).await.rollout.status,
        TaskStatus::Queued
    );
    assert_eq!(harness.runner.started().len(), 1);
    let waiting = harness.task(second).await.rollout;
    assert_eq!(
        harness.service.rollouts.waits_for(&waiting).await.unwrap(),
        Some(format!(
            "waits for update {first} of the HAProxy backend be"
        ))
    );
    harness.runner.release();
    let (first, second) = (
        harness.until_over(first).await,
        harness.until_over(second).await,
    );
    assert_eq!(first.rollout.status, TaskStatus::Succeeded);
    assert_eq!(second.rollout.status, TaskStatus::Succeeded);
    assert_eq!(harness.runner.started().len(), 2);
    worker.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_ends_no_play() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, standing_still());
    let task = harness.update().await;
    let lease = LeaseId::from_uuid(fixtures::task_id(77).as_uuid());
    let mut assignment = assigned(&harness, lease).await;
    assignment.policy.timeout = Duration::from_mins(10);
    let handler = harness.service.rollout_handler().1;
    let told = Assigned {
        task: &assignment,
        progress: &Undisturbed,
    };
    assert_eq!(handler.run(told).await, Outcome::Released);
    let queue: &dyn TaskQueue = &harness.store;
    queue.close_lease(lease).await.unwrap();
    let worker = harness.work("w1");
    harness.until_attempt(task, 2).await;
    harness.runner.release();
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Succeeded);
    assert_eq!(harness.runner.started().len(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_called_off_stops_its_play_and_says_what_is_left_drained() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, standing_still());
    let task = harness.update().await;
    harness.tell_version("1.0.0").await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.show_drained("s1_a_1").await;
    harness.call_off(task).await;
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Cancelled);
    assert_eq!(
        outcomes(&detail),
        [TargetOutcome::LeftDrained, TargetOutcome::Skipped]
    );
    assert_eq!(
        detail.rollout.error.as_deref(),
        Some(
            "the update was cancelled; HAProxy still shows out of use: a_1 on s1 (the run ended while it was drained; \
             the agent still shows version 1.0.0; HAProxy shows `DRAIN`; `drover haproxy ready 12` returns it)"
        )
    );
    let job = harness.runner.started()[0].id;
    assert_eq!(harness.runner.cancelled(), [job]);
    assert_eq!(harness.workflow(task).await, WorkflowStatus::Cancelled);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_called_off_in_the_queue_starts_nothing() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness.call_off(task).await;
    let worker = harness.work("w1");
    assert_eq!(
        harness.until_over(task).await.rollout.status,
        TaskStatus::Cancelled
    );
    assert!(harness.runner.started().is_empty());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_play_whose_worker_is_gone_is_stopped_by_the_next_one() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, standing_still());
    let task = harness.update().await;
    let first = harness.work("w1");
    harness.until_held().await;
    harness.show_drained("s1_a_1").await;
    first.kill().await;
    harness.call_off(task).await;
    assert!(harness.runner.cancelled().is_empty());
    let second = harness.work("w2");
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.rollout.status, detail.rollout.attempt),
        (TaskStatus::Cancelled, 2)
    );
    assert_eq!(detail.targets[0].outcome, TargetOutcome::LeftDrained);
    assert_eq!(harness.runner.started().len(), 1);
    assert_eq!(harness.runner.cancelled().len(), 1);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_play_that_is_not_stopped_in_time_is_stopped_by_the_next_attempt() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, standing_still());
    let task = harness.update().await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.show_drained("s1_a_1").await;
    harness.runner.go_away(30);
    harness.call_off(task).await;
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Cancelled);
    assert!(detail.rollout.attempt > 1, "{detail:?}");
    assert_eq!(outcomes(&detail)[0], TargetOutcome::LeftDrained);
    assert_eq!(harness.runner.cancelled().len(), 1);
    assert_eq!(harness.runner.started().len(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_planned_and_called_off_is_not_started_by_the_next_worker() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    let gone = Updater::open(&harness.store, 70).await;
    let claim: Claim = gone.take().await;
    let applications = harness.applications().await;
    let run = fixtures::run(0, 7, &applications);
    let instance = fixtures::instance(applications[0], 0);
    harness
        .store
        .plan(&claim, &[run], &[instance])
        .await
        .unwrap();
    harness.call_off(task).await;
    gone.leave().await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Cancelled);
    assert_eq!(
        detail.rollout.error.as_deref(),
        Some("the update was cancelled")
    );
    assert_eq!(outcomes(&detail), [TargetOutcome::Skipped]);
    assert!(harness.runner.started().is_empty());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_update_that_waits_for_its_control_host_can_be_called_off() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness.runner.go_away(60);
    let worker = harness.work("w1");
    harness.until_attempt(task, 1).await;
    harness.call_off(task).await;
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.rollout.status, detail.rollout.error.as_deref()),
        (TaskStatus::Cancelled, Some("the update was cancelled"))
    );
    assert!(harness.runner.started().is_empty());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_play_that_was_quicker_than_being_called_off_has_succeeded() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, standing_still());
    let task = harness.update().await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.call_off(task).await;
    // Before the worker hears of it.
    harness.runner.release();
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Succeeded);
    assert!(harness.runner.cancelled().is_empty());
    assert_eq!(harness.workflow(task).await, WorkflowStatus::Cancelled);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_somebody_made_by_hand_is_no_update() {
    let harness = Harness::with_fleet(2).await;
    let task = fixtures::task(99, &[]);
    let id = task.id;
    let workflow = fixtures::update(task, &[]).workflow;
    let store: &dyn WorkflowStore = &harness.store;
    store.start(&[workflow]).await.unwrap();
    let worker = harness.work("w1");
    let view: &dyn WorkflowView = &harness.store;
    let error = eventually(Duration::from_mins(1), || async {
        let record = view.task(id).await.unwrap().unwrap();
        record
            .task
            .error
            .ok_or_else(|| record.task.status.as_str().to_owned())
    })
    .await;
    assert_eq!(error.code, "no_such_update");
    worker.stop().await;
}
