//! What the store ports promise, a fake that keeps it, fixtures, and an ephemeral PostgreSQL.
//!
//! The suites are functions over a [`World`]: a store, and a side door for what no port shows.
//! Start reading at [`contract::rollout_store`].

#[macro_use]
mod macros;

pub mod contract;
pub mod fixtures;
mod memory;
pub mod postgres;
mod world;

pub use memory::MemoryStore;
pub use world::{AnyStore, SideDoor, World};
