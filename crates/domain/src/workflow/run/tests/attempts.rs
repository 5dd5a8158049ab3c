//! Attempts: claims, fencing, retries, timeouts, lost workers, deadlines.

use super::*;

const STALE: &str = "attempt 1 of the task is over; somebody else has it or it has ended";

#[test]
fn taking_a_task_makes_a_new_attempt_and_names_the_worker() {
    let mut scene = Scene::dag(vec![task("a")]);
    let changes = scene.claim("a");
    let no = scene.no("a");
    assert_eq!(changes.queue, [QueueMove::Take { no }]);
    assert_eq!(changes.events[0].attempt, 1);
    assert_eq!(details(&changes), ["worker-1"]);
    assert!(!changes.head);
}

#[test]
fn only_what_waits_can_be_taken() {
    let mut scene = Scene::dag(vec![task("a"), task("b").after(&["a"])]);
    let worker = "worker-1".to_owned();
    let no = scene.no("b");
    assert_eq!(
        scene.refuses(Input::Claimed { no, worker }),
        "a task that is pending cannot become running"
    );
    let no = TaskNo::new(9).unwrap();
    let worker = "worker-1".to_owned();
    assert_eq!(
        scene.refuses(Input::Claimed { no, worker }),
        "the workflow has no task number 9"
    );
}

#[test]
fn a_report_counts_only_for_the_running_attempt() {
    let mut scene = Scene::dag(vec![task("a").retried(3)]);
    let early = Input::Ended {
        no: scene.no("a"),
        attempt: 0,
        outcome: succeeded(),
    };
    assert_eq!(scene.refuses(early), STALE.replace('1', "0"));
    scene.claim("a");
    let old = scene.ended("a", succeeded());
    let (lost, overdue) = (scene.lost("a"), scene.overdue("a"));
    scene.does(scene.lost("a"));
    for input in [&old, &lost, &overdue] {
        assert_eq!(scene.refuses(input.clone()), STALE, "while it is queued");
    }
    scene.claim("a");
    for input in [&old, &lost, &overdue] {
        assert_eq!(
            scene.refuses(input.clone()),
            STALE,
            "while another one runs"
        );
    }
    let current = scene.ended("a", succeeded());
    scene.does(current.clone());
    for input in [current, scene.lost("a"), scene.overdue("a")] {
        assert_eq!(
            scene.refuses(input),
            STALE.replace('1', "2"),
            "after the end"
        );
    }
}

#[test]
fn a_failure_is_tried_again_until_its_policy_is_used_up() {
    let mut scene = Scene::dag(vec![task("a").retried(2)]);
    for attempt in 1..=2 {
        let changes = scene.run("a", failed());
        assert_eq!(told(&changes), ["task_retrying 0"]);
        assert_eq!(scene.at("a").error, Some(boom("boom")));
        let no = scene.no("a");
        let at = scene.now.after(seconds(10));
        let kind = WakeKind::Retry { no, attempt };
        assert_eq!(changes.wakes, [Wake { at, kind }]);
        assert_eq!(told(&scene.wake(&changes)), ["task_queued 0"]);
    }
    let changes = scene.run("a", failed());
    assert_eq!(told(&changes), ["task_failed 0", "workflow_failed"]);
    assert_eq!(scene.at("a").attempt, 3);
}

#[test]
fn a_success_forgets_the_error_before_it() {
    let mut scene = Scene::dag(vec![task("a").retried(1)]);
    let changes = scene.run("a", failed());
    scene.wake(&changes);
    scene.run("a", succeeded());
    assert_eq!(scene.at("a").error, None);
}

#[test]
fn some_failures_are_not_tried_again() {
    let codes = |policy: &mut TaskPolicy| policy.non_retryable = vec!["not_found".to_owned()];
    for (code, retryable, expected) in [
        ("boom", true, "running: a retrying"),
        ("not_found", true, "failed: a failed"),
        ("boom", false, "failed: a failed"),
    ] {
        let mut scene = Scene::dag(vec![task("a").retried(5).policy(codes)]);
        let error = boom(code);
        scene.run("a", Outcome::Failed { error, retryable });
        assert_eq!(scene.states(), expected, "{code}, {retryable}");
    }
}

#[test]
fn a_retry_that_is_no_longer_waited_for_does_nothing() {
    let mut scene = Scene::dag(vec![task("a").retried(5)]);
    let first = scene.run("a", failed()).wakes[0];
    scene.now = first.at;
    scene.due(first.kind);
    assert!(scene.due(first.kind).is_empty(), "queued");
    scene.run("a", failed());
    assert!(
        scene.due(first.kind).is_empty(),
        "another retry is waited for"
    );
    assert_eq!(scene.states(), "running: a retrying");
}

