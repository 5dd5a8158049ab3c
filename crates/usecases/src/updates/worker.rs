//! Doing an update: claim, prepare, start the play, follow it, write down what came of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::fleet::{
    ApplicationKey, ChangeSource, ChangedBy, EventKind, EventStatus, NewEvent, ServerKey,
    VersionChange, VersionState,
};
use drover_domain::rollout::artifact::artifact_version;
use drover_domain::rollout::composite::short_server_name;
use drover_domain::rollout::executor::PreparedPlaybook;
use drover_domain::rollout::job::{InventoryHost, JobId, JobStatus, PlaybookJob};
use drover_domain::rollout::snapshot::{FleetSnapshot, Target};
use drover_domain::rollout::task::{
    InstanceOutcome, RunProgress, RunStatus, TaskDetail, TaskEnd, TaskInstance, TaskRun,
    UpdateMode, UpdateTask,
};
use drover_domain::rollout::verdict::{RunVerdict, judge};
use drover_domain::workflow::TaskStatus;
use drover_ports::{Claim, EventBatch, Fault, StoreError};
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

use crate::background::{Stop, pause, stopped};
use crate::polling::Polling;
use crate::service::{Policy, Ports};

use super::prepare::{Unprepared, check_playbooks, prepare};
use super::track::{Track, progress};

/// How long a step that could not be done is left alone before it is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Works off the queue of update tasks.
#[derive(Clone)]
pub(crate) struct UpdateWorker {
    ports: Ports,
    policy: Arc<Policy>,
    queued: Arc<Notify>,
    polling: Polling,
}

impl fmt::Debug for UpdateWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateWorker")
    }
}

/// Why a task in hand is let go.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// Somebody else owns it now, or the store broke a promise: this worker keeps its hands off.
    #[error("the task is no longer this worker's")]
    Lost(#[source] StoreError),
}

/// How the runs of a task ended.
struct Outcome {
    status: TaskStatus,
    error: Option<String>,
    instances: Vec<TaskInstance>,
}

impl UpdateWorker {
    pub(crate) const fn new(
        ports: Ports,
        policy: Arc<Policy>,
        queued: Arc<Notify>,
        polling: Polling,
    ) -> Self {
        Self {
            ports,
            policy,
            queued,
            polling,
        }
    }

