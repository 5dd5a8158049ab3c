//! One step: what an input does to a run.

use std::time::Duration;

use super::super::mutant::{Mutant, is_on};
use super::super::policy::sample;
use super::super::{
    Action, EventKind, Guarantee, Json, NewWorkflowEvent, Takeover, TaskNo, TaskPolicy, TaskStatus,
    WorkflowStatus, event::DETAIL_MAX,
};
use super::{
    Changes, Control, Input, Outcome, QueueMove, Refusal, Run, Task, TaskError, Wake, WakeKind,
};
use crate::Timestamp;

/// How long an end of a child that came too early is put off.
const CHILD_AGAIN: Duration = Duration::from_secs(1);

impl Run {
    /// Lets something happen: changes the run and says what changed.
    ///
    /// # Errors
    ///
    /// [`Refusal`], and then nothing changed; unless it [is a defect](Refusal::is_defect): the run may then
    /// be half changed, and nothing of it is to be written.
    pub fn apply(&mut self, input: Input, now: Timestamp) -> Result<Changes, Refusal> {
        let mut turn = Turn {
            run: self,
            now,
            changes: Changes::default(),
            ended: Vec::new(),
        };
        turn.take(input)?;
        Ok(turn.changes)
    }
}

/// A step under way.
pub(super) struct Turn<'a> {
    pub(super) run: &'a mut Run,
    pub(super) now: Timestamp,
    pub(super) changes: Changes,
    /// Tasks that ended and whose dependants have not been looked at yet.
    pub(super) ended: Vec<TaskNo>,
}

