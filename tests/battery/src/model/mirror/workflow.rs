//! What may follow for a workflow.

use drover_domain::Timestamp;
use drover_domain::workflow::run::{Input, WakeKind};
use drover_domain::workflow::{EventKind, NewWorkflowEvent, WorkflowStatus};

use super::super::invariant::{Broken, Invariant, require};
use super::{Cause, Mirror, Seen};

impl Mirror {
    pub(super) fn learn_of_workflow(
        &mut self,
        event: &NewWorkflowEvent,
        cause: Cause<'_>,
    ) -> Result<(), Broken> {
        use WorkflowStatus as Status;

        if event.kind == EventKind::SignalReceived {
            return self.signalled(cause);
        }
        let next = match event.kind {
            EventKind::WorkflowCreated => Status::Pending,
            EventKind::WorkflowStarted | EventKind::WorkflowResumed => Status::Running,
            EventKind::WorkflowPaused => Status::Paused,
            EventKind::WorkflowCompleted => Status::Succeeded,
            EventKind::WorkflowFailed => Status::Failed,
            EventKind::WorkflowCancelling => Status::Cancelling,
            EventKind::WorkflowCancelled => Status::Cancelled,
            EventKind::WorkflowCompensated => Status::Compensated,
            EventKind::WorkflowNeedsHuman => Status::NeedsHuman,
            EventKind::WorkflowReopened if self.status == Status::Failed => Status::Running,
            EventKind::WorkflowReopened | EventKind::WorkflowCompensating => Status::Compensating,
            _ => return Err(Invariant::History.broken("no event of a workflow")),
        };
        let is_legal = self.may_follow(event.kind, cause);
        if event.kind == EventKind::WorkflowStarted {
            self.started_at = Some(cause.now);
        }
        self.status = next;
        require(is_legal, Invariant::History, "no such move")
    }

    fn may_follow(&self, kind: EventKind, cause: Cause<'_>) -> bool {
        use WorkflowStatus as Status;

        let status = self.status;
        let all_ended = || self.own().all(|task| task.status.is_terminal());
        let all_well = || self.own().all(Seen::ended_well);
        let has_undoable = || self.undoable().next().is_some();
        let calls_off = || cause.calls_off() && self.is_its_time(cause);
        match kind {
            EventKind::WorkflowCreated => cause.is_birth(),
            EventKind::WorkflowStarted => status == Status::Pending,
            EventKind::WorkflowPaused => status == Status::Running,
            EventKind::WorkflowResumed => status == Status::Paused,
            EventKind::WorkflowCompleted => status == Status::Running && all_well(),
            EventKind::WorkflowFailed => status == Status::Running && all_ended() && !all_well(),
            EventKind::WorkflowCancelling => {
                matches!(status, Status::Running | Status::Paused) && calls_off()
            }
            EventKind::WorkflowCancelled => match status {
                Status::Pending => all_ended() && calls_off(),
                Status::Cancelling => all_ended() && !has_undoable(),
                _ => false,
            },
            EventKind::WorkflowCompensating => {
                let has_ended = matches!(status, Status::Failed | Status::Cancelling);
                has_ended && all_ended() && has_undoable()
            }
            EventKind::WorkflowCompensated => {
                let all_undone = self.undoable().all(|task| self.is_undone(task));
                status == Status::Compensating && all_undone
            }
            EventKind::WorkflowNeedsHuman => {
                let mut undoing = self.tasks.iter().skip(self.total);
                let has_failed = |task: &Seen| task.status.is_terminal() && !task.ended_well();
                status == Status::Compensating && undoing.any(has_failed)
            }
            EventKind::WorkflowReopened => {
                let has_ended = matches!(status, Status::Failed | Status::NeedsHuman);
                has_ended && cause.is_decision()
            }
            _ => false,
        }
    }

    /// If its deadline calls it off, whether that has come.
    fn is_its_time(&self, cause: Cause<'_>) -> bool {
        let has_come = self.deadline_at().is_some_and(|at| at <= cause.now);
        has_come || cause.due() != Some(WakeKind::WorkflowDeadline)
    }

    /// What it has to be woken up for when it starts, and when.
    pub(in super::super) fn deadline_at(&self) -> Option<Timestamp> {
        let (start, deadline) = self.started_at.zip(self.deadline)?;
        Some(start.after(deadline))
    }

    fn signalled(&mut self, cause: Cause<'_>) -> Result<(), Broken> {
        let Some(Input::Signal { name, .. }) = cause.input else {
            return Err(Invariant::History.broken("there was no signal"));
        };
        *self.signals.entry(name.clone()).or_default() += 1;
        let is_open = !self.status.is_terminal();
        require(is_open, Invariant::History, "it has ended")
    }

    pub(super) fn is_undone(&self, task: &Seen) -> bool {
        task.undone_by.is_some_and(|by| self.tasks[by].ended_well())
    }
}
