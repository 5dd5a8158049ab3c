//! Orchestrator playbooks, the queue of update tasks with runs, instances and events, idempotency keys.

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
CREATE TABLE orchestrator_playbooks (
    id {key},
    file_path TEXT NOT NULL UNIQUE CHECK (length(file_path) BETWEEN 1 AND 4096),
    name TEXT NOT NULL CHECK (length(name) <= 4096),
    description TEXT,
    version TEXT,
    required_params {json} NOT NULL,
    optional_params {json} NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    last_scanned BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE update_tasks (
    position {key},
    id {uuid} NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN (
        'pending', 'queued', 'running', 'retrying', 'waiting', 'succeeded', 'failed', 'timed_out', 'cancelled',
        'skipped', 'unknown')),
    application_ids {json} NOT NULL,
    concurrency_keys {json} NOT NULL DEFAULT '[]',
    artifact_url TEXT NOT NULL CHECK (length(artifact_url) BETWEEN 1 AND 2048),
    mode TEXT NOT NULL CHECK (mode IN ('update', 'deliver')),
    orchestrator TEXT NOT NULL CHECK (length(orchestrator) <= 4096),
    drain_wait_minutes DOUBLE PRECISION,
    playbook_path TEXT NOT NULL CHECK (length(playbook_path) <= 4096),
    actor TEXT NOT NULL CHECK (length(actor) <= 255),
    request_id TEXT NOT NULL CHECK (length(request_id) <= 255),
    attempt BIGINT NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    worker TEXT CHECK (length(worker) <= 255),
    lease_until BIGINT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    progress BIGINT NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    current_step TEXT,
    result TEXT,
    error TEXT
);
CREATE INDEX update_tasks_live ON update_tasks (position) WHERE status IN ('queued', 'running');
CREATE INDEX update_tasks_status ON update_tasks (status, position);

CREATE TABLE update_task_runs (
    id {key},
    task_id {uuid} NOT NULL REFERENCES update_tasks (id) ON DELETE CASCADE,
    run_index BIGINT NOT NULL CHECK (run_index >= 0),
    job_id {uuid} NOT NULL UNIQUE,
    prepared {json} NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'unknown')),
    exit_code BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    hosts {json} NOT NULL,
    UNIQUE (task_id, run_index)
);

CREATE TABLE update_task_instances (
    id {key},
    task_id {uuid} NOT NULL REFERENCES update_tasks (id) ON DELETE CASCADE,
    application_id BIGINT NOT NULL,
    name TEXT NOT NULL CHECK (length(name) <= 255),
    server TEXT NOT NULL CHECK (length(server) <= 255),
    composite TEXT NOT NULL,
    run_index BIGINT NOT NULL CHECK (run_index >= 0),
    batch TEXT NOT NULL CHECK (batch IN ('even', 'odd', 'all')),
    haproxy_server TEXT CHECK (length(haproxy_server) <= 255),
    outcome TEXT NOT NULL CHECK (outcome IN (
        'pending', 'draining', 'drained', 'updating', 'verifying', 'returning', 'done', 'failed', 'skipped',
        'rolled_back', 'left_drained', 'unknown')),
    detail TEXT,
    version_before TEXT,
    version_after TEXT,
    UNIQUE (task_id, application_id)
);

CREATE TABLE update_task_events (
    position {key},
    task_id {uuid} NOT NULL REFERENCES update_tasks (id) ON DELETE CASCADE,
    run_id BIGINT NOT NULL REFERENCES update_task_runs (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    at BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN (
        'playbook_start', 'play_start', 'task_start', 'ok', 'changed', 'failed', 'ignored', 'unreachable', 'skipped',
        'retry', 'no_hosts', 'stats', 'truncated')),
    play TEXT,
    task TEXT,
    host TEXT,
    message TEXT CHECK (length(message) <= 4000),
    report {json},
    stats {json} NOT NULL,
    UNIQUE (run_id, sequence)
);
CREATE INDEX update_task_events_task ON update_task_events (task_id, position);

CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL CHECK (length(scope) <= 512),
    request_key TEXT NOT NULL CHECK (length(request_key) <= 512),
    digest {bytes} NOT NULL CHECK (length(digest) <= 64),
    task_ids {json} NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, request_key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
";

const DOWN: &str = "
DROP TABLE idempotency_keys;
DROP TABLE update_task_events;
DROP TABLE update_task_instances;
DROP TABLE update_task_runs;
DROP TABLE update_tasks;
DROP TABLE orchestrator_playbooks;
";
