//! Tasks: what was asked, how far it is, what became of every instance.

use drover_domain::rollout::job::HostStats;
use drover_domain::rollout::task::{self, InstanceOutcome, TaskInstance, TaskRun, UpdateTask};
use drover_domain::workflow;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::schema::Instant;
use super::word::{Outcome, PlayEventKind, RunStatus, TaskStatus, UpdateMode};
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;

/// What is done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskType {
    /// Applications are updated.
    Update,
}

/// What was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpdateParams {
    /// The applications of this task.
    #[schema(max_items = 1000)]
    app_ids: Vec<i64>,
    /// Where the new version comes from.
    distr_url: String,
    mode: UpdateMode,
    /// The update playbook with its parameters.
    playbook_path: String,
    /// The orchestrator playbook.
    orchestrator_playbook: String,
    /// How long a drained server is waited for, minutes, if somebody said so.
    drain_wait_time: Option<f64>,
}

/// One task.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are the seed's")]
pub(crate) struct Task {
    /// Its id.
    id: Uuid,
    task_type: TaskType,
    status: TaskStatus,
    params: UpdateParams,
    /// When it was asked for.
    created_at: Instant,
    /// When work on it began.
    started_at: Option<Instant>,
    /// When it ended.
    completed_at: Option<Instant>,
    /// How far it is, percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    /// What it does at the moment, or what it waits for.
    current_task: Option<String>,
    /// How it ended, a sentence.
    result: Option<String>,
    /// Why it failed, a sentence.
    error: Option<String>,
    /// How often work on it was begun or taken over.
    attempt: u32,
    /// Who asked.
    requested_by: String,
}

impl From<UpdateTask> for Task {
    fn from(task: UpdateTask) -> Self {
        Self {
            id: task.id.as_uuid(),
            task_type: TaskType::Update,
            status: task.status.into(),
            params: UpdateParams {
                app_ids: task
                    .request
                    .applications
                    .iter()
                    .map(|key| key.get())
                    .collect(),
                distr_url: task.request.artifact.as_str().to_owned(),
                mode: task.request.mode.into(),
                playbook_path: task.playbook_path,
                orchestrator_playbook: task.request.orchestrator,
                drain_wait_time: task.request.drain_wait.minutes(),
            },
            created_at: task.created_at.into(),
            started_at: task.started_at.map(Into::into),
            completed_at: task.finished_at.map(Into::into),
            progress: task.progress,
            current_task: task.current,
            result: task.result,
            error: task.error,
            attempt: task.attempt,
            requested_by: task.origin.actor,
        }
    }
}

impl From<(i64, UpdateTask)> for Task {
    fn from((_, task): (i64, UpdateTask)) -> Self {
        task.into()
    }
}

/// Which tasks are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter that the filter reads")]
pub(crate) struct TaskParams {
    /// Only those that stand there.
    #[param(inline)]
    status: Option<TaskStatus>,
}

impl Filter for Vec<workflow::TaskStatus> {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let statuses = parameters.word("status", TaskStatus::LIST, TaskStatus::statuses)?;
        Ok(statuses.unwrap_or_default())
    }
}

/// A task with all its parts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDetail {
    #[serde(flatten)]
    task: Task,
    /// Its instances in the order of the update; empty until it is planned.
    instances: Vec<Instance>,
    /// Its runs; empty until it is planned.
    runs: Vec<Run>,
    /// The instances that still get no requests: somebody must look.
    left_drained: Vec<String>,
}

impl From<task::TaskDetail> for TaskDetail {
    fn from(detail: task::TaskDetail) -> Self {
        let left_drained = detail
            .instances
            .iter()
            .filter(|instance| instance.outcome == InstanceOutcome::LeftDrained)
            .map(|instance| instance.name.clone())
            .collect();
        Self {
            task: detail.task.into(),
            instances: detail.instances.into_iter().map(Into::into).collect(),
            runs: detail.runs.into_iter().map(Into::into).collect(),
            left_drained,
        }
    }
}

