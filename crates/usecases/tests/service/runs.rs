//! Doing updates: the play is started once, whatever happens to its worker.

use std::time::Duration;

use drover_domain::fleet::{ApplicationStatus, ChangedBy};
use drover_domain::page::PageRequest;
use drover_domain::rollout::job::JobEventKind;
use drover_domain::rollout::record::{RolloutId, RolloutTarget, RunStatus, TargetOutcome};
use drover_domain::workflow::{TaskStatus, WorkflowStatus};
use drover_ports::{TaskRecord, WorkflowView};
use drover_testkit::agent::Sight;
use drover_testkit::eventually::eventually;
use drover_testkit::runner::Script;
use drover_usecases::{FleetView, RolloutView};

use crate::harness::{HEAD, Harness, ORCHESTRATOR, address, failing, order, successful};

async fn record(harness: &Harness, task: RolloutId) -> TaskRecord {
    let view: &dyn WorkflowView = &harness.store;
    view.task(task).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_play_that_goes_well_completes_the_task() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.rollout.status, detail.rollout.error.as_deref()),
        (TaskStatus::Succeeded, None)
    );
    assert_eq!(
        (detail.rollout.progress, detail.rollout.result.as_deref()),
        (100, Some("2 done of 2"))
    );
    let batches: Vec<_> = detail
        .targets
        .iter()
        .map(|it| (it.batch.as_str(), it.outcome))
        .collect();
    assert_eq!(
        batches,
        [("even", TargetOutcome::Done), ("odd", TargetOutcome::Done)]
    );
    assert_eq!(detail.runs[0].exit_code, Some(0));
    let changes = harness
        .store
        .versions(detail.targets[0].application, PageRequest::first())
        .await
        .unwrap()
        .unwrap();
    let newest = &changes.items[0].1;
    assert_eq!(
        (newest.new.version.as_deref(), newest.changed_by),
        (Some("1.1.0"), ChangedBy::User)
    );
    assert_eq!(newest.rollout, Some(task));
    assert_eq!(harness.workflow(task).await, WorkflowStatus::Succeeded);
    let events = RolloutView::events(&harness.store, task, PageRequest::first())
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
    harness.tell_version("1.0.0").await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Failed);
    let engines = record(&harness, task).await.task.error.unwrap();
    assert_eq!(engines.code, "update_failed");
    assert_eq!(detail.rollout.error.as_ref(), Some(&engines.message));
    assert!(engines.message.contains("The checksum did not match"));
    let outcomes: Vec<_> = detail
        .targets
        .iter()
        .map(|instance| instance.outcome)
        .collect();
    assert_eq!(outcomes, [TargetOutcome::Failed, TargetOutcome::Skipped]);
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
            .report("s1::a_1::s1_a_1", TargetOutcome::Done, None)
            .report("s2::a_1::s2_a_1", TargetOutcome::Done, None)
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
        (detail.rollout.status, detail.rollout.attempt),
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
    // The play ended well and reported no target as done: that is no success.
    assert_eq!(detail.rollout.status, TaskStatus::Failed);
    assert_eq!(harness.runner.started().len(), 1);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_play_that_vanished_leaves_the_task_unknown() {
    let harness = Harness::with_fleet(2).await;
    let script = Script::new()
        .head(HEAD)
        .report("s1::a_1::s1_a_1", TargetOutcome::Drained, None)
        .hold();
    harness.runner.script(ORCHESTRATOR, script);
    let task = harness.update().await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.runner.lose(harness.runner.started()[0].id);
    let detail = harness.until_over(task).await;
    assert_eq!(
        (detail.rollout.status, detail.runs[0].status),
        (TaskStatus::Unknown, RunStatus::Unknown)
    );
    assert_eq!(detail.targets[0].outcome, TargetOutcome::Unknown);
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
        harness.until_over(task).await.rollout.status,
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
    assert_eq!(detail.rollout.status, TaskStatus::Failed);
    assert!(
        detail
            .rollout
            .error
            .is_some_and(|error| error.contains("`unheard_of`"))
    );
    assert!(harness.runner.started().is_empty());
    worker.stop().await;
}

