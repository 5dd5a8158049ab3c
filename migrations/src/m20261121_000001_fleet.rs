//! Servers, applications with their catalog entries and groups, version history, events.

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
CREATE TABLE servers (
    id {key},
    name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    address TEXT NOT NULL CHECK (length(address) BETWEEN 1 AND 253),
    port BIGINT NOT NULL CHECK (port BETWEEN 1 AND 65535),
    status TEXT NOT NULL DEFAULT 'unknown' CHECK (status IN ('unknown', 'online', 'offline')),
    is_haproxy_node BOOLEAN NOT NULL DEFAULT FALSE,
    failures BIGINT NOT NULL DEFAULT 0 CHECK (failures >= 0),
    last_check BIGINT,
    inventory_at BIGINT,
    last_error TEXT CHECK (length(last_error) <= 1000),
    suspect BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE application_catalog (
    id {key},
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    kind TEXT NOT NULL CHECK (kind IN ('docker', 'site', 'service')),
    default_playbook_path TEXT CHECK (length(default_playbook_path) <= 4096),
    default_artifact_url TEXT CHECK (length(default_artifact_url) <= 4096),
    default_artifact_extension TEXT CHECK (length(default_artifact_extension) <= 64),
    created_at BIGINT NOT NULL,
    UNIQUE (name, kind)
);

CREATE TABLE application_groups (
    id {key},
    name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
    catalog_id BIGINT REFERENCES application_catalog (id) ON DELETE SET NULL,
    update_playbook_path TEXT CHECK (length(update_playbook_path) <= 4096),
    artifact_list_url TEXT CHECK (length(artifact_list_url) <= 4096),
    artifact_extension TEXT CHECK (length(artifact_extension) <= 64),
    batch_grouping_strategy TEXT NOT NULL DEFAULT 'by_group' CHECK (length(batch_grouping_strategy) <= 64),
    created_at BIGINT NOT NULL
);
CREATE INDEX application_groups_catalog ON application_groups (catalog_id);

CREATE TABLE application_instances (
    id {key},
    server_id BIGINT REFERENCES servers (id) ON DELETE SET NULL,
    kind TEXT NOT NULL CHECK (kind IN ('docker', 'site', 'service')),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    status TEXT NOT NULL CHECK (status IN ('online', 'offline', 'unknown', 'starting', 'stopping', 'no_data')),
    version TEXT CHECK (length(version) <= 4096),
    tag TEXT CHECK (length(tag) <= 4096),
    image TEXT CHECK (length(image) <= 4096),
    distr_path TEXT CHECK (length(distr_path) <= 4096),
    address TEXT CHECK (length(address) <= 4096),
    port BIGINT CHECK (port BETWEEN 0 AND 65535),
    pid BIGINT CHECK (pid >= 0),
    path TEXT CHECK (length(path) <= 4096),
    log_path TEXT CHECK (length(log_path) <= 4096),
    container_id TEXT CHECK (length(container_id) <= 4096),
    start_time TEXT CHECK (length(start_time) <= 4096),
    catalog_id BIGINT REFERENCES application_catalog (id) ON DELETE SET NULL,
    group_id BIGINT REFERENCES application_groups (id) ON DELETE SET NULL,
    instance_number BIGINT NOT NULL DEFAULT 0 CHECK (instance_number >= 0),
    custom_playbook_path TEXT CHECK (length(custom_playbook_path) <= 4096),
    custom_artifact_url TEXT CHECK (length(custom_artifact_url) <= 4096),
    custom_artifact_extension TEXT CHECK (length(custom_artifact_extension) <= 64),
    last_seen BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (server_id, kind, name)
);
CREATE INDEX application_instances_catalog ON application_instances (catalog_id);
CREATE INDEX application_instances_group ON application_instances (group_id, id);
CREATE INDEX application_instances_name ON application_instances (name, id);

CREATE TABLE application_version_history (
    id {key},
    application_id BIGINT NOT NULL REFERENCES application_instances (id) ON DELETE CASCADE,
    old_version TEXT CHECK (length(old_version) <= 4096),
    new_version TEXT CHECK (length(new_version) <= 4096),
    old_tag TEXT CHECK (length(old_tag) <= 4096),
    new_tag TEXT CHECK (length(new_tag) <= 4096),
    old_image TEXT CHECK (length(old_image) <= 4096),
    new_image TEXT CHECK (length(new_image) <= 4096),
    old_distr_path TEXT CHECK (length(old_distr_path) <= 4096),
    new_distr_path TEXT CHECK (length(new_distr_path) <= 4096),
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL CHECK (changed_by IN ('user', 'agent')),
    change_source TEXT NOT NULL CHECK (change_source IN ('update_task', 'polling', 'manual')),
    task_id {uuid}
);
CREATE INDEX application_version_history_application ON application_version_history (application_id, id);

CREATE TABLE events (
    id {key},
    at BIGINT NOT NULL,
    event_type TEXT NOT NULL CHECK (event_type IN ('start', 'stop', 'restart', 'update', 'connect', 'disconnect')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'success', 'failed')),
    server_id BIGINT REFERENCES servers (id) ON DELETE SET NULL,
    application_id BIGINT REFERENCES application_instances (id) ON DELETE SET NULL,
    description TEXT NOT NULL
);
CREATE INDEX events_server ON events (server_id, id);
CREATE INDEX events_application ON events (application_id);
";

const DOWN: &str = "
DROP TABLE events;
DROP TABLE application_version_history;
DROP TABLE application_instances;
DROP TABLE application_groups;
DROP TABLE application_catalog;
DROP TABLE servers;
";
