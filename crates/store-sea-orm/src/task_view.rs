//! Update tasks as people look at them.

use async_trait::async_trait;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::task::{TaskDetail, TaskEvent, TaskId, UpdateTask};
use drover_domain::workflow::TaskStatus;
use drover_ports::{StoreError, TaskView};

use crate::row::task::{STATUS, TaskEventRow, TaskRow, select_tasks};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;
use crate::tasks::{detail, find_task};

#[async_trait]
impl TaskView for SeaOrmStore {
    #[tracing::instrument(name = "db.task_view.find", level = "debug", skip_all)]
    async fn find(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        let session = self.read_together("find an update task").await?;
        let detail = detail(&session, task).await?.map(|(_, detail)| detail);
        session.commit().await?;
        Ok(detail)
    }

    #[tracing::instrument(name = "db.task_view.list", level = "debug", skip_all)]
    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, UpdateTask)>, StoreError> {
        let session = self.read("list update tasks");
        let mut condition = String::new();
        if !statuses.is_empty() {
            condition = format!("AND {STATUS} IN {}", session.dialect.texts(3));
        }
        let rest = format!("WHERE u.position < $1 {condition} ORDER BY u.position DESC LIMIT $2");
        let mut sql = select_tasks(&rest).descending(page);
        if !statuses.is_empty() {
            let words: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
            sql = sql.json(&words);
        }
        let tasks = session
            .rows::<TaskRow>(sql)
            .await?
            .into_iter()
            .map(TaskRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            tasks,
            limit(page),
            |(position, _): &(i64, _)| *position,
        ))
    }

    #[tracing::instrument(name = "db.task_view.events", level = "debug", skip_all)]
    async fn events(
        &self,
        task: TaskId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskEvent>>, StoreError> {
        let session = self.read("list the events of an update task");
        let sql = Sql::new(format!(
            "SELECT e.position, u.run_index, e.sequence, e.at, e.kind, e.play, e.task, e.host, e.message,
                    CAST(e.report AS text) AS report, CAST(e.stats AS text) AS stats
             FROM update_task_events e JOIN update_task_runs u ON u.id = e.run_id
             WHERE e.position > $1 AND e.task_id = {} ORDER BY e.position LIMIT $2",
            session.dialect.uuid(3),
        ));
        let rows = session
            .rows::<TaskEventRow>(sql.ascending(page).id(task))
            .await?;
        if rows.is_empty() {
            let sql = find_task(&session, task);
            if session.row::<TaskRow>(sql).await?.is_none() {
                return Ok(None);
            }
        }
        let events = rows
            .into_iter()
            .map(TaskEventRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            events,
            limit(page),
            |event: &TaskEvent| event.position,
        )))
    }
}