    /// Takes one task after the other until it is time to end.
    pub(crate) async fn work(&self, worker: &str, mut stop: Stop) {
        while !*stop.borrow() {
            match self.ports.tasks.claim(worker, self.policy.lease).await {
                Ok(Some((claim, detail))) => self.hold(&claim, detail, &mut stop).await,
                Ok(None) => tokio::select! {
                    () = stopped(&mut stop) => {}
                    () = self.queued.notified() => {}
                    () = sleep(self.policy.idle_wait) => {}
                },
                Err(error) => {
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "no task can be claimed"
                    );
                    if pause(&mut stop, RETRY_WAIT).await {
                        return;
                    }
                }
            }
        }
    }

    /// Drives a claimed task while the lease is kept alive; whichever ends first ends both.
    #[tracing::instrument(name = "updates.work", skip_all, fields(task.id = %claim.task, task.attempt = claim.attempt))]
    async fn hold(&self, claim: &Claim, detail: TaskDetail, stop: &mut Stop) {
        if claim.attempt > 1 {
            tracing::info!(task.id = %claim.task, "task {} is taken up again, attempt {}", claim.task, claim.attempt);
        }
        tokio::select! {
            driven = self.drive(claim, detail) => {
                if let Err(error) = driven {
                    tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "task {} is let go", claim.task);
                }
            }
            error = self.keep_lease(claim) => {
                tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "task {} is let go", claim.task);
            }
            () = stopped(stop) => match self.ports.tasks.release(claim).await {
                Ok(()) => tracing::info!("task {} is handed over; its play goes on", claim.task),
                Err(error) => tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "task {} was not handed over; its lease runs out by itself", claim.task
                ),
            },
        }
    }

    /// Renews the lease three times per term; returns when the task belongs to somebody else.
    async fn keep_lease(&self, claim: &Claim) -> StoreError {
        let mut beats = interval(self.policy.lease / 3);
        beats.tick().await;
        loop {
            beats.tick().await;
            match self.ports.tasks.heartbeat(claim, self.policy.lease).await {
                Ok(()) => {}
                // The lease may still be good: the next beat tells.
                Err(error) if error.fault() == Fault::Transient => {
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "the lease was not renewed"
                    );
                }
                Err(error) => return error,
            }
        }
    }

    async fn drive(&self, claim: &Claim, detail: TaskDetail) -> Result<(), Interrupted> {
        let task = detail.task.clone();
        let snapshot =
            patiently(|| self.ports.snapshots.snapshot(&task.request.applications)).await?;
        let detail = if detail.runs.is_empty() {
            match self.plan(claim, &task, &snapshot).await? {
                Ok(detail) => detail,
                Err(reason) => return self.refuse(claim, &task, &snapshot, reason).await,
            }
        } else {
            detail
        };
        let outcome = self.run_all(claim, detail, &snapshot).await?;
        self.finish(claim, &task, outcome, &snapshot).await
    }

    /// Prepares the runs and stores them, or says why there is nothing to run.
    async fn plan(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        snapshot: &FleetSnapshot,
    ) -> Result<Result<TaskDetail, String>, Interrupted> {
        let name = &task.request.orchestrator;
        let Some(orchestrator) = patiently(|| self.ports.orchestrators.find(name)).await? else {
            return Ok(Err(format!(
                "the orchestrator playbook `{name}` is no longer known"
            )));
        };
        loop {
            let checked =
                check_playbooks(&*self.ports.runner, name, [task.playbook_path.as_str()]).await;
            match checked {
                Ok(()) => break,
                Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        let prepared: Result<Vec<PreparedPlaybook>, Unprepared> = prepare(
            task.id,
            &task.request,
            &task.playbook_path,
            &orchestrator.metadata,
            snapshot,
        );
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut runs = Vec::new();
        let mut instances = Vec::new();
        for (index, prepared) in (0_u32..).zip(prepared) {
            instances.extend(instances_of(index, &prepared, snapshot));
            let job: JobId = self.ports.ids.next();
            runs.push(TaskRun {
                index,
                job,
                prepared,
                status: RunStatus::Pending,
                exit_code: None,
                started_at: None,
                finished_at: None,
                hosts: Vec::new(),
            });
        }
        patiently(|| self.ports.tasks.plan(claim, &runs, &instances)).await?;
        Ok(Ok(TaskDetail {
            task: task.clone(),
            runs,
            instances,
        }))
    }

    async fn run_all(
        &self,
        claim: &Claim,
        detail: TaskDetail,
        snapshot: &FleetSnapshot,
    ) -> Result<Outcome, Interrupted> {
        let mut instances = detail.instances;
        for run in detail.runs {
            let (mine, others): (Vec<_>, Vec<_>) = instances
                .into_iter()
                .partition(|instance| instance.run == run.index);
            let index = run.index;
            let verdict = match run.status {
                RunStatus::Succeeded => RunVerdict {
                    status: RunStatus::Succeeded,
                    instances: mine,
                    error: None,
                },
                RunStatus::Pending
                | RunStatus::Running
                | RunStatus::Failed
                | RunStatus::Unknown => self.run(claim, run, mine, &others, snapshot).await?,
            };
            instances = others;
            instances.extend(verdict.instances);
            let status = match verdict.status {
                RunStatus::Succeeded => continue,
                RunStatus::Pending | RunStatus::Running | RunStatus::Failed => TaskStatus::Failed,
                RunStatus::Unknown => TaskStatus::Unknown,
            };
            for instance in instances.iter_mut().filter(|instance| instance.run > index) {
                instance.outcome = InstanceOutcome::Skipped;
                instance.detail = Some("an earlier run of this task did not succeed".to_owned());
            }
            return Ok(Outcome {
                status,
                error: verdict.error,
                instances,
            });
        }
        Ok(Outcome {
            status: TaskStatus::Succeeded,
            error: None,
            instances,
        })
    }

    /// Starts a run, or goes on with one that was started before, and follows it to its end.
    ///
    /// The events are read from the first one on, also the second time: what the store already has
    /// it ignores, and the verdict needs them all.
    async fn run(
        &self,
        claim: &Claim,
        mut run: TaskRun,
        instances: Vec<TaskInstance>,
        others: &[TaskInstance],
        snapshot: &FleetSnapshot,
    ) -> Result<RunVerdict, Interrupted> {
        if run.status == RunStatus::Pending {
            if let Err(reason) = self.launch(&job(&run, snapshot)).await {
                let verdict = refused(instances, reason);
                self.close(claim, run, &verdict, others, None).await?;
                return Ok(verdict);
            }
            run.status = RunStatus::Running;
            run.started_at = Some(self.ports.clock.now());
            self.record(claim, &run, &[], Vec::new(), &instances, others, None)
                .await?;
        } else {
            tracing::info!(job.id = %run.job, "job {} is followed again from its first event", run.job);
        }

        let mut track = Track::new(instances.into_iter().map(as_before).collect());
        let (mut offset, mut sequence) = (0, 0);
        run.exit_code = loop {
            let batch = self.follow(run.job, offset, sequence).await;
            let changed = track.absorb(&batch.events);
            if !batch.events.is_empty() {
                run.hosts = track.hosts();
                let current = track.current();
                self.record(
                    claim,
                    &run,
                    &batch.events,
                    changed,
                    track.instances(),
                    others,
                    current,
                )
                .await?;
            }
            offset = batch.offset;
            sequence += u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
            match batch.status {
                JobStatus::Running => {}
                _ if !batch.events.is_empty() => {}
                JobStatus::Ended { exit_code } => break Some(exit_code),
                JobStatus::Lost | JobStatus::Absent => break None,
            }
        };
        run.hosts = track.hosts();
        let mut verdict = judge(
            &run.prepared,
            track.instances(),
            run.exit_code,
            &run.hosts,
            track.saw_no_hosts(),
            track.failures(),
        );
        if verdict.status != RunStatus::Succeeded && track.failures().is_empty() {
            self.add_diagnostics(run.job, &mut verdict).await;
        }
        self.close(claim, run, &verdict, others, track.current())
            .await?;
        Ok(verdict)
    }

    async fn launch(&self, job: &PlaybookJob) -> Result<(), String> {
        loop {
            match self.ports.runner.launch(job).await {
                Ok(()) => return Ok(()),
                Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn follow(&self, job: JobId, offset: u64, sequence: u64) -> EventBatch {
        loop {
            match self
                .ports
                .runner
                .follow(job, offset, sequence, self.policy.follow_wait)
                .await
            {
                Ok(batch) => return batch,
                // The job goes on by itself: it is followed until it can be told how it ended.
                Err(error) => warn_and_wait(&error).await,
            }
        }
    }

    // A playbook that cannot even be parsed says so on its error output only.
    async fn add_diagnostics(&self, job: JobId, verdict: &mut RunVerdict) {
        match self.ports.runner.diagnostics(job).await {
            Ok(text) if !text.trim().is_empty() => {
                let error = verdict.error.take().unwrap_or_default();
                verdict.error = Some(format!("{error}; it said: {}", text.trim()));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = &error as &(dyn std::error::Error + 'static),
                "job {job} left no diagnostics"
            ),
        }
    }

    async fn close(
        &self,
        claim: &Claim,
        mut run: TaskRun,
        verdict: &RunVerdict,
        others: &[TaskInstance],
        current: Option<String>,
    ) -> Result<(), Interrupted> {
        run.status = verdict.status;
        run.finished_at = Some(self.ports.clock.now());
        self.record(
            claim,
            &run,
            &[],
            verdict.instances.clone(),
            &verdict.instances,
            others,
            current,
        )
        .await
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one fact, given by one caller each"
    )]
    async fn record(
        &self,
        claim: &Claim,
        run: &TaskRun,
        events: &[drover_domain::rollout::job::JobEvent],
        changed: Vec<TaskInstance>,
        mine: &[TaskInstance],
        others: &[TaskInstance],
        current: Option<String>,
    ) -> Result<(), Interrupted> {
        let all: Vec<TaskInstance> = mine.iter().chain(others).cloned().collect();
        let progress = RunProgress {
            run: run.clone(),
            events: events.to_vec(),
            instances: changed,
            progress: progress(&all).min(99),
            current,
        };
        patiently(|| self.ports.tasks.progress(claim, &progress)).await
    }

    async fn refuse(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        snapshot: &FleetSnapshot,
        reason: String,
    ) -> Result<(), Interrupted> {
        let outcome = Outcome {
            status: TaskStatus::Failed,
            error: Some(reason),
            instances: Vec::new(),
        };
        self.finish(claim, task, outcome, snapshot).await
    }

    async fn finish(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        outcome: Outcome,
        snapshot: &FleetSnapshot,
    ) -> Result<(), Interrupted> {
        let now = self.ports.clock.now();
        let mut instances = outcome.instances;
        let mut versions = Vec::new();
        for instance in instances
            .iter_mut()
            .filter(|instance| instance.outcome == InstanceOutcome::Done)
        {
            let target = snapshot.targets.get(&instance.application);
            if let Some((key, change)) =
                target.and_then(|target| version_change(task, target, instance, now))
            {
                instance.version_after.clone_from(&change.new.version);
                versions.push((key, change));
            }
        }
        let events = task
            .request
            .applications
            .iter()
            .filter_map(|key| snapshot.targets.get(key))
            .map(|target| update_event(task, target, &instances, outcome.error.as_deref(), now))
            .collect();
        let result = (!instances.is_empty()).then(|| summary(&instances));
        let end = TaskEnd {
            status: outcome.status,
            result,
            error: outcome.error,
            instances,
            versions,
            events,
        };
        patiently(|| self.ports.tasks.finish(claim, &end, now)).await?;
        match &end.error {
            None => tracing::info!(
                "task {} ended: {}",
                task.id,
                end.result.as_deref().unwrap_or("nothing to do")
            ),
            Some(error) => {
                tracing::warn!("task {} ended as {}: {error}", task.id, end.status.as_str());
            }
        }
        self.poll_touched(snapshot).await;
        Ok(())
    }

    // What the task says is checked against what the agents say, at once instead of a minute later.
    async fn poll_touched(&self, snapshot: &FleetSnapshot) {
        let servers: BTreeSet<ServerKey> = snapshot
            .targets
            .values()
            .filter_map(|target| Some(target.server.as_ref()?.key))
            .collect();
        for server in servers {
            if let Err(error) = self.polling.poll(server).await {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "server {server} was not polled"
                );
            }
        }
    }
}

// A transient failure of the database is waited out for as long as the lease can be kept alive.
async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Interrupted>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
            Err(error) => return Err(Interrupted::Lost(error)),
        }
    }
}

