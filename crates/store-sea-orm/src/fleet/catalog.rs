//! The catalog of applications.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{ApplicationKind, CatalogEntry, CatalogKey, CatalogSettings};
use drover_domain::page::{Page, PageRequest};
use drover_ports::{CatalogColumn, CatalogFilter, CatalogRegistry, Release, StoreError};

use crate::fleet::view::{like, pattern};
use crate::row::Stored;
use crate::row::catalog::{CatalogRow, SELECT};
use crate::sql::order::Order;
use crate::sql::session::{KeyRow, Session};
use crate::sql::{Sql, limit};
use crate::store::{SeaOrmStore, taken};

const WHAT: &str = "catalog entry";

async fn find(session: &Session, entry: CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
    let sql = Sql::new(format!("{SELECT} WHERE c.id = $1")).bind(entry.get());
    let row = session.row::<CatalogRow>(sql).await?;
    row.map(CatalogRow::read).transpose()
}

/// The entry as it was just written.
async fn written(session: &Session, entry: CatalogKey) -> Result<CatalogEntry, StoreError> {
    let stored = Stored::new(WHAT, entry);
    find(session, entry)
        .await?
        .ok_or_else(|| stored.corrupt("it was not there after it was written"))
}

#[async_trait]
impl CatalogRegistry for SeaOrmStore {
    #[tracing::instrument(name = "db.catalog.add", level = "debug", skip_all)]
    async fn add(
        &self,
        kind: ApplicationKind,
        entry: &CatalogSettings,
        at: Timestamp,
    ) -> Result<CatalogEntry, StoreError> {
        let session = self.write("add a catalog entry").await?;
        let sql = Sql::new(
            "INSERT INTO application_catalog (
                 created_at, kind, name, default_playbook_path, default_artifact_url, default_artifact_extension)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        )
        .bind(at.as_micros())
        .bind(kind.as_str())
        .text(&entry.name)
        .layer(&entry.own);
        let row = session.row::<KeyRow>(sql).await;
        let row = row.map_err(|error| taken(error, WHAT, &entry.name))?;
        let stored = Stored::new(WHAT, &entry.name);
        let row = row.ok_or_else(|| stored.corrupt("it was not there after it was added"))?;
        let added = written(&session, CatalogKey::new(row.id)).await?;
        session.commit().await?;
        Ok(added)
    }

    #[tracing::instrument(name = "db.catalog.find", level = "debug", skip_all)]
    async fn find(&self, entry: CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
        find(&self.read("find a catalog entry"), entry).await
    }

    #[tracing::instrument(name = "db.catalog.list", level = "debug", skip_all)]
    async fn list(
        &self,
        filter: &CatalogFilter,
        page: PageRequest,
    ) -> Result<Page<CatalogEntry>, StoreError> {
        let session = self.read("list the catalog");
        let order = Order {
            from: "application_catalog c",
            key: "c.id",
            by: match filter.sort.by {
                CatalogColumn::Key => None,
                CatalogColumn::Name => Some(session.dialect.plain("c.name")),
            },
            is_descending: filter.sort.is_descending,
        };
        let mut sql = order.sql(page);
        let mut conditions = vec![order.condition(page)];
        if let Some(kind) = filter.kind {
            sql = sql.bind(kind.as_str());
            conditions.push(format!("c.kind = ${}", sql.values.len()));
        }
        if let Some(part) = &filter.like {
            sql = sql.text(&pattern(part));
            conditions.push(like(session.dialect, "c.name", sql.values.len()));
        }
        let (conditions, tail) = (conditions.join(" AND "), order.tail());
        sql.text = format!("{SELECT} WHERE {conditions} {tail}");
        let rows = order.rows::<CatalogRow>(&session, sql, page).await?;
        let entries = rows
            .into_iter()
            .map(CatalogRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            entries,
            limit(page),
            |entry: &CatalogEntry| entry.key.get(),
        ))
    }

    #[tracing::instrument(name = "db.catalog.change", level = "debug", skip_all)]
    async fn change(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
        wanted: &CatalogSettings,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        let session = self.write("change a catalog entry").await?;
        let locking = session.dialect.locking("application_catalog");
        session
            .hold("application_catalog", entry.get(), &locking)
            .await?;
        let found = find(&session, entry).await?;
        if found.is_none_or(|found| found.chosen() != *known) {
            session.undo().await?;
            return Ok(None);
        }
        let sql = Sql::new(
            "UPDATE application_catalog SET
                 name = $2, default_playbook_path = $3, default_artifact_url = $4, default_artifact_extension = $5,
                 is_set = true
             WHERE id = $1",
        )
        .bind(entry.get())
        .text(&wanted.name)
        .layer(&wanted.own);
        let changed = session.execute(sql).await;
        changed.map_err(|error| taken(error, WHAT, &wanted.name))?;
        let changed = written(&session, entry).await?;
        session.commit().await?;
        Ok(Some(changed))
    }

    #[tracing::instrument(name = "db.catalog.remove", level = "debug", skip_all)]
    async fn remove(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
    ) -> Result<Release, StoreError> {
        let session = self.write("remove a catalog entry").await?;
        let locking = session.dialect.locking_all("application_catalog");
        let locking = locking.unwrap_or_default();
        session
            .hold("application_catalog", entry.get(), &locking)
            .await?;
        let found = find(&session, entry).await?;
        let Some(found) = found.filter(|found| found.chosen() == *known) else {
            session.undo().await?;
            return Ok(Release::Changed);
        };
        let (applications, groups) = (found.applications, found.groups);
        if applications + groups > 0 {
            session.undo().await?;
            return Ok(Release::InUse {
                applications,
                groups,
            });
        }
        let sql = Sql::new("DELETE FROM application_catalog WHERE id = $1");
        session.execute(sql.bind(entry.get())).await?;
        session.commit().await?;
        Ok(Release::Done)
    }
}
