//! The handler on real sockets, against honest peers and others.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test setup should stop the test"
)]

mod addresses;
mod answers;
mod requests;
mod stopping;
mod stub;
mod webhooks;
