//! What [`TaskQueue`](drover_ports::TaskQueue) promises.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::workflow::queue::{QueueLimits, RateLimit};
use drover_domain::workflow::run::{Control, Outcome, Refusal, TaskError};
use drover_domain::workflow::{
    Action, Executor, Guarantee, Kind, RetryPolicy, RetryStrategy, Takeover, TaskId, TaskNo,
    TaskPolicy, TaskSpec, TaskStatus, Work, WorkflowId, WorkflowStatus,
};
use drover_ports::{Assignment, ClaimRequest, HeldAttempt, NewWorkflow, Report, ReportVerdict};

use super::{is_stale, is_taken, is_unavailable};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, HOSTILE_JSON, LEASE, after, dag, doing, failure, json, key, keyed, lease_id,
    let_time_pass, linear, parallel, parent, queue, queued_in, record, records, remote, retried,
    sequence, start, status, story, success, take_over, task, task_record, task_status, undoable,
    unrepeatable, work, workflow, workflow_id,
};
use crate::eventually::eventually;
use crate::store::fixtures::HOSTILE;

fn prioritized(key: &str, priority: i16) -> TaskSpec {
    doing(key, Work { priority, ..work() })
}

/// Starts one workflow of one task; the task.
async fn start_one(world: &EngineWorld, number: u32, task: TaskSpec) -> TaskId {
    let id = start(world, number, sequence(vec![task])).await;
    id.task(TaskNo::new(0).unwrap())
}

fn urgent(key: &str, concurrency_key: &str) -> TaskSpec {
    TaskSpec {
        work: prioritized(key, 100).work,
        ..keyed(key, &[concurrency_key])
    }
}

fn report(taken: &Assignment, outcome: Outcome) -> Report {
    Report {
        task: taken.task,
        attempt: taken.attempt,
        outcome,
    }
}

fn stale(attempt: u32) -> ReportVerdict {
    ReportVerdict::Refused(Refusal::Stale { attempt })
}

async fn limit(world: &EngineWorld, limits: QueueLimits) {
    world
        .queues()
        .limit(&queue("default"), limits)
        .await
        .unwrap();
}

async fn picture(world: &EngineWorld, id: WorkflowId) -> impl PartialEq + std::fmt::Debug {
    let tasks = records(world, id).await;
    (record(world, id).await, tasks, story(world, id).await)
}