async fn warn_and_wait(error: &(dyn std::error::Error + Send + Sync + 'static)) {
    tracing::warn!(
        error = error as &(dyn std::error::Error + 'static),
        "tried again in {} s",
        RETRY_WAIT.as_secs()
    );
    sleep(RETRY_WAIT).await;
}

fn instances_of(
    run: u32,
    prepared: &PreparedPlaybook,
    snapshot: &FleetSnapshot,
) -> Vec<TaskInstance> {
    let mut instances = Vec::new();
    for batch in &prepared.batches {
        for member in &batch.members {
            let target = snapshot.targets.get(&member.application);
            instances.push(TaskInstance {
                application: member.application,
                name: target.map(|target| target.name.clone()).unwrap_or_default(),
                server: target
                    .and_then(|target| Some(target.server.as_ref()?.name.clone()))
                    .unwrap_or_default(),
                composite: member.composite.clone(),
                run,
                batch: batch.label.as_str().to_owned(),
                haproxy_server: member.haproxy_server.clone(),
                outcome: InstanceOutcome::Pending,
                detail: None,
                version_before: target.and_then(|target| target.version.clone()),
                version_after: None,
            });
        }
    }
    instances
}

fn job(run: &TaskRun, snapshot: &FleetSnapshot) -> PlaybookJob {
    let mut hosts: Vec<InventoryHost> = run
        .prepared
        .batches
        .iter()
        .flat_map(|batch| &batch.members)
        .filter_map(|member| snapshot.targets.get(&member.application)?.server.as_ref())
        .map(|server| InventoryHost {
            name: short_server_name(&server.name).to_owned(),
            address: server.address.clone(),
        })
        .collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts.dedup();
    PlaybookJob {
        id: run.job,
        playbook: run.prepared.playbook.clone(),
        variables: run.prepared.extra_params.clone(),
        hosts,
    }
}

// The play's own reports say again what it did; what the store remembers of them is left out.
fn as_before(instance: TaskInstance) -> TaskInstance {
    TaskInstance {
        outcome: InstanceOutcome::Pending,
        detail: None,
        ..instance
    }
}

fn refused(instances: Vec<TaskInstance>, reason: String) -> RunVerdict {
    let instances = instances
        .into_iter()
        .map(|instance| TaskInstance {
            outcome: InstanceOutcome::Skipped,
            detail: Some("the play was not started".to_owned()),
            ..instance
        })
        .collect();
    RunVerdict {
        status: RunStatus::Failed,
        instances,
        error: Some(reason),
    }
}

fn version_change(
    task: &UpdateTask,
    target: &Target,
    instance: &TaskInstance,
    now: drover_domain::Timestamp,
) -> Option<(ApplicationKey, VersionChange)> {
    if task.request.mode != UpdateMode::Update {
        return None;
    }
    let url = task.request.artifact.as_str();
    let version = artifact_version(target.kind, url)?;
    let is_image = target.kind == drover_domain::fleet::ApplicationKind::Docker;
    let old = VersionState {
        version: instance.version_before.clone(),
        ..VersionState::default()
    };
    let new = VersionState {
        version: Some(version.clone()),
        tag: is_image.then_some(version),
        image: is_image.then(|| url.to_owned()),
        distr_path: (!is_image).then(|| url.to_owned()),
    };
    let change = VersionChange {
        old,
        new,
        changed_at: now,
        changed_by: ChangedBy::User,
        source: ChangeSource::UpdateTask,
        task: Some(task.id),
    };
    Some((target.application, change))
}

fn update_event(
    task: &UpdateTask,
    target: &Target,
    instances: &[TaskInstance],
    error: Option<&str>,
    now: drover_domain::Timestamp,
) -> NewEvent {
    let instance = instances
        .iter()
        .find(|instance| instance.application == target.application);
    let outcome = instance.map_or(InstanceOutcome::Skipped, |instance| instance.outcome);
    let done = outcome == InstanceOutcome::Done;
    let status = if done {
        EventStatus::Success
    } else {
        EventStatus::Failed
    };
    let reason = instance
        .and_then(|instance| instance.detail.as_deref())
        .or(error)
        .unwrap_or_default();
    let description = if done {
        format!(
            "{} was updated from {} by {}",
            target.name, task.request.artifact, task.origin.actor
        )
    } else {
        format!(
            "the update of {} ended as {}: {reason}",
            target.name,
            outcome.as_str()
        )
    };
    NewEvent {
        at: now,
        kind: EventKind::Update,
        status,
        server: target.server.as_ref().map(|server| server.key),
        application: Some(target.application),
        description: description.chars().take(1_000).collect(),
    }
}

fn summary(instances: &[TaskInstance]) -> String {
    let counts: Vec<String> = InstanceOutcome::ALL
        .into_iter()
        .filter_map(|outcome| {
            let count = instances
                .iter()
                .filter(|instance| instance.outcome == outcome)
                .count();
            (count > 0).then(|| format!("{count} {}", outcome.as_str().replace('_', " ")))
        })
        .collect();
    format!("{} of {}", counts.join(", "), instances.len())
}
