//! Start, pause, resume, cancel.

use super::*;

#[test]
fn a_run_waits_until_it_is_started() {
    let mut scene = Scene::idle(vec![task("a"), task("b").after(&["a"])]);
    assert_eq!(scene.states(), "pending: a pending, b pending");
    let changes = scene.control(Control::Start);
    assert_eq!(told(&changes), ["workflow_started", "task_queued 0"]);
}

#[test]
fn a_delayed_run_starts_by_itself_and_once() {
    let definition = Definition::new(ExecutionMode::Dag, vec![task("a").0]).unwrap();
    let (mut scene, changes) = Scene::of(&definition, Some(seconds(60)), None, None);
    assert_eq!(told(&changes), ["workflow_created"]);
    assert_eq!(scene.states(), "pending: a pending");
    scene.wake(&changes);
    assert_eq!(scene.states(), "running: a queued");
    assert!(scene.due(WakeKind::Start).is_empty());
    let (mut scene, _) = Scene::of(&definition, Some(seconds(60)), None, None);
    scene.cancel();
    assert!(scene.due(WakeKind::Start).is_empty());
}

#[test]
fn a_deadline_calls_a_run_off() {
    let definition = Definition::new(ExecutionMode::Dag, vec![task("a").0]).unwrap();
    let minute = Some(seconds(60));
    let (mut scene, changes) = Scene::of(&definition, Some(Duration::ZERO), minute, None);
    let changes = scene.wake(&changes);
    assert_eq!(
        told(&changes),
        [
            "workflow_cancelling",
            "task_cancelled 0",
            "workflow_cancelled"
        ]
    );
    assert_eq!(
        scene.run.head.error.as_deref(),
        Some("its deadline has passed")
    );
    assert!(scene.due(WakeKind::WorkflowDeadline).is_empty());
}

#[test]
fn a_deadline_counts_from_the_start() {
    let definition = Definition::new(ExecutionMode::Dag, vec![task("a").0]).unwrap();
    for start_after in [None, Some(seconds(5))] {
        let (mut scene, changes) = Scene::of(&definition, start_after, Some(seconds(60)), None);
        let is_start = |wake: &Wake| wake.kind == WakeKind::Start;
        assert!(changes.wakes.iter().all(is_start), "{start_after:?}");
        scene.passes(seconds(600));
        assert!(scene.due(WakeKind::WorkflowDeadline).is_empty());
        let changes = scene.control(Control::Start);
        let (at, kind) = (scene.now.after(seconds(60)), WakeKind::WorkflowDeadline);
        assert_eq!(changes.wakes, [Wake { at, kind }]);
        scene.wake(&changes);
        assert_eq!(scene.run.head.status, WorkflowStatus::Cancelled);
    }
}

#[test]
fn a_paused_run_takes_reports_and_ends_when_it_is_resumed() {
    let mut scene = Scene::dag(vec![task("a"), task("b").after(&["a"])]);
    scene.claim("a");
    let changes = scene.control(Control::Pause);
    assert_eq!(changes.parked, Some(true));
    assert_eq!(told(&changes), ["workflow_paused"]);
    scene.end("a", succeeded());
    assert_eq!(scene.states(), "paused: a succeeded, b queued");
    scene.decide("b", Decision::Skip);
    assert_eq!(scene.states(), "paused: a succeeded, b skipped");
    let changes = scene.control(Control::Resume);
    assert_eq!(changes.parked, Some(false));
    assert_eq!(told(&changes), ["workflow_resumed", "workflow_completed"]);
}

#[test]
fn a_failure_in_a_paused_run_is_settled_when_it_is_resumed() {
    let mut scene = Scene::dag(vec![task("a").undone(), task("b").after(&["a"])]);
    scene.succeed(&["a"]);
    scene.claim("b");
    scene.control(Control::Pause);
    scene.end("b", failed());
    assert_eq!(
        scene.states(),
        "paused: a succeeded, b failed, undo/a pending"
    );
    let changes = scene.control(Control::Resume);
    assert_eq!(
        told(&changes),
        [
            "workflow_resumed",
            "workflow_failed",
            "workflow_compensating",
            "task_queued 2"
        ]
    );
}

