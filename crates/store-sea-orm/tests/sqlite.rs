//! The store keeps every promise of the store ports on SQLite.
#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

mod support;

use drover_ports::{RolloutStore, ServerRegistry};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::engine::EngineWorld;
use drover_testkit::store::World;
use drover_testkit::store::fixtures::{self, Updater};

async fn fresh() -> World {
    support::sqlite().await.world()
}

async fn fresh_engine() -> EngineWorld {
    support::sqlite().await.engine_world()
}

drover_testkit::every_store_contract!(super::fresh);

mod engine {
    drover_testkit::every_engine_contract!(super::super::fresh_engine);
}

#[tokio::test]
async fn a_database_in_memory_lives_as_long_as_its_store() {
    let store = SeaOrmStore::connect(&Options::new("sqlite::memory:"))
        .await
        .unwrap();
    store.migrate().await.unwrap();
    for number in 1..=20 {
        store
            .add(
                &fixtures::new_server(&format!("web{number}")),
                fixtures::at(0),
            )
            .await
            .unwrap();
    }
    store
        .start(&fixtures::updates(
            (1..=50).map(|number| fixtures::task(number, &[])).collect(),
        ))
        .await
        .unwrap();
    let worker = Updater::open(&store, 1).await;
    for number in 1..=50 {
        assert_eq!(worker.take().await.task, fixtures::task_id(number));
    }
}

#[tokio::test]
async fn two_processes_share_a_file() {
    let scene = support::sqlite().await;
    let other = SeaOrmStore::connect(&Options::new(&scene.url))
        .await
        .unwrap();
    let tasks = (1..=60).map(|number| fixtures::task(number, &[])).collect();
    scene.store.start(&fixtures::updates(tasks)).await.unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for (number, store) in (1..).zip([&scene.store, &other, &scene.store, &other]) {
        let store = store.clone();
        workers.spawn(async move {
            let worker = Updater::open(&store, number).await;
            let mut claimed = Vec::new();
            while let Some(claim) = worker.claim().await {
                claimed.push(claim.task);
            }
            claimed
        });
    }
    let mut claimed: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 60);
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), 60, "none was claimed twice");
}
