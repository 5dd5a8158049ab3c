//! HAProxy as people look at it.

use async_trait::async_trait;
use drover_domain::Key;
use drover_domain::haproxy::{
    BackendKey, HaproxyBackend, HaproxyCounts, HaproxyInstance, HaproxyInstanceKey, HaproxyServer,
    HaproxyServerKey,
};
use drover_domain::page::{Page, PageRequest};
use drover_ports::{
    BackendFilter, HaproxyInstanceFilter, HaproxyServerFilter, HaproxyView, StoreError,
};

use crate::row::haproxy::{
    BackendRow, HaproxyInstanceRow, HaproxyServerRow, SELECT_BACKEND, SELECT_INSTANCE,
    SELECT_SERVER,
};
use crate::row::summary::{
    BREAKERS, COUNTS, CountsRow, InstanceBreakerRow, SHORT_BACKENDS, ShortBackendRow, WORDS,
    WordRow,
};
use crate::sql::session::{KeyRow, Session};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

#[async_trait]
impl HaproxyView for SeaOrmStore {
    #[tracing::instrument(name = "db.haproxy_view.instance", level = "debug", skip_all)]
    async fn instance(
        &self,
        instance: HaproxyInstanceKey,
    ) -> Result<Option<HaproxyInstance>, StoreError> {
        find_instance(&self.read("find a HAProxy instance"), instance).await
    }

