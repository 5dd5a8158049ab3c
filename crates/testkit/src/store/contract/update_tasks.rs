//! What [`UpdateTasks`](drover_ports::UpdateTasks) promises.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::fleet::inventory::{ApplicationUpsert, InventoryChange};
use drover_domain::fleet::{
    ApplicationKey, ChangeSource, ChangedBy, ObservedApplication, VersionChange,
};
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::task::{
    ArtifactUrl, InstanceOutcome, RunProgress, RunStatus, TaskDetail, TaskEnd, TaskId,
    TaskInstance, TaskRun, UpdateMode, UpdateTask,
};
use drover_domain::workflow::TaskStatus;
use drover_domain::{Key, Timestamp};
use drover_ports::{Claim, Idempotency, NewUpdates, Started, StoreError};

use super::ALL;
use crate::store::World;
use crate::store::fixtures::{
    HOSTILE, at, event, fleet, host_stats, instance, job_event, run, task, task_id, updates,
    version_change,
};

const LEASE: Duration = Duration::from_mins(1);

async fn start(world: &World, tasks: Vec<UpdateTask>) {
    assert_eq!(
        world.tasks().start(&updates(tasks)).await.unwrap(),
        Started::Created
    );
}

async fn claim(world: &World, worker: &str, lease: Duration) -> (Claim, TaskDetail) {
    world
        .tasks()
        .claim(worker, lease)
        .await
        .unwrap()
        .expect("there is a task to claim")
}

async fn detail(world: &World, task: TaskId) -> TaskDetail {
    world
        .task_view()
        .find(task)
        .await
        .unwrap()
        .expect("the task is stored")
}

fn keyed(tasks: Vec<UpdateTask>, scope: &str, key: &str, digest: u8) -> NewUpdates {
    let idempotency = Idempotency {
        scope: scope.to_owned(),
        key: key.to_owned(),
        digest: vec![digest; 32],
    };
    NewUpdates {
        idempotency: Some(idempotency),
        ..updates(tasks)
    }
}

fn end(status: TaskStatus) -> TaskEnd {
    TaskEnd {
        status,
        progress: 88,
        result: Some(format!("2 instances done {HOSTILE}")),
        error: None,
        instances: Vec::new(),
        versions: Vec::new(),
        events: Vec::new(),
    }
}

fn progress(run: TaskRun) -> RunProgress {
    RunProgress {
        run,
        events: Vec::new(),
        instances: Vec::new(),
        progress: 50,
        current: Some("Drain".to_owned()),
    }
}

fn keys(count: i64) -> Vec<ApplicationKey> {
    (1..=count).map(Key::new).collect()
}

#[track_caller]
fn is_stale(result: &Result<(), StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Stale { .. })),
        "{result:?}"
    );
}

/// Every write under `claim` is refused, and `task` stays as it is.
async fn every_write_is_stale(world: &World, claim: &Claim) {
    let before = detail(world, claim.task).await;
    let applications = &before.task.request.applications;
    let run = run(0, 4711, applications);
    let changed: Vec<TaskInstance> = applications
        .iter()
        .map(|application| TaskInstance {
            outcome: InstanceOutcome::Failed,
            ..instance(*application, 0)
        })
        .collect();
    is_stale(&world.tasks().heartbeat(claim, LEASE).await);
    is_stale(
        &world
            .tasks()
            .plan(claim, std::slice::from_ref(&run), &changed)
            .await,
    );
    let told = RunProgress {
        events: vec![job_event(77)],
        instances: changed.clone(),
        ..progress(run)
    };
    is_stale(&world.tasks().progress(claim, &told).await);
    let versions = vec![(Key::new(1), version_change("1.0", "9.9", claim.task))];
    let end = TaskEnd {
        instances: changed,
        versions,
        events: vec![event(None, None, "stale")],
        ..end(TaskStatus::Failed)
    };
    is_stale(&world.tasks().finish(claim, &end, at(99)).await);
    is_stale(&world.tasks().release(claim).await);
    assert_eq!(detail(world, claim.task).await, before);
    let events = world.fleet().events(None, ALL).await.unwrap().items;
    assert!(
        events
            .iter()
            .all(|event| event.event.description != "stale"),
        "{events:?}"
    );
    let told = world
        .task_view()
        .events(claim.task, ALL)
        .await
        .unwrap()
        .unwrap()
        .items;
    assert!(
        told.iter().all(|told| told.event.sequence != 77),
        "{told:?}"
    );
}

