//! Workflows as people look at them.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::may_be_redone;
use drover_domain::workflow::{
    DefinitionName, ExecutionMode, Kind, TaskId, TaskKey, TaskStatus, WorkflowEvent, WorkflowId,
    WorkflowStatus,
};
use drover_ports::{
    DeadLetter, DeadLetterFilter, DefinitionRef, StoreError, TaskRecord, WorkflowFilter,
    WorkflowRecord, WorkflowView,
};
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use super::events::{BATCH_COLUMNS, EventBatchRow};
use super::load::{HEAD_COLUMNS, HeadRow, TASK_COLUMNS, TASK_JOINS, TaskStateRow};
use super::read::{Columns, StoredUuid, by_place, stored_task, task_no};
use super::shape::{json, read_list};
use crate::row::{Stored, time};
use crate::sql::session::{Row, Session};
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

/// A workflow: its head, then the rest.
#[derive(Debug)]
struct WorkflowRow {
    head: HeadRow,
    rest: WorkflowRest,
}

impl FromQueryResult for WorkflowRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let mut columns = Columns::new(row);
        Ok(Self {
            head: HeadRow::read_from(&mut columns)?,
            rest: WorkflowRest::read_from(&mut columns)?,
        })
    }
}

impl Row for WorkflowRow {
    const WHAT: &'static str = "workflow";
}

by_place! {
    WorkflowRest("workflow") {
        position: i64,
        name: String,
        mode: String,
        definition_name: Option<String>,
        definition_version: Option<i64>,
        labels: String,
        input: String,
        actor: String,
        request_id: String,
        created_at: i64,
        started_at: Option<i64>,
        finished_at: Option<i64>,
    }
}

const REST_COLUMNS: &str = "w.position, w.name, w.mode, w.definition_name, w.definition_version, \
    CAST(w.labels AS text), w.input, w.actor, w.request_id, w.created_at, w.started_at, w.finished_at";

impl WorkflowRow {
    fn read(self) -> Result<(i64, WorkflowRecord), StoreError> {
        let head = self.head.read()?;
        let rest = self.rest;
        let stored = Stored::new("workflow", head.id);
        let source = match rest.definition_name.zip(rest.definition_version) {
            None => None,
            Some((name, version)) => Some(DefinitionRef {
                name: DefinitionName::parse(&name)
                    .map_err(|error| stored.corrupt(error.to_string()))?,
                version: stored.number("version", version)?,
            }),
        };
        let record = WorkflowRecord {
            head,
            name: rest.name,
            mode: stored.word("execution mode", &rest.mode, ExecutionMode::parse)?,
            source,
            labels: stored.shape("labels", &rest.labels)?,
            input: json(&stored, rest.input)?,
            origin: Origin {
                actor: rest.actor,
                request_id: rest.request_id,
            },
            created_at: Timestamp::from_micros(rest.created_at),
            started_at: time(rest.started_at),
            finished_at: time(rest.finished_at),
        };
        Ok((rest.position, record))
    }
}

/// A task: its state, then the rest.
#[derive(Debug)]
struct TaskRow {
    state: TaskStateRow,
    rest: TaskRest,
}

impl TaskRow {
    fn read_from(columns: &mut Columns<'_>) -> Result<Self, DbErr> {
        Ok(Self {
            state: TaskStateRow::read_from(columns)?,
            rest: TaskRest::read_from(columns)?,
        })
    }
}

impl FromQueryResult for TaskRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        Self::read_from(&mut Columns::new(row))
    }
}

impl Row for TaskRow {
    const WHAT: &'static str = "task";
}

by_place! {
    TaskRest("task") {
        kind: String,
        payload: String,
        result: Option<String>,
        depends_on: String,
        worker: Option<String>,
        started_at: Option<i64>,
        finished_at: Option<i64>,
    }
}

const TASK_REST_COLUMNS: &str =
    "t.kind, t.payload, t.result, t.depends_on, t.worker, t.started_at, t.finished_at";

