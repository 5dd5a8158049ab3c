//! What [`RolloutStore`](drover_ports::RolloutStore) promises.

use drover_domain::Key;
use drover_domain::fleet::inventory::{ApplicationUpsert, InventoryChange};
use drover_domain::fleet::{
    ApplicationKey, ChangeSource, ChangedBy, ObservedApplication, VersionChange,
};
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::record::{
    ArtifactUrl, EndStatus, Rollout, RolloutDetail, RolloutEnd, RolloutId, RolloutRun,
    RolloutTarget, RunProgress, RunStatus, TargetOutcome, UpdateMode,
};
use drover_domain::workflow::TaskStatus;
use drover_domain::workflow::run::{Control, Outcome};
use drover_ports::{
    Claim, FleetEventFilter, Idempotency, NewRollouts, RolloutWork, Started, StoreError,
};

use super::ALL;
use crate::store::World;
use crate::store::fixtures::{
    HOSTILE, Updater, at, event, fleet, host_stats, instance, job_event, run, task, task_id,
    update, updates, version_change,
};

async fn start(world: &World, tasks: Vec<Rollout>) {
    assert_eq!(
        world.rollouts().start(&updates(tasks)).await.unwrap(),
        Started::Created
    );
}

async fn take(world: &World) -> Claim {
    Updater::open(world.queue(), 0).await.take().await
}

async fn begin(world: &World, claim: &Claim) -> RolloutWork {
    let begun = world.rollouts().begin(claim, at(20)).await.unwrap();
    begun.expect("the task is an update")
}

async fn detail(world: &World, task: RolloutId) -> RolloutDetail {
    world
        .rollout_view()
        .find(task)
        .await
        .unwrap()
        .expect("the task is stored")
}

fn keyed(tasks: Vec<Rollout>, scope: &str, key: &str, digest: u8) -> NewRollouts {
    let idempotency = Idempotency {
        scope: scope.to_owned(),
        key: key.to_owned(),
        digest: vec![digest; 32],
    };
    NewRollouts {
        idempotency: Some(idempotency),
        ..updates(tasks)
    }
}

fn end(status: EndStatus) -> RolloutEnd {
    RolloutEnd {
        status,
        progress: 88,
        result: Some(format!("2 instances done {HOSTILE}")),
        error: None,
        targets: Vec::new(),
        versions: Vec::new(),
        events: Vec::new(),
    }
}