    #[tracing::instrument(name = "db.haproxy_view.instances", level = "debug", skip_all)]
    async fn instances(
        &self,
        filter: &HaproxyInstanceFilter,
        page: PageRequest,
    ) -> Result<Page<HaproxyInstance>, StoreError> {
        let session = self.read("list HAProxy instances");
        let mut wanted = vec!["i.id > $1".to_owned()];
        let names = ["i.name", "s.name"];
        let mut sql = Sql::new("")
            .ascending(page)
            .narrow(&mut wanted, "i.server_id =", filter.server.map(Key::get))
            .narrow(&mut wanted, "i.is_active =", filter.is_active)
            .narrow_like(&mut wanted, session.dialect, &names, filter.like.as_ref());
        let wanted = wanted.join(" AND ");
        sql.text = format!("{SELECT_INSTANCE} WHERE {wanted} ORDER BY i.id LIMIT $2");
        let rows = session.rows::<HaproxyInstanceRow>(sql).await?;
        let instances = rows
            .into_iter()
            .map(HaproxyInstanceRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            instances,
            limit(page),
            |instance: &HaproxyInstance| instance.key.get(),
        ))
    }

    #[tracing::instrument(name = "db.haproxy_view.backends", level = "debug", skip_all)]
    async fn backends(
        &self,
        instance: HaproxyInstanceKey,
        filter: &BackendFilter,
        page: PageRequest,
    ) -> Result<Option<Page<HaproxyBackend>>, StoreError> {
        let session = self.read("list the backends of a HAProxy instance");
        let mut wanted =
            vec!["b.id > $1 AND b.instance_id = $3 AND b.removed_at IS NULL".to_owned()];
        let mut sql = Sql::new("")
            .ascending(page)
            .bind(instance.get())
            .narrow_like(
                &mut wanted,
                session.dialect,
                &["b.name"],
                filter.like.as_ref(),
            );
        let wanted = wanted.join(" AND ");
        sql.text = format!("{SELECT_BACKEND} WHERE {wanted} ORDER BY b.id LIMIT $2");
        let rows = session.rows::<BackendRow>(sql).await?;
        if rows.is_empty() && find_instance(&session, instance).await?.is_none() {
            return Ok(None);
        }
        let backends = rows
            .into_iter()
            .map(BackendRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            backends,
            limit(page),
            |backend: &HaproxyBackend| backend.key.get(),
        )))
    }

    #[tracing::instrument(name = "db.haproxy_view.servers", level = "debug", skip_all)]
    async fn servers(
        &self,
        backend: BackendKey,
        filter: &HaproxyServerFilter,
        page: PageRequest,
    ) -> Result<Option<Page<HaproxyServer>>, StoreError> {
        let session = self.read("list the servers of a HAProxy backend");
        let present =
            "h.id > $1 AND h.backend_id = $3 AND h.removed_at IS NULL AND b.removed_at IS NULL";
        let mut wanted = vec![present.to_owned()];
        let mut sql = Sql::new("")
            .ascending(page)
            .bind(backend.get())
            .narrow(&mut wanted, "h.status =", filter.word.clone())
            .narrow(&mut wanted, "(m.id IS NOT NULL) =", filter.is_mapped)
            .narrow_like(
                &mut wanted,
                session.dialect,
                &["h.name"],
                filter.like.as_ref(),
            );
        let wanted = wanted.join(" AND ");
        sql.text = format!("{SELECT_SERVER} WHERE {wanted} ORDER BY h.id LIMIT $2");
        let rows = session.rows::<HaproxyServerRow>(sql).await?;
        if rows.is_empty() {
            let sql = Sql::new(format!(
                "{SELECT_BACKEND} WHERE b.id = $1 AND b.removed_at IS NULL"
            ))
            .bind(backend.get());
            if session.row::<BackendRow>(sql).await?.is_none() {
                return Ok(None);
            }
        }
        let servers = rows
            .into_iter()
            .map(HaproxyServerRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            servers,
            limit(page),
            |server: &HaproxyServer| server.key.get(),
        )))
    }

    #[tracing::instrument(name = "db.haproxy_view.summary", level = "debug", skip_all)]
    async fn summary(&self, min_ready: u32) -> Result<HaproxyCounts, StoreError> {
        let session = self.read_together("sum HAProxy up").await?;
        let mut summary = counted(&session).await?;
        for row in session.rows::<WordRow>(Sql::new(WORDS)).await? {
            row.add_to(&mut summary)?;
        }
        let most = i64::try_from(HaproxyCounts::BREAKERS_MAX).unwrap_or(i64::MAX);
        let rows = session
            .rows::<InstanceBreakerRow>(Sql::new(BREAKERS).bind(most))
            .await?;
        summary.breakers = rows
            .into_iter()
            .map(InstanceBreakerRow::read)
            .collect::<Result<_, _>>()?;
        let most = i64::try_from(HaproxyCounts::SHORT_MAX).unwrap_or(i64::MAX);
        let sql = Sql::new(SHORT_BACKENDS)
            .bind(i64::from(min_ready))
            .bind(most);
        let rows = session.rows::<ShortBackendRow>(sql).await?;
        if let Some(row) = rows.first() {
            summary.short = row.all()?;
        }
        summary.short_backends = rows
            .into_iter()
            .map(ShortBackendRow::read)
            .collect::<Result<_, _>>()?;
        session.commit().await?;
        Ok(summary)
    }
}

/// The instance with this key.
pub(crate) async fn find_instance(
    session: &Session,
    instance: HaproxyInstanceKey,
) -> Result<Option<HaproxyInstance>, StoreError> {
    let sql = Sql::new(format!("{SELECT_INSTANCE} WHERE i.id = $1")).bind(instance.get());
    let row = session.row::<HaproxyInstanceRow>(sql).await?;
    row.map(HaproxyInstanceRow::read).transpose()
}

async fn counted(session: &Session) -> Result<HaproxyCounts, StoreError> {
    let row = session.row::<CountsRow>(Sql::new(COUNTS)).await?;
    row.map_or_else(|| Ok(HaproxyCounts::default()), CountsRow::read)
}

/// Whether there is such a server, in HAProxy now or once.
pub(crate) async fn is_stored(
    session: &Session,
    server: HaproxyServerKey,
) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT id FROM haproxy_servers WHERE id = $1").bind(server.get());
    Ok(session.row::<KeyRow>(sql).await?.is_some())
}