contract! { $ update_tasks => update_tasks_contract for World;
    /// A queued task is read equal.
    async fn a_queued_task_is_read_equal(world) {
        let mut tasks = vec![task(1, &keys(3)), task(2, &keys(1))];
        tasks[0].request.artifact = ArtifactUrl::parse("http://nexus/a'b\"c;$(id){{ x }}.zip").unwrap();
        tasks[0].request.mode = UpdateMode::Deliver;
        tasks[0].request.drain_wait = DrainWait::parse(Some(7.25)).unwrap();
        tasks[0].playbook_path = format!("p.yml{HOSTILE}");
        HOSTILE.clone_into(&mut tasks[0].origin.actor);
        tasks[1].request.drain_wait = DrainWait::parse(None).unwrap();
        start(world, tasks.clone()).await;
        for task in tasks {
            let expected = TaskDetail { task: task.clone(), runs: Vec::new(), instances: Vec::new() };
            assert_eq!(detail(world, task.id).await, expected);
        }
    }

    /// The events of a request are recorded with its tasks.
    async fn events_are_recorded_with_the_tasks(world) {
        let (server, applications) = fleet(world, "app01", &["jurws_1"]).await;
        let told = event(Some(server.key), Some(applications[0]), "an update was asked for");
        let asked = NewUpdates { events: vec![told.clone()], ..updates(vec![task(1, &applications)]) };
        world.tasks().start(&asked).await.unwrap();
        let events = world.fleet().events(None, ALL).await.unwrap().items;
        assert_eq!(events.into_iter().map(|event| event.event).collect::<Vec<_>>(), [told]);
    }

    /// The same request a second time gives the tasks of the first and changes nothing.
    async fn a_repeated_request_is_replayed(world) {
        let first = keyed(vec![task(1, &keys(1)), task(2, &keys(1))], "tester", "key", 1);
        assert_eq!(world.tasks().start(&first).await.unwrap(), Started::Created);
        let mut again = keyed(vec![task(3, &keys(1))], "tester", "key", 1);
        again.events = vec![event(None, None, "again")];
        let replayed = world.tasks().start(&again).await.unwrap();
        assert_eq!(replayed, Started::Replayed(vec![task_id(1), task_id(2)]));
        assert_eq!(world.task_view().find(task_id(3)).await.unwrap(), None);
        assert_eq!(world.fleet().events(None, ALL).await.unwrap().items, []);
    }

    /// A key that comes with another request is refused, and nothing changes.
    async fn a_reused_key_is_refused(world) {
        world.tasks().start(&keyed(vec![task(1, &keys(1))], "tester", "key", 1)).await.unwrap();
        let refusal = world.tasks().start(&keyed(vec![task(2, &keys(1))], "tester", "key", 2)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::KeyReused { key } if key == "key"), "{refusal:?}");
        assert_eq!(world.task_view().find(task_id(2)).await.unwrap(), None);
    }

    /// One key in two scopes is two keys.
    async fn keys_of_different_scopes_do_not_meet(world) {
        world.tasks().start(&keyed(vec![task(1, &keys(1))], "one", "key", 1)).await.unwrap();
        let other = world.tasks().start(&keyed(vec![task(2, &keys(1))], "other", "key", 2)).await.unwrap();
        assert_eq!(other, Started::Created);
    }

    /// Of several that send one request at once, one starts tasks and the others get them.
    async fn one_request_starts_once_however_many_send_it(world) {
        let all: Vec<NewUpdates> =
            (1..=4).map(|number| keyed(vec![task(number, &keys(1))], "tester", "key", 1)).collect();
        let tasks = world.tasks();
        let (a, b, c, d) = tokio::join!(tasks.start(&all[0]), tasks.start(&all[1]), tasks.start(&all[2]), tasks.start(&all[3]));
        let answers = [a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()];
        let stored = world.task_view().list(&[], ALL).await.unwrap().items;
        assert_eq!(stored.len(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == Started::Created).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == Started::Replayed(vec![stored[0].1.id])).count(), 3);
    }

    /// An identifier that is taken is refused, and nothing changes: also not the idempotency key.
    async fn a_taken_identifier_is_refused(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let again = keyed(vec![task(2, &keys(1)), task(1, &keys(1))], "tester", "key", 1);
        let refusal = world.tasks().start(&again).await.unwrap_err();
        assert!(matches!(refusal, StoreError::AlreadyExists { .. }), "{refusal:?}");
        assert_eq!(world.task_view().find(task_id(2)).await.unwrap(), None);
        let fresh = keyed(vec![task(3, &keys(1))], "tester", "key", 1);
        assert_eq!(world.tasks().start(&fresh).await.unwrap(), Started::Created);
    }

    /// An empty queue gives nothing.
    async fn an_empty_queue_gives_nothing(world) {
        assert_eq!(world.tasks().claim("worker", LEASE).await.unwrap(), None);
    }

    /// The oldest task is taken first, counted and marked as running; the answer is what is stored.
    async fn the_oldest_task_is_taken_first(world) {
        start(world, vec![task(2, &keys(2)), task(1, &keys(1))]).await;
        start(world, vec![task(3, &keys(1))]).await;
        for number in [2, 1, 3] {
            let (claim, claimed) = claim(world, "worker", LEASE).await;
            assert_eq!((claim.task, claim.attempt, claim.worker.as_str()), (task_id(number), 1, "worker"));
            assert_eq!((claimed.task.status, claimed.task.attempt), (TaskStatus::Running, 1));
            assert!(claimed.task.started_at.is_some());
            assert_eq!(detail(world, claim.task).await, claimed);
        }
        assert_eq!(world.tasks().claim("worker", LEASE).await.unwrap(), None);
    }

    /// Eight workers share a hundred tasks; none is claimed twice.
    async fn no_task_is_claimed_twice(world) {
        start(world, (1..=100).map(|number| task(number, &keys(1))).collect()).await;
        let mut workers = tokio::task::JoinSet::new();
        for number in 0..8 {
            let world = world.clone();
            workers.spawn(async move {
                let mut claimed = Vec::new();
                while let Some((claim, _)) = world.tasks().claim(&format!("worker {number}"), LEASE).await.unwrap() {
                    claimed.push(claim.task);
                }
                claimed
            });
        }
        let claimed: Vec<TaskId> = workers.join_all().await.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 100);
        assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), 100);
    }

    /// A lease that ran out lets another worker take over; the first start stays, and the old claim
    /// is worth nothing: every write under it is refused and changes nothing.
    async fn an_expired_lease_is_taken_over(world) {
        let (_, applications) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        start(world, vec![task(1, &applications)]).await;
        let (old, first) = claim(world, "worker a", Duration::ZERO).await;
        let (new, second) = claim(world, "worker b", LEASE).await;
        assert_eq!((new.task, new.attempt, second.task.attempt), (old.task, 2, 2));
        assert_eq!(second.task.started_at, first.task.started_at);
        let runs = [run(0, 1, &applications)];
        let instances: Vec<_> = applications.iter().map(|application| instance(*application, 0)).collect();
        world.tasks().plan(&new, &runs, &instances).await.unwrap();
        every_write_is_stale(world, &old).await;
        world.tasks().heartbeat(&new, LEASE).await.unwrap();
        assert_eq!(world.tasks().claim("worker c", LEASE).await.unwrap(), None);
    }

    /// A worker that takes its own task over again does not keep its old claim.
    async fn an_old_attempt_of_the_same_worker_is_stale(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let (old, _) = claim(world, "worker", Duration::ZERO).await;
        let (new, _) = claim(world, "worker", LEASE).await;
        every_write_is_stale(world, &old).await;
        world.tasks().heartbeat(&new, LEASE).await.unwrap();
    }

    /// A claim somebody made up is refused.
    async fn a_made_up_claim_is_stale(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let (real, _) = claim(world, "worker", LEASE).await;
        every_write_is_stale(world, &Claim { worker: "another".to_owned(), ..real.clone() }).await;
        every_write_is_stale(world, &Claim { attempt: 2, ..real.clone() }).await;
        is_stale(&world.tasks().heartbeat(&Claim { task: task_id(404), ..real }, LEASE).await);
    }

    /// A heartbeat renews the lease from now on.
    async fn a_heartbeat_renews_the_lease(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let (held, _) = claim(world, "worker a", Duration::ZERO).await;
        world.tasks().heartbeat(&held, LEASE).await.unwrap();
        assert_eq!(world.tasks().claim("worker b", LEASE).await.unwrap(), None);
        world.tasks().heartbeat(&held, Duration::ZERO).await.unwrap();
        assert_eq!(claim(world, "worker b", LEASE).await.0.attempt, 2);
    }

    /// A plan is stored once and read equal; a second one changes nothing.
    async fn a_plan_is_stored_once(world) {
        let applications = keys(3);
        start(world, vec![task(1, &applications)]).await;
        let (held, _) = claim(world, "worker", LEASE).await;
        let runs = vec![run(0, 10, &applications[..2]), run(1, 11, &applications[2..])];
        let mut instances: Vec<_> = [2, 0, 1].map(|place| instance(applications[place], u32::from(place == 2))).into();
        "odd".clone_into(&mut instances[1].batch);
        instances[2].haproxy_server = None;
        world.tasks().plan(&held, &runs, &instances).await.unwrap();
        let other = [run(0, 20, &applications)];
        world.tasks().plan(&held, &other, &[instance(applications[0], 0)]).await.unwrap();
        let stored = detail(world, held.task).await;
        assert_eq!((stored.runs, stored.instances), (runs, instances));
    }

    /// Progress is one fact: the run, the events, the instances, the task. What was prepared stays.
    async fn progress_is_stored(world) {
        let applications = keys(2);
        start(world, vec![task(1, &applications)]).await;
        let (held, _) = claim(world, "worker", LEASE).await;
        let runs = [run(0, 10, &applications[..1]), run(1, 11, &applications[1..])];
        let instances: Vec<_> = applications.iter().map(|application| instance(*application, 0)).collect();
        world.tasks().plan(&held, &runs, &instances).await.unwrap();
        let now = TaskRun {
            status: RunStatus::Failed,
            exit_code: Some(-9),
            started_at: Some(at(20)),
            finished_at: Some(at(21)),
            hosts: vec![host_stats("app01"), host_stats(HOSTILE)],
            ..runs[1].clone()
        };
        let changed = TaskInstance {
            outcome: InstanceOutcome::LeftDrained,
            detail: Some(HOSTILE.to_owned()),
            version_before: None,
            version_after: Some("2.0".to_owned()),
            ..instances[1].clone()
        };
        let told = RunProgress {
            run: now.clone(),
            events: vec![job_event(0), job_event(1)],
            instances: vec![changed.clone()],
            progress: 99,
            current: Some(HOSTILE.to_owned()),
        };
        world.tasks().progress(&held, &told).await.unwrap();
        let stored = detail(world, held.task).await;
        assert_eq!((stored.task.progress, stored.task.current.as_deref()), (99, Some(HOSTILE)));
        assert_eq!(stored.runs, [runs[0].clone(), now]);
        assert_eq!(stored.instances, [instances[0].clone(), changed]);
        let events = world.task_view().events(held.task, ALL).await.unwrap().unwrap().items;
        assert_eq!(events.iter().map(|told| (told.run, told.event.clone())).collect::<Vec<_>>(),
                   [(1, job_event(0)), (1, job_event(1))]);
    }

    /// Events that are already stored are ignored; those of another run are others.
    async fn stored_events_are_ignored(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let (held, _) = claim(world, "worker", LEASE).await;
        let runs = [run(0, 10, &keys(1)), run(1, 11, &[])];
        world.tasks().plan(&held, &runs, &[]).await.unwrap();
        for (run, sequences) in [(0, [0, 1]), (0, [1, 2]), (1, [0, 1])] {
            let events = sequences.map(job_event).into();
            let told = RunProgress { events, ..progress(runs[run].clone()) };
            world.tasks().progress(&held, &told).await.unwrap();
        }
        let events = world.task_view().events(held.task, ALL).await.unwrap().unwrap().items;
        let places: Vec<(u32, u64)> = events.iter().map(|told| (told.run, told.event.sequence)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
    }

    /// The end is one fact: status, instances, versions with their history, events; the claim is over.
    async fn an_ended_task_is_over(world) {
        let (server, applications) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        start(world, vec![task(1, &applications)]).await;
        let (held, _) = claim(world, "worker", LEASE).await;
        let instances: Vec<_> = applications.iter().map(|application| instance(*application, 0)).collect();
        world.tasks().plan(&held, &[run(0, 10, &applications)], &instances).await.unwrap();
        world.tasks().progress(&held, &progress(run(0, 10, &applications))).await.unwrap();
        let done = TaskInstance {
            outcome: InstanceOutcome::Done,
            version_after: Some("2.0".to_owned()),
            ..instances[0].clone()
        };
        let change = version_change("1.0", "2.0", held.task);
        let told = event(Some(server.key), Some(applications[0]), "updated");
        let end = TaskEnd {
            error: Some(HOSTILE.to_owned()),
            instances: vec![done.clone()],
            versions: vec![(applications[0], change.clone()), (Key::new(404), change.clone())],
            events: vec![told.clone()],
            ..end(TaskStatus::Failed)
        };
        world.tasks().finish(&held, &end, at(40)).await.unwrap();

        let stored = detail(world, held.task).await;
        assert_eq!((stored.task.status, stored.task.finished_at), (TaskStatus::Failed, Some(at(40))));
        assert_eq!((stored.task.result, stored.task.error, stored.task.current), (end.result, end.error, None));
        assert_eq!(stored.task.progress, end.progress);
        assert_eq!(stored.instances, [done, instances[1].clone()]);
        let updated = world.fleet().application(applications[0]).await.unwrap().unwrap();
        assert_eq!(updated.observed.version, change.new);
        let history = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items;
        assert_eq!(history[0].1, change);
        let untouched = world.fleet().application(applications[1]).await.unwrap().unwrap();
        assert_eq!(untouched.observed.version.version.as_deref(), Some("1.0"));
        assert_eq!(world.fleet().events(None, ALL).await.unwrap().items[0].event, told);
        every_write_is_stale(world, &held).await;
        assert_eq!(world.tasks().claim("worker", LEASE).await.unwrap(), None);
    }

    /// While a task runs, no other with one of its concurrency keys is taken; the next one is.
    async fn tasks_that_share_a_concurrency_key_run_one_after_the_other(world) {
        let keyed = |number, names: &[&str]| UpdateTask {
            concurrency_keys: names.iter().map(|key| (*key).to_owned()).collect(),
            ..task(number, &keys(1))
        };
        let first = keyed(1, &["backend:1", "group:1"]);
        let blocked = keyed(2, &["group:2", "backend:1"]);
        let free = keyed(3, &["group:3"]);
        start(world, vec![first.clone(), blocked.clone(), free.clone()]).await;
        let (held, detail) = claim(world, "one", LEASE).await;
        assert_eq!(detail.task.concurrency_keys, first.concurrency_keys);
        let (other, _) = claim(world, "two", LEASE).await;
        assert_eq!((held.task, other.task), (first.id, free.id));
        assert_eq!(world.tasks().claim("three", LEASE).await.unwrap(), None);
        world.tasks().finish(&held, &end(TaskStatus::Succeeded), at(40)).await.unwrap();
        assert_eq!(claim(world, "three", LEASE).await.0.task, blocked.id);
    }

    /// A change that polling saw while the task ran is the task's, and told once.
    async fn a_change_that_polling_saw_first_is_the_tasks(world) {
        let (server, applications) = fleet(world, "app01", &["jurws_1"]).await;
        start(world, vec![task(1, &applications)]).await;
        let (held, _) = claim(world, "worker", LEASE).await;
        // Later than any claim by the database's clock.
        let seen_at = Timestamp::from_micros(i64::MAX / 2);
        let change = VersionChange {
            changed_at: seen_at,
            changed_by: ChangedBy::Agent,
            source: ChangeSource::Polling,
            task: None,
            ..version_change("1.0", "2.0", held.task)
        };
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        let observed = ObservedApplication {
            version: change.new.clone(),
            ..known.applications[0].observed.clone()
        };
        let upsert = ApplicationUpsert { observed, resolution: None, version: Some(change) };
        let polled = InventoryChange {
            server: known.server,
            upserts: vec![upsert],
            statuses: Vec::new(),
            events: Vec::new(),
        };
        world.inventory().store(&polled).await.unwrap();
        let before = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items.len();
        let mine = version_change("1.0", "2.0", held.task);
        let end = TaskEnd { versions: vec![(applications[0], mine.clone())], ..end(TaskStatus::Succeeded) };
        world.tasks().finish(&held, &end, at(40)).await.unwrap();
        let after = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items;
        assert_eq!((after.len(), &after[0].1), (before, &mine));
    }

    /// Of two version changes of one application the last holds; the history has both.
    async fn the_last_of_two_version_changes_holds(world) {
        let (_, applications) = fleet(world, "app01", &["jurws_1"]).await;
        start(world, vec![task(1, &applications)]).await;
        let (held, _) = claim(world, "worker", LEASE).await;
        let change = |old, new| (applications[0], version_change(old, new, held.task));
        let versions = vec![change("1.0", "2.0"), change("2.0", "3.0")];
        world.tasks().finish(&held, &TaskEnd { versions, ..end(TaskStatus::Succeeded) }, at(40)).await.unwrap();
        let updated = world.fleet().application(applications[0]).await.unwrap().unwrap();
        assert_eq!(updated.observed.version.version.as_deref(), Some("3.0"));
        let history = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items;
        assert_eq!([&history[0].1, &history[1].1], [&change("2.0", "3.0").1, &change("1.0", "2.0").1]);
    }

    /// A task that ended is never claimed again, whatever its end was.
    async fn an_end_is_for_good(world) {
        let ends = [TaskStatus::Succeeded, TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Unknown];
        start(world, (1..=4).map(|number| task(number, &keys(1))).collect()).await;
        for status in ends {
            let (held, _) = claim(world, "worker", Duration::ZERO).await;
            world.tasks().finish(&held, &end(status), at(40)).await.unwrap();
            assert_eq!(detail(world, held.task).await.task.status, status);
        }
        assert_eq!(world.tasks().claim("worker", LEASE).await.unwrap(), None);
    }

    /// A task that was given back is taken at once and goes on with its runs.
    async fn a_released_task_goes_on(world) {
        start(world, vec![task(1, &keys(1)), task(2, &keys(1))]).await;
        let (old, _) = claim(world, "worker a", LEASE).await;
        let runs = [TaskRun { status: RunStatus::Running, ..run(0, 10, &keys(1)) }];
        world.tasks().plan(&old, &runs, &[instance(Key::new(1), 0)]).await.unwrap();
        world.tasks().release(&old).await.unwrap();
        every_write_is_stale(world, &old).await;
        let (new, found) = claim(world, "worker b", LEASE).await;
        assert_eq!((new.task, new.attempt), (old.task, 2));
        assert_eq!((found.runs.as_slice(), found.instances.len()), (runs.as_slice(), 1));
    }
}
