//! The log of everything that happened.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::{
    EventKind, EventPosition, NewWorkflowEvent, TaskKey, TaskNo, WorkflowEvent, WorkflowId,
};
use drover_ports::{EventFilter, EventLog, EventPage, StoreError};

use super::load::WantedTask;
use super::read::{StoredUuid, by_place, stored_task, task_no};
use super::write::{EventShape, column};
use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::session::Session;
use crate::store::SeaOrmStore;

by_place! {
    /// The events of one workflow in one transaction.
    EventBatchRow("event") {
        position: i64,
        workflow_id: StoredUuid,
        at: i64,
        events: String,
    }
}

by_place! {
    PositionRow("event") {
        position: i64,
        event_count: i64,
    }
}

by_place! {
    SettledRow("event") {
        position: i64,
    }
}

by_place! {
    GapRow("event") {
        is_behind: bool,
    }
}

by_place! {
    KeyRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        task_key: String,
    }
}

impl EventBatchRow {
    pub(super) fn read(self) -> Result<Vec<WorkflowEvent>, StoreError> {
        let stored = Stored::new("event", self.position);
        let shapes: Vec<EventShape<'_>> = stored.shape("list of events", &self.events)?;
        let workflow = self.workflow_id.id();
        shapes
            .into_iter()
            .zip(0_u32..)
            .map(|((kind, task, attempt, detail), index)| {
                let task = match task {
                    Some(number) => Some(task_no(&stored, i64::from(number))?),
                    None => None,
                };
                Ok(WorkflowEvent {
                    position: EventPosition {
                        batch: self.position,
                        index,
                    },
                    workflow,
                    at: Timestamp::from_micros(self.at),
                    event: NewWorkflowEvent {
                        kind: stored.word("kind of event", &kind, EventKind::parse)?,
                        task,
                        attempt,
                        detail: detail.map(std::borrow::Cow::into_owned),
                    },
                })
            })
            .collect()
    }
}

/// The columns of [`EventBatchRow`]; `e` is the batch.
pub(super) const BATCH_COLUMNS: &str = "e.position, e.workflow_id, e.at, e.events";

#[async_trait]
impl EventLog for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.events", level = "debug", skip_all)]
    async fn after(
        &self,
        position: EventPosition,
        filter: EventFilter,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        // Before the events are read, in a statement of its own: what is settled then is seen now.
        let settled = self.settled("read events").await?;
        let session = self.read_together("read events").await?;
        let dialect = session.dialect;
        // The batch of the position itself may go on behind it. Events of one workflow are compared with both
        // columns of its index: by the position alone PostgreSQL would read the events of all others too.
        let (range, order, values) = match filter.workflow {
            Some(workflow) => {
                let id = dialect.uuid(4);
                let own = "(e.workflow_id, e.position)";
                let range = format!("{own} >= ({id}, $1) AND {own} < ({id}, $2)");
                (range, "e.workflow_id, e.position", Some(workflow))
            }
            None => (
                "e.position >= $1 AND e.position < $2".to_owned(),
                "e.position",
                None,
            ),
        };
        let text = format!(
            "SELECT {BATCH_COLUMNS} FROM workflow_events e WHERE {range} ORDER BY {order} LIMIT $3"
        );
        let mut sql = Sql::new(text)
            .bind(position.batch)
            .bind(settled)
            // Each batch has at least one event; the first one may be behind us already.
            .bind(i64::from(limit.max(1)) + 1);
        if let Some(workflow) = values {
            sql = sql.id(workflow);
        }
        let rows = session.rows::<EventBatchRow>(sql).await?;
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        for row in rows {
            if events.len() >= limit {
                break;
            }
            let batch = row.read()?;
            events.extend(
                batch
                    .into_iter()
                    .filter(|event| position == EventPosition::START || event.position > position),
            );
        }
        let gap = is_behind(&session, position).await?;
        let keys = keys(&session, &events).await?;
        let next = events.last().map_or(position, |event| event.position);
        let events = events
            .into_iter()
            .map(|event| {
                let key = event
                    .event
                    .task
                    .and_then(|no| keys.get(&(event.workflow, no)).cloned());
                (event, key)
            })
            .collect();
        Ok(EventPage { events, next, gap })
    }

    #[tracing::instrument(name = "db.engine.events_end", level = "debug", skip_all)]
    async fn end(&self) -> Result<EventPosition, StoreError> {
        let settled = self.settled("find the last event").await?;
        let session = self.read("find the last event");
        // The last events may have been removed: the end does not move back.
        let sql = Sql::new(
            "SELECT position, event_count FROM (
                 SELECT position, event_count FROM workflow_events WHERE position < $1
                 UNION ALL SELECT position, event_count FROM workflow_events_removed) e
             ORDER BY position DESC LIMIT 1",
        );
        let last = session.row::<PositionRow>(sql.bind(settled)).await?;
        Ok(last.map_or(EventPosition::START, |row| EventPosition {
            batch: row.position,
            index: u32::try_from(row.event_count - 1).unwrap_or(u32::MAX),
        }))
    }
}

impl SeaOrmStore {
    /// The position below which no event is still to come.
    pub(super) async fn settled(&self, action: &'static str) -> Result<i64, StoreError> {
        let session = self.read(action);
        let sql = Sql::new(session.dialect.events_settled());
        let row = session.row::<SettledRow>(sql).await?;
        Ok(row.map_or(0, |row| row.position))
    }
}

async fn is_behind(session: &Session, position: EventPosition) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT position > $1 FROM workflow_events_removed WHERE id = 1");
    let row = session.row::<GapRow>(sql.bind(position.batch)).await?;
    Ok(row.is_some_and(|row| row.is_behind))
}

async fn keys(
    session: &Session,
    events: &[WorkflowEvent],
) -> Result<BTreeMap<(WorkflowId, TaskNo), TaskKey>, StoreError> {
    let wanted: BTreeSet<(WorkflowId, TaskNo)> = events
        .iter()
        .filter_map(|event| Some((event.workflow, event.event.task?)))
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let wanted: Vec<WantedTask> = wanted
        .into_iter()
        .map(|(workflow, no)| WantedTask {
            workflow_id: workflow.as_uuid(),
            task_no: column(no),
        })
        .collect();
    let text = format!(
        "SELECT t.workflow_id, t.task_no, t.task_key FROM {}
         JOIN workflow_tasks t ON t.workflow_id = r.workflow_id AND t.task_no = r.task_no",
        session.dialect.batch::<WantedTask>(1, "r"),
    );
    let rows = session
        .rows::<KeyRow>(Sql::new(text).batch(session.dialect, &wanted))
        .await?;
    rows.into_iter()
        .map(|row| {
            let workflow = row.workflow_id.id();
            let stored = stored_task(workflow, row.task_no);
            let key = TaskKey::restore(&row.task_key)
                .ok_or_else(|| stored.corrupt(format!("`{}` is no key", row.task_key)))?;
            Ok(((workflow, task_no(&stored, row.task_no)?), key))
        })
        .collect()
}
