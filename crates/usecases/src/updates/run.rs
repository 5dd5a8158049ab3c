//! The middle of an update: prepare its runs, start their plays, follow them to their ends.

use drover_domain::rollout::composite::short_server_name;
use drover_domain::rollout::executor::PreparedPlaybook;
use drover_domain::rollout::job::{InventoryHost, JobEvent, JobId, JobStatus, PlaybookJob};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_domain::rollout::task::{
    EndStatus, InstanceOutcome, RunProgress, RunStatus, TaskDetail, TaskInstance, TaskRun,
    UpdateTask,
};
use drover_domain::rollout::verdict::{RunFacts, RunVerdict, judge};
use drover_ports::{Claim, EventBatch, Fault, Place};
use tokio::sync::mpsc;

use super::called_off::CalledOff;
use super::drains::Drains;
use super::end::Ended;
use super::handler::UpdateHandler;
use super::prepare::{Unprepared, check_playbooks, prepare};
use super::track::{Track, progress};
use crate::patience::{Interrupted, patiently, warn_and_wait};

/// What is shown while a play is being stopped.
const STOPPING: &str = "the update is called off; its play is being stopped";

/// Why there is nothing to run.
pub(super) enum Unplanned {
    /// For this reason.
    Refused(String),
    /// It was called off.
    CalledOff,
}

/// What came of starting a play.
enum Launch {
    /// It runs.
    Started,
    /// It does not, for this reason.
    Refused(String),
    /// Whether it was started before the update was called off has to be looked up.
    CalledOff,
}