/// How the instances of a run on two servers ended whose agents still report `version`.
async fn ended_as(script: Script, version: &str) -> (TaskStatus, Vec<(TargetOutcome, String)>) {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, script.head(HEAD));
    let task = harness.update().await;
    harness.tell_version(version).await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    worker.stop().await;
    let instances = detail.targets.into_iter();
    let outcomes = instances.map(|it| (it.outcome, it.detail.unwrap_or_default()));
    (detail.rollout.status, outcomes.collect())
}

#[tokio::test(start_paused = true)]
async fn a_play_whose_agents_show_no_change_is_unverified() {
    let (status, outcomes) = Box::pin(ended_as(successful(), "1.0.0")).await;
    assert_eq!(status, TaskStatus::Failed);
    for (outcome, detail) in outcomes {
        assert_eq!(outcome, TargetOutcome::Unverified);
        assert!(
            detail.contains("the agent still shows version 1.0.0"),
            "{detail}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_play_that_reports_nothing_is_done_where_the_agents_show_the_change() {
    let silent = || {
        Script::new()
            .event(JobEventKind::Changed, Some("localhost"), None)
            .stats(&[("localhost", 3, 0)])
    };
    let (status, outcomes) = Box::pin(ended_as(silent(), "1.1.0")).await;
    assert_eq!(status, TaskStatus::Succeeded, "{outcomes:?}");
    let (status, outcomes) = Box::pin(ended_as(silent(), "1.0.0")).await;
    assert_eq!(status, TaskStatus::Failed);
    for (outcome, detail) in outcomes {
        assert_eq!(outcome, TargetOutcome::Unknown);
        assert_eq!(
            detail,
            "the play reported nothing about it; the agent still shows version 1.0.0; HAProxy shows `UP`"
        );
    }
}

/// What an update ends as after which the agents list `change` of their applications: outcome, detail and version
/// afterwards of the first one, with the version that the fleet has and the new versions of its history, newest first.
async fn ended_with(
    change: impl Fn(&mut Sight) + Send,
) -> (RolloutTarget, Option<String>, Vec<Option<String>>) {
    let harness = Harness::with_fleet(2).await;
    let with_process = |start: &str| {
        let start = start.to_owned();
        move |sight: &mut Sight| {
            for application in &mut sight.applications {
                application.start_time = Some(start.clone());
                application.pid = Some(77);
            }
        }
    };
    let mut agents = Vec::new();
    for name in ["s1", "s2"] {
        let server = harness.server(name).await;
        let agent = address(&server);
        harness
            .agents
            .change(&agent, with_process("2026-11-01T00:00:00Z"));
        harness.service.servers.refresh(server.key).await.unwrap();
        agents.push(agent);
    }
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness
        .service
        .rollouts
        .request(order(harness.applications().await))
        .await
        .unwrap()
        .rollouts[0];
    let worker = harness.work("w1");
    eventually(Duration::from_mins(1), || async {
        if harness.task(task).await.runs.is_empty() {
            Err("not planned".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    for agent in &agents {
        harness
            .agents
            .change(agent, with_process("2026-12-01T00:00:00Z"));
        harness.agents.change(agent, &change);
    }
    let detail = harness.until_over(task).await;
    worker.stop().await;
    let target = detail.targets[0].clone();
    let known = FleetView::application(&harness.store, target.application)
        .await
        .unwrap()
        .unwrap();
    let changes = harness
        .store
        .versions(target.application, PageRequest::first())
        .await
        .unwrap()
        .unwrap();
    let rows = changes.items.into_iter().map(|(_, row)| row.new.version);
    (target, known.observed.version.version, rows.collect())
}

fn version(text: &str) -> impl Fn(&mut Sight) + Send {
    let text = text.to_owned();
    move |sight: &mut Sight| {
        for application in &mut sight.applications {
            application.version.version = Some(text.clone());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_after_an_update_is_what_the_agent_shows() {
    // The artifact is 1.1.0, and the fleet was on 1.0.0.
    for (shown, outcome, part, rows) in [
        ("1.1.0", TargetOutcome::Done, "", vec!["1.1.0", "1.0.0"]),
        (
            "v1.1.0+7",
            TargetOutcome::Done,
            "",
            vec!["v1.1.0+7", "1.0.0"],
        ),
        (
            "1.0.0",
            TargetOutcome::Unverified,
            "the agent shows 1.0.0, the artifact is 1.1.0",
            vec!["1.0.0"],
        ),
        (
            "0.9.0",
            TargetOutcome::Unverified,
            "the agent shows 0.9.0, the artifact is 1.1.0",
            vec!["0.9.0", "1.0.0"],
        ),
        (
            "1.5",
            TargetOutcome::Unverified,
            "the agent shows 1.5, the artifact is 1.1.0",
            vec!["1.5", "1.0.0"],
        ),
    ] {
        let (target, known, history) = Box::pin(ended_with(version(shown))).await;
        assert_eq!(target.outcome, outcome, "{shown}: {:?}", target.detail);
        assert!(
            target.detail.as_deref().unwrap_or_default().contains(part),
            "{target:?}"
        );
        assert_eq!(target.version_after.as_deref(), Some(shown));
        assert_eq!(known.as_deref(), Some(shown));
        let history: Vec<&str> = history.iter().flatten().map(String::as_str).collect();
        assert_eq!(history, rows, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_artifacts_name_is_not_written_where_the_agent_shows_no_version() {
    for text in [None, Some("unknown-no-match"), Some("N/A")] {
        let (target, known, history) = Box::pin(ended_with(move |sight: &mut Sight| {
            for application in &mut sight.applications {
                application.version.version = text.map(str::to_owned);
            }
        }))
        .await;
        // The restart is evidence of the update, and of no version.
        assert_eq!(target.outcome, TargetOutcome::Done, "{:?}", target.detail);
        assert_eq!(target.version_after, None);
        assert_eq!(known.as_deref(), Some("1.0.0"));
        assert_eq!(history, [Some("1.0.0".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_run_after_the_update_has_failed() {
    for (status, word) in [
        (ApplicationStatus::Offline, "offline"),
        (ApplicationStatus::Starting, "starting"),
        (ApplicationStatus::Stopping, "stopping"),
    ] {
        let (target, known, _) = Box::pin(ended_with(move |sight: &mut Sight| {
            version("1.1.0")(sight);
            for application in &mut sight.applications {
                application.status = status;
            }
        }))
        .await;
        assert_eq!(target.outcome, TargetOutcome::Failed);
        let detail = target.detail.unwrap();
        assert!(
            detail.starts_with(&format!("the agent shows it as `{word}` after the update")),
            "{detail}"
        );
        assert_eq!(known.as_deref(), Some("1.1.0"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_its_agent_no_longer_lists_is_said_so() {
    let (target, _, history) =
        Box::pin(ended_with(|sight: &mut Sight| sight.applications.clear())).await;
    assert_eq!(target.outcome, TargetOutcome::Unverified);
    let detail = target.detail.unwrap();
    assert!(
        detail.contains("the agent no longer lists it") && !detail.contains("still"),
        "{detail}"
    );
    assert_eq!((target.version_after, history.len()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_agent_leaves_the_other_servers_of_an_update_polled() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    let slow = address(&harness.server("s1").await);
    harness.agents.hold(slow);
    let worker = harness.work("w1");
    let detail = eventually(Duration::from_mins(5), || async {
        let detail = harness.task(task).await;
        match detail.rollout.finished_at {
            Some(_) => Ok(detail),
            None => Err(format!("{detail:?}")),
        }
    })
    .await;
    worker.stop().await;
    let outcomes: Vec<TargetOutcome> = detail.targets.iter().map(|it| it.outcome).collect();
    assert_eq!(
        outcomes,
        [TargetOutcome::Unverified, TargetOutcome::Done],
        "{:?}",
        detail.targets
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_shows_the_change_late_is_waited_for() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness.tell_version("1.0.0").await;
    let worker = harness.work("w1");
    let pings = harness.agents.pings();
    eventually(Duration::from_mins(1), || async {
        // Both agents were asked twice: they have shown the old version once.
        let asked = harness.agents.pings() - pings;
        if asked >= 4 {
            Ok(())
        } else {
            Err(format!("{asked} polls"))
        }
    })
    .await;
    harness.tell_version("1.1.0").await;
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Succeeded);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_play_of_ones_own_left_drained_is_named_with_the_command() {
    let harness = Harness::with_fleet(2).await;
    let script = Script::new()
        .head(HEAD)
        .event(JobEventKind::Changed, Some("localhost"), None)
        .hold();
    harness.runner.script(ORCHESTRATOR, script);
    let task = harness.update().await;
    harness.tell_version("1.0.0").await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.show_drained("s2_a_1").await;
    harness.call_off(task).await;
    let detail = harness.until_over(task).await;
    let outcomes: Vec<_> = detail.targets.iter().map(|it| it.outcome).collect();
    assert_eq!(
        outcomes,
        [TargetOutcome::Unknown, TargetOutcome::LeftDrained]
    );
    let error = detail.rollout.error.unwrap();
    for part in [
        "the update was cancelled; HAProxy still shows out of use: a_1 on s2",
        "`drover haproxy ready ",
        "unknown: a_1 on s1",
    ] {
        assert!(error.contains(part), "{error}");
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_play_whose_haproxy_cannot_be_asked_leaves_it_unknown() {
    let harness = Harness::with_fleet(2).await;
    let script = Script::new()
        .head(HEAD)
        .report("s1::a_1::s1_a_1", TargetOutcome::Drained, None)
        .hold();
    harness.runner.script(ORCHESTRATOR, script);
    let task = harness.update().await;
    let worker = harness.work("w1");
    harness.until_held().await;
    let agent = address(&harness.server("lb").await);
    harness.agents.remove(&agent);
    harness.call_off(task).await;
    let detail = harness.until_over(task).await;
    assert_eq!(detail.targets[0].outcome, TargetOutcome::Unknown);
    let error = detail.rollout.error.unwrap();
    assert!(error.contains("HAProxy could not be asked"), "{error}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_control_host_that_can_run_nothing_ends_an_update_with_its_reason() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness
        .runner
        .break_down("`ansible-playbook` is not installed");
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    assert_eq!(detail.rollout.status, TaskStatus::Failed);
    let error = detail.rollout.error.unwrap();
    assert!(
        error.contains("`ansible-playbook` is not installed"),
        "{error}"
    );
    assert!(harness.runner.started().is_empty());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_control_host_that_does_not_answer_is_shown_and_waited_for_with_an_end() {
    let harness = Harness::with_fleet(2).await;
    harness.runner.script(ORCHESTRATOR, successful());
    let task = harness.update().await;
    harness.runner.go_away(u32::MAX);
    let worker = harness.work("w1");
    let current = eventually(Duration::from_mins(1), || async {
        let current = harness.task(task).await.rollout.current;
        current.ok_or_else(|| "nothing is shown".to_owned())
    })
    .await;
    assert!(
        current.starts_with("waits for the control host: ")
            && current.ends_with("the scripted control host is away"),
        "{current}"
    );
    let detail = eventually(Duration::from_mins(30), || async {
        let detail = harness.task(task).await;
        match detail.rollout.finished_at {
            Some(_) => Ok(detail),
            None => Err(format!("{detail:?}")),
        }
    })
    .await;
    assert_eq!(detail.rollout.status, TaskStatus::Failed);
    let error = detail.rollout.error.unwrap();
    assert!(
        error.starts_with("the control host did not answer for 15 minutes: "),
        "{error}"
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_control_host_that_is_silent_about_a_running_play_is_shown_and_its_end_is_unknown() {
    let harness = Harness::with_fleet(2).await;
    let script = Script::new()
        .head(HEAD)
        .report("s1::a_1::s1_a_1", TargetOutcome::Updating, None)
        .hold();
    harness.runner.script(ORCHESTRATOR, script);
    let task = harness.update().await;
    let worker = harness.work("w1");
    harness.until_held().await;
    harness.runner.go_away(u32::MAX);
    eventually(Duration::from_mins(1), || async {
        let current = harness.task(task).await.rollout.current.unwrap_or_default();
        if current.starts_with("waits for the control host") {
            Ok(())
        } else {
            Err(current)
        }
    })
    .await;
    let detail = eventually(Duration::from_mins(40), || async {
        let detail = harness.task(task).await;
        match detail.rollout.finished_at {
            Some(_) => Ok(detail),
            None => Err(format!("{detail:?}")),
        }
    })
    .await;
    assert_eq!(detail.rollout.status, TaskStatus::Unknown);
    let error = detail.rollout.error.unwrap();
    assert!(
        error.starts_with("the control host did not answer for 20 minutes: "),
        "{error}"
    );
    worker.stop().await;
}
