//! The shapes of rollouts, their runs, targets and events.

use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::job::{JobEvent, JobEventKind};
use drover_domain::rollout::record::{
    ArtifactUrl, EndStatus, Origin, Rollout, RolloutEvent, RolloutRequest, RolloutRun,
    RolloutTarget, RunStatus, Standing, TargetOutcome, UpdateMode,
};
use drover_domain::workflow::TaskStatus;
use drover_domain::{Key, Timestamp};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::prepared::{HostShape, PreparedShape, ReportShape};
use super::{Stored, time};
use crate::sql::Sql;
use crate::sql::session::Row;

/// Where a rollout stands: the queue knows best whether it waits or runs, because a claim does not touch the
/// task's record.
pub(crate) const STATUS: &str = "CASE WHEN q.lease_id IS NOT NULL THEN 'running' \
     WHEN q.workflow_id IS NOT NULL THEN 'queued' ELSE t.status END";

/// What a query for [`RolloutRow`] starts with, after [`STATUS`]: `u` is what is the update's own, `t` the only
/// task of its workflow, `q` that task's row in the queue.
const COLUMNS: &str = "
       u.position, CAST(u.id AS text) AS id, CAST(u.application_ids AS text) AS application_ids, u.artifact_url, u.mode,
       u.orchestrator, u.drain_wait_minutes, u.allow_undrained, u.playbook_path, u.actor, u.request_id, u.created_at, u.began_at, u.ended_at,
       u.ended_as, u.progress, u.current_step, u.result, u.error, COALESCE(q.attempt, t.attempt) AS attempt, q.claimed_at,
       t.finished_at, t.error_message
FROM rollouts u
JOIN workflow_tasks t ON t.workflow_id = u.workflow_id
LEFT JOIN workflow_queue q ON q.workflow_id = t.workflow_id AND q.task_no = t.task_no
";

/// The query for [`RolloutRow`] that ends with this.
pub(crate) fn select_rollouts(rest: &str) -> Sql {
    Sql::new(format!("SELECT {STATUS} AS status, {COLUMNS} {rest}"))
}

/// A row of `rollouts`, with what the engine says about it.
#[derive(Debug, FromQueryResult)]
pub(crate) struct RolloutRow {
    status: String,
    position: i64,
    id: String,
    application_ids: String,
    artifact_url: String,
    mode: String,
    orchestrator: String,
    drain_wait_minutes: Option<f64>,
    allow_undrained: bool,
    playbook_path: String,
    actor: String,
    request_id: String,
    created_at: i64,
    began_at: Option<i64>,
    ended_at: Option<i64>,
    ended_as: Option<String>,
    progress: i64,
    current_step: Option<String>,
    result: Option<String>,
    error: Option<String>,
    attempt: i64,
    claimed_at: Option<i64>,
    finished_at: Option<i64>,
    error_message: Option<String>,
}

impl Row for RolloutRow {
    const WHAT: &'static str = "rollout";
}

impl RolloutRow {
    /// What the rollout came to, if that is written down.
    pub(crate) fn end(&self) -> Result<Option<EndStatus>, StoreError> {
        let stored = Stored::new(Self::WHAT, &self.id);
        let word = self.ended_as.as_deref();
        word.map(|word| stored.word("end", word, EndStatus::parse))
            .transpose()
    }

    /// The rollout with its position.
    pub(crate) fn read(self) -> Result<(i64, Rollout), StoreError> {
        let stored = Stored::new(Self::WHAT, &self.id);
        let applications: Vec<i64> = stored.shape("list of applications", &self.application_ids)?;
        let artifact = ArtifactUrl::parse(&self.artifact_url)
            .map_err(|error| stored.corrupt(error.to_string()))?;
        let drain_wait = DrainWait::parse(self.drain_wait_minutes)
            .map_err(|error| stored.corrupt(error.to_string()))?;
        let request = RolloutRequest {
            applications: applications.into_iter().map(Key::new).collect(),
            artifact,
            mode: stored.word("mode", &self.mode, UpdateMode::parse)?,
            orchestrator: self.orchestrator,
            drain_wait,
            allow_undrained: self.allow_undrained,
        };
        let origin = Origin {
            actor: self.actor,
            request_id: self.request_id,
        };
        let standing = Standing {
            status: stored.word("status", &self.status, TaskStatus::parse)?,
            attempt: stored.number("attempt", self.attempt)?,
            claimed_at: time(self.claimed_at),
            finished_at: time(self.finished_at),
            error: self.error_message,
        };
        let id = stored.id("identifier", &self.id)?;
        let created_at = Timestamp::from_micros(self.created_at);
        let own = Rollout {
            started_at: time(self.began_at),
            finished_at: time(self.ended_at),
            progress: stored.number("progress", self.progress)?,
            current: self.current_step,
            result: self.result,
            error: self.error,
            ..Rollout::queued(id, request, self.playbook_path, origin, created_at)
        };
        Ok((self.position, own.standing(standing)))
    }
}

/// What a query for [`RunRow`] selects.
pub(crate) const RUN_COLUMNS: &str = "id, run_index, CAST(job_id AS text) AS job_id, CAST(prepared AS text) AS prepared, \
     status, exit_code, started_at, finished_at, CAST(hosts AS text) AS hosts";

/// A row of `rollout_runs`.
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
    const WHAT: &'static str = "run of a rollout";
}

impl RunRow {
    /// The run.
    pub(crate) fn read(self) -> Result<RolloutRun, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let prepared: PreparedShape = stored.shape("prepared playbook", &self.prepared)?;
        let hosts: Vec<HostShape> = stored.shape("list of counts", &self.hosts)?;
        Ok(RolloutRun {
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

/// What a query for [`TargetRow`] selects.
pub(crate) const TARGET_COLUMNS: &str = "id, application_id, name, server, composite, run_index, batch, \
     haproxy_server, outcome, detail, version_before, process_before, version_after";

/// A row of `rollout_targets`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct TargetRow {
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
    process_before: Option<String>,
    version_after: Option<String>,
}

impl Row for TargetRow {
    const WHAT: &'static str = "target of a rollout";
}

impl TargetRow {
    /// The target.
    pub(crate) fn read(self) -> Result<RolloutTarget, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(RolloutTarget {
            application: Key::new(self.application_id),
            name: self.name,
            server: self.server,
            composite: self.composite,
            run: stored.number("run index", self.run_index)?,
            batch: self.batch,
            haproxy_server: self.haproxy_server,
            outcome: stored.word("outcome", &self.outcome, TargetOutcome::parse)?,
            detail: self.detail,
            version_before: self.version_before,
            process_before: self.process_before,
            version_after: self.version_after,
        })
    }
}

/// A row of `rollout_events` with the index of its run.
#[derive(Debug, FromQueryResult)]
pub(crate) struct RolloutEventRow {
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

impl Row for RolloutEventRow {
    const WHAT: &'static str = "event of a rollout";
}

impl RolloutEventRow {
    /// The event.
    pub(crate) fn read(self) -> Result<RolloutEvent, StoreError> {
        let stored = Stored::new(Self::WHAT, self.position);
        let report: Option<ReportShape> = self
            .report
            .map(|report| stored.shape("report", &report))
            .transpose()?;
        let stats: Vec<HostShape> = stored.shape("list of counts", &self.stats)?;
        Ok(RolloutEvent {
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
