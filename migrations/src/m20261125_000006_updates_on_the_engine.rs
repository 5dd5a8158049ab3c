//! Updates move onto the engine (decision 0012): every update task gets its workflow, and the first queue goes.
//!
//! The identifier of a task is that of its workflow with the task's number plus one in the last three hexadecimal
//! digits. Old tasks were given identifiers that end with anything: the number of their task follows from them. One
//! that ends with 000 is no task's, and gets the next identifier.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::run;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, RENAME).await?;
        run(manager, ADD).await?;
        run(manager, MOVE).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            // SQLite adds no column that must have a value.
            run(
                manager,
                "ALTER TABLE update_tasks ALTER COLUMN workflow_id SET NOT NULL;",
            )
            .await?;
        }
        run(manager, REMOVE).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

// The version history and the answers to repeated requests name tasks too.
const RENAME: &str = "
UPDATE idempotency_keys SET task_ids = CAST(replace(CAST(task_ids AS TEXT), '000\"', '001\"') AS {json})
WHERE EXISTS (
    SELECT 1 FROM update_tasks u
    WHERE CAST(u.id AS TEXT) LIKE '%000' AND CAST(idempotency_keys.task_ids AS TEXT) LIKE '%' || CAST(u.id AS TEXT) || '%');

INSERT INTO update_tasks (
    position, id, status, application_ids, concurrency_keys, artifact_url, mode, orchestrator, drain_wait_minutes,
    playbook_path, actor, request_id, attempt, worker, lease_until, created_at, started_at, finished_at, progress,
    current_step, result, error)
SELECT -position, CAST(substr(CAST(id AS TEXT), 1, 33) || '001' AS {uuid}), status, application_ids, concurrency_keys,
       artifact_url, mode, orchestrator, drain_wait_minutes, playbook_path, actor, request_id, attempt, worker,
       lease_until, created_at, started_at, finished_at, progress, current_step, result, error
FROM update_tasks WHERE CAST(id AS TEXT) LIKE '%000';
UPDATE update_task_runs SET task_id = CAST(substr(CAST(task_id AS TEXT), 1, 33) || '001' AS {uuid})
WHERE CAST(task_id AS TEXT) LIKE '%000';
UPDATE update_task_instances SET task_id = CAST(substr(CAST(task_id AS TEXT), 1, 33) || '001' AS {uuid})
WHERE CAST(task_id AS TEXT) LIKE '%000';
UPDATE update_task_events SET task_id = CAST(substr(CAST(task_id AS TEXT), 1, 33) || '001' AS {uuid})
WHERE CAST(task_id AS TEXT) LIKE '%000';
UPDATE application_version_history SET task_id = CAST(substr(CAST(task_id AS TEXT), 1, 33) || '001' AS {uuid})
WHERE CAST(task_id AS TEXT) LIKE '%000';
DELETE FROM update_tasks WHERE CAST(id AS TEXT) LIKE '%000';
UPDATE update_tasks SET position = -position WHERE position < 0;
";

const ADD: &str = "
ALTER TABLE update_tasks ADD COLUMN workflow_id {uuid} REFERENCES workflows (id) ON DELETE CASCADE;
ALTER TABLE update_tasks ADD COLUMN began_at BIGINT;
ALTER TABLE update_tasks ADD COLUMN ended_at BIGINT;
ALTER TABLE update_tasks ADD COLUMN ended_as TEXT CHECK (ended_as IN ('succeeded', 'failed', 'cancelled', 'unknown'));
";

// What the first queue called running is queued: no worker of the engine holds it. It keeps its concurrency keys,
// because its play may go on.
const MOVE: &str = "
INSERT INTO workflows (
    id, name, mode, labels, input, actor, request_id, status, total, open, failed, undoable, ended, has_signals, error,
    created_at, started_at, finished_at)
