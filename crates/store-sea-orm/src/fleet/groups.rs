//! What people say about groups.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{CatalogKey, GroupKey, GroupSettings};
use drover_ports::{GroupRegistry, NamedGroup, Release, Settled, StoreError};

use crate::row::Stored;
use crate::row::group::{GroupRow, SELECT};
use crate::sql::Sql;
use crate::sql::session::{KeyRow, Session};
use crate::store::{SeaOrmStore, taken};

const WHAT: &str = "application group";

async fn find(session: &Session, group: GroupKey) -> Result<Option<NamedGroup>, StoreError> {
    let sql = Sql::new(format!("{SELECT} WHERE g.id = $1")).bind(group.get());
    let row = session.row::<GroupRow>(sql).await?;
    row.map(GroupRow::read).transpose()
}

/// The group as it was just written.
async fn written(session: &Session, group: GroupKey) -> Result<NamedGroup, StoreError> {
    let stored = Stored::new(WHAT, group);
    find(session, group)
        .await?
        .ok_or_else(|| stored.corrupt("it was not there after it was written"))
}

/// Whether there is such a catalog entry; one that is there is kept from being removed.
async fn is_there(session: &Session, catalog: Option<CatalogKey>) -> Result<bool, StoreError> {
    let Some(catalog) = catalog else {
        return Ok(true);
    };
    let keeping = session.dialect.keeping();
    let text = format!("SELECT id FROM application_catalog WHERE id = $1{keeping}");
    let row = session.row::<KeyRow>(Sql::new(text).bind(catalog.get()));
    row.await.map(|row| row.is_some())
}

fn values(sql: Sql, group: &GroupSettings) -> Sql {
    sql.text(&group.name)
        .bind(group.catalog.map(CatalogKey::get))
        .text(&group.grouping)
        .layer(&group.own)
}

#[async_trait]
impl GroupRegistry for SeaOrmStore {
    #[tracing::instrument(name = "db.groups.add", level = "debug", skip_all)]
    async fn add(
        &self,
        group: &GroupSettings,
        at: Timestamp,
    ) -> Result<Option<NamedGroup>, StoreError> {
        let session = self.write("add an application group").await?;
        if !is_there(&session, group.catalog).await? {
            session.undo().await?;
            return Ok(None);
        }
        let sql = Sql::new(
            "INSERT INTO application_groups (
                 created_at, name, catalog_id, batch_grouping_strategy, update_playbook_path, artifact_list_url,
                 artifact_extension)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
        );
        let sql = values(sql.bind(at.as_micros()), group);
        let row = session.row::<KeyRow>(sql).await;
        let row = row.map_err(|error| taken(error, WHAT, &group.name))?;
        let stored = Stored::new(WHAT, &group.name);
        let row = row.ok_or_else(|| stored.corrupt("it was not there after it was added"))?;
        let added = written(&session, GroupKey::new(row.id)).await?;
        session.commit().await?;
        Ok(Some(added))
    }

    #[tracing::instrument(name = "db.groups.find", level = "debug", skip_all)]
    async fn find(&self, group: GroupKey) -> Result<Option<NamedGroup>, StoreError> {
        find(&self.read("find an application group"), group).await
    }

    #[tracing::instrument(name = "db.groups.change", level = "debug", skip_all)]
    async fn change(
        &self,
        group: GroupKey,
        known: &GroupSettings,
        wanted: &GroupSettings,
    ) -> Result<Settled<NamedGroup>, StoreError> {
        let session = self.write("change an application group").await?;
        let locking = session.dialect.locking("application_groups");
        session
            .hold("application_groups", group.get(), &locking)
            .await?;
        let found = find(&session, group).await?;
        if found.is_none_or(|(found, _)| found.chosen() != *known) {
            session.undo().await?;
            return Ok(Settled::Changed);
        }
        if !is_there(&session, wanted.catalog).await? {
            session.undo().await?;
            return Ok(Settled::NoOwner);
        }
        let sql = Sql::new(
            "UPDATE application_groups SET
                 name = $2, catalog_id = $3, batch_grouping_strategy = $4, update_playbook_path = $5,
                 artifact_list_url = $6, artifact_extension = $7, is_set = true
             WHERE id = $1",
        );
        let changed = session.execute(values(sql.bind(group.get()), wanted)).await;
        changed.map_err(|error| taken(error, WHAT, &wanted.name))?;
        let changed = written(&session, group).await?;
        session.commit().await?;
        Ok(Settled::Done(changed))
    }

    #[tracing::instrument(name = "db.groups.remove", level = "debug", skip_all)]
    async fn remove(&self, group: GroupKey, known: &GroupSettings) -> Result<Release, StoreError> {
        let session = self.write("remove an application group").await?;
        let locking = session.dialect.locking_all("application_groups");
        let locking = locking.unwrap_or_default();
        session
            .hold("application_groups", group.get(), &locking)
            .await?;
        let found = find(&session, group).await?.map(|(found, _)| found);
        let Some(found) = found.filter(|found| found.chosen() == *known) else {
            session.undo().await?;
            return Ok(Release::Changed);
        };
        if found.applications > 0 {
            session.undo().await?;
            return Ok(Release::InUse {
                applications: found.applications,
                groups: 0,
            });
        }
        let sql = Sql::new("DELETE FROM application_groups WHERE id = $1");
        session.execute(sql.bind(group.get())).await?;
        session.commit().await?;
        Ok(Release::Done)
    }
}
