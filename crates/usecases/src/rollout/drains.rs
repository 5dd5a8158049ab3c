//! What a play asks for while it runs: servers of its run drained and returned, by the rule that all actions have.
//!
//! The commands are actions, each under a transaction of the job, the request and the server: a request that is read
//! again, by this worker or the next one, has one effect. Waiting for sessions and checks is done here for all servers
//! of a request at once, because actions of one backend take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::haproxy::action::{
    ActionFailure, ActionRequest, ActionStatus, ActionTarget, Evidence, HaproxyAction, Look, Next,
    next,
};
use drover_domain::haproxy::{
    AdminState, HaproxyInstanceKey, HaproxyServerKey, Health, ObservedServer,
};
use drover_domain::rollout::job::JobId;
use drover_domain::rollout::record::{Origin, Rollout, RolloutRun};
use drover_domain::rollout::request::{
    PlayRequest, Step, StepAnswer, StepKind, TargetAnswer, TargetState,
};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_domain::rollout::verdict::HaproxySight;
use drover_ports::Fault;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::polling::Polling;
use crate::haproxy::actions::{ActionHandler, ActionOrder, Actions, Course, Sight, pause};
use crate::haproxy::sync::UPDATE_OWNER;
use crate::patience::{Interrupted, patiently, warn_and_wait};
use crate::policy::Policy;
use crate::ports::Ports;

/// The pause between two checks of pinned servers.
const PIN_CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long the commands of a step may wait for a worker, besides what they wait for themselves.
const COMMANDS_WAIT: Duration = Duration::from_mins(5);
/// After a failure a server is not waited for as long: what is broken stays drained.
const RESTORE_HEALTH_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long the checks of a server must have passed before it is returned after the run.
const RESTORE_SETTLE: Duration = Duration::from_secs(2);
/// The longest one reading of an HAProxy may take at the beginning and the end of a run.
const SYNC_WAIT: Duration = Duration::from_secs(10);
/// How long a server may take until it gets requests after the run.
const READY_WAIT: Duration = Duration::from_secs(30);

/// Why a step goes no further.
enum Trouble {
    /// It failed, for this reason.
    Failed(String),
    /// It belongs to another worker now.
    Interrupted(Interrupted),
}

impl From<Interrupted> for Trouble {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

/// The servers of one run, and what it does with them.
pub(super) struct Drains {
    ports: Ports,
    policy: Arc<Policy>,
    actions: Actions,
    haproxy: ActionHandler,
    job: JobId,
    origin: Origin,
    instance: Option<HaproxyInstanceKey>,
    /// By composite name; empty where the run has no HAProxy.
    members: BTreeMap<String, HaproxyServerKey>,
    /// What the run has taken out and not put back.
    pinned: BTreeSet<HaproxyServerKey>,
    progress: watch::Sender<Option<String>>,
}

/// What is known of the targets of a step, by composite name.
type Known = BTreeMap<String, (TargetState, String)>;

/// A server that is waited for.
struct Watched {
    composite: String,
    target: ActionTarget,
    course: Course,
    since: Option<Instant>,
    found: Option<String>,
}

impl Drains {
    pub(super) fn new(
        ports: &Ports,
        policy: &Arc<Policy>,
        polling: &Polling,
        rollout: &Rollout,
        run: &RolloutRun,
        snapshot: &FleetSnapshot,
    ) -> Self {
        let mut members = BTreeMap::new();
        if let Some(backend) = &run.prepared.backend {
            for member in run.prepared.members() {
                let target = snapshot.targets.get(&member.application);
                let server = target.and_then(|target| {
                    let servers = target.haproxy_servers.iter();
                    let name = member.haproxy_server.as_deref();
                    servers
                        .filter(|server| server.backend == backend.backend)
                        .find(|server| Some(server.name.as_str()) == name)
                });
                if let Some(server) = server {
                    members.insert(member.composite.clone(), server.key);
                }
            }
        }
        Self {
            ports: ports.clone(),
            policy: Arc::clone(policy),
            actions: Actions::new(ports.clone(), Arc::clone(policy), polling.clone()),
            haproxy: ActionHandler::new(ports.clone(), Arc::clone(policy)),
            job: run.job,
            instance: run.prepared.backend.as_ref().map(|it| it.instance),
            origin: Origin {
                actor: format!("{UPDATE_OWNER}{}", rollout.id),
                request_id: rollout.origin.request_id.clone(),
            },
            members,
            pinned: BTreeSet::new(),
            progress: watch::Sender::new(None),
        }
    }

