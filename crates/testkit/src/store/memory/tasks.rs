//! The queue of update tasks in memory.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::ChangeSource;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::task::{
    RunProgress, TaskDetail, TaskEnd, TaskEvent, TaskId, TaskInstance, TaskRun, UpdateTask,
};
use drover_domain::workflow::TaskStatus;
use drover_ports::{Claim, NewUpdates, Started, StoreError, TaskView, UpdateTasks};
use tokio::time::Instant;

use super::{MemoryStore, State, ascending, descending};

#[derive(Debug)]
pub(super) struct StoredTask {
    detail: TaskDetail,
    worker: Option<String>,
    lease_until: Option<Instant>,
    events: Vec<TaskEvent>,
}

impl StoredTask {
    fn blocks(&self, other: &Self) -> bool {
        let keys = &other.detail.task.concurrency_keys;
        self.detail.task.status == TaskStatus::Running
            && self
                .detail
                .task
                .concurrency_keys
                .iter()
                .any(|key| keys.contains(key))
    }

    fn is_claimable(&self, now: Instant) -> bool {
        match self.detail.task.status {
            TaskStatus::Queued => true,
            TaskStatus::Running => self.lease_until.is_none_or(|until| until <= now),
            TaskStatus::Pending
            | TaskStatus::Retrying
            | TaskStatus::Waiting
            | TaskStatus::Succeeded
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Skipped
            | TaskStatus::Unknown => false,
        }
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

impl State {
    fn held(&mut self, claim: &Claim) -> Result<&mut StoredTask, StoreError> {
        let task = self.tasks.values_mut().find(|stored| {
            let task = &stored.detail.task;
            task.id == claim.task
                && task.attempt == claim.attempt
                && task.status == TaskStatus::Running
                && stored.worker.as_ref() == Some(&claim.worker)
        });
        task.ok_or_else(|| StoreError::Stale {
            what: "update task",
            name: claim.task.to_string(),
            attempt: claim.attempt,
        })
    }

    fn task(&self, task: TaskId) -> Option<&StoredTask> {
        self.tasks
            .values()
            .find(|stored| stored.detail.task.id == task)
    }
}

#[async_trait]
impl UpdateTasks for MemoryStore {
    async fn start(&self, updates: &NewUpdates) -> Result<Started, StoreError> {
        let mut state = self.state("queue update tasks")?;
        let ids: Vec<TaskId> = updates.tasks.iter().map(|task| task.id).collect();
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
        if ids.iter().any(|id| state.task(*id).is_some()) {
            let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
            return Err(StoreError::AlreadyExists {
                what: "update task",
                name: names.join(", "),
            });
        }
        if let Some((idempotency, key)) = updates.idempotency.as_ref().zip(key) {
            state
                .idempotency
                .insert(key, (idempotency.digest.clone(), ids));
        }
        for task in &updates.tasks {
            let position = state.draw_key();
            let detail = TaskDetail {
                task: task.clone(),
                runs: Vec::new(),
                instances: Vec::new(),
            };
            state.tasks.insert(
                position,
                StoredTask {
                    detail,
                    worker: None,
                    lease_until: None,
                    events: Vec::new(),
                },
            );
        }
        state.record(&updates.events);
        Ok(Started::Created)
    }

    async fn claim(
        &self,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<(Claim, TaskDetail)>, StoreError> {
        let mut state = self.state("claim an update task")?;
        let now = Instant::now();
        let claimable = state
            .tasks
            .iter()
            .filter(|(_, stored)| stored.is_claimable(now))
            .find(|(position, stored)| {
                !state
                    .tasks
                    .iter()
                    .any(|(other, running)| other != *position && running.blocks(stored))
            })
            .map(|(position, _)| *position);
        let Some(stored) = claimable.and_then(|position| state.tasks.get_mut(&position)) else {
            return Ok(None);
        };
        let task = &mut stored.detail.task;
        task.status = TaskStatus::Running;
        task.attempt += 1;
        task.started_at = task.started_at.or(Some(task.created_at));
        stored.worker = Some(worker.to_owned());
        stored.lease_until = Some(now + lease);
        let claim = Claim {
            task: task.id,
            attempt: task.attempt,
            worker: worker.to_owned(),
        };
        Ok(Some((claim, stored.detail.clone())))
    }

    async fn heartbeat(&self, claim: &Claim, lease: Duration) -> Result<(), StoreError> {
        let mut state = self.state("renew the lease of an update task")?;
        state.held(claim)?.lease_until = Some(Instant::now() + lease);
        Ok(())
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
        state.held(claim)?;
        let mut position = state.last_key;
        let stored = state.held(claim)?;
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
        let task = &mut stored.detail.task;
        task.status = end.status;
        task.result.clone_from(&end.result);
        task.error.clone_from(&end.error);
        task.finished_at = Some(at);
        task.progress = end.progress;
        let started_at = task.started_at;
        task.current = None;
        stored.worker = None;
        stored.lease_until = None;
        stored.change_instances(&end.instances);
        for (application, change) in &end.versions {
            if let Some(stored) = state.applications.get_mut(&application.get()) {
                stored.observed.version = change.new.clone();
                state.versions.retain(|_, (of, known)| {
                    *of != *application
                        || known.source != ChangeSource::Polling
                        || Some(known.changed_at) < started_at
                        || known.new.version != change.new.version
                });
                state.record_version(*application, change);
            }
        }
        state.record(&end.events);
        Ok(())
    }

    async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut state = self.state("give an update task back")?;
        let stored = state.held(claim)?;
        stored.worker = None;
        stored.lease_until = None;
        Ok(())
    }
}

#[async_trait]
impl TaskView for MemoryStore {
    async fn find(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        Ok(self
            .state("find an update task")?
            .task(task)
            .map(|stored| stored.detail.clone()))
    }

    async fn list(
        &self,
        statuses: &[TaskStatus],
        page: PageRequest,
    ) -> Result<Page<(i64, UpdateTask)>, StoreError> {
        let state = self.state("list update tasks")?;
        let wanted = state.tasks.iter().filter(|(_, stored)| {
            statuses.is_empty() || statuses.contains(&stored.detail.task.status)
        });
        Ok(descending(
            wanted.map(|(position, stored)| (*position, stored.detail.task.clone())),
            page,
        ))
    }

    async fn events(
        &self,
        task: TaskId,
        page: PageRequest,
    ) -> Result<Option<Page<TaskEvent>>, StoreError> {
        let state = self.state("list the events of an update task")?;
        let Some(stored) = state.task(task) else {
            return Ok(None);
        };
        let events = stored
            .events
            .iter()
            .map(|event| (event.position, event.clone()));
        Ok(Some(ascending(events, page).map(|(_, event)| event)))
    }
}
