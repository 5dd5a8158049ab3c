//! The shapes of update tasks, their runs, instances and events.

use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::job::{JobEvent, JobEventKind};
use drover_domain::rollout::task::{
    ArtifactUrl, InstanceOutcome, Origin, RunStatus, TaskEvent, TaskInstance, TaskRun, UpdateMode,
    UpdateRequest, UpdateTask,
};
use drover_domain::workflow::TaskStatus;
use drover_domain::{Key, Timestamp};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::prepared::{HostShape, PreparedShape, ReportShape};
use super::{Stored, time};
use crate::session::Row;

/// What a query for [`TaskRow`] starts with.
pub(crate) const SELECT_TASK: &str = "
SELECT position, CAST(id AS text) AS id, status, CAST(application_ids AS text) AS application_ids,
       CAST(concurrency_keys AS text) AS concurrency_keys, artifact_url, mode,
       orchestrator, drain_wait_minutes, playbook_path, actor, request_id, attempt, created_at, started_at, finished_at,
       progress, current_step, result, error
FROM update_tasks
";

/// A row of `update_tasks`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct TaskRow {
    position: i64,
    id: String,
    status: String,
    application_ids: String,
    concurrency_keys: String,
    artifact_url: String,
    mode: String,
    orchestrator: String,
    drain_wait_minutes: Option<f64>,
    playbook_path: String,
    actor: String,
    request_id: String,
    attempt: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    progress: i64,
    current_step: Option<String>,
    result: Option<String>,
    error: Option<String>,
}

impl Row for TaskRow {
    const WHAT: &'static str = "update task";
}

impl TaskRow {
    /// The task with its place in the queue.
    pub(crate) fn read(self) -> Result<(i64, UpdateTask), StoreError> {
        let stored = Stored::new(Self::WHAT, &self.id);
        let applications: Vec<i64> = stored.shape("list of applications", &self.application_ids)?;
        let concurrency_keys = stored.shape("list of concurrency keys", &self.concurrency_keys)?;
        let artifact = ArtifactUrl::parse(&self.artifact_url)
            .map_err(|error| stored.corrupt(error.to_string()))?;
        let drain_wait = DrainWait::parse(self.drain_wait_minutes)
            .map_err(|error| stored.corrupt(error.to_string()))?;
        let task = UpdateTask {
            id: stored.id("identifier", &self.id)?,
            concurrency_keys,
            request: UpdateRequest {
                applications: applications.into_iter().map(Key::new).collect(),
                artifact,
                mode: stored.word("mode", &self.mode, UpdateMode::parse)?,
                orchestrator: self.orchestrator,
                drain_wait,
            },
            playbook_path: self.playbook_path,
            origin: Origin {
                actor: self.actor,
                request_id: self.request_id,
            },
            status: stored.word("status", &self.status, TaskStatus::parse)?,
            attempt: stored.number("attempt", self.attempt)?,
            created_at: Timestamp::from_micros(self.created_at),
            started_at: time(self.started_at),
            finished_at: time(self.finished_at),
            progress: stored.number("progress", self.progress)?,
            current: self.current_step,
            result: self.result,
            error: self.error,
        };
        Ok((self.position, task))
    }
}

/// What a query for [`RunRow`] selects.
pub(crate) const RUN_COLUMNS: &str = "id, run_index, CAST(job_id AS text) AS job_id, CAST(prepared AS text) AS prepared, \
     status, exit_code, started_at, finished_at, CAST(hosts AS text) AS hosts";

/// A row of `update_task_runs`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct RunRow {
    id: i64,
    run_index: i64,
    job_id: String,
    prepared: String,
    status: String,
    exit_code: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    hosts: String,
}

impl Row for RunRow {
    const WHAT: &'static str = "run of an update task";
}

impl RunRow {
    /// The run.
    pub(crate) fn read(self) -> Result<TaskRun, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let prepared: PreparedShape = stored.shape("prepared playbook", &self.prepared)?;
        let hosts: Vec<HostShape> = stored.shape("list of counts", &self.hosts)?;
        Ok(TaskRun {
            index: stored.number("run index", self.run_index)?,
            job: stored.id("job identifier", &self.job_id)?,
            prepared: prepared.read(&stored)?,
            status: stored.word("status", &self.status, RunStatus::parse)?,
            exit_code: stored.optional("exit code", self.exit_code)?,
            started_at: time(self.started_at),
            finished_at: time(self.finished_at),
            hosts: hosts.into_iter().map(HostShape::read).collect(),
        })
    }
}

/// What a query for [`InstanceRow`] selects.
pub(crate) const INSTANCE_COLUMNS: &str = "id, application_id, name, server, composite, run_index, batch, \
     haproxy_server, outcome, detail, version_before, version_after";

/// A row of `update_task_instances`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct InstanceRow {
    id: i64,
    application_id: i64,
    name: String,
    server: String,
    composite: String,
    run_index: i64,
    batch: String,
    haproxy_server: Option<String>,
    outcome: String,
    detail: Option<String>,
    version_before: Option<String>,
    version_after: Option<String>,
}

impl Row for InstanceRow {
    const WHAT: &'static str = "instance of an update task";
}

impl InstanceRow {
    /// The instance.
    pub(crate) fn read(self) -> Result<TaskInstance, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(TaskInstance {
            application: Key::new(self.application_id),
            name: self.name,
            server: self.server,
            composite: self.composite,
            run: stored.number("run index", self.run_index)?,
            batch: self.batch,
            haproxy_server: self.haproxy_server,
            outcome: stored.word("outcome", &self.outcome, InstanceOutcome::parse)?,
            detail: self.detail,
            version_before: self.version_before,
            version_after: self.version_after,
        })
    }
}

/// A row of `update_task_events` with the index of its run.
#[derive(Debug, FromQueryResult)]
pub(crate) struct TaskEventRow {
    position: i64,
    run_index: i64,
    sequence: i64,
    at: i64,
    kind: String,
    play: Option<String>,
    task: Option<String>,
    host: Option<String>,
    message: Option<String>,
    report: Option<String>,
    stats: String,
}

impl Row for TaskEventRow {
    const WHAT: &'static str = "event of an update task";
}

impl TaskEventRow {
    /// The event.
    pub(crate) fn read(self) -> Result<TaskEvent, StoreError> {
        let stored = Stored::new(Self::WHAT, self.position);
        let report: Option<ReportShape> = self
            .report
            .map(|report| stored.shape("report", &report))
            .transpose()?;
        let stats: Vec<HostShape> = stored.shape("list of counts", &self.stats)?;
        Ok(TaskEvent {
            position: self.position,
            run: stored.number("run index", self.run_index)?,
            event: JobEvent {
                sequence: stored.number("sequence number", self.sequence)?,
                at: Timestamp::from_micros(self.at),
                kind: stored.word("kind", &self.kind, JobEventKind::parse)?,
                play: self.play,
                task: self.task,
                host: self.host,
                message: self.message,
                report: report.map(|report| report.read(&stored)).transpose()?,
                stats: stats.into_iter().map(HostShape::read).collect(),
            },
        })
    }
}
