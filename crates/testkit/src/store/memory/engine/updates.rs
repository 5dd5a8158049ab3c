//! What update tasks need of the engine in memory.

use drover_domain::rollout::task::{Standing, TaskId};
use drover_domain::workflow::TaskStatus;
use drover_ports::{NewWorkflow, StoreError};

use super::Engine;

impl Engine {
    /// Starts the workflows of updates.
    pub(in crate::store::memory) fn start_updates(
        &mut self,
        workflows: &[NewWorkflow],
    ) -> Result<(), StoreError> {
        self.start(workflows).map(|_| ())
    }

    /// Where a task stands; `None` if it is not there, or not any more.
    pub(in crate::store::memory) fn standing(&self, task: TaskId) -> Option<Standing> {
        let record = self
            .workflows
            .get(&task.workflow())?
            .view_task(task.no()?)?;
        let is_held = record.task.status == TaskStatus::Running;
        Some(Standing {
            status: record.task.status,
            attempt: record.task.attempt,
            claimed_at: record.started_at.filter(|_| is_held),
            finished_at: record.finished_at,
            error: record.task.error.map(|error| error.message),
        })
    }

    /// Whether a worker that has this attempt in hand shall stop; `None` if it is nobody's any more.
    pub(in crate::store::memory) fn is_called_off(
        &self,
        task: TaskId,
        attempt: u32,
    ) -> Option<bool> {
        let row = self.queue.get(&task)?;
        let is_current = self.standing(task)?.attempt == attempt;
        (row.lease.is_some() && is_current).then_some(row.shall_stop)
    }
}
