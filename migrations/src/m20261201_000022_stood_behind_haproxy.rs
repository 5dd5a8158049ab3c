//! Which applications and groups stood behind HAProxy, also once the mappings that say so are forgotten.

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
ALTER TABLE application_instances ADD COLUMN stood_behind_haproxy BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE application_groups ADD COLUMN stood_behind_haproxy BOOLEAN NOT NULL DEFAULT false;
";

const DOWN: &str = "
ALTER TABLE application_groups DROP COLUMN stood_behind_haproxy;
ALTER TABLE application_instances DROP COLUMN stood_behind_haproxy;
";