impl TaskRow {
    fn read(self) -> Result<TaskRecord, StoreError> {
        let number = self.state.task_no;
        let (workflow, task, held) = self.state.read()?;
        let rest = self.rest;
        let stored = stored_task(workflow, number);
        let depends_on: Vec<String> = read_list(&stored, "list of dependencies", &rest.depends_on)?;
        let depends_on = depends_on
            .iter()
            .map(|key| {
                TaskKey::restore(key).ok_or_else(|| stored.corrupt(format!("`{key}` is no key")))
            })
            .collect::<Result<_, _>>()?;
        // While a worker holds the task, the data of the last worker is out of date.
        let (worker, started_at) = match held {
            Some(held) => (held.worker, held.claimed_at),
            None => (rest.worker, time(rest.started_at)),
        };
        Ok(TaskRecord {
            task,
            workflow,
            kind: Kind::parse(&rest.kind).map_err(|error| stored.corrupt(error.to_string()))?,
            payload: json(&stored, rest.payload)?,
            result: rest.result.map(|text| json(&stored, text)).transpose()?,
            depends_on,
            worker,
            started_at,
            finished_at: time(rest.finished_at),
        })
    }
}

/// A dead letter: its place and its workflow's name, then the task.
#[derive(Debug)]
struct DeadLetterRow {
    position: i64,
    workflow_name: String,
    task: TaskRow,
}

impl FromQueryResult for DeadLetterRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let mut columns = Columns::new(row);
        Ok(Self {
            position: columns.next()?,
            workflow_name: columns.next()?,
            task: TaskRow::read_from(&mut columns)?,
        })
    }
}

impl Row for DeadLetterRow {
    const WHAT: &'static str = "dead letter";
}

by_place! {
    CountRow("event") {
        workflow_exists: bool,
    }
}

by_place! {
    DeadKeyRow("dead letter") {
        workflow_id: StoredUuid,
        task_no: i64,
    }
}

