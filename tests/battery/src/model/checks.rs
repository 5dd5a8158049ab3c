//! What is looked at after every commit, and at the end.

use std::collections::BTreeSet;

use drover_domain::workflow::run::{
    Changes, FAMILY_DEPTH_MAX, FAMILY_SIZE_MAX, Family, Input, Outcome, Run, Wake, WakeKind,
};
use drover_domain::workflow::{
    EventKind, NewWorkflowEvent, TaskId, TaskNo, TaskStatus, WorkflowId, WorkflowStatus,
};

use super::calls::Assignment;
use super::invariant::{Broken, Invariant, require, require_that};
use super::mirror::{Cause, Mirror};
use super::sim::World;

impl World {
    /// A step was committed.
    pub(super) fn check_step(
        &self,
        id: WorkflowId,
        changes: &Changes,
        cause: Cause<'_>,
    ) -> Result<(), Broken> {
        let (Some(run), Some(mirror)) = (self.store.runs.get(&id), self.mirrors.get(&id)) else {
            return Err(Invariant::Acknowledged.broken("a workflow is gone"));
        };
        check_head(run, mirror)?;
        mirror.check_rest()?;
        let has_ended = changes.head && run.head.status.is_terminal();
        let is_told = !has_ended || changes.tell_parent == Some(run.head.status);
        let why = "nobody is told that the workflow has ended";
        require(is_told, Invariant::Ends, why)?;
        check_deadline(mirror, changes)?;
        for no in &changes.tasks {
            self.check_task(run, mirror, *no)?;
        }
        if let Some(input) = cause.input {
            self.check_report(id, mirror, input)?;
            self.check_children(run, mirror, changes, input)?;
        }
        Ok(())
    }

    fn check_task(&self, run: &Run, mirror: &Mirror, no: TaskNo) -> Result<(), Broken> {
        let Some(task) = run.tasks.get(&no) else {
            return Err(Invariant::History.broken(format!("there is no task {no}")));
        };
        mirror.check_task(task)?;
        let row = self.store.queue.get(&run.head.id.task(no));
        let is_in_line = matches!(task.status, TaskStatus::Queued | TaskStatus::Running);
        let why = || {
            format!(
                "task {no} is {}; in line: {}",
                task.status.as_str(),
                row.is_some()
            )
        };
        require_that(row.is_some() == is_in_line, Invariant::Acknowledged, why)?;
        let Some(row) = row else { return Ok(()) };
        let keeps_keys = row.holds_keys == mirror.task(no).keeps_keys;
        let why = "a task that may go on gave its keys away";
        require(keeps_keys, Invariant::Limits, why)?;
        let is_asked = row.shall_stop || mirror.status != WorkflowStatus::Cancelling;
        require(is_asked, Invariant::Ends, "nobody asks the task to stop")
    }

    /// Only the current attempt of a running task counts, and it succeeds only if it was executed.
    fn check_report(&self, id: WorkflowId, mirror: &Mirror, input: &Input) -> Result<(), Broken> {
        let (no, attempt) = match input {
            Input::Ended { no, attempt, .. }
            | Input::Lost { no, attempt }
            | Input::Overdue { no, attempt } => (*no, *attempt),
            _ => return Ok(()),
        };
        let seen = mirror.task(no);
        let why = || {
            format!(
                "attempt {attempt} of task {no} counted, not {}",
                seen.attempt
            )
        };
        require_that(seen.attempt == attempt, Invariant::OneAttempt, why)?;
        let says_done = matches!(
            input,
            Input::Ended {
                outcome: Outcome::Succeeded { .. },
                ..
            }
        );
        let is_true = !says_done || seen.is_parent() || self.ledger.has(id.task(no), attempt);
        require(
            is_true,
            Invariant::Truth,
            "it succeeded and was never executed",
        )
    }

    /// A child does not go on without anybody who waits for it.
    fn check_children(
        &self,
        run: &Run,
        mirror: &Mirror,
        changes: &Changes,
        input: &Input,
    ) -> Result<(), Broken> {
        for no in &changes.tasks {
            let seen = mirror.task(*no);
            let is_over = seen.status.is_terminal() && seen.status != TaskStatus::Succeeded;
            let child_ended = matches!(
                input,
                Input::Due {
                    kind: WakeKind::ChildEnded { .. }
                }
            );
            if !seen.is_parent() || !is_over || child_ended {
                continue;
            }
            let children = self.store.children_of(run.head.id.task(*no));
            let mut status = children
                .iter()
                .filter_map(|child| self.store.status(*child));
            let goes_on = status.any(|status| !status.is_terminal());
            let no = *no;
            let is_called_off = changes
                .wakes
                .iter()
                .any(|wake| wake.kind == WakeKind::CancelChild { no });
            let why = "the child of a task that has ended goes on";
            require(!goes_on || is_called_off, Invariant::Ends, why)?;
        }
        Ok(())
    }

