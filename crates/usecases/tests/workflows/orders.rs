//! Which orders make a definition, and what it says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{
    Action, DefinitionError, DefinitionName, ExecutionMode, Guarantee, TASKS_MAX, Takeover,
    TaskPolicy,
};
use drover_ports::{Assigned, TaskHandler};
use drover_usecases::{
    Handlers, KindSpec, Kinds, OrderError, OrderPlace, PayloadProblem, Performer, StartError,
    TaskOrder, WorkOrder, WorkflowSource,
};

use crate::world::{World, dag, json, kind, order, queue, task, waits};

fn kinds() -> Kinds {
    let spec = KindSpec::new(Performer::Handler, Guarantee::G4, queue("disks")).checked(Arc::new(
        |payload| {
            if payload.as_str() == "null" {
                return Ok(());
            }
            Err(PayloadProblem {
                pointer: "/size".to_owned(),
                reason: "must be absent".to_owned(),
            })
        },
    ));
    Kinds::default().with(kind("disk.wipe"), spec)
}

fn refusal(tasks: Vec<TaskOrder>) -> OrderError {
    kinds().define(ExecutionMode::Dag, tasks).unwrap_err()
}

const fn place(task: usize, is_compensation: bool) -> OrderPlace {
    OrderPlace {
        task,
        is_compensation,
    }
}

#[test]
fn a_kind_lends_its_queue_and_its_promise() {
    let definition = kinds()
        .define(
            ExecutionMode::Dag,
            vec![task("a", "disk.wipe"), task("b", "remote")],
        )
        .unwrap();
    let work: Vec<_> = definition.tasks().iter().map(|spec| &spec.work).collect();
    assert_eq!(
        (work[0].queue.as_str(), &work[0].action),
        ("disks", &Action::Run)
    );
    assert_eq!(work[0].policy, TaskPolicy::once(Guarantee::G4));
    assert_eq!(work[0].policy.takeover, Takeover::Unknown);
    assert_eq!(
        (work[1].queue.as_str(), &work[1].action),
        (Kinds::QUEUE, &Action::RunRemotely)
    );

    let mut own = task("a", "disk.wipe");
    own.work.queue = Some(queue("mine"));
    own.work.timeout = Some(Duration::from_secs(7));
    let definition = kinds().define(ExecutionMode::Dag, vec![own]).unwrap();
    let work = &definition.tasks()[0].work;
    assert_eq!(work.queue.as_str(), "mine");
    assert_eq!(work.policy.timeout, Duration::from_secs(7));
}

struct Idle;

#[async_trait]
impl TaskHandler for Idle {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G1
    }

    async fn run(&self, _: Assigned<'_>) -> Outcome {
        Outcome::Released
    }
}

#[test]
fn what_has_a_handler_is_a_kind() {
    let mut handlers = Handlers::default();
    for name in ["disk.wipe", "disk.check"] {
        handlers.register(kind(name), Arc::new(Idle)).unwrap();
    }
    let kinds = kinds().with_handlers(&handlers);
    let guarantee = |name: &str| kinds.find(&kind(name)).unwrap().guarantee;
    assert_eq!(guarantee("disk.check"), Guarantee::G1);
    // What was said about a kind before stays.
    assert_eq!(guarantee("disk.wipe"), Guarantee::G4);
}

#[test]
fn an_order_that_cannot_be_done_is_refused_with_its_place() {
    let undone = |by: WorkOrder| TaskOrder {
        compensation: Some(by),
        ..task("b", "remote")
    };
    let error = refusal(vec![task("a", "remote"), task("b", "nothing")]);
    assert!(
        matches!(&error, OrderError::UnknownKind { place: found, .. } if *found == place(1, false))
    );
    assert_eq!(
        error.to_string(),
        "there is no kind `nothing`; there are disk.wipe, remote, signal.wait, subworkflow, timer"
    );
    let by = WorkOrder::of(kind("disk.wipe"), json("{\"size\":1}"));
    assert_eq!(
        refusal(vec![task("a", "remote"), undone(by)]),
        OrderError::Payload {
            place: place(1, true),
            pointer: "/size".to_owned(),
            reason: "must be absent".to_owned(),
        }
    );
    for own in ["haproxy", "rollouts", "webhooks"] {
        let mut pushing = task("b", "remote");
        pushing.work.queue = Some(queue(own));
        let error = refusal(vec![task("a", "remote"), pushing]);
        let expected = format!("the queue `{own}` is Drover's own; name another one, or none");
        assert_eq!(error.to_string(), expected);
    }
    let mut hasty = task("a", "remote");
    hasty.work.timeout = Some(Duration::ZERO);
    assert!(matches!(refusal(vec![hasty]), OrderError::Policy { .. }));
    let mut keyed = task("a", "remote");
    keyed.concurrency_keys = vec!["x".to_owned(), String::new()];
    assert!(matches!(
        refusal(vec![keyed]),
        OrderError::ConcurrencyKey {
            task: 0,
            key: 1,
            ..
        }
    ));
    let many = (0..=TASKS_MAX).map(|n| task(&format!("t{n}"), "nothing"));
    assert_eq!(
        refusal(many.collect()),
        OrderError::Definition(DefinitionError::TooManyTasks {
            given: TASKS_MAX + 1
        })
    );
}

#[test]
fn what_a_built_in_kind_does_is_said_and_nobody_else_says_it() {
    let silent = task("a", Kinds::TIMER);
    let mut other = task("a", Kinds::TIMER);
    other.work.action = waits("x").work.action;
    let mut posing = task("a", "disk.wipe");
    posing.work.action = Some(Action::RunRemotely);
    for wrong in [silent, other, posing] {
        assert!(matches!(refusal(vec![wrong]), OrderError::Action { .. }));
    }
}

#[tokio::test]
async fn a_stored_definition_starts_only_while_its_kinds_are_there() {
    let world = World::with(kinds());
    let name = DefinitionName::parse("wipe").unwrap();
    let mode = ExecutionMode::Parallel;
    let undone = TaskOrder {
        compensation: Some(WorkOrder::of(kind("disk.wipe"), json("null"))),
        ..task("b", "remote")
    };
    world
        .definitions
        .define(name.clone(), mode, vec![undone])
        .await
        .unwrap();
    let stored = |version| {
        order(WorkflowSource::Stored {
            name: name.clone(),
            version,
        })
    };
    world.workflows.start(stored(Some(1))).await.unwrap();
    let error = world.workflows.start(stored(Some(2))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no definition `wipe` in version 2"
    );

    let poorer = World::over(&world.ports, Kinds::default());
    let error = poorer.workflows.start(stored(None)).await.unwrap_err();
    assert!(matches!(error, StartError::KindGone { .. }), "{error}");
    let error = poorer.workflows.start(order(dag(Vec::new()))).await;
    assert!(matches!(error, Err(StartError::Order(_))));
}
