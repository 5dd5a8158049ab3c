//! Timers, signals and children.

use super::*;

#[test]
fn a_timer_ends_when_its_time_has_come_and_needs_no_worker() {
    let mut scene = Scene::dag(vec![task("a"), task("t").waits(seconds(60)).after(&["a"])]);
    scene.claim("a");
    let changes = scene.end("a", succeeded());
    assert_eq!(told(&changes), ["task_completed 0", "task_waiting 1"]);
    assert_eq!(scene.states(), "running: a succeeded, t waiting");
    let changes = scene.wake(&changes);
    assert_eq!(told(&changes), ["task_completed 1", "workflow_completed"]);
    assert_eq!(changes.results[&scene.no("t")], Json::null());
}

#[test]
fn a_signal_is_taken_by_the_task_that_waits_for_it() {
    let mut scene = Scene::dag(vec![
        task("a").awaits("other", None),
        task("b").awaits("go", None),
    ]);
    let changes = scene.signal("go", "7");
    assert_eq!(told(&changes), ["signal_received", "task_completed 1"]);
    assert_eq!(details(&changes), ["go"]);
    assert_eq!(changes.results[&scene.no("b")], json("7"));
    assert_eq!(changes.kept_signal, None);
    assert_eq!(scene.states(), "running: a waiting, b succeeded");
}

#[test]
fn one_signal_is_for_one_task() {
    let mut scene = Scene::dag(vec![
        task("a").awaits("go", None),
        task("b").awaits("go", None),
    ]);
    scene.signal("go", "1");
    assert_eq!(scene.states(), "running: a succeeded, b waiting");
    scene.signal("go", "2");
    assert_eq!(scene.states(), "succeeded: a succeeded, b succeeded");
}

#[test]
fn an_early_signal_is_kept_and_the_oldest_is_taken_first() {
    let mut scene = Scene::idle(vec![
        task("a"),
        task("b").awaits("go", None).after(&["a"]),
        task("c").awaits("go", None).after(&["b"]),
    ]);
    let changes = scene.signal("go", "1");
    assert_eq!(told(&changes), ["signal_received"]);
    let kept = (SignalName::parse("go").unwrap(), json("1"));
    assert_eq!(changes.kept_signal, Some(kept));
    scene.signal("go", "2");
    scene.control(Control::Start);
    scene.claim("a");
    let changes = scene.end("a", succeeded());
    assert_eq!(changes.taken_signals, [1, 2]);
    assert_eq!(changes.results[&scene.no("b")], json("1"));
    assert_eq!(changes.results[&scene.no("c")], json("2"));
    assert_eq!(
        told(&changes),
        [
            "task_completed 0",
            "task_waiting 1",
            "task_completed 1",
            "task_waiting 2",
            "task_completed 2",
            "workflow_completed"
        ]
    );
}

#[test]
fn a_signal_that_does_not_come_in_time_is_a_timeout() {
    let mut scene = Scene::dag(vec![
        task("z"),
        task("a").awaits("go", Some(seconds(60))).after(&["z"]),
    ]);
    scene.claim("z");
    let waits = scene.end("z", succeeded());
    let changes = scene.wake(&waits);
    assert_eq!(told(&changes), ["task_timed_out 1", "workflow_failed"]);
    assert_eq!(
        scene.at("a").error,
        Some(TaskError::new(
            "signal_expired",
            "the signal did not come in time"
        ))
    );
    assert_eq!(scene.refuses(signal("go", "1")), "the workflow is failed");
}

#[test]
fn an_expiry_after_the_signal_does_nothing() {
    let mut scene = Scene::dag(vec![
        task("z"),
        task("a").awaits("go", Some(seconds(60))).after(&["z"]),
        task("b").awaits("never", None),
    ]);
    scene.claim("z");
    let waits = scene.end("z", succeeded());
    scene.signal("go", "1");
    assert!(scene.wake(&waits).is_empty());
}

#[test]
fn a_wait_that_was_done_again_has_its_own_end() {
    let wait = Some(seconds(60));
    let mut scene = Scene::dag(vec![task("z"), task("a").awaits("go", wait).after(&["z"])]);
    scene.claim("z");
    let first = scene.end("z", succeeded());
    scene.wake(&first);
    scene.passes(seconds(1));
    let second = scene.decide("a", Decision::Retry);
    assert_eq!(scene.states(), "running: z succeeded, a waiting");
    assert!(scene.due(first.wakes[0].kind).is_empty());
    assert_eq!(told(&scene.wake(&second))[0], "task_timed_out 1");
}

#[test]
fn no_more_signals_are_kept_than_may_be() {
    let mut scene = Scene::dag(vec![
        task("z"),
        task("a").awaits("go", None).after(&["z"]),
        task("b").awaits("now", None),
    ]);
    for position in 0..i64::try_from(SIGNALS_MAX).unwrap() {
        scene.run.signals.push(StoredSignal {
            position,
            name: SignalName::parse("go").unwrap(),
            payload: Json::null(),
        });
    }
    let refusal = "the workflow keeps 1000 signals that no task has taken; it keeps no more";
    assert_eq!(scene.refuses(signal("go", "1")), refusal);
    // A task waits for this one.
    scene.signal("now", "1");
    scene.succeed(&["z"]);
    assert_eq!(scene.run.head.status, WorkflowStatus::Succeeded);
}

