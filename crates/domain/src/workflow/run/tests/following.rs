//! Who runs after whom, and how a workflow ends.

use super::*;

fn diamond() -> Scene {
    Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("c").after(&["a"]),
        task("d").after(&["b", "c"]),
    ])
}

#[test]
fn a_chain_runs_link_by_link_and_tells_everything_in_order() {
    let plans = vec![task("a"), task("b"), task("c")];
    let mut scene = Scene::new(ExecutionMode::Sequential, plans, Some(Duration::ZERO));
    assert_eq!(scene.states(), "running: a queued, b pending, c pending");
    assert_eq!(told(&scene.claim("a")), ["task_started 0"]);
    let changes = scene.end("a", succeeded());
    assert_eq!(told(&changes), ["task_completed 0", "task_queued 1"]);
    assert_eq!(changes.results[&scene.no("a")], json("\"done\""));
    scene.succeed(&["b"]);
    scene.claim("c");
    let changes = scene.end("c", succeeded());
    assert_eq!(told(&changes), ["task_completed 2", "workflow_completed"]);
    assert_eq!(changes.tell_parent, Some(WorkflowStatus::Succeeded));
    assert_eq!(
        scene.states(),
        "succeeded: a succeeded, b succeeded, c succeeded"
    );
}

#[test]
fn a_run_that_starts_at_once_tells_it_in_one_step() {
    let definition = Definition::new(ExecutionMode::Parallel, vec![task("a").0, task("b").0]);
    let (scene, changes) = Scene::of(&definition.unwrap(), Some(Duration::ZERO), None, None);
    assert_eq!(
        told(&changes),
        [
            "workflow_created",
            "workflow_started",
            "task_queued 0",
            "task_queued 1"
        ]
    );
    assert_eq!(scene.states(), "running: a queued, b queued");
}

#[test]
fn whoever_waits_for_two_waits_for_both() {
    let mut scene = diamond();
    scene.succeed(&["a", "b"]);
    assert_eq!(
        scene.states(),
        "running: a succeeded, b succeeded, c queued, d pending"
    );
    scene.succeed(&["c"]);
    assert_eq!(scene.at("d").status, TaskStatus::Queued);
}

#[test]
fn everything_behind_a_failure_is_skipped_and_what_is_beside_it_runs_on() {
    let mut scene = diamond();
    scene.succeed(&["a"]);
    let changes = scene.run("b", failed());
    assert_eq!(told(&changes), ["task_failed 1", "task_skipped 3"]);
    assert_eq!(
        details(&changes),
        ["boom: it broke", "the task `b` did not succeed"]
    );
    assert_eq!(
        scene.states(),
        "running: a succeeded, b failed, c queued, d skipped"
    );
    let changes = scene.run("c", succeeded());
    assert_eq!(told(&changes), ["task_completed 2", "workflow_failed"]);
    let reason = "the task `b` ended as failed: boom: it broke";
    assert_eq!(scene.run.head.error.as_deref(), Some(reason));
    assert_eq!(changes.tell_parent, Some(WorkflowStatus::Failed));
}

#[test]
fn the_first_reason_is_the_reason() {
    let mut scene = Scene::dag(vec![task("a"), task("b")]);
    scene.run("b", Outcome::TimedOut);
    scene.run("a", failed());
    let reason = "the task `b` ended as timed out: the attempt took longer than 300 s";
    assert_eq!(scene.run.head.error.as_deref(), Some(reason));
}

#[test]
fn skips_run_down_to_the_last_one() {
    let mut scene = Scene::dag(vec![
        task("d").after(&["c"]),
        task("c").after(&["b"]),
        task("b").after(&["a"]),
        task("a"),
    ]);
    scene.run("a", failed());
    assert_eq!(
        scene.states(),
        "failed: d skipped, c skipped, b skipped, a failed"
    );
}

#[test]
fn an_edge_may_accept_a_skipped_task_but_no_failed_one() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("cleanup").after_even_skipped(&["b"]),
        task("report").after_even_skipped(&["a"]),
    ]);
    scene.run("a", failed());
    assert_eq!(
        scene.states(),
        "running: a failed, b skipped, cleanup queued, report skipped"
    );
    scene.succeed(&["cleanup"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Failed);
}

#[test]
fn a_run_in_which_people_skip_what_fails_nothing_succeeds() {
    let mut scene = Scene::dag(vec![task("a"), task("b").after_even_skipped(&["a"])]);
    scene.decide("a", Decision::Skip);
    scene.succeed(&["b"]);
    assert_eq!(scene.states(), "succeeded: a skipped, b succeeded");
    assert_eq!(scene.run.head.error, None);
}

#[test]
fn progress_counts_what_has_ended_and_is_whole_only_with_success() {
    let mut scene = diamond();
    let mut seen = vec![scene.run.head.progress()];
    for key in ["a", "b", "c", "d"] {
        scene.succeed(&[key]);
        seen.push(scene.run.head.progress());
    }
    assert_eq!(seen, [0, 25, 50, 75, 100]);
    let mut scene = Scene::dag(vec![task("a").undone(), task("b").after(&["a"])]);
    scene.succeed(&["a"]);
    assert_eq!(scene.run.head.progress(), 50);
    scene.run("b", failed());
    assert_eq!(scene.run.head.progress(), 99);
}

#[test]
fn there_is_no_stack_to_run_out_of_in_the_longest_chain_of_signals() {
    let plans = (0..crate::workflow::TASKS_MAX)
        .map(|number| task(&format!("s{number}")).awaits("go", None))
        .collect();
    let mut scene = Scene::new(ExecutionMode::Sequential, plans, None);
    for _ in 0..crate::workflow::TASKS_MAX {
        let position = i64::try_from(scene.run.signals.len()).unwrap();
        scene.run.signals.push(StoredSignal {
            position,
            name: SignalName::parse("go").unwrap(),
            payload: Json::null(),
        });
    }
    scene.control(Control::Start);
    assert_eq!(scene.run.head.status, WorkflowStatus::Succeeded);
    assert!(scene.run.signals.is_empty());
}