#[async_trait]
impl WorkflowView for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.find", level = "debug", skip_all)]
    async fn find(&self, workflow: WorkflowId) -> Result<Option<WorkflowRecord>, StoreError> {
        let session = self.read("read a workflow");
        let text = format!(
            "SELECT {}, {HEAD_COLUMNS}, {REST_COLUMNS} FROM workflows w WHERE w.id = {}",
            session.dialect.now(),
            session.dialect.uuid(1),
        );
        let row = session
            .row::<WorkflowRow>(Sql::new(text).id(workflow))
            .await?;
        Ok(row
            .map(WorkflowRow::read)
            .transpose()?
            .map(|(_, record)| record))
    }

    #[tracing::instrument(name = "db.engine.list", level = "debug", skip_all)]
    async fn list(
        &self,
        filter: &WorkflowFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, WorkflowRecord)>, StoreError> {
        let session = self.read("list workflows");
        let dialect = session.dialect;
        let mut sql = Sql::new(String::new()).descending(page);
        let mut conditions = vec!["w.position < $1".to_owned()];
        if !filter.statuses.is_empty() {
            let words: Vec<&str> = filter
                .statuses
                .iter()
                .map(|status| status.as_str())
                .collect();
            sql = sql.json(&words);
            conditions.push(format!("w.status IN {}", dialect.texts(sql.last())));
            // What is wanted may be live only: then the index of live workflows does.
            if filter.statuses.iter().all(|status| !status.is_terminal()) {
                conditions.push(LIVE.to_owned());
            }
        }
        if let Some(name) = &filter.name {
            sql = sql.text(name);
            conditions.push(format!("w.name = ${}", sql.last()));
        }
        if let Some(parent) = filter.parent {
            sql = sql.id(parent);
            conditions.push(format!("w.parent_task = {}", dialect.uuid(sql.last())));
        }
        for (label, value) in &filter.labels {
            sql = sql.text(label);
            let label = sql.last();
            sql = sql.text(value);
            conditions.push(dialect.has_text("w.labels", label, sql.last()));
        }
        sql.text = format!(
            "SELECT {}, {HEAD_COLUMNS}, {REST_COLUMNS} FROM workflows w WHERE {} ORDER BY w.position DESC LIMIT $2",
            dialect.now(),
            conditions.join(" AND "),
        );
        let rows = session.rows::<WorkflowRow>(sql).await?;
        let items = rows
            .into_iter()
            .map(WorkflowRow::read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_lookahead(items, limit(page), |(position, _)| {
            *position
        }))
    }

    #[tracing::instrument(name = "db.engine.tasks", level = "debug", skip_all)]
    async fn tasks(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskRecord>>, StoreError> {
        let session = self.read_together("read the tasks of a workflow").await?;
        if !exists(&session, workflow).await? {
            return Ok(None);
        }
        let text = format!(
            "SELECT {TASK_COLUMNS}, {TASK_REST_COLUMNS} FROM workflow_tasks t {TASK_JOINS}
             WHERE t.workflow_id = {} AND t.task_no >= $1 ORDER BY t.task_no LIMIT $2",
            session.dialect.uuid(3),
        );
        let sql = Sql::new(text).ascending(page).id(workflow);
        let rows = session.rows::<TaskRow>(sql).await?;
        let items = rows
            .into_iter()
            .map(TaskRow::read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Page::from_lookahead(items, limit(page), |record| {
            i64::from(record.task.no.get()) + 1
        })))
    }

    #[tracing::instrument(name = "db.engine.task", level = "debug", skip_all)]
    async fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let Some(no) = task.no() else { return Ok(None) };
        let session = self.read("read a task");
        let text = format!(
            "SELECT {TASK_COLUMNS}, {TASK_REST_COLUMNS} FROM workflow_tasks t {TASK_JOINS}
             WHERE t.workflow_id = {} AND t.task_no = $2",
            session.dialect.uuid(1),
        );
        let sql = Sql::new(text).id(task.workflow()).bind(i64::from(no.get()));
        session
            .row::<TaskRow>(sql)
            .await?
            .map(TaskRow::read)
            .transpose()
    }

    #[tracing::instrument(name = "db.engine.history", level = "debug", skip_all)]
    async fn history(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> Result<Option<Page<(i64, WorkflowEvent)>>, StoreError> {
        let settled = self.settled("read what happened to a workflow").await?;
        let session = self
            .read_together("read what happened to a workflow")
            .await?;
        if !exists(&session, workflow).await? {
            return Ok(None);
        }
        // Counting is the numbering: batches before the page are left out by what they count up to.
        let text = format!(
            "SELECT b.first, {} FROM (
                 SELECT e.*, sum(e.event_count) OVER (ORDER BY e.position) - e.event_count AS first
                 FROM workflow_events e WHERE e.workflow_id = {} AND e.position < $4) b
             WHERE b.first + b.event_count > $1 ORDER BY b.position LIMIT $2",
            BATCH_COLUMNS.replace("e.", "b."),
            session.dialect.uuid(3),
        )
        .replace("SELECT b.first,", "SELECT CAST(b.first AS bigint),");
        let sql = Sql::new(text).ascending(page).id(workflow).bind(settled);
        let rows = session.rows::<NumberedBatchRow>(sql).await?;
        let after = page.after.unwrap_or(0);
        let mut items = Vec::new();
        for row in rows {
            let first = row.first;
            let numbered = row.batch.read()?.into_iter().zip(first + 1..);
            items.extend(
                numbered
                    .filter(|(_, number)| *number > after)
                    .map(|(event, number)| (number, event)),
            );
        }
        items.truncate(usize::from(limit(page)) + 1);
        Ok(Some(Page::from_lookahead(
            items,
            limit(page),
            |(number, _)| *number,
        )))
    }

    #[tracing::instrument(name = "db.engine.dead_letters", level = "debug", skip_all)]
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        page: PageRequest,
    ) -> Result<Page<DeadLetter>, StoreError> {
        let session = self.read("list dead letters");
        let sql = Sql::new(String::new()).descending(page);
        let (mut sql, conditions) = dead_letter_conditions(&session, sql, filter);
        sql.text = format!(
            "SELECT d.position, w.name, {TASK_COLUMNS}, {TASK_REST_COLUMNS}
             FROM workflow_dead_letters d
             JOIN workflow_tasks t ON t.workflow_id = d.workflow_id AND t.task_no = d.task_no
             JOIN workflows w ON w.id = d.workflow_id {TASK_JOINS}
             WHERE d.position < $1 {conditions} ORDER BY d.position DESC LIMIT $2"
        );
        let rows = session.rows::<DeadLetterRow>(sql).await?;
        let items = rows
            .into_iter()
            .map(|row| {
                Ok(DeadLetter {
                    position: row.position,
                    record: row.task.read()?,
                    workflow_name: row.workflow_name,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Page::from_lookahead(items, limit(page), |letter| {
            letter.position
        }))
    }
}

/// A batch of events with the count of those before it.
#[derive(Debug)]
struct NumberedBatchRow {
    first: i64,
    batch: EventBatchRow,
}

impl FromQueryResult for NumberedBatchRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let mut columns = Columns::new(row);
        Ok(Self {
            first: columns.next()?,
            batch: EventBatchRow::read_from(&mut columns)?,
        })
    }
}

