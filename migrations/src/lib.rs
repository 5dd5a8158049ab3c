//! The schema as an append-only list of steps, for PostgreSQL and SQLite.
//!
//! A step is never edited after it was merged; `README.md` beside this folder says how to write one.
//! Start reading at [`Migrator`]; the store adapter runs it under a lock.
#![expect(
    elided_lifetimes_in_paths,
    reason = "`SchemaManager<'_>` does not match what async_trait made of MigrationTrait (E0195)"
)]

mod dialect;
mod m20261121_000001_fleet;
mod m20261121_000002_balancer;
mod m20261121_000003_rollout;
mod m20261121_000004_access;
mod m20261125_000005_workflows;
mod m20261125_000006_updates_on_the_engine;
mod m20261126_000007_actions;
mod m20261126_000008_mapping_audit;
mod m20261126_000011_desired_states;
mod m20261126_000012_retention;
mod m20261126_000013_webhooks;
mod m20261130_000014_access_keys;
mod m20261130_000015_engine_bounds;
mod m20261130_000016_haproxy_columns;
mod m20261130_000017_fleet_bounds;
mod m20261130_000018_rollout_evidence;
mod m20261201_000020_names;
mod m20261201_000022_stood_behind_haproxy;
mod migrator;

pub use migrator::{Migrator, steps};
