//! Actions on servers in HAProxy, the breaker of each HAProxy, and which action changed a server's status.

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

// The history names workflows without a foreign key: it outlives them.
const UP: &str = "
CREATE TABLE haproxy_actions (
    id {key},
    workflow_id {uuid} NOT NULL UNIQUE REFERENCES workflows (id) ON DELETE CASCADE,
    haproxy_server_id BIGINT NOT NULL REFERENCES haproxy_servers (id) ON DELETE CASCADE,
    transaction_id TEXT NOT NULL CHECK (length(transaction_id) <= 128),
    wanted TEXT NOT NULL CHECK (wanted IN ('ready', 'drain', 'maint')),
    wait BIGINT NOT NULL CHECK (wait >= 0),
    forced TEXT CHECK (length(forced) <= 1000),
    reason TEXT CHECK (length(reason) <= 1000),
    actor TEXT NOT NULL CHECK (length(actor) <= 255),
    request_id TEXT NOT NULL CHECK (length(request_id) <= 255),
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    failure_code TEXT CHECK (length(failure_code) <= 64),
    failure TEXT,
    sends BIGINT CHECK (sends >= 0),
    looks {json}
);
CREATE UNIQUE INDEX haproxy_actions_transaction ON haproxy_actions (transaction_id);
CREATE INDEX haproxy_actions_server ON haproxy_actions (haproxy_server_id, id);

ALTER TABLE haproxy_instances ADD COLUMN breaker_failures BIGINT NOT NULL DEFAULT 0 CHECK (breaker_failures >= 0);
ALTER TABLE haproxy_instances ADD COLUMN breaker_opened_at BIGINT;
ALTER TABLE haproxy_instances ADD COLUMN breaker_probe_at BIGINT;

ALTER TABLE haproxy_server_status_history ADD COLUMN action_workflow_id {uuid};
ALTER TABLE haproxy_server_status_history ADD COLUMN actor TEXT CHECK (length(actor) <= 255);
";

const DOWN: &str = "
ALTER TABLE haproxy_server_status_history DROP COLUMN actor;
ALTER TABLE haproxy_server_status_history DROP COLUMN action_workflow_id;
ALTER TABLE haproxy_instances DROP COLUMN breaker_probe_at;
ALTER TABLE haproxy_instances DROP COLUMN breaker_opened_at;
ALTER TABLE haproxy_instances DROP COLUMN breaker_failures;
DROP TABLE haproxy_actions;
";
