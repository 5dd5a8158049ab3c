//! What a node does because time passes.

use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::workflow::run::{Control, Input, WakeKind};
use drover_domain::workflow::{TaskId, TaskNo, WorkflowId};

use super::defect::StoreDefect;
use super::invariant::Broken;
use super::sim::World;

/// How much longer than its timeout an attempt may take before it is taken from its worker.
const GRACE: Duration = Duration::from_secs(5);

impl World {
    /// Lets due moments happen, at most `limit`.
    pub(super) fn wake_due(&mut self, limit: usize) -> Result<(), Broken> {
        for _ in 0..limit {
            let first = self.store.wakes.first_entry();
            let Some(first) = first.filter(|due| due.key().0 <= self.now) else {
                break;
            };
            let (workflow, kind) = first.remove();
            if !self.is_broken(StoreDefect::ForgetsWakeUp, 10) {
                self.wake(workflow, kind)?;
            }
        }
        Ok(())
    }

    fn wake(&mut self, workflow: WorkflowId, kind: WakeKind) -> Result<(), Broken> {
        let WakeKind::CancelChild { no } = kind else {
            return self.step(workflow, &Input::Due { kind }).map(drop);
        };
        for child in self.store.children_of(workflow.task(no)) {
            let reason = "the workflow that started it was called off".to_owned();
            self.step(child, &Input::Control(Control::Cancel { reason }))?;
        }
        Ok(())
    }

    /// Takes tasks from leases that ran out, and attempts that take too long, at most `limit`.
    pub(super) fn take_over(&mut self, limit: usize) -> Result<(), Broken> {
        let forgets = self.defect == Some(StoreDefect::ForgetsTakeOver);
        let (mut lost, mut overdue) = (Vec::new(), Vec::new());
        for (task, until, overdue_at) in self.held() {
            if until <= self.now {
                lost.push(task);
            } else if overdue_at <= self.now {
                overdue.push(task);
            }
        }
        if forgets {
            lost.clear();
        }
        lost.truncate(limit);
        overdue.truncate(limit - lost.len());
        for task in lost {
            self.lose(task)?;
        }
        for task in overdue {
            if let Some((no, attempt)) = self.current(task) {
                self.step(task.workflow(), &Input::Overdue { no, attempt })?;
            }
        }
        let in_use = self.store.leases_in_use();
        let now = self.now;
        self.store
            .leases
            .retain(|lease, until| *until > now || (in_use.contains(lease) && !forgets));
        Ok(())
    }

    /// The lease of a task is over.
    pub(super) fn lose(&mut self, task: TaskId) -> Result<(), Broken> {
        match self.current(task) {
            Some((no, attempt)) => self
                .step(task.workflow(), &Input::Lost { no, attempt })
                .map(drop),
            None => Ok(()),
        }
    }

    fn current(&self, task: TaskId) -> Option<(TaskNo, u32)> {
        let state = self.store.task(task)?;
        Some((state.no, state.attempt))
    }

    /// The tasks that workers hold: until when their leases last, and when their attempts take too long.
    fn held(&self) -> Vec<(TaskId, Timestamp, Timestamp)> {
        let held = self.store.queue.iter().filter_map(|(task, row)| {
            let until = *self.store.leases.get(&row.lease?)?;
            let timeout = self.store.task(*task)?.policy.timeout;
            Some((*task, until, row.claimed_at.after(timeout).after(GRACE)))
        });
        held.collect()
    }

    /// The next moment at which something happens by itself.
    pub(super) fn next_moment(&self) -> Option<Timestamp> {
        let wake = self.store.wakes.keys().map(|(at, _)| *at).next();
        let held = self.held().into_iter();
        let held = held.map(|(_, until, overdue_at)| until.min(overdue_at));
        held.chain(wake).min()
    }
}