fn progress(run: RolloutRun) -> RunProgress {
    RunProgress {
        run,
        events: Vec::new(),
        targets: Vec::new(),
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
    let applications = &before.rollout.request.applications;
    let run = run(0, 4711, applications);
    let changed: Vec<RolloutTarget> = applications
        .iter()
        .map(|application| RolloutTarget {
            outcome: TargetOutcome::Failed,
            ..instance(*application, 0)
        })
        .collect();
    is_stale(&world.rollouts().begin(claim, at(1)).await.map(|_| ()));
    is_stale(
        &world
            .rollouts()
            .plan(claim, std::slice::from_ref(&run), &changed)
            .await,
    );
    let told = RunProgress {
        events: vec![job_event(77)],
        targets: changed.clone(),
        ..progress(run)
    };
    is_stale(&world.rollouts().progress(claim, &told).await);
    let versions = vec![(Key::new(1), version_change("1.0", "9.9", claim.task))];
    let end = RolloutEnd {
        targets: changed,
        versions,
        events: vec![event(None, None, "stale")],
        ..end(EndStatus::Failed)
    };
    is_stale(&world.rollouts().finish(claim, &end, at(99)).await);
    assert_eq!(detail(world, claim.task).await, before);
    let events = world
        .fleet()
        .events(&FleetEventFilter::default(), ALL)
        .await
        .unwrap()
        .items;
    assert!(
        events
            .iter()
            .all(|event| event.event.description != "stale"),
        "{events:?}"
    );
    let told = world
        .rollout_view()
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

contract! { $ rollout_store => rollout_store_contract for World;
    /// A queued task is read equal.
    async fn a_queued_task_is_read_equal(world) {
        let mut tasks = vec![task(1, &keys(3)), task(2, &keys(1))];
        tasks[0].request.artifact = ArtifactUrl::parse("http://nexus/a'b\"c;$(id){{ x }}.zip").unwrap();
        tasks[0].request.mode = UpdateMode::Deliver;
        tasks[0].request.drain_wait = DrainWait::parse(Some(7.25)).unwrap();
        tasks[0].request.allow_undrained = true;
        tasks[0].playbook_path = format!("p.yml{HOSTILE}");
        HOSTILE.clone_into(&mut tasks[0].origin.actor);
        tasks[1].request.drain_wait = DrainWait::parse(None).unwrap();
        start(world, tasks.clone()).await;
        for task in tasks {
            let expected = RolloutDetail { rollout: task.clone(), runs: Vec::new(), targets: Vec::new() };
            assert_eq!(detail(world, task.id).await, expected);
        }
    }

    /// The events of a request are recorded with its tasks.
    async fn events_are_recorded_with_the_tasks(world) {
        let (server, applications) = fleet(world, "app01", &["jurws_1"]).await;
        let told = event(Some(server.key), Some(applications[0]), "an update was asked for");
        let asked = NewRollouts { events: vec![told.clone()], ..updates(vec![task(1, &applications)]) };
        world.rollouts().start(&asked).await.unwrap();
        let events = world.fleet().events(&FleetEventFilter::default(), ALL).await.unwrap().items;
        assert_eq!(events.into_iter().map(|event| event.event).collect::<Vec<_>>(), [told]);
    }

    /// The same request a second time gives the tasks of the first and changes nothing.
    async fn a_repeated_request_is_replayed(world) {
        let first = keyed(vec![task(1, &keys(1)), task(2, &keys(1))], "tester", "key", 1);
        assert_eq!(world.rollouts().start(&first).await.unwrap(), Started::Created);
        let mut again = keyed(vec![task(3, &keys(1))], "tester", "key", 1);
        again.events = vec![event(None, None, "again")];
        let replayed = world.rollouts().start(&again).await.unwrap();
        assert_eq!(replayed, Started::Replayed(vec![task_id(1), task_id(2)]));
        assert_eq!(world.rollout_view().find(task_id(3)).await.unwrap(), None);
        assert_eq!(world.fleet().events(&FleetEventFilter::default(), ALL).await.unwrap().items, []);
    }

    /// What a request started is found by its key, and by no other request with that key.
    async fn what_a_request_started_is_found_by_its_key(world) {
        let first = keyed(vec![task(1, &keys(1)), task(2, &keys(1))], "tester", "key", 1);
        let idempotency = first.idempotency.clone().unwrap();
        assert_eq!(world.rollouts().started_by(&idempotency).await.unwrap(), None);
        world.rollouts().start(&first).await.unwrap();
        let found = world.rollouts().started_by(&idempotency).await.unwrap();
        assert_eq!(found, Some(vec![task_id(1), task_id(2)]));
        let stranger = Idempotency { scope: "another".to_owned(), ..idempotency.clone() };
        assert_eq!(world.rollouts().started_by(&stranger).await.unwrap(), None);
        let other = Idempotency { digest: vec![9], ..idempotency };
        let refusal = world.rollouts().started_by(&other).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::KeyReused { key } if key == "key"), "{refusal:?}");
    }

    /// A key that comes with another request is refused, and nothing changes.
    async fn a_reused_key_is_refused(world) {
        world.rollouts().start(&keyed(vec![task(1, &keys(1))], "tester", "key", 1)).await.unwrap();
        let refusal = world.rollouts().start(&keyed(vec![task(2, &keys(1))], "tester", "key", 2)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::KeyReused { key } if key == "key"), "{refusal:?}");
        assert_eq!(world.rollout_view().find(task_id(2)).await.unwrap(), None);
    }

    /// One key in two scopes is two keys.
    async fn keys_of_different_scopes_do_not_meet(world) {
        world.rollouts().start(&keyed(vec![task(1, &keys(1))], "one", "key", 1)).await.unwrap();
        let other = world.rollouts().start(&keyed(vec![task(2, &keys(1))], "other", "key", 2)).await.unwrap();
        assert_eq!(other, Started::Created);
    }

    /// Of several that send one request at once, one starts tasks and the others get them.
    async fn one_request_starts_once_however_many_send_it(world) {
        let all: Vec<NewRollouts> =
            (1..=4).map(|number| keyed(vec![task(number, &keys(1))], "tester", "key", 1)).collect();
        let tasks = world.rollouts();
        let (a, b, c, d) = tokio::join!(tasks.start(&all[0]), tasks.start(&all[1]), tasks.start(&all[2]), tasks.start(&all[3]));
        let answers = [a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()];
        let stored = world.rollout_view().list(&[], ALL).await.unwrap().items;
        assert_eq!(stored.len(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == Started::Created).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == Started::Replayed(vec![stored[0].1.id])).count(), 3);
    }

    /// An identifier that is taken is refused, and nothing changes: also not the idempotency key.
    async fn a_taken_identifier_is_refused(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let again = keyed(vec![task(2, &keys(1)), task(1, &keys(1))], "tester", "key", 1);
        let refusal = world.rollouts().start(&again).await.unwrap_err();
        assert!(matches!(refusal, StoreError::AlreadyExists { .. }), "{refusal:?}");
        assert_eq!(world.rollout_view().find(task_id(2)).await.unwrap(), None);
        let fresh = keyed(vec![task(3, &keys(1))], "tester", "key", 1);
        assert_eq!(world.rollouts().start(&fresh).await.unwrap(), Started::Created);
    }

    /// The holder of a task finds its work; the time when work began is kept from the first
    /// time on.
    async fn work_begins_once(world) {
        start(world, vec![task(1, &keys(2))]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let first = worker.take().await;
        let begun = begin(world, &first).await;
        assert_eq!((begun.end, begun.is_called_off), (None, false));
        assert_eq!(begun.detail, detail(world, first.task).await);
        let task = &begun.detail.rollout;
        assert_eq!((task.status, task.attempt, task.started_at), (TaskStatus::Running, 1, Some(at(20))));
        worker.report(&first, Outcome::Released).await;
        let second = worker.take().await;
        let begun = world.rollouts().begin(&second, at(90)).await.unwrap().unwrap();
        assert_eq!((begun.detail.rollout.attempt, begun.detail.rollout.started_at), (2, Some(at(20))));
    }

    /// A task of the engine that is no update is not there.
    async fn what_is_no_update_is_absent(world) {
        let workflow = update(task(1, &[]), &[]).workflow;
        world.workflows().start(&[workflow]).await.unwrap();
        let held = take(world).await;
        assert_eq!(held.task, task_id(1));
        assert_eq!(world.rollouts().begin(&held, at(20)).await.unwrap(), None);
        assert_eq!(world.rollout_view().find(held.task).await.unwrap(), None);
    }

    /// A worker hears at once that what it took is called off.
    async fn what_is_called_off_says_so(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let held = worker.take().await;
        let cancel = Control::Cancel { reason: "not today".to_owned() };
        world.workflows().control(held.task.workflow(), &cancel).await.unwrap();
        assert!(begin(world, &held).await.is_called_off);
        // Its play may go on without a worker: the next one is to stop it.
        worker.leave().await;
        let next = Updater::open(world.queue(), 2).await.take().await;
        assert_eq!(next, Claim { task: held.task, attempt: 2 });
        assert!(begin(world, &next).await.is_called_off);
    }

    /// Once another worker has the task, the old claim is stale: every write under it is refused
    /// and changes nothing.
    async fn an_old_attempt_is_stale(world) {
        let (_, applications) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        start(world, vec![task(1, &applications)]).await;
        let gone = Updater::open(world.queue(), 1).await;
        let old = gone.take().await;
        gone.leave().await;
        every_write_is_stale(world, &old).await;
        let new = Updater::open(world.queue(), 2).await.take().await;
        assert_eq!(new, Claim { task: old.task, attempt: 2 });
        let runs = [run(0, 1, &applications)];
        let instances: Vec<_> = applications.iter().map(|application| instance(*application, 0)).collect();
        world.rollouts().plan(&new, &runs, &instances).await.unwrap();
        every_write_is_stale(world, &old).await;
    }

    /// A made-up claim is refused.
    async fn a_made_up_claim_is_stale(world) {
        start(world, vec![task(1, &keys(1)), task(2, &keys(1))]).await;
        let real = take(world).await;
        every_write_is_stale(world, &Claim { attempt: 2, ..real }).await;
        every_write_is_stale(world, &Claim { attempt: 0, ..real }).await;
        every_write_is_stale(world, &Claim { task: task_id(2), attempt: 0 }).await;
        is_stale(&world.rollouts().begin(&Claim { task: task_id(404), ..real }, at(1)).await.map(|_| ()));
    }

    /// A plan is stored once and read equal; a second one changes nothing.
    async fn a_plan_is_stored_once(world) {
        let applications = keys(3);
        start(world, vec![task(1, &applications)]).await;
        let held = take(world).await;
        let runs = vec![run(0, 10, &applications[..2]), run(1, 11, &applications[2..])];
        let mut instances: Vec<_> = [2, 0, 1].map(|place| instance(applications[place], u32::from(place == 2))).into();
        "odd".clone_into(&mut instances[1].batch);
        instances[2].haproxy_server = None;
        world.rollouts().plan(&held, &runs, &instances).await.unwrap();
        let other = [run(0, 20, &applications)];
        world.rollouts().plan(&held, &other, &[instance(applications[0], 0)]).await.unwrap();
        let stored = detail(world, held.task).await;
        assert_eq!((stored.runs, stored.targets), (runs, instances));
    }

    /// Progress is one fact: the run, the events, the instances, the task. What was prepared stays.
    async fn progress_is_stored(world) {
        let applications = keys(2);
        start(world, vec![task(1, &applications)]).await;
        let held = take(world).await;
        let runs = [run(0, 10, &applications[..1]), run(1, 11, &applications[1..])];
        let instances: Vec<_> = applications.iter().map(|application| instance(*application, 0)).collect();
        world.rollouts().plan(&held, &runs, &instances).await.unwrap();
        let now = RolloutRun {
            status: RunStatus::Failed,
            exit_code: Some(-9),
            started_at: Some(at(20)),
            finished_at: Some(at(21)),
            hosts: vec![host_stats("app01"), host_stats(HOSTILE)],
            ..runs[1].clone()
        };
        let changed = RolloutTarget {
            outcome: TargetOutcome::LeftDrained,
            detail: Some(HOSTILE.to_owned()),
            version_before: None,
            version_after: Some("2.0".to_owned()),
            ..instances[1].clone()
        };
        let told = RunProgress {
            run: now.clone(),
            events: vec![job_event(0), job_event(1)],
            targets: vec![changed.clone()],
            progress: 99,
            current: Some(HOSTILE.to_owned()),
        };
        world.rollouts().progress(&held, &told).await.unwrap();
        let stored = detail(world, held.task).await;
        assert_eq!((stored.rollout.progress, stored.rollout.current.as_deref()), (99, Some(HOSTILE)));
        assert_eq!(stored.runs, [runs[0].clone(), now]);
        assert_eq!(stored.targets, [instances[0].clone(), changed]);
        let events = world.rollout_view().events(held.task, ALL).await.unwrap().unwrap().items;
        assert_eq!(events.iter().map(|told| (told.run, told.event.clone())).collect::<Vec<_>>(),
                   [(1, job_event(0)), (1, job_event(1))]);
    }

    /// Events that are already stored are ignored; those of another run are others.
    async fn stored_events_are_ignored(world) {
        start(world, vec![task(1, &keys(1))]).await;
        let held = take(world).await;
        let runs = [run(0, 10, &keys(1)), run(1, 11, &[])];
        world.rollouts().plan(&held, &runs, &[]).await.unwrap();
        for (run, sequences) in [(0, [0, 1]), (0, [1, 2]), (1, [0, 1])] {
            let events = sequences.map(job_event).into();
            let told = RunProgress { events, ..progress(runs[run].clone()) };
            world.rollouts().progress(&held, &told).await.unwrap();
        }
        let events = world.rollout_view().events(held.task, ALL).await.unwrap().unwrap().items;
        let places: Vec<(u32, u64)> = events.iter().map(|told| (told.run, told.event.sequence)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
    }

    /// The end is one fact: instances, versions with their history, events. It is there for the next
    /// attempt to find, and holds against any other.
    async fn an_end_is_one_fact_and_the_first_one_holds(world) {
        let (server, applications) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        start(world, vec![task(1, &applications)]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let held = worker.take().await;
        let instances: Vec<_> = applications.iter().map(|application| instance(*application, 0)).collect();
        world.rollouts().plan(&held, &[run(0, 10, &applications)], &instances).await.unwrap();
        world.rollouts().progress(&held, &progress(run(0, 10, &applications))).await.unwrap();
        let done = RolloutTarget {
            outcome: TargetOutcome::Done,
            version_after: Some("2.0".to_owned()),
            ..instances[0].clone()
        };
        let change = version_change("1.0", "2.0", held.task);
        let told = event(Some(server.key), Some(applications[0]), "updated");
        let first = RolloutEnd {
            error: Some(HOSTILE.to_owned()),
            targets: vec![done.clone()],
            versions: vec![(applications[0], change.clone()), (Key::new(404), change.clone())],
            events: vec![told.clone()],
            ..end(EndStatus::Failed)
        };
        world.rollouts().finish(&held, &first, at(40)).await.unwrap();
        let again = RolloutEnd { result: None, error: None, progress: 1, ..first.clone() };
        world.rollouts().finish(&held, &RolloutEnd { status: EndStatus::Succeeded, ..again.clone() }, at(41)).await.unwrap();
        is_stale(&world.rollouts().progress(&held, &progress(run(0, 10, &applications))).await);
        worker.report(&held, Outcome::Released).await;

        let next = worker.take().await;
        let found = begin(world, &next).await;
        assert_eq!((found.end, next.attempt), (Some(EndStatus::Failed), 2));
        world.rollouts().finish(&next, &again, at(42)).await.unwrap();
        let stored = detail(world, held.task).await;
        assert_eq!(stored.rollout.status, TaskStatus::Running, "the engine has not heard of it");
        assert_eq!((stored.rollout.result, stored.rollout.error, stored.rollout.current), (first.result, first.error, None));
        assert_eq!(stored.rollout.progress, first.progress);
        assert_eq!(stored.targets, [done, instances[1].clone()]);
        let updated = world.fleet().application(applications[0]).await.unwrap().unwrap();
        assert_eq!(updated.observed.version, change.new);
        let history = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items;
        assert_eq!((history.len(), &history[0].1), (2, &change));
        let untouched = world.fleet().application(applications[1]).await.unwrap().unwrap();
        assert_eq!(untouched.observed.version.version.as_deref(), Some("1.0"));
        let events = world.fleet().events(&FleetEventFilter::default(), ALL).await.unwrap().items;
        assert_eq!(events.iter().filter(|event| event.event == told).count(), 1);
        worker.succeed(&next).await;
        every_write_is_stale(world, &next).await;
    }

    /// While a task runs, or waits for its next worker, no other with one of its concurrency keys is taken.
    async fn tasks_that_share_a_concurrency_key_run_one_after_the_other(world) {
        let mut all = updates(Vec::new());
        all.rollouts = vec![
            update(task(1, &keys(1)), &["backend:1", "group:1"]),
            update(task(2, &keys(1)), &["group:2", "backend:1"]),
            update(task(3, &keys(1)), &["group:3"]),
        ];
        world.rollouts().start(&all).await.unwrap();
        let worker = Updater::open(world.queue(), 1).await;
        let held = worker.take().await;
        let other = Updater::open(world.queue(), 2).await;
        assert_eq!((held.task, other.take().await.task), (task_id(1), task_id(3)));
        assert_eq!(other.claim().await, None);
        worker.report(&held, Outcome::Released).await;
        assert_eq!(other.take().await, Claim { task: task_id(1), attempt: 2 });
        assert_eq!(worker.claim().await, None);
        other.succeed(&Claim { task: task_id(1), attempt: 2 }).await;
        assert_eq!(worker.take().await.task, task_id(2));
    }

    /// A change that polling saw since work on the task began is the task's, and published once; also where
    /// another worker brought it to its end.
    async fn a_change_that_polling_saw_first_is_the_tasks(world) {
        let (server, applications) = fleet(world, "app01", &["jurws_1"]).await;
        start(world, vec![task(1, &applications)]).await;
        let first = Updater::open(world.queue(), 1).await;
        let gone = first.take().await;
        begin(world, &gone).await;
        first.leave().await;
        let held = Updater::open(world.queue(), 2).await.take().await;
        world.rollouts().begin(&held, at(60)).await.unwrap();
        let change = VersionChange {
            changed_at: at(20),
            changed_by: ChangedBy::Agent,
            source: ChangeSource::Polling,
            rollout: None,
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
            forget: 0,
        };
        world.inventory().store(&polled).await.unwrap();
        let before = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items.len();
        let mine = version_change("1.0", "2.0", held.task);
        let end = RolloutEnd { versions: vec![(applications[0], mine.clone())], ..end(EndStatus::Succeeded) };
        world.rollouts().finish(&held, &end, at(40)).await.unwrap();
        let after = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items;
        assert_eq!((after.len(), &after[0].1), (before, &mine));
    }

    /// Of two version changes of one application the last holds; the history has both.
    async fn the_last_of_two_version_changes_holds(world) {
        let (_, applications) = fleet(world, "app01", &["jurws_1"]).await;
        start(world, vec![task(1, &applications)]).await;
        let held = take(world).await;
        let change = |old, new| (applications[0], version_change(old, new, held.task));
        let versions = vec![change("1.0", "2.0"), change("2.0", "3.0")];
        world.rollouts().finish(&held, &RolloutEnd { versions, ..end(EndStatus::Succeeded) }, at(40)).await.unwrap();
        let updated = world.fleet().application(applications[0]).await.unwrap().unwrap();
        assert_eq!(updated.observed.version.version.as_deref(), Some("3.0"));
        let history = world.fleet().versions(applications[0], ALL).await.unwrap().unwrap().items;
        assert_eq!([&history[0].1, &history[1].1], [&change("2.0", "3.0").1, &change("1.0", "2.0").1]);
    }
}
