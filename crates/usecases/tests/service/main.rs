//! The service over fakes: what is asked, what is stored, what is never done twice.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a broken setup should stop the test, and a scene of it holds a whole service"
)]

mod actions;
mod drains;
mod engine;
mod fleet;
mod harness;
mod lies;
mod mappings;
mod nodes;
mod pins;
mod plans;
mod requests;
mod runs;
mod settings;
mod webhooks;
