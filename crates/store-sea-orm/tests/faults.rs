//! What goes wrong, and what is said about it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken test setup should stop the test"
)]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use drover_domain::Key;
use drover_domain::fleet::inventory::{ApplicationUpsert, InventoryChange};
use drover_domain::page::PageRequest;
use drover_domain::rollout::record::Rollout;
use drover_domain::webhook::{WebhookSecret, WebhookWish};
use drover_domain::workflow::{Cron, DefinitionName, Json, MissedRuns, Schedule, ScheduleName};
use drover_ports::{
    AccessKeys, Fault, FleetEventFilter, FleetSnapshots, FleetView, HaproxyInstanceFilter,
    HaproxyView, InventoryStore, ListedSchedule, NoticeSource, OrchestratorStore, Rejection,
    RolloutStore, RolloutView, ScheduleStore, ServerRegistry, StoreError, StoreHealth,
};
use drover_store_sea_orm::{OpenError, Options, SeaOrmStore};
use drover_testkit::eventually::eventually;
use drover_testkit::store::fixtures::{
    Updater, api_key, at, event, fleet, new_server, observed, orchestrator, run, task, task_id,
    updates,
};
use drover_testkit::store::postgres::{Cluster, Durability};
use support::Scene;

/// Everything an error says, its sources included.
fn story(error: &dyn std::error::Error) -> String {
    let mut story = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        story = format!("{story}: {cause} {cause:?}");
        source = cause.source();
    }
    story
}

#[tokio::test]
async fn no_error_tells_the_password() {
    for url in [
        "postgres://drover:hunter2@127.0.0.1:1/drover",
        "postgres://drover:hunter2@no.such.host.invalid/drover",
        "postgres://drover:hunter2@127.0.0.1:notaport/drover",
        "postgresql://drover:hunter2@[::1/drover",
        "mysql://drover:hunter2@127.0.0.1/drover",
        "sqlite:/no/such/folder/hunter2x/../drover.db?mode=nonsense",
    ] {
        let options = Options {
            acquire_timeout: Duration::from_secs(2),
            ..Options::new(url)
        };
        let refusal = SeaOrmStore::connect(&options).await.unwrap_err();
        let told = story(&refusal);
        assert!(!told.contains("hunter2"), "{told}");
        assert!(!format!("{options:?}").contains("hunter2"));
    }
    let refusal = SeaOrmStore::connect(&Options::new("mysql://x"))
        .await
        .unwrap_err();
    assert!(matches!(refusal, OpenError::UnknownKind { .. }));
    assert_eq!(
        refusal.to_string(),
        "the database URL must begin with postgres://, postgresql:// or sqlite:, not `mysql`"
    );
}

