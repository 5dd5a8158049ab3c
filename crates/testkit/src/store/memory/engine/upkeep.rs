//! What happens in memory because time passes.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{Control, Input, WakeKind};
use drover_domain::workflow::{ClockWatch, EventPosition, Executor, TaskId, WorkflowId};
use drover_ports::{RetentionAges, StoreError, Upkeep, WatchedClock, WorkflowUpkeep};

use super::Engine;
use crate::store::memory::MemoryStore;

impl Engine {
    fn wake(&mut self, workflow: WorkflowId, kind: WakeKind) {
        // A moment that the run refuses is outdated.
        match kind {
            WakeKind::CancelChild { no } => {
                let parent = Some(workflow.task(no));
                let children: Vec<WorkflowId> = self
                    .workflows
                    .iter()
                    .filter(|(_, stored)| stored.head().parent == parent)
                    .map(|(id, _)| *id)
                    .collect();
                for child in children {
                    let reason = "the workflow that started it was called off".to_owned();
                    self.step(child, Input::Control(Control::Cancel { reason }))
                        .unwrap_or_default();
                }
            }
            WakeKind::Start
            | WakeKind::WorkflowDeadline
            | WakeKind::Retry { .. }
            | WakeKind::WaitOver { .. }
            | WakeKind::TaskDeadline { .. }
            | WakeKind::ChildEnded { .. } => {
                self.step(workflow, Input::Due { kind }).unwrap_or_default();
            }
        }
    }

    /// When each claimed task's attempt has taken too long.
    fn overdue_at(&self, task: TaskId, claimed_at: Timestamp, grace: Duration) -> Timestamp {
        let timeout = self.workflows.get(&task.workflow()).and_then(|stored| {
            let state = stored.run.tasks.get(&task.no()?)?;
            let is_remote = state.action.executor() == Some(Executor::Remote);
            let grace = if is_remote { Duration::ZERO } else { grace };
            Some(state.policy.timeout + grace)
        });
        claimed_at.after(timeout.unwrap_or(grace))
    }

    fn overdue(&mut self, task: TaskId) {
        let attempt = self.workflows.get(&task.workflow()).and_then(|stored| {
            let no = task.no()?;
            Some((no, stored.run.tasks.get(&no)?.attempt))
        });
        if let Some((no, attempt)) = attempt {
            self.step(task.workflow(), Input::Overdue { no, attempt })
                .expect("what a lease holds is running");
        }
    }

    fn forget(&mut self, id: WorkflowId) {
        self.workflows.remove(&id);
        self.queue.retain(|task, _| task.workflow() != id);
        self.wakes.retain(|_, (workflow, _)| *workflow != id);
        self.requests
            .retain(|_, request| request.workflow != id || request.made_at.is_some());
        let gone: Vec<EventPosition> = self
            .events
            .iter()
            .filter(|(_, (event, _))| event.workflow == id)
            .map(|(position, _)| *position)
            .collect();
        for position in gone {
            self.events.remove(&position);
            self.pruned_to = self.pruned_to.max(Some(position));
        }
    }
}

#[async_trait]
impl WorkflowUpkeep for MemoryStore {
    async fn wake_due(&self, limit: u32) -> Result<Upkeep, StoreError> {
        let engine = &mut self.state("see to what is due")?.engine;
        let now = engine.now();
        let mut handled = 0;
        while handled < limit {
            let Some(first) = engine.wakes.first_entry().filter(|due| due.key().0 <= now) else {
                break;
            };
            let (workflow, kind) = first.remove();
            engine.wake(workflow, kind);
            handled += 1;
        }
        let next = engine.wait_until(engine.wakes.keys().map(|(at, _)| *at));
        Ok(Upkeep { handled, next })
    }

    async fn take_over(&self, grace: Duration, limit: u32) -> Result<Upkeep, StoreError> {
        let engine = &mut self.state("take tasks over")?.engine;
        let now = engine.now();
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let held: Vec<_> = engine.held().collect();
        let lost = held.iter().filter(|(_, until, _)| *until <= now);
        let lost: Vec<TaskId> = lost.map(|(task, ..)| *task).take(most).collect();
        let overdue: Vec<TaskId> = held
            .iter()
            .filter(|(task, until, claimed_at)| {
                *until > now && engine.overdue_at(*task, *claimed_at, grace) <= now
            })
            .map(|(task, ..)| *task)
            .take(most - lost.len())
            .collect();
        let handled = lost.len() + overdue.len();
        for task in lost {
            engine.lose(task);
        }
        for task in overdue {
            engine.overdue(task);
        }
        let in_use: Vec<_> = engine.queue.values().filter_map(|row| row.lease).collect();
        engine
            .leases
            .retain(|lease, known| known.until > now || in_use.contains(lease));
        let next = engine.wait_until(engine.held().map(|(task, until, claimed_at)| {
            until.min(engine.overdue_at(task, claimed_at, grace))
        }));
        let handled = u32::try_from(handled).unwrap_or(u32::MAX);
        Ok(Upkeep { handled, next })
    }

    async fn prune(&self, ages: &RetentionAges, limit: u32) -> Result<u32, StoreError> {
        let engine = &mut self.state("remove old workflows")?.engine;
        let now = engine.now();
        let mut ended: Vec<(Timestamp, WorkflowId)> = engine
            .workflows
            .values()
            .filter_map(|stored| {
                let finished_at = stored.finished_at?;
                let is_old = now.since(finished_at) > ages.of(&stored.name);
                is_old.then(|| (finished_at, stored.id()))
            })
            .collect();
        ended.sort_unstable();
        ended.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for (_, id) in &ended {
            engine.forget(*id);
        }
        Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
    }

    async fn prune_keys(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let engine = &mut self.state("remove old idempotency keys")?.engine;
        let before = engine.now().before(age);
        let old = engine.requests.iter().filter_map(|(key, request)| {
            let made_at = request.made_at.filter(|at| *at < before)?;
            Some((made_at, key.clone()))
        });
        let mut old: Vec<_> = old.collect();
        old.sort_unstable();
        old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for (_, key) in &old {
            engine.requests.remove(key);
        }
        Ok(u32::try_from(old.len()).unwrap_or(u32::MAX))
    }

    async fn watch_clock(&self) -> Result<WatchedClock, StoreError> {
        let engine = &mut self.state("look at the clock")?.engine;
        let (watch, leap) = ClockWatch::look(engine.watch, engine.now());
        engine.watch = Some(watch);
        Ok(WatchedClock { watch, leap })
    }
}
