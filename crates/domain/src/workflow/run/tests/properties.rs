//! Random inputs to random runs: whatever comes, in whatever order, the rules hold.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// How a random task looks.
#[derive(Debug, Clone)]
struct Shape {
    dependencies: Vec<(Index, bool)>,
    action: u8,
    class: Guarantee,
    is_adopted: bool,
    retries: u32,
    has_deadline: bool,
    is_undone: bool,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = (
        prop::collection::vec((any::<Index>(), any::<bool>()), 0..4),
        0_u8..8,
        prop::sample::select(&Guarantee::ALL[..]),
        any::<bool>(),
        0_u32..3,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(dependencies, action, class, is_adopted, retries, has_deadline, is_undone)| Shape {
                dependencies,
                action,
                class,
                is_adopted,
                retries,
                has_deadline,
                is_undone,
            },
        );
    prop::collection::vec(shape, 1..9)
}

fn plans(shapes: &[Shape]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (number, shape) in shapes.iter().enumerate() {
        let mut plan = task(&format!("t{number}")).class(shape.class);
        if shape.is_adopted {
            plan = plan.policy(|policy| policy.takeover = Takeover::Requeue);
        }
        let mut on = BTreeMap::new();
        for (before, skipped_releases) in &shape.dependencies {
            if number > 0 {
                on.insert(format!("t{}", before.index(number)), *skipped_releases);
            }
        }
        for (key, skipped_releases) in on {
            plan = plan.edges(&[&key], skipped_releases);
        }
        plan = match shape.action {
            0 => plan.waits(seconds(30)),
            1 => plan.awaits("go", None),
            2 => plan.awaits("go", Some(seconds(50))),
            3 => plan.starts_child(),
            _ => plan,
        };
        plan = plan.retried(shape.retries);
        if shape.has_deadline {
            plan = plan.within(seconds(200));
        }
        if shape.is_undone {
            plan = plan.undone();
        }
        plans.push(plan);
    }
    plans
}

fn outcome(choice: u8) -> Outcome {
    match choice % 10 {
        0 => failed(),
        1 => Outcome::Failed {
            error: boom("final"),
            retryable: false,
        },
        2 => Outcome::TimedOut,
        3 => unknown(),
        4 => Outcome::Waiting,
        5 => Outcome::Cancelled,
        6 => Outcome::Released,
        _ => succeeded(),
    }
}

fn decision(choice: u8) -> Decision {
    match choice % 5 {
        0 | 1 => Decision::Retry,
        2 => Decision::Skip,
        3 => Decision::Succeeded {
            result: Json::null(),
        },
        _ => Decision::Failed {
            error: boom("a_person"),
        },
    }
}

/// Something that happens: mostly what can, now and then what is too late.
fn input(scene: &Scene, wakes: &[Wake], kind: u8, which: Index, choice: u8) -> Input {
    let numbers: Vec<TaskNo> = scene.run.tasks.keys().copied().collect();
    let pick = |wanted: TaskStatus| {
        let tasks = scene.run.tasks.values();
        let fit: Vec<TaskNo> = tasks
            .filter(|task| task.status == wanted)
            .map(|task| task.no)
            .collect();
        let from = if fit.is_empty() { &numbers } else { &fit };
        *which.get(from)
    };
    match kind {
        0..=29 => Input::Claimed {
            no: pick(TaskStatus::Queued),
            worker: "worker-1".to_owned(),
        },
        30..=59 => {
            let no = pick(TaskStatus::Running);
            let attempt = scene.run.tasks[&no].attempt;
            let attempt = attempt.saturating_sub(u32::from(choice > 240));
            let outcome = outcome(choice);
            Input::Ended {
                no,
                attempt,
                outcome,
            }
        }
        60..=66 => {
            let no = pick(TaskStatus::Running);
            let attempt = scene.run.tasks[&no].attempt;
            if choice < 128 {
                Input::Lost { no, attempt }
            } else {
                Input::Overdue { no, attempt }
            }
        }
        67..=79 if !wakes.is_empty() => Input::Due {
            kind: which.get(wakes).kind,
        },
        67..=79 => Input::Due {
            kind: WakeKind::Start,
        },
        80..=83 => {
            let no = pick(TaskStatus::Waiting);
            let status =
                [WorkflowStatus::Succeeded, WorkflowStatus::Failed][usize::from(choice % 2)];
            Input::Due {
                kind: WakeKind::ChildEnded { no, status },
            }
        }
        84..=87 => signal("go", "1"),
        88 => Input::Control(Control::Pause),
        89..=90 => Input::Control(Control::Resume),
        91 if choice < 128 => Input::Control(cancel()),
        91..=92 => Input::Control(Control::Start),
        93..=95 => Input::Decide {
            no: pick(TaskStatus::Unknown),
            decision: decision(choice),
        },
        96..=98 => Input::Decide {
            no: pick(TaskStatus::Failed),
            decision: Decision::Retry,
        },
        _ => Input::Decide {
            no: *which.get(&numbers),
            decision: decision(choice),
        },
    }
}

