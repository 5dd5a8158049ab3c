//! API keys get an end and an origin, and readiness gets a row to write to.

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

// Before there were origins, a key of the settings was known by its name only; each start with another setting
// added one.
const UP: &str = "
ALTER TABLE api_keys ADD COLUMN origin TEXT NOT NULL DEFAULT 'issued' CHECK (origin IN ('issued', 'first', 'configured'));
ALTER TABLE api_keys ADD COLUMN created_by TEXT CHECK (length(created_by) <= 255);
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
UPDATE api_keys SET origin = 'configured' WHERE name = 'configured admin';
UPDATE api_keys SET origin = 'first' WHERE name = 'first admin';

CREATE TABLE health_marks (
    id BIGINT NOT NULL PRIMARY KEY,
    written_at BIGINT NOT NULL,
    filler {bytes}
);
";

const DOWN: &str = "
DROP TABLE health_marks;
ALTER TABLE api_keys DROP COLUMN expires_at;
ALTER TABLE api_keys DROP COLUMN created_by;
ALTER TABLE api_keys DROP COLUMN origin;
";
