//! Update tasks in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{ApplicationKey, ChangeSource, GroupKey};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::task::{
    EndStatus, RunProgress, TaskDetail, TaskEnd, TaskEvent, TaskId, TaskInstance, TaskRun,
    UpdateTask,
};
use drover_domain::workflow::TaskStatus;
use drover_ports::{
    Claim, NewUpdates, NewWorkflow, Started, StoreError, TaskView, UpdateTasks, UpdateWork,
};

use super::{MemoryStore, State, ascending, descending};

/// What is the update's own; the engine knows where it stands.
#[derive(Debug)]
pub(super) struct StoredTask {
    detail: TaskDetail,
    end: Option<EndStatus>,
    events: Vec<TaskEvent>,
}

impl StoredTask {
    const fn id(&self) -> TaskId {
        self.detail.task.id
    }

    fn change_instances(&mut self, changed: &[TaskInstance]) {
        for change in changed {
            let known = self
                .detail
                .instances
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
        what: "update task",
        name: claim.task.to_string(),
        attempt: claim.attempt,
    }
}

impl State {
    /// The task while the claim is held.
    fn held(&mut self, claim: &Claim) -> Result<&mut StoredTask, StoreError> {
        self.engine
            .is_called_off(claim.task, claim.attempt)
            .ok_or_else(|| stale(claim))?;
        let task = self
            .tasks
            .values_mut()
            .find(|stored| stored.id() == claim.task);
        task.ok_or_else(|| stale(claim))
    }

    fn task(&self, task: TaskId) -> Option<&StoredTask> {
        self.tasks.values().find(|stored| stored.id() == task)
    }

    /// How many updates of these applications have not ended.
    pub(super) fn open_updates(&self, applications: &BTreeSet<ApplicationKey>) -> usize {
        let tasks = self.tasks.values().map(|stored| &stored.detail.task);
        let open = tasks.filter(|task| {
            self.engine.is_open(task.id.workflow())
                && task
                    .request
                    .applications
                    .iter()
                    .any(|key| applications.contains(key))
        });
        open.count()
    }

    fn shown(&self, stored: &StoredTask) -> Option<UpdateTask> {
        let standing = self.engine.standing(stored.id())?;
        Some(stored.detail.task.clone().standing(standing))
    }

    fn detail(&self, task: TaskId) -> Option<TaskDetail> {
        let stored = self.task(task)?;
        Some(TaskDetail {
            task: self.shown(stored)?,
            ..stored.detail.clone()
        })
    }
}

impl State {
    // What joined a group later is new in its next update. As long as an application is left out that is new already,
    // the moment stays.
    fn note_groups(&mut self, updates: &NewUpdates) {
        let named: BTreeSet<i64> = updates
            .updates
            .iter()
            .flat_map(|update| &update.task.request.applications)
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
                self.group_updates.insert(group.get(), updates.at);
            }
        }
    }
}

#[async_trait]
impl UpdateTasks for MemoryStore {
    async fn start(&self, updates: &NewUpdates) -> Result<Started, StoreError> {
        let mut state = self.state("start updates")?;
        let key = updates
            .idempotency
            .as_ref()
            .map(|used| (used.scope.clone(), used.key.clone()));
        if let Some((idempotency, key)) = updates.idempotency.as_ref().zip(key.as_ref())
            && let Some((digest, tasks)) = state.idempotency.get(key)
        {
            if *digest != idempotency.digest {
                return Err(StoreError::KeyReused {
                    key: idempotency.key.clone(),
                });
            }
            return Ok(Started::Replayed(tasks.clone()));
        }
        let workflows: Vec<NewWorkflow> = updates
            .updates
            .iter()
            .map(|update| update.workflow.clone())
            .collect();
        state.engine.start_all(&workflows)?;
        if let Some((idempotency, key)) = updates.idempotency.as_ref().zip(key) {
            let ids = updates.updates.iter().map(|update| update.task.id);
            let first = (idempotency.digest.clone(), ids.collect());
            state.idempotency.insert(key, first);
        }
        for update in &updates.updates {
            let position = state.draw_key();
            let detail = TaskDetail {
                task: update.task.clone(),
                runs: Vec::new(),
                instances: Vec::new(),
            };
            let stored = StoredTask {
                detail,
                end: None,
                events: Vec::new(),
            };
            state.tasks.insert(position, stored);
        }
        state.note_groups(updates);
        state.record(&updates.events);
        Ok(Started::Created)
    }

