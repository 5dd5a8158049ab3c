//! What belongs to one server, who let an application into its group, and what may be forgotten.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::run;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        let short_names = if manager.get_database_backend() == DbBackend::Postgres {
            POSTGRES_SHORT_NAMES
        } else {
            SQLITE_SHORT_NAMES
        };
        run(manager, short_names).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

// A short name is not unique in the database: what was added before the rule stays, and is refused when it is updated.
// An application without a last-seen time of its own, or with that of its server, is present; the others are gone, and
// were `no_data` only if their server was away. A group that polling found has a catalog entry and no settings.
const UP: &str = "
ALTER TABLE servers ADD COLUMN short_name TEXT NOT NULL DEFAULT '' CHECK (length(short_name) <= 64);
ALTER TABLE servers ADD COLUMN networks TEXT NOT NULL DEFAULT '' CHECK (length(networks) <= 1000);
ALTER TABLE servers ADD COLUMN agent_ip TEXT CHECK (length(agent_ip) <= 64);
ALTER TABLE servers ADD COLUMN inventory_failures BIGINT NOT NULL DEFAULT 0 CHECK (inventory_failures >= 0);
CREATE INDEX servers_short_name ON servers (short_name, id);

ALTER TABLE application_instances ADD COLUMN proposed_group_id BIGINT REFERENCES application_groups (id) ON DELETE SET NULL;
ALTER TABLE application_instances ADD COLUMN joined_at BIGINT;
CREATE INDEX application_instances_proposed ON application_instances (proposed_group_id);
CREATE INDEX application_instances_last_seen ON application_instances (last_seen, id) WHERE last_seen IS NOT NULL;
CREATE INDEX application_instances_orphans ON application_instances (id) WHERE server_id IS NULL;
UPDATE application_instances SET status = 'offline'
WHERE status = 'no_data' AND last_seen IS NOT NULL
  AND EXISTS (SELECT 1 FROM servers s WHERE s.id = application_instances.server_id
              AND s.inventory_at IS NOT NULL AND s.inventory_at <> application_instances.last_seen);

ALTER TABLE application_groups ADD COLUMN last_update_at BIGINT;
UPDATE application_groups SET last_update_at = 0;
ALTER TABLE application_groups ADD COLUMN is_set BOOLEAN NOT NULL DEFAULT TRUE;
UPDATE application_groups SET is_set = FALSE
WHERE catalog_id IS NOT NULL AND update_playbook_path IS NULL AND artifact_list_url IS NULL
  AND artifact_extension IS NULL AND batch_grouping_strategy = 'by_group';
ALTER TABLE application_catalog ADD COLUMN is_set BOOLEAN NOT NULL DEFAULT TRUE;
UPDATE application_catalog SET is_set = FALSE
WHERE default_playbook_path IS NULL AND default_artifact_url IS NULL AND default_artifact_extension IS NULL;

ALTER TABLE update_tasks ADD COLUMN allow_undrained BOOLEAN NOT NULL DEFAULT FALSE;
";

const POSTGRES_SHORT_NAMES: &str = r"
UPDATE servers SET short_name = lower(CASE WHEN name ~ '^[0-9]+\.' THEN name ELSE split_part(name, '.', 1) END);
";

const SQLITE_SHORT_NAMES: &str = "
UPDATE servers SET short_name = lower(CASE
    WHEN instr(name, '.') = 0 OR substr(name, 1, instr(name, '.') - 1) NOT GLOB '*[^0-9]*' THEN name
    ELSE substr(name, 1, instr(name, '.') - 1) END);
";

const DOWN: &str = "
ALTER TABLE update_tasks DROP COLUMN allow_undrained;

ALTER TABLE application_catalog DROP COLUMN is_set;
ALTER TABLE application_groups DROP COLUMN is_set;
ALTER TABLE application_groups DROP COLUMN last_update_at;

DROP INDEX application_instances_orphans;
DROP INDEX application_instances_last_seen;
DROP INDEX application_instances_proposed;
ALTER TABLE application_instances DROP COLUMN joined_at;
ALTER TABLE application_instances DROP COLUMN proposed_group_id;

DROP INDEX servers_short_name;
ALTER TABLE servers DROP COLUMN inventory_failures;
ALTER TABLE servers DROP COLUMN agent_ip;
ALTER TABLE servers DROP COLUMN networks;
ALTER TABLE servers DROP COLUMN short_name;
";
