//! The birth of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{
    Action, Definition, EventKind, NewWorkflowEvent, TaskId, TaskNo, TaskSpec, TaskStatus, Work,
    WorkflowId, WorkflowStatus,
};
use super::{Changes, Control, Family, Head, Input, Refusal, Run, Task, Wake, WakeKind};
use crate::Timestamp;

/// A run to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun<'a> {
    /// Its identifier.
    pub id: WorkflowId,
    /// What it consists of.
    pub definition: &'a Definition,
    /// The task of another workflow that waits for it.
    pub parent: Option<TaskId>,
    /// The workflows above it.
    pub family: Family,
    /// Whether and when it starts by itself: `None` waits for a start request, zero starts at once.
    pub start_after: Option<Duration>,
    /// The longest it may take from its start on.
    pub deadline: Option<Duration>,
}

impl Run {
    /// A new run and what its creation does besides: events, and its first queued tasks if it starts
    /// at once. All tasks of it are to be written, whatever [`Changes::tasks`] says.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooDeep`], [`Refusal::FamilyTooLarge`], [`Refusal::FamilyClosed`]; [`Refusal::Illegal`], a defect.
    pub fn create(new: &NewRun<'_>, now: Timestamp) -> Result<(Self, Changes), Refusal> {
        new.family.admits()?;
        let mut tasks = BTreeMap::new();
        for (no, undoes, spec) in new.definition.numbered() {
            let task = match undoes {
                None => ordinary(new.definition, no, spec),
                Some(undone) => compensation(no, undone, spec),
            };
            if let Some(undone) = undoes.and_then(|undone| tasks.get_mut(&undone)) {
                let undone: &mut Task = undone;
                undone.undone_by = Some(no);
            }
            tasks.insert(no, task);
        }
        let total = u32::try_from(new.definition.tasks().len()).unwrap_or(u32::MAX);
        let mut run = Self {
            head: Head {
                id: new.id,
                status: WorkflowStatus::Pending,
                total,
                open: total,
                failed: 0,
                undoable: 0,
                ended: 0,
                has_signals: tasks
                    .values()
                    .any(|task: &Task| matches!(task.action, Action::Signal { .. })),
                parent: new.parent,
                deadline: new.deadline,
                error: None,
            },
            tasks,
            signals: Vec::new(),
        };
        let mut changes = Changes {
            head: true,
            events: vec![NewWorkflowEvent {
                kind: EventKind::WorkflowCreated,
                task: None,
                attempt: 0,
                detail: None,
            }],
            ..Changes::default()
        };
        match new.start_after {
            None => {}
            Some(wait) if wait.is_zero() => {
                changes.absorb(run.apply(Input::Control(Control::Start), now)?);
            }
            Some(wait) => changes.wakes.push(Wake {
                at: now.after(wait),
                kind: WakeKind::Start,
            }),
        }
        Ok((run, changes))
    }
}

fn ordinary(definition: &Definition, no: TaskNo, spec: &TaskSpec) -> Task {
    let graph = definition.graph();
    Task {
        key: spec.key.clone(),
        pending: u32::try_from(graph.dependencies(no).len()).unwrap_or(u32::MAX),
        dependants: graph.dependants(no).to_vec(),
        concurrency_keys: spec.concurrency_keys.clone(),
        ..fresh(no, spec, &spec.work)
    }
}

fn compensation(no: TaskNo, undone: TaskNo, spec: &TaskSpec) -> Task {
    Task {
        key: spec.key.undoing(),
        undoes: Some(undone),
        ..fresh(no, spec, spec.compensation.as_ref().unwrap_or(&spec.work))
    }
}

fn fresh(no: TaskNo, spec: &TaskSpec, work: &Work) -> Task {
    Task {
        no,
        key: spec.key.clone(),
        status: TaskStatus::Pending,
        attempt: 0,
        retries: 0,
        lost: 0,
        is_uncertain: false,
        pending: 0,
        dependants: Vec::new(),
        undoes: None,
        undone_by: None,
        rank: None,
        deadline_at: None,
        action: work.action.clone(),
        queue: work.queue.clone(),
        priority: work.priority,
        concurrency_keys: Vec::new(),
        policy: work.policy.clone(),
        error: None,
    }
}