    async fn begin(&self, claim: &Claim, at: Timestamp) -> Result<Option<UpdateWork>, StoreError> {
        let mut state = self.state("begin with an update task")?;
        let is_called_off = state
            .engine
            .is_called_off(claim.task, claim.attempt)
            .ok_or_else(|| stale(claim))?;
        if state.task(claim.task).is_none() {
            return Ok(None);
        }
        let stored = state.held(claim)?;
        let task = &mut stored.detail.task;
        task.started_at = task.started_at.or(Some(at));
        let end = stored.end;
        Ok(state.detail(claim.task).map(|detail| UpdateWork {
            detail,
            end,
            is_called_off,
        }))
    }

    async fn plan(
        &self,
        claim: &Claim,
        runs: &[TaskRun],
        instances: &[TaskInstance],
    ) -> Result<(), StoreError> {
        let mut state = self.state("store the plan of an update task")?;
        let stored = state.held(claim)?;
        if stored.detail.runs.is_empty() {
            stored.detail.runs = runs.to_vec();
            stored.detail.instances = instances.to_vec();
        }
        Ok(())
    }

    async fn progress(&self, claim: &Claim, progress: &RunProgress) -> Result<(), StoreError> {
        let mut state = self.state("store the progress of an update task")?;
        let mut position = state.last_key;
        let stored = state.held(claim)?;
        if stored.end.is_some() {
            return Err(stale(claim));
        }
        stored.detail.task.progress = progress.progress;
        stored.detail.task.current.clone_from(&progress.current);
        if let Some(run) = stored
            .detail
            .runs
            .iter_mut()
            .find(|run| run.index == progress.run.index)
        {
            *run = TaskRun {
                job: run.job,
                prepared: run.prepared.clone(),
                ..progress.run.clone()
            };
            for event in &progress.events {
                let is_stored = |known: &TaskEvent| {
                    known.run == run.index && known.event.sequence == event.sequence
                };
                if !stored.events.iter().any(is_stored) {
                    position += 1;
                    stored.events.push(TaskEvent {
                        position,
                        run: run.index,
                        event: event.clone(),
                    });
                }
            }
        }
        stored.change_instances(&progress.instances);
        state.last_key = position;
        Ok(())
    }

    async fn finish(&self, claim: &Claim, end: &TaskEnd, at: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state("end an update task")?;
        let stored = state.held(claim)?;
        if stored.end.is_some() {
            return Ok(());
        }
        stored.end = Some(end.status);
        let task = &mut stored.detail.task;
        task.result.clone_from(&end.result);
        task.error.clone_from(&end.error);
        task.finished_at = Some(at);
        task.progress = end.progress;
        task.current = None;
        let began_at = task.started_at;
        stored.change_instances(&end.instances);
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
impl TaskView for MemoryStore {
    async fn find(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        Ok(self.state("find an update task")?.detail(task))
    }

    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, UpdateTask)>, StoreError> {
        let state = self.state("list update tasks")?;
        let shown = state
            .tasks
            .iter()
            .filter_map(|(position, stored)| Some((*position, state.shown(stored)?)))
            .filter(|(_, task)| statuses.is_empty() || statuses.contains(&task.status));
        Ok(descending(shown, page))
    }

    async fn events(
        &self,
        task: TaskId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskEvent>>, StoreError> {
        let state = self.state("list the events of an update task")?;
        let Some(stored) = state
            .task(task)
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
