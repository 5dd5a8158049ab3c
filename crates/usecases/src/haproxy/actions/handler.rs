//! Doing an action: look, decide, send, look again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::haproxy::action::{
    ActionEnd, ActionFailure, ActionTarget, CapacityShort, Commands, Evidence, HaproxyAction, Look,
    Next, Progress, check_capacity, next,
};
use drover_domain::haproxy::{
    AdminState, Admission, Health, ObservedProcess, ObservedServer, followers,
    leaving_with_followers,
};
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Json};
use drover_ports::{
    AgentAddress, AgentError, Assigned, BackendAnswer, Claim, Fault, StopReason, TaskHandler,
};
use tokio::time::{Instant, sleep};

use crate::fleet::agents::sentence;
use crate::patience::{Interrupted, patiently};
use crate::policy::Policy;
use crate::ports::Ports;

/// The waits before a call that did not reach the agent is repeated. Seed 002.
const RETRY_WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// The pause between two looks, in the beginning and after [`EAGER_FOR`].
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
const EAGER_FOR: Duration = Duration::from_secs(10);
/// How often what an action sees is stored while it is under way, if it is anything new. One that ends sooner is stored
/// once, with its end.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Carries out actions.
///
/// An action is read, act, read back: the next worker looks first, so a state that is reached already is not sent again.
#[derive(Clone)]
pub(crate) struct ActionHandler {
    ports: Ports,
    policy: Arc<Policy>,
}

impl fmt::Debug for ActionHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActionHandler")
    }
}

/// Why an action goes no further.
enum Stuck {
    /// It has failed.
    Failed(ActionFailure),
    /// Another worker owns it now.
    Interrupted(Interrupted),
}

impl From<ActionFailure> for Stuck {
    fn from(failure: ActionFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Interrupted> for Stuck {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

/// What was done to a server and seen of it so far.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) evidence: Evidence,
    commands: Commands,
    process: Option<u32>,
    /// Whether another worker was at it before, with which process is not known.
    taken_over: bool,
    was_reloaded: bool,
    seen: Option<ObservedServer>,
    /// Consecutive samples without sessions.
    pub(crate) calm: usize,
    /// Since when the wanted state is seen without a break.
    reached_at: Option<Instant>,
    /// Which process showed the wanted state last.
    #[expect(
        clippy::option_option,
        reason = "the agent may not report the process of the sample"
    )]
    reached_in: Option<Option<u32>>,
    noted: Evidence,
    noted_at: Instant,
}

/// What HAProxy showed of a backend, and of those that follow it.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// The backend.
    pub(crate) own: BackendAnswer,
    /// The servers of other backends in which servers follow some of the backend.
    others: BTreeMap<String, Vec<ObservedServer>>,
}

impl Sight {
    fn servers_of(&self, target: &ActionTarget, backend: &str) -> &[ObservedServer] {
        if backend == target.backend_name {
            return &self.own.servers;
        }
        self.others
            .get(backend)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The servers that follow `server` of the backend of `target`.
    fn followers(&self, target: &ActionTarget, server: &str) -> Vec<&ObservedServer> {
        let followers = followers(&target.trackers, &target.backend_name, server);
        let found = followers.iter().filter_map(|(backend, name)| {
            let mut servers = self.servers_of(target, backend).iter();
            servers.find(|server| server.name == *name)
        });
        found.collect()
    }

    /// Checks that the backend of `target`, and each whose servers follow, keeps `min_ready` servers when those called
    /// `leaving` leave it.
    pub(crate) fn check_capacity(
        &self,
        target: &ActionTarget,
        leaving: &BTreeSet<&str>,
        min_ready: u32,
    ) -> Result<(), CapacityShort> {
        let own = &target.backend_name;
        let leaving = leaving_with_followers(&target.trackers, own, leaving);
        for (backend, names) in &leaving {
            let leaves = |name: &str| names.contains(name);
            check_capacity(backend, self.servers_of(target, backend), leaves, min_ready)?;
        }
        Ok(())
    }
}

/// The other backends in which servers follow some of the backend of `target`.
fn following_backends(target: &ActionTarget) -> BTreeSet<String> {
    let own = &target.backend_name;
    let tracked = target.trackers.iter().filter_map(|tracker| {
        let (backend, server) = tracker.tracks.split_once('/')?;
        (backend == own).then_some(server)
    });
    let mut backends: BTreeSet<String> = tracked
        .flat_map(|server| followers(&target.trackers, own, server))
        .map(|(backend, _)| backend)
        .collect();
    backends.remove(own);
    backends
}

impl Course {
    /// Records which HAProxy process answers. If it is another one than before, the former one still serves its sessions.
    pub(crate) fn told_by(&mut self, process: Option<ObservedProcess>) {
        let Some(ObservedProcess { pid, .. }) = process else {
            return;
        };
        self.was_reloaded |= match self.process {
            Some(before) => before != pid,
            None => self.taken_over,
        };
        self.process = Some(pid);
    }

