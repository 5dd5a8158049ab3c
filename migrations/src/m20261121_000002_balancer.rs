//! HAProxy instances, backends, servers, their status history and their mappings to applications.

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
CREATE TABLE haproxy_instances (
    id {key},
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    last_sync BIGINT,
    last_sync_status TEXT NOT NULL DEFAULT 'unknown' CHECK (last_sync_status IN ('unknown', 'success', 'failed')),
    last_sync_error TEXT CHECK (length(last_sync_error) <= 1000),
    empty_answers BIGINT NOT NULL DEFAULT 0 CHECK (empty_answers >= 0),
    created_at BIGINT NOT NULL,
    UNIQUE (server_id, name)
);

CREATE TABLE haproxy_backends (
    id {key},
    instance_id BIGINT NOT NULL REFERENCES haproxy_instances (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    last_fetch_status TEXT NOT NULL DEFAULT 'unknown' CHECK (last_fetch_status IN ('unknown', 'success', 'failed')),
    last_fetch_error TEXT CHECK (length(last_fetch_error) <= 1000),
    last_fetch_at BIGINT,
    removed_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (instance_id, name)
);

CREATE TABLE haproxy_servers (
    id {key},
    backend_id BIGINT NOT NULL REFERENCES haproxy_backends (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    status TEXT NOT NULL CHECK (length(status) <= 128),
    takes_traffic BOOLEAN NOT NULL,
    admin_state BIGINT CHECK (admin_state >= 0),
    sessions BIGINT CHECK (sessions >= 0),
    queue BIGINT CHECK (queue >= 0),
    weight BIGINT NOT NULL DEFAULT 1 CHECK (weight >= 0),
    check_status TEXT CHECK (length(check_status) <= 255),
    address TEXT CHECK (length(address) <= 255),
    port BIGINT CHECK (port BETWEEN 0 AND 65535),
    last_seen BIGINT,
    removed_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (backend_id, name)
);

CREATE TABLE haproxy_server_status_history (
    id {key},
    haproxy_server_id BIGINT NOT NULL REFERENCES haproxy_servers (id) ON DELETE CASCADE,
    old_status TEXT NOT NULL CHECK (length(old_status) <= 128),
    new_status TEXT NOT NULL CHECK (length(new_status) <= 128),
    changed_at BIGINT NOT NULL,
    change_reason TEXT NOT NULL CHECK (change_reason IN ('sync', 'command', 'manual'))
);
CREATE INDEX haproxy_server_status_history_server ON haproxy_server_status_history (haproxy_server_id, id);

CREATE TABLE application_mappings (
    id {key},
    application_id BIGINT NOT NULL REFERENCES application_instances (id) ON DELETE CASCADE,
    entity_type TEXT NOT NULL CHECK (entity_type IN ('haproxy_server', 'eureka_instance')),
    entity_id BIGINT NOT NULL,
    basis TEXT NOT NULL CHECK (basis IN ('address', 'name', 'manual')),
    is_active BOOLEAN NOT NULL,
    mapped_at BIGINT NOT NULL,
    UNIQUE (application_id, entity_type, entity_id)
);
CREATE INDEX application_mappings_entity ON application_mappings (entity_type, entity_id);
CREATE UNIQUE INDEX application_mappings_active ON application_mappings (entity_type, entity_id) WHERE is_active;

CREATE TABLE application_mapping_history (
    id {key},
    mapping_id BIGINT NOT NULL REFERENCES application_mappings (id) ON DELETE CASCADE,
    action TEXT NOT NULL CHECK (action IN ('created', 'updated', 'activated', 'deactivated')),
    basis TEXT NOT NULL CHECK (basis IN ('address', 'name', 'manual')),
    changed_at BIGINT NOT NULL
);
CREATE INDEX application_mapping_history_mapping ON application_mapping_history (mapping_id, id);
";

const DOWN: &str = "
DROP TABLE application_mapping_history;
DROP TABLE application_mappings;
DROP TABLE haproxy_server_status_history;
DROP TABLE haproxy_servers;
DROP TABLE haproxy_backends;
DROP TABLE haproxy_instances;
";
