//! A runner whose plays are written by the test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::rollout::artifact::ArtifactSight;
use drover_domain::rollout::job::{
    HostStats, JobEvent, JobEventKind, JobId, JobStatus, PlaybookFile, PlaybookJob, TargetReport,
};
use drover_domain::rollout::parameter::{is_name, is_reserved};
use drover_domain::rollout::record::{ArtifactUrl, TargetOutcome};
use drover_domain::rollout::request::{PlayRequest, Step as Asked, StepAnswer};
use drover_ports::{ArtifactProbe, EventBatch, Place, PlaybookRunner, RunnerError};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// What an event counts in the byte offset.
const EVENT_BYTES: u64 = 100;

/// Most events of one answer.
const BATCH_MAX: usize = 50;

/// The exit code of an interrupted play.
const INTERRUPTED: i32 = 99;

/// What a play does, step by step; it begins with [`JobEventKind::PlaybookStart`].
#[derive(Debug, Clone)]
pub struct Script {
    head: String,
    steps: Vec<Step>,
    exit_code: i32,
}

#[derive(Debug, Clone)]
enum Step {
    Event(Box<JobEvent>),
    TellVariable(String),
    Hold,
    Ask(Asked),
}

impl Script {
    /// A play that does nothing and ends with exit code 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            head: "---\n".to_owned(),
            steps: Vec::new(),
            exit_code: 0,
        }
        .event(JobEventKind::PlaybookStart, None, None)
    }

    /// The text the playbook's file begins with.
    #[must_use]
    pub fn head(mut self, head: &str) -> Self {
        head.clone_into(&mut self.head);
        self
    }

    /// Then it says this, of a host if it is about one.
    #[must_use]
    pub fn event(self, kind: JobEventKind, host: Option<&str>, message: Option<&str>) -> Self {
        let event = bare_event(kind, host, message);
        self.step(Step::Event(Box::new(event)))
    }

    /// Then it starts a task of this name.
    #[must_use]
    pub fn task(self, name: &str) -> Self {
        let event = JobEvent {
            task: Some(name.to_owned()),
            ..bare_event(JobEventKind::TaskStart, None, None)
        };
        self.step(Step::Event(Box::new(event)))
    }

    /// Then it reports what became of an instance.
    #[must_use]
    pub fn report(self, composite: &str, outcome: TargetOutcome, detail: Option<&str>) -> Self {
        let report = TargetReport {
            composite: composite.to_owned(),
            outcome,
            detail: detail.map(str::to_owned),
        };
        let event = JobEvent {
            report: Some(report),
            ..bare_event(JobEventKind::Ok, Some("localhost"), detail)
        };
        self.step(Step::Event(Box::new(event)))
    }

    /// Then it prints the value of a variable.
    #[must_use]
    pub fn tell_variable(self, name: &str) -> Self {
        self.step(Step::TellVariable(name.to_owned()))
    }

    /// Then it waits for [`ScriptedRunner::release`].
    #[must_use]
    pub fn hold(self) -> Self {
        self.step(Step::Hold)
    }

    /// Then it asks Drover for this, waits for the answer, and reports each target's state and detail.
    #[must_use]
    pub fn asks(self, step: Asked) -> Self {
        self.step(Step::Ask(step))
    }

    /// Then it reports its closing counts: `ok` and `failed` of each host; all that is ok changed something.
    #[must_use]
    pub fn stats(self, hosts: &[(&str, u32, u32)]) -> Self {
        let stats = hosts.iter().map(|(host, ok, failed)| HostStats {
            host: (*host).to_owned(),
            ok: *ok,
            changed: *ok,
            unreachable: 0,
            failed: *failed,
            skipped: 0,
            rescued: 0,
            ignored: 0,
        });
        let event = JobEvent {
            stats: stats.collect(),
            ..bare_event(JobEventKind::Stats, None, None)
        };
        self.step(Step::Event(Box::new(event)))
    }

    /// It ends with this exit code.
    #[must_use]
    pub const fn exits(mut self, exit_code: i32) -> Self {
        self.exit_code = exit_code;
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

/// A runner that plays scripts: at once, up to the next hold.
///
/// Like the real one it starts a job at most once and keeps every event, and it keeps running when
/// the caller of a launch is gone; a test that "restarts" its program goes on with the same runner.
#[derive(Debug, Default)]
pub struct ScriptedRunner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    playbooks: BTreeMap<String, Script>,
    jobs: BTreeMap<JobId, Run>,
    order: Vec<JobId>,
    launches: BTreeMap<JobId, u32>,
    cancels: Vec<JobId>,
    released: bool,
    holds: u32,
    away: u32,
    unfit: Option<String>,
    artifacts: BTreeMap<String, ArtifactSight>,
}

