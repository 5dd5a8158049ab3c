//! Rollouts: what was asked, how far they are, what became of every target.

use drover_domain::rollout::job::HostStats;
use drover_domain::rollout::record::{self, RolloutRun, RolloutTarget, TargetOutcome};
use drover_domain::workflow;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::schema::Instant;
use crate::wire::word::{Outcome, PlayEventKind, RunStatus, TaskStatus, UpdateMode};

/// What was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpdateParams {
    /// The applications of this rollout.
    #[schema(max_items = 1000)]
    app_ids: Vec<i64>,
    /// Where the new version comes from.
    distr_url: String,
    mode: UpdateMode,
    /// The update playbook with its parameters.
    playbook_path: String,
    /// The orchestrator playbook.
    orchestrator_playbook: String,
    /// The longest wait for a drained server, minutes; null where the request names none.
    drain_wait_time: Option<f64>,
}

/// One rollout.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rollout {
    /// Its id.
    id: Uuid,
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
    pub(in crate::wire) current_step: Option<String>,
    /// How it ended, a sentence.
    result: Option<String>,
    /// Why it failed, a sentence.
    error: Option<String>,
    /// How often work on it was begun or taken over.
    attempt: u32,
    /// Who asked.
    requested_by: String,
}

impl From<record::Rollout> for Rollout {
    fn from(rollout: record::Rollout) -> Self {
        Self {
            id: rollout.id.as_uuid(),
            status: rollout.status.into(),
            params: UpdateParams {
                app_ids: rollout
                    .request
                    .applications
                    .iter()
                    .map(|key| key.get())
                    .collect(),
                distr_url: rollout.request.artifact.as_str().to_owned(),
                mode: rollout.request.mode.into(),
                playbook_path: rollout.playbook_path,
                orchestrator_playbook: rollout.request.orchestrator,
                drain_wait_time: rollout.request.drain_wait.minutes(),
            },
            created_at: rollout.created_at.into(),
            started_at: rollout.started_at.map(Into::into),
            completed_at: rollout.finished_at.map(Into::into),
            progress: rollout.progress,
            current_step: rollout.current,
            result: rollout.result,
            error: rollout.error,
            attempt: rollout.attempt,
            requested_by: rollout.origin.actor,
        }
    }
}

impl From<(i64, record::Rollout)> for Rollout {
    fn from((_, rollout): (i64, record::Rollout)) -> Self {
        rollout.into()
    }
}

/// Which rollouts are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter that the filter reads")]
pub(crate) struct RolloutParams {
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

/// A rollout with all its parts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutDetail {
    #[serde(flatten)]
    pub(in crate::wire) rollout: Rollout,
    /// Its targets in the order of the update; empty until it is planned.
    pub(in crate::wire) targets: Vec<Target>,
    /// Its runs; empty until it is planned.
    pub(in crate::wire) runs: Vec<Run>,
    /// The HAProxy servers that still get no requests and need a person.
    pub(in crate::wire) left_drained: Vec<String>,
}

impl From<record::RolloutDetail> for RolloutDetail {
    fn from(detail: record::RolloutDetail) -> Self {
        let left_drained = detail
            .targets
            .iter()
            .filter(|target| target.outcome == TargetOutcome::LeftDrained)
            .map(|target| {
                target
                    .haproxy_server
                    .as_ref()
                    .unwrap_or(&target.name)
                    .clone()
            })
            .collect();
        Self {
            rollout: detail.rollout.into(),
            targets: detail.targets.into_iter().map(Into::into).collect(),
            runs: detail.runs.into_iter().map(Into::into).collect(),
            left_drained,
        }
    }
}

/// One application of a rollout, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Target {
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
    /// The version before the rollout.
    version_before: Option<String>,
    /// The version that the agent shows after the rollout, if it shows one.
    version_after: Option<String>,
}

impl From<RolloutTarget> for Target {
    fn from(target: RolloutTarget) -> Self {
        Self {
            application_id: target.application.get(),
            name: target.name,
            server: target.server,
            batch: target.batch,
            haproxy_server: target.haproxy_server,
            outcome: target.outcome.into(),
            detail: target.detail,
            version_before: target.version_before,
            version_after: target.version_after,
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

impl From<RolloutRun> for Run {
    fn from(run: RolloutRun) -> Self {
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

/// One thing a play of a rollout said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutEvent {
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
    /// The state of that target.
    status: Option<Outcome>,
    /// A sentence.
    message: Option<String>,
}

impl From<record::RolloutEvent> for RolloutEvent {
    fn from(
        record::RolloutEvent {
            position,
            event,
            run: _,
        }: record::RolloutEvent,
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