    /// Takes in what was seen: what is believed of the server of `target` and of those that follow it, `None` where it is
    /// not there.
    pub(crate) fn sample(
        &mut self,
        sight: &Sight,
        target: &ActionTarget,
        at: Timestamp,
    ) -> Option<ObservedServer> {
        self.told_by(sight.own.process);
        let name = &target.observed.name;
        let mut members = sight.own.servers.iter();
        let own = members.find(|member| member.name == *name)?;
        let followers = sight.followers(target, name);
        let whole = own.with_followers(followers);
        let observed = self.evidence.believed(&whole, self.was_reloaded);
        self.commands.seen(&observed);
        self.evidence.add(Look::of(&observed, at));
        self.seen = Some(self.evidence.believed(own, self.was_reloaded));
        self.calm = if observed.is_calm() { self.calm + 1 } else { 0 };
        Some(observed)
    }

    /// How far it has come after a sample, on the way to `wanted`.
    pub(crate) fn progress(
        &mut self,
        wanted: AdminState,
        observed: &ObservedServer,
        sends: u32,
        is_late: bool,
    ) -> Progress {
        let is_wanted = observed.own_state() == Some(wanted);
        let passes = matches!(observed.word.health(), Health::Up | Health::NoCheck);
        if is_wanted && (wanted != AdminState::Ready || passes) {
            self.reached_at.get_or_insert_with(Instant::now);
            self.reached_in = Some(self.process);
        } else {
            self.reached_at = None;
        }
        Progress {
            calm: self.calm,
            sends,
            is_late,
            reached: self.reached_at.map(|since| since.elapsed()),
            is_undone: !is_wanted && self.reached_in == Some(self.process),
        }
    }

    /// Goes on where the attempt before was seen last. Whether HAProxy was reloaded between the two attempts is not known, so
    /// an agent that does not see old workers proves no drain of a `taken_over` one.
    pub(crate) fn after(noted: Evidence, taken_over: bool) -> Self {
        Self {
            evidence: noted.clone(),
            commands: Commands::default(),
            process: None,
            taken_over,
            was_reloaded: false,
            seen: None,
            calm: 0,
            reached_at: None,
            reached_in: None,
            noted,
            noted_at: Instant::now(),
        }
    }
}

impl ActionHandler {
    pub(crate) const fn new(ports: Ports, policy: Arc<Policy>) -> Self {
        Self { ports, policy }
    }

    async fn drive(&self, claim: &Claim) -> Result<Outcome, Interrupted> {
        let now = self.ports.clock.now();
        let Some(action) = patiently(|| self.ports.actions.begin(claim, now)).await? else {
            let reason =
                "no action has this identifier; actions are asked for, not made as workflows";
            return Ok(failed("no_such_action", reason));
        };
        if let Some(end) = &action.end {
            return Ok(outcome(end));
        }
        let mut course = Course::after(action.evidence.clone(), claim.attempt > 1);
        let failure = match self.act(claim, &action, &mut course).await {
            Ok(()) => None,
            Err(Stuck::Failed(failure)) => Some((failure.code().to_owned(), failure.to_string())),
            Err(Stuck::Interrupted(interrupted)) => return Err(interrupted),
        };
        let end = ActionEnd {
            at: self.ports.clock.now(),
            failure,
        };
        let (evidence, seen) = (&course.evidence, course.seen.as_ref());
        patiently(|| self.ports.actions.finish(claim, &end, evidence, seen)).await?;
        tell(&action, &end, evidence.sends);
        Ok(outcome(&end))
    }

