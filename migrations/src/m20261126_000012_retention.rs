//! What happened long ago is found by its time.

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
CREATE INDEX events_at ON events (at, id);
CREATE INDEX haproxy_server_status_history_at ON haproxy_server_status_history (changed_at, id);
";

const DOWN: &str = "
DROP INDEX haproxy_server_status_history_at;
DROP INDEX events_at;
";
