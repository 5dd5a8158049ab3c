//! What [`WorkflowStore`](drover_ports::WorkflowStore) promises.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::workflow::run::{
    Control, Decision, FAMILY_DEPTH_MAX, FAMILY_SIZE_MAX, Outcome, SIGNALS_MAX, TaskError,
};
use drover_domain::workflow::{
    Definition, ExecutionMode, Executor, Kind, TaskId, TaskNo, TaskSpec, TaskStatus, Work,
    WorkflowId, WorkflowStatus,
};
use drover_ports::{
    Assignment, DeadLetterFilter, NewWorkflow, Report, ReportVerdict, StartedWorkflow, StoreError,
};

use super::{is_key_reused, is_refused, is_taken, is_unavailable};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, HOSTILE_JSON, after, asked, dag, diamond, doing, failure, idempotency, json, key,
    let_time_pass, linear, parent, queue, queued_in, record, records, retried, see_to_what_is_due,
    sequence, signal_name, start, start_new, status, story, success, task, task_record,
    task_status, timer, undoable, unrepeatable, waits_for, work, workflow, workflow_id,
};
use crate::store::fixtures::HOSTILE;

const HOUR: Duration = Duration::from_hours(1);

fn cancel(reason: &str) -> Control {
    Control::Cancel {
        reason: reason.to_owned(),
    }
}

async fn control(world: &EngineWorld, id: WorkflowId, control: Control) -> WorkflowStatus {
    let status = world.workflows().control(id, &control).await.unwrap();
    status.expect("the workflow is stored")
}

async fn decide(world: &EngineWorld, task: TaskId, decision: Decision) -> WorkflowStatus {
    let status = world.workflows().decide(task, &decision).await.unwrap();
    status.expect("the task is stored")
}

async fn signal(world: &EngineWorld, id: WorkflowId, name: &str, payload: &str) -> WorkflowStatus {
    let (name, payload) = (signal_name(name), json(payload));
    let workflows = world.workflows();
    let status = workflows.signal(id, &name, &payload, None).await.unwrap();
    status.expect("the workflow is stored")
}

async fn id_of(world: &EngineWorld, id: WorkflowId, key: &str) -> TaskId {
    id.task(task_record(world, id, key).await.task.no)
}

async fn is_absent(world: &EngineWorld, number: u32) {
    let found = world.view().find(workflow_id(number)).await.unwrap();
    assert_eq!(found, None);
}

/// The workflow that the task starts, as the engine does: child first, then the report.
async fn start_child(
    world: &EngineWorld,
    driver: &Driver<'_>,
    taken: &Assignment,
    number: u32,
) -> WorkflowId {
    let child = NewWorkflow {
        parent: Some(taken.task),
        ..workflow(number, linear(&["only"]))
    };
    let child = start_new(world, child).await;
    driver.end(taken, Outcome::Waiting).await;
    child
}

/// A workflow whose first task ended with `outcome`, and that task.
async fn ended(
    world: &EngineWorld,
    driver: &Driver<'_>,
    number: u32,
    first: TaskSpec,
    outcome: Outcome,
) -> TaskId {
    let key = first.key.clone();
    let id = start(world, number, sequence(vec![first])).await;
    driver.run(key.as_str(), outcome).await;
    id_of(world, id, key.as_str()).await
}

fn unknown() -> Outcome {
    Outcome::Unknown {
        error: TaskError::new("who_knows", "nobody was there"),
    }
}

