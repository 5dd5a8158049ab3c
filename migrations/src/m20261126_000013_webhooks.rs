//! Webhooks, their deliveries, and which records nobody was told of yet.

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

// What was recorded before there were webhooks is told.
const UP: &str = "
CREATE TABLE webhooks (
    id {key},
    url TEXT NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    description TEXT CHECK (length(description) <= 1000),
    events {json} NOT NULL,
    is_active BOOLEAN NOT NULL,
    disabled TEXT CHECK (length(disabled) <= 1000),
    secret TEXT NOT NULL CHECK (length(secret) <= 128),
    former_secret TEXT CHECK (length(former_secret) <= 128),
    former_until BIGINT,
    created_by TEXT NOT NULL CHECK (length(created_by) <= 255),
    created_at BIGINT NOT NULL
);

CREATE TABLE webhook_deliveries (
    id {key},
    workflow_id {uuid} NOT NULL UNIQUE REFERENCES workflows (id) ON DELETE CASCADE,
    webhook_id BIGINT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    message_id TEXT NOT NULL CHECK (length(message_id) <= 128),
    event TEXT NOT NULL CHECK (length(event) <= 64),
    payload TEXT NOT NULL CHECK (length(payload) <= 20000),
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);

CREATE TABLE webhook_attempts (
    delivery_id BIGINT NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    number BIGINT NOT NULL CHECK (number > 0),
    at BIGINT NOT NULL,
    took BIGINT NOT NULL CHECK (took >= 0),
    status BIGINT CHECK (status BETWEEN 100 AND 999),
    failure TEXT CHECK (length(failure) <= 1000),
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE application_status_history (
    id {key},
    application_id BIGINT NOT NULL REFERENCES application_instances (id) ON DELETE CASCADE,
    old_status TEXT NOT NULL CHECK (old_status IN ('online', 'offline', 'unknown', 'starting', 'stopping', 'no_data')),
    new_status TEXT NOT NULL CHECK (new_status IN ('online', 'offline', 'unknown', 'starting', 'stopping', 'no_data')),
    changed_at BIGINT NOT NULL,
    is_told BOOLEAN NOT NULL
);
CREATE INDEX application_status_history_application ON application_status_history (application_id, id);
CREATE INDEX application_status_history_at ON application_status_history (changed_at, id);
CREATE INDEX application_status_history_untold ON application_status_history (id) WHERE NOT is_told;

ALTER TABLE events ADD COLUMN is_told BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX events_untold ON events (id) WHERE NOT is_told;
ALTER TABLE application_version_history ADD COLUMN is_told BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX application_version_history_untold ON application_version_history (id) WHERE NOT is_told;
ALTER TABLE haproxy_server_status_history ADD COLUMN is_told BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX haproxy_server_status_history_untold ON haproxy_server_status_history (id) WHERE NOT is_told;
ALTER TABLE haproxy_actions ADD COLUMN is_told BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX haproxy_actions_untold ON haproxy_actions (id) WHERE NOT is_told;
";

const DOWN: &str = "
DROP INDEX haproxy_actions_untold;
ALTER TABLE haproxy_actions DROP COLUMN is_told;
DROP INDEX haproxy_server_status_history_untold;
ALTER TABLE haproxy_server_status_history DROP COLUMN is_told;
DROP INDEX application_version_history_untold;
ALTER TABLE application_version_history DROP COLUMN is_told;
DROP INDEX events_untold;
ALTER TABLE events DROP COLUMN is_told;
DROP TABLE application_status_history;
DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
DROP TABLE webhooks;
";
