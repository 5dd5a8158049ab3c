//! The durable engine: workflows, tasks, the queue, leases, wakes, signals, events, definitions,
//! schedules, limits of queues.
//!
//! Foreign keys are left out of what every task writes: each would be a look-up per row. What belongs to a
//! workflow carries its identifier, so that every table can be partitioned by it, and is removed with it by
//! retention.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::run;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            run(manager, "CREATE SEQUENCE workflow_event_order;").await?;
        }
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            run(manager, "DROP SEQUENCE workflow_event_order;").await?;
        }
        Ok(())
    }
}

const UP: &str = "
CREATE TABLE workflows (
    position {key},
    id {uuid} NOT NULL UNIQUE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    mode TEXT NOT NULL CHECK (mode IN ('sequential', 'parallel', 'dag')),
    definition_name TEXT CHECK (length(definition_name) <= 128),
    definition_version BIGINT,
    labels {json} NOT NULL,
    input TEXT NOT NULL CHECK (length(input) <= 262144),
    actor TEXT NOT NULL CHECK (length(actor) <= 255),
    request_id TEXT NOT NULL CHECK (length(request_id) <= 255),
    idempotency_scope TEXT CHECK (length(idempotency_scope) <= 512),
    idempotency_key TEXT CHECK (length(idempotency_key) <= 512),
    parent_task {uuid},
    status TEXT NOT NULL CHECK (status IN (
        'draft', 'pending', 'running', 'paused', 'succeeded', 'failed', 'cancelling', 'cancelled', 'compensating',
        'compensated', 'needs_human')),
    total BIGINT NOT NULL,
    open BIGINT NOT NULL CHECK (open >= 0),
    failed BIGINT NOT NULL CHECK (failed >= 0),
    undoable BIGINT NOT NULL CHECK (undoable >= 0),
    ended BIGINT NOT NULL CHECK (ended >= 0),
    has_signals BOOLEAN NOT NULL,
    deadline BIGINT CHECK (deadline >= 0),
    error TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT
){roomy};
CREATE INDEX workflows_parent ON workflows (parent_task) WHERE parent_task IS NOT NULL;
CREATE INDEX workflows_live ON workflows (position)
    WHERE status IN ('draft', 'pending', 'running', 'paused', 'cancelling', 'compensating');

CREATE INDEX workflows_finished ON workflows (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE workflow_tasks (
    workflow_id {uuid} NOT NULL,
    task_no BIGINT NOT NULL CHECK (task_no >= 0),
    task_key TEXT NOT NULL CHECK (length(task_key) <= 128),
    kind TEXT NOT NULL CHECK (length(kind) <= 64),
    action TEXT NOT NULL,
    queue TEXT NOT NULL CHECK (length(queue) <= 64),
    priority BIGINT NOT NULL,
    payload TEXT NOT NULL CHECK (length(payload) <= 262144),
    policy TEXT NOT NULL,
    concurrency_keys TEXT NOT NULL,
    depends_on TEXT NOT NULL,
    dependants TEXT NOT NULL,
    undoes BIGINT,
    undone_by BIGINT,
    status TEXT NOT NULL CHECK (status IN (
        'pending', 'queued', 'running', 'retrying', 'waiting', 'succeeded', 'failed', 'timed_out', 'cancelled',
        'skipped', 'unknown')),
    attempt BIGINT NOT NULL CHECK (attempt >= 0),
    retries BIGINT NOT NULL CHECK (retries >= 0),
    lost BIGINT NOT NULL CHECK (lost >= 0),
    is_uncertain BOOLEAN NOT NULL,
    pending BIGINT NOT NULL CHECK (pending >= 0),
    end_rank BIGINT,
    deadline_at BIGINT,
    error_code TEXT CHECK (length(error_code) <= 64),
    error_message TEXT CHECK (length(error_message) <= 4000),
    result TEXT CHECK (length(result) <= 262144),
    worker TEXT CHECK (length(worker) <= 255),
    started_at BIGINT,
    finished_at BIGINT,
    PRIMARY KEY (workflow_id, task_no)
){roomy};

CREATE TABLE workflow_queue (
    position {serial},
    workflow_id {uuid} NOT NULL,
    task_no BIGINT NOT NULL,
    executor TEXT NOT NULL CHECK (executor IN ('engine', 'remote')),
    queue TEXT NOT NULL CHECK (length(queue) <= 64),
    priority BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    timeout BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    is_parked BOOLEAN NOT NULL,
    is_keyed BOOLEAN NOT NULL,
    holds_keys BOOLEAN NOT NULL,
    is_stopped BOOLEAN NOT NULL,
    lease_id {uuid},
    claimed_at BIGINT,
    overdue_at BIGINT,
    UNIQUE (workflow_id, task_no)
){busy};
CREATE INDEX workflow_queue_ready ON workflow_queue (executor, queue, priority DESC, position)
    WHERE lease_id IS NULL AND NOT is_parked;
CREATE INDEX workflow_queue_held ON workflow_queue (lease_id, overdue_at) WHERE lease_id IS NOT NULL;
CREATE INDEX workflow_queue_keyed ON workflow_queue (position) WHERE is_keyed;

CREATE TABLE workflow_leases (
    id {uuid} PRIMARY KEY,
    worker TEXT NOT NULL CHECK (length(worker) BETWEEN 1 AND 255),
    opened_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
){busy};

CREATE TABLE workflow_wakes (
    id {key},
    workflow_id {uuid} NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN (
        'start', 'workflow_deadline', 'retry', 'wait_over', 'task_deadline', 'child_ended', 'cancel_child')),
    task_no BIGINT,
    attempt BIGINT,
    child_status TEXT CHECK (length(child_status) <= 32),
    at BIGINT NOT NULL
){busy};
CREATE INDEX workflow_wakes_at ON workflow_wakes (at, id);
CREATE INDEX workflow_wakes_workflow ON workflow_wakes (workflow_id);

