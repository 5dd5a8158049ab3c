//! What may follow for a task.

use drover_domain::workflow::run::{Outcome, WakeKind};
use drover_domain::workflow::{EventKind, NewWorkflowEvent, TaskNo, TaskStatus, WorkflowStatus};

use super::super::invariant::{Broken, Invariant, require, require_that};
use super::{Between, Cause, Mirror, place};

impl Mirror {
    pub(super) fn learn_of_task(
        &mut self,
        no: TaskNo,
        event: &NewWorkflowEvent,
        cause: Cause<'_>,
    ) -> Result<(), Broken> {
        match event.kind {
            EventKind::TaskStarted => self.started(no)?,
            EventKind::TaskQueued => self.queued(no, cause)?,
            EventKind::TaskWaiting => self.waiting(no, cause)?,
            EventKind::TaskRetrying => self.retrying(no, cause)?,
            EventKind::TaskLost | EventKind::TaskReleased => self.freed(no, event.kind, cause)?,
            EventKind::TaskReopened => self.reopened(no, cause)?,
            EventKind::TaskUnknown => self.unknown(no, cause)?,
            EventKind::TaskCompleted => self.completed(no, cause)?,
            EventKind::TaskFailed => self.failed(no, cause)?,
            EventKind::TaskTimedOut => self.timed_out(no, cause)?,
            EventKind::TaskCancelled => self.cancelled(no, cause)?,
            EventKind::TaskSkipped => self.skipped(no, cause)?,
            _ => return Err(Invariant::History.broken("no event of a task")),
        }
        let attempt = self.task(no).attempt;
        let why = || format!("the event is of attempt {}, not {attempt}", event.attempt);
        require_that(event.attempt == attempt, Invariant::OneAttempt, why)
    }

    fn is_one_of(&self, no: TaskNo, from: &[TaskStatus]) -> Result<(), Broken> {
        let is_legal = from.contains(&self.task(no).status);
        require(is_legal, Invariant::History, "no such move")
    }

    fn ends(&mut self, no: TaskNo, how: TaskStatus) {
        let end = self.ends;
        self.ends += 1;
        let task = self.task_mut(no);
        task.status = how;
        task.end = Some(end);
        task.between = Between::Nothing;
    }

    fn started(&mut self, no: TaskNo) -> Result<(), Broken> {
        self.is_one_of(no, &[TaskStatus::Queued])?;
        let task = self.task(no);
        let may_start = match (self.status, task.undoes) {
            (WorkflowStatus::Running, None) | (WorkflowStatus::Compensating, Some(_)) => true,
            // A worker has to stop what goes on without its worker.
            (WorkflowStatus::Cancelling, None) => task.is_adopted() && task.attempt > 0,
            _ => false,
        };
        require(may_start, Invariant::History, "nothing starts there")?;
        let has_reason = task.reasons >= task.attempt;
        require(has_reason, Invariant::OneAttempt, "one attempt too many")?;
        let task = self.task_mut(no);
        task.status = TaskStatus::Running;
        task.attempt += 1;
        Ok(())
    }

    fn queued(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        let task = self.task(no);
        let keeps_keys = task.between == Between::Freed;
        match task.status {
            TaskStatus::Pending => {
                if task.between != Between::Resumed {
                    self.may_begin(no)?;
                }
                self.task_mut(no).begun_at = Some(cause.now);
            }
            TaskStatus::Running if keeps_keys => {}
            TaskStatus::Retrying => {
                let attempt = task.attempt;
                let is_due = cause.due() == Some(WakeKind::Retry { no, attempt });
                require(is_due, Invariant::History, "its time has not come")?;
            }
            _ => return Err(Invariant::History.broken("no such move")),
        }
        let task = self.task_mut(no);
        task.status = TaskStatus::Queued;
        task.keeps_keys = keeps_keys;
        task.between = Between::Nothing;
        Ok(())
    }

    fn waiting(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        let task = self.task(no);
        match task.status {
            TaskStatus::Pending => {
                let has_reason = task.reasons >= task.attempt;
                require(has_reason, Invariant::OneAttempt, "one wait too many")?;
                self.may_begin(no)?;
                let task = self.task_mut(no);
                task.attempt += 1;
                task.begun_at = Some(cause.now);
            }
            TaskStatus::Running => {
                let is_told = matches!(cause.outcome(), Some(Outcome::Waiting));
                let is_told = is_told && task.is_parent();
                require(is_told, Invariant::History, "nobody said so")?;
            }
            _ => return Err(Invariant::History.broken("no such move")),
        }
        self.task_mut(no).status = TaskStatus::Waiting;
        Ok(())
    }