contract! { $ workflow_store => workflow_store_contract for EngineWorld;
    /// What is started is read equal, whatever its texts are.
    async fn a_started_workflow_is_read_equal(world) {
        let payload = json(HOSTILE_JSON);
        let new = NewWorkflow {
            name: "a'b\"c\\ $1 {{ x }} ;--é😀".to_owned(),
            labels: [(HOSTILE.to_owned(), HOSTILE.to_owned()), ("team".to_owned(), String::new())].into(),
            input: payload.clone(),
            ..workflow(1, sequence(vec![doing("a", Work { payload, ..work() })]))
        };
        let mut expected = new.clone();
        HOSTILE.clone_into(&mut expected.origin.actor);
        let id = start_new(world, expected.clone()).await;
        let found = record(world, id).await;
        assert_eq!((&found.name, &found.labels), (&expected.name, &expected.labels));
        assert_eq!((&found.input, &found.origin), (&expected.input, &expected.origin));
        assert_eq!((found.mode, &found.source), (ExecutionMode::Sequential, &None));
        assert_eq!((found.head.status, found.head.total, found.head.open), (WorkflowStatus::Running, 1, 1));
        assert_eq!((found.head.parent, &found.head.error), (None, &None));
        assert!(found.started_at.is_some() && found.finished_at.is_none());
        assert_eq!(task_record(world, id, "a").await.payload.as_str(), HOSTILE_JSON);
    }

    /// The tasks that wait for nothing are queued with the start; the others are pending.
    async fn roots_are_queued_with_the_start(world) {
        let id = start(world, 1, diamond()).await;
        let statuses: Vec<TaskStatus> = records(world, id).await.iter().map(|found| found.task.status).collect();
        assert_eq!(statuses, [TaskStatus::Queued, TaskStatus::Pending, TaskStatus::Pending, TaskStatus::Pending]);
        assert_eq!(story(world, id).await, ["workflow_created", "workflow_started", "task_queued a"]);
    }

    /// Starting nothing is no error.
    async fn nothing_is_started_without_a_workflow(world) {
        assert_eq!(world.workflows().start(&[]).await.unwrap(), []);
    }

    /// Three hundred workflows start together, and the answer has their order.
    async fn many_workflows_start_together(world) {
        let all: Vec<NewWorkflow> = (1..=300).rev().map(|number| workflow(number, diamond())).collect();
        let answers = world.workflows().start(&all).await.unwrap();
        let expected: Vec<_> = all.iter().map(|new| StartedWorkflow::Created(new.id)).collect();
        assert_eq!(answers, expected);
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(1_000).await.len(), 300);
        assert_eq!(records(world, workflow_id(300)).await.len(), 4);
    }

    /// A workflow may have a thousand tasks that all wait for one.
    async fn a_thousand_tasks_wait_for_one(world) {
        let mut tasks = vec![task("first")];
        tasks.extend((1..1_000).map(|number| after(&format!("t{number}"), &["first"])));
        let id = start(world, 1, dag(tasks)).await;
        let driver = Driver::open(world, 1).await;
        driver.run("first", success("1")).await;
        assert_eq!(driver.claim(2_000).await.len(), 999);
        let found = records(world, id).await;
        assert_eq!(found.len(), 1_000);
        assert!(found[1..].iter().all(|found| found.task.status == TaskStatus::Running));
    }

    /// A taken identifier is refused, and then nothing of the call is there, also no idempotency key.
    async fn an_identifier_is_taken_once(world) {
        start(world, 1, linear(&["a"])).await;
        let call = [asked(2, "scope", "key", 1), workflow(1, linear(&["b"]))];
        is_taken(world.workflows().start(&call).await);
        is_absent(world, 2).await;
        assert_eq!(task_status(world, workflow_id(1), "a").await, TaskStatus::Queued);
        start_new(world, asked(3, "scope", "key", 9)).await;
        is_taken(world.workflows().start(&[workflow(4, diamond()), workflow(4, diamond())]).await);
        is_absent(world, 4).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(100).await.len(), 2);
    }

    /// The same request a second time gives the workflow of the first and changes nothing.
    async fn a_repeated_request_is_replayed(world) {
        let first = start_new(world, asked(1, "scope", "key", 1)).await;
        let before = (record(world, first).await, story(world, first).await);
        let call = [workflow(2, diamond()), asked(3, "scope", "key", 1), asked(1, "scope", "key", 1)];
        let answers = world.workflows().start(&call).await.unwrap();
        let replayed = StartedWorkflow::Replayed(first);
        assert_eq!(answers, [StartedWorkflow::Created(workflow_id(2)), replayed, replayed]);
        is_absent(world, 3).await;
        assert_eq!((record(world, first).await, story(world, first).await), before);
    }

    /// A key that comes with another request is refused, and nothing of the call is there.
    async fn a_reused_key_is_refused(world) {
        start_new(world, asked(1, "scope", "key", 1)).await;
        is_key_reused(world.workflows().start(&[workflow(2, diamond()), asked(3, "scope", "key", 2)]).await);
        is_absent(world, 2).await;
        is_absent(world, 3).await;
    }

    /// A key that comes twice in one call is one request, or refused.
    async fn a_key_counts_within_one_call(world) {
        let call = [asked(1, "scope", "key", 1), asked(2, "scope", "key", 1)];
        let answers = world.workflows().start(&call).await.unwrap();
        assert_eq!(answers, [StartedWorkflow::Created(workflow_id(1)), StartedWorkflow::Replayed(workflow_id(1))]);
        is_absent(world, 2).await;
        is_key_reused(world.workflows().start(&[asked(3, "scope", "new", 1), asked(4, "scope", "new", 2)]).await);
        is_absent(world, 3).await;
    }

    /// One key in two scopes is two keys.
    async fn keys_of_different_scopes_do_not_meet(world) {
        start_new(world, asked(1, "one", "key", 1)).await;
        start_new(world, asked(2, "other", "key", 2)).await;
        start_new(world, asked(3, HOSTILE, HOSTILE, 3)).await;
        let again = world.workflows().start(&[asked(4, HOSTILE, HOSTILE, 3)]).await.unwrap();
        assert_eq!(again, [StartedWorkflow::Replayed(workflow_id(3))]);
    }

    /// Of several that send one request at once, one starts a workflow and the others get it.
    async fn one_request_starts_once_however_many_send_it(world) {
        let all: Vec<[NewWorkflow; 1]> = (1..=4).map(|number| [asked(number, "scope", "key", 1)]).collect();
        let workflows = world.workflows();
        let (a, b, c, d) = tokio::join!(
            workflows.start(&all[0]), workflows.start(&all[1]), workflows.start(&all[2]), workflows.start(&all[3])
        );
        let answers = [a, b, c, d].map(|answer| answer.unwrap()[0]);
        let created: Vec<WorkflowId> = answers.iter().filter_map(|answer| match answer {
            StartedWorkflow::Created(id) => Some(*id),
            StartedWorkflow::Replayed(_) => None,
        }).collect();
        assert_eq!(created.len(), 1, "{answers:?}");
        let replayed = answers.iter().filter(|answer| **answer == StartedWorkflow::Replayed(created[0]));
        assert_eq!(replayed.count(), 3, "{answers:?}");
    }

    /// A workflow that does not start by itself waits for a start request.
    async fn a_workflow_waits_to_be_started(world) {
        let id = start_new(world, NewWorkflow { start_after: None, ..workflow(1, linear(&["a"])) }).await;
        assert_eq!((status(world, id).await, record(world, id).await.started_at), (WorkflowStatus::Pending, None));
        let_time_pass(world, id).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        assert_eq!(control(world, id, Control::Start).await, WorkflowStatus::Running);
        assert!(record(world, id).await.started_at.is_some());
        is_refused(world.workflows().control(id, &Control::Start).await);
        assert_eq!(driver.take_all().await, ["a"]);
    }

    /// A delayed workflow starts when its moment comes, once, and not before.
    async fn a_delayed_workflow_starts_later(world) {
        let delayed = |number| NewWorkflow { start_after: Some(HOUR), ..workflow(number, linear(&["a"])) };
        let ids = [start_new(world, delayed(1)).await, start_new(world, delayed(2)).await];
        let upkeep = world.upkeep().wake_due(10).await.unwrap();
        assert_eq!(upkeep.handled, 0);
        let next = upkeep.next.expect("a moment is waited for");
        assert!(next <= HOUR && next > HOUR / 2, "{next:?}");
        assert_eq!(status(world, ids[0]).await, WorkflowStatus::Pending);
        let_time_pass(world, ids[0]).await;
        assert_eq!(story(world, ids[0]).await, ["workflow_created", "workflow_started", "task_queued a"]);
        assert_eq!(status(world, ids[1]).await, WorkflowStatus::Pending);
        assert_eq!(control(world, ids[1], Control::Start).await, WorkflowStatus::Running);
        let_time_pass(world, ids[1]).await;
        assert_eq!(story(world, ids[1]).await, ["workflow_created", "workflow_started", "task_queued a"]);
    }

    /// A task that is skipped before the start lets nothing run before it.
    async fn what_is_skipped_before_the_start_releases_with_it(world) {
        let mut second = after("b", &["a"]);
        second.depends_on[0].skipped_releases = true;
        let new = NewWorkflow { start_after: None, ..workflow(1, dag(vec![task("a"), second])) };
        let id = start_new(world, new).await;
        assert_eq!(decide(world, id_of(world, id, "a").await, Decision::Skip).await, WorkflowStatus::Pending);
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        assert_eq!(task_status(world, id, "b").await, TaskStatus::Pending);
        control(world, id, Control::Start).await;
        driver.run("b", success("1")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);

        let nothing = NewWorkflow { start_after: None, ..workflow(2, linear(&["a"])) };
        let id = start_new(world, nothing).await;
        decide(world, id_of(world, id, "a").await, Decision::Skip).await;
        assert_eq!(control(world, id, Control::Start).await, WorkflowStatus::Succeeded);
    }

    /// A workflow that takes too long is called off.
    async fn a_workflow_that_takes_too_long_is_called_off(world) {
        let limited = |number| NewWorkflow { deadline: Some(HOUR), ..workflow(number, linear(&["a", "b"])) };
        let (slow, quick) = (start_new(world, limited(1)).await, start_new(world, limited(2)).await);
        control(world, slow, Control::Pause).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        driver.run("b", success("1")).await;
        for id in [slow, quick] {
            let_time_pass(world, id).await;
        }
        let found = record(world, slow).await;
        assert_eq!(found.head.status, WorkflowStatus::Cancelled);
        assert_eq!(found.head.error.as_deref(), Some("its deadline has passed"));
        assert!(found.finished_at.is_some());
        assert_eq!(status(world, quick).await, WorkflowStatus::Succeeded);
    }

    /// A workflow's deadline counts from its start, however late that is.
    async fn a_deadline_counts_from_the_start(world) {
        let new = NewWorkflow { start_after: None, deadline: Some(HOUR), ..workflow(1, linear(&["a"])) };
        let id = start_new(world, new).await;
        assert_eq!(record(world, id).await.head.deadline, Some(HOUR));
        assert_eq!(world.upkeep().wake_due(10).await.unwrap().next, None, "nothing is waited for");
        control(world, id, Control::Start).await;
        let next = world.upkeep().wake_due(10).await.unwrap().next.expect("the deadline is waited for");
        assert!(next <= HOUR && next > HOUR / 2, "{next:?}");
        let_time_pass(world, id).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Cancelled);
    }

    /// A task runs only when everything it waits for has succeeded.
    async fn a_task_runs_when_all_before_it_succeeded(world) {
        let id = start(world, 1, diamond()).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        let both = driver.claim(10).await;
        assert_eq!(both.iter().map(key).collect::<BTreeSet<_>>(), ["b", "c"].map(str::to_owned).into());
        driver.end(&both[1], success("2")).await;
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        assert_eq!(record(world, id).await.head.progress(), 50);
        driver.end(&both[0], success("3")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Running);
        driver.run("d", success("4")).await;
        let found = record(world, id).await;
        assert_eq!((found.head.status, found.head.progress()), (WorkflowStatus::Succeeded, 100));
        assert!(found.started_at <= found.finished_at && found.finished_at.is_some());
    }

    /// Tasks one after the other run in their order; the history has all of it and nothing else.
    async fn a_sequence_runs_in_its_order(world) {
        let id = start(world, 1, linear(&["c", "a", "b"])).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.drain().await, ["c", "a", "b"]);
        assert_eq!(story(world, id).await, [
            "workflow_created", "workflow_started",
            "task_queued c", "task_started c", "task_completed c",
            "task_queued a", "task_started a", "task_completed a",
            "task_queued b", "task_started b", "task_completed b",
            "workflow_completed",
        ]);
    }

    /// What depends on a task that failed never runs; what does not, does.
    async fn dependants_of_a_failed_task_are_skipped(world) {
        let tasks = vec![task("bad"), after("next", &["bad"]), after("last", &["next", "fine"]), task("fine"), after("other", &["fine"])];
        let id = start(world, 1, dag(tasks)).await;
        let driver = Driver::open(world, 1).await;
        driver.run("bad", failure("broken")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Running);
        assert_eq!(driver.drain().await, ["fine", "other"]);
        let statuses: Vec<TaskStatus> = records(world, id).await.iter().map(|found| found.task.status).collect();
        let (failed, skipped, done) = (TaskStatus::Failed, TaskStatus::Skipped, TaskStatus::Succeeded);
        assert_eq!(statuses, [failed, skipped, skipped, done, done]);
        let head = record(world, id).await.head;
        assert_eq!((head.status, head.open, head.failed), (WorkflowStatus::Failed, 0, 1));
        assert_eq!(head.error.as_deref(), Some("the task `bad` ended as failed: broken: it did not work"));
    }

    /// An edge may let its task run when the one before it was skipped.
    async fn an_edge_may_accept_a_skipped_task(world) {
        let mut cleanup = after("cleanup", &["next"]);
        cleanup.depends_on[0].skipped_releases = true;
        let id = start(world, 1, dag(vec![task("bad"), after("next", &["bad"]), cleanup])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("bad", failure("broken")).await;
        driver.run("cleanup", success("1")).await;
        assert_eq!(task_status(world, id, "next").await, TaskStatus::Skipped);
        assert_eq!(status(world, id).await, WorkflowStatus::Failed);
    }

    /// No task of a paused workflow starts; those that run end, and what follows waits.
    async fn a_paused_workflow_starts_nothing(world) {
        let id = start(world, 1, dag(vec![task("a"), after("b", &["a"]), task("c")])).await;
        let driver = Driver::open(world, 1).await;
        let first = driver.take().await;
        assert_eq!(control(world, id, Control::Pause).await, WorkflowStatus::Paused);
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        driver.end(&first, success("1")).await;
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        assert_eq!(task_status(world, id, "b").await, TaskStatus::Queued);
        is_refused(world.workflows().control(id, &Control::Pause).await);
        is_refused(world.workflows().control(id, &Control::Start).await);
        assert_eq!(control(world, id, Control::Resume).await, WorkflowStatus::Running);
        is_refused(world.workflows().control(id, &Control::Resume).await);
        assert_eq!(driver.take_all().await, ["b", "c"]);
    }

    /// A task that is given back while its workflow is paused waits as well.
    async fn what_is_given_back_in_a_paused_workflow_waits(world) {
        let id = start(world, 1, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        control(world, id, Control::Pause).await;
        driver.end(&taken, Outcome::Released).await;
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        control(world, id, Control::Resume).await;
        assert_eq!(driver.drain().await, ["a"]);
    }

    /// A workflow whose last task ends while it is paused ends when it is resumed.
    async fn a_paused_workflow_ends_when_it_is_resumed(world) {
        let id = start(world, 1, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        let only = driver.take().await;
        control(world, id, Control::Pause).await;
        driver.end(&only, success("1")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Paused);
        assert_eq!(control(world, id, Control::Resume).await, WorkflowStatus::Succeeded);
    }

    /// What has not started is cancelled at once.
    async fn a_pending_workflow_is_cancelled_at_once(world) {
        let id = start_new(world, NewWorkflow { start_after: Some(HOUR), ..workflow(1, linear(&["a", "b"])) }).await;
        is_refused(world.workflows().control(id, &Control::Pause).await);
        assert_eq!(control(world, id, cancel(HOSTILE)).await, WorkflowStatus::Cancelled);
        let_time_pass(world, id).await;
        let found = record(world, id).await;
        assert_eq!((found.head.status, found.head.open), (WorkflowStatus::Cancelled, 0));
        assert_eq!(found.head.error.as_deref(), Some(HOSTILE));
        assert_eq!((found.started_at, found.finished_at.is_some()), (None, true));
        assert_eq!(task_status(world, id, "b").await, TaskStatus::Cancelled);
    }

    /// In a cancelled workflow, waiting tasks are cancelled and running ones get a stop request; then it is cancelled.
    async fn a_cancelled_workflow_tells_its_workers(world) {
        let tasks = vec![
            task("runs"), task("queued"), after("pending", &["runs"]), timer("timer", HOUR), waits_for("signal", "go", None),
        ];
        let id = start(world, 1, dag(tasks)).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Cancelling);
        assert_eq!(control(world, id, cancel("asked twice")).await, WorkflowStatus::Cancelling);
        for key in ["queued", "pending", "timer", "signal"] {
            assert_eq!(task_status(world, id, key).await, TaskStatus::Cancelled, "{key}");
        }
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        let beat = world.tasks().heartbeat(driver.lease, HOUR).await.unwrap();
        assert_eq!(beat.stop, [taken.task]);
        driver.end(&taken, Outcome::Cancelled).await;
        let found = record(world, id).await;
        assert_eq!((found.head.status, found.head.error.as_deref()), (WorkflowStatus::Cancelled, Some("not needed")));
        is_refused(world.workflows().control(id, &cancel("again")).await);
        let told = story(world, id).await;
        assert_eq!(told.iter().filter(|told| *told == "workflow_cancelling").count(), 1, "{told:?}");
        assert_eq!(told.last().map(String::as_str), Some("workflow_cancelled"));
    }

    /// A task of a workflow that is called off may still succeed; it is not tried again when it fails.
    async fn a_running_task_may_end_as_it_likes(world) {
        for (number, outcome) in [(1, success("1")), (2, failure("broken")), (3, Outcome::Released)] {
            let id = start(world, number, sequence(vec![retried("a", 5), task("b")])).await;
            let driver = Driver::open(world, number).await;
            let taken = driver.take().await;
            control(world, id, cancel("not needed")).await;
            driver.end(&taken, outcome).await;
            assert_eq!(status(world, id).await, WorkflowStatus::Cancelled);
            assert_eq!(driver.take_all().await, Vec::<String>::new());
        }
    }

    /// A paused workflow can be cancelled, and what waits for its next attempt is.
    async fn a_paused_workflow_is_cancelled(world) {
        let id = start(world, 1, sequence(vec![retried("a", 1), task("b")])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", failure("broken")).await;
        control(world, id, Control::Pause).await;
        assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Cancelled);
        let_time_pass(world, id).await;
        assert_eq!(task_status(world, id, "a").await, TaskStatus::Cancelled);
        assert_eq!(driver.take_all().await, Vec::<String>::new());
    }

    /// A workflow that has ended is left alone.
    async fn an_ended_workflow_cannot_be_steered(world) {
        let id = start(world, 1, linear(&["a"])).await;
        Driver::open(world, 1).await.drain().await;
        let before = (record(world, id).await, story(world, id).await);
        for wish in [Control::Start, Control::Pause, Control::Resume, cancel("late")] {
            let refusal = world.workflows().control(id, &wish).await.unwrap_err();
            assert!(matches!(&refusal, StoreError::Refused { reason } if reason == "the workflow is succeeded"), "{refusal:?}");
        }
        assert_eq!((record(world, id).await, story(world, id).await), before);
    }

    /// A workflow or task that is not there is `None`, for every verb.
    async fn what_is_not_there_is_none(world) {
        let id = start(world, 1, linear(&["a"])).await;
        let nobody = workflow_id(404);
        let workflows = world.workflows();
        for wish in [Control::Start, Control::Pause, Control::Resume, cancel("nothing")] {
            assert_eq!(workflows.control(nobody, &wish).await.unwrap(), None);
        }
        let key = idempotency("scope", "key", 1);
        assert_eq!(workflows.signal(nobody, &signal_name("go"), &json("1"), Some(&key)).await.unwrap(), None);
        let no = |number| TaskNo::new(number).unwrap();
        for task in [nobody.task(no(0)), id.task(no(1)), id.task(no(4_094)), TaskId::from_uuid(id.as_uuid())] {
            for decision in [Decision::Retry, Decision::Skip, Decision::Succeeded { result: json("1") }] {
                assert_eq!(workflows.decide(task, &decision).await.unwrap(), None);
            }
        }
    }

    /// When a task fails, those that succeeded are undone, the last one first and one at a time.
    async fn what_was_done_is_undone_in_reverse_order(world) {
        let tasks = vec![undoable("a"), task("plain"), undoable("b"), undoable("bad"), undoable("never")];
        let id = start(world, 1, sequence(tasks)).await;
        let driver = Driver::open(world, 1).await;
        for key in ["a", "plain", "b"] {
            driver.run(key, success("1")).await;
        }
        driver.run("bad", failure("broken")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Compensating);
        let undo = driver.take().await;
        assert_eq!((undo.key.as_str(), undo.undoes), ("undo/b", Some(task_record(world, id, "b").await.task.no)));
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        is_refused(world.workflows().control(id, &cancel("stop")).await);
        driver.end(&undo, success("2")).await;
        driver.run("undo/a", success("3")).await;
        let found = record(world, id).await;
        assert_eq!(found.head.status, WorkflowStatus::Compensated);
        assert_eq!(found.head.error.as_deref(), Some("the task `bad` ended as failed: broken: it did not work"));
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        let told = story(world, id).await;
        let undoing: Vec<&str> = told.iter().map(String::as_str).filter(|told| told.contains("undo/") || told.starts_with("workflow")).collect();
        assert_eq!(undoing, [
            "workflow_created", "workflow_started", "workflow_failed", "workflow_compensating",
            "task_queued undo/b", "task_started undo/b", "task_completed undo/b",
            "task_queued undo/a", "task_started undo/a", "task_completed undo/a",
            "workflow_compensated",
        ]);
    }

    /// The order of undoing is the order in which tasks ended, not the one in which they are listed.
    async fn undoing_follows_the_ends(world) {
        let tasks = vec![undoable("a"), undoable("b"), undoable("c"), after("bad", &["a", "b", "c"])];
        start(world, 1, dag(tasks)).await;
        let driver = Driver::open(world, 1).await;
        let mut taken = driver.claim(10).await;
        taken.sort_by_key(|taken| ["b", "c", "a"].iter().position(|key| *key == taken.key.as_str()));
        for taken in &taken {
            driver.end(taken, success("1")).await;
        }
        driver.run("bad", failure("broken")).await;
        assert_eq!(driver.drain().await, ["undo/a", "undo/c", "undo/b"]);
    }

    /// A workflow that is called off undoes what it did.
    async fn a_cancelled_workflow_is_undone(world) {
        let id = start(world, 1, sequence(vec![undoable("a"), task("b")])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Compensating);
        assert_eq!(driver.drain().await, ["undo/a"]);
        assert_eq!(status(world, id).await, WorkflowStatus::Compensated);
    }

    /// The possible effect of an attempt with an unknown result is undone, however its task ends.
    async fn what_may_have_happened_is_undone(world) {
        let id = start(world, 1, sequence(vec![undoable("a"), task("b")])).await;
        let lost = Driver::open(world, 1).await;
        lost.take().await;
        world.tasks().close_lease(lost.lease).await.unwrap();
        let found = task_record(world, id, "a").await.task;
        assert_eq!((found.status, found.is_uncertain), (TaskStatus::Queued, true));
        assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Compensating);
        assert_eq!(task_status(world, id, "a").await, TaskStatus::Cancelled);
        let driver = Driver::open(world, 2).await;
        assert_eq!(driver.drain().await, ["undo/a"]);
        assert_eq!(status(world, id).await, WorkflowStatus::Compensated);
    }

    /// An effect that a person denies is not undone; an unknown one is.
    async fn a_person_knows_whether_it_happened(world) {
        let driver = Driver::open(world, 1).await;
        let did_not = Decision::Failed { error: TaskError::new("looked", "it is not there") };
        for (number, decision, expected) in [(1, did_not, WorkflowStatus::Cancelled), (2, Decision::Skip, WorkflowStatus::Compensating)] {
            let task = ended(world, &driver, number, undoable("a"), unknown()).await;
            assert!(task_record(world, task.workflow(), "a").await.task.is_uncertain);
            assert_eq!(control(world, task.workflow(), cancel("not needed")).await, WorkflowStatus::Cancelling);
            assert_eq!(decide(world, task, decision).await, expected);
        }
        assert_eq!(driver.drain().await, ["undo/a"]);
    }

    /// A success ends the uncertainty about what came before it.
    async fn a_success_ends_the_uncertainty(world) {
        let id = start(world, 1, sequence(vec![undoable("a"), task("b")])).await;
        let lost = Driver::open(world, 1).await;
        lost.take().await;
        world.tasks().close_lease(lost.lease).await.unwrap();
        let driver = Driver::open(world, 2).await;
        driver.run("a", success("1")).await;
        let found = record(world, id).await.head;
        assert_eq!((task_record(world, id, "a").await.task.is_uncertain, found.undoable), (false, 1));
    }

    /// When undoing fails a person must look, and may have it done again or left out.
    async fn a_person_decides_when_undoing_fails(world) {
        let id = start(world, 1, sequence(vec![undoable("a"), undoable("b"), task("bad")])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        driver.run("b", success("1")).await;
        driver.run("bad", failure("broken")).await;
        driver.run("undo/b", failure("stuck")).await;
        let found = record(world, id).await;
        assert_eq!((found.head.status, found.finished_at.is_some()), (WorkflowStatus::NeedsHuman, true));
        assert_eq!(driver.take_all().await, Vec::<String>::new());
        let undo = id_of(world, id, "undo/b").await;
        is_refused(world.workflows().decide(id_of(world, id, "bad").await, &Decision::Retry).await);
        assert_eq!(decide(world, undo, Decision::Retry).await, WorkflowStatus::Compensating);
        assert_eq!(record(world, id).await.finished_at, None);
        driver.run("undo/b", failure("stuck")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::NeedsHuman);
        assert_eq!(decide(world, undo, Decision::Skip).await, WorkflowStatus::Compensating);
        driver.run("undo/a", success("1")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Compensated);
    }

    /// A failed task may be done again; what was skipped because of it waits for it anew.
    async fn a_failed_task_is_done_again(world) {
        let id = start(world, 1, sequence(vec![retried("a", 1), task("b"), task("c")])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", Outcome::Failed { error: TaskError::new("broken", HOSTILE), retryable: false }).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Failed);
        assert_eq!(task_record(world, id, "a").await.task.error.unwrap().message, HOSTILE);
        assert_eq!(decide(world, id_of(world, id, "a").await, Decision::Retry).await, WorkflowStatus::Running);
        let found = record(world, id).await;
        assert_eq!((found.finished_at, found.head.open, found.head.failed), (None, 3, 0));
        assert_eq!(found.head.error, None);
        let again = driver.take().await;
        assert_eq!((again.key.as_str(), again.attempt), ("a", 2));
        driver.end(&again, success("1")).await;
        assert_eq!(driver.drain().await, ["b", "c"]);
        let found = task_record(world, id, "a").await;
        assert_eq!((found.task.status, found.task.error, found.result), (TaskStatus::Succeeded, None, Some(json("1"))));
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
    }

    /// What also waits for another task that failed stays skipped until that one is done again too.
    async fn two_failures_are_done_again_one_by_one(world) {
        let tasks = vec![task("x"), task("y"), after("both", &["x", "y"]), after("end", &["both"])];
        let id = start(world, 1, dag(tasks)).await;
        let driver = Driver::open(world, 1).await;
        driver.run("x", failure("broken")).await;
        driver.run("y", failure("broken")).await;
        decide(world, id_of(world, id, "x").await, Decision::Retry).await;
        assert_eq!(task_status(world, id, "both").await, TaskStatus::Skipped);
        driver.run("x", success("1")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Failed);
        decide(world, id_of(world, id, "y").await, Decision::Retry).await;
        assert_eq!(driver.drain().await, ["y", "both", "end"]);
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
    }

    /// A task may be left out; what depends on it is left out too, unless the edge says otherwise.
    async fn a_task_is_left_out(world) {
        let mut accepts = after("accepts", &["a"]);
        accepts.depends_on[0].skipped_releases = true;
        let id = start(world, 1, dag(vec![task("a"), accepts, after("needs", &["a"]), task("runs")])).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(decide(world, id_of(world, id, "a").await, Decision::Skip).await, WorkflowStatus::Running);
        assert_eq!(driver.take_all().await, ["accepts", "runs"]);
        assert_eq!(task_status(world, id, "needs").await, TaskStatus::Skipped);
        is_refused(world.workflows().decide(id_of(world, id, "runs").await, &Decision::Skip).await);
        is_refused(world.workflows().decide(id_of(world, id, "a").await, &Decision::Retry).await);
        is_refused(world.workflows().decide(id_of(world, id, "needs").await, &Decision::Skip).await);
    }

    /// What waits for time, a signal or its next attempt may be left out.
    async fn a_wait_is_left_out(world) {
        let tasks = vec![timer("timer", HOUR), waits_for("signal", "go", None), retried("fails", 3)];
        let id = start(world, 1, Definition::new(ExecutionMode::Parallel, tasks).unwrap()).await;
        Driver::open(world, 1).await.run("fails", failure("broken")).await;
        for key in ["timer", "signal"] {
            assert_eq!(decide(world, id_of(world, id, key).await, Decision::Skip).await, WorkflowStatus::Running);
        }
        assert_eq!(decide(world, id_of(world, id, "fails").await, Decision::Skip).await, WorkflowStatus::Succeeded);
        let_time_pass(world, id).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
    }

    /// A person resolves an unknown result: succeeded, failed, retry, skip.
    async fn a_person_decides_about_what_is_unknown(world) {
        let driver = Driver::open(world, 1).await;
        let decisions = [
            (Decision::Succeeded { result: json(HOSTILE_JSON) }, TaskStatus::Succeeded, WorkflowStatus::Succeeded),
            (Decision::Failed { error: TaskError::new("lost", "it is gone") }, TaskStatus::Failed, WorkflowStatus::Failed),
            (Decision::Skip, TaskStatus::Skipped, WorkflowStatus::Succeeded),
            (Decision::Retry, TaskStatus::Queued, WorkflowStatus::Running),
        ];
        for (number, (decision, task, workflow)) in (1..).zip(decisions) {
            let unknown = ended(world, &driver, number, unrepeatable("a"), unknown()).await;
            let id = workflow_id(number);
            assert_eq!((status(world, id).await, task_status(world, id, "a").await), (WorkflowStatus::Running, TaskStatus::Unknown));
            assert_eq!(decide(world, unknown, decision).await, workflow);
            assert_eq!(task_status(world, id, "a").await, task);
        }
        assert_eq!(task_record(world, workflow_id(1), "a").await.result, Some(json(HOSTILE_JSON)));
        assert_eq!(task_record(world, workflow_id(2), "a").await.task.error, Some(TaskError::new("lost", "it is gone")));
        let again = driver.take().await;
        assert_eq!((again.task.workflow(), again.attempt), (workflow_id(4), 2));
    }

    /// A person cannot decide how a task ended of which it is known, or which runs.
    async fn nobody_decides_about_what_is_known(world) {
        let driver = Driver::open(world, 1).await;
        let known = [ended(world, &driver, 1, task("a"), success("1")).await, ended(world, &driver, 2, task("b"), failure("broken")).await];
        let id = start(world, 3, linear(&["c"])).await;
        let running = driver.take().await.task;
        let error = TaskError::new("lost", "it is gone");
        for task in [known[0], known[1], running] {
            for decision in [Decision::Succeeded { result: json("2") }, Decision::Failed { error: error.clone() }] {
                is_refused(world.workflows().decide(task, &decision).await);
            }
        }
        is_refused(world.workflows().decide(running, &Decision::Retry).await);
        is_refused(world.workflows().decide(known[0], &Decision::Retry).await);
        assert_eq!(task_status(world, id, "c").await, TaskStatus::Running);
    }

    /// A task with an unknown result keeps a cancelled workflow open until a person decides.
    async fn what_is_unknown_keeps_its_workflow_open(world) {
        let driver = Driver::open(world, 1).await;
        let unknown = ended(world, &driver, 1, unrepeatable("a"), unknown()).await;
        let id = unknown.workflow();
        assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Cancelling);
        is_refused(world.workflows().decide(unknown, &Decision::Retry).await);
        assert_eq!(decide(world, unknown, Decision::Skip).await, WorkflowStatus::Cancelled);
    }

    /// A task that waits for a signal takes it, payload and all.
    async fn a_waiting_task_takes_its_signal(world) {
        let id = start(world, 1, sequence(vec![waits_for("wait", "go", None), task("b")])).await;
        assert_eq!(task_status(world, id, "wait").await, TaskStatus::Waiting);
        signal(world, id, "other", "0").await;
        assert_eq!(task_status(world, id, "wait").await, TaskStatus::Waiting);
        assert_eq!(signal(world, id, "go", HOSTILE_JSON).await, WorkflowStatus::Running);
        let found = task_record(world, id, "wait").await;
        assert_eq!((found.task.status, found.result), (TaskStatus::Succeeded, Some(json(HOSTILE_JSON))));
        assert_eq!(Driver::open(world, 1).await.drain().await, ["b"]);
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
        assert_eq!(story(world, id).await[2..6], ["task_waiting wait", "signal_received", "signal_received", "task_completed wait"]);
    }

    /// A signal that comes too early is kept; each is taken once, oldest first.
    async fn early_signals_are_kept(world) {
        let tasks = vec![task("a"), waits_for("one", "go", None), waits_for("two", "go", None), waits_for("three", "go", None)];
        let id = start(world, 1, sequence(tasks)).await;
        for payload in ["1", "2"] {
            signal(world, id, "go", payload).await;
        }
        Driver::open(world, 1).await.run("a", success("0")).await;
        let results: Vec<_> = records(world, id).await.into_iter().skip(1).map(|found| found.result).collect();
        assert_eq!(results, [Some(json("1")), Some(json("2")), None]);
        assert_eq!(task_status(world, id, "three").await, TaskStatus::Waiting);
        assert_eq!(signal(world, id, "go", "3").await, WorkflowStatus::Succeeded);
    }

    /// A signal that was taken is gone, also for a task that begins to wait later.
    async fn a_signal_is_taken_once(world) {
        let tasks = vec![task("a"), waits_for("one", "go", None), task("b"), waits_for("two", "go", None)];
        let id = start(world, 1, sequence(tasks)).await;
        signal(world, id, "go", "1").await;
        assert_eq!(Driver::open(world, 1).await.drain().await, ["a", "b"]);
        assert_eq!(task_record(world, id, "one").await.result, Some(json("1")));
        assert_eq!(task_status(world, id, "two").await, TaskStatus::Waiting);
    }

    /// A signal may come before its workflow has started.
    async fn a_signal_may_come_before_the_start(world) {
        let new = NewWorkflow { start_after: None, ..workflow(1, sequence(vec![waits_for("wait", "go", None)])) };
        let id = start_new(world, new).await;
        assert_eq!(signal(world, id, "go", "1").await, WorkflowStatus::Pending);
        assert_eq!(control(world, id, Control::Start).await, WorkflowStatus::Succeeded);
    }

    /// No more signals are kept than may be, also where no task will ever take them.
    async fn no_more_signals_are_kept_than_may_be(world) {
        let id = start(world, 1, linear(&["a"])).await;
        signal(world, id, "go", "null").await;
        let mut kept = 1;
        while kept < SIGNALS_MAX - 1 {
            let more = kept.min(SIGNALS_MAX - 1 - kept);
            world.side_door().copy_signals(id, more).await;
            kept += more;
        }
        assert_eq!(signal(world, id, "go", "null").await, WorkflowStatus::Running);
        let key = idempotency("scope", "key", 1);
        is_refused(world.workflows().signal(id, &signal_name("go"), &json("1"), Some(&key)).await);
        assert_eq!(Driver::open(world, 1).await.drain().await, ["a"]);
        start_new(world, asked(2, "scope", "key", 2)).await;
    }

    /// A workflow that has ended takes no signal.
    async fn an_ended_workflow_takes_no_signal(world) {
        let id = start(world, 1, linear(&["a"])).await;
        Driver::open(world, 1).await.drain().await;
        let key = idempotency("scope", "key", 1);
        let refusal = world.workflows().signal(id, &signal_name("go"), &json("1"), Some(&key)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::Refused { reason } if reason == "the workflow is succeeded"), "{refusal:?}");
        let told = story(world, id).await;
        assert!(!told.contains(&"signal_received".to_owned()), "{told:?}");
        start_new(world, asked(2, "scope", "key", 2)).await;
    }

    /// A signal that is sent again changes nothing, also when its workflow has ended since.
    async fn a_repeated_signal_changes_nothing(world) {
        let tasks = vec![waits_for("one", "go", None), waits_for("two", "go", None)];
        let id = start(world, 1, sequence(tasks)).await;
        let workflows = world.workflows();
        let (name, payload, used) = (signal_name("go"), json("1"), idempotency("scope", "key", 1));
        for _ in 0..2 {
            let status = workflows.signal(id, &name, &payload, Some(&used)).await.unwrap();
            assert_eq!(status, Some(WorkflowStatus::Running));
        }
        assert_eq!(task_status(world, id, "two").await, TaskStatus::Waiting);
        let reused = idempotency("scope", "key", 2);
        is_key_reused(workflows.signal(id, &name, &payload, Some(&reused)).await);
        assert_eq!(task_status(world, id, "two").await, TaskStatus::Waiting);
        assert_eq!(signal(world, id, "go", "2").await, WorkflowStatus::Succeeded);
        let status = workflows.signal(id, &name, &payload, Some(&used)).await.unwrap();
        assert_eq!(status, Some(WorkflowStatus::Succeeded));
    }

    /// The end of a child wakes the task that waits for it, and its failure fails it.
    async fn the_end_of_a_child_wakes_its_parent(world) {
        let driver = Driver::open(world, 1).await;
        for (number, outcome, task, status_then) in [
            (1, success("1"), TaskStatus::Succeeded, WorkflowStatus::Succeeded),
            (2, failure("broken"), TaskStatus::Failed, WorkflowStatus::Failed),
        ] {
            let id = start(world, number, sequence(vec![parent("child")])).await;
            let taken = driver.take().await;
            let child = start_child(world, &driver, &taken, number + 100).await;
            assert_eq!(record(world, child).await.head.parent, Some(taken.task));
            see_to_what_is_due(world).await;
            assert_eq!(task_status(world, id, "child").await, TaskStatus::Waiting);
            driver.run("only", outcome).await;
            see_to_what_is_due(world).await;
            assert_eq!((task_status(world, id, "child").await, status(world, id).await), (task, status_then));
        }
    }

    /// A child may be quicker than the report that it is waited for, and than the loss of its parent's worker.
    async fn a_child_may_be_quicker_than_its_parent(world) {
        let driver = Driver::open(world, 1).await;
        let id = start(world, 1, sequence(vec![parent("child")])).await;
        let taken = driver.take().await;
        let child = NewWorkflow { parent: Some(taken.task), ..workflow(101, linear(&["only"])) };
        start_new(world, child).await;
        driver.run("only", success("1")).await;
        world.side_door().make_due(id).await;
        world.upkeep().wake_due(1).await.unwrap();
        assert_eq!(task_status(world, id, "child").await, TaskStatus::Running);
        driver.end(&taken, Outcome::Released).await;
        world.side_door().make_due(id).await;
        world.upkeep().wake_due(1).await.unwrap();
        assert_eq!(task_status(world, id, "child").await, TaskStatus::Queued);
        driver.run("child", Outcome::Waiting).await;
        let_time_pass(world, id).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
    }

    /// Calling a workflow off calls its children off, and theirs.
    async fn cancelling_goes_down(world) {
        let driver = Driver::open(world, 1).await;
        let id = start(world, 1, sequence(vec![parent("child")])).await;
        let taken = driver.take().await;
        let child = NewWorkflow { parent: Some(taken.task), ..workflow(2, sequence(vec![parent("grandchild")])) };
        let child = start_new(world, child).await;
        driver.end(&taken, Outcome::Waiting).await;
        let taken = driver.take().await;
        let grandchild = start_child(world, &driver, &taken, 3).await;
        let other = start(world, 4, linear(&["a"])).await;
        assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Cancelled);
        see_to_what_is_due(world).await;
        for id in [id, child, grandchild] {
            assert_eq!(status(world, id).await, WorkflowStatus::Cancelled);
        }
        assert_eq!(status(world, other).await, WorkflowStatus::Running);
    }

    /// A child whose parent is called off before it waits for it is called off too.
    async fn a_child_is_not_orphaned_by_its_parents_worker(world) {
        for (number, outcome) in [(1, Outcome::Waiting), (2, Outcome::Cancelled), (3, Outcome::Released)] {
            let driver = Driver::open(world, number).await;
            let id = start(world, number, sequence(vec![parent("child")])).await;
            let taken = driver.take().await;
            let child = NewWorkflow { parent: Some(taken.task), ..workflow(number + 100, linear(&["only"])) };
            let child = start_new(world, child).await;
            assert_eq!(control(world, id, cancel("not needed")).await, WorkflowStatus::Cancelling);
            driver.end(&taken, outcome).await;
            see_to_what_is_due(world).await;
            assert_eq!((status(world, id).await, status(world, child).await), (WorkflowStatus::Cancelled, WorkflowStatus::Cancelled));
        }
    }

    /// Dead letters are done again, oldest first and no more than asked for.
    async fn dead_letters_are_done_again(world) {
        let driver = Driver::open(world, 1).await;
        let mut dead = Vec::new();
        for number in [3, 1, 2] {
            dead.push(ended(world, &driver, number, task("a"), failure("broken")).await);
        }
        let all = DeadLetterFilter::default();
        let workflows = world.workflows();
        assert_eq!(workflows.redrive(&all, 0, None).await.unwrap(), []);
        assert_eq!(workflows.redrive(&all, 2, None).await.unwrap(), dead[..2]);
        assert_eq!(status(world, workflow_id(3)).await, WorkflowStatus::Running);
        assert_eq!(status(world, workflow_id(2)).await, WorkflowStatus::Failed);
        assert_eq!(driver.claim(10).await.len(), 2);
        assert_eq!(workflows.redrive(&all, 10, None).await.unwrap(), dead[2..]);
        assert_eq!(workflows.redrive(&all, 10, None).await.unwrap(), []);
    }

    /// A request to do dead letters again that is made again under its key finds the tasks of the first, and does
    /// nothing to what is dead by then.
    async fn dead_letters_are_done_again_once_under_a_key(world) {
        let driver = Driver::open(world, 1).await;
        let dead = ended(world, &driver, 1, task("a"), failure("broken")).await;
        let (all, workflows) = (DeadLetterFilter::default(), world.workflows());
        let key = |digest| idempotency("redrive", "k", digest);
        let first = workflows.redrive(&all, 10, Some(&key(1))).await.unwrap();
        assert_eq!(first, [dead]);
        let taken = driver.take().await;
        driver.end(&taken, failure("broken")).await;
        let again = workflows.redrive(&all, 10, Some(&key(1))).await.unwrap();
        assert_eq!(again, first);
        assert_eq!(status(world, workflow_id(1)).await, WorkflowStatus::Failed);
        is_key_reused(workflows.redrive(&all, 10, Some(&key(2))).await);
    }

    /// Workflows stand above each other only so far, and nothing is started below one that is cancelled, however far
    /// above the new one it stands.
    async fn a_family_has_a_bound_and_ends_with_its_topmost(world) {
        let store = world.workflows();
        let child = |number: u32, parent: WorkflowId| NewWorkflow {
            parent: Some(parent.task(TaskNo::FIRST)),
            ..workflow(number, linear(&["a"]))
        };
        start(world, 1, linear(&["a"])).await;
        for depth in 1..=FAMILY_DEPTH_MAX {
            start_new(world, child(depth + 1, workflow_id(depth))).await;
        }
        let last = workflow_id(FAMILY_DEPTH_MAX + 1);
        is_refused(store.start(&[child(100, last)]).await);
        assert!(world.view().find(workflow_id(100)).await.unwrap().is_none());
        // Beside the others there is room.
        start_new(world, child(101, workflow_id(5))).await;
        store.control(workflow_id(1), &cancel("not needed")).await.unwrap();
        is_refused(store.start(&[child(102, workflow_id(5))]).await);
        is_refused(store.start(&[child(103, workflow_id(1))]).await);
    }

    /// The topmost workflow counts everything below it: a start that would be too many changes nothing.
    async fn a_family_is_only_so_large(world) {
        let store = world.workflows();
        let parent = start(world, 1, linear(&["a"])).await;
        let child = |number: u32| NewWorkflow {
            parent: Some(parent.task(TaskNo::FIRST)),
            ..workflow(number, linear(&["a"]))
        };
        let most = FAMILY_SIZE_MAX;
        for first in (0..most).step_by(1_000) {
            let some: Vec<NewWorkflow> = (first..first + 1_000).map(|number| child(number + 2)).collect();
            if first + 1_000 == most {
                // One too many, and none of them is there.
                let more: Vec<NewWorkflow> = some.iter().cloned().chain([child(most + 2)]).collect();
                is_refused(store.start(&more).await);
                assert!(world.view().find(workflow_id(first + 2)).await.unwrap().is_none());
            }
            store.start(&some).await.unwrap();
        }
        is_refused(store.start(&[child(most + 3)]).await);
    }

    /// Only the dead letters that are meant are done again.
    async fn dead_letters_are_chosen(world) {
        let driver = Driver::on(world, 1, Executor::Engine, &["default", "slow"]).await;
        let kind = Kind::parse("special").unwrap();
        let special = doing("a", Work { kind: kind.clone(), ..work() });
        let tasks = [task("a"), queued_in("a", "slow"), special, task("a"), task("a")];
        let mut dead = Vec::new();
        for (number, task) in (1..).zip(tasks) {
            let code = if number == 4 { "odd'code" } else { "broken" };
            dead.push(ended(world, &driver, number, task, failure(code)).await);
        }
        let any = DeadLetterFilter::default();
        for (filter, expected) in [
            (DeadLetterFilter { queue: Some(queue("slow")), ..any.clone() }, dead[1]),
            (DeadLetterFilter { kind: Some(kind), ..any.clone() }, dead[2]),
            (DeadLetterFilter { code: Some("odd'code".to_owned()), ..any.clone() }, dead[3]),
            (DeadLetterFilter { workflow: Some(workflow_id(5)), ..any.clone() }, dead[4]),
            (DeadLetterFilter { task: Some(dead[0]), ..any.clone() }, dead[0]),
        ] {
            assert_eq!(world.workflows().redrive(&filter, 10, None).await.unwrap(), [expected], "{filter:?}");
        }
    }

    /// Dead letters whose workflows do not allow it are left alone and do not stand in the way.
    async fn dead_letters_of_ended_workflows_are_left_alone(world) {
        let driver = Driver::open(world, 1).await;
        let id = start(world, 1, sequence(vec![undoable("a"), task("bad")])).await;
        driver.run("a", success("1")).await;
        driver.run("bad", failure("broken")).await;
        driver.run("undo/a", success("1")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Compensated);
        let dead = ended(world, &driver, 2, task("a"), failure("broken")).await;
        let found = world.workflows().redrive(&DeadLetterFilter::default(), 1, None).await.unwrap();
        assert_eq!(found, [dead]);
        assert_eq!(status(world, id).await, WorkflowStatus::Compensated);
    }

    /// A task that is unknown or timed out is a dead letter as well.
    async fn unknown_and_late_tasks_are_dead_letters(world) {
        let driver = Driver::open(world, 1).await;
        let dead = [
            ended(world, &driver, 1, unrepeatable("a"), unknown()).await,
            ended(world, &driver, 2, task("a"), Outcome::TimedOut).await,
        ];
        assert_eq!(world.workflows().redrive(&DeadLetterFilter::default(), 10, None).await.unwrap(), dead);
        assert_eq!(driver.claim(10).await.len(), 2);
    }

    /// A text with a NUL comes back as it was or with the NUL made visible.
    async fn a_nul_does_not_break_anything(world) {
        let id = start(world, 1, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        let error = TaskError::new("a\0b", "c\0d");
        driver.run("a", Outcome::Failed { error, retryable: false }).await;
        let error = task_record(world, id, "a").await.task.error.unwrap();
        let visible = |text: &str| text.replace('\0', "\u{2400}");
        assert_eq!((visible(&error.code), visible(&error.message)), ("a\u{2400}b".to_owned(), "c\u{2400}d".to_owned()));
        let id = start(world, 2, linear(&["a"])).await;
        assert_eq!(control(world, id, cancel("e\0f")).await, WorkflowStatus::Cancelled);
        assert_eq!(visible(&record(world, id).await.head.error.unwrap()), "e\u{2400}f");
    }

    /// Many may write about one workflow at once; each is heard.
    async fn many_write_about_one_workflow_at_once(world) {
        let mut tasks: Vec<TaskSpec> = (0..40).map(|number| task(&format!("t{number}"))).collect();
        let keys: Vec<String> = tasks.iter().map(|task| task.key.as_str().to_owned()).collect();
        tasks.push(after("last", &keys.iter().map(String::as_str).collect::<Vec<_>>()));
        let id = start(world, 1, dag(tasks)).await;
        let driver = Driver::open(world, 1).await;
        let mut workers = tokio::task::JoinSet::new();
        for taken in driver.claim(40).await {
            let (world, lease) = (world.clone(), driver.lease);
            let report = Report { task: taken.task, attempt: taken.attempt, outcome: success("1") };
            workers.spawn(async move { world.tasks().report(lease, &[report]).await.unwrap() });
        }
        for verdicts in workers.join_all().await {
            assert_eq!(verdicts, [ReportVerdict::Accepted]);
        }
        assert_eq!(driver.drain().await, ["last"]);
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
        assert_eq!(story(world, id).await.len(), 2 + 41 * 3 + 1);
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        let id = start(world, 1, linear(&["a"])).await;
        world.side_door().cut().await;
        let workflows = world.workflows();
        is_unavailable(workflows.start(&[workflow(2, linear(&["a"]))]).await);
        is_unavailable(workflows.control(id, &Control::Pause).await);
        is_unavailable(workflows.decide(id.task(TaskNo::new(0).unwrap()), &Decision::Skip).await);
        is_unavailable(workflows.signal(id, &signal_name("go"), &json("1"), None).await);
        is_unavailable(workflows.redrive(&DeadLetterFilter::default(), 1, None).await);
    }
}