#[derive(Debug)]
struct Run {
    job: PlaybookJob,
    script: Script,
    step: usize,
    holding: bool,
    asked: u32,
    answers: Vec<StepAnswer>,
    events: Vec<JobEvent>,
    status: JobStatus,
}

impl Run {
    /// What it asks for and has no answer to.
    fn request(&self) -> Option<PlayRequest> {
        let Some(Step::Ask(step)) = self.script.steps.get(self.step) else {
            return None;
        };
        (self.status == JobStatus::Running).then(|| PlayRequest {
            number: self.asked,
            step: Ok(step.clone()),
        })
    }
}

impl ScriptedRunner {
    /// A runner without playbooks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a playbook into the folder, or replaces it for jobs launched from now on.
    pub fn script(&self, playbook: &str, script: Script) {
        self.state().playbooks.insert(playbook.to_owned(), script);
    }

    /// Lets every job go on that holds, and none hold from now on.
    pub fn release(&self) {
        let mut state = self.state();
        state.released = true;
        state.advance();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Lets the processes of a running job vanish.
    pub fn lose(&self, job: JobId) {
        if let Some(run) = self.state().jobs.get_mut(&job)
            && run.status == JobStatus::Running
        {
            run.status = JobStatus::Lost;
        }
        self.changed.notify_waiters();
    }

    /// The next `calls` calls get no answer: [`RunnerError::Unavailable`], and nothing is done.
    pub fn go_away(&self, calls: u32) {
        self.state().away = calls;
    }

    /// What stands at this address from now on; at any other address nothing is looked for.
    pub fn place(&self, artifact: &str, sight: ArtifactSight) {
        self.state().artifacts.insert(artifact.to_owned(), sight);
    }

    /// From now on the host can run nothing, for this reason: [`RunnerError::Unfit`].
    pub fn break_down(&self, reason: &str) {
        self.state().unfit = Some(reason.to_owned());
    }

    /// How often this job was launched.
    #[must_use]
    pub fn launches(&self, job: JobId) -> u32 {
        self.state().launches.get(&job).copied().unwrap_or_default()
    }

    /// The jobs that were started, in that order, each once.
    #[must_use]
    pub fn started(&self) -> Vec<PlaybookJob> {
        let state = self.state();
        state
            .order
            .iter()
            .filter_map(|id| state.jobs.get(id))
            .map(|run| run.job.clone())
            .collect()
    }

    /// The running jobs that were stopped, in that order.
    #[must_use]
    pub fn cancelled(&self) -> Vec<JobId> {
        self.state().cancels.clone()
    }

    /// The answers a job got to what it asked for, in that order.
    #[must_use]
    pub fn answers(&self, job: JobId) -> Vec<StepAnswer> {
        let state = self.state();
        let run = state.jobs.get(&job);
        run.map(|run| run.answers.clone()).unwrap_or_default()
    }

    /// How often a job has come to a hold.
    #[must_use]
    pub fn holds(&self) -> u32 {
        self.state().holds
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nobody panics while holding the script")
    }

    /// The state, unless the host is away.
    fn reach(&self, action: &'static str) -> Result<MutexGuard<'_, State>, RunnerError> {
        let mut state = self.state();
        if state.away > 0 {
            state.away -= 1;
            return Err(RunnerError::Unavailable {
                action,
                source: "the scripted control host is away".into(),
            });
        }
        Ok(state)
    }
}

impl State {
    fn advance(&mut self) {
        for run in self
            .jobs
            .values_mut()
            .filter(|run| run.status == JobStatus::Running)
        {
            loop {
                match run.script.steps.get(run.step) {
                    None => {
                        run.status = JobStatus::Ended {
                            exit_code: run.script.exit_code,
                        };
                        break;
                    }
                    Some(Step::Hold) => {
                        if !run.holding {
                            run.holding = true;
                            self.holds += 1;
                        }
                        if !self.released {
                            break;
                        }
                        run.holding = false;
                    }
                    Some(Step::Ask(_)) => {
                        if !run.holding {
                            run.holding = true;
                            run.asked += 1;
                        }
                        let Some(answer) = run.answers.get(run.asked as usize - 1) else {
                            break;
                        };
                        run.holding = false;
                        for target in &answer.targets {
                            let said = format!("{}: {}", target.state.as_str(), target.detail);
                            run.events.push(bare_event(
                                JobEventKind::Ok,
                                Some("localhost"),
                                Some(&said),
                            ));
                        }
                    }
                    Some(Step::Event(event)) => run.events.push((**event).clone()),
                    Some(Step::TellVariable(name)) => {
                        let value = run.job.variables.get(name).map(ToString::to_string);
                        run.events.push(bare_event(
                            JobEventKind::Ok,
                            Some("localhost"),
                            value.as_deref(),
                        ));
                    }
                }
                run.step += 1;
            }
        }
    }

    fn status(&self, job: JobId) -> JobStatus {
        self.jobs
            .get(&job)
            .map_or(JobStatus::Absent, |run| run.status)
    }

    fn batch(&self, job: JobId, place: Place) -> EventBatch {
        let Place {
            offset,
            sequence,
            heard,
        } = place;
        let seen = usize::try_from(offset / EVENT_BYTES).unwrap_or(usize::MAX);
        let told = self
            .jobs
            .get(&job)
            .map_or(&[][..], |run| run.events.as_slice());
        let events: Vec<JobEvent> = told
            .iter()
            .skip(seen)
            .take(BATCH_MAX)
            .zip(sequence..)
            .map(|(event, sequence)| JobEvent {
                sequence,
                at: Timestamp::EPOCH,
                ..event.clone()
            })
            .collect();
        let offset = offset + EVENT_BYTES * events.len() as u64;
        let request = self.jobs.get(&job).and_then(Run::request);
        EventBatch {
            events,
            offset,
            request: request.filter(|request| request.number > heard),
            status: self.status(job),
        }
    }
}

#[async_trait]
impl PlaybookRunner for ScriptedRunner {
    async fn launch(&self, job: &PlaybookJob) -> Result<(), RunnerError> {
        if let Some(name) = job
            .variables
            .keys()
            .find(|name| !is_name(name) || is_reserved(name))
        {
            return Err(RunnerError::Refused {
                reason: format!("the variable `{name}` is not possible"),
            });
        }
        let mut state = self.reach("start a job")?;
        if let Some(reason) = state.unfit.clone() {
            return Err(RunnerError::Unfit { reason });
        }
        *state.launches.entry(job.id).or_default() += 1;
        if state.jobs.contains_key(&job.id) {
            return Ok(());
        }
        let Some(script) = state.playbooks.get(&job.playbook).cloned() else {
            return Err(RunnerError::NoSuchPlaybook {
                playbook: job.playbook.clone(),
            });
        };
        let run = Run {
            job: job.clone(),
            script,
            step: 0,
            holding: false,
            asked: 0,
            answers: Vec::new(),
            events: Vec::new(),
            status: JobStatus::Running,
        };
        state.jobs.insert(job.id, run);
        state.order.push(job.id);
        state.advance();
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn follow(
        &self,
        job: JobId,
        place: Place,
        wait: Duration,
    ) -> Result<EventBatch, RunnerError> {
        let end = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            let batch = self.reach("follow a job")?.batch(job, place);
            if !batch.events.is_empty()
                || batch.request.is_some()
                || batch.status != JobStatus::Running
            {
                return Ok(batch);
            }
            if timeout_at(end, changed).await.is_err() {
                return Ok(batch);
            }
        }
    }

    async fn answer(&self, job: JobId, answer: &StepAnswer) -> Result<(), RunnerError> {
        let mut state = self.reach("answer a request of a job")?;
        if let Some(run) = state.jobs.get_mut(&job)
            && run
                .request()
                .is_some_and(|request| request.number == answer.number)
        {
            run.answers.push(answer.clone());
            state.advance();
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn status(&self, job: JobId) -> Result<JobStatus, RunnerError> {
        Ok(self.reach("look at a job")?.status(job))
    }

    async fn cancel(&self, job: JobId) -> Result<(), RunnerError> {
        let mut state = self.reach("stop a job")?;
        if let Some(run) = state.jobs.get_mut(&job)
            && run.status == JobStatus::Running
        {
            run.status = JobStatus::Ended {
                exit_code: INTERRUPTED,
            };
            state.cancels.push(job);
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn diagnostics(&self, _job: JobId) -> Result<String, RunnerError> {
        drop(self.reach("read the error output of a job")?);
        Ok(String::new())
    }

    async fn probe(&self) -> Result<String, RunnerError> {
        match self.reach("look for Ansible")?.unfit.clone() {
            Some(reason) => Err(RunnerError::Unfit { reason }),
            None => Ok("scripted".to_owned()),
        }
    }

    async fn playbooks(&self) -> Result<Vec<PlaybookFile>, RunnerError> {
        let state = self.reach("list the playbooks")?;
        let is_playbook = |name: &str| [".yml", ".yaml"].iter().any(|end| name.ends_with(end));
        let playbooks = state.playbooks.iter().filter(|(name, _)| is_playbook(name));
        Ok(playbooks
            .map(|(name, script)| PlaybookFile {
                name: name.clone(),
                head: Ok(script.head.clone()),
                has_plays: !script.head.is_empty(),
                digest: Some(format!("{script:?}")),
            })
            .collect())
    }
}

#[async_trait]
impl ArtifactProbe for ScriptedRunner {
    async fn look(&self, artifact: &ArtifactUrl) -> Result<ArtifactSight, RunnerError> {
        let state = self.reach("look for an artifact")?;
        let known = state.artifacts.get(artifact.as_str());
        Ok(known.cloned().unwrap_or(ArtifactSight::NotChecked))
    }
}

fn bare_event(kind: JobEventKind, host: Option<&str>, message: Option<&str>) -> JobEvent {
    JobEvent {
        sequence: 0,
        at: Timestamp::EPOCH,
        kind,
        play: None,
        task: None,
        host: host.map(str::to_owned),
        message: message.map(str::to_owned),
        report: None,
        stats: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use drover_domain::rollout::request::StepKind;

    use super::super::{Play, RunnerWorld};
    use super::*;

    struct Scripted(ScriptedRunner);

    #[async_trait]
    impl RunnerWorld for Scripted {
        fn runner(&self) -> &dyn PlaybookRunner {
            &self.0
        }

        fn artifacts(&self) -> &dyn ArtifactProbe {
            &self.0
        }

        async fn serve(&self, status: Option<u16>) -> String {
            let address = format!("http://artifacts.test/{}", status.unwrap_or_default());
            let reason = "scripted".to_owned();
            let sight = match status {
                Some(200) => ArtifactSight::Found { size: Some(4) },
                Some(404) => ArtifactSight::Absent { reason },
                _ => ArtifactSight::Unknown { reason },
            };
            self.0.place(&address, sight);
            address
        }

        async fn arrange(&self, playbook: &str, play: Play) {
            let script = match play {
                Play::TellsText => {
                    Script::new()
                        .tell_variable("text")
                        .stats(&[("localhost", 1, 0)])
                }
                Play::Fails => Script::new()
                    .event(JobEventKind::Failed, Some("localhost"), Some("no luck"))
                    .stats(&[("localhost", 0, 1)])
                    .exits(2),
                Play::Waits => Script::new().hold().stats(&[("localhost", 1, 0)]),
                Play::AsksToDrain => Script::new()
                    .asks(Asked {
                        kind: StepKind::Drain,
                        targets: vec!["web1::a_1".to_owned()],
                        drain_wait: Duration::from_secs(30),
                        settle: Duration::ZERO,
                        health_wait: Duration::from_secs(1),
                        ready_wait: Duration::from_secs(1),
                        min_ready: Some(2),
                    })
                    .stats(&[("localhost", 2, 0)]),
                Play::MatchesNobody => Script::new()
                    .event(JobEventKind::NoHosts, None, None)
                    .stats(&[]),
            };
            self.0.script(playbook, script);
        }

        async fn release(&self) {
            self.0.release();
        }

        async fn waits_begun(&self) -> u32 {
            self.0.holds()
        }

        async fn lose(&self, job: JobId) {
            self.0.lose(job);
        }
    }

    #[expect(clippy::unused_async, reason = "the suite waits for its fixture")]
    async fn fresh() -> Scripted {
        Scripted(ScriptedRunner::new())
    }

    playbook_runner_contract!(fresh);
}
