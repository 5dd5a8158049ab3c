//! What [`WorkflowUpkeep`](drover_ports::WorkflowUpkeep) promises.

use std::time::Duration;

use drover_domain::workflow::run::{Control, Decision, Outcome};
use drover_domain::workflow::{
    Action, ClockLeap, ClockWatch, EventPosition, Executor, Guarantee, Takeover, TaskNo,
    TaskPolicy, TaskSpec, TaskStatus, Work, WorkflowStatus,
};
use drover_ports::{
    DeadLetterFilter, EventFilter, NewWorkflow, ReportVerdict, RetentionAges, StartedWorkflow,
    WorkflowFilter,
};

use super::{ALL, is_unavailable};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, LEASE, after, asked, dag, doing, failure, idempotency, json, keyed, let_time_pass,
    linear, parallel, parent, record, retried, see_to_what_is_due, sequence, signal_name, start,
    start_new, status, story, success, task, task_record, task_status, timer, unrepeatable,
    waits_for, work, workflow, workflow_id,
};
use crate::eventually::eventually;

const HOUR: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(1);

fn limited(task: TaskSpec, timeout: Duration, deadline: Option<Duration>) -> TaskSpec {
    let mut task = task;
    task.work.policy.timeout = timeout;
    task.work.policy.deadline = deadline;
    task
}

/// Sees to what is due until the workflow's task `a` is in this state.
async fn becomes(world: &EngineWorld, number: u32, expected: TaskStatus) {
    eventually(Duration::from_secs(5), || async {
        see_to_what_is_due(world).await;
        match task_status(world, workflow_id(number), "a").await {
            found if found == expected => Ok(()),
            found => Err(format!("it is {}", found.as_str())),
        }
    })
    .await;
}

/// Takes over, without grace, until `handled` tasks were.
async fn takes_over(world: &EngineWorld, handled: u32) {
    eventually(Duration::from_secs(5), || async {
        match world
            .upkeep()
            .take_over(Duration::ZERO, 10)
            .await
            .unwrap()
            .handled
        {
            found if found == handled => Ok(()),
            found => Err(format!("{found} tasks were taken over")),
        }
    })
    .await;
}

/// A workflow that ended `ago`.
async fn ended(world: &EngineWorld, number: u32, ago: Duration) {
    let id = start(world, number, linear(&["a"])).await;
    Driver::open(world, number)
        .await
        .run("a", success("1"))
        .await;
    world.side_door().end_earlier(id, ago).await;
}

async fn is_there(world: &EngineWorld, number: u32) -> bool {
    world
        .view()
        .find(workflow_id(number))
        .await
        .unwrap()
        .is_some()
}

