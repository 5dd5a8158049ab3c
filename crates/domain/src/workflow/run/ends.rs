//! The end of a task and what follows: who runs next, how the workflow ends, what is undone.

use super::super::mutant::{Mutant, is_on};
use super::super::{Action, EventKind, TaskNo, TaskStatus, WorkflowStatus};
use super::step::Turn;
use super::{Refusal, Task, Wake, WakeKind};

impl Turn<'_> {
    /// Ends a task for good and lets follow what follows.
    pub(super) fn finish(
        &mut self,
        no: TaskNo,
        to: TaskStatus,
        detail: Option<&str>,
    ) -> Result<(), Refusal> {
        self.end(no, to, detail)?;
        self.ended.push(no);
        self.follow()
    }

    /// Ends a task: status, event, counts.
    pub(super) fn end(
        &mut self,
        no: TaskNo,
        to: TaskStatus,
        detail: Option<&str>,
    ) -> Result<(), Refusal> {
        self.call_off_child(no, to)?;
        self.move_task(no, to)?;
        if to == TaskStatus::Succeeded {
            self.change(no)?.is_uncertain = false;
        }
        let kind = match to {
            TaskStatus::Succeeded => EventKind::TaskCompleted,
            TaskStatus::TimedOut => EventKind::TaskTimedOut,
            TaskStatus::Cancelled => EventKind::TaskCancelled,
            TaskStatus::Skipped => EventKind::TaskSkipped,
            TaskStatus::Failed
            | TaskStatus::Pending
            | TaskStatus::Queued
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Waiting
            | TaskStatus::Unknown => EventKind::TaskFailed,
        };
        self.tell_of(no, kind, detail);
        self.count(no, to, detail)
    }

    // A child that was started, or may have been, is cancelled with its task if no worker goes on with
    // the task; not where the task ends because the child did.
    fn call_off_child(&mut self, no: TaskNo, to: TaskStatus) -> Result<(), Refusal> {
        let task = self.task(no)?;
        let has_ended = match to {
            TaskStatus::Succeeded => true,
            TaskStatus::Failed => task.status == TaskStatus::Waiting,
            TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Skipped
            | TaskStatus::Pending
            | TaskStatus::Queued
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Waiting
            | TaskStatus::Unknown => false,
        };
        if matches!(task.action, Action::Child { .. }) && task.attempt > 0 && !has_ended {
            let kind = WakeKind::CancelChild { no };
            let at = self.now;
            self.changes.wakes.push(Wake { at, kind });
        }
        Ok(())
    }

    fn count(&mut self, no: TaskNo, to: TaskStatus, detail: Option<&str>) -> Result<(), Refusal> {
        self.changes.head = true;
        let rank = self.run.head.ended;
        self.run.head.ended += 1;
        let task = self.change(no)?;
        task.rank = Some(rank);
        if task.undoes.is_some() {
            return Ok(());
        }
        let key = task.key.clone();
        let is_undoable = task.undone_by.is_some() && may_have_happened(task);
        let head = &mut self.run.head;
        head.open = head.open.saturating_sub(1);
        head.undoable += u32::from(is_undoable);
        if !matches!(to, TaskStatus::Succeeded | TaskStatus::Skipped) {
            head.failed += 1;
            if head.error.is_none() {
                let said = detail
                    .map(|detail| format!(": {detail}"))
                    .unwrap_or_default();
                let how = to.as_str().replace('_', " ");
                head.error = Some(format!("the task `{key}` ended as {how}{said}"));
            }
        }
        Ok(())
    }

    /// Releases or skips who waited for ended tasks, and settles. A list, not a recursion: a thousand
    /// tasks may end in one step, each because of the one before.
    pub(super) fn follow(&mut self) -> Result<(), Refusal> {
        while let Some(no) = self.ended.pop() {
            let task = self.task(no)?;
            let status = task.status;
            for (next, skipped_releases) in task.dependants.clone() {
                if self.task(next)?.status != TaskStatus::Pending {
                    continue;
                }
                let releases =
                    status.releases_dependants(skipped_releases) || is_on(Mutant::FailureReleases);
                if releases {
                    let task = self.change(next)?;
                    task.pending = task.pending.saturating_sub(1);
                    let is_free = task.pending == 0 || is_on(Mutant::FirstDependencyReleases);
                    if is_free && self.is_under_way() {
                        self.release(next)?;
                    }
                } else {
                    let reason = format!("the task `{}` did not succeed", self.task(no)?.key);
                    self.end(next, TaskStatus::Skipped, Some(&reason))?;
                    self.ended.push(next);
                }
            }
        }
        self.settle()
    }

    /// Ends the workflow, or goes on with undoing it, when nothing of it is open.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        match self.run.head.status {
            WorkflowStatus::Running if self.run.head.open == 0 => {
                if self.run.head.failed == 0 {
                    return self.end_workflow(WorkflowStatus::Succeeded);
                }
                self.move_workflow(WorkflowStatus::Failed)?;
                let reason = self.run.head.error.clone();
                self.tell(EventKind::WorkflowFailed, reason.as_deref());
                if self.run.head.undoable > 0 {
                    self.start_undoing()
                } else {
                    self.changes.tell_parent = Some(WorkflowStatus::Failed);
                    Ok(())
                }
            }
            WorkflowStatus::Cancelling if self.run.head.open == 0 => {
                if self.run.head.undoable > 0 {
                    self.start_undoing()
                } else {
                    self.end_workflow(WorkflowStatus::Cancelled)
                }
            }
            WorkflowStatus::Compensating => self.undo_next(),
            WorkflowStatus::Running
            | WorkflowStatus::Cancelling
            // A paused workflow ends when it is resumed.
            | WorkflowStatus::Paused
            | WorkflowStatus::Draft
            | WorkflowStatus::Pending
            | WorkflowStatus::Succeeded
            | WorkflowStatus::Failed
            | WorkflowStatus::Cancelled
            | WorkflowStatus::Compensated
            | WorkflowStatus::NeedsHuman => Ok(()),
        }
    }

    fn start_undoing(&mut self) -> Result<(), Refusal> {
        self.move_workflow(WorkflowStatus::Compensating)?;
        self.tell(EventKind::WorkflowCompensating, None);
        self.undo_next()
    }

    /// Undoes the task that ended last of those that are not undone yet; one at a time.
    pub(super) fn undo_next(&mut self) -> Result<(), Refusal> {
        let undoing = self.run.tasks.values().filter(|task| task.undoes.is_some());
        let mut next: Option<(u32, TaskNo)> = None;
        for task in undoing {
            match task.status {
                TaskStatus::Pending => {
                    let Some(rank) = self.rank_to_undo(task) else {
                        continue;
                    };
                    let comes_first = |(best, _): (u32, TaskNo)| {
                        if is_on(Mutant::UndoesInForwardOrder) {
                            rank < best
                        } else {
                            rank > best
                        }
                    };
                    if next.is_none_or(comes_first) {
                        next = Some((rank, task.no));
                    }
                }
                TaskStatus::Succeeded | TaskStatus::Skipped => {}
                TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled => {
                    let reason = format!("the task `{}` failed", task.key);
                    self.tell(EventKind::WorkflowNeedsHuman, Some(&reason));
                    self.changes.tell_parent = Some(WorkflowStatus::NeedsHuman);
                    return self.move_workflow(WorkflowStatus::NeedsHuman);
                }
                TaskStatus::Queued
                | TaskStatus::Running
                | TaskStatus::Retrying
                | TaskStatus::Waiting
                | TaskStatus::Unknown => return Ok(()),
            }
        }
        match next {
            Some((_, no)) => self.release(no),
            None => self.end_workflow(WorkflowStatus::Compensated),
        }
    }

    // The rank of the task that `task` undoes, if there is something to undo.
    fn rank_to_undo(&self, task: &Task) -> Option<u32> {
        let undone = self.run.tasks.get(&task.undoes?)?;
        let did = may_have_happened(undone) || is_on(Mutant::UndoesWhatNeverRan);
        undone.rank.filter(|_| did)
    }

    fn end_workflow(&mut self, to: WorkflowStatus) -> Result<(), Refusal> {
        self.move_workflow(to)?;
        let kind = match to {
            WorkflowStatus::Succeeded => EventKind::WorkflowCompleted,
            WorkflowStatus::Cancelled => EventKind::WorkflowCancelled,
            WorkflowStatus::Compensated => EventKind::WorkflowCompensated,
            WorkflowStatus::NeedsHuman => EventKind::WorkflowNeedsHuman,
            WorkflowStatus::Failed
            | WorkflowStatus::Draft
            | WorkflowStatus::Pending
            | WorkflowStatus::Running
            | WorkflowStatus::Paused
            | WorkflowStatus::Cancelling
            | WorkflowStatus::Compensating => EventKind::WorkflowFailed,
        };
        let reason = self.run.head.error.clone();
        self.tell(kind, reason.as_deref());
        self.changes.tell_parent = Some(to);
        Ok(())
    }
}

/// Whether an ended task may have had its effect, so that there is something to undo: not if its time
/// ran out before its first attempt; also if an earlier attempt has an unknown effect.
pub(super) fn may_have_happened(task: &Task) -> bool {
    match task.status {
        TaskStatus::Succeeded => true,
        TaskStatus::TimedOut => task.attempt > 0,
        TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped => {
            task.is_uncertain && !is_on(Mutant::ForgetsUncertainty)
        }
        TaskStatus::Pending
        | TaskStatus::Queued
        | TaskStatus::Running
        | TaskStatus::Retrying
        | TaskStatus::Waiting
        | TaskStatus::Unknown => false,
    }
}
