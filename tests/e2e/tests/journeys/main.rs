//! Journeys through the `drover` binary in a small real world: its database, one agent with
//! applications described in a folder, a playbook folder, and the binary itself; and of several of
//! them on one database, with a peer they call and workers outside.
//!
//! The binaries come from the target folder these tests were built in; `cargo xtask test` builds
//! them first.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test world should stop the test"
)]

mod api;
mod database;
mod demo;
mod flood;
mod guide;
mod haproxy;
mod nodes;
mod peer;
mod process;
mod remote;
mod restart;
mod share;
mod starts;
mod streams;
mod webhooks;
mod world;