    /// Lets others see what is seen, from time to time.
    async fn record_evidence(&self, claim: &Claim, course: &mut Course) -> Result<(), Interrupted> {
        let is_news = !course.evidence.tells_no_more_than(&course.noted);
        if is_news && course.noted_at.elapsed() >= NOTE_EVERY {
            patiently(|| self.ports.actions.record_evidence(claim, &course.evidence)).await?;
            course.noted = course.evidence.clone();
            course.noted_at = Instant::now();
        }
        Ok(())
    }

    async fn act(
        &self,
        claim: &Claim,
        action: &HaproxyAction,
        course: &mut Course,
    ) -> Result<(), Stuck> {
        let servers = [action.request.server];
        let targets = patiently(|| self.ports.actions.targets(&servers)).await?;
        let target = targets.into_iter().next().ok_or(ActionFailure::Gone)?;
        let (wanted, pin) = (action.request.wanted, target.pin.as_ref());
        // Actions of a backend come one after another: what is wanted now stays wanted until this one has ended.
        if action.request.restores && pin.is_none_or(|pin| pin.state != wanted) {
            return Err(ActionFailure::Superseded { wanted }.into());
        }
        let begun = Instant::now();
        loop {
            let sight = self.look(&target).await?;
            let observed = course
                .sample(&sight, &target, self.ports.clock.now())
                .ok_or(ActionFailure::Gone)?;
            self.record_evidence(claim, course).await?;
            let is_late = begun.elapsed() >= action.request.wait;
            let sends = course.commands.in_vain();
            let progress = course.progress(wanted, &observed, sends, is_late);
            match next(&action.request, &observed, progress) {
                Next::Done => return Ok(()),
                Next::Fail(failure) => return Err(failure.into()),
                Next::Wait => sleep(pause(begun.elapsed())).await,
                Next::Send(state) => {
                    if state != AdminState::Ready && action.request.forced.is_none() {
                        let leaving = BTreeSet::from([target.observed.name.as_str()]);
                        sight
                            .check_capacity(&target, &leaving, self.policy.min_ready)
                            .map_err(ActionFailure::from)?;
                    }
                    // What was sent and not obeyed is looked at for a moment before it is sent again.
                    if sends > 0 {
                        sleep(pause(Duration::ZERO)).await;
                    }
                    self.send(&target, state, &mut course.evidence.sends)
                        .await?;
                    course.commands.sent(state);
                    // Earlier samples without sessions prove nothing: a request may have come in between.
                    course.calm = 0;
                }
            }
        }
    }

    /// What HAProxy shows of the backend of `target` now, or why it cannot be seen.
    pub(crate) async fn observe(
        &self,
        target: &ActionTarget,
    ) -> Result<Result<Sight, String>, Interrupted> {
        match self.look(target).await {
            Ok(sight) => Ok(Ok(sight)),
            Err(Stuck::Failed(failure)) => Ok(Err(failure.to_string())),
            Err(Stuck::Interrupted(interrupted)) => Err(interrupted),
        }
    }

    /// The backend of a server, and those whose servers follow servers of it.
    async fn look(&self, target: &ActionTarget) -> Result<Sight, Stuck> {
        let own = self.look_into(target, &target.backend_name).await?;
        let mut others = BTreeMap::new();
        for backend in following_backends(target) {
            let answer = self.look_into(target, &backend).await?;
            others.insert(backend, answer.servers);
        }
        Ok(Sight { own, others })
    }

    async fn look_into(
        &self,
        target: &ActionTarget,
        backend: &str,
    ) -> Result<BackendAnswer, Stuck> {
        let agents = &self.ports.agents;
        let (agent, instance) = (agent(target), &target.instance_name);
        self.call(target, || agents.backend_servers(&agent, instance, backend))
            .await
    }

    /// Sends a command; `sends` counts each time, also those that were not answered.
    async fn send(
        &self,
        target: &ActionTarget,
        state: AdminState,
        sends: &mut u32,
    ) -> Result<(), Stuck> {
        let agents = &self.ports.agents;
        let (agent, instance) = (agent(target), &target.instance_name);
        let (backend, server) = (&target.backend_name, &target.observed.name);
        self.call(target, || {
            *sends += 1;
            agents.set_state(&agent, instance, backend, server, state)
        })
        .await
    }

