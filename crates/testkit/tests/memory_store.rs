//! The memory store keeps every promise of the store ports.

use drover_testkit::store::{MemoryStore, World};

async fn fresh() -> World {
    MemoryStore::world()
}

drover_testkit::every_store_contract!(super::fresh);
