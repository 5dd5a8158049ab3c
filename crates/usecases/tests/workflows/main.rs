//! Requests about workflows over the memory store.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop the test when the setup is broken"
)]

mod around;
mod orders;
mod runs;
mod world;
