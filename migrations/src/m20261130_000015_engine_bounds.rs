//! Bounds of the engine: what is above and below a workflow, which idempotency keys end by age, and whether the clock is
//! believed by which old records are removed.

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

// `ancestors` is a list of identifiers, the topmost workflow first. A key ends by age unless it is the key of a workflow,
// with which it is removed.
const UP: &str = "
ALTER TABLE workflows ADD COLUMN ancestors TEXT NOT NULL DEFAULT '[]' CHECK (length(ancestors) <= 1000);
ALTER TABLE workflows ADD COLUMN descendants BIGINT NOT NULL DEFAULT 0;
ALTER TABLE idempotency_keys ADD COLUMN ends_by_age BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE idempotency_keys SET ends_by_age = TRUE WHERE (scope, request_key) NOT IN (
    SELECT idempotency_scope, idempotency_key FROM workflows
    WHERE idempotency_scope IS NOT NULL AND idempotency_key IS NOT NULL);
CREATE INDEX idempotency_keys_ending ON idempotency_keys (created_at) WHERE ends_by_age;
CREATE TABLE engine_clock (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    seen_at BIGINT NOT NULL,
    trusted_from BIGINT NOT NULL
);
";

const DOWN: &str = "
DROP TABLE engine_clock;
DROP INDEX idempotency_keys_ending;
ALTER TABLE idempotency_keys DROP COLUMN ends_by_age;
ALTER TABLE workflows DROP COLUMN descendants;
ALTER TABLE workflows DROP COLUMN ancestors;
";
