//! Compensation: of what, in which order, and what happens when it fails.

use super::*;

/// `a` to `d` beside each other, each with something that undoes it, and `x`, which has nothing.
fn saga() -> Scene {
    let undone = ["a", "b", "c", "d"].map(|key| task(key).undone());
    Scene::dag(undone.into_iter().chain([task("x")]).collect())
}

#[test]
fn what_was_done_is_undone_in_the_reverse_order_of_its_end_one_at_a_time() {
    let mut scene = saga();
    scene.succeed(&["c", "a", "d", "b"]);
    let changes = scene.run("x", failed());
    assert_eq!(
        told(&changes),
        [
            "task_failed 4",
            "workflow_failed",
            "workflow_compensating",
            "task_queued 6"
        ]
    );
    assert_eq!(changes.tell_parent, None);
    let mut order = Vec::new();
    while scene.run.head.status == WorkflowStatus::Compensating {
        let queued: Vec<String> = scene
            .run
            .tasks
            .values()
            .filter(|task| task.status == TaskStatus::Queued)
            .map(|task| task.key.to_string())
            .collect();
        assert_eq!(queued.len(), 1, "{}", scene.states());
        scene.succeed(&[&queued[0]]);
        order.extend(queued);
    }
    assert_eq!(order, ["undo/b", "undo/d", "undo/a", "undo/c"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Compensated);
    let reason = "the task `x` ended as failed: boom: it broke";
    assert_eq!(scene.run.head.error.as_deref(), Some(reason));
}

#[test]
fn only_what_may_have_had_an_effect_is_undone() {
    let mut scene = Scene::dag(vec![
        task("succeeded").undone(),
        task("timed-out").undone(),
        task("failed").undone(),
        task("skipped").undone().after(&["failed"]),
        task("never-started").undone().within(seconds(60)),
        task("decided").undone(),
    ]);
    scene.succeed(&["succeeded"]);
    scene.run("timed-out", Outcome::TimedOut);
    scene.run("failed", failed());
    scene.run("decided", unknown());
    let error = boom("boom");
    scene.decide("decided", Decision::Failed { error });
    scene.passes(seconds(60));
    let no = scene.no("never-started");
    scene.due(WakeKind::TaskDeadline { no });
    assert_eq!(scene.run.head.undoable, 2);
    assert!(!scene.at("decided").is_uncertain);
    scene.succeed(&["undo/timed-out", "undo/succeeded"]);
    assert_eq!(
        scene.states(),
        "compensated: succeeded succeeded, timed-out timed_out, failed failed, skipped skipped, \
         never-started timed_out, decided failed, undo/succeeded succeeded, \
         undo/timed-out succeeded, undo/failed pending, undo/skipped pending, \
         undo/never-started pending, undo/decided pending"
    );
}

#[test]
fn what_may_have_had_its_effect_in_an_earlier_attempt_is_undone_however_it_ends() {
    type Arrange = fn(&mut Scene);
    let lost: Arrange = |scene| {
        scene.claim("a");
        scene.does(scene.lost("a"));
    };
    let timed_out: Arrange = |scene| {
        let changes = scene.run("a", Outcome::TimedOut);
        scene.wake(&changes);
    };
    let ends: [(&str, Arrange); 4] = [
        ("cancelled", |scene| {
            scene.cancel();
        }),
        ("cancelled", |scene| {
            scene.run("a", Outcome::Cancelled);
        }),
        ("failed", |scene| {
            let (error, retryable) = (boom("boom"), false);
            scene.run("a", Outcome::Failed { error, retryable });
        }),
        ("skipped", |scene| {
            scene.decide("a", Decision::Skip);
        }),
    ];
    for before in [lost, timed_out] {
        for (expected, end) in &ends {
            let mut scene = Scene::dag(vec![task("a").undone().retried(5), task("x")]);
            before(&mut scene);
            assert!(scene.at("a").is_uncertain);
            end(&mut scene);
            if scene.run.head.status == WorkflowStatus::Running {
                scene.run("x", failed());
            }
            assert_eq!(scene.at("a").status.as_str(), *expected);
            assert_eq!(scene.run.head.undoable, 1, "{expected}");
            scene.succeed(&["undo/a"]);
            assert_eq!(scene.run.head.status, WorkflowStatus::Compensated);
        }
    }
}

#[test]
fn what_nobody_knew_is_undone_unless_a_person_says_that_it_did_not_happen() {
    let error = || boom("looked");
    for (decision, expected) in [
        (Decision::Skip, "compensating"),
        (Decision::Failed { error: error() }, "cancelled"),
    ] {
        let mut scene = Scene::dag(vec![task("a").undone()]);
        scene.run("a", unknown());
        scene.cancel();
        scene.decide("a", decision);
        assert_eq!(scene.run.head.status.as_str(), expected);
    }
    // Doing it again does not say what the first attempt did.
    let mut scene = Scene::dag(vec![task("a").undone(), task("x")]);
    scene.run("a", unknown());
    scene.decide("a", Decision::Retry);
    scene.run("a", failed());
    scene.run("x", failed());
    assert_eq!(scene.at("undo/a").status, TaskStatus::Queued);
}

#[test]
fn what_runs_when_its_time_is_up_may_have_had_its_effect() {
    let mut scene = Scene::dag(vec![task("a").undone().within(seconds(60)), task("x")]);
    scene.claim("a");
    scene.passes(seconds(60));
    let no = scene.no("a");
    scene.due(WakeKind::TaskDeadline { no });
    assert!(scene.at("a").is_uncertain);
    let mut scene = Scene::dag(vec![task("a").undone().within(seconds(60)), task("x")]);
    scene.passes(seconds(60));
    scene.due(WakeKind::TaskDeadline { no });
    assert!(!scene.at("a").is_uncertain, "nobody had taken it");
}

#[test]
fn a_success_ends_the_uncertainty() {
    let mut scene = Scene::dag(vec![task("a").undone(), task("b")]);
    scene.claim("a");
    scene.does(scene.lost("a"));
    scene.succeed(&["a"]);
    assert!(!scene.at("a").is_uncertain);
    assert_eq!(scene.run.head.undoable, 1);
    // What was given back has done nothing.
    scene.run("b", Outcome::Released);
    assert!(!scene.at("b").is_uncertain);
}

#[test]
fn a_failure_with_nothing_to_undo_is_the_end() {
    let mut scene = Scene::dag(vec![task("a").undone()]);
    scene.run("a", failed());
    assert_eq!(scene.states(), "failed: a failed, undo/a pending");
}

#[test]
fn what_a_cancelled_run_did_is_undone_too() {
    let mut scene = Scene::dag(vec![task("a").undone(), task("b").undone().after(&["a"])]);
    scene.succeed(&["a"]);
    scene.claim("b");
    scene.cancel();
    assert_eq!(scene.run.head.status, WorkflowStatus::Cancelling);
    let changes = scene.end("b", succeeded());
    assert_eq!(
        told(&changes),
        ["task_completed 1", "workflow_compensating", "task_queued 3"]
    );
    scene.succeed(&["undo/b", "undo/a"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Compensated);
}

#[test]
fn undoing_is_tried_again_by_its_own_policy() {
    let mut plan = task("a").undone();
    let retry = RetryPolicy::new(RetryStrategy::Fixed, seconds(10), 1).unwrap();
    plan.0.compensation.as_mut().unwrap().policy.retry = retry;
    let mut scene = Scene::dag(vec![plan, task("b").after(&["a"])]);
    scene.succeed(&["a"]);
    scene.run("b", failed());
    let changes = scene.run("undo/a", failed());
    assert_eq!(told(&changes), ["task_retrying 2"]);
    scene.wake(&changes);
    scene.claim("undo/a");
    scene.does(scene.lost("undo/a"));
    scene.succeed(&["undo/a"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Compensated);
}

/// `a` and `b` are done and being undone; undoing `b` has ended like this.
fn stuck(outcome: Outcome) -> Scene {
    let mut scene = Scene::dag(vec![task("a").undone(), task("b").undone(), task("x")]);
    scene.succeed(&["a", "b"]);
    scene.run("x", failed());
    scene.run("undo/b", outcome);
    scene
}

#[test]
fn a_person_is_needed_where_undoing_fails_and_may_do_it_again() {
    for outcome in [failed(), Outcome::TimedOut, Outcome::Cancelled] {
        let mut scene = stuck(outcome);
        assert_eq!(scene.run.head.status, WorkflowStatus::NeedsHuman);
        assert_eq!(scene.at("undo/a").status, TaskStatus::Pending);
        let changes = scene.decide("undo/b", Decision::Retry);
        assert_eq!(
            told(&changes),
            ["workflow_reopened", "task_reopened 4", "task_queued 4"]
        );
        scene.succeed(&["undo/b", "undo/a"]);
        assert_eq!(scene.run.head.status, WorkflowStatus::Compensated);
    }
}

#[test]
fn a_person_may_do_without_undoing() {
    for outcome in [failed(), Outcome::TimedOut, Outcome::Cancelled] {
        let mut scene = stuck(outcome);
        let changes = scene.decide("undo/b", Decision::Skip);
        assert_eq!(
            told(&changes),
            [
                "workflow_reopened",
                "task_reopened 4",
                "task_skipped 4",
                "task_queued 3"
            ]
        );
        scene.succeed(&["undo/a"]);
        assert_eq!(scene.run.head.status, WorkflowStatus::Compensated);
    }
}

#[test]
fn nobody_goes_on_behind_an_unknown_compensation_until_somebody_decides() {
    for (decision, expected) in [
        (Decision::Skip, "compensating"),
        (
            Decision::Succeeded {
                result: Json::null(),
            },
            "compensating",
        ),
        (
            Decision::Failed {
                error: boom("boom"),
            },
            "needs_human",
        ),
    ] {
        let mut scene = stuck(unknown());
        assert_eq!(scene.run.head.status, WorkflowStatus::Compensating);
        assert_eq!(scene.at("undo/a").status, TaskStatus::Pending);
        scene.decide("undo/b", decision);
        assert_eq!(scene.run.head.status.as_str(), expected);
        let is_next = scene.at("undo/a").status == TaskStatus::Queued;
        assert_eq!(is_next, expected == "compensating");
    }
    let mut scene = stuck(unknown());
    let changes = scene.decide("undo/b", Decision::Retry);
    assert_eq!(told(&changes), ["task_reopened 4", "task_queued 4"]);
}

#[test]
fn the_order_of_undoing_is_that_of_the_last_end() {
    let mut scene = Scene::dag(vec![task("a").undone(), task("b").undone(), task("x")]);
    scene.run("a", Outcome::TimedOut);
    scene.succeed(&["b"]);
    scene.decide("a", Decision::Retry);
    scene.succeed(&["a"]);
    scene.run("x", failed());
    assert_eq!(scene.at("undo/a").status, TaskStatus::Queued);
}
