//! Rollouts in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{ApplicationKey, ChangeSource, GroupKey};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::{
    EndStatus, Rollout, RolloutDetail, RolloutEnd, RolloutEvent, RolloutId, RolloutRun,
    RolloutTarget, RunProgress,
};
use drover_domain::workflow::TaskStatus;
use drover_ports::{
    Claim, Idempotency, NewRollouts, NewWorkflow, RolloutStore, RolloutView, RolloutWork, Started,
    StoreError,
};

use super::{MemoryStore, State, ascending, descending};

/// What is the update's own; the engine knows where it stands.
#[derive(Debug)]
pub(super) struct StoredRollout {
    detail: RolloutDetail,
    end: Option<EndStatus>,
    events: Vec<RolloutEvent>,
}

impl StoredRollout {
    const fn id(&self) -> RolloutId {
        self.detail.rollout.id
    }

    fn change_targets(&mut self, changed: &[RolloutTarget]) {
        for change in changed {
            let known = self
                .detail
                .targets
                .iter_mut()
                .find(|known| known.application == change.application);
            if let Some(known) = known {
                known.outcome = change.outcome;
                known.detail.clone_from(&change.detail);
                known.version_before.clone_from(&change.version_before);
                known.version_after.clone_from(&change.version_after);
            }
        }
    }
}

fn stale(claim: &Claim) -> StoreError {
    StoreError::Stale {
        what: "rollout",
        name: claim.task.to_string(),
        attempt: claim.attempt,
    }
}

impl State {
    /// The rollout while the claim is held.
    fn held(&mut self, claim: &Claim) -> Result<&mut StoredRollout, StoreError> {
        self.engine
            .is_called_off(claim.task, claim.attempt)
            .ok_or_else(|| stale(claim))?;
        let rollout = self
            .rollouts
            .values_mut()
            .find(|stored| stored.id() == claim.task);
        rollout.ok_or_else(|| stale(claim))
    }

    fn rollout(&self, rollout: RolloutId) -> Option<&StoredRollout> {
        self.rollouts.values().find(|stored| stored.id() == rollout)
    }

    /// How many updates of these applications have not ended.
    pub(super) fn open_updates(&self, applications: &BTreeSet<ApplicationKey>) -> usize {
        let rollouts = self.rollouts.values().map(|stored| &stored.detail.rollout);
        let open = rollouts.filter(|rollout| {
            self.engine.is_open(rollout.id.workflow())
                && rollout
                    .request
                    .applications
                    .iter()
                    .any(|key| applications.contains(key))
        });
        open.count()
    }

    fn shown(&self, stored: &StoredRollout) -> Option<Rollout> {
        let standing = self.engine.standing(stored.id())?;
        Some(stored.detail.rollout.clone().standing(standing))
    }

    fn detail(&self, rollout: RolloutId) -> Option<RolloutDetail> {
        let stored = self.rollout(rollout)?;
        Some(RolloutDetail {
            rollout: self.shown(stored)?,
            ..stored.detail.clone()
        })
    }
}

impl State {
    // What joined a group later is new in its next update. As long as an application is left out that is new already,
    // the moment stays.
    fn note_groups(&mut self, rollouts: &NewRollouts) {
        let named: BTreeSet<i64> = rollouts
            .rollouts
            .iter()
            .flat_map(|update| &update.rollout.request.applications)
            .map(|application| application.get())
            .collect();
        let groups = named
            .iter()
            .filter_map(|key| self.applications.get(key)?.group);
        let groups: BTreeSet<GroupKey> = groups.collect();
        for group in groups {
            let known = self.group_updates.get(&group.get()).copied();
            let is_left_out = self.applications.iter().any(|(key, stored)| {
                stored.group == Some(group)
                    && !named.contains(key)
                    && known.is_some_and(|known| stored.joined > Some(known))
            });
            if !is_left_out {
                self.group_updates.insert(group.get(), rollouts.at);
            }
        }
    }
}

impl State {
    fn started_by(&self, idempotency: &Idempotency) -> Result<Option<Vec<RolloutId>>, StoreError> {
        let key = (idempotency.scope.clone(), idempotency.key.clone());
        match self.idempotency.get(&key) {
            Some((digest, _)) if *digest != idempotency.digest => Err(StoreError::KeyReused {
                key: idempotency.key.clone(),
            }),
            known => Ok(known.map(|(_, rollouts)| rollouts.clone())),
        }
    }
}