    /// Calls an agent as far as the breaker of the HAProxy lets it, again after a call that did not reach it.
    async fn call<T, F>(
        &self,
        target: &ActionTarget,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Stuck>
    where
        F: Future<Output = Result<T, AgentError>>,
    {
        let (actions, breaker) = (&self.ports.actions, self.policy.breaker);
        let mut waits = RETRY_WAITS.into_iter();
        let mut last = None;
        loop {
            let now = self.ports.clock.now();
            let admission = patiently(|| actions.admit(target.instance, breaker, now)).await?;
            if let Admission::Refused { until } = admission {
                let seconds = until.since(now).as_secs().max(1);
                let name = &target.instance_name;
                let why = last.unwrap_or_else(|| {
                    format!("the agent of HAProxy `{name}` did not answer several times in a row")
                });
                let reason = format!("{why}; it is left alone for {seconds} s");
                return Err(ActionFailure::Agent { reason }.into());
            }
            let answer = call().await;
            let was_reached = answer.as_ref().err().is_none_or(is_an_answer);
            let now = self.ports.clock.now();
            // What this node lacks is no failure of the agent.
            if !matches!(answer, Err(AgentError::NotAsked { .. })) {
                patiently(|| actions.record_answer(target.instance, breaker, was_reached, now))
                    .await?;
            }
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let wait = waits.next().filter(|_| !was_reached);
                    let reason = sentence(&error);
                    let Some(wait) = wait else {
                        return Err(ActionFailure::Agent { reason }.into());
                    };
                    tracing::info!(
                        haproxy.instance = %target.instance_name,
                        "tried again in {} s: {reason}", wait.as_secs()
                    );
                    last = Some(reason);
                    sleep(wait).await;
                }
            }
        }
    }
}

/// Whether an agent's failure is HAProxy's own answer: repeating it brings the same. FAgent says 502 for that, and 503
/// when HAProxy cannot be reached.
fn is_an_answer(error: &AgentError) -> bool {
    matches!(error, AgentError::Refused { status: 502, .. }) || error.fault() != Fault::Transient
}

#[async_trait]
impl TaskHandler for ActionHandler {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G2
    }

    #[tracing::instrument(name = "actions.work", skip_all, fields(task.id = %assigned.task.task, task.attempt = assigned.task.attempt))]
    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let claim = Claim {
            task: assigned.task.task,
            attempt: assigned.task.attempt,
        };
        let stopped = async {
            match assigned.progress.stopped().await {
                StopReason::Cancelled => Outcome::Cancelled,
                StopReason::HandOver => Outcome::Released,
            }
        };
        tokio::select! {
            driven = self.drive(&claim) => driven.unwrap_or_else(|interrupted| {
                interrupted.outcome(|error| {
                    failed("action_unreadable", &format!("its record cannot be used: {error}"))
                })
            }),
            outcome = stopped => outcome,
        }
    }
}

fn agent(target: &ActionTarget) -> AgentAddress {
    AgentAddress {
        host: target.agent_host.clone(),
        port: target.agent_port,
    }
}

/// The pause before the next look, `after` the first one.
pub(crate) fn pause(after: Duration) -> Duration {
    let [eager, calm] = LOOK_EVERY;
    if after < EAGER_FOR { eager } else { calm }
}

fn failed(code: &str, reason: &str) -> Outcome {
    Outcome::Failed {
        error: TaskError::new(code, reason),
        retryable: false,
    }
}

fn outcome(end: &ActionEnd) -> Outcome {
    match &end.failure {
        None => Outcome::Succeeded {
            result: Json::null(),
        },
        Some((code, reason)) => failed(code, reason),
    }
}

fn tell(action: &HaproxyAction, end: &ActionEnd, sends: u32) {
    let (server, wanted) = (action.request.server, action.request.wanted.as_str());
    match &end.failure {
        None => tracing::info!(
            action.id = %action.id, sends,
            "HAProxy server {server} is {wanted}"
        ),
        Some((code, reason)) => tracing::warn!(
            action.id = %action.id, code,
            "HAProxy server {server} was not set to {wanted}: {reason}"
        ),
    }
}
