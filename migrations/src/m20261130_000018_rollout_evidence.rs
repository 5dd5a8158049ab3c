//! What the end of an update is judged by: the process before it, and the outcome `unverified`.

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

// A check of a column cannot be changed on SQLite: the column is made again.
const UP: &str = "
ALTER TABLE update_task_instances ADD COLUMN process_before TEXT CHECK (length(process_before) <= 5000);

ALTER TABLE update_task_instances ADD COLUMN checked_outcome TEXT NOT NULL DEFAULT 'pending' CHECK (checked_outcome IN (
    'pending', 'draining', 'drained', 'updating', 'verifying', 'returning', 'done', 'unverified', 'failed', 'skipped',
    'rolled_back', 'left_drained', 'unknown'));
UPDATE update_task_instances SET checked_outcome = outcome;
ALTER TABLE update_task_instances DROP COLUMN outcome;
ALTER TABLE update_task_instances RENAME COLUMN checked_outcome TO outcome;
";

const DOWN: &str = "
ALTER TABLE update_task_instances ADD COLUMN checked_outcome TEXT NOT NULL DEFAULT 'pending' CHECK (checked_outcome IN (
    'pending', 'draining', 'drained', 'updating', 'verifying', 'returning', 'done', 'failed', 'skipped',
    'rolled_back', 'left_drained', 'unknown'));
UPDATE update_task_instances SET checked_outcome = CASE WHEN outcome = 'unverified' THEN 'unknown' ELSE outcome END;
ALTER TABLE update_task_instances DROP COLUMN outcome;
ALTER TABLE update_task_instances RENAME COLUMN checked_outcome TO outcome;

ALTER TABLE update_task_instances DROP COLUMN process_before;
";
