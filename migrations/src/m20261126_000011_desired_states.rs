//! Who holds a server in HAProxy out of use, and which process an HAProxy is.

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
ALTER TABLE haproxy_instances ADD COLUMN process_id BIGINT CHECK (process_id >= 0);
ALTER TABLE haproxy_instances ADD COLUMN process_started_at BIGINT;

ALTER TABLE haproxy_servers ADD COLUMN desired_state TEXT CHECK (desired_state IN ('drain', 'maint'));
ALTER TABLE haproxy_servers ADD COLUMN desired_by TEXT CHECK (length(desired_by) <= 255);
ALTER TABLE haproxy_servers ADD COLUMN desired_reason TEXT CHECK (length(desired_reason) <= 1000);
ALTER TABLE haproxy_servers ADD COLUMN desired_since BIGINT;
ALTER TABLE haproxy_servers ADD COLUMN desired_until BIGINT;

ALTER TABLE haproxy_actions ADD COLUMN hold_for BIGINT CHECK (hold_for >= 0);
ALTER TABLE haproxy_actions ADD COLUMN restores BOOLEAN NOT NULL DEFAULT FALSE;
";

const DOWN: &str = "
ALTER TABLE haproxy_actions DROP COLUMN restores;
ALTER TABLE haproxy_actions DROP COLUMN hold_for;

ALTER TABLE haproxy_servers DROP COLUMN desired_until;
ALTER TABLE haproxy_servers DROP COLUMN desired_since;
ALTER TABLE haproxy_servers DROP COLUMN desired_reason;
ALTER TABLE haproxy_servers DROP COLUMN desired_by;
ALTER TABLE haproxy_servers DROP COLUMN desired_state;

ALTER TABLE haproxy_instances DROP COLUMN process_started_at;
ALTER TABLE haproxy_instances DROP COLUMN process_id;
";