#[test]
fn wakes_come_to_paused_runs_too() {
    let plans = vec![task("a").retried(1), task("t").waits(seconds(10))];
    let mut scene = Scene::dag(plans);
    let retry = scene.run("a", failed());
    scene.control(Control::Pause);
    scene.wake(&retry);
    let (no, attempt) = (scene.no("t"), 1);
    scene.due(WakeKind::WaitOver { no, attempt });
    assert_eq!(scene.states(), "paused: a queued, t succeeded");
}

#[test]
fn cancelling_ends_what_nobody_works_on_and_asks_the_others_to_stop() {
    let mut scene = Scene::dag(vec![
        task("running"),
        task("queued"),
        task("waiting").awaits("go", None),
        task("retrying").retried(1),
        task("unknown"),
        task("done"),
        task("pending").after(&["running"]),
    ]);
    scene.claim("running");
    scene.run("retrying", failed());
    scene.run("unknown", unknown());
    scene.succeed(&["done"]);
    let changes = scene.cancel();
    assert_eq!(
        scene.states(),
        "cancelling: running running, queued cancelled, waiting cancelled, retrying cancelled, \
         unknown unknown, done succeeded, pending cancelled"
    );
    let (running, queued) = (scene.no("running"), scene.no("queued"));
    assert_eq!(
        changes.queue,
        [
            QueueMove::Stop { no: running },
            QueueMove::Leave { no: queued }
        ]
    );
    assert!(scene.cancel().is_empty(), "asking twice is no error");
    scene.end("running", Outcome::Cancelled);
    assert_eq!(scene.run.head.status, WorkflowStatus::Cancelling);
    let error = boom("boom");
    let changes = scene.decide("unknown", Decision::Failed { error });
    assert_eq!(told(&changes), ["task_failed 4", "workflow_cancelled"]);
    assert_eq!(scene.run.head.error.as_deref(), Some("nobody needs it"));
}

#[test]
fn a_run_that_has_not_started_is_cancelled_at_once() {
    let mut scene = Scene::idle(vec![task("a").undone(), task("b").after(&["a"])]);
    let changes = scene.cancel();
    assert_eq!(
        told(&changes),
        ["task_cancelled 0", "task_cancelled 1", "workflow_cancelled"]
    );
    assert_eq!(
        scene.states(),
        "cancelled: a cancelled, b cancelled, undo/a pending"
    );
    assert_eq!(scene.run.head.error.as_deref(), Some("nobody needs it"));
}

#[test]
fn a_paused_run_can_be_cancelled_and_lets_its_workers_go() {
    let mut scene = Scene::dag(vec![task("a").undone(), task("b")]);
    scene.succeed(&["a"]);
    scene.control(Control::Pause);
    let changes = scene.cancel();
    assert_eq!(changes.parked, Some(false));
    assert_eq!(
        scene.states(),
        "compensating: a succeeded, b cancelled, undo/a queued"
    );
}

#[test]
fn what_was_asked_to_stop_may_end_in_any_way_and_is_not_tried_again() {
    for (outcome, expected) in [
        (succeeded(), "cancelled: a succeeded, b cancelled"),
        (failed(), "cancelled: a failed, b cancelled"),
        (Outcome::TimedOut, "cancelled: a timed_out, b cancelled"),
        (Outcome::Cancelled, "cancelled: a cancelled, b cancelled"),
        (Outcome::Released, "cancelled: a cancelled, b cancelled"),
        (Outcome::Waiting, "cancelled: a failed, b cancelled"),
        (unknown(), "cancelling: a unknown, b cancelled"),
    ] {
        let mut scene = Scene::dag(vec![task("a").retried(5), task("b").after(&["a"])]);
        scene.claim("a");
        scene.cancel();
        scene.end("a", outcome);
        assert_eq!(scene.states(), expected);
    }
}

