//! The runner on the real Ansible: its contract here and over SSH, its jobs, its events, its playbooks.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken test setup should stop the test"
)]

mod agent;
mod callback;
mod configuration;
mod even_odd;
mod inventory;
mod jobs;
mod local;
mod ssh;
mod support;