impl Row for NumberedBatchRow {
    const WHAT: &'static str = "event";
}

const LIVE: &str =
    "w.status IN ('draft', 'pending', 'running', 'paused', 'cancelling', 'compensating')";

async fn exists(session: &Session, workflow: WorkflowId) -> Result<bool, StoreError> {
    let text = format!(
        "SELECT EXISTS (SELECT 1 FROM workflows WHERE id = {})",
        session.dialect.uuid(1)
    );
    let row = session.row::<CountRow>(Sql::new(text).id(workflow)).await?;
    Ok(row.is_some_and(|row| row.workflow_exists))
}

fn dead_letter_conditions(
    session: &Session,
    mut sql: Sql,
    filter: &DeadLetterFilter,
) -> (Sql, String) {
    let dialect = session.dialect;
    let mut conditions = vec![String::new()];
    if let Some(task) = filter.task {
        sql = sql.id(task.workflow());
        conditions.push(format!("d.workflow_id = {}", dialect.uuid(sql.last())));
        sql = sql.bind(task.no().map_or(-1, |no| i64::from(no.get())));
        conditions.push(format!("d.task_no = ${}", sql.last()));
    }
    if let Some(workflow) = filter.workflow {
        sql = sql.id(workflow);
        conditions.push(format!("d.workflow_id = {}", dialect.uuid(sql.last())));
    }
    if let Some(queue) = &filter.queue {
        sql = sql.text(queue.as_str());
        conditions.push(format!("t.queue = ${}", sql.last()));
    }
    if let Some(kind) = &filter.kind {
        sql = sql.text(kind.as_str());
        conditions.push(format!("t.kind = ${}", sql.last()));
    }
    if let Some(code) = &filter.code {
        sql = sql.text(code);
        conditions.push(format!("t.error_code = ${}", sql.last()));
    }
    for kind in &filter.without {
        sql = sql.text(kind.as_str());
        conditions.push(format!("t.kind <> ${}", sql.last()));
    }
    (sql, conditions.join(" AND "))
}

// The states in which the domain lets a task be done again, as a condition.
fn redoable() -> String {
    let mut states = Vec::new();
    for task in TaskStatus::ALL {
        for (undoing, word) in [(false, "IS NULL"), (true, "IS NOT NULL")] {
            let workflows: Vec<String> = WorkflowStatus::ALL
                .into_iter()
                .filter(|workflow| may_be_redone(task, undoing, *workflow))
                .map(|workflow| format!("'{}'", workflow.as_str()))
                .collect();
            if !workflows.is_empty() {
                states.push(format!(
                    "t.status = '{}' AND t.undoes {word} AND w.status IN ({})",
                    task.as_str(),
                    workflows.join(", "),
                ));
            }
        }
    }
    states.join(" OR ")
}

/// The tasks of dead letters that may be done again, oldest first.
pub(super) async fn dead_letter_keys(
    session: &Session,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<TaskId>, StoreError> {
    let sql = Sql::new(String::new()).bind(i64::from(limit));
    let (mut sql, conditions) = dead_letter_conditions(session, sql, filter);
    sql.text = format!(
        "SELECT d.workflow_id, d.task_no FROM workflow_dead_letters d
         JOIN workflow_tasks t ON t.workflow_id = d.workflow_id AND t.task_no = d.task_no
         JOIN workflows w ON w.id = d.workflow_id
         WHERE ({}) {conditions} ORDER BY d.position LIMIT $1",
        redoable(),
    );
    let rows = session.rows::<DeadKeyRow>(sql).await?;
    rows.into_iter()
        .map(|row| {
            let workflow: WorkflowId = row.workflow_id.id();
            let stored = stored_task(workflow, row.task_no);
            Ok(workflow.task(task_no(&stored, row.task_no)?))
        })
        .collect()
}
