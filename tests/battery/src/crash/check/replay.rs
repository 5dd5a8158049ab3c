//! Lives a workflow's events again: only legal moves, each thing after what it depends on, and in the end
//! what is stored.

use std::collections::BTreeMap;

use drover_domain::workflow::{EventKind, NewWorkflowEvent, TaskNo, TaskStatus, WorkflowStatus};

use super::{Findings, Sin, Subject};

/// A task as its events describe it.
#[derive(Debug)]
struct Seen {
    status: TaskStatus,
    attempt: u32,
    /// What it waits for, and whether it also runs when that was skipped.
    waits_for: Vec<(TaskNo, bool)>,
    undoes: Option<TaskNo>,
    /// Which of all ends its own was.
    end: Option<usize>,
    /// Whether its worker lost it or gave it back, and it has not come to rest since.
    is_freed: bool,
}

struct Replay<'a> {
    subject: &'a Subject<'a>,
    status: WorkflowStatus,
    tasks: BTreeMap<TaskNo, Seen>,
    ends: usize,
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let mut replay = Replay::new(subject);
    for event in &subject.story.events {
        findings.moves += 1;
        if let Err((sin, why)) = replay.learn(&event.event) {
            let (id, at, kind) = (subject.id, event.position, event.event.kind.as_str());
            let task = event.event.task.map(|no| format!(" of task {no}"));
            let task = task.unwrap_or_default();
            findings.add(
                sin,
                format!("workflow {id}, event {at}, {kind}{task}: {why}"),
            );
            return;
        }
    }
    for why in replay.differences() {
        let id = subject.id;
        findings.add(Sin::IllegalMove, format!("workflow {id}: {why}"));
    }
}

type Learned = Result<(), (Sin, String)>;

fn illegal(why: impl Into<String>) -> (Sin, String) {
    (Sin::IllegalMove, why.into())
}

impl<'a> Replay<'a> {
    fn new(subject: &'a Subject<'a>) -> Self {
        let definition = subject.definition;
        let seen = |(no, undoes, _)| {
            let waits_for = match undoes {
                None => definition.graph().dependencies(no).to_vec(),
                Some(_) => Vec::new(),
            };
            let seen = Seen {
                status: TaskStatus::Pending,
                attempt: 0,
                waits_for,
                undoes,
                end: None,
                is_freed: false,
            };
            (no, seen)
        };
        Self {
            subject,
            status: WorkflowStatus::Pending,
            tasks: definition.numbered().map(seen).collect(),
            ends: 0,
        }
    }

    fn learn(&mut self, event: &NewWorkflowEvent) -> Learned {
        match event.task {
            Some(no) => self.learn_of_task(no, event),
            None => self.learn_of_workflow(event.kind),
        }
    }

    fn learn_of_workflow(&mut self, kind: EventKind) -> Learned {
        use WorkflowStatus as Status;

        let next = match kind {
            EventKind::WorkflowCreated => return Ok(()),
            EventKind::SignalReceived if !self.status.is_terminal() => return Ok(()),
            EventKind::WorkflowStarted | EventKind::WorkflowResumed => Status::Running,
            EventKind::WorkflowPaused => Status::Paused,
            EventKind::WorkflowCompleted => Status::Succeeded,
            EventKind::WorkflowFailed => Status::Failed,
            EventKind::WorkflowCancelling => Status::Cancelling,
            EventKind::WorkflowCancelled => Status::Cancelled,
            EventKind::WorkflowCompensating => Status::Compensating,
            EventKind::WorkflowCompensated => Status::Compensated,
            EventKind::WorkflowNeedsHuman => Status::NeedsHuman,
            // What a person reopens goes on where it failed.
            EventKind::WorkflowReopened if self.status == Status::Failed => {
                self.status = Status::Running;
                return Ok(());
            }
            EventKind::WorkflowReopened if self.status == Status::NeedsHuman => {
                self.status = Status::Compensating;
                return Ok(());
            }
            _ => return Err(illegal(format!("it is {}", self.status.as_str()))),
        };
        self.status = self
            .status
            .move_to(next)
            .map_err(|why| illegal(why.to_string()))?;
        let mut own = self.tasks.values().filter(|task| task.undoes.is_none());
        let well = |task: &Seen| matches!(task.status, TaskStatus::Succeeded | TaskStatus::Skipped);
        let is_true = match next {
            Status::Succeeded => own.all(well),
            Status::Failed => own.all(|task| task.status.is_terminal()),
            _ => true,
        };
        if is_true {
            Ok(())
        } else {
            Err((Sin::OutOfOrder, "its tasks say otherwise".to_owned()))
        }
    }

