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
use drover_ports::{
    AccessKeys, Fault, FleetEventFilter, FleetSnapshots, FleetView, HaproxyInstanceFilter,
    HaproxyView, InventoryStore, OrchestratorStore, Rejection, RolloutStore, RolloutView,
    ServerRegistry, StoreError, StoreHealth,
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
    // Somebody holds the table and does not let go.
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