    /// What is waited for at the moment, in a sentence.
    pub(super) fn progress(&self) -> watch::Receiver<Option<String>> {
        self.progress.subscribe()
    }

    /// Answers requests as they come, and sees to it in between that what is drained stays so, also after a reload of
    /// HAProxy.
    pub(super) async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<PlayRequest>,
    ) -> Result<Infallible, Interrupted> {
        self.pinned = self.own_pins().await?;
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.answer(request).await?,
                    None => std::future::pending().await,
                },
                () = sleep(PIN_CHECK_EVERY), if !self.pinned.is_empty() => self.keep_pinned().await?,
            }
        }
    }

    async fn answer(&mut self, request: PlayRequest) -> Result<(), Interrupted> {
        let number = request.number;
        let mut known = Known::new();
        let done = match &request.step {
            Ok(step) => self.perform(number, step, &mut known).await,
            Err(reason) => Err(Trouble::Failed(format!(
                "the request is unreadable: {reason}"
            ))),
        };
        let error = match done {
            Ok(()) => None,
            Err(Trouble::Failed(reason)) => Some(reason),
            Err(Trouble::Interrupted(interrupted)) => return Err(interrupted),
        };
        self.progress.send_replace(None);
        let answer = StepAnswer {
            number,
            error,
            targets: known
                .into_iter()
                .map(|(composite, (state, detail))| TargetAnswer {
                    composite,
                    state,
                    detail,
                })
                .collect(),
        };
        loop {
            match self.ports.runner.answer(self.job, &answer).await {
                Ok(()) => return Ok(()),
                Err(error) if error.fault() == Fault::Transient => warn_and_wait(&error).await,
                // The play fails after its own bound.
                Err(error) => {
                    tracing::error!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "request {number} of job {} cannot be answered",
                        self.job
                    );
                    return Ok(());
                }
            }
        }
    }

    async fn perform(
        &mut self,
        number: u32,
        step: &Step,
        known: &mut Known,
    ) -> Result<(), Trouble> {
        let targets = self.targets(&step.targets).await?;
        tracing::info!(job.id = %self.job, request = number, "the play asks to {} {} servers", step.kind.as_str(), targets.len());
        match step.kind {
            StepKind::Drain => self.drain(number, step, targets, known).await,
            StepKind::Verify => {
                let unhealthy = self
                    .wait_until_healthy(targets, step.settle, step.health_wait, known)
                    .await?;
                if unhealthy.is_empty() {
                    return Ok(());
                }
                let said: Vec<String> = unhealthy
                    .iter()
                    .map(|(target, reason)| {
                        let name = &target.observed.name;
                        format!("`{name}` is not healthy after the update: {reason}")
                    })
                    .collect();
                Err(Trouble::Failed(said.join("; ")))
            }
            StepKind::Return => {
                self.put_back(&format!("{number}"), &targets, step.ready_wait, known)
                    .await?;
                let left = known
                    .values()
                    .find(|(state, _)| *state != TargetState::Serving);
                left.map_or(Ok(()), |(_, detail)| Err(Trouble::Failed(detail.clone())))
            }
            StepKind::Restore => {
                let (settle, health) = (step.settle, step.health_wait);
                self.restore(
                    &format!("{number}"),
                    targets,
                    settle,
                    health,
                    step.ready_wait,
                    known,
                )
                .await
            }
        }
    }

    /// The servers of these instances, which have to be of this run.
    async fn targets(&self, composites: &[String]) -> Result<Vec<(String, ActionTarget)>, Trouble> {
        let mut keys = BTreeMap::new();
        for composite in composites {
            let Some(key) = self.members.get(composite) else {
                return Err(Trouble::Failed(format!(
                    "`{composite}` is not an instance of this run with a server in HAProxy"
                )));
            };
            keys.insert(*key, composite.clone());
        }
        let servers: Vec<HaproxyServerKey> = keys.keys().copied().collect();
        let found = patiently(|| self.ports.actions.targets(&servers)).await?;
        let mut targets = Vec::new();
        for target in found {
            if !target.is_present {
                return Err(Trouble::Failed(gone(&target)));
            }
            if let Some(composite) = keys.remove(&target.server) {
                targets.push((composite, target));
            }
        }
        match keys.into_values().next() {
            Some(composite) => Err(Trouble::Failed(format!(
                "the server of `{composite}` is no longer in HAProxy"
            ))),
            None => Ok(targets),
        }
    }

    async fn drain(
        &mut self,
        number: u32,
        step: &Step,
        targets: Vec<(String, ActionTarget)>,
        known: &mut Known,
    ) -> Result<(), Trouble> {
        let answer = self.look(&targets).await?;
        let mut leaving = Vec::new();
        for (composite, target) in targets {
            let observed = seen(&answer, &target)?;
            match Self::kept(&target, observed) {
                Some(why) => {
                    known.insert(composite, (TargetState::Kept, why));
                }
                None => leaving.push((composite, target)),
            }
        }
        let Some((_, first)) = leaving.first() else {
            return Ok(());
        };
        let min_ready = step.min_ready.unwrap_or(self.policy.min_ready);
        let names: BTreeSet<&str> = leaving
            .iter()
            .map(|(_, target)| target.observed.name.as_str())
            .collect();
        answer
            .check_capacity(first, &names, min_ready)
            .map_err(|short| {
                let names: Vec<&str> = names.iter().copied().collect();
                Trouble::Failed(format!("refused to drain {}: {short}", names.join(", ")))
            })?;
        let forced = (min_ready < self.policy.min_ready)
            .then(|| format!("the playbook sets min_ready to {min_ready}"));
        let requests = leaving.iter().map(|(_, target)| ActionRequest {
            forced: forced.clone(),
            ..self.request(target.server, AdminState::Drain, Duration::ZERO)
        });
        let actions = self
            .command(&format!("{number}"), requests.collect())
            .await?;
        let mut failed = None;
        let mut watched = Vec::new();
        let mut begun = self.ports.clock.now();
        for (composite, target) in leaving {
            let (action, is_replayed) = match actions.get(&target.server) {
                Some(Ok(found)) => (&found.action, found.is_replayed),
                Some(Err(reason)) => {
                    let name = &target.observed.name;
                    failed.get_or_insert_with(|| format!("`{name}` was not drained: {reason}"));
                    known.insert(composite, (TargetState::Untouched, reason.clone()));
                    continue;
                }
                None => continue,
            };
            self.pinned.insert(target.server);
            begun = begun.min(action.created_at);
            if let Some((code, reason)) = failure(action) {
                // A server that is down shows no drain to an agent without administrative states: it gets no requests.
                let is_down = action
                    .evidence
                    .looks
                    .last()
                    .is_some_and(|look| look.word.health() == Health::Down);
                if code != "not_proven" || !is_down {
                    let name = &target.observed.name;
                    failed.get_or_insert_with(|| format!("`{name}` was not drained: {reason}"));
                }
            }
            known.insert(
                composite.clone(),
                (TargetState::Drained, "the drain was requested".to_owned()),
            );
            let mut course = Course::after(action.evidence.clone(), is_replayed);
            course.told_by(answer.own.process);
            watched.push(Watched {
                composite,
                target,
                course,
                since: None,
                found: None,
            });
        }
        if let Some(reason) = failed {
            return Err(Trouble::Failed(reason));
        }
        // The next worker waits for the rest of the time, not for all of it again.
        let passed = self.ports.clock.now().since(begun);
        self.wait_until_idle(watched, step.drain_wait, passed, known)
            .await
    }

    /// Why a server stays as someone else left it, if so.
    fn kept(target: &ActionTarget, observed: &ObservedServer) -> Option<String> {
        let state = observed.admin_state()?;
        let pin = target
            .pin
            .as_ref()
            .filter(|pin| pin.state == state && !pin.owner.starts_with(UPDATE_OWNER));
        match (pin, state) {
            (Some(pin), AdminState::Drain | AdminState::Maint) => Some(format!(
                "{} pinned it in {} before the update, left so",
                pin.owner,
                state.as_str()
            )),
            (None, AdminState::Maint) => {
                Some("in maintenance before the update, left so".to_owned())
            }
            (Some(_), AdminState::Ready) | (None, AdminState::Ready | AdminState::Drain) => None,
        }
    }

    async fn wait_until_idle(
        &mut self,
        mut watched: Vec<Watched>,
        wait: Duration,
        passed: Duration,
        known: &mut Known,
    ) -> Result<(), Trouble> {
        let begun = Instant::now();
        // Zero is no wait at all for an action.
        let request = |server| ActionRequest {
            wait: wait.max(Duration::from_millis(1)),
            ..self.request(server, AdminState::Drain, wait)
        };
        let requests: Vec<ActionRequest> = watched
            .iter()
            .map(|one| request(one.target.server))
            .collect();
        while watched.iter().any(|one| one.found.is_none()) {
            let answer = self.look_at(watched.first().map(|one| &one.target)).await?;
            let now = self.ports.clock.now();
            let is_late = passed + begun.elapsed() >= wait;
            let mut forgotten = Vec::new();
            for (one, request) in watched.iter_mut().zip(&requests) {
                let Some(observed) = one.course.sample(&answer, &one.target, now) else {
                    return Err(Trouble::Failed(gone(&one.target)));
                };
                // One command was sent; whether it is forgotten shows the administrative state.
                let progress = one.course.progress(request.wanted, &observed, 1, is_late);
                match next(request, &observed, progress) {
                    Next::Done => {
                        one.found = Some(format!(
                            "no session and no queued request in {} samples",
                            one.course.calm
                        ));
                    }
                    Next::Wait => one.found = None,
                    Next::Fail(ActionFailure::NotProven { .. }) if !is_late => one.found = None,
                    Next::Send(_) => {
                        one.found = None;
                        one.course.calm = 0;
                        forgotten.push(one.target.server);
                    }
                    Next::Fail(failure) => one.found = Some(left_at_the_end(&failure, wait)?),
                }
            }
            self.progress.send_replace(waiting_sentence(&watched));
            if !forgotten.is_empty() {
                let superseded = self.apply_again(&forgotten).await?;
                if let Some(one) = watched
                    .iter()
                    .find(|one| superseded.contains(&one.target.server))
                {
                    return Err(Trouble::Failed(format!(
                        "`{}` was returned by someone else while the update waited for its sessions",
                        one.target.observed.name
                    )));
                }
            } else if watched.iter().any(|one| one.found.is_none()) {
                sleep(pause(begun.elapsed())).await;
            }
        }
        for one in watched {
            let found = one.found.unwrap_or_default();
            known.insert(one.composite, (TargetState::Drained, found));
        }
        Ok(())
    }

    /// Waits until the checks of drained servers have passed for `settle`; those whose checks did not, with the reason.
    async fn wait_until_healthy(
        &mut self,
        targets: Vec<(String, ActionTarget)>,
        settle: Duration,
        wait: Duration,
        known: &mut Known,
    ) -> Result<Vec<(ActionTarget, String)>, Trouble> {
        let begun = Instant::now();
        let mut watched: Vec<Watched> = targets
            .into_iter()
            .map(|(composite, target)| Watched {
                composite,
                target,
                course: Course::after(Evidence::default(), false),
                since: None,
                found: None,
            })
            .collect();
        loop {
            let Some(first) = watched.first() else {
                return Ok(Vec::new());
            };
            let answer = self.look_at(Some(&first.target)).await?;
            let mut forgotten = Vec::new();
            for one in &mut watched {
                let observed = seen(&answer, &one.target)?;
                let is_healthy = matches!(observed.word.health(), Health::Up | Health::NoCheck);
                let is_forgotten = observed.admin_state() == Some(AdminState::Ready)
                    && self.pinned.contains(&one.target.server);
                if is_forgotten {
                    forgotten.push(one.target.server);
                }
                one.since = one
                    .since
                    .or_else(|| Some(Instant::now()))
                    .filter(|_| is_healthy && !is_forgotten);
                one.found = match one.since {
                    Some(since) if since.elapsed() >= settle => None,
                    Some(_) => Some("its checks have not passed for long enough".to_owned()),
                    None => Some(match observed.check_status.as_deref() {
                        Some(check) => format!("HAProxy shows `{}`, check {check}", observed.word),
                        None => format!("HAProxy shows `{}`", observed.word),
                    }),
                };
            }
            let waits = watched.iter().filter(|one| one.found.is_some());
            let is_settling = waits.clone().all(|one| one.since.is_some());
            // A server that only has to settle gets that time.
            let end = if is_settling { wait + settle } else { wait };
            if waits.count() == 0 || begun.elapsed() >= end {
                break;
            }
            if forgotten.is_empty() {
                sleep(pause(begun.elapsed())).await;
            } else {
                self.apply_again(&forgotten).await?;
            }
        }
        let mut unhealthy = Vec::new();
        for one in watched {
            let state = match one.found {
                None => (TargetState::Healthy, "its checks pass".to_owned()),
                Some(reason) => {
                    unhealthy.push((one.target, reason.clone()));
                    (
                        TargetState::LeftDrained,
                        format!("it stays drained: {reason}"),
                    )
                }
            };
            known.insert(one.composite, state);
        }
        Ok(unhealthy)
    }

    async fn put_back(
        &mut self,
        step: &str,
        targets: &[(String, ActionTarget)],
        wait: Duration,
        known: &mut Known,
    ) -> Result<(), Trouble> {
        let requests = targets
            .iter()
            .map(|(_, target)| self.request(target.server, AdminState::Ready, wait));
        let actions = self.command(step, requests.collect()).await?;
        for (composite, target) in targets {
            let name = &target.observed.name;
            let said = match actions.get(&target.server) {
                Some(Ok(Carried { action, .. })) => match failure(action) {
                    None => {
                        self.pinned.remove(&target.server);
                        let last = action.evidence.looks.last();
                        let word = last.map(|look| look.word.to_string());
                        let detail = format!("HAProxy shows `{}`", word.unwrap_or_default());
                        (TargetState::Serving, detail)
                    }
                    Some((_, reason)) => {
                        let is_out = action.evidence.looks.last().is_none_or(is_out_of_use);
                        let state = if is_out {
                            TargetState::LeftDrained
                        } else {
                            self.pinned.remove(&target.server);
                            TargetState::Unhealthy
                        };
                        (state, format!("`{name}` was not returned: {reason}"))
                    }
                },
                Some(Err(reason)) => {
                    let detail = format!("`{name}` was not returned: {reason}");
                    (TargetState::LeftDrained, detail)
                }
                None => continue,
            };
            known.insert(composite.clone(), said);
        }
        Ok(())
    }

    /// Puts back what is healthy; what is not stays drained, and is no reason to keep another one so.
    async fn restore(
        &mut self,
        step: &str,
        targets: Vec<(String, ActionTarget)>,
        settle: Duration,
        health_wait: Duration,
        ready_wait: Duration,
        known: &mut Known,
    ) -> Result<(), Trouble> {
        let answer = self.look(&targets).await?;
        let mut out = Vec::new();
        for (composite, target) in targets {
            let observed = seen(&answer, &target)?;
            if observed.admin_state() == Some(AdminState::Ready)
                && !self.pinned.contains(&target.server)
            {
                let detail = format!("HAProxy shows `{}`", observed.word);
                known.insert(composite, (TargetState::Serving, detail));
            } else {
                out.push((composite, target));
            }
        }
        let wait = health_wait.min(RESTORE_HEALTH_WAIT_MAX);
        let unhealthy = self
            .wait_until_healthy(out.clone(), settle, wait, known)
            .await?;
        let is_unhealthy =
            |target: &ActionTarget| unhealthy.iter().any(|(one, _)| one.server == target.server);
        let healthy: Vec<(String, ActionTarget)> = out
            .into_iter()
            .filter(|(_, target)| !is_unhealthy(target))
            .collect();
        self.put_back(step, &healthy, ready_wait, known).await
    }

    /// After the run: puts back what it left out of use and is healthy.
    pub(super) async fn clear_up(&mut self) -> Result<(), Interrupted> {
        self.pinned = self.own_pins().await?;
        let left: Vec<String> = self
            .members
            .iter()
            .filter(|(_, key)| self.pinned.contains(key))
            .map(|(composite, _)| composite.clone())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        tracing::info!(job.id = %self.job, "the run left {} servers drained; those that are healthy are returned", left.len());
        let mut known = Known::new();
        let step = async {
            let targets = self.targets(&left).await?;
            self.restore(
                "end",
                targets,
                RESTORE_SETTLE,
                RESTORE_HEALTH_WAIT_MAX,
                READY_WAIT,
                &mut known,
            )
            .await
        };
        match step.await {
            Ok(()) => Ok(()),
            Err(Trouble::Interrupted(interrupted)) => Err(interrupted),
            // What is left shows HAProxy itself.
            Err(Trouble::Failed(reason)) => {
                tracing::warn!(job.id = %self.job, "servers stay drained after the run: {reason}");
                Ok(())
            }
        }
    }

    /// What HAProxy shows of the servers of the run now, by composite name; instances without a server are absent.
    pub(super) async fn sight(&self) -> Result<BTreeMap<String, HaproxySight>, Interrupted> {
        if self.members.is_empty() {
            return Ok(BTreeMap::new());
        }
        let servers: Vec<HaproxyServerKey> = self.members.values().copied().collect();
        let found = patiently(|| self.ports.actions.targets(&servers)).await?;
        let answer = match found.first() {
            Some(first) => self.haproxy.observe(first).await?.ok(),
            None => None,
        };
        let shown = |key: &HaproxyServerKey| {
            let target = found.iter().find(|target| target.server == *key)?;
            let observed = seen(answer.as_ref()?, target).ok()?;
            let owner = target.pin.as_ref().map(|pin| pin.owner.as_str());
            let other = owner.filter(|owner| !owner.starts_with(UPDATE_OWNER));
            Some(match (observed.admin_state()?, other) {
                (AdminState::Ready, _) => HaproxySight::InUse {
                    word: observed.word.to_string(),
                },
                (AdminState::Drain | AdminState::Maint, Some(owner)) => {
                    HaproxySight::PinnedByOther {
                        owner: owner.to_owned(),
                    }
                }
                (AdminState::Drain | AdminState::Maint, None) => HaproxySight::OutOfUse {
                    word: observed.word.to_string(),
                    remedy: format!("drover haproxy ready {key}"),
                },
            })
        };
        let members = self.members.iter();
        Ok(members
            .map(|(composite, key)| {
                let sight = shown(key).unwrap_or(HaproxySight::Unknown);
                (composite.clone(), sight)
            })
            .collect())
    }

    /// The servers that this update pinned while HAProxy does not answer: by composite name, the command that returns each.
    pub(super) async fn left_unseen(&self) -> Result<BTreeMap<String, String>, Interrupted> {
        let pinned = self.own_pins().await?;
        let servers: Vec<HaproxyServerKey> = pinned.iter().copied().collect();
        let found = if servers.is_empty() {
            Vec::new()
        } else {
            patiently(|| self.ports.actions.targets(&servers)).await?
        };
        let Some(first) = found.first() else {
            return Ok(BTreeMap::new());
        };
        if self.haproxy.observe(first).await?.is_ok() {
            return Ok(BTreeMap::new());
        }
        let members = self.members.iter();
        Ok(members
            .filter(|(_, key)| pinned.contains(key))
            .map(|(composite, key)| (composite.clone(), format!("drover haproxy ready {key}")))
            .collect())
    }

    /// Reads the HAProxy of the run as a sync does, so that lists and histories show what the run begins and ends with.
    pub(super) async fn sync(&self) {
        let Some(instance) = self.instance else {
            return;
        };
        match timeout(SYNC_WAIT, self.actions.sync(instance)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(
                error = &error as &(dyn std::error::Error + 'static),
                "HAProxy {instance} was not read"
            ),
            Err(_) => tracing::warn!("HAProxy {instance} was not read within its time"),
        }
    }

    /// The servers of this run that this update pinned.
    async fn own_pins(&self) -> Result<BTreeSet<HaproxyServerKey>, Interrupted> {
        let servers: Vec<HaproxyServerKey> = self.members.values().copied().collect();
        if servers.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = patiently(|| self.ports.actions.targets(&servers)).await?;
        Ok(found
            .into_iter()
            .filter(|target| {
                let owner = target.pin.as_ref().map(|pin| &pin.owner);
                owner == Some(&self.origin.actor)
            })
            .map(|target| target.server)
            .collect())
    }

    async fn keep_pinned(&mut self) -> Result<(), Interrupted> {
        let servers: Vec<HaproxyServerKey> = self.pinned.iter().copied().collect();
        let found = patiently(|| self.ports.actions.targets(&servers)).await?;
        let answer = match self.look_at(found.first()).await {
            Ok(answer) => answer,
            // An agent that does not answer is asked again in a moment.
            Err(Trouble::Failed(_)) => return Ok(()),
            Err(Trouble::Interrupted(interrupted)) => return Err(interrupted),
        };
        let forgotten: Vec<HaproxyServerKey> = found
            .iter()
            .filter(|target| {
                let observed = seen(&answer, target);
                observed.is_ok_and(|seen| seen.admin_state() == Some(AdminState::Ready))
            })
            .map(|target| target.server)
            .collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        match self.apply_again(&forgotten).await {
            Ok(_) | Err(Trouble::Failed(_)) => Ok(()),
            Err(Trouble::Interrupted(interrupted)) => Err(interrupted),
        }
    }

    /// Drains again what HAProxy has forgotten; those that someone else has returned are no longer pinned.
    async fn apply_again(
        &mut self,
        servers: &[HaproxyServerKey],
    ) -> Result<BTreeSet<HaproxyServerKey>, Trouble> {
        tracing::warn!(job.id = %self.job, "HAProxy forgot the drain of {} servers; it is applied again", servers.len());
        let requests = servers.iter().map(|server| ActionRequest {
            restores: true,
            // It counts as away already.
            forced: Some("HAProxy forgot the drain of an update".to_owned()),
            ..self.request(*server, AdminState::Drain, Duration::ZERO)
        });
        let actions = self.command_once(requests.collect(), None).await?;
        let mut superseded = BTreeSet::new();
        for (server, action) in actions {
            let said = match &action {
                Ok(carried) => failure(&carried.action),
                Err(reason) => return Err(Trouble::Failed(reason.clone())),
            };
            match said {
                None => {}
                Some((code, _)) if code == SUPERSEDED => {
                    self.pinned.remove(&server);
                    superseded.insert(server);
                }
                Some((_, reason)) => return Err(Trouble::Failed(reason)),
            }
        }
        Ok(superseded)
    }

    fn request(
        &self,
        server: HaproxyServerKey,
        wanted: AdminState,
        wait: Duration,
    ) -> ActionRequest {
        ActionRequest {
            server,
            wanted,
            wait,
            forced: None,
            reason: Some(self.origin.actor.clone()),
            pin_for: None,
            restores: false,
        }
    }

    /// Has the commands of a step of the play carried out.
    async fn command(
        &self,
        step: &str,
        requests: Vec<ActionRequest>,
    ) -> Result<Commanded, Trouble> {
        self.command_once(requests, Some(format!("{}:{step}", self.job)))
            .await
    }

    /// Has commands carried out, each once under a transaction that begins with `transaction`.
    async fn command_once(
        &self,
        requests: Vec<ActionRequest>,
        transaction: Option<String>,
    ) -> Result<Commanded, Trouble> {
        let longest = requests.iter().map(|request| request.wait).max();
        let end =
            Instant::now() + longest.unwrap_or_default() * count(requests.len()) + COMMANDS_WAIT;
        let servers: Vec<HaproxyServerKey> =
            requests.iter().map(|request| request.server).collect();
        let orders: Vec<ActionOrder> = requests
            .into_iter()
            .map(|request| ActionOrder {
                transaction_id: transaction
                    .as_ref()
                    .map(|step| format!("{step}:{}", request.server)),
                request,
                origin: self.origin.clone(),
            })
            .collect();
        let mut commanded = Commanded::new();
        let mut open = BTreeMap::new();
        for (servers, orders) in servers
            .chunks(Actions::BATCH_MAX)
            .zip(orders.chunks(Actions::BATCH_MAX))
        {
            let answers = patiently(|| self.actions.request_many(orders.to_vec())).await?;
            for (server, answer) in servers.iter().zip(answers) {
                match answer {
                    Ok(accepted) => {
                        let transaction = accepted.action.transaction_id;
                        open.insert(transaction, (*server, accepted.replayed));
                    }
                    Err(refusal) => {
                        commanded.insert(*server, Err(refusal.to_string()));
                    }
                }
            }
        }
        let begun = Instant::now();
        while !open.is_empty() {
            let transactions: Vec<String> = open.keys().cloned().collect();
            let found = patiently(|| self.ports.action_view.of_transactions(&transactions)).await?;
            for action in found {
                if matches!(action.status, ActionStatus::Success | ActionStatus::Failed)
                    && let Some((server, is_replayed)) = open.remove(&action.transaction_id)
                {
                    let carried = Carried {
                        action,
                        is_replayed,
                    };
                    commanded.insert(server, Ok(carried));
                }
            }
            if !open.is_empty() && Instant::now() >= end {
                let minutes = COMMANDS_WAIT.as_secs() / 60;
                return Err(Trouble::Failed(format!(
                    "no worker carried out {} commands to HAProxy within {minutes} minutes; is the queue `haproxy` paused?",
                    open.len()
                )));
            }
            if !open.is_empty() {
                sleep(pause(begun.elapsed()) / 2).await;
            }
        }
        Ok(commanded)
    }

    async fn look(&self, targets: &[(String, ActionTarget)]) -> Result<Sight, Trouble> {
        self.look_at(targets.first().map(|(_, target)| target))
            .await
    }

    async fn look_at(&self, target: Option<&ActionTarget>) -> Result<Sight, Trouble> {
        let Some(target) = target else {
            return Ok(Sight::default());
        };
        let answer = self.haproxy.observe(target).await?;
        answer.map_err(Trouble::Failed)
    }
}