    /// Whether a task may begin now for the first time, or again after it had ended.
    fn may_begin(&self, no: TaskNo) -> Result<(), Broken> {
        let task = self.task(no);
        if let Some(undone) = task.undoes {
            return self.may_undo(place(no), undone);
        }
        let is_under_way = matches!(
            self.status,
            WorkflowStatus::Running | WorkflowStatus::Paused
        );
        require(is_under_way, Invariant::History, "nothing begins there")?;
        let open = self.open_dependencies(task);
        let why = || format!("{open} of its dependencies are open or did not succeed");
        require_that(open == 0, Invariant::Order, why)
    }

    fn may_undo(&self, undoing: usize, undone: usize) -> Result<(), Broken> {
        let is_time = self.status == WorkflowStatus::Compensating;
        require(is_time, Invariant::Undoing, "nothing is being undone")?;
        let task = &self.tasks[undone];
        let did = task.may_have_happened();
        require(did, Invariant::Undoing, "what it undoes never happened")?;
        let mut others = self.tasks.iter().enumerate().skip(self.total);
        let is_alone = others.all(|(at, other)| {
            at == undoing || other.status == TaskStatus::Pending || other.ended_well()
        });
        require(is_alone, Invariant::Undoing, "another one is not done yet")?;
        let mut later = self.undoable().filter(|other| other.end > task.end);
        let is_next = later.all(|other| self.is_undone(other));
        let why = "something that ended later is not undone yet";
        require(is_next, Invariant::Undoing, why)
    }

    fn retrying(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        self.is_one_of(no, &[TaskStatus::Running])?;
        let is_called_off = self.status == WorkflowStatus::Cancelling;
        require(
            !is_called_off,
            Invariant::History,
            "nothing is tried again there",
        )?;
        // An attempt that is overdue says nothing.
        let outcome = cause.outcome().unwrap_or(&Outcome::TimedOut);
        let task = self.task_mut(no);
        let is_tried_again = task.is_tried_again(outcome);
        task.status = TaskStatus::Retrying;
        task.reasons += 1;
        task.retries += 1;
        let is_sure = matches!(outcome, Outcome::Failed { .. });
        task.surely_failed += u32::from(is_sure);
        task.is_uncertain |= !is_sure;
        require(
            is_tried_again,
            Invariant::History,
            "its policy does not want that",
        )
    }

    fn freed(&mut self, no: TaskNo, kind: EventKind, cause: Cause<'_>) -> Result<(), Broken> {
        self.is_one_of(no, &[TaskStatus::Running])?;
        let is_told = if kind == EventKind::TaskLost {
            cause.is_loss()
        } else {
            matches!(cause.outcome(), Some(Outcome::Released))
        };
        require(is_told, Invariant::History, "nobody said so")?;
        let task = self.task_mut(no);
        task.is_uncertain |= kind == EventKind::TaskLost;
        task.between = Between::Freed;
        task.reasons += 1;
        Ok(())
    }

    fn reopened(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        use TaskStatus::{Cancelled, Failed, Skipped, TimedOut, Unknown};

        self.is_one_of(no, &[Failed, TimedOut, Cancelled, Skipped, Unknown])?;
        require(cause.is_decision(), Invariant::History, "no person did it")?;
        let is_wanted = !self.task(no).is_dropped;
        let why = "a person wanted to do without it";
        require(is_wanted, Invariant::History, why)?;
        let task = self.task_mut(no);
        if task.status == Unknown {
            task.between = Between::Resumed;
        }
        task.status = TaskStatus::Pending;
        task.end = None;
        task.retries = 0;
        task.reopened += 1;
        task.reasons += 1;
        Ok(())
    }

    fn unknown(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        self.is_one_of(no, &[TaskStatus::Running])?;
        self.is_due(no, cause)?;
        let task = self.task_mut(no);
        task.status = TaskStatus::Unknown;
        task.is_uncertain = true;
        Ok(())
    }

