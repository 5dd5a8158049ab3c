//! What people do to a run: start, pause, resume, cancel, signal, decide about a task.

use std::collections::BTreeSet;

use super::super::mutant::{Mutant, is_on};
use super::super::{Action, EventKind, Json, SignalName, TaskNo, TaskStatus, WorkflowStatus};
use super::ends::may_have_happened;
use super::step::Turn;
use super::{Control, Decision, QueueMove, Refusal, SIGNALS_MAX, Task, Wake, WakeKind};

impl Turn<'_> {
    pub(super) fn control(&mut self, control: &Control) -> Result<(), Refusal> {
        let status = self.run.head.status;
        match (control, status) {
            (Control::Start, WorkflowStatus::Draft | WorkflowStatus::Pending) => self.start(),
            (Control::Pause, WorkflowStatus::Running) => {
                self.move_workflow(WorkflowStatus::Paused)?;
                self.changes.parked = Some(true);
                self.tell(EventKind::WorkflowPaused, None);
                Ok(())
            }
            (Control::Resume, WorkflowStatus::Paused) => {
                self.move_workflow(WorkflowStatus::Running)?;
                self.changes.parked = Some(false);
                self.tell(EventKind::WorkflowResumed, None);
                self.settle()
            }
            (Control::Cancel { reason }, _) if !status.is_terminal() => self.cancel(reason),
            _ if status.is_terminal() => Err(Refusal::Finished { status }),
            _ => Err(Refusal::WorkflowState {
                status,
                wish: wish(control),
            }),
        }
    }

    fn start(&mut self) -> Result<(), Refusal> {
        if self.run.head.status == WorkflowStatus::Draft {
            self.move_workflow(WorkflowStatus::Pending)?;
        }
        self.move_workflow(WorkflowStatus::Running)?;
        self.tell(EventKind::WorkflowStarted, None);
        if let Some(deadline) = self.run.head.deadline
            && !is_on(Mutant::NeverLate)
        {
            let at = self.now.after(deadline);
            let kind = WakeKind::WorkflowDeadline;
            self.changes.wakes.push(Wake { at, kind });
        }
        let roots: Vec<TaskNo> = self
            .run
            .tasks
            .values()
            .filter(|task| {
                task.undoes.is_none() && task.pending == 0 && task.status == TaskStatus::Pending
            })
            .map(|task| task.no)
            .collect();
        for no in roots {
            self.release(no)?;
        }
        // There is nothing to do where people have skipped everything.
        self.follow()
    }

    fn cancel(&mut self, reason: &str) -> Result<(), Refusal> {
        match self.run.head.status {
            // Asking twice is no error; what is being undone is undone to the end.
            WorkflowStatus::Cancelling => return Ok(()),
            WorkflowStatus::Compensating => {
                return Err(Refusal::WorkflowState {
                    status: WorkflowStatus::Compensating,
                    wish: "cancelled",
                });
            }
            WorkflowStatus::Draft | WorkflowStatus::Pending => {
                self.move_workflow(WorkflowStatus::Cancelled)?;
                self.call_off_all()?;
                self.run.head.error = Some(reason.to_owned());
                self.tell(EventKind::WorkflowCancelled, Some(reason));
                self.changes.tell_parent = Some(WorkflowStatus::Cancelled);
                return Ok(());
            }
            WorkflowStatus::Running
            | WorkflowStatus::Paused
            | WorkflowStatus::Succeeded
            | WorkflowStatus::Failed
            | WorkflowStatus::Cancelled
            | WorkflowStatus::Compensated
            | WorkflowStatus::NeedsHuman => {}
        }
        if self.run.head.status == WorkflowStatus::Paused {
            self.changes.parked = Some(false);
        }
        self.move_workflow(WorkflowStatus::Cancelling)?;
        self.run.head.error = Some(reason.to_owned());
        self.tell(EventKind::WorkflowCancelling, Some(reason));
        self.call_off_all()?;
        self.settle()
    }

    fn call_off_all(&mut self) -> Result<(), Refusal> {
        let open: Vec<TaskNo> = self
            .run
            .tasks
            .values()
            .filter(|task| task.undoes.is_none() && !task.status.is_terminal())
            .map(|task| task.no)
            .collect();
        for no in open {
            self.call_off(no)?;
        }
        Ok(())
    }

    /// Ends a task without a worker; asks the worker of one that runs to stop. What is unknown
    /// stays until a person decides.
    pub(super) fn call_off(&mut self, no: TaskNo) -> Result<(), Refusal> {
        match self.task(no)?.status {
            TaskStatus::Running => {
                self.changes.queue.push(QueueMove::Stop { no });
                Ok(())
            }
            // Its effect may go on without a worker: the next one takes it up and stops it.
            TaskStatus::Queued if self.task(no)?.may_go_on() => {
                self.changes.queue.push(QueueMove::Stop { no });
                Ok(())
            }
            TaskStatus::Queued => {
                self.changes.queue.push(QueueMove::Leave { no });
                self.end(no, TaskStatus::Cancelled, None)
            }
            TaskStatus::Pending | TaskStatus::Retrying | TaskStatus::Waiting => {
                self.end(no, TaskStatus::Cancelled, None)
            }
            TaskStatus::Unknown
            | TaskStatus::Succeeded
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Skipped => Ok(()),
        }
    }

    pub(super) fn signal(&mut self, name: SignalName, payload: Json) -> Result<(), Refusal> {
        let status = self.run.head.status;
        if status.is_terminal() {
            return Err(Refusal::Finished { status });
        }
        self.tell(EventKind::SignalReceived, Some(name.as_str()));
        let waits = |task: &&Task| {
            task.status == TaskStatus::Waiting
                && matches!(&task.action, Action::Signal { name: wanted, .. } if *wanted == name)
        };
        let waiting = self.run.tasks.values().find(waits).map(|task| task.no);
        if let Some(no) = waiting {
            self.changes.results.insert(no, payload);
            return self.finish(no, TaskStatus::Succeeded, None);
        }
        if self.run.signals.len() >= SIGNALS_MAX {
            return Err(Refusal::TooManySignals);
        }
        self.changes.kept_signal = Some((name, payload));
        Ok(())
    }

    pub(super) fn decide(&mut self, no: TaskNo, decision: Decision) -> Result<(), Refusal> {
        let status = self.task(no)?.status;
        match decision {
            Decision::Retry => self.redo(no),
            Decision::Skip => self.skip(no),
            Decision::Succeeded { result } if status == TaskStatus::Unknown => {
                self.changes.results.insert(no, result);
                self.change(no)?.error = None;
                self.finish(no, TaskStatus::Succeeded, Some("a person said so"))
            }
            Decision::Failed { error } if status == TaskStatus::Unknown => {
                let detail = format!("{}: {}", error.code, error.message);
                let task = self.change(no)?;
                task.error = Some(error);
                task.is_uncertain = false;
                self.finish(no, TaskStatus::Failed, Some(&detail))
            }
            Decision::Succeeded { .. } | Decision::Failed { .. } => {
                Err(self.task_refusal(no, "decided about")?)
            }
        }
    }

    fn task_refusal(&self, no: TaskNo, wish: &'static str) -> Result<Refusal, Refusal> {
        let task = self.task(no)?;
        Ok(Refusal::TaskState {
            key: task.key.clone(),
            status: task.status,
            workflow: self.run.head.status,
            wish,
        })
    }

    // What has ended is reopened only here, because a person asks for it.
    fn redo(&mut self, no: TaskNo) -> Result<(), Refusal> {
        let task = self.task(no)?;
        let (status, is_undoing) = (task.status, task.undoes.is_some());
        let workflow = self.run.head.status;
        if !may_be_redone(status, is_undoing, workflow) {
            return Err(self.task_refusal(no, "retried")?);
        }
        match (status, workflow) {
            (TaskStatus::Unknown, _) => {
                self.fresh_start(no)?;
                self.tell_of(no, EventKind::TaskReopened, None);
                self.release(no)
            }
            // A task is cancelled in a workflow that is not, where its worker stopped unasked.
            (
                TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled,
                WorkflowStatus::Running | WorkflowStatus::Paused | WorkflowStatus::Failed,
            ) if !is_undoing && !self.is_blocked(no) => {
                let rank = task.rank;
                self.reopen_workflow(WorkflowStatus::Failed, WorkflowStatus::Running);
                self.reopen(no)?;
                self.reopen_skipped(no, rank)?;
                self.recount_pending()?;
                self.recount();
                if self.task(no)?.pending == 0 {
                    self.release(no)?;
                }
                self.follow()
            }
            (
                TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled,
                WorkflowStatus::NeedsHuman,
            ) if is_undoing => {
                self.reopen_workflow(WorkflowStatus::NeedsHuman, WorkflowStatus::Compensating);
                self.reopen(no)?;
                self.release(no)
            }
            _ => Err(self.task_refusal(no, "retried")?),
        }
    }

    fn fresh_start(&mut self, no: TaskNo) -> Result<(), Refusal> {
        let task = self.change(no)?;
        task.retries = 0;
        task.lost = 0;
        task.error = None;
        Ok(())
    }

    fn reopen(&mut self, no: TaskNo) -> Result<(), Refusal> {
        self.fresh_start(no)?;
        let task = self.change(no)?;
        task.status = TaskStatus::Pending;
        task.rank = None;
        self.tell_of(no, EventKind::TaskReopened, None);
        Ok(())
    }

    fn reopen_workflow(&mut self, from: WorkflowStatus, to: WorkflowStatus) {
        if self.run.head.status == from {
            self.changes.head = true;
            self.run.head.status = to;
            self.tell(EventKind::WorkflowReopened, None);
        }
    }

    // Everything behind the reopened task that was skipped because of it waits again. What a person
    // had skipped before the task ended, at `rank`, stays skipped.
    fn reopen_skipped(&mut self, root: TaskNo, rank: Option<u32>) -> Result<(), Refusal> {
        let mut behind = BTreeSet::new();
        let mut front = vec![root];
        while let Some(no) = front.pop() {
            for (next, skipped_releases) in self.task(no)?.dependants.clone() {
                let task = self.task(next)?;
                let is_because = no == root || !skipped_releases;
                let is_skipped = task.status == TaskStatus::Skipped && task.rank > rank;
                if is_skipped && is_because && behind.insert(next) {
                    front.push(next);
                }
            }
        }
        for no in &behind {
            self.reopen(*no)?;
        }
        // What also waits for another task that did not succeed stays skipped, and so does what
        // waits for that.
        let mut blocked: Vec<TaskNo> = behind.iter().copied().collect();
        blocked.retain(|no| self.is_blocked(*no));
        while let Some(no) = blocked.pop() {
            if behind.remove(&no) {
                let reason = "another task did not succeed";
                self.end(no, TaskStatus::Skipped, Some(reason))?;
                let next = self.task(no)?.dependants.iter();
                blocked.extend(next.filter(|(_, skipped)| !skipped).map(|(next, _)| *next));
            }
        }
        Ok(())
    }

    // A task that has not begun waits for everything before it that is open, also for what has been
    // reopened after it was done without.
    fn recount_pending(&mut self) -> Result<(), Refusal> {
        let waits = |task: &&Task| task.undoes.is_none() && task.status == TaskStatus::Pending;
        let waiting: Vec<TaskNo> = self
            .run
            .tasks
            .values()
            .filter(waits)
            .map(|task| task.no)
            .collect();
        for no in waiting {
            let pending = self.open_dependencies(no);
            if self.task(no)?.pending != pending {
                self.change(no)?.pending = pending;
            }
        }
        Ok(())
    }

    fn dependencies(&self, no: TaskNo) -> impl Iterator<Item = (TaskStatus, bool)> {
        self.run.tasks.values().filter_map(move |task| {
            let (_, skipped) = task.dependants.iter().find(|(next, _)| *next == no)?;
            Some((task.status, *skipped))
        })
    }

    fn is_blocked(&self, no: TaskNo) -> bool {
        self.dependencies(no)
            .any(|(status, skipped)| status.is_terminal() && !status.releases_dependants(skipped))
    }

    fn open_dependencies(&self, no: TaskNo) -> u32 {
        let open = self
            .dependencies(no)
            .filter(|(status, skipped)| !status.releases_dependants(*skipped));
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// Counts the whole run anew.
    fn recount(&mut self) {
        self.changes.head = true;
        let head = &mut self.run.head;
        (head.open, head.failed, head.undoable) = (0, 0, 0);
        for task in self.run.tasks.values().filter(|task| task.undoes.is_none()) {
            if !task.status.is_terminal() {
                head.open += 1;
                continue;
            }
            if !matches!(task.status, TaskStatus::Succeeded | TaskStatus::Skipped) {
                head.failed += 1;
            }
            if task.undone_by.is_some() && may_have_happened(task) {
                head.undoable += 1;
            }
        }
        if head.failed == 0 {
            head.error = None;
        }
    }

    fn skip(&mut self, no: TaskNo) -> Result<(), Refusal> {
        let task = self.task(no)?;
        let (status, is_undoing) = (task.status, task.undoes.is_some());
        let workflow = self.run.head.status;
        if status == TaskStatus::Queued && task.may_go_on() {
            return Err(self.task_refusal(no, "skipped")?);
        }
        let reason = Some("a person skipped it");
        match (status, workflow) {
            (
                TaskStatus::Pending
                | TaskStatus::Queued
                | TaskStatus::Retrying
                | TaskStatus::Waiting
                | TaskStatus::Unknown,
                _,
            ) if !workflow.is_terminal() && !is_undoing => {
                if status == TaskStatus::Queued {
                    self.changes.queue.push(QueueMove::Leave { no });
                }
                self.finish(no, TaskStatus::Skipped, reason)
            }
            (TaskStatus::Unknown, WorkflowStatus::Compensating) if is_undoing => {
                self.finish(no, TaskStatus::Skipped, reason)
            }
            (
                TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled,
                WorkflowStatus::NeedsHuman,
            ) if is_undoing => {
                self.reopen_workflow(WorkflowStatus::NeedsHuman, WorkflowStatus::Compensating);
                self.reopen(no)?;
                self.end(no, TaskStatus::Skipped, reason)?;
                self.settle()
            }
            _ => Err(self.task_refusal(no, "skipped")?),
        }
    }
}

const fn wish(control: &Control) -> &'static str {
    match control {
        Control::Start => "started",
        Control::Pause => "paused",
        Control::Resume => "resumed",
        Control::Cancel { .. } => "cancelled",
    }
}

/// Whether a person may have a task done again, as far as these states say. A task that also waits for
/// another one that did not succeed may not.
#[must_use]
pub const fn may_be_redone(task: TaskStatus, is_undoing: bool, workflow: WorkflowStatus) -> bool {
    match task {
        TaskStatus::Unknown => {
            !workflow.is_terminal() && !matches!(workflow, WorkflowStatus::Cancelling)
        }
        TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled if is_undoing => {
            matches!(workflow, WorkflowStatus::NeedsHuman)
        }
        TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled => matches!(
            workflow,
            WorkflowStatus::Running | WorkflowStatus::Paused | WorkflowStatus::Failed
        ),
        TaskStatus::Pending
        | TaskStatus::Queued
        | TaskStatus::Running
        | TaskStatus::Retrying
        | TaskStatus::Waiting
        | TaskStatus::Succeeded
        | TaskStatus::Skipped => false,
    }
}
