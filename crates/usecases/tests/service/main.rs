//! The service over fakes: what is asked, what is stored, what is never done twice.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken setup should stop the test"
)]

mod actions;
mod drains;
mod engine;
mod fleet;
mod harness;
mod holds;
mod lies;
mod mappings;
mod nodes;
mod requests;
mod runs;
mod settings;
mod webhooks;