/// What became of one instance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Instance {
    /// The application.
    #[schema(minimum = 1)]
    application_id: i64,
    /// Its instance name.
    name: String,
    /// The server's full name.
    server: String,
    /// The batch it is in: `even`, `odd` or `all`.
    batch: String,
    /// Its name in HAProxy.
    haproxy_server: Option<String>,
    outcome: Outcome,
    /// Evidence or reason.
    detail: Option<String>,
    /// The version before the task.
    version_before: Option<String>,
    /// The version after it.
    version_after: Option<String>,
}

impl From<TaskInstance> for Instance {
    fn from(instance: TaskInstance) -> Self {
        Self {
            application_id: instance.application.get(),
            name: instance.name,
            server: instance.server,
            batch: instance.batch,
            haproxy_server: instance.haproxy_server,
            outcome: instance.outcome.into(),
            detail: instance.detail,
            version_before: instance.version_before,
            version_after: instance.version_after,
        }
    }
}

/// One run of the orchestrator playbook, for one backend.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    /// The job on the control host.
    job_id: Uuid,
    /// The update playbook with its parameters.
    playbook_path: String,
    /// The backend in HAProxy; null when the instances are not behind one.
    backend: Option<String>,
    status: RunStatus,
    /// The exit code of `ansible-playbook`, once it ended.
    exit_code: Option<i32>,
    /// When it was started.
    started_at: Option<Instant>,
    /// When it ended.
    finished_at: Option<Instant>,
    /// The closing counts of Ansible.
    hosts: Vec<HostCounts>,
}

impl From<TaskRun> for Run {
    fn from(run: TaskRun) -> Self {
        Self {
            job_id: run.job.as_uuid(),
            playbook_path: run.prepared.playbook_path,
            backend: run.prepared.backend.map(|backend| backend.backend_name),
            status: run.status.into(),
            exit_code: run.exit_code,
            started_at: run.started_at.map(Into::into),
            finished_at: run.finished_at.map(Into::into),
            hosts: run.hosts.into_iter().map(Into::into).collect(),
        }
    }
}

/// What Ansible counted for one host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostCounts {
    /// The host.
    host: String,
    ok: u32,
    changed: u32,
    unreachable: u32,
    failed: u32,
    skipped: u32,
    rescued: u32,
    ignored: u32,
}

impl From<HostStats> for HostCounts {
    fn from(stats: HostStats) -> Self {
        let HostStats {
            host,
            ok,
            changed,
            unreachable,
            failed,
            skipped,
            rescued,
            ignored,
        } = stats;
        Self {
            host,
            ok,
            changed,
            unreachable,
            failed,
            skipped,
            rescued,
            ignored,
        }
    }
}

/// One thing a play of a task said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskEvent {
    /// Its place; ascending, with gaps.
    #[schema(minimum = 0)]
    sequence: i64,
    /// When the play said it, by the control host's clock.
    at: Instant,
    kind: PlayEventKind,
    /// The play.
    play: Option<String>,
    /// The playbook's task.
    task: Option<String>,
    /// The host.
    host: Option<String>,
    /// The instance that is reported, by the name that the playbook knows it by.
    instance: Option<String>,
    /// The state of that instance.
    status: Option<Outcome>,
    /// A sentence.
    message: Option<String>,
}

impl From<task::TaskEvent> for TaskEvent {
    fn from(
        task::TaskEvent {
            position,
            event,
            run: _,
        }: task::TaskEvent,
    ) -> Self {
        let (status, detail) = event
            .report
            .as_ref()
            .map(|report| (report.outcome.into(), report.detail.clone()))
            .unzip();
        Self {
            sequence: position,
            at: event.at.into(),
            kind: event.kind.into(),
            play: event.play,
            task: event.task,
            host: event.host,
            instance: event.report.map(|report| report.composite),
            status,
            message: event.message.or(detail.flatten()),
        }
    }
}