    fn learn_of_task(&mut self, no: TaskNo, event: &NewWorkflowEvent) -> Learned {
        if matches!(event.kind, EventKind::TaskStarted | EventKind::TaskQueued)
            || event.kind == EventKind::TaskWaiting
        {
            self.may_begin(no)?;
        }
        let ends = self.ends;
        let Some(task) = self.tasks.get_mut(&no) else {
            return Err(illegal("there is no such task"));
        };
        let before = task.status;
        let next = match event.kind {
            EventKind::TaskQueued => {
                if before == TaskStatus::Running && !task.is_freed {
                    return Err(illegal("nobody lost it or gave it back"));
                }
                TaskStatus::Queued
            }
            EventKind::TaskStarted => {
                task.attempt += 1;
                TaskStatus::Running
            }
            EventKind::TaskWaiting => {
                task.attempt += u32::from(before != TaskStatus::Running);
                TaskStatus::Waiting
            }
            EventKind::TaskCompleted => TaskStatus::Succeeded,
            EventKind::TaskRetrying => TaskStatus::Retrying,
            EventKind::TaskFailed => TaskStatus::Failed,
            EventKind::TaskTimedOut => TaskStatus::TimedOut,
            EventKind::TaskCancelled => TaskStatus::Cancelled,
            EventKind::TaskSkipped => TaskStatus::Skipped,
            EventKind::TaskUnknown => TaskStatus::Unknown,
            EventKind::TaskLost | EventKind::TaskReleased => {
                if before != TaskStatus::Running {
                    return Err(illegal(format!("it is {}", before.as_str())));
                }
                task.is_freed = true;
                return Ok(());
            }
            EventKind::TaskReopened => return reopen(task),
            _ => return Err(illegal("that is no event of a task")),
        };
        task.is_freed = false;
        if event.attempt != task.attempt {
            let (told, counted) = (event.attempt, task.attempt);
            return Err(illegal(format!(
                "it tells of attempt {told}, it is {counted}"
            )));
        }
        task.status = before
            .move_to(next)
            .map_err(|why| illegal(why.to_string()))?;
        if next.is_terminal() {
            task.end = Some(ends);
            self.ends += 1;
        }
        Ok(())
    }

    // A task runs when everything it depends on lets it, and what undoes one when everything that ended
    // later is undone.
    fn may_begin(&self, no: TaskNo) -> Learned {
        let Some(task) = self.tasks.get(&no) else {
            return Ok(());
        };
        if let Some(undone) = task.undoes {
            let ended = self.tasks.get(&undone).and_then(|task| task.end);
            let others = self.tasks.values().filter(|other| {
                let end = other.undoes.and_then(|other| self.tasks.get(&other)?.end);
                end > ended && other.undoes != Some(undone)
            });
            let mut open = others.filter(|other| {
                let undone = other.undoes.and_then(|undone| self.tasks.get(&undone));
                let did = undone.is_some_and(|undone| undone.status == TaskStatus::Succeeded);
                did && other.status != TaskStatus::Succeeded
            });
            if self.status != WorkflowStatus::Compensating || open.next().is_some() {
                return Err((
                    Sin::OutOfOrder,
                    "it is not its turn to be undone".to_owned(),
                ));
            }
            return Ok(());
        }
        for (on, skip) in &task.waits_for {
            let releases = self
                .tasks
                .get(on)
                .is_some_and(|on| on.status.releases_dependants(*skip));
            if !releases {
                return Err((Sin::OutOfOrder, format!("task {on} has not succeeded")));
            }
        }
        Ok(())
    }

    fn differences(&self) -> Vec<String> {
        let record = &self.subject.stored.record;
        let mut differences = Vec::new();
        if record.head.status != self.status {
            let (stored, told) = (record.head.status.as_str(), self.status.as_str());
            differences.push(format!("it is stored as {stored}, its events say {told}"));
        }
        let tasks = &self.subject.stored.tasks;
        if tasks.len() != self.tasks.len() {
            let (stored, planned) = (tasks.len(), self.tasks.len());
            differences.push(format!("it has {stored} tasks, planned were {planned}"));
        }
        for record in tasks {
            let no = record.task.no;
            let stored = (record.task.status, record.task.attempt);
            let told = self.tasks.get(&no).map(|seen| (seen.status, seen.attempt));
            if told != Some(stored) {
                differences.push(format!("task {no} is {stored:?}, its events say {told:?}"));
            }
        }
        differences
    }
}

fn reopen(task: &mut Seen) -> Learned {
    match task.status {
        // It stays what it is until it is queued.
        TaskStatus::Unknown => Ok(()),
        TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled | TaskStatus::Skipped => {
            task.status = TaskStatus::Pending;
            task.end = None;
            Ok(())
        }
        other => Err(illegal(format!("it is {}", other.as_str()))),
    }
}