SELECT CAST(substr(CAST(u.id AS TEXT), 1, 33) || '000' AS {uuid}), 'rollout.update', 'sequential', CAST('{}' AS {json}),
       'null', u.actor, u.request_id,
       CASE WHEN u.status IN ('succeeded', 'cancelled') THEN u.status
            WHEN u.status IN ('failed', 'timed_out', 'skipped') THEN 'failed' ELSE 'running' END,
       1,
       CASE WHEN u.status IN ('succeeded', 'cancelled', 'failed', 'timed_out', 'skipped') THEN 0 ELSE 1 END,
       CASE WHEN u.status IN ('cancelled', 'failed', 'timed_out', 'skipped') THEN 1 ELSE 0 END,
       0,
       CASE WHEN u.status IN ('succeeded', 'cancelled', 'failed', 'timed_out', 'skipped') THEN 1 ELSE 0 END,
       FALSE, u.error, u.created_at, u.created_at,
       CASE WHEN u.status IN ('succeeded', 'cancelled', 'failed', 'timed_out', 'skipped')
            THEN COALESCE(u.finished_at, u.created_at) END
FROM update_tasks u ORDER BY u.position;

UPDATE update_tasks SET
    workflow_id = CAST(substr(CAST(id AS TEXT), 1, 33) || '000' AS {uuid}),
    began_at = started_at,
    ended_at = finished_at,
    ended_as = CASE WHEN status IN ('succeeded', 'failed', 'cancelled', 'unknown') THEN status
                    WHEN status IN ('timed_out', 'skipped') THEN 'failed' END;

INSERT INTO workflow_tasks (
    workflow_id, task_no, task_key, kind, action, queue, priority, payload, policy, concurrency_keys, depends_on,
    dependants, status, attempt, retries, lost, is_uncertain, pending, end_rank, error_code, error_message, result, worker,
    started_at, finished_at)
WITH digits (digit, value) AS (VALUES
    ('0', 0), ('1', 1), ('2', 2), ('3', 3), ('4', 4), ('5', 5), ('6', 6), ('7', 7), ('8', 8), ('9', 9), ('a', 10),
    ('b', 11), ('c', 12), ('d', 13), ('e', 14), ('f', 15))
SELECT u.workflow_id, 256 * h.value + 16 * m.value + l.value - 1, 'update', 'rollout.update', '{\"type\":\"run\"}',
       'rollouts', 0, 'null', '{\"guarantee\":\"g4\",\"takeover\":\"requeue\",\"timeout\":86400000000}',
       CAST(u.concurrency_keys AS TEXT), '[]', '[]',
       CASE WHEN u.ended_as IS NULL THEN 'queued' ELSE u.ended_as END,
       u.attempt, 0, 0, u.status IN ('running', 'unknown'), 0,
       CASE WHEN u.ended_as IN ('succeeded', 'failed', 'cancelled') THEN 0 END,
       CASE WHEN u.ended_as IN ('failed', 'unknown') THEN 'update_' || u.ended_as END,
       CASE WHEN u.ended_as IN ('failed', 'unknown') THEN substr(COALESCE(u.error, ''), 1, 4000) END,
       CASE WHEN u.ended_as = 'succeeded' THEN 'null' END,
       u.worker, u.started_at,
       CASE WHEN u.ended_as IN ('succeeded', 'failed', 'cancelled') THEN COALESCE(u.finished_at, u.created_at) END
FROM update_tasks u
JOIN digits h ON h.digit = substr(CAST(u.id AS TEXT), 34, 1)
JOIN digits m ON m.digit = substr(CAST(u.id AS TEXT), 35, 1)
JOIN digits l ON l.digit = substr(CAST(u.id AS TEXT), 36, 1);

INSERT INTO workflow_queue (
    workflow_id, task_no, executor, queue, priority, attempt, timeout, queued_at, is_parked, is_keyed, holds_keys,
    is_stopped)
SELECT t.workflow_id, t.task_no, 'engine', t.queue, t.priority, t.attempt, 86400000000, u.created_at, FALSE,
       t.concurrency_keys <> '[]', u.status = 'running', FALSE
FROM update_tasks u JOIN workflow_tasks t ON t.workflow_id = u.workflow_id
WHERE u.ended_as IS NULL ORDER BY u.position;

INSERT INTO workflow_dead_letters (workflow_id, task_no)
SELECT t.workflow_id, t.task_no FROM update_tasks u JOIN workflow_tasks t ON t.workflow_id = u.workflow_id
WHERE u.ended_as IN ('failed', 'unknown') ORDER BY u.position;
";

