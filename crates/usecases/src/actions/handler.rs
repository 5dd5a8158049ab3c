//! Doing an action: look, decide, send, look again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::balancer::action::{
    ActionEnd, ActionFailure, ActionTarget, BalancerAction, Commands, Evidence, Look, Next,
    check_capacity, next,
};
use drover_domain::balancer::{AdminState, Admission, ObservedProcess, ObservedServer};
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Json};
use drover_ports::{
    AgentAddress, AgentError, Assigned, BackendAnswer, Claim, Fault, StopReason, TaskHandler,
};
use tokio::time::{Instant, sleep};

use super::request::is_own;
use crate::patience::{Interrupted, patiently};
use crate::polling::sentence;
use crate::service::{Policy, Ports};

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

/// Does actions.
///
/// An action is read, act, read back: whoever takes it up again looks first, so nothing is sent that is so already.
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
    /// It is not this worker's any more.
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
    noted: Evidence,
    noted_at: Instant,
}

impl Course {
    /// Notes which process of HAProxy tells. Where it is another one than before, the other serves on what it has.
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

    /// Takes in one answer about the backend: what is believed of the server `name`, `None` where it is not there.
    pub(crate) fn sample(
        &mut self,
        answer: &BackendAnswer,
        name: &str,
        at: Timestamp,
    ) -> Option<ObservedServer> {
        self.told_by(answer.process);
        let observed = answer.servers.iter().find(|member| member.name == name)?;
        let observed = self.evidence.believed(observed, self.was_reloaded);
        self.commands.seen(&observed);
        self.evidence.add(Look::of(&observed, at));
        self.seen = Some(observed.clone());
        self.calm = if observed.is_calm() { self.calm + 1 } else { 0 };
        Some(observed)
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
    async fn note(&self, claim: &Claim, course: &mut Course) -> Result<(), Interrupted> {
        let is_news = !course.evidence.tells_no_more_than(&course.noted);
        if is_news && course.noted_at.elapsed() >= NOTE_EVERY {
            patiently(|| self.ports.actions.note(claim, &course.evidence)).await?;
            course.noted = course.evidence.clone();
            course.noted_at = Instant::now();
        }
        Ok(())
    }

    async fn act(
        &self,
        claim: &Claim,
        action: &BalancerAction,
        course: &mut Course,
    ) -> Result<(), Stuck> {
        let servers = [action.request.server];
        let targets = patiently(|| self.ports.actions.targets(&servers)).await?;
        let target = targets.into_iter().next().ok_or(ActionFailure::Gone)?;
        let (wanted, desired) = (action.request.wanted, target.desired.as_ref());
        // Actions of a backend come one after another: what is wanted now stays wanted until this one has ended.
        if action.request.restores && desired.is_none_or(|desired| desired.state != wanted) {
            return Err(ActionFailure::Superseded { wanted }.into());
        }
        let begun = Instant::now();
        loop {
            let answer = self.look(&target).await?;
            let observed = course
                .sample(&answer, &target.observed.name, self.ports.clock.now())
                .ok_or(ActionFailure::Gone)?;
            self.note(claim, course).await?;
            let is_late = begun.elapsed() >= action.request.wait;
            let sends = course.commands.in_vain();
            match next(&action.request, &observed, course.calm, sends, is_late) {
                Next::Done => return Ok(()),
                Next::Fail(failure) => return Err(failure.into()),
                Next::Wait => sleep(pause(begun.elapsed())).await,
                Next::Send(state) => {
                    if state != AdminState::Ready && action.request.forced.is_none() {
                        let (backend, least) = (&target.backend_name, self.policy.min_ready);
                        check_capacity(backend, &answer.servers, is_own(&observed), least)
                            .map_err(ActionFailure::from)?;
                    }
                    // What was sent and not obeyed is looked at for a moment before it is sent again.
                    if sends > 0 {
                        sleep(pause(Duration::ZERO)).await;
                    }
                    self.send(&target, state, &mut course.evidence.sends)
                        .await?;
                    course.commands.sent(state);
                    // That nobody was there before proves nothing: somebody may have come in between.
                    course.calm = 0;
                }
            }
        }
    }

    /// What HAProxy shows of the backend of `target` now, or why it cannot be seen.
    pub(crate) async fn observe(
        &self,
        target: &ActionTarget,
    ) -> Result<Result<BackendAnswer, String>, Interrupted> {
        match self.look(target).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(Stuck::Failed(failure)) => Ok(Err(failure.to_string())),
            Err(Stuck::Interrupted(interrupted)) => Err(interrupted),
        }
    }

    async fn look(&self, target: &ActionTarget) -> Result<BackendAnswer, Stuck> {
        let agents = &self.ports.agents;
        let (agent, instance) = (agent(target), &target.instance_name);
        self.call(target, || {
            agents.backend_servers(&agent, instance, &target.backend_name)
        })
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
                patiently(|| actions.told(target.instance, breaker, was_reached, now)).await?;
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

fn tell(action: &BalancerAction, end: &ActionEnd, sends: u32) {
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
