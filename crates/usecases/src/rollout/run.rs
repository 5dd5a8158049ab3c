//! The middle of an update: prepare its runs, start their plays, follow them to their ends.

use std::time::Duration;

use drover_domain::fleet::known_version;
use drover_domain::rollout::composite::short_server_name;
use drover_domain::rollout::executor::PreparedPlaybook;
use drover_domain::rollout::job::{InventoryHost, JobEvent, JobId, JobStatus, PlaybookJob};
use drover_domain::rollout::record::{
    EndStatus, Rollout, RolloutDetail, RolloutRun, RolloutTarget, RunProgress, RunStatus,
    TargetOutcome,
};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_domain::rollout::verdict::{RunFacts, RunVerdict, judge};
use drover_ports::{Claim, Fault, Place};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::called_off::CalledOff;
use super::drains::Drains;
use super::end::Ended;
use super::handler::RolloutHandler;
use super::prepare::{Unprepared, check_playbooks, prepare};
use super::track::{Track, progress};
use crate::patience::{Interrupted, patiently, warn_and_wait};

/// The most characters of a play's error output in the reason of a failure.
const DIAGNOSTICS_MAX: usize = 2_000;
/// What is shown while a play is being stopped.
const STOPPING: &str = "the update is cancelled; its play is being stopped";
/// How long a control host may be silent before a play has been started.
const START_WAIT_MAX: Duration = Duration::from_mins(15);

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
    /// The control host did not answer within the limit of the wait; what it did is unknown.
    Unknown(String),
    /// The update was cancelled, and the control host was never asked to start the play.
    NotTried,
    /// Whether it was started before the update was cancelled has to be looked up.
    CalledOff,
}

/// A run as it is recorded while it is worked on.
struct Running<'a> {
    claim: &'a Claim,
    rollout: &'a Rollout,
    others: &'a [RolloutTarget],
    called_off: &'a CalledOff,
}

/// How long the control host has not answered.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    shown: Option<String>,
}

