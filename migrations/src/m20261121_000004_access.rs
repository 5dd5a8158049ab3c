//! API keys.

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
CREATE TABLE api_keys (
    public_id TEXT NOT NULL PRIMARY KEY CHECK (length(public_id) BETWEEN 1 AND 64),
    digest {bytes} NOT NULL CHECK (length(digest) = 32),
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    created_at BIGINT NOT NULL
);
";

const DOWN: &str = "
DROP TABLE api_keys;
";
