//! The store keeps every promise of the store ports on PostgreSQL.
#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

mod support;

use drover_testkit::store::World;

async fn fresh() -> World {
    support::postgres().await.world()
}

drover_testkit::every_store_contract!(super::fresh);
