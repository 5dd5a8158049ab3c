//! What people say about applications.

use async_trait::async_trait;
use drover_domain::fleet::{Application, ApplicationKey, ApplicationSettings};
use drover_ports::{ApplicationRegistry, Settled, StoreError};

use crate::fleet::view::find;
use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::session::{KeyRow, Session};
use crate::store::SeaOrmStore;

/// The key of the group with this name, kept from being removed.
async fn group_called(session: &Session, name: &str) -> Result<Option<i64>, StoreError> {
    let text = format!(
        "SELECT id FROM application_groups WHERE name = $1{}",
        session.dialect.keeping()
    );
    let row = session.row::<KeyRow>(Sql::new(text).text(name)).await?;
    Ok(row.map(|row| row.id))
}

#[async_trait]
impl ApplicationRegistry for SeaOrmStore {
    #[tracing::instrument(name = "db.applications.change", level = "debug", skip_all)]
    async fn change(
        &self,
        application: ApplicationKey,
        known: &ApplicationSettings,
        wanted: &ApplicationSettings,
    ) -> Result<Settled<Application>, StoreError> {
        let session = self.write("change the settings of an application").await?;
        // Locked first, read second: what a join read before it waited for the lock is not read again.
        let table = "application_instances";
        let locking = session.dialect.locking(table);
        session.hold(table, application.get(), &locking).await?;
        let found = find(&session, application).await?;
        if found.is_none_or(|found| found.chosen() != *known) {
            session.undo().await?;
            return Ok(Settled::Changed);
        }
        let mut group = None;
        if let Some(name) = &wanted.group {
            group = group_called(&session, name).await?;
            if group.is_none() {
                session.undo().await?;
                return Ok(Settled::NoOwner);
            }
        }
        let sql = Sql::new(
            "UPDATE application_instances SET
                 group_id = $2, custom_playbook_path = $3, custom_artifact_url = $4, custom_artifact_extension = $5,
                 joined_at = CASE WHEN group_id = $2 THEN joined_at END,
                 proposed_group_id = CASE WHEN CAST($2 AS BIGINT) IS NULL THEN proposed_group_id END
             WHERE id = $1",
        )
        .bind(application.get())
        .bind(group)
        .layer(&wanted.own);
        session.execute(sql).await?;
        let changed = find(&session, application).await?;
        session.commit().await?;
        let stored = Stored::new("application", application);
        changed
            .map(Settled::Done)
            .ok_or_else(|| stored.corrupt("it was not there after it was changed"))
    }
}
