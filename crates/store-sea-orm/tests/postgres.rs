//! The store keeps every promise of the store ports on PostgreSQL.
#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

mod support;

use drover_domain::access::Role;
use drover_ports::AccessKeys;
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::engine::EngineWorld;
use drover_testkit::store::World;
use drover_testkit::store::fixtures::api_key;

async fn fresh() -> World {
    support::postgres().await.world()
}

async fn fresh_engine() -> EngineWorld {
    support::postgres().await.engine_world()
}

drover_testkit::every_store_contract!(super::fresh);

mod engine {
    drover_testkit::every_engine_contract!(super::super::fresh_engine);
}

#[tokio::test]
async fn nodes_that_start_at_once_make_one_first_key() {
    let scene = support::postgres().await;
    let mut nodes = Vec::new();
    for number in 0..4 {
        let store = SeaOrmStore::connect(&Options::new(&scene.url))
            .await
            .unwrap();
        nodes.push((store, api_key(&format!("{number:016x}"), Role::Admin)));
    }
    for round in 0..10 {
        scene.execute("DELETE FROM api_keys", vec![]).await;
        let mut starts = tokio::task::JoinSet::new();
        for (store, key) in nodes.clone() {
            starts.spawn(async move { store.insert_first(&key).await.unwrap() });
        }
        let stored = starts.join_all().await;
        assert_eq!(
            stored.iter().filter(|stored| **stored).count(),
            1,
            "round {round}: {stored:?}"
        );
    }
}
