//! The second engine: it knows only what events say, and what must not follow from what.

mod cause;
mod seen;
mod task;
mod workflow;

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::workflow::run::Task;
use drover_domain::workflow::{
    Definition, NewWorkflowEvent, SignalName, TaskNo, TaskStatus, WorkflowStatus,
};

use super::invariant::{Broken, Invariant, require_that};

pub(super) use cause::Cause;
use seen::Between;
pub(super) use seen::Seen;

/// A workflow as its events describe it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) status: WorkflowStatus,
    /// Signals that arrived and were not taken.
    pub(super) signals: BTreeMap<SignalName, usize>,
    /// The longest it may take from its start on.
    deadline: Option<Duration>,
    started_at: Option<Timestamp>,
    tasks: Vec<Seen>,
    /// How many tasks are no compensations.
    total: usize,
    ends: u32,
}

impl Mirror {
    pub(super) fn new(definition: &Definition, deadline: Option<Duration>) -> Self {
        let mut tasks: Vec<Seen> = Vec::new();
        for (no, undoes, spec) in definition.numbered() {
            let work = match undoes {
                None => &spec.work,
                Some(_) => spec.compensation.as_ref().unwrap_or(&spec.work),
            };
            let waits_for = match undoes {
                None => definition.graph().dependencies(no),
                Some(_) => &[],
            };
            let waits_for = waits_for.iter().map(|(on, skip)| (place(*on), *skip));
            let undoes = undoes.map(place);
            tasks.push(Seen::new(work, waits_for.collect(), undoes));
            if let Some(undone) = undoes {
                tasks[undone].undone_by = Some(place(no));
            }
        }
        Self {
            status: WorkflowStatus::Pending,
            signals: BTreeMap::new(),
            deadline,
            started_at: None,
            tasks,
            total: definition.tasks().len(),
            ends: 0,
        }
    }

    pub(super) fn task(&self, no: TaskNo) -> &Seen {
        &self.tasks[place(no)]
    }

    fn task_mut(&mut self, no: TaskNo) -> &mut Seen {
        &mut self.tasks[place(no)]
    }

    /// All tasks but the compensations.
    pub(super) fn own(&self) -> impl Iterator<Item = &Seen> {
        self.tasks.iter().take(self.total)
    }

    /// The tasks that have something to undo.
    pub(super) fn undoable(&self) -> impl Iterator<Item = &Seen> {
        self.own()
            .filter(|task| task.undone_by.is_some() && task.may_have_happened())
    }

    /// How many tasks a task still waits for.
    fn open_dependencies(&self, task: &Seen) -> usize {
        let releases = |(on, skip): &&(usize, bool)| {
            let status = self.tasks[*on].status;
            !status.releases_dependants(*skip)
        };
        task.waits_for.iter().filter(releases).count()
    }

    /// Whether a task waits for one that has ended and will not let it run.
    fn is_blocked(&self, task: &Seen) -> bool {
        task.waits_for.iter().any(|(on, skip)| {
            let status = self.tasks[*on].status;
            status.is_terminal() && !status.releases_dependants(*skip)
        })
    }

    /// Learns of an event. Whether it may follow from everything before and from its cause.
    pub(super) fn learn(
        &mut self,
        event: &NewWorkflowEvent,
        cause: Cause<'_>,
    ) -> Result<(), Broken> {
        let before = self.shown(event);
        let learned = match event.task {
            None => self.learn_of_workflow(event, cause),
            Some(no) => self.learn_of_task(no, event, cause),
        };
        learned.map_err(|why| {
            let (kind, before) = (event.kind.as_str(), before.to_string());
            let message = format!("{kind} {before}: {} ({:?})", why.message, cause.input);
            why.invariant.broken(message)
        })
    }

    fn shown(&self, event: &NewWorkflowEvent) -> Shown {
        Shown {
            workflow: self.status,
            task: event.task.map(|no| {
                let task = self.task(no);
                (no, task.status, task.attempt)
            }),
        }
    }

    /// Whether a task is what the events say.
    pub(super) fn check_task(&self, task: &Task) -> Result<(), Broken> {
        let seen = self.task(task.no);
        let is_same = task.status == seen.status
            && task.attempt == seen.attempt
            && task.is_uncertain == seen.is_uncertain
            && seen.between == Between::Nothing;
        require_that(is_same, Invariant::History, || {
            let shown = |status: TaskStatus, attempt: u32, is_uncertain: bool| {
                let known = if is_uncertain { "uncertain" } else { "known" };
                format!("{}, attempt {attempt}, {known}", status.as_str())
            };
            let is = shown(task.status, task.attempt, task.is_uncertain);
            let told = shown(seen.status, seen.attempt, seen.is_uncertain);
            format!("task {} is {is}; its events say {told}", task.no)
        })?;
        if task.undoes.is_some() || task.status != TaskStatus::Pending {
            return Ok(());
        }
        let open = self.open_dependencies(seen);
        require_that(task.pending as usize == open, Invariant::Counters, || {
            format!(
                "task {} waits for {}, counted {open}",
                task.no, task.pending
            )
        })
    }

    /// Whether nothing is where it cannot stay.
    pub(super) fn check_rest(&self) -> Result<(), Broken> {
        for (no, task) in self.own().enumerate() {
            let status = task.status;
            let may_stay = match status {
                TaskStatus::Pending => !self.is_blocked(task) && !self.is_called_off(),
                TaskStatus::Queued => !self.is_called_off() || task.is_adopted(),
                TaskStatus::Retrying => !self.is_called_off(),
                TaskStatus::Waiting => !self.is_called_off() && !self.has_signal_for(task),
                TaskStatus::Running
                | TaskStatus::Unknown
                | TaskStatus::Succeeded
                | TaskStatus::Failed
                | TaskStatus::TimedOut
                | TaskStatus::Cancelled
                | TaskStatus::Skipped => true,
            };
            require_that(may_stay, Invariant::Ends, || {
                let (is, workflow) = (status.as_str(), self.status.as_str());
                format!("task {no} stays {is} in a workflow that is {workflow}")
            })?;
        }
        Ok(())
    }

    fn is_called_off(&self) -> bool {
        matches!(
            self.status,
            WorkflowStatus::Cancelling | WorkflowStatus::Cancelled
        )
    }

    fn has_signal_for(&self, task: &Seen) -> bool {
        let name = task.signal();
        name.is_some_and(|name| self.signals.get(name).is_some_and(|count| *count > 0))
    }
}

/// Where things stood before an event.
struct Shown {
    workflow: WorkflowStatus,
    task: Option<(TaskNo, TaskStatus, u32)>,
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((no, status, attempt)) = self.task {
            let status = status.as_str();
            write!(f, "of task {no}, {status}, attempt {attempt}, ")?;
        }
        write!(f, "in a workflow that is {}", self.workflow.as_str())
    }
}

fn place(no: TaskNo) -> usize {
    usize::from(no.get())
}
