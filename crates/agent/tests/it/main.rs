//! The agent over real HTTP: every route, a real HAProxy, a real bus, a stub Docker daemon, and the binary itself.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]
#![expect(clippy::panic, reason = "helpers fail the test they serve")]
#![expect(
    clippy::indexing_slicing,
    reason = "a missing JSON member is null and fails the assertion"
)]

mod binary;
mod contract;
mod docker;
mod haproxy;
mod old_workers;
mod recordings;
mod support;
mod systemd;
