//! The engine over a store in memory, in paused time: what runs when, and what happens when a handler, the
//! store or a whole process does not answer.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken setup should stop the test"
)]

mod actors;
mod chaos;
mod children;
mod harness;
mod house;
mod leases;
mod lines;
mod outages;
mod queue;
mod runs;
mod troubles;
