//! What rollouts and actions need of the engine in memory.

use drover_domain::rollout::record::Standing;
use drover_domain::workflow::{TaskId, TaskStatus};
use drover_ports::{NewWorkflow, StartedWorkflow, StoreError};

use super::Engine;

impl Engine {
    /// Starts the workflows of updates or actions, all or none.
    pub(in crate::store::memory) fn start_all(
        &mut self,
        workflows: &[NewWorkflow],
    ) -> Result<Vec<StartedWorkflow>, StoreError> {
        self.start(workflows)
    }

    /// Why a task did not succeed, as far as the engine knows: its error's code, and the error of its workflow.
    pub(in crate::store::memory) fn failure(
        &self,
        task: TaskId,
    ) -> (Option<String>, Option<String>) {
        let Some(stored) = self.workflows.get(&task.workflow()) else {
            return (None, None);
        };
        let state = task.no().and_then(|no| stored.run.tasks.get(&no));
        let code = state
            .and_then(|state| state.error.as_ref())
            .map(|error| error.code.clone());
        (code, stored.head().error.clone())
    }

    /// The status of a task; `None` if it does not exist.
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

    /// Whether the worker of this attempt must stop; `None` if no worker holds it.
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
