//! Fakes that pass the contract suites, the suites themselves, fixtures and an ephemeral
//! PostgreSQL. For tests only: nothing that ships depends on it.
//!
//! Start reading at the suites: [`store`], [`agent`], [`runner`]; each says what a port promises.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken test setup should stop the test"
)]
#[macro_use]
mod macros;

pub mod agent;
pub mod clock;
pub mod engine;
pub mod eventually;
pub mod runner;
pub mod store;
pub mod webhook;

/// The suites by name; the macros they export look their cases up here.
pub mod suites {
    pub use crate::agent;
    pub use crate::engine::contract::*;
    pub use crate::runner;
    pub use crate::store::contract::*;
}
