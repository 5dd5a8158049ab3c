//! The whole tree of routes over fakes: wire shapes, problems, roles, bounds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "helpers of tests stop the test when the setup is broken, and a world holds a whole service"
)]

mod access;
mod definitions;
mod edge;
mod faithful;
mod faulty;
mod haproxy;
mod haproxy_lists;
mod haproxy_mappings;
mod lists;
mod meddler;
mod once;
mod operations;
mod own;
mod problems;
mod races;
mod roles;
mod rollouts;
mod secrets;
mod servers;
mod settings;
mod shares;
mod streams;
mod webhooks;
mod workers;
mod workflows;
mod world;
