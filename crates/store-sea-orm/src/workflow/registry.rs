//! Stored definitions.

use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::{Definition, DefinitionName};
use drover_ports::{DefinitionRecord, DefinitionRef, DefinitionStore, StoreError};
use sea_orm::FromQueryResult;

use super::shape::DefinitionShape;
use crate::row::Stored;
use crate::sql::session::{Row, Session};
use crate::sql::{Sql, limit, to_json};
use crate::store::SeaOrmStore;

#[derive(Debug, FromQueryResult)]
struct DefinitionRow {
    position: i64,
    name: String,
    version: i64,
    definition: String,
    created_at: i64,
}

impl Row for DefinitionRow {
    const WHAT: &'static str = "definition";
}

const COLUMNS: &str = "position, name, version, definition, created_at";

impl DefinitionRow {
    fn read(self) -> Result<DefinitionRecord, StoreError> {
        let stored = Stored::new(Self::WHAT, format_args!("{} {}", self.name, self.version));
        let shape: DefinitionShape = stored.shape("definition", &self.definition)?;
        Ok(DefinitionRecord {
            position: self.position,
            reference: DefinitionRef {
                name: DefinitionName::parse(&self.name)
                    .map_err(|error| stored.corrupt(error.to_string()))?,
                version: stored.number("version", self.version)?,
            },
            definition: Arc::new(shape.read(&stored)?),
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

#[derive(Debug, FromQueryResult)]
pub(super) struct CountRow {
    pub(super) count: i64,
}

impl Row for CountRow {
    const WHAT: &'static str = "count";
}

#[async_trait]
impl DefinitionStore for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.put_definition", level = "debug", skip_all)]
    async fn put(
        &self,
        name: &DefinitionName,
        definition: &Definition,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        let session = self.write("store a definition").await?;
        if let Some(alone) = session.dialect.alone_in("workflow_definitions") {
            session.execute(Sql::new(alone)).await?;
        }
        let newest = find(&session, name, None).await?;
        if let Some(newest) = &newest
            && *newest.definition == *definition
        {
            return Ok(newest.reference.version);
        }
        if newest.is_none() {
            let text = "SELECT count(DISTINCT name) AS count FROM workflow_definitions";
            let names = session.row::<CountRow>(Sql::new(text)).await?;
            if names.is_some_and(|row| row.count >= i64::from(DefinitionRecord::NAMES_MAX)) {
                session.undo().await?;
                return Err(StoreError::Refused {
                    reason: format!(
                        "there are {} definitions, and no more are stored; use the name of one of them",
                        DefinitionRecord::NAMES_MAX
                    ),
                });
            }
        }
        let version = newest.map_or(0, |newest| newest.reference.version) + 1;
        let sql = Sql::new(
            "INSERT INTO workflow_definitions (name, version, definition, created_at) VALUES ($1, $2, $3, $4)",
        );
        let sql = sql
            .text(name.as_str())
            .bind(i64::from(version))
            .bind(to_json(&DefinitionShape::write(definition)))
            .bind(at.as_micros());
        session.execute(sql).await?;
        if let Some(old) = version.checked_sub(DefinitionRecord::VERSIONS_MAX)
            && old > 0
        {
            let sql =
                Sql::new("DELETE FROM workflow_definitions WHERE name = $1 AND version <= $2");
            let sql = sql.text(name.as_str()).bind(i64::from(old));
            session.execute(sql).await?;
        }
        session.commit().await?;
        Ok(version)
    }

    #[tracing::instrument(name = "db.engine.find_definition", level = "debug", skip_all)]
    async fn find(
        &self,
        name: &DefinitionName,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, StoreError> {
        find(&self.read("read a definition"), name, version).await
    }

    #[tracing::instrument(name = "db.engine.list_definitions", level = "debug", skip_all)]
    async fn list(&self, page: PageRequest) -> Result<Page<DefinitionRecord>, StoreError> {
        let session = self.read("list definitions");
        let sql = Sql::new(format!(
            "SELECT {COLUMNS} FROM workflow_definitions WHERE position < $1 ORDER BY position DESC LIMIT $2"
        ));
        let rows = session.rows::<DefinitionRow>(sql.descending(page)).await?;
        let items = rows
            .into_iter()
            .map(DefinitionRow::read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_lookahead(items, limit(page), |record| {
            record.position
        }))
    }
}

async fn find(
    session: &Session,
    name: &DefinitionName,
    version: Option<u32>,
) -> Result<Option<DefinitionRecord>, StoreError> {
    let sql = Sql::new(format!(
        "SELECT {COLUMNS} FROM workflow_definitions WHERE name = $1 AND (CAST($2 AS bigint) IS NULL OR version = $2)
         ORDER BY version DESC LIMIT 1"
    ));
    let sql = sql.text(name.as_str()).bind(version.map(i64::from));
    let row = session.row::<DefinitionRow>(sql).await?;
    row.map(DefinitionRow::read).transpose()
}