contract! { $ task_queue => task_queue_contract for EngineWorld;
    /// What is taken says everything there is to know about it, and is marked as running.
    async fn a_taken_task_is_described(world) {
        let retry = RetryPolicy::new(RetryStrategy::Exponential, Duration::from_micros(1_500_001), 7).unwrap();
        let retry = retry.with_base(1.3).unwrap().with_jitter(0.1).unwrap();
        let policy = TaskPolicy {
            retry: retry.with_max_interval(Duration::from_mins(10)).unwrap(),
            non_retryable: vec![HOSTILE.to_owned(), "b".to_owned()],
            timeout: Duration::from_micros(90_500_001),
            deadline: Some(Duration::from_hours(7)),
            guarantee: Guarantee::G4,
            takeover: Takeover::Requeue,
        };
        let work = Work {
            kind: Kind::parse("http.request").unwrap(),
            action: Action::RunRemotely,
            queue: queue("slow"),
            priority: -7,
            payload: json(HOSTILE_JSON),
            policy,
        };
        let id = start(world, 1, sequence(vec![doing("a.b:c-d_e", work.clone())])).await;
        let before = task_record(world, id, "a.b:c-d_e").await;
        assert_eq!((before.worker, before.started_at, before.task.attempt), (None, None, 0));
        let driver = Driver::on(world, 1, Executor::Remote, &["slow"]).await;
        let taken = driver.take().await;
        let created_at = record(world, id).await.created_at;
        assert!(taken.queued_at >= created_at, "{:?} {created_at:?}", taken.queued_at);
        let expected = Assignment {
            task: id.task(TaskNo::new(0).unwrap()),
            attempt: 1,
            key: before.task.key,
            kind: work.kind,
            action: work.action,
            queue: work.queue,
            payload: work.payload,
            policy: work.policy,
            undoes: None,
            queued_at: taken.queued_at,
        };
        assert_eq!(taken, expected);
        let found = task_record(world, id, "a.b:c-d_e").await;
        assert_eq!((found.task.status, found.task.attempt), (TaskStatus::Running, 1));
        assert_eq!(found.worker.as_deref(), Some("worker 1"));
        assert!(found.started_at >= Some(taken.queued_at) && found.finished_at.is_none());
    }

    /// Nothing is taken where there is nothing, where nothing is asked for, and from no queue.
    async fn an_empty_queue_gives_nothing(world) {
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(10).await, []);
        start(world, 1, linear(&["a"])).await;
        assert_eq!(driver.claim(0).await, []);
        assert_eq!(Driver::on(world, 2, Executor::Engine, &[]).await.claim(10).await, []);
        assert_eq!(Driver::on(world, 3, Executor::Engine, &["other"]).await.claim(10).await, []);
        assert_eq!(driver.take_all().await, ["a"]);
        assert_eq!(driver.claim(10).await, []);
    }

    /// The highest priority goes first, and of these the task that has waited longest.
    async fn the_most_urgent_and_then_the_oldest_goes_first(world) {
        for (number, priority) in [(9, 0), (5, -100), (7, 100), (2, 0), (1, 100)] {
            start(world, number, sequence(vec![prioritized(&format!("t{number}"), priority)])).await;
        }
        assert_eq!(Driver::open(world, 1).await.drain().await, ["t7", "t1", "t9", "t2", "t5"]);
    }

    /// A lease lists what it holds: tasks claimed under it, neither reported nor taken by others.
    async fn a_lease_tells_what_it_holds(world) {
        start(world, 1, parallel(4)).await;
        let (mine, others) = (Driver::open(world, 1).await, Driver::open(world, 2).await);
        assert_eq!(mine.held().await, []);
        let taken = mine.claim(3).await;
        assert_eq!(others.claim(1).await.len(), 1);
        let expected: Vec<(TaskId, u32)> = taken.iter().map(|taken| (taken.task, 1)).collect();
        assert_eq!(mine.held().await, expected);
        let [first, second, third] = &taken[..] else { panic!("{taken:?}") };
        mine.end(first, success("1")).await;
        mine.end(second, Outcome::Released).await;
        assert_eq!(mine.held().await, [(third.task, 1)]);
        // What was given back is another attempt when it is taken again.
        assert_eq!(mine.claim(1).await.len(), 1);
        assert_eq!(mine.held().await, [(second.task, 2), (third.task, 1)]);
    }

    /// A lease separates what was taken just now from what it has held for some time.
    async fn a_lease_tells_what_it_holds_for_long(world) {
        start(world, 1, parallel(1)).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        let held = world.tasks().held(driver.lease, Duration::from_hours(1)).await.unwrap();
        assert_eq!(held, []);
        eventually(Duration::from_secs(10), || async {
            let held = world.tasks().held(driver.lease, Duration::from_millis(20)).await.unwrap();
            let expected = [HeldAttempt { task: taken.task, attempt: 1 }];
            if held == expected { Ok(()) } else { Err(format!("{held:?}")) }
        })
        .await;
    }

    /// A lease that is over holds nothing.
    async fn a_lease_that_is_over_does_not_tell(world) {
        start(world, 1, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        driver.take().await;
        driver.expire().await;
        is_stale(world.tasks().held(driver.lease, Duration::ZERO).await);
        is_stale(world.tasks().held(lease_id(9), Duration::ZERO).await);
    }

    /// What is queued with one start is taken in the order of the request.
    async fn one_start_is_taken_in_its_order(world) {
        let all: Vec<NewWorkflow> = [(1, &["a", "b"]), (2, &["c", "d"])]
            .map(|(number, keys)| workflow(number, dag(keys.iter().map(|key| task(key)).collect())))
            .into();
        world.workflows().start(&all).await.unwrap();
        assert_eq!(Driver::open(world, 1).await.drain().await, ["a", "b", "c", "d"]);
    }

    /// A task that is queued later, or again, stands behind those that are there.
    async fn what_is_queued_again_stands_at_the_end(world) {
        start(world, 1, linear(&["a", "next"])).await;
        start(world, 2, linear(&["returned"])).await;
        start(world, 3, linear(&["c"])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        driver.run("returned", Outcome::Released).await;
        assert_eq!(driver.drain().await, ["c", "next", "returned"]);
    }

    /// A claim takes from the queues it names, and no more than it asks for.
    async fn a_claim_takes_from_the_queues_it_names(world) {
        let tasks = vec![queued_in("a", "one"), queued_in("b", "two"), queued_in("c", "three"), queued_in("d", "one")];
        start(world, 1, dag(tasks)).await;
        let driver = Driver::on(world, 1, Executor::Engine, &["one", "two"]).await;
        let mut taken: Vec<String> = driver.claim(2).await.iter().map(key).collect();
        assert_eq!(taken.len(), 2);
        taken.extend(driver.claim(2).await.iter().map(key));
        assert_eq!(taken.iter().map(String::as_str).collect::<BTreeSet<_>>(), ["a", "b", "d"].into());
        assert_eq!(driver.claim(2).await, []);
    }

    /// The engine and workers outside do not meet, also not in queues of one name.
    async fn executors_do_not_meet(world) {
        start(world, 1, dag(vec![task("inside"), remote("outside"), parent("child")])).await;
        let inside = Driver::open(world, 1).await;
        let outside = Driver::on(world, 2, Executor::Remote, &["default"]).await;
        assert_eq!(outside.take_all().await, ["outside"]);
        assert_eq!(inside.take_all().await, ["child", "inside"]);
    }

    /// Eight workers share two hundred tasks; none is taken twice and none is left.
    async fn no_task_is_taken_twice(world) {
        let all: Vec<NewWorkflow> = (1..=100).map(|number| workflow(number, linear(&["a", "b"]))).collect();
        world.workflows().start(&all).await.unwrap();
        let mut workers = tokio::task::JoinSet::new();
        for number in 1..=8 {
            let world = world.clone();
            workers.spawn(async move {
                let driver = Driver::open(&world, number).await;
                let mut done = Vec::new();
                loop {
                    let taken = driver.claim(number).await;
                    if taken.is_empty() {
                        return done;
                    }
                    let reports: Vec<Report> = taken.iter().map(|taken| report(taken, success("1"))).collect();
                    let verdicts = world.tasks().report(driver.lease, &reports).await.unwrap();
                    assert!(verdicts.iter().all(|verdict| *verdict == ReportVerdict::Accepted), "{verdicts:?}");
                    done.extend(taken.iter().map(|taken| taken.task));
                }
            });
        }
        let mut done: Vec<TaskId> = workers.join_all().await.into_iter().flatten().collect();
        // A worker that found nothing while others still worked has left no task behind.
        let last = Driver::open(world, 9).await;
        for taken in last.claim(1_000).await {
            last.end(&taken, success("1")).await;
            done.push(taken.task);
        }
        while let Some(taken) = last.claim(1).await.pop() {
            last.end(&taken, success("1")).await;
            done.push(taken.task);
        }
        assert_eq!((done.len(), done.iter().collect::<BTreeSet<_>>().len()), (200, 200));
        for number in 1..=100 {
            assert_eq!(status(world, workflow_id(number)).await, WorkflowStatus::Succeeded);
        }
    }

    /// A lease is begun once.
    async fn a_lease_is_begun_once(world) {
        let driver = Driver::open(world, 1).await;
        is_taken(world.tasks().open_lease(driver.lease, "another", LEASE).await);
        start(world, 1, linear(&["a"])).await;
        driver.take().await;
        assert_eq!(task_record(world, workflow_id(1), "a").await.worker.as_deref(), Some("worker 1"));
    }

    /// A worker may have any name.
    async fn a_worker_may_have_any_name(world) {
        let name = "a'b\"c\\ $1 {{ x }} ;--é😀";
        let id = start(world, 1, linear(&["a"])).await;
        world.tasks().open_lease(lease_id(1), name, LEASE).await.unwrap();
        let request = ClaimRequest { executor: Executor::Engine, queues: vec![queue("default")], limit: 1 };
        assert_eq!(world.tasks().claim(lease_id(1), &request).await.unwrap().len(), 1);
        assert_eq!(task_record(world, id, "a").await.worker.as_deref(), Some(name));
    }

    /// Under a lease that ran out, was ended or never began nothing is renewed and nothing taken.
    async fn a_lease_that_is_over_is_worth_nothing(world) {
        start(world, 1, linear(&["a"])).await;
        let (expired, closed) = (Driver::open(world, 1).await, Driver::open(world, 2).await);
        expired.expire().await;
        world.tasks().close_lease(closed.lease).await.unwrap();
        let request = ClaimRequest { executor: Executor::Engine, queues: vec![queue("default")], limit: 1 };
        for lease in [expired.lease, closed.lease, lease_id(404)] {
            is_stale(world.tasks().heartbeat(lease, LEASE).await);
            is_stale(world.tasks().claim(lease, &request).await);
        }
        take_over(world).await;
        is_stale(world.tasks().heartbeat(expired.lease, LEASE).await);
        assert_eq!(task_status(world, workflow_id(1), "a").await, TaskStatus::Queued);
    }

    /// A lease lasts from the last sign of life on; what it holds is not taken over before.
    async fn a_heartbeat_renews_the_lease(world) {
        start(world, 1, linear(&["a"])).await;
        world.tasks().open_lease(lease_id(1), "worker", Duration::from_millis(500)).await.unwrap();
        world.tasks().heartbeat(lease_id(1), LEASE).await.unwrap();
        let request = ClaimRequest { executor: Executor::Engine, queues: vec![queue("default")], limit: 1 };
        assert_eq!(world.tasks().claim(lease_id(1), &request).await.unwrap().len(), 1);
        take_over(world).await;
        assert_eq!(task_status(world, workflow_id(1), "a").await, TaskStatus::Running);
        let next = world.upkeep().take_over(LEASE, 10).await.unwrap().next.expect("a lease runs");
        assert!(next <= LEASE && next > LEASE / 2, "{next:?}");
    }

    /// A late worker may still report until another worker takes its task over.
    async fn a_late_report_is_accepted_until_somebody_took_over(world) {
        let id = start(world, 1, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        driver.expire().await;
        driver.end(&taken, success("1")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Succeeded);
    }

    /// A task whose lease ran out goes to another worker; the old one is refused.
    async fn a_lost_task_goes_to_another_worker(world) {
        let id = start(world, 1, sequence(vec![retried("a", 3), task("b")])).await;
        let (old, new) = (Driver::open(world, 1).await, Driver::open(world, 2).await);
        let lost = old.take().await;
        old.expire().await;
        assert_eq!(new.claim(1).await, []);
        take_over(world).await;
        assert_eq!(old.report(&lost, success("\"old\"")).await, stale(1));
        let again = new.take().await;
        assert_eq!((again.task, again.attempt), (lost.task, 2));
        assert_eq!(again.idempotency_key(), lost.idempotency_key());
        let before = picture(world, id).await;
        for outcome in [success("\"old\""), failure("old"), Outcome::Released, Outcome::Cancelled, Outcome::TimedOut] {
            assert_eq!(old.report(&lost, outcome).await, stale(1));
        }
        assert!(picture(world, id).await == before);
        let found = task_record(world, id, "a").await;
        assert_eq!((found.worker.as_deref(), found.task.lost, found.task.retries), (Some("worker 2"), 1, 0));
        new.end(&again, success("\"new\"")).await;
        assert_eq!(task_record(world, id, "a").await.result, Some(json("\"new\"")));
        assert_eq!(story(world, id).await[2..7], ["task_queued a", "task_started a", "task_lost a", "task_queued a", "task_started a"]);
    }

    /// A task that cannot be repeated is unknown when its lease ran out, and is not started again.
    async fn a_lost_task_that_cannot_be_repeated_is_unknown(world) {
        let id = start(world, 1, sequence(vec![unrepeatable("a")])).await;
        let driver = Driver::open(world, 1).await;
        let lost = driver.take().await;
        driver.expire().await;
        take_over(world).await;
        let found = task_record(world, id, "a").await;
        assert_eq!((found.task.status, found.task.error.map(|error| error.code)), (TaskStatus::Unknown, Some("worker_lost".to_owned())));
        assert_eq!(driver.report(&lost, success("1")).await, stale(1));
        assert_eq!(Driver::open(world, 2).await.claim(1).await, []);
        assert_eq!(status(world, id).await, WorkflowStatus::Running);
    }

    /// What is not the worker's to report is refused and changes nothing; the rest of the group counts.
    async fn a_refused_report_does_not_hinder_the_others(world) {
        let foreign = start_one(world, 1, task("foreign")).await;
        assert_eq!(Driver::open(world, 1).await.take().await.task, foreign);
        let queued = start_one(world, 3, queued_in("queued", "elsewhere")).await;
        start(world, 2, parallel(3)).await;
        let driver = Driver::open(world, 2).await;
        let mut taken = driver.claim(3).await;
        taken.sort_by_key(|taken| taken.task);
        let before = (picture(world, workflow_id(1)).await, picture(world, workflow_id(3)).await);
        let bare = |task, attempt| Report { task, attempt, outcome: success("\"bad\"") };
        let reports = [
            bare(foreign, 1),
            report(&taken[0], success("0")),
            bare(taken[1].task, 0),
            bare(taken[1].task, 2),
            bare(queued, 0),
            bare(workflow_id(404).task(TaskNo::new(0).unwrap()), 1),
            bare(workflow_id(2).task(TaskNo::new(3).unwrap()), 1),
            bare(TaskId::from_uuid(workflow_id(2).as_uuid()), 1),
            report(&taken[0], success("\"bad\"")),
            report(&taken[2], failure("broken")),
        ];
        let accepted = ReportVerdict::Accepted;
        let nobody = ReportVerdict::NoSuchTask;
        assert_eq!(world.tasks().report(driver.lease, &reports).await.unwrap(), [
            stale(1), accepted.clone(), stale(0), stale(2), stale(0), nobody.clone(), nobody.clone(), nobody, stale(1), accepted,
        ]);
        assert!((picture(world, workflow_id(1)).await, picture(world, workflow_id(3)).await) == before);
        let found = records(world, workflow_id(2)).await;
        assert_eq!(found.iter().map(|found| found.task.status).collect::<Vec<_>>(), [TaskStatus::Succeeded, TaskStatus::Running, TaskStatus::Failed]);
        assert_eq!(found[0].result, Some(json("0")));
        driver.end(&taken[1], success("1")).await;
        assert_eq!(status(world, workflow_id(2)).await, WorkflowStatus::Failed);
    }

    /// A group of reports ends many workflows, and many tasks of one, in one call.
    async fn a_group_of_reports_is_written_together(world) {
        let mut all: Vec<NewWorkflow> = (1..=100).map(|number| workflow(number, linear(&["a"]))).collect();
        all.push(workflow(101, parallel(50)));
        let tasks = (0..25).flat_map(|number| {
            let root = format!("r{number}");
            [task(&root), after(&format!("n{number}"), &[root.as_str()])]
        });
        all.push(workflow(102, dag(tasks.collect())));
        world.workflows().start(&all).await.unwrap();
        let driver = Driver::open(world, 1).await;
        let taken = driver.claim(1_000).await;
        assert_eq!(taken.len(), 175);
        let reports: Vec<Report> = taken.iter().map(|taken| report(taken, success("1"))).collect();
        let verdicts = world.tasks().report(driver.lease, &reports).await.unwrap();
        assert_eq!(verdicts, vec![ReportVerdict::Accepted; 175]);
        for number in 1..=101 {
            assert_eq!(status(world, workflow_id(number)).await, WorkflowStatus::Succeeded, "{number}");
        }
        assert_eq!(driver.claim(1_000).await.len(), 25);
        assert_eq!(world.tasks().report(driver.lease, &[]).await.unwrap(), []);
    }

    /// Each way in which an attempt can end, and what follows from it.
    async fn an_attempt_may_end_in_many_ways(world) {
        let error = TaskError::new("broken", HOSTILE);
        let failed = |retryable| Outcome::Failed { error: error.clone(), retryable };
        let unknown = Outcome::Unknown { error: error.clone() };
        let (going, done) = (WorkflowStatus::Running, WorkflowStatus::Failed);
        let cases = [
            (retried("a", 1), failed(true), TaskStatus::Retrying, TaskStatus::Pending, going),
            (retried("a", 1), failed(false), TaskStatus::Failed, TaskStatus::Skipped, done),
            (task("a"), failed(true), TaskStatus::Failed, TaskStatus::Skipped, done),
            (retried("a", 1), Outcome::TimedOut, TaskStatus::Retrying, TaskStatus::Pending, going),
            (task("a"), Outcome::TimedOut, TaskStatus::TimedOut, TaskStatus::Skipped, done),
            (unrepeatable("a"), Outcome::TimedOut, TaskStatus::Unknown, TaskStatus::Pending, going),
            (task("a"), unknown, TaskStatus::Unknown, TaskStatus::Pending, going),
            (task("a"), Outcome::Cancelled, TaskStatus::Cancelled, TaskStatus::Skipped, done),
            (task("a"), Outcome::Released, TaskStatus::Queued, TaskStatus::Pending, going),
            (parent("a"), Outcome::Waiting, TaskStatus::Waiting, TaskStatus::Pending, going),
        ];
        for (number, (first, outcome, status_then, next, workflow)) in (1..).zip(cases) {
            let case = format!("{outcome:?}");
            let has_error = matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown { .. });
            let id = start(world, number, sequence(vec![first, queued_in("b", "other")])).await;
            let driver = Driver::open(world, number).await;
            let taken = driver.take().await;
            driver.end(&taken, outcome).await;
            let found = task_record(world, id, "a").await;
            assert_eq!((found.task.status, found.task.attempt), (status_then, 1), "{case}");
            assert_eq!(found.finished_at.is_some(), status_then.is_terminal(), "{case}");
            assert_eq!((task_status(world, id, "b").await, status(world, id).await), (next, workflow), "{case}");
            if has_error {
                assert_eq!(found.task.error.as_ref(), Some(&error), "{case}");
            }
            assert_eq!(driver.report(&taken, success("1")).await, stale(1), "{case}");
            if workflow == going {
                world.workflows().control(id, &Control::Pause).await.unwrap();
            }
        }
    }

    /// A code that the policy names ends the attempts.
    async fn a_named_code_is_not_tried_again(world) {
        let mut first = retried("a", 5);
        first.work.policy.non_retryable = vec!["not_found".to_owned()];
        let id = start(world, 1, sequence(vec![first])).await;
        Driver::open(world, 1).await.run("a", failure("not_found")).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Failed);
    }

    /// Ending a lease gives back at once what it holds.
    async fn ending_a_lease_gives_back_what_it_holds(world) {
        let id = start(world, 1, dag(vec![task("a"), unrepeatable("b"), queued_in("c", "other")])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.claim(10).await;
        assert_eq!(taken.len(), 2);
        world.tasks().close_lease(driver.lease).await.unwrap();
        world.tasks().close_lease(driver.lease).await.unwrap();
        world.tasks().close_lease(lease_id(404)).await.unwrap();
        for taken in &taken {
            assert_eq!(driver.report(taken, success("1")).await, stale(1));
        }
        assert_eq!(task_status(world, id, "b").await, TaskStatus::Unknown);
        let again = Driver::open(world, 2).await.take().await;
        assert_eq!((again.key.as_str(), again.attempt), ("a", 2));
    }

    /// A task that its workers do not survive is given up in the end.
    async fn a_task_that_kills_its_workers_is_given_up(world) {
        let id = start(world, 1, linear(&["a"])).await;
        for number in 1..=TaskPolicy::LOST_MAX + 1 {
            assert_eq!(task_status(world, id, "a").await, TaskStatus::Queued);
            let driver = Driver::open(world, number).await;
            driver.take().await;
            world.tasks().close_lease(driver.lease).await.unwrap();
        }
        let found = task_record(world, id, "a").await.task;
        assert_eq!((found.status, found.error.map(|error| error.code)), (TaskStatus::Failed, Some("worker_lost".to_owned())));
    }

    /// What may go on without its workers is unknown when it has lost them all.
    async fn what_may_go_on_is_not_given_up(world) {
        let mut first = unrepeatable("a");
        first.work.policy.takeover = Takeover::Requeue;
        let id = start(world, 1, sequence(vec![first])).await;
        for number in 1..=TaskPolicy::LOST_MAX + 1 {
            assert_eq!(task_status(world, id, "a").await, TaskStatus::Queued);
            let driver = Driver::open(world, number).await;
            driver.take().await;
            world.tasks().close_lease(driver.lease).await.unwrap();
        }
        let found = task_record(world, id, "a").await.task;
        assert_eq!((found.status, found.error.map(|error| error.code)), (TaskStatus::Unknown, Some("worker_lost".to_owned())));
    }

    /// A task without a child cannot wait for one: that is a failure, and what depends on it is skipped.
    async fn a_task_without_a_child_cannot_wait(world) {
        let id = start(world, 1, sequence(vec![retried("a", 5), task("b")])).await;
        Driver::open(world, 1).await.run("a", Outcome::Waiting).await;
        let found = task_record(world, id, "a").await.task;
        assert_eq!((found.status, found.error.map(|error| error.code)), (TaskStatus::Failed, Some("cannot_wait".to_owned())));
        assert_eq!((task_status(world, id, "b").await, status(world, id).await), (TaskStatus::Skipped, WorkflowStatus::Failed));
    }

    /// Only the holder of a task gets the stop request, and only for tasks that must stop.
    async fn only_the_holder_is_told_to_stop(world) {
        let ids = [start(world, 1, linear(&["a"])).await, start(world, 2, linear(&["b"])).await];
        let (one, two) = (Driver::open(world, 1).await, Driver::open(world, 2).await);
        let held = [one.take().await, two.take().await];
        let cancel = Control::Cancel { reason: "not needed".to_owned() };
        world.workflows().control(ids[0], &cancel).await.unwrap();
        assert_eq!(world.tasks().heartbeat(two.lease, LEASE).await.unwrap().stop, []);
        assert_eq!(world.tasks().heartbeat(one.lease, LEASE).await.unwrap().stop, [held[0].task]);
        one.end(&held[0], Outcome::Cancelled).await;
        assert_eq!(world.tasks().heartbeat(one.lease, LEASE).await.unwrap().stop, []);
    }

    /// What goes on without its worker is taken up again to be stopped.
    async fn what_goes_on_is_taken_up_to_be_stopped(world) {
        let mut goes_on = unrepeatable("a");
        goes_on.work.policy.takeover = Takeover::Requeue;
        let id = start(world, 1, sequence(vec![goes_on])).await;
        let old = Driver::open(world, 1).await;
        old.take().await;
        let cancel = Control::Cancel { reason: "not needed".to_owned() };
        world.workflows().control(id, &cancel).await.unwrap();
        world.tasks().close_lease(old.lease).await.unwrap();
        assert_eq!(status(world, id).await, WorkflowStatus::Cancelling);
        let new = Driver::open(world, 2).await;
        let again = new.take().await;
        assert_eq!(world.tasks().heartbeat(new.lease, LEASE).await.unwrap().stop, [again.task]);
        new.end(&again, Outcome::Cancelled).await;
        assert_eq!(status(world, id).await, WorkflowStatus::Cancelled);
    }

    /// Of tasks that share a concurrency key one runs at a time, whatever workflow they are of.
    async fn tasks_that_share_a_key_run_one_at_a_time(world) {
        start(world, 1, dag(vec![keyed("a", &["group:1", "backend:1"]), keyed("b", &["backend:1"]), keyed("c", &["group:2"])])).await;
        start(world, 2, dag(vec![keyed("d", &["group:1"]), keyed("e", &[]), keyed("f", &["group:3", "group:3"])])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.claim(100).await;
        let mut keys: Vec<String> = taken.iter().map(key).collect();
        keys.sort();
        assert_eq!(keys, ["a", "c", "e", "f"]);
        assert_eq!(Driver::open(world, 2).await.claim(100).await, []);
        let first = taken.iter().find(|taken| taken.key.as_str() == "a").unwrap();
        driver.end(first, success("1")).await;
        assert_eq!(driver.take_all().await, ["b", "d"]);
    }

    /// Workers that claim at once never hold one key twice.
    async fn one_key_is_never_held_twice(world) {
        let all: Vec<NewWorkflow> =
            (1..=24).map(|number| workflow(number, sequence(vec![keyed("a", &[if number % 2 == 0 { "even" } else { "odd" }])]))).collect();
        world.workflows().start(&all).await.unwrap();
        for round in 0..12 {
            let mut workers = tokio::task::JoinSet::new();
            for number in 1..=4 {
                let world = world.clone();
                workers.spawn(async move {
                    let driver = Driver::open(&world, round * 10 + number).await;
                    (driver.lease, driver.claim(10).await)
                });
            }
            let held = workers.join_all().await;
            assert_eq!(held.iter().map(|(_, taken)| taken.len()).sum::<usize>(), 2, "{held:?}");
            for (lease, taken) in held {
                for taken in taken {
                    let verdicts = world.tasks().report(lease, &[report(&taken, success("1"))]).await.unwrap();
                    assert_eq!(verdicts, [ReportVerdict::Accepted]);
                }
            }
        }
        assert_eq!(Driver::open(world, 1_000).await.claim(10).await, []);
    }

    /// A task whose worker was lost keeps its keys while it waits; only itself may go on.
    async fn a_lost_task_keeps_its_keys(world) {
        start(world, 1, sequence(vec![keyed("a", &["group:1"])])).await;
        start(world, 2, sequence(vec![urgent("b", "group:1")])).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.take().await.key.as_str(), "b");
        world.tasks().close_lease(driver.lease).await.unwrap();
        start(world, 3, sequence(vec![urgent("c", "group:1")])).await;
        let driver = Driver::open(world, 2).await;
        let again = driver.claim(10).await;
        assert_eq!(again.iter().map(key).collect::<Vec<_>>(), ["b"]);
        driver.end(&again[0], Outcome::Released).await;
        let again = driver.claim(10).await;
        assert_eq!(again.iter().map(key).collect::<Vec<_>>(), ["b"]);
        driver.end(&again[0], success("1")).await;
        assert_eq!(driver.drain().await, ["c", "a"]);
    }

    /// The keys of a lost task are free again when its workflow is called off.
    async fn a_called_off_task_gives_its_keys_back(world) {
        let id = start(world, 1, sequence(vec![keyed("a", &["group:1"])])).await;
        start(world, 2, sequence(vec![keyed("b", &["group:1"])])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", Outcome::Released).await;
        let cancel = Control::Cancel { reason: "not needed".to_owned() };
        world.workflows().control(id, &cancel).await.unwrap();
        assert_eq!(driver.drain().await, ["b"]);
    }

    /// Any text may be a concurrency key; keys meet only when they are equal.
    async fn a_key_may_be_any_text(world) {
        let keys = ["a'b", "a", "A", "a ", "{a}", "[\"a\"]", "a,b", "é😀", "%", "_"];
        let tasks = keys.iter().enumerate().flat_map(|(number, key)| {
            [keyed(&format!("first{number}"), &[key]), keyed(&format!("second{number}"), &[key])]
        });
        start(world, 1, dag(tasks.collect())).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(100).await.len(), keys.len());
    }

    /// Nothing is taken from a paused queue; what runs may end.
    async fn a_paused_queue_gives_nothing(world) {
        start(world, 1, dag(vec![task("a"), task("b"), queued_in("c", "other")])).await;
        let driver = Driver::on(world, 1, Executor::Engine, &["default", "other"]).await;
        let taken = driver.take().await;
        limit(world, QueueLimits { is_paused: true, ..QueueLimits::default() }).await;
        driver.end(&taken, success("1")).await;
        assert_eq!(driver.take_all().await, ["c"]);
        limit(world, QueueLimits::default()).await;
        assert_eq!(driver.take_all().await, ["b"]);
    }

    /// No more of a queue runs at once than its limit allows, on all workers together.
    async fn a_queue_has_a_limit_of_what_runs_at_once(world) {
        limit(world, QueueLimits { concurrency: Some(3), ..QueueLimits::default() }).await;
        start(world, 1, parallel(6)).await;
        start(world, 2, sequence(vec![queued_in("x", "other")])).await;
        let (one, two) = (Driver::open(world, 1).await, Driver::on(world, 2, Executor::Engine, &["default", "other"]).await);
        let first = one.claim(2).await;
        assert_eq!(first.len(), 2);
        let second: Vec<String> = two.take_all().await;
        assert_eq!((second.len(), second.contains(&"x".to_owned())), (2, true));
        assert_eq!(one.claim(10).await, []);
        one.end(&first[0], success("1")).await;
        one.end(&first[1], failure("broken")).await;
        assert_eq!(one.claim(10).await.len(), 2);
        limit(world, QueueLimits { concurrency: Some(4), ..QueueLimits::default() }).await;
        assert_eq!(one.claim(10).await.len(), 1);
    }

    /// Workers that claim at once do not take more than the limit together.
    async fn a_limit_holds_however_many_claim_at_once(world) {
        limit(world, QueueLimits { concurrency: Some(5), ..QueueLimits::default() }).await;
        start(world, 1, parallel(40)).await;
        let mut workers = tokio::task::JoinSet::new();
        for number in 1..=8 {
            let world = world.clone();
            workers.spawn(async move { Driver::open(&world, number).await.claim(3).await.len() });
        }
        assert_eq!(workers.join_all().await.into_iter().sum::<usize>(), 5);
    }

    /// No more of a queue starts in a span than its rate allows, in one claim or in many.
    async fn a_queue_has_a_rate(world) {
        let rate = RateLimit::new(3, Duration::from_hours(24)).unwrap();
        limit(world, QueueLimits { rate: Some(rate), ..QueueLimits::default() }).await;
        start(world, 1, parallel(6)).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(2).await.len(), 2);
        assert_eq!(driver.drain().await.len(), 1);
        assert_eq!(driver.claim(10).await, []);
        limit(world, QueueLimits::default()).await;
        assert_eq!(driver.claim(10).await.len(), 3);
    }

    /// A rate fills up again as time passes.
    async fn a_rate_fills_up_again(world) {
        let rate = RateLimit::new(200, Duration::from_secs(1)).unwrap();
        limit(world, QueueLimits { rate: Some(rate), ..QueueLimits::default() }).await;
        start(world, 1, parallel(300)).await;
        let driver = Driver::open(world, 1).await;
        let first = driver.claim(300).await.len();
        assert!((200..290).contains(&first), "{first}");
        eventually(Duration::from_secs(5), || async {
            match driver.claim(1).await.len() {
                0 => Err("the rate has not filled up".to_owned()),
                _ => Ok(()),
            }
        }).await;
    }

    /// A compensation is queued and described like any other task.
    async fn a_compensation_says_what_it_undoes(world) {
        let mut first = undoable("a");
        first.compensation = Some(Work { kind: Kind::parse("undo").unwrap(), queue: queue("undo"), payload: json("7"), ..work() });
        let id = start(world, 1, sequence(vec![task("zero"), first, task("bad")])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("zero", success("1")).await;
        driver.run("a", success("1")).await;
        driver.run("bad", failure("broken")).await;
        let undo = Driver::on(world, 2, Executor::Engine, &["undo"]).await.take().await;
        assert_eq!((undo.key.as_str(), undo.kind.as_str(), undo.payload), ("undo/a", "undo", json("7")));
        assert_eq!((undo.undoes, undo.task), (TaskNo::new(1), id.task(TaskNo::new(3).unwrap())));
    }

    /// Every attempt is counted, and its events have its number.
    async fn attempts_are_counted(world) {
        let id = start(world, 1, sequence(vec![retried("a", 1)])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", Outcome::Released).await;
        driver.run("a", failure("broken")).await;
        let_time_pass(world, id).await;
        let third = driver.take().await;
        assert_eq!(third.attempt, 3);
        driver.end(&third, success("1")).await;
        let events = world.view().history(id, super::ALL).await.unwrap().unwrap().items;
        let attempts: Vec<(&str, u32)> = events.iter().map(|(_, event)| (event.event.kind.as_str(), event.event.attempt)).collect();
        assert_eq!(attempts, [
            ("workflow_created", 0), ("workflow_started", 0), ("task_queued", 0), ("task_started", 1), ("task_released", 1),
            ("task_queued", 1), ("task_started", 2), ("task_retrying", 2), ("task_queued", 2), ("task_started", 3),
            ("task_completed", 3), ("workflow_completed", 0),
        ]);
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        start(world, 1, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        world.side_door().cut().await;
        let tasks = world.tasks();
        let request = ClaimRequest { executor: Executor::Engine, queues: vec![queue("default")], limit: 1 };
        is_unavailable(tasks.open_lease(lease_id(2), "worker", LEASE).await);
        is_unavailable(tasks.heartbeat(driver.lease, LEASE).await);
        is_unavailable(tasks.claim(driver.lease, &request).await);
        is_unavailable(tasks.held(driver.lease, Duration::ZERO).await);
        is_unavailable(tasks.report(driver.lease, &[report(&taken, success("1"))]).await);
        is_unavailable(tasks.close_lease(driver.lease).await);
    }
}