const REMOVE: &str = "
CREATE UNIQUE INDEX update_tasks_workflow ON update_tasks (workflow_id);
DROP INDEX update_tasks_live;
DROP INDEX update_tasks_status;
ALTER TABLE update_tasks DROP COLUMN status;
ALTER TABLE update_tasks DROP COLUMN concurrency_keys;
ALTER TABLE update_tasks DROP COLUMN attempt;
ALTER TABLE update_tasks DROP COLUMN worker;
ALTER TABLE update_tasks DROP COLUMN lease_until;
ALTER TABLE update_tasks DROP COLUMN started_at;
ALTER TABLE update_tasks DROP COLUMN finished_at;
";

// The release before has tasks with leases that ran out taken over.
const DOWN: &str = "
ALTER TABLE update_tasks ADD COLUMN status TEXT NOT NULL DEFAULT 'queued' CHECK (status IN (
    'pending', 'queued', 'running', 'retrying', 'waiting', 'succeeded', 'failed', 'timed_out', 'cancelled',
    'skipped', 'unknown'));
ALTER TABLE update_tasks ADD COLUMN concurrency_keys {json} NOT NULL DEFAULT '[]';
ALTER TABLE update_tasks ADD COLUMN attempt BIGINT NOT NULL DEFAULT 0 CHECK (attempt >= 0);
ALTER TABLE update_tasks ADD COLUMN worker TEXT CHECK (length(worker) <= 255);
ALTER TABLE update_tasks ADD COLUMN lease_until BIGINT;
ALTER TABLE update_tasks ADD COLUMN started_at BIGINT;
ALTER TABLE update_tasks ADD COLUMN finished_at BIGINT;

UPDATE update_tasks SET
    status = COALESCE(
        (SELECT CASE WHEN q.attempt > 0 THEN 'running' ELSE 'queued' END
         FROM workflow_queue q WHERE q.workflow_id = update_tasks.workflow_id),
        (SELECT t.status FROM workflow_tasks t WHERE t.workflow_id = update_tasks.workflow_id)),
    lease_until = (SELECT 0 FROM workflow_queue q WHERE q.workflow_id = update_tasks.workflow_id AND q.attempt > 0),
    concurrency_keys = (
        SELECT CAST(t.concurrency_keys AS {json}) FROM workflow_tasks t WHERE t.workflow_id = update_tasks.workflow_id),
    attempt = COALESCE(
        (SELECT q.attempt FROM workflow_queue q WHERE q.workflow_id = update_tasks.workflow_id),
        (SELECT t.attempt FROM workflow_tasks t WHERE t.workflow_id = update_tasks.workflow_id)),
    worker = (SELECT t.worker FROM workflow_tasks t WHERE t.workflow_id = update_tasks.workflow_id),
    started_at = began_at,
    finished_at = COALESCE(
        ended_at, (SELECT t.finished_at FROM workflow_tasks t WHERE t.workflow_id = update_tasks.workflow_id));

DELETE FROM workflow_dead_letters WHERE workflow_id IN (SELECT u.workflow_id FROM update_tasks u);
DELETE FROM workflow_queue WHERE workflow_id IN (SELECT u.workflow_id FROM update_tasks u);
DELETE FROM workflow_wakes WHERE workflow_id IN (SELECT u.workflow_id FROM update_tasks u);
DELETE FROM workflow_signals WHERE workflow_id IN (SELECT u.workflow_id FROM update_tasks u);
DELETE FROM workflow_events WHERE workflow_id IN (SELECT u.workflow_id FROM update_tasks u);
DELETE FROM workflow_tasks WHERE workflow_id IN (SELECT u.workflow_id FROM update_tasks u);
DROP INDEX update_tasks_workflow;
ALTER TABLE update_tasks DROP COLUMN workflow_id;
-- Those whose tasks have just gone: every workflow has some.
DELETE FROM workflows WHERE NOT EXISTS (SELECT 1 FROM workflow_tasks t WHERE t.workflow_id = workflows.id);
ALTER TABLE update_tasks DROP COLUMN began_at;
ALTER TABLE update_tasks DROP COLUMN ended_at;
ALTER TABLE update_tasks DROP COLUMN ended_as;
CREATE INDEX update_tasks_live ON update_tasks (position) WHERE status IN ('queued', 'running');
CREATE INDEX update_tasks_status ON update_tasks (status, position);
";
