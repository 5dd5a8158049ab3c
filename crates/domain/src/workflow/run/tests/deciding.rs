//! What people decide about tasks: do it again, do without it, it worked, it did not.

use super::*;

#[test]
fn an_unknown_task_is_what_a_person_says() {
    let error = boom("no");
    let result = json("1");
    for (decision, expected, events) in [
        (
            Decision::Succeeded { result },
            "running: a succeeded, b queued",
            vec!["task_completed 0", "task_queued 1"],
        ),
        (
            Decision::Failed { error },
            "failed: a failed, b skipped",
            vec!["task_failed 0", "task_skipped 1", "workflow_failed"],
        ),
        (
            Decision::Skip,
            "succeeded: a skipped, b skipped",
            vec!["task_skipped 0", "task_skipped 1", "workflow_completed"],
        ),
        (
            Decision::Retry,
            "running: a queued, b pending",
            vec!["task_reopened 0", "task_queued 0"],
        ),
    ] {
        let mut scene = Scene::dag(vec![task("a"), task("b").after(&["a"])]);
        scene.run("a", unknown());
        let changes = scene.decide("a", decision.clone());
        assert_eq!(scene.states(), expected);
        assert_eq!(told(&changes), events);
        if let Decision::Succeeded { result } = decision {
            assert_eq!(changes.results[&scene.no("a")], result);
            assert_eq!(scene.at("a").error, None);
        }
    }
}

#[test]
fn doing_it_again_is_a_fresh_start_with_the_same_attempts() {
    let mut scene = Scene::dag(vec![task("a").retried(1)]);
    let changes = scene.run("a", failed());
    scene.wake(&changes);
    scene.claim("a");
    scene.does(scene.lost("a"));
    scene.run("a", failed());
    assert_eq!(scene.states(), "failed: a failed");
    let changes = scene.decide("a", Decision::Retry);
    assert_eq!(
        told(&changes),
        ["workflow_reopened", "task_reopened 0", "task_queued 0"]
    );
    let task = scene.at("a");
    assert_eq!((task.attempt, task.retries, task.lost), (3, 0, 0));
    assert_eq!((task.error.as_ref(), task.rank), (None, None));
    assert_eq!(scene.run.head.error, None);
    let changes = scene.run("a", failed());
    assert_eq!(
        told(&changes),
        ["task_retrying 0"],
        "it has its retries again"
    );
}

#[test]
fn a_deadline_begins_anew_with_a_fresh_start() {
    for outcome in [failed(), unknown()] {
        let mut scene = Scene::dag(vec![task("a").within(seconds(60))]);
        scene.run("a", outcome);
        scene.passes(seconds(100));
        let changes = scene.decide("a", Decision::Retry);
        let at = scene.now.after(seconds(60));
        let no = scene.no("a");
        let kind = WakeKind::TaskDeadline { no };
        assert_eq!(changes.wakes, [Wake { at, kind }]);
        assert!(scene.due(kind).is_empty(), "the old one");
        assert_eq!(told(&scene.wake(&changes))[0], "task_timed_out 0");
    }
}

#[test]
fn everything_behind_a_reopened_task_waits_again() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("c").after(&["b"]),
    ]);
    scene.run("a", failed());
    assert_eq!(scene.states(), "failed: a failed, b skipped, c skipped");
    let changes = scene.decide("a", Decision::Retry);
    assert_eq!(
        told(&changes),
        [
            "workflow_reopened",
            "task_reopened 0",
            "task_reopened 1",
            "task_reopened 2",
            "task_queued 0"
        ]
    );
    assert_eq!(scene.states(), "running: a queued, b pending, c pending");
    scene.succeed(&["a", "b", "c"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Succeeded);
}

#[test]
fn another_failed_branch_keeps_blocking() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b"),
        task("c").after(&["a", "b"]),
        task("d").after(&["c"]),
        task("e").after_even_skipped(&["c"]).after(&["a"]),
    ]);
    scene.run("a", failed());
    scene.run("b", failed());
    scene.decide("a", Decision::Retry);
    assert_eq!(
        scene.states(),
        "running: a queued, b failed, c skipped, d skipped, e pending"
    );
    scene.succeed(&["a"]);
    assert_eq!(scene.at("e").status, TaskStatus::Queued);
    scene.decide("b", Decision::Retry);
    assert_eq!(
        scene.states(),
        "running: a succeeded, b queued, c pending, d pending, e queued"
    );
    scene.succeed(&["e", "b", "c", "d"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Succeeded);
}

#[test]
fn what_is_done_without_a_task_waits_for_it_once_it_is_reopened() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("c"),
        task("d").after_even_skipped(&["b"]).after(&["c"]),
    ]);
    scene.run("a", failed());
    scene.decide("a", Decision::Retry);
    scene.succeed(&["a", "b"]);
    assert_eq!(
        scene.states(),
        "running: a succeeded, b succeeded, c queued, d pending"
    );
    scene.succeed(&["c", "d"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Succeeded);
}

#[test]
fn what_a_person_skipped_stays_skipped() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("c").after(&["b"]),
        task("d").after(&["a"]),
    ]);
    scene.decide("b", Decision::Skip);
    scene.run("a", failed());
    scene.decide("a", Decision::Retry);
    assert_eq!(
        scene.states(),
        "running: a queued, b skipped, c skipped, d pending"
    );
}

#[test]
fn a_task_that_is_done_again_waits_for_what_was_reopened_before_it() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("c").after_even_skipped(&["b"]),
    ]);
    scene.run("a", failed());
    scene.run("c", failed());
    scene.decide("a", Decision::Retry);
    assert_eq!(scene.states(), "running: a queued, b pending, c failed");
    scene.decide("c", Decision::Retry);
    assert_eq!(scene.states(), "running: a queued, b pending, c pending");
    scene.run("a", succeeded());
    scene.run("b", failed());
    assert_eq!(scene.states(), "failed: a succeeded, b failed, c skipped");
}