impl Silence {
    /// What is shown of an answer that did not come, if it is not shown yet.
    fn note(&mut self, error: &(dyn std::error::Error + 'static)) -> Option<String> {
        self.since.get_or_insert_with(Instant::now);
        let text = format!("waits for the control host: {}", with_causes(error));
        let is_new = self.shown.as_ref() != Some(&text);
        self.shown = Some(text);
        self.shown.clone().filter(|_| is_new)
    }

    /// Why the wait ends, if it has lasted for `longest`.
    fn over(&self, longest: Duration) -> Option<String> {
        let since = self.since.filter(|since| since.elapsed() >= longest)?;
        let minutes = since.elapsed().as_secs() / 60;
        let why = self.shown.as_deref().unwrap_or_default();
        let why = why.trim_start_matches("waits for the control host: ");
        Some(format!(
            "the control host did not answer for {minutes} minutes: {why}"
        ))
    }

    /// It answers again; whether that it did not was shown.
    fn end(&mut self) -> bool {
        self.since = None;
        self.shown.take().is_some()
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    text
}

impl RolloutHandler {
    /// Prepares the runs and stores them, or says why there is nothing to run.
    pub(super) async fn plan(
        &self,
        claim: &Claim,
        rollout: &Rollout,
        snapshot: &FleetSnapshot,
        called_off: &CalledOff,
    ) -> Result<Result<RolloutDetail, Unplanned>, Interrupted> {
        let name = &rollout.request.orchestrator;
        let Some(orchestrator) = patiently(|| self.ports.orchestrators.find(name)).await? else {
            let reason = format!("the orchestrator playbook `{name}` is no longer known");
            return Ok(Err(Unplanned::Refused(reason)));
        };
        if called_off.is_told() {
            return Ok(Err(Unplanned::CalledOff));
        }
        let prepared: Result<Vec<PreparedPlaybook>, Unprepared> = prepare(
            rollout.id,
            &rollout.request,
            &rollout.playbook_path,
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
            runs.push(RolloutRun {
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
        patiently(|| self.ports.rollouts.plan(claim, &runs, &instances)).await?;
        Ok(Ok(RolloutDetail {
            rollout: rollout.clone(),
            runs,
            targets: instances,
        }))
    }

    pub(super) async fn run_all(
        &self,
        claim: &Claim,
        detail: RolloutDetail,
        snapshot: &FleetSnapshot,
        called_off: &CalledOff,
    ) -> Result<Ended, Interrupted> {
        let mut instances = detail.targets;
        for run in detail.runs {
            let (mine, others): (Vec<_>, Vec<_>) = instances
                .into_iter()
                .partition(|instance| instance.run == run.index);
            let index = run.index;
            let verdict = match run.status {
                // It was never started, and the worker that found out did not come to write it down.
                RunStatus::Failed if run.started_at.is_none() => {
                    refused(&mine, "the play was not started".to_owned())
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
                    let drains = self.drains(&detail.rollout, &run, snapshot);
                    self.run(
                        claim,
                        &detail.rollout,
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
                    "the update was cancelled before its turn"
                } else {
                    "an earlier run of this rollout did not succeed"
                };
                instance.outcome = TargetOutcome::Skipped;
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

    fn drains(&self, rollout: &Rollout, run: &RolloutRun, snapshot: &FleetSnapshot) -> Drains {
        Drains::new(
            &self.ports,
            &self.policy,
            &self.polling,
            rollout,
            run,
            snapshot,
        )
    }

    /// Starts a run, or goes on with one that was started before, and follows it to its end; stops it
    /// when the update is called off.
    ///
    /// The events are read from the first one on, also the second time: what the store already has
    /// it ignores, and the verdict needs them all.
    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "one loop over what the play, its requests and people say"
    )]
    async fn run(
        &self,
        claim: &Claim,
        rollout: &Rollout,
        mut run: RolloutRun,
        instances: Vec<RolloutTarget>,
        others: &[RolloutTarget],
        snapshot: &FleetSnapshot,
        called_off: &CalledOff,
        mut drains: Drains,
    ) -> Result<RunVerdict, Interrupted> {
        let mut is_stopped = false;
        if run.status == RunStatus::Pending {
            let running = Running {
                claim,
                rollout,
                others,
                called_off,
            };
            let verdict = match self.launch(&running, &run, &instances, snapshot).await? {
                Launch::Started => None,
                Launch::Refused(reason) => Some(refused(&instances, reason)),
                Launch::Unknown(reason) => Some(unknown(&instances, reason)),
                Launch::NotTried => Some(refused(&instances, NOT_STARTED.to_owned())),
                Launch::CalledOff => {
                    is_stopped = true;
                    match self.stop(run.job).await {
                        Ok(JobStatus::Absent) => Some(refused(&instances, NOT_STARTED.to_owned())),
                        Ok(_) => None,
                        Err(reason) => Some(unknown(&instances, reason)),
                    }
                }
            };
            if let Some(verdict) = verdict {
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
        let (mut silence, mut lost) = (Silence::default(), None);
        run.exit_code = loop {
            let batch = tokio::select! {
                batch = self.ports.runner.follow(run.job, place, self.policy.follow_wait) => batch,
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
                    if let Err(reason) = self.stop(run.job).await {
                        lost = Some(reason);
                        break None;
                    }
                    is_stopped = true;
                    continue;
                }
            };
            let batch = match batch {
                Ok(batch) => batch,
                // The job goes on by itself: it is followed until its end is known.
                Err(error) => {
                    if let Some(shown) = silence.note(&error) {
                        let (shown, known) = (Some(shown), track.instances());
                        self.record(claim, &run, &[], Vec::new(), known, others, shown)
                            .await?;
                    }
                    lost = silence.over(self.policy.lost_after);
                    if lost.is_some() {
                        break None;
                    }
                    warn_and_wait(&error).await;
                    continue;
                }
            };
            if silence.end() {
                let (current, known) = (track.current(), track.instances());
                self.record(claim, &run, &[], Vec::new(), known, others, current)
                    .await?;
            }
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
            .evidence(rollout, track.instances(), run.exit_code, &drains)
            .await?;
        let mut verdict = judge(
            track.instances(),
            &RunFacts {
                mode: rollout.request.mode,
                exit_code: run.exit_code,
                stats: &run.hosts,
                saw_no_hosts: track.saw_no_hosts(),
                has_acted: track.has_acted(),
                self_reported: track.self_reported(),
                failures: track.failures(),
                seen: &seen,
            },
        );
        let unseen = drains.left_unseen().await?;
        for instance in &mut verdict.instances {
            if let Some(command) = unseen.get(&instance.composite) {
                let drained = format!(
                    "the update drained it in HAProxy, whose agent does not answer: Drover returns it once the agent answers and \
                     its checks pass, or `{command}` does"
                );
                instance.detail = Some(match instance.detail.take() {
                    Some(detail) if !detail.is_empty() => format!("{detail}; {drained}"),
                    _ => drained,
                });
            }
        }
        if let Some(reason) = lost {
            verdict.error = Some(reason);
        } else if verdict.status != RunStatus::Succeeded && track.failures().is_empty() {
            self.add_diagnostics(run.job, &mut verdict).await;
        }
        self.close(claim, run, &verdict, others, track.current())
            .await?;
        Ok(verdict)
    }

    /// Starts the play of a run. A control host that does not answer is waited for, and the rollout shows that it is.
    async fn launch(
        &self,
        running: &Running<'_>,
        run: &RolloutRun,
        instances: &[RolloutTarget],
        snapshot: &FleetSnapshot,
    ) -> Result<Launch, Interrupted> {
        let (rollout, job) = (running.rollout, job(run, snapshot));
        let name = &rollout.request.orchestrator;
        let mut silence = Silence::default();
        // The worker before may have asked for it.
        let mut was_tried = running.claim.attempt > 1;
        let mut is_checked = false;
        loop {
            if running.called_off.is_told() {
                return Ok(if was_tried {
                    Launch::CalledOff
                } else {
                    Launch::NotTried
                });
            }
            let tried = async {
                if !is_checked {
                    let paths = [rollout.playbook_path.as_str()];
                    let folder = &self.policy.playbook_folder;
                    check_playbooks(&*self.ports.runner, folder, name, paths).await?;
                    is_checked = true;
                }
                was_tried = true;
                let launched = self.ports.runner.launch(&job).await;
                launched.map_err(Unprepared::Runner)
            };
            let error = match tried.await {
                Ok(()) => return Ok(Launch::Started),
                Err(error) if error.fault() == Fault::Transient => error,
                Err(error) => return Ok(Launch::Refused(with_causes(&error))),
            };
            if let Some(shown) = silence.note(&error) {
                let (claim, others) = (running.claim, running.others);
                self.record(claim, run, &[], Vec::new(), instances, others, Some(shown))
                    .await?;
            }
            if let Some(reason) = silence.over(START_WAIT_MAX) {
                return Ok(if was_tried {
                    Launch::Unknown(format!("{reason}; whether the play was started is unknown"))
                } else {
                    Launch::Refused(reason)
                });
            }
            warn_and_wait(&error).await;
        }
    }

    /// Stops a play, if there is one to stop: where the job stands afterwards, or why that is unknown.
    async fn stop(&self, job: JobId) -> Result<JobStatus, String> {
        tracing::info!(job.id = %job, "the update is cancelled; job {job} is stopped");
        let mut silence = Silence::default();
        loop {
            let stopped = match self.ports.runner.cancel(job).await {
                Ok(()) => self.ports.runner.status(job).await,
                Err(error) => Err(error),
            };
            match stopped {
                Ok(status) => return Ok(status),
                Err(error) => {
                    silence.note(&error);
                    if let Some(reason) = silence.over(self.policy.lost_after) {
                        return Err(format!("{reason}; whether the play was stopped is unknown"));
                    }
                    warn_and_wait(&error).await;
                }
            }
        }
    }

    // A playbook that cannot even be parsed says so on its error output only.
    async fn add_diagnostics(&self, job: JobId, verdict: &mut RunVerdict) {
        match self.ports.runner.diagnostics(job).await {
            Ok(text) if !text.trim().is_empty() => {
                let error = verdict.error.take().unwrap_or_default();
                let said = ending(text.trim(), DIAGNOSTICS_MAX);
                verdict.error = Some(format!("{error}; the end of its error output: {said}"));
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
        mut run: RolloutRun,
        verdict: &RunVerdict,
        others: &[RolloutTarget],
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
        run: &RolloutRun,
        events: &[JobEvent],
        changed: Vec<RolloutTarget>,
        mine: &[RolloutTarget],
        others: &[RolloutTarget],
        current: Option<String>,
    ) -> Result<(), Interrupted> {
        let all: Vec<RolloutTarget> = mine.iter().chain(others).cloned().collect();
        let progress = RunProgress {
            run: run.clone(),
            events: events.to_vec(),
            targets: changed,
            progress: progress(&all).min(99),
            current,
        };
        patiently(|| self.ports.rollouts.progress(claim, &progress)).await
    }
}

fn instances_of(
    run: u32,
    prepared: &PreparedPlaybook,
    snapshot: &FleetSnapshot,
) -> Vec<RolloutTarget> {
    let mut instances = Vec::new();
    for batch in &prepared.batches {
        for member in &batch.members {
            let target = snapshot.targets.get(&member.application);
            instances.push(RolloutTarget {
                application: member.application,
                name: target.map(|target| target.name.clone()).unwrap_or_default(),
                server: target
                    .and_then(|target| Some(target.server.as_ref()?.name.clone()))
                    .unwrap_or_default(),
                composite: member.composite.clone(),
                run,
                batch: batch.label.as_str().to_owned(),
                haproxy_server: member.haproxy_server.clone(),
                outcome: TargetOutcome::Pending,
                detail: None,
                version_before: target
                    .and_then(|target| known_version(target.version.as_deref()?))
                    .map(str::to_owned),
                process_before: target.and_then(|target| target.process.clone()),
                version_after: None,
            });
        }
    }
    instances
}

fn job(run: &RolloutRun, snapshot: &FleetSnapshot) -> PlaybookJob {
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
fn as_before(instance: RolloutTarget) -> RolloutTarget {
    RolloutTarget {
        outcome: TargetOutcome::Pending,
        detail: None,
        ..instance
    }
}

/// Why a cancelled play did nothing.
const NOT_STARTED: &str = "the update was cancelled before its play was started";

fn refused(instances: &[RolloutTarget], reason: String) -> RunVerdict {
    ended_before(
        instances,
        (RunStatus::Failed, TargetOutcome::Skipped),
        "the play was not started",
        reason,
    )
}

fn unknown(instances: &[RolloutTarget], reason: String) -> RunVerdict {
    ended_before(
        instances,
        (RunStatus::Unknown, TargetOutcome::Unknown),
        "whether the play was started is unknown",
        reason,
    )
}

fn ended_before(
    instances: &[RolloutTarget],
    (status, outcome): (RunStatus, TargetOutcome),
    detail: &str,
    reason: String,
) -> RunVerdict {
    let ended = |instance: &RolloutTarget| RolloutTarget {
        outcome,
        detail: Some(detail.to_owned()),
        ..instance.clone()
    };
    RunVerdict {
        status,
        instances: instances.iter().map(ended).collect(),
        error: Some(reason),
    }
}

/// The end of a text, where programs write the reason.
fn ending(text: &str, most: usize) -> String {
    match text.chars().count().checked_sub(most) {
        None | Some(0) => text.to_owned(),
        Some(surplus) => ['…']
            .into_iter()
            .chain(text.chars().skip(surplus + 1))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::ending;

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        assert_eq!(ending("reason", 6), "reason");
        assert_eq!(ending("the reason", 7), "…reason");
        assert_eq!(ending("äöü", 2), "…ü");
    }
}