impl Turn<'_> {
    fn take(&mut self, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Claimed { no, worker } => self.claimed(no, &worker),
            Input::Ended {
                no,
                attempt,
                outcome,
            } => {
                self.fence(no, attempt)?;
                self.ended(no, outcome)
            }
            Input::Lost { no, attempt } => {
                self.fence(no, attempt)?;
                self.lost(no)
            }
            Input::Overdue { no, attempt } => {
                self.fence(no, attempt)?;
                self.ended(no, Outcome::TimedOut)
            }
            Input::Due { kind } => self.due(kind),
            Input::Signal { name, payload } => self.signal(name, payload),
            Input::Control(control) => self.control(&control),
            Input::Decide { no, decision } => self.decide(no, decision),
        }
    }

    pub(super) fn task(&self, no: TaskNo) -> Result<&Task, Refusal> {
        self.run.tasks.get(&no).ok_or(Refusal::NoSuchTask { no })
    }

    /// The task, to change its record.
    pub(super) fn change(&mut self, no: TaskNo) -> Result<&mut Task, Refusal> {
        self.changes.tasks.insert(no);
        self.run
            .tasks
            .get_mut(&no)
            .ok_or(Refusal::NoSuchTask { no })
    }

    pub(super) fn move_task(&mut self, no: TaskNo, to: TaskStatus) -> Result<(), Refusal> {
        let task = self.change(no)?;
        task.status = task.status.move_to(to)?;
        Ok(())
    }

    pub(super) fn move_workflow(&mut self, to: WorkflowStatus) -> Result<(), Refusal> {
        self.changes.head = true;
        self.run.head.status = self.run.head.status.move_to(to)?;
        Ok(())
    }

    pub(super) fn tell(&mut self, kind: EventKind, detail: Option<&str>) {
        self.changes.events.push(NewWorkflowEvent {
            kind,
            task: None,
            attempt: 0,
            detail: detail.map(cut),
        });
    }

    pub(super) fn tell_of(&mut self, no: TaskNo, kind: EventKind, detail: Option<&str>) {
        let attempt = self.run.tasks.get(&no).map_or(0, |task| task.attempt);
        self.changes.events.push(NewWorkflowEvent {
            kind,
            task: Some(no),
            attempt,
            detail: detail.map(cut),
        });
    }

    /// Every write of a worker carries its attempt: another one than the current changes nothing.
    fn fence(&self, no: TaskNo, attempt: u32) -> Result<(), Refusal> {
        let task = self.task(no)?;
        let is_current = task.attempt == attempt || is_on(Mutant::NoFencing);
        if is_current && task.status == TaskStatus::Running {
            Ok(())
        } else {
            Err(Refusal::Stale { attempt })
        }
    }

    fn claimed(&mut self, no: TaskNo, worker: &str) -> Result<(), Refusal> {
        self.move_task(no, TaskStatus::Running)?;
        if !is_on(Mutant::AttemptNotCounted) {
            self.change(no)?.attempt += 1;
        }
        self.changes.queue.push(QueueMove::Take { no });
        self.tell_of(no, EventKind::TaskStarted, Some(worker));
        Ok(())
    }

    fn ended(&mut self, no: TaskNo, outcome: Outcome) -> Result<(), Refusal> {
        self.changes.queue.push(QueueMove::Leave { no });
        match outcome {
            Outcome::Succeeded { result } => {
                self.changes.results.insert(no, result);
                self.change(no)?.error = None;
                self.finish(no, TaskStatus::Succeeded, None)
            }
            Outcome::Failed { error, retryable } => self.failed(no, error, retryable),
            Outcome::TimedOut => self.timed_out(no),
            Outcome::Unknown { error } => self.unknown(no, error),
            Outcome::Waiting if !matches!(self.task(no)?.action, Action::Child { .. }) => {
                let message = "it says that it waits for a child, and it has none";
                self.failed(no, TaskError::new("cannot_wait", message), false)
            }
            Outcome::Waiting => {
                self.move_task(no, TaskStatus::Waiting)?;
                self.tell_of(no, EventKind::TaskWaiting, None);
                self.cancel_if_called_off(no)
            }
            Outcome::Cancelled => self.finish(no, TaskStatus::Cancelled, None),
            Outcome::Released => self.released(no),
        }
    }

    fn failed(&mut self, no: TaskNo, error: TaskError, retryable: bool) -> Result<(), Refusal> {
        let id = self.run.head.id;
        let task = self.change(no)?;
        let chance = sample(id, no, task.attempt);
        let wait = task.policy.next_wait(task.retries, &error.code, chance);
        let detail = format!("{}: {}", error.code, error.message);
        task.error = Some(error);
        match wait {
            Some(wait) if retryable && !self.is_called_off() => self.retry(no, wait, &detail),
            Some(_) | None => self.finish(no, TaskStatus::Failed, Some(&detail)),
        }
    }

    // What takes too long and cannot be repeated may still have its effect.
    fn timed_out(&mut self, no: TaskNo) -> Result<(), Refusal> {
        self.change(no)?.is_uncertain = true;
        let task = self.task(no)?;
        let seconds = task.policy.timeout.as_secs_f64();
        let error = TaskError::new(
            "timeout",
            &format!("the attempt took longer than {seconds} s"),
        );
        if task.policy.takeover == Takeover::Unknown {
            return self.unknown(no, error);
        }
        let chance = sample(self.run.head.id, no, task.attempt);
        let wait = task.policy.next_wait(task.retries, &error.code, chance);
        let detail = error.message.clone();
        self.change(no)?.error = Some(error);
        match wait {
            Some(wait) if !self.is_called_off() => self.retry(no, wait, &detail),
            Some(_) | None => self.finish(no, TaskStatus::TimedOut, Some(&detail)),
        }
    }

    fn unknown(&mut self, no: TaskNo, error: TaskError) -> Result<(), Refusal> {
        self.move_task(no, TaskStatus::Unknown)?;
        let detail = format!("{}: {}", error.code, error.message);
        let task = self.change(no)?;
        task.error = Some(error);
        task.is_uncertain = true;
        self.tell_of(no, EventKind::TaskUnknown, Some(&detail));
        Ok(())
    }

    fn retry(&mut self, no: TaskNo, wait: Duration, detail: &str) -> Result<(), Refusal> {
        self.move_task(no, TaskStatus::Retrying)?;
        let at = self.now.after(wait);
        let task = self.change(no)?;
        task.retries += 1;
        let kind = WakeKind::Retry {
            no,
            attempt: task.attempt,
        };
        if !is_on(Mutant::LostWakeUp) {
            self.changes.wakes.push(Wake { at, kind });
        }
        self.tell_of(no, EventKind::TaskRetrying, Some(detail));
        Ok(())
    }

    fn lost(&mut self, no: TaskNo) -> Result<(), Refusal> {
        self.changes.queue.push(QueueMove::Leave { no });
        let task = self.change(no)?;
        task.lost += 1;
        task.is_uncertain = true;
        let (lost, takeover, guarantee) = (task.lost, task.policy.takeover, task.policy.guarantee);
        if takeover == Takeover::Unknown && !is_on(Mutant::RepeatsTheUnrepeatable) {
            let message = "its worker went away in the middle; nobody knows what it did";
            return self.unknown(no, TaskError::new("worker_lost", message));
        }
        if lost > TaskPolicy::LOST_MAX {
            let message = format!("its worker went away {lost} times in the middle of it");
            let error = TaskError::new("worker_lost", &message);
            // A task that may go on without its workers is not claimed again.
            if guarantee == Guarantee::G4 {
                return self.unknown(no, error);
            }
            self.change(no)?.error = Some(error);
            return self.finish(no, TaskStatus::Failed, Some(&message));
        }
        self.queue_again(no, EventKind::TaskLost)
    }

    // Who gives a task back says no reason. Where nothing executes a kind it would go round for ever.
    fn released(&mut self, no: TaskNo) -> Result<(), Refusal> {
        let task = self.task(no)?;
        let given_back = task.attempt.saturating_sub(task.retries + task.lost);
        if given_back > TaskPolicy::RELEASED_MAX {
            let message = format!(
                "it was given back {given_back} times without being done; no worker of the queue `{}` executes it",
                task.queue
            );
            let error = TaskError::new("released", &message);
            if task.policy.guarantee == Guarantee::G4 {
                return self.unknown(no, error);
            }
            self.change(no)?.error = Some(error);
            return self.finish(no, TaskStatus::Failed, Some(&message));
        }
        let message = "its worker gave it back without doing it; it waits for another one";
        self.change(no)?.error = Some(TaskError::new("released", message));
        self.queue_again(no, EventKind::TaskReleased)
    }

    // In a cancelled workflow, a task without a worker ends. Only one whose effect goes
    // on without its worker is claimed again, by a worker that is asked to stop it.
    fn queue_again(&mut self, no: TaskNo, told: EventKind) -> Result<(), Refusal> {
        self.tell_of(no, told, None);
        let task = self.task(no)?;
        let policy = &task.policy;
        let goes_on = policy.guarantee == Guarantee::G4 && policy.takeover == Takeover::Requeue;
        if self.is_called_off() && task.undoes.is_none() && !goes_on {
            return self.finish(no, TaskStatus::Cancelled, None);
        }
        self.move_task(no, TaskStatus::Queued)?;
        let holds_keys = true;
        self.changes.queue.push(QueueMove::Enter { no, holds_keys });
        if self.is_called_off() {
            self.changes.queue.push(QueueMove::Stop { no });
        }
        self.tell_of(no, EventKind::TaskQueued, None);
        Ok(())
    }

    /// Whether no further task of the run may start.
    pub(super) const fn is_called_off(&self) -> bool {
        matches!(self.run.head.status, WorkflowStatus::Cancelling)
    }

    /// Whether tasks with all dependencies done may begin.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(
            self.run.head.status,
            WorkflowStatus::Running | WorkflowStatus::Paused
        )
    }

    fn cancel_if_called_off(&mut self, no: TaskNo) -> Result<(), Refusal> {
        if self.is_called_off() {
            self.call_off(no)?;
            return self.settle();
        }
        Ok(())
    }

    /// Starts the wait or the queueing of a task whose dependencies are done. One that takes a
    /// signal ends with it: the caller then calls [`Self::follow`].
    pub(super) fn release(&mut self, no: TaskNo) -> Result<(), Refusal> {
        let now = self.now;
        let task = self.change(no)?;
        if let Some(deadline) = task.policy.deadline {
            let at = now.after(deadline);
            task.deadline_at = Some(at);
            let kind = WakeKind::TaskDeadline { no };
            self.changes.wakes.push(Wake { at, kind });
        }
        match self.task(no)?.action.clone() {
            Action::Run | Action::RunRemotely | Action::Child { .. } => self.enter_queue(no),
            Action::Timer { wait } => self.wait(no, Some(wait)),
            Action::Signal {
                name,
                expires_after,
            } => {
                self.wait(no, expires_after)?;
                let taken = self
                    .run
                    .signals
                    .iter()
                    .position(|signal| signal.name == name);
                let Some(at) = taken else { return Ok(()) };
                let signal = self.run.signals.remove(at);
                self.changes.taken_signals.push(signal.position);
                self.changes.results.insert(no, signal.payload);
                self.end(no, TaskStatus::Succeeded, None)?;
                self.ended.push(no);
                Ok(())
            }
        }
    }

    pub(super) fn enter_queue(&mut self, no: TaskNo) -> Result<(), Refusal> {
        self.move_task(no, TaskStatus::Queued)?;
        let holds_keys = false;
        self.changes.queue.push(QueueMove::Enter { no, holds_keys });
        self.tell_of(no, EventKind::TaskQueued, None);
        Ok(())
    }

    fn wait(&mut self, no: TaskNo, limit: Option<Duration>) -> Result<(), Refusal> {
        self.move_task(no, TaskStatus::Waiting)?;
        let task = self.change(no)?;
        task.attempt += 1;
        let attempt = task.attempt;
        if let Some(limit) = limit {
            let kind = WakeKind::WaitOver { no, attempt };
            let at = self.now.after(limit);
            self.changes.wakes.push(Wake { at, kind });
        }
        self.tell_of(no, EventKind::TaskWaiting, None);
        Ok(())
    }

    fn succeed_waiting(&mut self, no: TaskNo, result: Json) -> Result<(), Refusal> {
        self.changes.results.insert(no, result);
        self.finish(no, TaskStatus::Succeeded, None)
    }

    // A moment that is no longer waited for does nothing.
    fn due(&mut self, kind: WakeKind) -> Result<(), Refusal> {
        let status = match kind.task() {
            Some(no) => Some(self.task(no)?.status),
            None => None,
        };
        match kind {
            WakeKind::Start if self.run.head.status == WorkflowStatus::Pending => {
                self.control(&Control::Start)
            }
            // What is being ended or undone already goes on.
            WakeKind::WorkflowDeadline if self.is_under_way() => {
                let reason = "its deadline has passed".to_owned();
                self.control(&Control::Cancel { reason })
            }
            WakeKind::Retry { no, attempt }
                if status == Some(TaskStatus::Retrying) && self.task(no)?.attempt == attempt =>
            {
                self.enter_queue(no)
            }
            WakeKind::WaitOver { no, attempt }
                if status == Some(TaskStatus::Waiting) && self.task(no)?.attempt == attempt =>
            {
                self.wait_over(no)
            }
            WakeKind::TaskDeadline { no }
                if self.task(no)?.deadline_at.is_some_and(|at| at <= self.now) =>
            {
                self.deadline_passed(no)
            }
            WakeKind::ChildEnded { no, status: ended } => match status {
                Some(TaskStatus::Waiting) => self.child_ended(no, ended),
                // The child was quicker than the report that its parent waits for it, also where the
                // worker that started it went away.
                Some(TaskStatus::Running | TaskStatus::Queued | TaskStatus::Retrying) => {
                    let at = self.now.after(CHILD_AGAIN);
                    self.changes.wakes.push(Wake { at, kind });
                    Ok(())
                }
                Some(_) | None => Ok(()),
            },
            WakeKind::Start
            | WakeKind::WorkflowDeadline
            | WakeKind::Retry { .. }
            | WakeKind::WaitOver { .. }
            | WakeKind::TaskDeadline { .. }
            | WakeKind::CancelChild { .. } => Ok(()),
        }
    }

    fn wait_over(&mut self, no: TaskNo) -> Result<(), Refusal> {
        match self.task(no)?.action {
            Action::Timer { .. } => self.succeed_waiting(no, Json::null()),
            Action::Signal { .. } => {
                let error = TaskError::new("signal_expired", "the signal did not come in time");
                let detail = error.message.clone();
                self.change(no)?.error = Some(error);
                self.finish(no, TaskStatus::TimedOut, Some(&detail))
            }
            Action::Run | Action::RunRemotely | Action::Child { .. } => Ok(()),
        }
    }

    fn deadline_passed(&mut self, no: TaskNo) -> Result<(), Refusal> {
        let task = self.task(no)?;
        let is_running = task.status == TaskStatus::Running;
        let is_out = is_running && task.policy.takeover == Takeover::Unknown;
        let error = TaskError::new("deadline", "the time for all attempts of the task is over");
        match task.status {
            TaskStatus::Queued | TaskStatus::Running => {
                self.changes.queue.push(QueueMove::Leave { no });
            }
            TaskStatus::Retrying | TaskStatus::Waiting => {}
            TaskStatus::Pending
            | TaskStatus::Unknown
            | TaskStatus::Succeeded
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled
            | TaskStatus::Skipped => return Ok(()),
        }
        if is_out {
            return self.unknown(no, error);
        }
        let detail = error.message.clone();
        let task = self.change(no)?;
        task.error = Some(error);
        task.is_uncertain |= is_running;
        self.finish(no, TaskStatus::TimedOut, Some(&detail))
    }

    fn child_ended(&mut self, no: TaskNo, ended: WorkflowStatus) -> Result<(), Refusal> {
        if ended == WorkflowStatus::Succeeded {
            return self.succeed_waiting(no, Json::null());
        }
        let message = format!("the workflow it started is {}", ended.as_str());
        let detail = message.clone();
        self.change(no)?.error = Some(TaskError::new("child_not_succeeded", &message));
        self.finish(no, TaskStatus::Failed, Some(&detail))
    }
}

fn cut(detail: &str) -> String {
    detail.chars().take(DETAIL_MAX).collect()
}
