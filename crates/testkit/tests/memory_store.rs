//! The memory store keeps every promise of the store ports.

use drover_testkit::store::{MemoryStore, World};

fn fresh() -> std::future::Ready<World> {
    std::future::ready(MemoryStore::world())
}

drover_testkit::every_store_contract!(super::fresh);