#[test]
fn an_attempt_that_took_too_long_is_tried_again_if_it_is_repeatable() {
    let timeout = Outcome::TimedOut;
    let overdue = |scene: &mut Scene| {
        scene.claim("a");
        scene.does(scene.overdue("a"))
    };
    for class in [Guarantee::G0, Guarantee::G1, Guarantee::G2, Guarantee::G3] {
        let mut scene = Scene::dag(vec![task("a").class(class).retried(2)]);
        let changes = scene.run("a", timeout.clone());
        assert_eq!(told(&changes), ["task_retrying 0"], "{class:?}");
        scene.wake(&changes);
        let changes = overdue(&mut scene);
        assert_eq!(told(&changes), ["task_retrying 0"], "{class:?}");
        scene.wake(&changes);
        overdue(&mut scene);
        assert_eq!(scene.states(), "failed: a timed_out", "{class:?}");
        let message = "the attempt took longer than 300 s";
        assert_eq!(
            scene.at("a").error,
            Some(TaskError::new("timeout", message))
        );
    }
    let mut scene = Scene::dag(vec![task("a").class(Guarantee::G4).retried(2)]);
    scene.run("a", timeout);
    assert_eq!(scene.states(), "running: a unknown");
    let mut scene = Scene::dag(vec![task("a").class(Guarantee::G4).retried(2)]);
    let changes = overdue(&mut scene);
    assert_eq!(told(&changes), ["task_unknown 0"]);
}

#[test]
fn a_timeout_is_no_retryable_code_if_the_policy_says_so() {
    let codes = |policy: &mut TaskPolicy| policy.non_retryable = vec!["timeout".to_owned()];
    let mut scene = Scene::dag(vec![task("a").retried(5).policy(codes)]);
    scene.run("a", Outcome::TimedOut);
    assert_eq!(scene.states(), "failed: a timed_out");
}

#[test]
fn a_lost_task_is_queued_again_with_its_keys_and_no_retry_is_used_up() {
    let mut scene = Scene::dag(vec![task("a")]);
    scene.claim("a");
    let changes = scene.does(scene.lost("a"));
    assert_eq!(told(&changes), ["task_lost 0", "task_queued 0"]);
    let no = scene.no("a");
    let holds_keys = true;
    assert_eq!(
        changes.queue,
        [QueueMove::Leave { no }, QueueMove::Enter { no, holds_keys }]
    );
    assert_eq!((scene.at("a").retries, scene.at("a").lost), (0, 1));
}

#[test]
fn what_cannot_be_repeated_becomes_unknown_when_its_worker_is_lost() {
    let mut scene = Scene::dag(vec![task("a").class(Guarantee::G4).retried(5)]);
    scene.claim("a");
    let changes = scene.does(scene.lost("a"));
    assert_eq!(told(&changes), ["task_unknown 0"]);
    assert_eq!(
        details(&changes),
        ["worker_lost: its worker went away in the middle; nobody knows what it did"]
    );
    let mut scene = Scene::dag(vec![task("a").adopted()]);
    scene.claim("a");
    scene.does(scene.lost("a"));
    assert_eq!(scene.states(), "running: a queued");
}

#[test]
fn a_task_that_loses_every_worker_is_given_up() {
    let mut scene = Scene::dag(vec![task("a")]);
    for _ in 0..TaskPolicy::LOST_MAX {
        scene.claim("a");
        scene.does(scene.lost("a"));
        assert_eq!(scene.states(), "running: a queued");
    }
    scene.claim("a");
    let changes = scene.does(scene.lost("a"));
    assert_eq!(scene.states(), "failed: a failed");
    let message = "its worker went away 11 times in the middle of it";
    assert_eq!(details(&changes)[0], message);
    let error = TaskError::new("worker_lost", message);
    assert_eq!(scene.at("a").error, Some(error));
}

#[test]
fn what_may_go_on_without_its_workers_is_unknown_when_it_has_lost_them_all() {
    let mut scene = Scene::dag(vec![task("a").adopted()]);
    for _ in 0..=TaskPolicy::LOST_MAX {
        assert_eq!(scene.states(), "running: a queued");
        scene.claim("a");
        scene.does(scene.lost("a"));
    }
    assert_eq!(scene.states(), "running: a unknown");
    let message = "its worker went away 11 times in the middle of it";
    let error = TaskError::new("worker_lost", message);
    assert_eq!(scene.at("a").error, Some(error));
}

#[test]
fn a_task_given_back_waits_again_at_once() {
    let mut scene = Scene::dag(vec![task("a")]);
    let changes = scene.run("a", Outcome::Released);
    assert_eq!(told(&changes), ["task_released 0", "task_queued 0"]);
    assert_eq!((scene.at("a").retries, scene.at("a").lost), (0, 0));
}

