//! Actions on servers in HAProxy, in memory.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::haproxy::action::{
    ActionEnd, ActionStanding, ActionTarget, Evidence, HaproxyAction,
};
use drover_domain::haproxy::{
    Admission, Breaker, BreakerPolicy, BreakerRecord, HaproxyInstanceKey, HaproxyServer,
    HaproxyServerKey, ObservedServer, Pin, PinChange, Tracker, pin_after,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::TaskId;
use drover_ports::{
    ActionFilter, ActionView, Claim, HaproxyActions, NewAction, NewWorkflow, StartedWorkflow,
    StatusChange, StoreError,
};

use super::{MemoryStore, State, descending};

fn stale(claim: &Claim) -> StoreError {
    StoreError::Stale {
        what: "action",
        name: claim.task.to_string(),
        attempt: claim.attempt,
    }
}

impl State {
    /// The action while the claim is held; `None` if the task is none.
    fn held_action(&mut self, claim: &Claim) -> Result<Option<&mut HaproxyAction>, StoreError> {
        self.engine
            .is_called_off(claim.task, claim.attempt)
            .ok_or_else(|| stale(claim))?;
        let mut actions = self.actions.values_mut();
        Ok(actions.find(|action| action.id == claim.task))
    }

    /// The action as it stands; `None` if it was removed with its workflow.
    pub(super) fn shown_action(&self, own: &HaproxyAction) -> Option<HaproxyAction> {
        let standing = self.engine.standing(own.id)?;
        let (error_code, workflow_error) = self.engine.failure(own.id);
        Some(own.clone().standing(ActionStanding {
            status: standing.status,
            attempt: standing.attempt,
            finished_at: standing.finished_at,
            error_code,
            error: standing.error,
            workflow_error,
        }))
    }

    /// The action on a server that has begun and not ended, with who asked for it.
    pub(super) fn action_under_way(&self, server: HaproxyServerKey) -> Option<(TaskId, String)> {
        let mut own = self.actions.values().rev();
        let own = own.find(|own| {
            let has_begun = own.request.server == server && own.started_at.is_some();
            has_begun
                && self
                    .shown_action(own)
                    .is_some_and(|shown| shown.end.is_none())
        });
        own.map(|own| (own.id, own.origin.actor.clone()))
    }

    fn action_target(&self, server: &HaproxyServer) -> Option<ActionTarget> {
        let backend = self.backends.get(&server.backend.get())?;
        let instance = self.instances.get(&backend.instance.get())?;
        let host = self.servers.get(&instance.server.get())?;
        let is_present =
            server.removed_at.is_none() && backend.removed_at.is_none() && instance.is_active;
        Some(ActionTarget {
            server: server.key,
            observed: server.observed.clone(),
            backend: backend.key,
            backend_name: backend.name.clone(),
            instance: instance.key,
            instance_name: instance.name.clone(),
            agent_host: host.address.clone(),
            agent_port: host.port,
            is_present,
            pin: server.pin.clone(),
            trackers: self.trackers(instance.key),
            breaker: self.breaker_record(instance.key),
        })
    }

    fn trackers(&self, instance: HaproxyInstanceKey) -> Vec<Tracker> {
        let servers = self
            .haproxy_servers
            .values()
            .filter(|server| server.removed_at.is_none());
        let trackers = servers.filter_map(|server| {
            let backend = self.backends.get(&server.backend.get())?;
            let is_there = backend.instance == instance && backend.removed_at.is_none();
            Some(Tracker {
                backend: backend.name.clone(),
                server: server.observed.name.clone(),
                tracks: server.observed.role.tracks.clone().filter(|_| is_there)?,
            })
        });
        trackers.collect()
    }

    fn breaker_record(&self, instance: HaproxyInstanceKey) -> BreakerRecord {
        let stored = self.breakers.get(&instance.get());
        stored.copied().unwrap_or_default()
    }

    fn breaker(&self, instance: HaproxyInstanceKey, policy: BreakerPolicy) -> Option<Breaker> {
        self.instances.get(&instance.get())?;
        Some(Breaker::restore(policy, self.breaker_record(instance)))
    }

    fn pin_server(&mut self, own: &HaproxyAction, end: &ActionEnd, seen: &ObservedServer) {
        let request = &own.request;
        let Some(stored) = self.haproxy_servers.get_mut(&request.server.get()) else {
            return;
        };
        match pin_after(request, own.evidence.sends, Some(seen)) {
            PinChange::Keep => {}
            PinChange::Remove => stored.pin = None,
            PinChange::Set(state) => {
                stored.pin = Some(Pin {
                    state,
                    owner: own.origin.actor.clone(),
                    reason: request.reason.clone(),
                    since: end.at,
                    until: request.pin_for.map(|time| end.at.after(time)),
                });
            }
        }
    }

    /// Stores what was seen of a server, and that its status is another one if it is.
    fn see(
        &mut self,
        server: HaproxyServerKey,
        seen: &ObservedServer,
        at: Timestamp,
        action: (TaskId, String),
    ) {
        let Some(stored) = self.haproxy_servers.get_mut(&server.get()) else {
            return;
        };
        let name = stored.observed.name.clone();
        let old = std::mem::replace(
            &mut stored.observed,
            ObservedServer {
                name,
                old_sessions: None,
                ..seen.clone()
            },
        );
        stored.last_seen = Some(at);
        if old.word != seen.word {
            let words = (old.word, seen.word.clone());
            self.record_status(server, at, words, Some(action));
        }
    }
}

#[async_trait]
impl HaproxyActions for MemoryStore {
    async fn targets(&self, servers: &[HaproxyServerKey]) -> Result<Vec<ActionTarget>, StoreError> {
        let state = self.state("find servers in HAProxy")?;
        let wanted = state
            .haproxy_servers
            .values()
            .filter(|server| servers.contains(&server.key));
        Ok(wanted
            .filter_map(|server| state.action_target(server))
            .collect())
    }

    async fn start(&self, actions: &[NewAction]) -> Result<Vec<StartedWorkflow>, StoreError> {
        let mut state = self.state("start actions")?;
        let workflows: Vec<NewWorkflow> = actions
            .iter()
            .map(|action| action.workflow.clone())
            .collect();
        let answers = state.engine.start_all(&workflows)?;
        for (new, answer) in actions.iter().zip(&answers) {
            if matches!(answer, StartedWorkflow::Created(_)) {
                let position = state.draw_key();
                let own = HaproxyAction {
                    started_at: None,
                    end: None,
                    ..new.action.clone()
                };
                state.actions.insert(position, own);
            }
        }
        Ok(answers)
    }

    async fn begin(
        &self,
        claim: &Claim,
        at: Timestamp,
    ) -> Result<Option<HaproxyAction>, StoreError> {
        let mut state = self.state("begin with an action")?;
        let Some(own) = state.held_action(claim)? else {
            return Ok(None);
        };
        if own.end.is_none() {
            own.started_at = own.started_at.or(Some(at));
        }
        let own = own.clone();
        Ok(state.shown_action(&own))
    }

    async fn admit(
        &self,
        instance: HaproxyInstanceKey,
        policy: BreakerPolicy,
        at: Timestamp,
    ) -> Result<Admission, StoreError> {
        let mut state = self.state("ask the breaker of an HAProxy")?;
        let Some(before) = state.breaker(instance, policy) else {
            return Ok(Admission::Go);
        };
        let (after, admission) = before.admit(at);
        state.breakers.insert(instance.get(), after.record());
        Ok(admission)
    }

    async fn record_answer(
        &self,
        instance: HaproxyInstanceKey,
        policy: BreakerPolicy,
        was_reached: bool,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state("tell the breaker of an HAProxy")?;
        if let Some(before) = state.breaker(instance, policy) {
            let after = if was_reached {
                before.succeeded()
            } else {
                before.failed(at)
            };
            state.breakers.insert(instance.get(), after.record());
        }
        Ok(())
    }

    async fn record_evidence(&self, claim: &Claim, evidence: &Evidence) -> Result<(), StoreError> {
        let mut state = self.state("note what an action saw")?;
        let own = state.held_action(claim)?;
        if let Some(own) = own.filter(|action| action.end.is_none()) {
            own.evidence = evidence.clone();
        }
        Ok(())
    }

    async fn finish(
        &self,
        claim: &Claim,
        end: &ActionEnd,
        evidence: &Evidence,
        seen: Option<&ObservedServer>,
    ) -> Result<(), StoreError> {
        let mut state = self.state("end an action")?;
        let Some(own) = state
            .held_action(claim)?
            .filter(|action| action.end.is_none())
        else {
            return Ok(());
        };
        own.end = Some(end.clone());
        own.evidence = evidence.clone();
        let own = own.clone();
        state.note_action(own.id);
        if let Some(seen) = seen {
            let server = own.request.server;
            state.see(server, seen, end.at, (own.id, own.origin.actor.clone()));
            state.pin_server(&own, end, seen);
        }
        Ok(())
    }
}

#[async_trait]
impl ActionView for MemoryStore {
    async fn find(&self, action: TaskId) -> Result<Option<HaproxyAction>, StoreError> {
        let state = self.state("find an action")?;
        let own = state.actions.values().find(|own| own.id == action);
        Ok(own.and_then(|own| state.shown_action(own)))
    }

    async fn of_transactions(
        &self,
        transactions: &[String],
    ) -> Result<Vec<HaproxyAction>, StoreError> {
        let state = self.state("find actions by their transactions")?;
        let wanted = state
            .actions
            .values()
            .filter(|own| transactions.contains(&own.transaction_id));
        Ok(wanted.filter_map(|own| state.shown_action(own)).collect())
    }

    async fn list(
        &self,
        filter: &ActionFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, HaproxyAction)>, StoreError> {
        let state = self.state("list actions")?;
        let wanted = state
            .actions
            .iter()
            .filter(|(_, own)| {
                filter
                    .server
                    .is_none_or(|server| own.request.server == server)
                    && filter
                        .wanted
                        .is_none_or(|wanted| own.request.wanted == wanted)
                    && filter.since.is_none_or(|since| own.created_at >= since)
                    && filter.until.is_none_or(|until| own.created_at < until)
            })
            .filter_map(|(position, own)| Some((*position, state.shown_action(own)?)));
        Ok(descending(wanted, page))
    }

    async fn history(
        &self,
        server: HaproxyServerKey,
        page: PageRequest,
    ) -> Result<Option<Page<StatusChange>>, StoreError> {
        let state = self.state("list the status changes of a HAProxy server")?;
        if !state.haproxy_servers.contains_key(&server.get()) {
            return Ok(None);
        }
        let changes = state
            .status_history
            .iter()
            .filter(|(of, _)| *of == server)
            .map(|(_, change)| (change.position, change.clone()));
        Ok(Some(descending(changes, page).map(|(_, change)| change)))
    }
}