/// What came of commands, by server: the action, or why there is none.
type Commanded = BTreeMap<HaproxyServerKey, Result<Carried, String>>;

/// An action that has ended.
struct Carried {
    action: HaproxyAction,
    /// Whether another worker asked for it, before this one.
    is_replayed: bool,
}

/// The code of an action that someone else made pointless.
const SUPERSEDED: &str = "superseded";

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

fn failure(action: &HaproxyAction) -> Option<(String, String)> {
    action.end.as_ref()?.failure.clone()
}

fn is_out_of_use(look: &Look) -> bool {
    !look.word.takes_traffic()
}

fn gone(target: &ActionTarget) -> String {
    let (backend, server) = (&target.backend_name, &target.observed.name);
    format!("HAProxy backend `{backend}` has no server `{server}`")
}

fn seen<'a>(sight: &'a Sight, target: &ActionTarget) -> Result<&'a ObservedServer, Trouble> {
    let mut servers = sight.own.servers.iter();
    servers
        .find(|server| server.name == target.observed.name)
        .ok_or_else(|| Trouble::Failed(gone(target)))
}

/// What is said of a drain that is not proven; the update goes on when its time is over.
fn left_at_the_end(failure: &ActionFailure, wait: Duration) -> Result<String, Trouble> {
    let seconds = wait.as_secs();
    if let ActionFailure::StillBusy {
        sessions: Some(sessions),
        old_sessions,
        ..
    } = failure
    {
        return Ok(match old_sessions {
            Some(old) if *old > 0 => format!(
                "{sessions} session(s), {old} of them in old workers of HAProxy, are still there after {seconds} s"
            ),
            Some(_) | None => format!("{sessions} session(s) are still there after {seconds} s"),
        });
    }
    if matches!(
        failure,
        ActionFailure::StillBusy { .. } | ActionFailure::NotProven { .. }
    ) {
        return Ok(format!("by timer, not proven: {seconds} s are over"));
    }
    Err(Trouble::Failed(failure.to_string()))
}

/// The servers that still have sessions, with the numbers.
fn waiting_sentence(watched: &[Watched]) -> Option<String> {
    const NAMED_MAX: usize = 3;
    let waiting: Vec<&Watched> = watched.iter().filter(|one| one.found.is_none()).collect();
    let mut named: Vec<String> = waiting
        .iter()
        .take(NAMED_MAX)
        .filter_map(|one| {
            let look = one.course.evidence.looks.last()?;
            let name = &one.target.observed.name;
            Some(match (look.sessions, look.old_sessions) {
                (Some(sessions), Some(old)) if old > 0 => {
                    format!("{name} has {sessions} sessions, {old} in old workers")
                }
                (Some(sessions), _) => format!("{name} has {sessions} sessions"),
                (None, _) => format!("{name} has an unknown number of sessions"),
            })
        })
        .collect();
    if waiting.len() > NAMED_MAX {
        named.push(format!("{} more", waiting.len() - NAMED_MAX));
    }
    (!named.is_empty()).then(|| format!("drains: {}", named.join(", ")))
}