#[async_trait]
impl RolloutStore for MemoryStore {
    async fn started_by(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<Vec<RolloutId>>, StoreError> {
        self.state("look up a request for rollouts")?
            .started_by(idempotency)
    }

    async fn start(&self, rollouts: &NewRollouts) -> Result<Started, StoreError> {
        let mut state = self.state("start updates")?;
        let key = rollouts
            .idempotency
            .as_ref()
            .map(|used| (used.scope.clone(), used.key.clone()));
        if let Some(idempotency) = &rollouts.idempotency
            && let Some(rollouts) = state.started_by(idempotency)?
        {
            return Ok(Started::Replayed(rollouts));
        }
        let workflows: Vec<NewWorkflow> = rollouts
            .rollouts
            .iter()
            .map(|update| update.workflow.clone())
            .collect();
        state.engine.start_all(&workflows)?;
        if let Some((idempotency, key)) = rollouts.idempotency.as_ref().zip(key) {
            let ids = rollouts.rollouts.iter().map(|update| update.rollout.id);
            let first = (idempotency.digest.clone(), ids.collect());
            state.idempotency.insert(key, first);
        }
        for update in &rollouts.rollouts {
            let position = state.draw_key();
            let detail = RolloutDetail {
                rollout: update.rollout.clone(),
                runs: Vec::new(),
                targets: Vec::new(),
            };
            let stored = StoredRollout {
                detail,
                end: None,
                events: Vec::new(),
            };
            state.rollouts.insert(position, stored);
        }
        state.note_groups(rollouts);
        state.record(&rollouts.events);
        Ok(Started::Created)
    }

    async fn begin(&self, claim: &Claim, at: Timestamp) -> Result<Option<RolloutWork>, StoreError> {
        let mut state = self.state("begin with a rollout")?;
        let is_called_off = state
            .engine
            .is_called_off(claim.task, claim.attempt)
            .ok_or_else(|| stale(claim))?;
        if state.rollout(claim.task).is_none() {
            return Ok(None);
        }
        let stored = state.held(claim)?;
        let rollout = &mut stored.detail.rollout;
        rollout.started_at = rollout.started_at.or(Some(at));
        let end = stored.end;
        Ok(state.detail(claim.task).map(|detail| RolloutWork {
            detail,
            end,
            is_called_off,
        }))
    }

    async fn plan(
        &self,
        claim: &Claim,
        runs: &[RolloutRun],
        instances: &[RolloutTarget],
    ) -> Result<(), StoreError> {
        let mut state = self.state("store the plan of a rollout")?;
        let stored = state.held(claim)?;
        if stored.detail.runs.is_empty() {
            stored.detail.runs = runs.to_vec();
            stored.detail.targets = instances.to_vec();
        }
        Ok(())
    }

    async fn progress(&self, claim: &Claim, progress: &RunProgress) -> Result<(), StoreError> {
        let mut state = self.state("store the progress of a rollout")?;
        let mut position = state.last_key;
        let stored = state.held(claim)?;
        if stored.end.is_some() {
            return Err(stale(claim));
        }
        stored.detail.rollout.progress = progress.progress;
        stored.detail.rollout.current.clone_from(&progress.current);
        if let Some(run) = stored
            .detail
            .runs
            .iter_mut()
            .find(|run| run.index == progress.run.index)
        {
            *run = RolloutRun {
                job: run.job,
                prepared: run.prepared.clone(),
                ..progress.run.clone()
            };
            for event in &progress.events {
                let is_stored = |known: &RolloutEvent| {
                    known.run == run.index && known.event.sequence == event.sequence
                };
                if !stored.events.iter().any(is_stored) {
                    position += 1;
                    stored.events.push(RolloutEvent {
                        position,
                        run: run.index,
                        event: event.clone(),
                    });
                }
            }
        }
        stored.change_targets(&progress.targets);
        state.last_key = position;
        Ok(())
    }

    async fn finish(
        &self,
        claim: &Claim,
        end: &RolloutEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state("end a rollout")?;
        let stored = state.held(claim)?;
        if stored.end.is_some() {
            return Ok(());
        }
        stored.end = Some(end.status);
        let rollout = &mut stored.detail.rollout;
        rollout.result.clone_from(&end.result);
        rollout.error.clone_from(&end.error);
        rollout.finished_at = Some(at);
        rollout.progress = end.progress;
        rollout.current = None;
        let began_at = rollout.started_at;
        stored.change_targets(&end.targets);
        for (application, change) in &end.versions {
            if let Some(stored) = state.applications.get_mut(&application.get()) {
                stored.observed.version = change.new.clone();
                state.versions.retain(|_, (of, known)| {
                    *of != *application
                        || known.source != ChangeSource::Polling
                        || Some(known.changed_at) < began_at
                        || known.new.version != change.new.version
                });
                state.record_version(*application, change);
            }
        }
        state.record(&end.events);
        Ok(())
    }
}

#[async_trait]
impl RolloutView for MemoryStore {
    async fn find(&self, rollout: RolloutId) -> Result<Option<RolloutDetail>, StoreError> {
        Ok(self.state("find a rollout")?.detail(rollout))
    }

    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, Rollout)>, StoreError> {
        let state = self.state("list rollouts")?;
        let shown = state
            .rollouts
            .iter()
            .filter_map(|(position, stored)| Some((*position, state.shown(stored)?)))
            .filter(|(_, rollout)| statuses.is_empty() || statuses.contains(&rollout.status));
        Ok(descending(shown, page))
    }

    async fn events(
        &self,
        rollout: RolloutId,
        page: PageRequest,
    ) -> Result<Option<Page<RolloutEvent>>, StoreError> {
        let state = self.state("list the events of a rollout")?;
        let Some(stored) = state
            .rollout(rollout)
            .filter(|stored| state.engine.standing(stored.id()).is_some())
        else {
            return Ok(None);
        };
        let events = stored
            .events
            .iter()
            .map(|event| (event.position, event.clone()));
        Ok(Some(ascending(events, page).map(|(_, event)| event)))
    }
}