    fn completed(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        use TaskStatus::{Running, Unknown, Waiting};

        self.is_one_of(no, &[Running, Waiting, Unknown])?;
        let task = self.task(no);
        match task.status {
            Running => {
                let is_told = matches!(cause.outcome(), Some(Outcome::Succeeded { .. }));
                require(is_told, Invariant::Truth, "nobody said so")?;
            }
            Unknown => require(cause.is_decision(), Invariant::Truth, "no person said so")?,
            _ if task.is_timer() => self.is_due(no, cause)?,
            _ => {}
        }
        if let Some(name) = self.task(no).signal().cloned() {
            let taken = self.signals.get_mut(&name).filter(|count| **count > 0);
            let Some(count) = taken else {
                return Err(Invariant::Truth.broken("there was no such signal"));
            };
            *count -= 1;
        }
        self.task_mut(no).is_uncertain = false;
        self.ends(no, TaskStatus::Succeeded);
        Ok(())
    }

    fn failed(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        use TaskStatus::{Running, Unknown, Waiting};

        self.is_one_of(no, &[Running, Waiting, Unknown])?;
        let outcome = cause.outcome();
        let is_tried_again = outcome.is_some_and(|outcome| self.task(no).is_tried_again(outcome));
        let may_fail = !is_tried_again || self.status == WorkflowStatus::Cancelling;
        require(may_fail, Invariant::History, "it was given up too early")?;
        let task = self.task(no);
        let is_known = !cause.is_loss() || !task.is_unrepeatable();
        require(is_known, Invariant::Truth, "nobody can know that")?;
        // A person resolves it as not done; an attempt that was lost has no such decision.
        let is_uncertain = match task.status {
            Unknown => false,
            _ => task.is_uncertain || cause.is_loss(),
        };
        self.task_mut(no).is_uncertain = is_uncertain;
        self.ends(no, TaskStatus::Failed);
        Ok(())
    }

    fn timed_out(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        use TaskStatus::{Queued, Retrying, Running, Waiting};

        self.is_one_of(no, &[Running, Queued, Retrying, Waiting])?;
        self.is_due(no, cause)?;
        let task = self.task(no);
        let is_known = task.status != Running || !task.is_obscure();
        require(is_known, Invariant::Truth, "nobody can know that")?;
        let is_running = task.status == Running;
        self.task_mut(no).is_uncertain |= is_running;
        self.ends(no, TaskStatus::TimedOut);
        Ok(())
    }

    /// If something is due, whether it is: neither an earlier wait's nor too early.
    fn is_due(&self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        let task = self.task(no);
        let is_due = match cause.due() {
            Some(WakeKind::TaskDeadline { .. }) => task.is_out_of_time(cause.now),
            Some(WakeKind::WaitOver { no: of, attempt }) => {
                let end = task.begun_at.zip(task.wait());
                let is_over = end.is_some_and(|(begun, wait)| begun.after(wait) <= cause.now);
                of != no || (attempt == task.attempt && is_over)
            }
            _ => true,
        };
        require(is_due, Invariant::History, "its time has not come")
    }

    fn cancelled(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        let task = self.task(no);
        let is_open = !task.status.is_terminal();
        require(is_open, Invariant::History, "no such move")?;
        let is_called_off = self.status == WorkflowStatus::Cancelling || cause.calls_off();
        let is_told = matches!(cause.outcome(), Some(Outcome::Cancelled))
            && task.status == TaskStatus::Running;
        let is_wanted = is_called_off || is_told;
        require(is_wanted, Invariant::History, "nobody wanted that")?;
        self.ends(no, TaskStatus::Cancelled);
        Ok(())
    }

    fn skipped(&mut self, no: TaskNo, cause: Cause<'_>) -> Result<(), Broken> {
        use TaskStatus::{Pending, Queued, Retrying, Unknown, Waiting};

        self.is_one_of(no, &[Pending, Queued, Retrying, Waiting, Unknown])?;
        let has_reason = cause.is_skip_of(no) || self.is_blocked(self.task(no));
        require(has_reason, Invariant::Order, "nothing is in its way")?;
        self.ends(no, TaskStatus::Skipped);
        self.task_mut(no).is_dropped = cause.is_skip_of(no);
        Ok(())
    }
}
