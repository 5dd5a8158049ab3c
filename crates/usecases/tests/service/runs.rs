//! Doing updates: the play is started once, whatever happens to its worker.

use std::time::Duration;

use drover_domain::fleet::ChangedBy;
use drover_domain::page::PageRequest;
use drover_domain::rollout::task::{InstanceOutcome, RunStatus, TaskId};
use drover_domain::workflow::{TaskStatus, WorkflowStatus};
use drover_ports::{TaskRecord, WorkflowView};
use drover_testkit::runner::Script;
use drover_usecases::{FleetView, TaskView};

use crate::harness::{HEAD, Harness, ORCHESTRATOR, failing, successful};

async fn record(harness: &Harness, task: TaskId) -> TaskRecord {
    let view: &dyn WorkflowView = &harness.store;
    view.task(task).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_play_that_goes_well_completes_the_task() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness.tell_version("1.1.0").await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.task.status, detail.task.error.as_deref()),
        (TaskStatus::Succeeded, None)
    );
    assert_eq!(
        (detail.task.progress, detail.task.result.as_deref()),
        (100, Some("2 done of 2"))
    );
    let batches: Vec<_> = detail
        .instances
        .iter()
        .map(|it| (it.batch.as_str(), it.outcome))
        .collect();
    assert_eq!(
        batches,
        [
            ("even", InstanceOutcome::Done),
            ("odd", InstanceOutcome::Done)
        ]
    );
    assert_eq!(detail.runs[0].exit_code, Some(0));
    let changes = harness
        .store
        .versions(detail.instances[0].application, PageRequest::first())
        .await
        .unwrap()
        .unwrap();
    let newest = &changes.items[0].1;
    assert_eq!(
        (newest.new.version.as_deref(), newest.changed_by),
        (Some("1.1.0"), ChangedBy::User)
    );
    assert_eq!(newest.task, Some(task));
    assert_eq!(harness.workflow(task).await, WorkflowStatus::Succeeded);
    let events = TaskView::events(&harness.store, task, PageRequest::first())
        .await
        .unwrap()
        .unwrap();
    assert!(
        events
            .items
            .iter()
            .any(|event| event.event.task.as_deref() == Some("Drain"))
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_task_is_the_plays_own_first_reason() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, failing());
    let task = harness.update().await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(detail.task.status, TaskStatus::Failed);
    let engines = record(&harness, task).await.task.error.unwrap();
    assert_eq!(engines.code, "update_failed");
    assert_eq!(detail.task.error.as_ref(), Some(&engines.message));
    assert!(engines.message.contains("The checksum did not match"));
    let outcomes: Vec<_> = detail
        .instances
        .iter()
        .map(|instance| instance.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [InstanceOutcome::Failed, InstanceOutcome::Skipped]
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_is_followed_by_another_and_the_play_runs_once() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(
        ORCHESTRATOR,
        Script::new()
            .head(HEAD)
            .hold()
            .report("s1::a_1::s1_a_1", InstanceOutcome::Done, None)
            .report("s2::a_1::s2_a_1", InstanceOutcome::Done, None)
            .stats(&[("localhost", 1, 0)]),
    );
    let task = harness.update().await;
    let first = harness.work("w1");
    harness.until_held().await;
    first.kill().await;
    let second = harness.work("w2");
    harness.runner.release();
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.task.status, detail.task.attempt),
        (TaskStatus::Succeeded, 2)
    );
    assert_eq!(harness.runner.started().len(), 1);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_hands_its_task_over_at_once() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(
        ORCHESTRATOR,
        Script::new()
            .head(HEAD)
            .hold()
            .stats(&[("localhost", 1, 0)]),
    );
    let task = harness.update().await;
    let first = harness.work("w1");
    harness.until_held().await;
    first.stop().await;
    let before = tokio::time::Instant::now();
    let second = harness.work("w2");
    harness.until_attempt(task, 2).await;
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "the lease was waited out"
    );
    harness.runner.release();
    let detail = harness.until_over(task).await;
    // The play ended well and reported nobody as done: that is no success.
    assert_eq!(detail.task.status, TaskStatus::Failed);
    assert_eq!(harness.runner.started().len(), 1);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_play_that_vanished_leaves_the_task_unknown() {
    let harness = Harness::with_fleet(2).await;
    let script = Script::new()
        .head(HEAD)
        .report("s1::a_1::s1_a_1", InstanceOutcome::Drained, None)
        .hold();
    harness.runner.script(ORCHESTRATOR, script);
    let task = harness.update().await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.runner.lose(harness.runner.started()[0].id);
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.task.status, detail.runs[0].status),
        (TaskStatus::Unknown, RunStatus::Unknown)
    );
    assert_eq!(detail.instances[0].outcome, InstanceOutcome::Unknown);
    assert_eq!(harness.workflow(task).await, WorkflowStatus::Running);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_control_host_that_is_away_for_a_while_is_waited_for() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness.runner.go_away(5);
    let worker = harness.work("w1");
    assert_eq!(
        harness.until_over(task).await.task.status,
        TaskStatus::Succeeded
    );
    assert_eq!(harness.runner.started().len(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_fleet_changed_is_refused_before_anything_runs() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    let head = format!(
        "{}#   unheard_of - something\n---\n",
        HEAD.split("#\n# Optional").next().unwrap()
    );
    harness
        .runner
        .script(ORCHESTRATOR, successful().head(&head));
    harness.service.orchestrators.scan().await.unwrap();
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(detail.task.status, TaskStatus::Failed);
    assert!(
        detail
            .task
            .error
            .is_some_and(|error| error.contains("`unheard_of`"))
    );
    assert!(harness.runner.started().is_empty());
    worker.stop().await;
}