impl UpdateHandler {
    /// Prepares the runs and stores them, or says why there is nothing to run.
    pub(super) async fn plan(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        snapshot: &FleetSnapshot,
        called_off: &CalledOff,
    ) -> Result<Result<TaskDetail, Unplanned>, Interrupted> {
        let name = &task.request.orchestrator;
        let Some(orchestrator) = patiently(|| self.ports.orchestrators.find(name)).await? else {
            let reason = format!("the orchestrator playbook `{name}` is no longer known");
            return Ok(Err(Unplanned::Refused(reason)));
        };
        loop {
            if called_off.is_told() {
                return Ok(Err(Unplanned::CalledOff));
            }
            let checked =
                check_playbooks(&*self.ports.runner, name, [task.playbook_path.as_str()]).await;
            match checked {
                Ok(()) => break,
                Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
                Err(error) => return Ok(Err(Unplanned::Refused(error.to_string()))),
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
            Err(error) => return Ok(Err(Unplanned::Refused(error.to_string()))),
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

    pub(super) async fn run_all(
        &self,
        claim: &Claim,
        detail: TaskDetail,
        snapshot: &FleetSnapshot,
        called_off: &CalledOff,
    ) -> Result<Ended, Interrupted> {
        let mut instances = detail.instances;
        for run in detail.runs {
            let (mine, others): (Vec<_>, Vec<_>) = instances
                .into_iter()
                .partition(|instance| instance.run == run.index);
            let index = run.index;
            let verdict = match run.status {
                // It was never started, and the worker that found out did not come to write it down.
                RunStatus::Failed if run.started_at.is_none() => {
                    refused(mine, "the play was not started".to_owned())
                }
                RunStatus::Succeeded => RunVerdict {
                    status: RunStatus::Succeeded,
                    instances: mine,
                    error: None,
                },
                RunStatus::Pending
                | RunStatus::Running
                | RunStatus::Failed
                | RunStatus::Unknown => {
                    let drains = self.drains(&detail.task, &run, snapshot);
                    self.run(
                        claim,
                        &detail.task,
                        run,
                        mine,
                        &others,
                        snapshot,
                        called_off,
                        drains,
                    )
                    .await?
                }
            };
            instances = others;
            instances.extend(verdict.instances);
            let status = match verdict.status {
                RunStatus::Succeeded => continue,
                RunStatus::Pending | RunStatus::Running | RunStatus::Failed => EndStatus::Failed,
                RunStatus::Unknown => EndStatus::Unknown,
            };
            let is_called_off = called_off.is_told();
            for instance in instances.iter_mut().filter(|instance| instance.run > index) {
                let reason = if is_called_off {
                    "the update was called off before its turn"
                } else {
                    "an earlier run of this task did not succeed"
                };
                instance.outcome = InstanceOutcome::Skipped;
                instance.detail = Some(reason.to_owned());
            }
            if is_called_off && status == EndStatus::Failed {
                return Ok(Ended::called_off(instances));
            }
            return Ok(Ended {
                status,
                error: verdict.error,
                instances,
            });
        }
        Ok(Ended {
            status: EndStatus::Succeeded,
            error: None,
            instances,
        })
    }

    fn drains(&self, task: &UpdateTask, run: &TaskRun, snapshot: &FleetSnapshot) -> Drains {
        Drains::new(
            &self.ports,
            &self.policy,
            &self.polling,
            task,
            run,
            snapshot,
        )
    }

    /// Starts a run, or goes on with one that was started before, and follows it to its end; stops it
    /// when the update is called off.
    ///
    /// The events are read from the first one on, also the second time: what the store already has
    /// it ignores, and the verdict needs them all.
    async fn run(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        mut run: TaskRun,
        instances: Vec<TaskInstance>,
        others: &[TaskInstance],
        snapshot: &FleetSnapshot,
        called_off: &CalledOff,
        mut drains: Drains,
    ) -> Result<RunVerdict, Interrupted> {
        let mut is_stopped = false;
        if run.status == RunStatus::Pending {
            let not_started = match self.launch(&job(&run, snapshot), called_off).await {
                Launch::Started => None,
                Launch::Refused(reason) => Some(reason),
                Launch::CalledOff => {
                    is_stopped = true;
                    self.stop(run.job).await;
                    let batch = self.follow(run.job, Place::default()).await;
                    (batch.status == JobStatus::Absent)
                        .then(|| "the update was called off before its play was started".to_owned())
                }
            };
            if let Some(reason) = not_started {
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

        drains.sync().await;
        let mut track = Track::new(instances.into_iter().map(as_before).collect());
        let mut place = Place::default();
        let mut waits_for = drains.progress();
        let (requests, mut requested) = mpsc::channel(1);
        let mut serving = Box::pin(drains.serve(&mut requested));
        run.exit_code = loop {
            let batch = tokio::select! {
                batch = self.follow(run.job, place) => batch,
                ended = &mut serving => match ended? {},
                Ok(()) = waits_for.changed() => {
                    let current = waits_for.borrow_and_update().clone().or_else(|| track.current());
                    self.record(claim, &run, &[], Vec::new(), track.instances(), others, current)
                        .await?;
                    continue;
                }
                () = called_off.told(), if !is_stopped => {
                    let told = Some(STOPPING.to_owned());
                    self.record(claim, &run, &[], Vec::new(), track.instances(), others, told)
                        .await?;
                    self.stop(run.job).await;
                    is_stopped = true;
                    continue;
                }
            };
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
            place.offset = batch.offset;
            place.sequence += u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
            if let Some(request) = batch.request.filter(|_| !is_stopped) {
                place.heard = request.number;
                // The play has one open request, and the last one is answered: there is room.
                let _sent = requests.try_send(request);
            }
            match batch.status {
                JobStatus::Running => {}
                _ if !batch.events.is_empty() => {}
                JobStatus::Ended { exit_code } => break Some(exit_code),
                JobStatus::Lost | JobStatus::Absent => break None,
            }
        };
        drop(serving);
        drains.clear_up().await?;
        run.hosts = track.hosts();
        let seen = self
            .evidence(task, track.instances(), run.exit_code, &drains)
            .await?;
        let mut verdict = judge(
            track.instances(),
            &RunFacts {
                mode: task.request.mode,
                exit_code: run.exit_code,
                stats: &run.hosts,
                saw_no_hosts: track.saw_no_hosts(),
                has_acted: track.has_acted(),
                self_reported: track.self_reported(),
                failures: track.failures(),
                seen: &seen,
            },
        );
        if verdict.status != RunStatus::Succeeded && track.failures().is_empty() {
            self.add_diagnostics(run.job, &mut verdict).await;
        }
        self.close(claim, run, &verdict, others, track.current())
            .await?;
        Ok(verdict)
    }

    async fn launch(&self, job: &PlaybookJob, called_off: &CalledOff) -> Launch {
        loop {
            if called_off.is_told() {
                return Launch::CalledOff;
            }
            match self.ports.runner.launch(job).await {
                Ok(()) => return Launch::Started,
                Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
                Err(error) => return Launch::Refused(error.to_string()),
            }
        }
    }

    /// Stops a play; whether there was one to stop is seen by following it.
    async fn stop(&self, job: JobId) {
        tracing::info!(job.id = %job, "the update is called off; job {job} is stopped");
        while let Err(error) = self.ports.runner.cancel(job).await {
            warn_and_wait(&error).await;
        }
    }

    async fn follow(&self, job: JobId, place: Place) -> EventBatch {
        loop {
            match self
                .ports
                .runner
                .follow(job, place, self.policy.follow_wait)
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
        events: &[JobEvent],
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
                process_before: target.and_then(|target| target.process.clone()),
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
