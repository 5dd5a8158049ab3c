//! Rollouts as people look at them.

use async_trait::async_trait;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::{Rollout, RolloutDetail, RolloutEvent, RolloutId};
use drover_domain::workflow::TaskStatus;
use drover_ports::{RolloutView, StoreError};

use crate::rollout::store::{detail, find_rollout};
use crate::row::rollout::{RolloutEventRow, RolloutRow, STATUS, select_rollouts};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

#[async_trait]
impl RolloutView for SeaOrmStore {
    #[tracing::instrument(name = "db.rollout_view.find", level = "debug", skip_all)]
    async fn find(&self, rollout: RolloutId) -> Result<Option<RolloutDetail>, StoreError> {
        let session = self.read_together("find a rollout").await?;
        let detail = detail(&session, rollout).await?.map(|(_, detail)| detail);
        session.commit().await?;
        Ok(detail)
    }

    #[tracing::instrument(name = "db.rollout_view.list", level = "debug", skip_all)]
    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, Rollout)>, StoreError> {
        let session = self.read("list rollouts");
        let mut condition = String::new();
        if !statuses.is_empty() {
            condition = format!("AND {STATUS} IN {}", session.dialect.texts(3));
        }
        let rest = format!("WHERE u.position < $1 {condition} ORDER BY u.position DESC LIMIT $2");
        let mut sql = select_rollouts(&rest).descending(page);
        if !statuses.is_empty() {
            let words: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
            sql = sql.json(&words);
        }
        let rollouts = session
            .rows::<RolloutRow>(sql)
            .await?
            .into_iter()
            .map(RolloutRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            rollouts,
            limit(page),
            |(position, _): &(i64, _)| *position,
        ))
    }

    #[tracing::instrument(name = "db.rollout_view.events", level = "debug", skip_all)]
    async fn events(
        &self,
        rollout: RolloutId,
        page: PageRequest,
    ) -> Result<Option<Page<RolloutEvent>>, StoreError> {
        let session = self.read("list the events of a rollout");
        let sql = Sql::new(format!(
            "SELECT e.position, u.run_index, e.sequence, e.at, e.kind, e.play, e.task, e.host, e.message,
                    CAST(e.report AS text) AS report, CAST(e.stats AS text) AS stats
             FROM rollout_events e JOIN rollout_runs u ON u.id = e.run_id
             WHERE e.position > $1 AND e.rollout_id = {} ORDER BY e.position LIMIT $2",
            session.dialect.uuid(3),
        ));
        let rows = session
            .rows::<RolloutEventRow>(sql.ascending(page).id(rollout))
            .await?;
        if rows.is_empty() {
            let sql = find_rollout(&session, rollout);
            if session.row::<RolloutRow>(sql).await?.is_none() {
                return Ok(None);
            }
        }
        let events = rows
            .into_iter()
            .map(RolloutEventRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            events,
            limit(page),
            |event: &RolloutEvent| event.position,
        )))
    }
}