    /// What the store says is above a new workflow.
    pub(super) fn family_of(&self, parent: Option<TaskId>) -> Family {
        let above = self.store.above(parent);
        let size = self.grown.saturating_add(self.store.size_below(&above));
        Family::below(above.iter().filter_map(|id| self.store.status(*id)), size)
    }

    /// A workflow is about to be started: families end somewhere, and grow no more once a workflow above is cancelled.
    pub(super) fn check_family(&self, parent: Option<TaskId>) -> Result<(), Broken> {
        let above = self.store.above(parent);
        let is_flat = above.len() <= usize::try_from(FAMILY_DEPTH_MAX).unwrap_or(usize::MAX);
        require(
            is_flat,
            Invariant::Limits,
            "workflows stand above each other too high",
        )?;
        let size = self.grown.saturating_add(self.store.size_below(&above));
        let is_small = above.is_empty() || size < FAMILY_SIZE_MAX;
        require(
            is_small,
            Invariant::Limits,
            "a workflow has too many below it",
        )?;
        let mut mirrors = above.iter().filter_map(|id| self.mirrors.get(id));
        let opens = |mirror: &Mirror| {
            matches!(
                mirror.status,
                WorkflowStatus::Running | WorkflowStatus::Paused
            )
        };
        let why = "a workflow was started below one that ends";
        require(mirrors.all(opens), Invariant::Ends, why)
    }

    /// Tasks were taken from the queue.
    pub(super) fn check_limits(&self, assigned: &[Assignment]) -> Result<(), Broken> {
        if assigned.is_empty() {
            return Ok(());
        }
        let mut keys = BTreeSet::new();
        for (task, row) in &self.store.queue {
            let Some(state) = self.store.task(*task) else {
                continue;
            };
            if row.lease.is_some() || row.holds_keys {
                for key in &state.concurrency_keys {
                    let why = || format!("two tasks have the key {key}");
                    require_that(keys.insert(key.as_str()), Invariant::Limits, why)?;
                }
            }
        }
        for assignment in assigned {
            let Some(state) = self.store.task(assignment.task) else {
                continue;
            };
            let Some((limits, _)) = self.store.limits.get(&state.queue) else {
                continue;
            };
            let is_open = !limits.is_paused;
            require(is_open, Invariant::Limits, "a paused queue gave a task")?;
            let running = self.store.running_in(&state.queue);
            let fits = limits.concurrency.is_none_or(|most| running <= most);
            require(fits, Invariant::Limits, "a queue gave more than it may")?;
        }
        Ok(())
    }

    /// Everything has ended.
    pub(super) fn check_the_end(&mut self) -> Result<(), Broken> {
        for order in &self.orders {
            let workflow = order.acknowledged;
            let is_there = workflow.is_some_and(|id| self.store.runs.contains_key(&id));
            require(is_there, Invariant::Acknowledged, "an order is gone")?;
        }
        for (id, run) in &self.store.runs {
            let Some(mirror) = self.mirrors.get(id) else {
                return Err(Invariant::History.broken("a workflow without a birth"));
            };
            check_head(run, mirror)?;
            for no in run.tasks.keys() {
                self.check_task(run, mirror, *no)?;
            }
        }
        while self.reader.seen.len() < self.store.events.len() {
            self.read_on();
            self.deliver_all()?;
        }
        let is_same = self.reader.seen == self.store.events;
        require(
            is_same,
            Invariant::Readers,
            "something else was read than written",
        )
    }
}

/// A start with a deadline requests a wake-up at it.
fn check_deadline(mirror: &Mirror, changes: &Changes) -> Result<(), Broken> {
    let starts = |event: &NewWorkflowEvent| event.kind == EventKind::WorkflowStarted;
    let Some(at) = mirror.deadline_at() else {
        return Ok(());
    };
    let kind = WakeKind::WorkflowDeadline;
    let is_asked = changes.wakes.contains(&Wake { at, kind });
    let has_started = changes.events.iter().any(starts);
    let why = "nobody looks when the workflow's time is up";
    require(is_asked || !has_started, Invariant::Ends, why)
}

fn check_head(run: &Run, mirror: &Mirror) -> Result<(), Broken> {
    let head = &run.head;
    require_that(head.status == mirror.status, Invariant::History, || {
        let (is, told) = (head.status.as_str(), mirror.status.as_str());
        format!("the workflow is {is}; its events say {told}")
    })?;
    let (mut open, mut failed) = (0, 0);
    for task in mirror.own() {
        open += u32::from(!task.status.is_terminal());
        failed += u32::from(task.status.is_terminal() && !task.ended_well());
    }
    let undoable = u32::try_from(mirror.undoable().count()).unwrap_or(u32::MAX);
    let kept = [head.open, head.failed, head.undoable];
    let counted = [open, failed, undoable];
    let why = || format!("open, failed, undoable: {kept:?}, counted {counted:?}");
    require_that(kept == counted, Invariant::Counters, why)?;
    let stored = run.signals.len();
    let expected: usize = mirror.signals.values().sum();
    let why = || format!("{stored} signals are kept, {expected} were not taken");
    require_that(stored == expected, Invariant::Acknowledged, why)
}
