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

use sea_orm_migration::prelude::*;

/// The steps, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_fleet::Migration),
            Box::new(m20261121_000002_balancer::Migration),
            Box::new(m20261121_000003_rollout::Migration),
            Box::new(m20261121_000004_access::Migration),
            Box::new(m20261125_000005_workflows::Migration),
            Box::new(m20261125_000006_updates_on_the_engine::Migration),
            Box::new(m20261126_000007_actions::Migration),
            Box::new(m20261126_000008_mapping_audit::Migration),
            Box::new(m20261126_000011_desired_states::Migration),
            Box::new(m20261126_000012_retention::Migration),
            Box::new(m20261126_000013_webhooks::Migration),
            Box::new(m20261130_000014_access_keys::Migration),
            Box::new(m20261130_000015_engine_bounds::Migration),
            Box::new(m20261130_000017_fleet_bounds::Migration),
            Box::new(m20261130_000018_rollout_evidence::Migration),
            Box::new(m20261130_000016_haproxy_columns::Migration),
        ]
    }
}

/// The names of the steps, oldest first: what an up-to-date database has recorded.
#[must_use]
pub fn steps() -> Vec<String> {
    Migrator::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .collect()
}
