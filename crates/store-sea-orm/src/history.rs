//! Forgetting what happened long ago.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_ports::{History, HistoryUpkeep, StoreError};

use crate::sql::Sql;
use crate::store::SeaOrmStore;

#[async_trait]
impl HistoryUpkeep for SeaOrmStore {
    #[tracing::instrument(name = "db.history.forget", level = "debug", skip_all)]
    async fn forget(
        &self,
        history: History,
        before: Timestamp,
        limit: u32,
    ) -> Result<u32, StoreError> {
        let (table, at) = match history {
            History::FleetEvents => ("events", "at"),
            History::BalancerStatuses => ("haproxy_server_status_history", "changed_at"),
            History::InstanceStatuses => ("application_status_history", "changed_at"),
            History::GoneServers => ("haproxy_servers", "removed_at"),
            History::GoneBackends => ("haproxy_backends", "removed_at"),
        };
        let text = format!(
            "DELETE FROM {table} WHERE id IN (SELECT r.id FROM {table} r WHERE r.{at} < $1 ORDER BY r.{at}, r.id LIMIT $2)"
        );
        let sql = Sql::new(text)
            .bind(before.as_micros())
            .bind(i64::from(limit));
        if history == History::GoneServers {
            return self.forget_servers(sql).await;
        }
        let session = self.write_once("forget what happened long ago").await?;
        let removed = session.execute(sql).await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}

impl SeaOrmStore {
    /// Mappings name servers without a foreign key.
    async fn forget_servers(&self, forget: Sql) -> Result<u32, StoreError> {
        let session = self.write("forget servers gone from HAProxy").await?;
        let removed = session.execute(forget).await?;
        if removed > 0 {
            session.execute(Sql::new(FORGET_MAPPINGS)).await?;
        }
        session.commit().await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}

/// Removes the mappings of servers that are not stored any more.
pub(crate) const FORGET_MAPPINGS: &str = "
DELETE FROM application_mappings
WHERE entity_type = 'haproxy_server' AND NOT EXISTS (SELECT 1 FROM haproxy_servers h WHERE h.id = entity_id)
";