#[test]
fn only_a_task_with_a_child_can_wait() {
    let mut scene = Scene::dag(vec![task("a").retried(5), task("b").after(&["a"])]);
    scene.run("a", Outcome::Waiting);
    assert_eq!(scene.states(), "failed: a failed, b skipped");
    let error = scene.at("a").error.as_ref();
    assert_eq!(error.map(|error| error.code.as_str()), Some("cannot_wait"));
}

fn with_child() -> Scene {
    let mut scene = Scene::dag(vec![task("a").starts_child(), task("b").after(&["a"])]);
    scene.claim("a");
    scene
}

fn child_ended(scene: &Scene, status: WorkflowStatus) -> WakeKind {
    let no = scene.no("a");
    WakeKind::ChildEnded { no, status }
}

#[test]
fn a_task_ends_as_its_child_does() {
    for (status, expected) in [
        (WorkflowStatus::Succeeded, "running: a succeeded, b queued"),
        (WorkflowStatus::Failed, "failed: a failed, b skipped"),
        (WorkflowStatus::Cancelled, "failed: a failed, b skipped"),
        (WorkflowStatus::Compensated, "failed: a failed, b skipped"),
        (WorkflowStatus::NeedsHuman, "failed: a failed, b skipped"),
    ] {
        let mut scene = with_child();
        let changes = scene.end("a", Outcome::Waiting);
        assert_eq!(told(&changes), ["task_waiting 0"]);
        let changes = scene.due(child_ended(&scene, status));
        assert_eq!(scene.states(), expected);
        assert_eq!(changes.wakes, [], "the child has ended");
        if status != WorkflowStatus::Succeeded {
            let message = format!("the workflow it started is {}", status.as_str());
            let error = TaskError::new("child_not_succeeded", &message);
            assert_eq!(scene.at("a").error, Some(error));
        }
    }
}

#[test]
fn the_end_of_a_child_that_was_too_quick_is_put_off() {
    let mut scene = with_child();
    let kind = child_ended(&scene, WorkflowStatus::Succeeded);
    let changes = scene.due(kind);
    let at = scene.now.after(seconds(1));
    assert_eq!(changes.wakes, [Wake { at, kind }]);
    assert_eq!(changes.events, []);
    scene.end("a", Outcome::Waiting);
    scene.wake(&changes);
    assert_eq!(scene.states(), "running: a succeeded, b queued");
    assert!(scene.due(kind).is_empty(), "told twice");
}

#[test]
fn the_parent_is_told_of_every_kind_of_end() {
    let parent = WorkflowId::rooted(Uuid::from_u128(9 << 64)).task(TaskNo::new(3).unwrap());
    let definition = |plan: Plan| Definition::new(ExecutionMode::Dag, vec![plan.0]).unwrap();
    let start = |plan| Scene::of(&definition(plan), Some(Duration::ZERO), None, Some(parent)).0;
    let mut scene = start(task("a"));
    assert_eq!(scene.run.head.parent, Some(parent));
    let told = scene.run("a", succeeded()).tell_parent;
    assert_eq!(told, Some(WorkflowStatus::Succeeded));
    let told = start(task("a")).run("a", failed()).tell_parent;
    assert_eq!(told, Some(WorkflowStatus::Failed));
    let told = start(task("a")).cancel().tell_parent;
    assert_eq!(told, Some(WorkflowStatus::Cancelled));
    let mut scene = start(task("a").undone());
    scene.claim("a");
    scene.cancel();
    assert_eq!(scene.end("a", succeeded()).tell_parent, None);
    let told = scene.run("undo/a", succeeded()).tell_parent;
    assert_eq!(told, Some(WorkflowStatus::Compensated));
    let mut scene = start(task("a").undone());
    scene.claim("a");
    scene.cancel();
    scene.end("a", succeeded());
    let told = scene.run("undo/a", failed()).tell_parent;
    assert_eq!(told, Some(WorkflowStatus::NeedsHuman));
}

#[test]
fn a_child_nobody_waits_for_any_more_is_called_off() {
    type Arrange = fn(&mut Scene) -> Changes;
    let cases: [(&str, Arrange); 6] = [
        ("cancelled while it waits", |scene| {
            scene.end("a", Outcome::Waiting);
            scene.cancel()
        }),
        ("skipped while it waits", |scene| {
            scene.end("a", Outcome::Waiting);
            scene.decide("a", Decision::Skip)
        }),
        ("out of time while it waits", |scene| {
            scene.end("a", Outcome::Waiting);
            scene.passes(seconds(60));
            let no = scene.no("a");
            scene.due(WakeKind::TaskDeadline { no })
        }),
        (
            "stopped between the start of the child and the wait",
            |scene| {
                scene.cancel();
                scene.end("a", Outcome::Cancelled)
            },
        ),
        (
            "lost between the start of the child and the wait",
            |scene| {
                scene.cancel();
                scene.does(scene.lost("a"))
            },
        ),
        ("waiting in a workflow that was called off", |scene| {
            scene.cancel();
            scene.end("a", Outcome::Waiting)
        }),
    ];
    for (name, arrange) in cases {
        let mut scene = Scene::dag(vec![task("a").starts_child().within(seconds(60))]);
        scene.claim("a");
        let changes = arrange(&mut scene);
        let (no, at) = (scene.no("a"), scene.now);
        let kind = WakeKind::CancelChild { no };
        assert!(changes.wakes.contains(&Wake { at, kind }), "{name}");
        assert!(scene.run.head.status.is_terminal(), "{name}");
    }
    let mut scene = Scene::dag(vec![task("a").starts_child()]);
    assert_eq!(scene.cancel().wakes, [], "none was started");
}
