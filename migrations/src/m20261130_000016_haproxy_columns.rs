//! What decides whether a server in HAProxy gets requests, and how current and complete what is known of it is.

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

// A partial reading is `success` with `is_partial`: nodes of the version before read the same words.
const UP: &str = "
ALTER TABLE haproxy_instances ADD COLUMN observed_at BIGINT;
ALTER TABLE haproxy_instances ADD COLUMN is_partial BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE haproxy_instances ADD COLUMN version TEXT CHECK (length(version) <= 64);
UPDATE haproxy_instances SET observed_at = last_sync WHERE last_sync_status = 'success';

ALTER TABLE haproxy_backends ADD COLUMN observed_at BIGINT;
ALTER TABLE haproxy_backends ADD COLUMN is_partial BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE haproxy_backends ADD COLUMN missed_at BIGINT;

ALTER TABLE haproxy_servers ADD COLUMN missed_at BIGINT;
ALTER TABLE haproxy_servers ADD COLUMN is_backup BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE haproxy_servers ADD COLUMN tracks TEXT CHECK (length(tracks) <= 511);
ALTER TABLE haproxy_servers ADD COLUMN has_agent_check BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE haproxy_servers SET takes_traffic = FALSE WHERE weight = 0;

CREATE INDEX haproxy_servers_tracks ON haproxy_servers (backend_id) WHERE tracks IS NOT NULL;
CREATE INDEX haproxy_servers_removed ON haproxy_servers (removed_at, id) WHERE removed_at IS NOT NULL;
CREATE INDEX haproxy_backends_removed ON haproxy_backends (removed_at, id) WHERE removed_at IS NOT NULL;
";

const DOWN: &str = "
DROP INDEX haproxy_backends_removed;
DROP INDEX haproxy_servers_removed;
DROP INDEX haproxy_servers_tracks;

ALTER TABLE haproxy_servers DROP COLUMN has_agent_check;
ALTER TABLE haproxy_servers DROP COLUMN tracks;
ALTER TABLE haproxy_servers DROP COLUMN is_backup;
ALTER TABLE haproxy_servers DROP COLUMN missed_at;

ALTER TABLE haproxy_backends DROP COLUMN missed_at;
ALTER TABLE haproxy_backends DROP COLUMN is_partial;
ALTER TABLE haproxy_backends DROP COLUMN observed_at;

ALTER TABLE haproxy_instances DROP COLUMN version;
ALTER TABLE haproxy_instances DROP COLUMN is_partial;
ALTER TABLE haproxy_instances DROP COLUMN observed_at;
";
