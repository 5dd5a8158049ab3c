//! One word for one thing (decision 36): pins and exclusions of servers in HAProxy.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

const UP: &str = "
ALTER TABLE haproxy_servers RENAME COLUMN desired_state TO pin_state;
ALTER TABLE haproxy_servers RENAME COLUMN desired_by TO pin_by;
ALTER TABLE haproxy_servers RENAME COLUMN desired_reason TO pin_reason;
ALTER TABLE haproxy_servers RENAME COLUMN desired_since TO pin_since;
ALTER TABLE haproxy_servers RENAME COLUMN desired_until TO pin_until;
ALTER TABLE haproxy_actions RENAME COLUMN hold_for TO pin_for;

ALTER TABLE haproxy_servers RENAME COLUMN mapping_held_at TO excluded_at;
ALTER TABLE haproxy_servers RENAME COLUMN mapping_held_by TO excluded_by;
ALTER TABLE haproxy_servers RENAME COLUMN mapping_held_reason TO exclusion_reason;
";

const DOWN: &str = "
ALTER TABLE haproxy_servers RENAME COLUMN exclusion_reason TO mapping_held_reason;
ALTER TABLE haproxy_servers RENAME COLUMN excluded_by TO mapping_held_by;
ALTER TABLE haproxy_servers RENAME COLUMN excluded_at TO mapping_held_at;

ALTER TABLE haproxy_actions RENAME COLUMN pin_for TO hold_for;
ALTER TABLE haproxy_servers RENAME COLUMN pin_until TO desired_until;
ALTER TABLE haproxy_servers RENAME COLUMN pin_since TO desired_since;
ALTER TABLE haproxy_servers RENAME COLUMN pin_reason TO desired_reason;
ALTER TABLE haproxy_servers RENAME COLUMN pin_by TO desired_by;
ALTER TABLE haproxy_servers RENAME COLUMN pin_state TO desired_state;
";
