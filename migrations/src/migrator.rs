//! The list of the steps.

use sea_orm_migration::prelude::*;

use crate::{
    m20261121_000001_fleet, m20261121_000002_balancer, m20261121_000003_rollout,
    m20261121_000004_access, m20261125_000005_workflows, m20261125_000006_updates_on_the_engine,
    m20261126_000007_actions, m20261126_000008_mapping_audit, m20261126_000011_desired_states,
    m20261126_000012_retention, m20261126_000013_webhooks, m20261130_000014_access_keys,
    m20261130_000015_engine_bounds, m20261130_000016_haproxy_columns,
    m20261130_000017_fleet_bounds, m20261130_000018_rollout_evidence, m20261201_000020_names,
    m20261201_000022_stood_behind_haproxy,
};

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
            Box::new(m20261130_000016_haproxy_columns::Migration),
            Box::new(m20261130_000017_fleet_bounds::Migration),
            Box::new(m20261130_000018_rollout_evidence::Migration),
            Box::new(m20261201_000020_names::Migration),
            Box::new(m20261201_000022_stood_behind_haproxy::Migration),
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
