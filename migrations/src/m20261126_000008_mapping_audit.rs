//! Who mapped a server in HAProxy by hand, and which servers somebody wants to have no mapping.

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

// The hold is the server's and not a mapping's: there may never have been a mapping.
const UP: &str = "
ALTER TABLE application_mapping_history ADD COLUMN actor TEXT CHECK (length(actor) <= 255);
ALTER TABLE application_mapping_history ADD COLUMN request_id TEXT CHECK (length(request_id) <= 255);
ALTER TABLE application_mapping_history ADD COLUMN reason TEXT CHECK (length(reason) <= 1000);

ALTER TABLE haproxy_servers ADD COLUMN mapping_held_at BIGINT;
ALTER TABLE haproxy_servers ADD COLUMN mapping_held_by TEXT CHECK (length(mapping_held_by) <= 255);
ALTER TABLE haproxy_servers ADD COLUMN mapping_held_reason TEXT CHECK (length(mapping_held_reason) <= 1000);
";

const DOWN: &str = "
ALTER TABLE haproxy_servers DROP COLUMN mapping_held_reason;
ALTER TABLE haproxy_servers DROP COLUMN mapping_held_by;
ALTER TABLE haproxy_servers DROP COLUMN mapping_held_at;

ALTER TABLE application_mapping_history DROP COLUMN reason;
ALTER TABLE application_mapping_history DROP COLUMN request_id;
ALTER TABLE application_mapping_history DROP COLUMN actor;
";
