//! Queues and their limits.

use async_trait::async_trait;
use drover_domain::workflow::QueueName;
use drover_domain::workflow::queue::{QueueLimits, RateLimit};
use drover_ports::{QueueStats, QueueStore, StoreError};
use sea_orm::FromQueryResult;

use super::careful::{LIMITS_COLUMNS, LimitsRow};
use super::shape::micros;
use super::write::Told;
use crate::row::{Stored, time};
use crate::sql::Sql;
use crate::sql::session::Row;
use crate::store::SeaOrmStore;

#[derive(Debug, FromQueryResult)]
struct CountsRow {
    name: String,
    waiting: i64,
    parked: i64,
    held: i64,
    oldest: Option<i64>,
}

impl Row for CountsRow {
    const WHAT: &'static str = "queue";
}

#[async_trait]
impl QueueStore for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.queue_stats", level = "debug", skip_all)]
    async fn stats(&self) -> Result<Vec<QueueStats>, StoreError> {
        let session = self.read_together("count the tasks of queues").await?;
        let text = format!(
            "SELECT n.name, COALESCE(c.waiting, 0) AS waiting, COALESCE(c.parked, 0) AS parked,
                    COALESCE(c.held, 0) AS held, c.oldest
             FROM (SELECT queue AS name FROM workflow_queue UNION SELECT name FROM workflow_queues) n
             LEFT JOIN (
                 SELECT queue,
                        count(*) FILTER (WHERE lease_id IS NULL) AS waiting,
                        count(*) FILTER (WHERE lease_id IS NULL AND is_parked) AS parked,
                        count(*) FILTER (WHERE lease_id IS NOT NULL) AS held,
                        min(queued_at) FILTER (WHERE lease_id IS NULL) AS oldest
                 FROM workflow_queue GROUP BY queue) c ON c.queue = n.name
             ORDER BY n.name LIMIT {}",
            QueueStats::LISTED_MAX
        );
        let counts = session.rows::<CountsRow>(Sql::new(text)).await?;
        let text = format!(
            "SELECT {} AS now, {LIMITS_COLUMNS}, 0 AS running FROM workflow_queues l",
            session.dialect.now()
        )
        .replace("0 AS running", "CAST(0 AS bigint) AS running");
        let mut limits = std::collections::BTreeMap::new();
        for row in session.rows::<LimitsRow>(Sql::new(text)).await? {
            let (name, state) = row.read()?;
            limits.insert(name, state.limits);
        }
        counts
            .into_iter()
            .map(|row| {
                let stored = Stored::new(CountsRow::WHAT, &row.name);
                let name = QueueName::parse(&row.name)
                    .map_err(|error| stored.corrupt(error.to_string()))?;
                Ok(QueueStats {
                    limits: limits.get(&name).copied().unwrap_or_default(),
                    name,
                    waiting: stored.number("count", row.waiting)?,
                    parked: stored.number("count", row.parked)?,
                    running: stored.number("count", row.held)?,
                    oldest: time(row.oldest),
                })
            })
            .collect()
    }

    #[tracing::instrument(name = "db.engine.limit_queue", level = "debug", skip_all)]
    async fn limit(&self, queue: &QueueName, limits: QueueLimits) -> Result<(), StoreError> {
        let session = self.write_once("limit a queue").await?;
        // A new rate starts with a full bucket.
        let sql = Sql::new(
            "INSERT INTO workflow_queues (name, is_paused, concurrency, rate_count, rate_per) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE SET
                 is_paused = excluded.is_paused, concurrency = excluded.concurrency,
                 tokens = CASE WHEN workflow_queues.rate_count = excluded.rate_count
                               AND workflow_queues.rate_per = excluded.rate_per THEN workflow_queues.tokens END,
                 rate_count = excluded.rate_count, rate_per = excluded.rate_per",
        );
        let sql = sql
            .text(queue.as_str())
            .bind(limits.is_paused)
            .bind(limits.concurrency.map(i64::from))
            .bind(limits.rate.map(|rate| i64::from(RateLimit::count(rate))))
            .bind(limits.rate.map(|rate| micros(rate.per())));
        session.execute(sql).await?;
        self.hints().tell(Told {
            work: true,
            events: false,
        });
        Ok(())
    }
}