contract! { $ workflow_upkeep => workflow_upkeep_contract for EngineWorld;
    /// Where nothing is waited for there is nothing to do, now or later.
    async fn there_may_be_nothing_to_do(world) {
        start(world, 1, linear(&["a"])).await;
        let idle = world.upkeep().wake_due(10).await.unwrap();
        assert_eq!((idle.handled, idle.next), (0, None));
        let idle = world.upkeep().take_over(HOUR, 10).await.unwrap();
        assert_eq!((idle.handled, idle.next), (0, None));
        assert_eq!(world.upkeep().prune(&Duration::ZERO.into(), 10).await.unwrap(), 0);
    }

    /// The next attempt comes when it is due and not before; after the last one the task has failed.
    async fn retries_come_when_they_are_due(world) {
        let id = start(world, 1, sequence(vec![retried("a", 2)])).await;
        let driver = Driver::open(world, 1).await;
        for attempt in 1..=2 {
            driver.run("a", failure("broken")).await;
            let found = task_record(world, id, "a").await.task;
            assert_eq!((found.status, found.attempt, found.retries), (TaskStatus::Retrying, attempt, attempt));
            let upkeep = world.upkeep().wake_due(10).await.unwrap();
            let next = upkeep.next.expect("an attempt is due");
            assert!(upkeep.handled == 0 && next <= Duration::from_mins(5) && next > Duration::from_mins(2), "{upkeep:?}");
            assert_eq!(driver.claim(1).await, []);
            let_time_pass(world, id).await;
        }
        driver.run("a", failure("broken")).await;
        assert_eq!((task_status(world, id, "a").await, status(world, id).await), (TaskStatus::Failed, WorkflowStatus::Failed));
    }

    /// A timer ends when its time has passed and not before; no worker holds it.
    async fn a_timer_ends_when_its_time_has_passed(world) {
        let id = start(world, 1, sequence(vec![timer("a", HOUR), task("b")])).await;
        see_to_what_is_due(world).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(10).await, []);
        assert_eq!(task_status(world, id, "a").await, TaskStatus::Waiting);
        let_time_pass(world, id).await;
        let found = task_record(world, id, "a").await;
        assert_eq!((found.task.status, found.worker, found.started_at), (TaskStatus::Succeeded, None, None));
        assert!(found.finished_at.is_some());
        assert_eq!(driver.drain().await, ["b"]);
        start(world, 2, sequence(vec![timer("a", SHORT)])).await;
        becomes(world, 2, TaskStatus::Succeeded).await;
    }

    /// A signal that does not come in time fails the task that waits for it; one that comes does not.
    async fn a_wait_for_a_signal_expires(world) {
        let wait = || sequence(vec![waits_for("a", "go", Some(HOUR)), task("b")]);
        let (late, came) = (start(world, 1, wait()).await, start(world, 2, wait()).await);
        world.workflows().signal(came, &signal_name("go"), &json("1"), None).await.unwrap();
        let_time_pass(world, late).await;
        let_time_pass(world, came).await;
        let found = task_record(world, late, "a").await.task;
        assert_eq!((found.status, found.error.map(|error| error.code)), (TaskStatus::TimedOut, Some("signal_expired".to_owned())));
        assert_eq!((status(world, late).await, task_status(world, late, "b").await), (WorkflowStatus::Failed, TaskStatus::Skipped));
        assert_eq!(task_status(world, came, "a").await, TaskStatus::Succeeded);
        start(world, 3, sequence(vec![waits_for("a", "go", Some(SHORT))])).await;
        becomes(world, 3, TaskStatus::TimedOut).await;
    }

    /// The time over all attempts ends a task that waits, is queued or is to be tried again.
    async fn a_task_has_a_deadline(world) {
        start(world, 1, sequence(vec![limited(task("a"), HOUR, Some(SHORT))])).await;
        becomes(world, 1, TaskStatus::TimedOut).await;
        start(world, 2, sequence(vec![limited(waits_for("a", "go", None), HOUR, Some(SHORT))])).await;
        becomes(world, 2, TaskStatus::TimedOut).await;
        let id = start(world, 3, sequence(vec![limited(retried("a", 5), HOUR, Some(SHORT))])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", failure("broken")).await;
        assert_eq!(task_status(world, id, "a").await, TaskStatus::Retrying);
        becomes(world, 3, TaskStatus::TimedOut).await;
        assert_eq!(task_record(world, id, "a").await.task.error.map(|error| error.code), Some("deadline".to_owned()));
        assert_eq!(status(world, id).await, WorkflowStatus::Failed);
        assert_eq!(driver.claim(10).await, []);
    }

    /// A task whose deadline passes while it runs loses its worker.
    async fn a_deadline_ends_a_running_task(world) {
        for (number, first, expected) in [(1, task("a"), TaskStatus::TimedOut), (2, unrepeatable("a"), TaskStatus::Unknown)] {
            start(world, number, sequence(vec![limited(first, HOUR, Some(SHORT))])).await;
            let driver = Driver::open(world, number).await;
            let taken = driver.take().await;
            becomes(world, number, expected).await;
            assert!(matches!(driver.report(&taken, success("1")).await, ReportVerdict::Refused(_)));
            assert_eq!(task_status(world, workflow_id(number), "a").await, expected);
        }
    }

    /// A task that was quick enough does not mind its deadline.
    async fn a_kept_deadline_does_nothing(world) {
        let id = start(world, 1, sequence(vec![limited(task("a"), HOUR, Some(HOUR)), task("b")])).await;
        let driver = Driver::open(world, 1).await;
        assert!(task_record(world, id, "a").await.task.deadline_at > Some(record(world, id).await.created_at));
        driver.run("a", success("1")).await;
        let_time_pass(world, id).await;
        assert_eq!(driver.drain().await, ["b"]);
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
    }

    /// Due moments are seen to oldest first, no more than asked for, and each once.
    async fn due_moments_are_seen_to_in_turn(world) {
        for number in 1..=5 {
            let wait = HOUR * (6 - number);
            start(world, number, sequence(vec![timer("a", wait), timer("b", wait)])).await;
        }
        for number in [4, 2, 5] {
            world.side_door().make_due(workflow_id(number)).await;
        }
        let upkeep = world.upkeep().wake_due(0).await.unwrap();
        assert_eq!(upkeep.handled, 0);
        let upkeep = world.upkeep().wake_due(2).await.unwrap();
        assert_eq!(upkeep.handled, 2);
        let upkeep = world.upkeep().wake_due(2).await.unwrap();
        assert_eq!(upkeep.handled, 1);
        let next = upkeep.next.expect("a timer runs");
        assert!(next <= HOUR && next > HOUR / 2, "{next:?}");
        for number in 1..=5 {
            let expected = if [4, 2, 5].contains(&number) { TaskStatus::Succeeded } else { TaskStatus::Waiting };
            assert_eq!(task_status(world, workflow_id(number), "a").await, expected, "{number}");
        }
    }

    /// However many nodes see to what is due, each moment happens once.
    async fn a_moment_happens_once(world) {
        let all: Vec<NewWorkflow> = (1..=60).map(|number| workflow(number, sequence(vec![timer("a", HOUR), task("b")]))).collect();
        world.workflows().start(&all).await.unwrap();
        for number in 1..=60 {
            world.side_door().make_due(workflow_id(number)).await;
        }
        let mut nodes = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let world = world.clone();
            nodes.spawn(async move {
                let mut handled = 0;
                loop {
                    match world.upkeep().wake_due(7).await.unwrap().handled {
                        0 => return handled,
                        more => handled += more,
                    }
                }
            });
        }
        let handled: u32 = nodes.join_all().await.into_iter().sum();
        see_to_what_is_due(world).await;
        assert!(handled <= 60, "{handled}");
        assert_eq!(Driver::open(world, 1).await.claim(100).await.len(), 60);
        for number in 1..=60 {
            assert_eq!(story(world, workflow_id(number)).await.len(), 6, "{number}");
        }
    }

    /// An outdated moment does nothing.
    async fn an_outdated_moment_does_nothing(world) {
        let id = start(world, 1, dag(vec![retried("a", 3), task("b")])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", failure("broken")).await;
        let task = id.task(TaskNo::new(0).unwrap());
        world.workflows().decide(task, &Decision::Skip).await.unwrap();
        let before = story(world, id).await;
        let_time_pass(world, id).await;
        assert_eq!(story(world, id).await, before);
        assert_eq!(driver.drain().await, ["b"]);
    }

    /// In a paused workflow timers end and retries are queued, but nothing is taken.
    async fn time_passes_in_a_paused_workflow(world) {
        let id = start(world, 1, dag(vec![timer("a", HOUR), after("b", &["a"]), retried("c", 1)])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("c", failure("broken")).await;
        world.workflows().control(id, &Control::Pause).await.unwrap();
        let_time_pass(world, id).await;
        assert_eq!(task_status(world, id, "a").await, TaskStatus::Succeeded);
        assert_eq!((task_status(world, id, "b").await, task_status(world, id, "c").await), (TaskStatus::Queued, TaskStatus::Queued));
        assert_eq!(driver.claim(10).await, []);
        world.workflows().control(id, &Control::Resume).await.unwrap();
        assert_eq!(driver.take_all().await, ["b", "c"]);
    }

    /// Only leases that ran out are taken over, no more tasks than asked for at a time.
    async fn lost_tasks_are_taken_over_in_turn(world) {
        start(world, 1, parallel(5)).await;
        start(world, 2, linear(&["held"])).await;
        let (lost, alive) = (Driver::open(world, 1).await, Driver::open(world, 2).await);
        assert_eq!(lost.claim(5).await.len(), 5);
        assert_eq!(alive.take().await.key.as_str(), "held");
        let grace = HOUR;
        assert_eq!(world.upkeep().take_over(grace, 10).await.unwrap().handled, 0);
        lost.expire().await;
        let handled = [2, 2, 2, 2].map(|limit| world.upkeep().take_over(grace, limit));
        let mut counts = Vec::new();
        for upkeep in handled {
            counts.push(upkeep.await.unwrap().handled);
        }
        assert_eq!(counts, [2, 2, 1, 0]);
        assert_eq!(alive.claim(10).await.len(), 5);
        assert_eq!(task_status(world, workflow_id(2), "held").await, TaskStatus::Running);
    }

    /// However many nodes take over, each task is lost once.
    async fn a_task_is_lost_once(world) {
        start(world, 1, parallel(40)).await;
        let lost = Driver::open(world, 1).await;
        assert_eq!(lost.claim(40).await.len(), 40);
        lost.expire().await;
        let mut nodes = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let world = world.clone();
            nodes.spawn(async move {
                while world.upkeep().take_over(HOUR, 7).await.unwrap().handled > 0 {}
            });
        }
        nodes.join_all().await;
        let told = story(world, workflow_id(1)).await;
        assert_eq!(told.iter().filter(|told| told.starts_with("task_lost")).count(), 40);
        let again = Driver::open(world, 2).await.claim(100).await;
        assert!(again.len() == 40 && again.iter().all(|taken| taken.attempt == 2), "{again:?}");
    }

    /// An attempt that takes longer than its timeout and the grace is taken from its worker.
    async fn an_overdue_attempt_is_taken_away(world) {
        for (number, first, expected) in [
            (1, task("a"), TaskStatus::TimedOut),
            (2, retried("a", 1), TaskStatus::Retrying),
            (3, unrepeatable("a"), TaskStatus::Unknown),
        ] {
            let id = start(world, number, sequence(vec![limited(first, SHORT, None)])).await;
            let driver = Driver::open(world, number).await;
            let taken = driver.take().await;
            assert_eq!(world.upkeep().take_over(HOUR, 10).await.unwrap().handled, 0);
            takes_over(world, 1).await;
            let found = task_record(world, id, "a").await.task;
            assert_eq!((found.status, found.error.map(|error| error.code)), (expected, Some("timeout".to_owned())));
            assert!(matches!(driver.report(&taken, success("1")).await, ReportVerdict::Refused(_)));
            assert_eq!(task_status(world, id, "a").await, expected);
        }
    }

    /// An attempt that is in time stays with its worker, and it is known when it no longer will be.
    async fn an_attempt_in_time_is_left_alone(world) {
        let id = start(world, 1, sequence(vec![limited(task("a"), HOUR, None)])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", Outcome::Released).await;
        driver.take().await;
        let upkeep = world.upkeep().take_over(Duration::ZERO, 10).await.unwrap();
        assert_eq!((upkeep.handled, task_status(world, id, "a").await), (0, TaskStatus::Running));
        let next = upkeep.next.expect("a lease and an attempt run");
        assert!(next <= LEASE && next > LEASE / 2, "{next:?}");
    }

    /// Workflows of a name can be kept longer, or shorter, than others.
    async fn names_have_ages_of_their_own(world) {
        ended(world, 1, HOUR * 3).await;
        ended(world, 2, HOUR * 5).await;
        let ages = |usual, named: [Duration; 2]| {
            let names = [1, 2].map(|number| workflow(number, linear(&["a"])).name);
            RetentionAges { usual, named: names.into_iter().zip(named).chain([("other".to_owned(), HOUR)]).collect() }
        };
        let upkeep = world.upkeep();
        assert_eq!(upkeep.prune(&ages(HOUR, [HOUR * 4, HOUR * 6]), 10).await.unwrap(), 0);
        assert_eq!(upkeep.prune(&ages(HOUR * 6, [HOUR * 4, HOUR * 4]), 10).await.unwrap(), 1);
        assert_eq!([is_there(world, 1).await, is_there(world, 2).await], [true, false]);
        let other = RetentionAges { usual: HOUR, named: [("other".to_owned(), HOUR * 9)].into() };
        assert_eq!(upkeep.prune(&other, 10).await.unwrap(), 1);
    }

    /// What ended long enough ago is removed, oldest first, no more than asked for, and nothing else.
    async fn old_workflows_are_removed(world) {
        ended(world, 1, HOUR * 3).await;
        ended(world, 2, HOUR * 5).await;
        ended(world, 3, HOUR * 4).await;
        ended(world, 4, Duration::from_mins(1)).await;
        start(world, 5, linear(&["a"])).await;
        let delayed = NewWorkflow { start_after: Some(HOUR), ..workflow(6, linear(&["a"])) };
        start_new(world, delayed).await;
        let upkeep = world.upkeep();
        assert_eq!(upkeep.prune(&(HOUR * 6).into(), 10).await.unwrap(), 0);
        assert_eq!(upkeep.prune(&(HOUR * 2).into(), 0).await.unwrap(), 0);
        assert_eq!(upkeep.prune(&(HOUR * 2).into(), 2).await.unwrap(), 2);
        assert_eq!([is_there(world, 1).await, is_there(world, 2).await, is_there(world, 3).await], [true, false, false]);
        assert_eq!(upkeep.prune(&(HOUR * 2).into(), 2).await.unwrap(), 1);
        assert_eq!(upkeep.prune(&(HOUR * 2).into(), 2).await.unwrap(), 0);
        for number in 4..=6 {
            assert!(is_there(world, number).await, "{number}");
        }
        assert_eq!(story(world, workflow_id(4)).await.len(), 6);
        let_time_pass(world, workflow_id(6)).await;
        assert_eq!(Driver::open(world, 100).await.claim(10).await.len(), 2);
    }

    /// Whatever way a workflow ended, it is removed with everything about it.
    async fn everything_about_a_workflow_is_removed(world) {
        let stays = start(world, 1, sequence(vec![waits_for("a", "go", None)])).await;
        let new = NewWorkflow { deadline: Some(HOUR), definition: dag(vec![
            retried("a", 1), keyed("b", &["group:1"]), timer("c", HOUR), after("d", &["b"]),
        ]).into(), ..asked(2, "scope", "key", 1) };
        let id = start_new(world, new).await;
        world.workflows().signal(id, &signal_name("go"), &json("1"), None).await.unwrap();
        let driver = Driver::open(world, 1).await;
        driver.run("a", failure("broken")).await;
        driver.run("b", failure("broken")).await;
        let cancel = Control::Cancel { reason: "not needed".to_owned() };
        assert_eq!(world.workflows().control(id, &cancel).await.unwrap(), Some(WorkflowStatus::Cancelled));
        world.side_door().end_earlier(id, HOUR).await;
        assert_eq!(world.upkeep().prune(&Duration::from_mins(1).into(), 10).await.unwrap(), 1);

        let (view, workflows) = (world.view(), world.workflows());
        assert_eq!(view.find(id).await.unwrap(), None);
        assert_eq!(view.tasks(id, ALL).await.unwrap(), None);
        assert_eq!(view.task(id.task(TaskNo::new(0).unwrap())).await.unwrap(), None);
        assert_eq!(view.history(id, ALL).await.unwrap(), None);
        assert_eq!(view.list(&WorkflowFilter::default(), ALL).await.unwrap().items.len(), 1);
        assert_eq!(view.dead_letters(&DeadLetterFilter::default(), ALL).await.unwrap().items, []);
        assert_eq!(workflows.redrive(&DeadLetterFilter::default(), 10, None).await.unwrap(), []);
        assert_eq!(workflows.control(id, &cancel).await.unwrap(), None);
        let filter = EventFilter { workflow: Some(id) };
        assert_eq!(world.events().after(EventPosition::START, filter, 100).await.unwrap().events, []);
        let idle = world.upkeep().wake_due(10).await.unwrap();
        assert_eq!((idle.handled, idle.next), (0, None));
        assert_eq!(world.queues().stats().await.unwrap(), []);
        let again = workflows.start(&[asked(2, "scope", "key", 2)]).await.unwrap();
        assert_eq!(again, [StartedWorkflow::Created(id)]);
        assert_eq!(story(world, id).await.len(), 3);
        assert_eq!(story(world, stays).await.len(), 3);
    }

    /// A workflow that has no more to do by itself has ended, also when it failed or needs a person.
    async fn failures_are_removed_too(world) {
        let id = start(world, 1, linear(&["a"])).await;
        Driver::open(world, 1).await.run("a", failure("broken")).await;
        world.side_door().end_earlier(id, HOUR).await;
        assert_eq!(world.upkeep().prune(&Duration::from_mins(1).into(), 10).await.unwrap(), 1);
        assert!(!is_there(world, 1).await);
    }

    /// A workflow that a person reopened has not ended, however long ago it had.
    async fn what_was_reopened_is_not_removed(world) {
        let id = start(world, 1, linear(&["a"])).await;
        Driver::open(world, 1).await.run("a", failure("broken")).await;
        world.side_door().end_earlier(id, HOUR).await;
        world.workflows().decide(id.task(TaskNo::new(0).unwrap()), &Decision::Retry).await.unwrap();
        assert_eq!(world.upkeep().prune(&Duration::from_mins(1).into(), 10).await.unwrap(), 0);
        assert_eq!(status(world, id).await, WorkflowStatus::Running);
    }

    /// The end of a child whose parent is gone does no harm.
    async fn a_child_may_outlive_its_parent(world) {
        let id = start(world, 1, sequence(vec![parent("a")])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        let child = NewWorkflow { parent: Some(taken.task), ..workflow(2, linear(&["only"])) };
        let child = start_new(world, child).await;
        driver.end(&taken, failure("broken")).await;
        world.side_door().end_earlier(id, HOUR).await;
        assert_eq!(world.upkeep().prune(&Duration::from_mins(1).into(), 10).await.unwrap(), 1);
        see_to_what_is_due(world).await;
        driver.drain().await;
        see_to_what_is_due(world).await;
        assert!(status(world, child).await.is_terminal());
        assert_eq!(world.upkeep().wake_due(10).await.unwrap().next, None);
    }

    /// The policy of a kind decides what becomes of a lost task, not its guarantee alone.
    async fn a_lost_task_follows_its_policy(world) {
        let mut adopted = unrepeatable("a");
        adopted.work.policy.takeover = Takeover::Requeue;
        let mut given_up = task("a");
        given_up.work.policy = TaskPolicy {
            takeover: Takeover::Unknown,
            ..TaskPolicy::once(Guarantee::G2)
        };
        for (number, first, expected) in [(1, adopted, TaskStatus::Queued), (2, given_up, TaskStatus::Unknown)] {
            let id = start(world, number, sequence(vec![first])).await;
            let driver = Driver::open(world, number).await;
            driver.take().await;
            driver.expire().await;
            assert_eq!(world.upkeep().take_over(HOUR, 10).await.unwrap().handled, 1);
            assert_eq!(task_status(world, id, "a").await, expected);
            world.workflows().control(id, &Control::Pause).await.unwrap();
        }
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        world.side_door().cut().await;
        is_unavailable(world.upkeep().wake_due(10).await);
        is_unavailable(world.upkeep().take_over(HOUR, 10).await);
        is_unavailable(world.upkeep().prune(&HOUR.into(), 10).await);
    }

    /// An attempt of a remote worker is taken away when its timeout has passed, whatever the grace for engines.
    async fn a_remote_attempt_has_no_grace(world) {
        let short = Work {
            action: Action::RunRemotely,
            policy: TaskPolicy { timeout: Duration::from_millis(20), ..TaskPolicy::once(Guarantee::G3) },
            ..work()
        };
        let engine = Work { action: Action::Run, ..short.clone() };
        for (number, work, executor) in [(1, short, Executor::Remote), (2, engine, Executor::Engine)] {
            start(world, number, sequence(vec![doing("a", work)])).await;
            Driver::on(world, number, executor, &["default"]).await.take().await;
        }
        eventually(Duration::from_secs(10), || async {
            world.upkeep().take_over(Duration::from_hours(1), 10).await.unwrap();
            let found = task_status(world, workflow_id(1), "a").await;
            if found == TaskStatus::TimedOut { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(task_status(world, workflow_id(2), "a").await, TaskStatus::Running);
    }

    /// The keys of requests that made no workflow end by age; those of workflows end with them.
    async fn keys_end_by_age_or_with_their_workflows(world) {
        let waits = waits_for("a", "other", None);
        let new = NewWorkflow {
            idempotency: Some(idempotency("start", "k", 1)),
            ..workflow(1, sequence(vec![waits]))
        };
        let id = start_new(world, new.clone()).await;
        let (store, name) = (world.workflows(), signal_name("go"));
        let payload = json("1");
        let signal = async |digest| {
            let key = idempotency("signal", "k", digest);
            store.signal(id, &name, &payload, Some(&key)).await
        };
        signal(1).await.unwrap();
        assert_eq!(world.upkeep().prune_keys(Duration::from_hours(1), 10).await.unwrap(), 0);
        assert!(signal(2).await.is_err());
        eventually(Duration::from_secs(10), || async {
            let forgotten = world.upkeep().prune_keys(Duration::from_millis(1), 10).await.unwrap();
            if forgotten == 1 { Ok(()) } else { Err(format!("{forgotten} keys")) }
        })
        .await;
        signal(2).await.unwrap();
        let again = store.start(&[NewWorkflow { id: workflow_id(2), ..new }]).await.unwrap();
        assert_eq!(again, [StartedWorkflow::Replayed(id)]);
    }

    /// The clock is remembered, and believed only when it has gone on for a day since nothing was known of it.
    async fn the_clock_is_watched(world) {
        let first = world.upkeep().watch_clock().await.unwrap();
        assert_eq!(first.leap, Some(ClockLeap::New));
        assert_eq!(first.watch.hold(), Some(ClockWatch::DAY));
        let second = world.upkeep().watch_clock().await.unwrap();
        assert_eq!(second.leap, None);
        assert_eq!(second.watch.trusted_from, first.watch.trusted_from);
        assert!(second.watch.seen_at >= first.watch.seen_at);
        assert!(second.watch.hold().is_some());
    }
}
