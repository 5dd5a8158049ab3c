//! Forgetting what happened long ago.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_ports::{History, HistoryUpkeep, StoreError};

use crate::sql::Sql;
use crate::sql::session::Session;
use crate::store::SeaOrmStore;

// Two branches, so that each goes by its own index.
const GONE: &str = "
SELECT x.id FROM (
    SELECT * FROM (
        SELECT r.id FROM application_instances r LEFT JOIN servers s ON s.id = r.server_id
        WHERE r.last_seen < $1 AND (s.inventory_at IS NULL OR s.inventory_at <> r.last_seen)
        ORDER BY r.last_seen, r.id LIMIT $2) gone
    UNION
    SELECT * FROM (
        SELECT r.id FROM application_instances r WHERE r.server_id IS NULL ORDER BY r.id LIMIT $2) orphans
) x LIMIT $2";

const EMPTY_GROUPS: &str = "
SELECT r.id FROM application_groups r
WHERE NOT r.is_set AND r.created_at < $1
  AND NOT EXISTS (SELECT 1 FROM application_instances a WHERE a.group_id = r.id)
  AND NOT EXISTS (SELECT 1 FROM application_instances a WHERE a.proposed_group_id = r.id)
ORDER BY r.id LIMIT $2";

const EMPTY_ENTRIES: &str = "
SELECT r.id FROM application_catalog r
WHERE NOT r.is_set AND r.created_at < $1
  AND NOT EXISTS (SELECT 1 FROM application_instances a WHERE a.catalog_id = r.id)
  AND NOT EXISTS (SELECT 1 FROM application_groups g WHERE g.catalog_id = r.id)
ORDER BY r.id LIMIT $2";

#[async_trait]
impl HistoryUpkeep for SeaOrmStore {
    #[tracing::instrument(name = "db.history.prune", level = "debug", skip_all)]
    async fn prune(
        &self,
        history: History,
        before: Timestamp,
        limit: u32,
    ) -> Result<u32, StoreError> {
        let by_time = |table: &str, at: &str| {
            format!("SELECT r.id FROM {table} r WHERE r.{at} < $1 ORDER BY r.{at}, r.id LIMIT $2")
        };
        let (table, old) = match history {
            History::FleetEvents => ("events", by_time("events", "at")),
            History::HaproxyStatuses => {
                let table = "haproxy_server_status_history";
                (table, by_time(table, "changed_at"))
            }
            History::InstanceStatuses => {
                let table = "application_status_history";
                (table, by_time(table, "changed_at"))
            }
            History::GoneServers => ("haproxy_servers", by_time("haproxy_servers", "removed_at")),
            History::GoneBackends => (
                "haproxy_backends",
                by_time("haproxy_backends", "removed_at"),
            ),
            History::GoneApplications => ("application_instances", GONE.to_owned()),
            History::EmptyGroups => ("application_groups", EMPTY_GROUPS.to_owned()),
            History::EmptyCatalogEntries => ("application_catalog", EMPTY_ENTRIES.to_owned()),
        };
        let text = format!("DELETE FROM {table} WHERE id IN ({old})");
        let sql = Sql::new(text)
            .bind(before.as_micros())
            .bind(i64::from(limit));
        if history == History::GoneServers {
            return self.forget_servers(sql).await;
        }
        if history == History::GoneApplications {
            let kept = Sql::new(format!(
                "{REMEMBER_IN_GROUPS} AND a.id IN ({old}) AND NOT g.stood_behind_haproxy)"
            ))
            .bind(before.as_micros())
            .bind(i64::from(limit));
            let session = self.write("forget applications that are gone").await?;
            session.execute(kept).await?;
            let removed = session.execute(sql).await?;
            session.commit().await?;
            return Ok(u32::try_from(removed).unwrap_or(u32::MAX));
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
            forget_mappings(&session).await?;
        }
        session.commit().await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}

// A group outlives its applications: what stood behind HAProxy is expected there also when it comes back as another row.
const REMEMBER_IN_GROUPS: &str = "
UPDATE application_groups SET stood_behind_haproxy = true WHERE id IN (
    SELECT g.id FROM application_instances a JOIN application_groups g ON g.id = a.group_id
    WHERE (a.stood_behind_haproxy
           OR EXISTS (SELECT 1 FROM application_mappings m
                      WHERE m.entity_type = 'haproxy_server' AND m.application_id = a.id))";

// Which mappings are those of servers that are no longer stored.
const ORPHANS: &str = "m.entity_type = 'haproxy_server' AND NOT EXISTS (SELECT 1 FROM haproxy_servers h WHERE h.id = m.entity_id)";

/// Removes the mappings of servers that are no longer stored. Their applications keep that they stood behind HAProxy.
pub(crate) async fn forget_mappings(session: &Session) -> Result<(), StoreError> {
    remember(session, Sql::new(""), ORPHANS).await?;
    let forget = format!(
        "DELETE FROM application_mappings WHERE id IN (SELECT m.id FROM application_mappings m WHERE {ORPHANS})"
    );
    session.execute(Sql::new(forget)).await.map(|_| ())
}

/// Keeps at the applications of these mappings that they stood behind HAProxy, before the mappings are removed.
pub(crate) async fn remember(session: &Session, sql: Sql, which: &str) -> Result<(), StoreError> {
    let mut sql = sql;
    sql.text = format!(
        "UPDATE application_instances SET stood_behind_haproxy = true
         WHERE NOT stood_behind_haproxy
           AND id IN (SELECT m.application_id FROM application_mappings m WHERE {which})"
    );
    session.execute(sql).await.map(|_| ())
}