#[test]
fn what_would_run_behind_a_failure_is_not_done_again() {
    let mut scene = Scene::dag(vec![
        task("a"),
        task("b").after(&["a"]),
        task("c").after_even_skipped(&["b"]),
    ]);
    scene.run("a", failed());
    scene.run("c", failed());
    scene.decide("a", Decision::Retry);
    scene.succeed(&["a"]);
    scene.run("b", failed());
    assert_eq!(
        scene.refuses(scene.decision("c", Decision::Retry)),
        "the task `c` is failed in a workflow that is failed; it cannot be retried"
    );
}

#[test]
fn a_task_is_done_again_while_the_others_run() {
    let mut scene = Scene::dag(vec![task("a"), task("b"), task("c").after(&["a"])]);
    scene.run("a", Outcome::TimedOut);
    let changes = scene.decide("a", Decision::Retry);
    assert_eq!(
        told(&changes),
        ["task_reopened 0", "task_reopened 2", "task_queued 0"]
    );
    scene.control(Control::Pause);
    scene.run("b", failed());
    scene.decide("b", Decision::Retry);
    assert_eq!(scene.states(), "paused: a queued, b queued, c pending");
}

#[test]
fn a_task_whose_worker_stopped_unasked_can_be_done_again() {
    let mut scene = Scene::dag(vec![task("a")]);
    scene.run("a", Outcome::Cancelled);
    scene.decide("a", Decision::Retry);
    assert_eq!(scene.states(), "running: a queued");
}

#[test]
fn a_person_skips_whatever_nobody_works_on() {
    type Arrange = fn(&mut Scene);
    let cases: [(Plan, Arrange); 4] = [
        (task("a"), |_| ()),
        (task("a").retried(1), |scene| {
            scene.run("a", failed());
        }),
        (task("a").awaits("go", None), |_| ()),
        (task("a"), |scene| {
            scene.run("a", unknown());
        }),
    ];
    for (plan, arrange) in cases {
        let mut scene = Scene::dag(vec![plan, task("b").after_even_skipped(&["a"])]);
        arrange(&mut scene);
        let changes = scene.decide("a", Decision::Skip);
        assert_eq!(told(&changes), ["task_skipped 0", "task_queued 1"]);
        assert_eq!(details(&changes), ["a person skipped it"]);
    }
    let mut scene = Scene::dag(vec![task("a"), task("b").after(&["a"]), task("c")]);
    scene.decide("b", Decision::Skip);
    assert_eq!(scene.states(), "running: a queued, b skipped, c queued");
}

#[test]
fn nothing_runs_before_the_start_whatever_is_skipped() {
    let plans = vec![task("a"), task("b").after_even_skipped(&["a"])];
    let mut scene = Scene::idle(plans);
    scene.decide("a", Decision::Skip);
    assert_eq!(scene.states(), "pending: a skipped, b pending");
    scene.control(Control::Start);
    assert_eq!(scene.states(), "running: a skipped, b queued");
}

#[test]
fn a_run_in_which_everything_was_skipped_before_the_start_ends_with_it() {
    let mut scene = Scene::idle(vec![task("a"), task("b").after(&["a"])]);
    scene.decide("a", Decision::Skip);
    assert_eq!(scene.states(), "pending: a skipped, b skipped");
    let changes = scene.control(Control::Start);
    assert_eq!(told(&changes), ["workflow_started", "workflow_completed"]);
}

#[test]
fn what_cannot_be_decided_is_refused_in_a_sentence() {
    let result = Json::null();
    let error = boom("boom");
    let all = [
        Decision::Retry,
        Decision::Skip,
        Decision::Succeeded { result },
        Decision::Failed { error },
    ];
    let mut scene = Scene::dag(vec![
        task("running"),
        task("done").undone(),
        task("queued"),
        task("failed"),
    ]);
    scene.claim("running");
    scene.succeed(&["done"]);
    scene.run("failed", failed());
    for (key, refused) in [
        ("running", &[0, 1, 2, 3][..]),
        ("done", &[0, 1, 2, 3]),
        ("queued", &[0, 2, 3]),
        ("failed", &[1, 2, 3]),
        ("undo/done", &[0, 1, 2, 3]),
    ] {
        let status = scene.at(key).status.as_str();
        for which in refused {
            let wish = ["retried", "skipped", "decided about", "decided about"][*which];
            let input = scene.decision(key, all[*which].clone());
            assert_eq!(
                scene.refuses(input),
                format!(
                    "the task `{key}` is {status} in a workflow that is running; it cannot be {wish}"
                )
            );
        }
    }
    let no = TaskNo::new(77).unwrap();
    let decision = Decision::Retry;
    assert_eq!(
        scene.refuses(Input::Decide { no, decision }),
        "the workflow has no task number 77"
    );
    scene.cancel();
    assert_eq!(
        scene.refuses(scene.decision("failed", Decision::Retry)),
        "the task `failed` is failed in a workflow that is cancelling; it cannot be retried"
    );
}

#[test]
fn nobody_does_an_unknown_task_again_in_a_run_that_is_called_off() {
    let mut scene = Scene::dag(vec![task("a")]);
    scene.run("a", unknown());
    scene.cancel();
    assert_eq!(
        scene.refuses(scene.decision("a", Decision::Retry)),
        "the task `a` is unknown in a workflow that is cancelling; it cannot be retried"
    );
    scene.decide(
        "a",
        Decision::Succeeded {
            result: Json::null(),
        },
    );
    assert_eq!(scene.states(), "cancelled: a succeeded");
}