#[test]
fn nobody_repeats_what_is_unknown_and_it_keeps_the_run_open() {
    let mut scene = Scene::dag(vec![
        task("a").retried(5),
        task("b"),
        task("c").after(&["a"]),
    ]);
    let changes = scene.run("a", unknown());
    assert_eq!(told(&changes), ["task_unknown 0"]);
    assert_eq!(changes.wakes, []);
    scene.succeed(&["b"]);
    assert_eq!(scene.states(), "running: a unknown, b succeeded, c pending");
}

#[test]
fn a_worker_that_stops_unasked_ends_its_task() {
    let mut scene = Scene::dag(vec![task("a"), task("b").after(&["a"])]);
    scene.run("a", Outcome::Cancelled);
    assert_eq!(scene.states(), "failed: a cancelled, b skipped");
}

#[test]
fn a_deadline_runs_from_the_first_queueing_over_all_attempts() {
    let plan = task("a").retried(100).within(seconds(60));
    let mut scene = Scene::dag(vec![task("z"), plan.after(&["z"])]);
    let no = scene.no("a");
    let kind = WakeKind::TaskDeadline { no };
    let deadline = scene.now.after(seconds(90));
    scene.passes(seconds(30));
    scene.claim("z");
    let changes = scene.end("z", succeeded());
    let at = deadline;
    assert_eq!(changes.wakes, [Wake { at, kind }]);
    let changes = scene.run("a", failed());
    scene.wake(&changes);
    assert!(scene.due(kind).is_empty(), "too early");
    scene.now = deadline;
    let changes = scene.due(kind);
    assert_eq!(told(&changes), ["task_timed_out 1", "workflow_failed"]);
    assert_eq!(
        scene
            .at("a")
            .error
            .as_ref()
            .map(|error| error.code.as_str()),
        Some("deadline")
    );
    assert!(scene.due(kind).is_empty(), "too late");
}

type Arrange = fn(&mut Scene);

#[test]
fn a_deadline_ends_a_task_wherever_it_waits() {
    let kind = WakeKind::TaskDeadline {
        no: TaskNo::new(0).unwrap(),
    };
    let repeatable = || task("a").retried(9).within(seconds(60));
    let unrepeatable = || task("a").class(Guarantee::G4).within(seconds(60));
    let cases: [(&str, Plan, Arrange, &str); 7] = [
        ("queued", repeatable(), |_| (), "failed: a timed_out"),
        (
            "retrying",
            repeatable(),
            |scene| {
                scene.run("a", failed());
            },
            "failed: a timed_out",
        ),
        (
            "waiting",
            repeatable().awaits("go", None),
            |_| (),
            "failed: a timed_out",
        ),
        (
            "running",
            repeatable(),
            |scene| {
                scene.claim("a");
            },
            "failed: a timed_out",
        ),
        (
            "running, unrepeatable",
            unrepeatable(),
            |scene| {
                scene.claim("a");
            },
            "running: a unknown",
        ),
        (
            "queued, unrepeatable",
            unrepeatable(),
            |_| (),
            "failed: a timed_out",
        ),
        (
            "unknown",
            unrepeatable(),
            |scene| {
                scene.run("a", unknown());
            },
            "running: a unknown",
        ),
    ];
    for (name, plan, arrange, expected) in cases {
        let mut scene = Scene::dag(vec![plan]);
        arrange(&mut scene);
        scene.passes(seconds(60));
        scene.due(kind);
        assert_eq!(scene.states(), expected, "{name}");
    }
}

#[test]
fn a_task_that_nobody_does_says_so_and_ends() {
    let mut scene = Scene::dag(vec![task("a"), task("b").after(&["a"])]);
    for attempt in 1..=TaskPolicy::RELEASED_MAX {
        scene.run("a", Outcome::Released);
        assert_eq!(scene.at("a").status, TaskStatus::Queued, "{attempt}");
        let code = scene
            .at("a")
            .error
            .as_ref()
            .map(|error| error.code.as_str());
        assert_eq!(code, Some("released"));
    }
    scene.run("a", Outcome::Released);
    assert_eq!(scene.states(), "failed: a failed, b skipped");
    let message = &scene.at("a").error.as_ref().unwrap().message;
    assert!(message.contains("1001 times"), "{message}");
}

#[test]
fn a_task_that_is_done_after_all_says_nothing_of_it() {
    let mut scene = Scene::dag(vec![task("a")]);
    scene.run("a", Outcome::Released);
    scene.run("a", succeeded());
    assert_eq!(scene.at("a").error, None);
}
