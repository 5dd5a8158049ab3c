//! HAProxy as people look at it.

use async_trait::async_trait;
use drover_domain::Key;
use drover_domain::balancer::{
    BackendKey, BalancerBackend, BalancerInstance, BalancerServer, BalancerServerKey,
    BalancerSummary, InstanceKey,
};
use drover_domain::page::{Page, PageRequest};
use drover_ports::{BackendFilter, BalancerServerFilter, BalancerView, InstanceFilter, StoreError};

use crate::row::balancer::{
    BackendRow, BalancerServerRow, InstanceRow, SELECT_BACKEND, SELECT_INSTANCE, SELECT_SERVER,
};
use crate::row::summary::{
    BREAKERS, COUNTS, CountsRow, InstanceBreakerRow, SHORT_BACKENDS, ShortBackendRow, WORDS,
    WordRow,
};
use crate::session::{KeyRow, Session};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

#[async_trait]
impl BalancerView for SeaOrmStore {
    #[tracing::instrument(name = "db.balancer_view.instance", level = "debug", skip_all)]
    async fn instance(
        &self,
        instance: InstanceKey,
    ) -> Result<Option<BalancerInstance>, StoreError> {
        find_instance(&self.read("find a HAProxy instance"), instance).await
    }

    #[tracing::instrument(name = "db.balancer_view.instances", level = "debug", skip_all)]
    async fn instances(
        &self,
        filter: &InstanceFilter,
        page: PageRequest,
    ) -> Result<Page<BalancerInstance>, StoreError> {
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
        let rows = session.rows::<InstanceRow>(sql).await?;
        let instances = rows
            .into_iter()
            .map(InstanceRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            instances,
            limit(page),
            |instance: &BalancerInstance| instance.key.get(),
        ))
    }

    #[tracing::instrument(name = "db.balancer_view.backends", level = "debug", skip_all)]
    async fn backends(
        &self,
        instance: InstanceKey,
        filter: &BackendFilter,
        page: PageRequest,
    ) -> Result<Option<Page<BalancerBackend>>, StoreError> {
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
            |backend: &BalancerBackend| backend.key.get(),
        )))
    }

    #[tracing::instrument(name = "db.balancer_view.servers", level = "debug", skip_all)]
    async fn servers(
        &self,
        backend: BackendKey,
        filter: &BalancerServerFilter,
        page: PageRequest,
    ) -> Result<Option<Page<BalancerServer>>, StoreError> {
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
        let rows = session.rows::<BalancerServerRow>(sql).await?;
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
            .map(BalancerServerRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            servers,
            limit(page),
            |server: &BalancerServer| server.key.get(),
        )))
    }

    #[tracing::instrument(name = "db.balancer_view.summary", level = "debug", skip_all)]
    async fn summary(&self, min_ready: u32) -> Result<BalancerSummary, StoreError> {
        let session = self.read_together("sum HAProxy up").await?;
        let mut summary = counted(&session).await?;
        for row in session.rows::<WordRow>(Sql::new(WORDS)).await? {
            row.add_to(&mut summary)?;
        }
        let most = i64::try_from(BalancerSummary::BREAKERS_MAX).unwrap_or(i64::MAX);
        let rows = session
            .rows::<InstanceBreakerRow>(Sql::new(BREAKERS).bind(most))
            .await?;
        summary.breakers = rows
            .into_iter()
            .map(InstanceBreakerRow::read)
            .collect::<Result<_, _>>()?;
        let most = i64::try_from(BalancerSummary::SHORT_MAX).unwrap_or(i64::MAX);
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
    instance: InstanceKey,
) -> Result<Option<BalancerInstance>, StoreError> {
    let sql = Sql::new(format!("{SELECT_INSTANCE} WHERE i.id = $1")).bind(instance.get());
    let row = session.row::<InstanceRow>(sql).await?;
    row.map(InstanceRow::read).transpose()
}

async fn counted(session: &Session) -> Result<BalancerSummary, StoreError> {
    let row = session.row::<CountsRow>(Sql::new(COUNTS)).await?;
    row.map_or_else(|| Ok(BalancerSummary::default()), CountsRow::read)
}

/// Whether there is such a server, in HAProxy now or once.
pub(crate) async fn is_stored(
    session: &Session,
    server: BalancerServerKey,
) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT id FROM haproxy_servers WHERE id = $1").bind(server.get());
    Ok(session.row::<KeyRow>(sql).await?.is_some())
}