async fn a_failed_poll_changes_nothing(scene: Scene) {
    let world = scene.store.clone();
    let server = world.add(&new_server("app01"), at(0)).await.unwrap();
    let upsert = |name: &str| ApplicationUpsert {
        observed: observed(name, None),
        resolution: None,
        version: None,
    };
    let change = InventoryChange {
        server: drover_domain::fleet::Server {
            last_check: Some(at(9)),
            ..server.clone()
        },
        upserts: vec![upsert("fine"), upsert(&"x".repeat(256))],
        statuses: Vec::new(),
        events: vec![event(Some(server.key), None, "told")],
        forget: 0,
    };
    let refusal = InventoryStore::store(&world, &change).await.unwrap_err();
    assert!(
        matches!(
            refusal,
            StoreError::Rejected {
                why: Rejection::Defect,
                ..
            }
        ),
        "{refusal:?}"
    );
    let known = InventoryStore::load(&world, server.key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((known.server, known.applications.len()), (server, 0));
    assert_eq!(
        FleetView::events(&world, &FleetEventFilter::default(), PageRequest::first())
            .await
            .unwrap()
            .items,
        []
    );
}

#[tokio::test]
async fn a_poll_that_fails_in_the_middle_changes_nothing() {
    a_failed_poll_changes_nothing(support::sqlite().await).await;
    a_failed_poll_changes_nothing(support::postgres().await).await;
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_half_done() {
    for scene in [support::sqlite().await, support::postgres().await] {
        let store = scene.store.clone();
        for round in 0_u64..40 {
            let asked = updates(
                (0..50)
                    .map(|number| task(u128::from(round) * 100 + number + 1, &[]))
                    .collect(),
            );
            let limit = Duration::from_micros(round * 150);
            let ended = tokio::time::timeout(limit, RolloutStore::start(&store, &asked)).await;
            let stored = eventually(Duration::from_secs(5), async || {
                let rows = scene.rows("SELECT count(*) AS count FROM rollouts").await;
                let count: i64 = rows[0].try_get("", "count").unwrap();
                let rows = scene
                    .rows("SELECT count(*) AS count FROM workflow_queue")
                    .await;
                let queued: i64 = rows[0].try_get("", "count").unwrap();
                if count % 50 == 0 && queued == count {
                    Ok(count)
                } else {
                    Err(format!("{count} tasks are stored, {queued} are queued"))
                }
            })
            .await;
            assert!(ended.is_err() || stored > 0, "what was accepted is stored");
        }
        start(&store, vec![task(999_999, &[])]).await;
    }
}

async fn start(store: &SeaOrmStore, tasks: Vec<Rollout>) {
    RolloutStore::start(store, &updates(tasks)).await.unwrap();
}

async fn corrupt(scene: &Scene, text: &str) {
    scene.execute(text, vec![]).await;
}

#[track_caller]
fn names<T: std::fmt::Debug>(result: Result<T, StoreError>, what: &str, name: &str) {
    let error = result.unwrap_err();
    let StoreError::Corrupt {
        what: found,
        name: called,
        reason,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!((*found, called.as_str()), (what, name), "{reason}");
    assert_eq!(error.fault(), Fault::Defect);
}

/// SQLite alone: PostgreSQL's types and both databases' checks keep most of this out, which SQLite
/// lets us switch off.
#[tokio::test]
async fn an_unreadable_row_is_named() {
    let scene = support::sqlite().await;
    corrupt(&scene, "PRAGMA ignore_check_constraints = ON").await;
    let (store, first) = (scene.store.clone(), PageRequest::first());
    let world = drover_testkit::store::World::new(
        store.clone(),
        drover_testkit::store::MemoryStore::default(),
    );
    let (server, keys) = fleet(&world, "app01", &["jurws_1"]).await;

    corrupt(&scene, "UPDATE application_instances SET port = 70000").await;
    names(
        store.application(keys[0]).await,
        "application",
        &keys[0].to_string(),
    );
    corrupt(
        &scene,
        "UPDATE application_instances SET port = NULL, kind = 'zone'",
    )
    .await;
    names(
        store.snapshot(&keys).await,
        "application",
        &keys[0].to_string(),
    );
    corrupt(&scene, "UPDATE servers SET status = 'asleep'").await;
    names(
        ServerRegistry::find(&store, server.key).await,
        "server",
        &server.key.to_string(),
    );
    corrupt(
        &scene,
        "UPDATE application_version_history SET changed_by = 'nobody'",
    )
    .await;
    names(store.versions(keys[0], first).await, "version change", "1");

    store
        .insert(&api_key(
            "1111111111111111",
            drover_domain::access::Role::Admin,
        ))
        .await
        .unwrap();
    corrupt(&scene, "UPDATE api_keys SET digest = x'00'").await;
    names(
        AccessKeys::find(&store, "1111111111111111").await,
        "API key",
        "1111111111111111",
    );
    store
        .record_scan(&[orchestrator("a.yml", "1")], at(0))
        .await
        .unwrap();
    corrupt(
        &scene,
        "UPDATE orchestrator_playbooks SET required_params = 'no JSON'",
    )
    .await;
    names(
        OrchestratorStore::find(&store, "a.yml").await,
        "orchestrator playbook",
        "1",
    );

    start(&store, vec![task(1, &keys), task(2, &keys)]).await;
    corrupt(
        &scene,
        "UPDATE rollouts SET mode = 'explode' WHERE position = 1",
    )
    .await;
    names(
        RolloutView::find(&store, task_id(1)).await,
        "rollout",
        &task_id(1).to_string(),
    );
    names(
        RolloutView::list(&store, &[], first).await,
        "rollout",
        &task_id(1).to_string(),
    );
    assert_eq!(
        HaproxyView::instances(&store, &HaproxyInstanceFilter::default(), first)
            .await
            .unwrap()
            .items,
        []
    );
}

#[tokio::test]
async fn an_unreadable_task_does_not_block_the_queue() {
    for scene in [support::sqlite().await, support::postgres().await] {
        let store = scene.store.clone();
        start(&store, vec![task(1, &[]), task(2, &[])]).await;
        corrupt(
            &scene,
            "UPDATE rollouts SET drain_wait_minutes = 4711 WHERE position = 1",
        )
        .await;
        let worker = Updater::open(&store, 1).await;
        let (first, second) = (worker.take().await, worker.take().await);
        names(
            store.begin(&first, at(20)).await,
            "rollout",
            &task_id(1).to_string(),
        );
        let begun = store.begin(&second, at(20)).await.unwrap().unwrap();
        assert_eq!(begun.detail.rollout.id, task_id(2));
    }
}

#[tokio::test]
async fn a_prepared_playbook_that_cannot_be_read_is_named() {
    let scene = support::postgres().await;
    let store = scene.store.clone();
    start(&store, vec![task(1, &[])]).await;
    let held = Updater::open(&store, 1).await.take().await;
    store
        .plan(&held, &[run(0, 1, &[Key::new(1)])], &[])
        .await
        .unwrap();
    corrupt(&scene, "UPDATE rollout_runs SET prepared = '{}'").await;
    names(
        RolloutView::find(&store, task_id(1)).await,
        "run of a rollout",
        "1",
    );
}

#[tokio::test]
async fn a_lost_postgres_is_unavailable_until_it_is_back() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("lost");
    let options = Options {
        connections_max: NonZeroU32::new(3).unwrap(),
        acquire_timeout: Duration::from_secs(2),
        ..Options::new(database.url())
    };
    let store = SeaOrmStore::connect(&options).await.unwrap();
    store.migrate().await.unwrap();
    store.add(&new_server("web01"), at(0)).await.unwrap();

    cluster.stop();
    for _ in 0..4 {
        let refusal = store.add(&new_server("web02"), at(0)).await.unwrap_err();
        assert!(
            matches!(refusal, StoreError::Unavailable { .. }),
            "{refusal:?}"
        );
        assert_eq!(refusal.fault(), Fault::Transient);
    }
    cluster.start();
    eventually(Duration::from_secs(20), async || {
        store.check().await.map_err(|error| error.to_string())
    })
    .await;
    store.add(&new_server("web02"), at(0)).await.unwrap();
    assert_eq!(
        ServerRegistry::list(&store, PageRequest::first())
            .await
            .unwrap()
            .items
            .len(),
        2
    );
}

#[tokio::test]
async fn a_slow_statement_is_cut_off() {
    let scene = support::postgres().await;
    let options = Options {
        statement_timeout: Duration::from_millis(300),
        ..Options::new(&scene.url)
    };
    let store = SeaOrmStore::connect(&options).await.unwrap();
    start(&store, vec![task(1, &[])]).await;
    // Another session locks the table and keeps it.
    scene.execute("BEGIN", vec![]).await;
    scene
        .execute("LOCK TABLE rollouts IN ACCESS EXCLUSIVE MODE", vec![])
        .await;
    let waited = tokio::time::timeout(
        Duration::from_secs(10),
        RolloutView::find(&store, task_id(1)),
    )
    .await;
    assert!(
        matches!(waited, Ok(Err(StoreError::Unavailable { .. }))),
        "{waited:?}"
    );
    scene.execute("ROLLBACK", vec![]).await;
    assert!(
        RolloutView::find(&store, task_id(1))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_keeps_no_other_from_its_moment() {
    for broken in [
        "cron = 'every noon'",
        "time_zone = 'Mars/Olympus'",
        "input = '{'",
        "missed_runs = 'twice'",
    ] {
        let scene = support::sqlite().await;
        corrupt(&scene, "PRAGMA ignore_check_constraints = ON").await;
        for (name, next) in [("bad1", 1), ("bad2", 2), ("good1", 3), ("good2", 4)] {
            let schedule = Schedule {
                name: ScheduleName::parse(name).unwrap(),
                definition: DefinitionName::parse("backup").unwrap(),
                version: None,
                input: Json::null(),
                cron: Cron::parse("0 * * * *", "UTC").unwrap(),
                missed: MissedRuns::Skip,
                is_paused: false,
                next_at: at(next),
            };
            ScheduleStore::put(&scene.store, &schedule).await.unwrap();
        }
        let text = format!("UPDATE workflow_schedules SET {broken} WHERE name LIKE 'bad%'");
        corrupt(&scene, &text).await;
        // Fewer places than rows that cannot be read.
        let due = scene.store.due(at(9), 1).await.unwrap();
        let names: Vec<_> = due.schedules.iter().map(|due| due.name.as_str()).collect();
        assert_eq!(names, ["good1"], "{broken}");
        assert_eq!(due.unreadable.len(), 2, "{broken}");
        assert!(
            due.unreadable
                .iter()
                .all(|error| matches!(error, StoreError::Corrupt { .. })),
            "{broken}"
        );
        let page = ScheduleStore::list(&scene.store, PageRequest::first())
            .await
            .unwrap();
        let listed: Vec<_> = page.items.iter().map(|(_, listed)| {
            let is_broken = matches!(listed, ListedSchedule::Broken(one) if one.reason.contains(listed.name()));
            (listed.name().to_owned(), is_broken)
        }).collect();
        assert_eq!(
            listed,
            [
                ("bad1", true),
                ("bad2", true),
                ("good1", false),
                ("good2", false)
            ]
            .map(|(name, is_broken)| (name.to_owned(), is_broken)),
            "{broken}"
        );
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_read_keeps_no_other_from_its_polls() {
    let scene = support::sqlite().await;
    corrupt(&scene, "PRAGMA ignore_check_constraints = ON").await;
    for name in ["a", "b", "c"] {
        scene.store.add(&new_server(name), at(0)).await.unwrap();
    }
    corrupt(
        &scene,
        "UPDATE servers SET status = 'asleep' WHERE name = 'b'",
    )
    .await;
    let mut seen = Vec::new();
    let mut page = PageRequest {
        limit: 1,
        ..PageRequest::first()
    };
    // The page that would hold the unreadable row is empty and still leads to the next one.
    loop {
        let found = ServerRegistry::list(&scene.store, page).await.unwrap();
        seen.extend(found.items.into_iter().map(|server| server.name));
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "c"]);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_read_keeps_no_other_from_its_messages() {
    for broken in ["'{'", "'[\"thunder\"]'"] {
        let scene = support::sqlite().await;
        corrupt(&scene, "PRAGMA ignore_check_constraints = ON").await;
        let wish = |url: &str| WebhookWish {
            url: url.to_owned(),
            description: None,
            events: std::collections::BTreeSet::new(),
            is_active: true,
        };
        let mut keys = Vec::new();
        let (a, secret) = (
            wish("https://a.example/"),
            WebhookSecret::new("whsec_a".to_owned()),
        );
        for url in ["https://a.example/", "https://b.example/"] {
            let wish = wish(url);
            let added =
                drover_ports::WebhookStore::add(&scene.store, &wish, &secret, "ann", at(1), None);
            keys.push(added.await.unwrap().webhook.key);
        }
        let text = format!(
            "UPDATE webhooks SET events = {broken} WHERE id = {}",
            keys[0]
        );
        corrupt(&scene, &text).await;
        let all = drover_ports::WebhookStore::all(&scene.store).await.unwrap();
        let active: Vec<_> = all.iter().map(|webhook| webhook.wish.is_active).collect();
        assert_eq!(active, [false, true], "{broken}");
        let reason = all[0].disabled.as_deref().unwrap();
        assert!(reason.contains("is not readable"), "{reason}");
        // The next change makes it work again.
        let changed = drover_ports::WebhookStore::change(&scene.store, keys[0], &a);
        let changed = changed.await.unwrap().unwrap();
        assert_eq!((changed.wish.is_active, changed.disabled), (true, None));
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_keeps_no_other_from_webhooks() {
    let scene = support::sqlite().await;
    corrupt(&scene, "PRAGMA ignore_check_constraints = ON").await;
    let world = drover_testkit::store::World::new(
        scene.store.clone(),
        drover_testkit::store::MemoryStore::default(),
    );
    fleet(&world, "app01", &["jurws_1", "jurws_2"]).await;
    corrupt(
        &scene,
        "INSERT INTO application_status_history (application_id, old_status, new_status, changed_at, is_told)
         SELECT id, 'online', CASE WHEN name = 'jurws_1' THEN 'asleep' ELSE 'offline' END, 5, FALSE
         FROM application_instances ORDER BY id",
    )
    .await;
    let found = drover_ports::WebhookStore::list_unpublished(&scene.store, 100)
        .await
        .unwrap();
    let statuses = found
        .iter()
        .filter(|one| one.source == NoticeSource::InstanceStatus);
    let has_notice: Vec<bool> = statuses.map(|one| one.notice.is_some()).collect();
    assert!(has_notice.ends_with(&[false, true]), "{has_notice:?}");
}