#[test]
fn a_lost_task_of_a_cancelled_run_is_taken_up_only_to_be_stopped() {
    let mut scene = Scene::dag(vec![task("a")]);
    scene.claim("a");
    scene.cancel();
    let changes = scene.does(scene.lost("a"));
    assert_eq!(scene.states(), "cancelled: a cancelled");
    assert_eq!(told(&changes)[..2], ["task_lost 0", "task_cancelled 0"]);

    // Its effect goes on without its worker.
    let mut scene = Scene::dag(vec![task("a").adopted()]);
    scene.claim("a");
    scene.cancel();
    let changes = scene.does(scene.lost("a"));
    assert_eq!(scene.states(), "cancelling: a queued");
    let no = scene.no("a");
    assert_eq!(changes.queue.last(), Some(&QueueMove::Stop { no }));
    scene.run("a", Outcome::Cancelled);
    assert_eq!(scene.states(), "cancelled: a cancelled");

    let mut scene = Scene::dag(vec![task("a").class(Guarantee::G4)]);
    scene.claim("a");
    scene.cancel();
    scene.does(scene.lost("a"));
    assert_eq!(scene.states(), "cancelling: a unknown");
    scene.decide("a", Decision::Skip);
    assert_eq!(scene.states(), "cancelled: a skipped");
}

#[test]
fn nobody_starts_what_cannot_be_taken_up_in_a_cancelled_run() {
    let mut scene = Scene::dag(vec![task("a").class(Guarantee::G4)]);
    scene.claim("a");
    scene.cancel();
    scene.end("a", Outcome::Released);
    assert_eq!(scene.states(), "cancelled: a cancelled");
}

/// A run in each state.
fn in_every_state() -> Vec<Scene> {
    let undoable = || Scene::dag(vec![task("a").undone(), task("b").after(&["a"])]);
    let idle = Scene::idle(vec![task("a")]);
    let running = Scene::dag(vec![task("a")]);
    let mut paused = Scene::dag(vec![task("a")]);
    paused.control(Control::Pause);
    let mut succeeded = Scene::dag(vec![task("a")]);
    succeeded.succeed(&["a"]);
    let mut failed_run = Scene::dag(vec![task("a")]);
    failed_run.run("a", failed());
    let mut cancelling = Scene::dag(vec![task("a")]);
    cancelling.claim("a");
    cancelling.cancel();
    let mut cancelled = Scene::dag(vec![task("a")]);
    cancelled.cancel();
    let mut compensating = undoable();
    compensating.succeed(&["a"]);
    compensating.run("b", failed());
    let mut compensated = compensating.clone();
    compensated.succeed(&["undo/a"]);
    let mut needs_human = compensating.clone();
    needs_human.run("undo/a", failed());
    vec![
        idle,
        running,
        paused,
        succeeded,
        failed_run,
        cancelling,
        cancelled,
        compensating,
        compensated,
        needs_human,
    ]
}

#[test]
fn each_wish_is_granted_in_its_states_and_refused_in_a_sentence_in_all_others() {
    let wishes = [Control::Start, Control::Pause, Control::Resume, cancel()];
    let answers: Vec<[String; 4]> = in_every_state()
        .into_iter()
        .map(|scene| {
            wishes.clone().map(|control| {
                let mut scene = scene.clone();
                match scene.attempt(Input::Control(control)) {
                    Ok(_) => scene.run.head.status.as_str().to_owned(),
                    Err(refusal) => refusal.to_string(),
                }
            })
        })
        .collect();
    let over = |status: &str| std::array::from_fn(|_| format!("the workflow is {status}"));
    let expected: Vec<[String; 4]> = vec![
        [
            "running",
            "a workflow that is pending cannot be paused",
            "a workflow that is pending cannot be resumed",
            "cancelled",
        ]
        .map(str::to_owned),
        [
            "a workflow that is running cannot be started",
            "paused",
            "a workflow that is running cannot be resumed",
            "cancelled",
        ]
        .map(str::to_owned),
        [
            "a workflow that is paused cannot be started",
            "a workflow that is paused cannot be paused",
            "running",
            "cancelled",
        ]
        .map(str::to_owned),
        over("succeeded"),
        over("failed"),
        [
            "a workflow that is cancelling cannot be started",
            "a workflow that is cancelling cannot be paused",
            "a workflow that is cancelling cannot be resumed",
            "cancelling",
        ]
        .map(str::to_owned),
        over("cancelled"),
        [
            "a workflow that is compensating cannot be started",
            "a workflow that is compensating cannot be paused",
            "a workflow that is compensating cannot be resumed",
            "a workflow that is compensating cannot be cancelled",
        ]
        .map(str::to_owned),
        over("compensated"),
        over("needs_human"),
    ];
    assert_eq!(answers, expected);
}
