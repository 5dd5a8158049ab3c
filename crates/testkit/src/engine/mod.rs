//! What the durable engine's ports promise, and things to start in tests.
//!
//! The suites are functions over an [`EngineWorld`]: a store, and a side door for what no port does.
//! Start reading at [`contract::workflow_store`].

#[macro_use]
mod macros;

pub mod contract;
pub mod fixtures;
mod world;

pub use world::{AnyEngineStore, EngineSideDoor, EngineWorld};