CREATE TABLE workflow_signals (
    position {key},
    workflow_id {uuid} NOT NULL,
    name TEXT NOT NULL CHECK (length(name) <= 64),
    payload TEXT NOT NULL CHECK (length(payload) <= 262144)
);
CREATE INDEX workflow_signals_workflow ON workflow_signals (workflow_id, position);

CREATE TABLE workflow_dead_letters (
    position {key},
    workflow_id {uuid} NOT NULL,
    task_no BIGINT NOT NULL,
    UNIQUE (workflow_id, task_no)
);

-- One row holds what one transaction tells of one workflow: a list of [kind, task, attempt, detail].
CREATE TABLE workflow_events (
    position {order},
    workflow_id {uuid} NOT NULL,
    at BIGINT NOT NULL,
    event_count BIGINT NOT NULL CHECK (event_count > 0),
    events TEXT NOT NULL
);
CREATE INDEX workflow_events_workflow ON workflow_events (workflow_id, position);

-- The last event that retention has removed.
CREATE TABLE workflow_events_removed (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL,
    event_count BIGINT NOT NULL
);

CREATE TABLE workflow_definitions (
    position {key},
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    version BIGINT NOT NULL CHECK (version > 0),
    definition TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (name, version)
);

CREATE TABLE workflow_schedules (
    position {key},
    name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 128),
    definition_name TEXT NOT NULL CHECK (length(definition_name) <= 128),
    definition_version BIGINT,
    input TEXT NOT NULL CHECK (length(input) <= 262144),
    cron TEXT NOT NULL CHECK (length(cron) <= 256),
    time_zone TEXT NOT NULL CHECK (length(time_zone) <= 64),
    missed_runs TEXT NOT NULL CHECK (missed_runs IN ('skip', 'run_once')),
    is_paused BOOLEAN NOT NULL,
    next_at BIGINT NOT NULL
);
CREATE INDEX workflow_schedules_next ON workflow_schedules (next_at) WHERE NOT is_paused;

CREATE TABLE workflow_queues (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    is_paused BOOLEAN NOT NULL,
    concurrency BIGINT CHECK (concurrency > 0),
    rate_count BIGINT CHECK (rate_count > 0),
    rate_per BIGINT CHECK (rate_per > 0),
    tokens DOUBLE PRECISION,
    tokens_at BIGINT
);
";

const DOWN: &str = "
DROP TABLE workflow_queues;
DROP TABLE workflow_schedules;
DROP TABLE workflow_definitions;
DROP TABLE workflow_events_removed;
DROP TABLE workflow_events;
DROP TABLE workflow_dead_letters;
DROP TABLE workflow_signals;
DROP TABLE workflow_wakes;
DROP TABLE workflow_leases;
DROP TABLE workflow_queue;
DROP TABLE workflow_tasks;
DROP TABLE workflows;
";
