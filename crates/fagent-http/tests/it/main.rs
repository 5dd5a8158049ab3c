//! The gateway against stub agents: the contract suite, and bytes no honest agent sends.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken test setup should stop the test"
)]

mod bytes;
mod contract;
mod paths;
mod recordings;
mod render;
mod stub;
