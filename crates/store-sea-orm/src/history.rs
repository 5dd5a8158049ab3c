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
        };
        let text = format!(
            "DELETE FROM {table} WHERE id IN (SELECT r.id FROM {table} r WHERE r.{at} < $1 ORDER BY r.{at}, r.id LIMIT $2)"
        );
        let sql = Sql::new(text)
            .bind(before.as_micros())
            .bind(i64::from(limit));
        let session = self.write_once("forget what happened long ago").await?;
        let removed = session.execute(sql).await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}