/// What an event says about its task.
const TOLD: [(EventKind, TaskStatus); 11] = [
    (EventKind::TaskQueued, TaskStatus::Queued),
    (EventKind::TaskStarted, TaskStatus::Running),
    (EventKind::TaskCompleted, TaskStatus::Succeeded),
    (EventKind::TaskRetrying, TaskStatus::Retrying),
    (EventKind::TaskWaiting, TaskStatus::Waiting),
    (EventKind::TaskFailed, TaskStatus::Failed),
    (EventKind::TaskTimedOut, TaskStatus::TimedOut),
    (EventKind::TaskCancelled, TaskStatus::Cancelled),
    (EventKind::TaskSkipped, TaskStatus::Skipped),
    (EventKind::TaskUnknown, TaskStatus::Unknown),
    (EventKind::TaskReopened, TaskStatus::Pending),
];

/// What follows from the events alone must be all that changed in the states of the tasks.
fn check_events(before: &Scene, after: &Scene, changes: &Changes) {
    let mut told: BTreeMap<TaskNo, TaskStatus> = BTreeMap::new();
    for event in &changes.events {
        if let Some((_, status)) = TOLD.iter().find(|(kind, _)| *kind == event.kind) {
            told.insert(event.task.unwrap(), *status);
        }
    }
    for (no, task) in &after.run.tasks {
        let was = before.run.tasks[no].status;
        assert_eq!(
            task.status,
            told.get(no).copied().unwrap_or(was),
            "{}: {changes:?}",
            task.key
        );
        if task != &before.run.tasks[no] {
            assert!(changes.tasks.contains(no), "{} changed", task.key);
        }
    }
    if after.run.head != before.run.head {
        assert!(changes.head);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_the_run_stays_whole(
        shapes in shapes(),
        starts in any::<bool>(),
        steps in prop::collection::vec((0_u8..100, any::<Index>(), any::<u8>(), 0_u64..40), 0..120),
    ) {
        let start = starts.then_some(Duration::ZERO);
        let mut scene = Scene::new(ExecutionMode::Dag, plans(&shapes), start);
        let mut wakes: Vec<Wake> = Vec::new();
        for (kind, which, choice, time) in steps {
            scene.passes(seconds(time));
            let before = scene.clone();
            let input = input(&scene, &wakes, kind, which, choice);
            match scene.attempt(input.clone()) {
                Ok(changes) => {
                    check_events(&before, &scene, &changes);
                    wakes.extend(&changes.wakes);
                    let ended = scene.run.head.status.is_terminal();
                    if !before.run.head.status.is_terminal() && ended {
                        prop_assert_eq!(changes.tell_parent, Some(scene.run.head.status));
                    }
                    let progress = scene.run.head.progress();
                    prop_assert_eq!(progress == 100, scene.run.head.status == WorkflowStatus::Succeeded);
                }
                // Only a worker that takes an unoffered task breaks the rules of moves.
                Err(Refusal::Illegal(_)) => {
                    let is_claim = matches!(input, Input::Claimed { .. });
                    prop_assert!(is_claim, "{:?}; {}", input, scene.states());
                }
                Err(_) => {}
            }
        }
    }
}
