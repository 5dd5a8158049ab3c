//! A workflow as it is kept: the run, and what nothing is decided by.

use std::collections::BTreeMap;

use drover_domain::Timestamp;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::run::{Changes, Head, Input, Run, StoredSignal};
use drover_domain::workflow::{
    Definition, ExecutionMode, Json, Kind, TaskKey, TaskNo, TaskStatus, WorkflowId,
};
use drover_ports::{DefinitionRef, NewWorkflow, TaskRecord, WorkflowRecord};

use super::tells_start;

#[derive(Debug)]
pub(super) struct StoredWorkflow {
    pub(super) position: i64,
    pub(super) run: Run,
    pub(super) finished_at: Option<Timestamp>,
    rows: BTreeMap<TaskNo, TaskRow>,
    pub(super) name: String,
    mode: ExecutionMode,
    source: Option<DefinitionRef>,
    labels: BTreeMap<String, String>,
    input: Json,
    origin: Origin,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
}

/// What is kept of a task beside its state.
#[derive(Debug)]
pub(super) struct TaskRow {
    pub(super) kind: Kind,
    pub(super) payload: Json,
    /// Who took it last.
    pub(super) worker: Option<String>,
    pub(super) started_at: Option<Timestamp>,
    /// Its place among the dead letters.
    pub(super) dead: Option<i64>,
    depends_on: Vec<TaskKey>,
    result: Option<Json>,
    finished_at: Option<Timestamp>,
}

impl StoredWorkflow {
    pub(super) fn new(new: &NewWorkflow, run: Run, position: i64, now: Timestamp) -> Self {
        Self {
            position,
            run,
            finished_at: None,
            rows: rows(&new.definition),
            name: new.name.clone(),
            mode: new.definition.mode(),
            source: new.source.clone(),
            labels: new.labels.clone(),
            input: new.input.clone(),
            origin: new.origin.clone(),
            created_at: now,
            started_at: None,
        }
    }

    /// A copy of what the input needs: as little as an adapter loads, so that a step that would need
    /// more is found here too.
    pub(super) fn part(&self, input: &Input) -> Run {
        if input.needs_whole_run(&self.run.head) {
            return self.run.clone();
        }
        let named = input.task().and_then(|no| self.run.tasks.get(&no));
        let behind = named
            .iter()
            .flat_map(|task| &task.dependants)
            .filter_map(|(no, _)| self.run.tasks.get(no));
        Run {
            head: self.run.head.clone(),
            tasks: named
                .into_iter()
                .chain(behind)
                .map(|task| (task.no, task.clone()))
                .collect(),
            signals: Vec::new(),
        }
    }

    pub(super) fn put_back(&mut self, part: Run) {
        self.run.head = part.head;
        self.run.tasks.extend(part.tasks);
    }

    pub(super) fn record(&mut self, changes: &Changes, now: Timestamp, last: &mut i64) {
        for no in &changes.tasks {
            let (Some(task), Some(row)) = (self.run.tasks.get(no), self.rows.get_mut(no)) else {
                continue;
            };
            row.finished_at = task
                .status
                .is_terminal()
                .then(|| row.finished_at.unwrap_or(now));
            let is_dead = matches!(
                task.status,
                TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Unknown
            );
            row.dead = is_dead.then(|| {
                row.dead.unwrap_or_else(|| {
                    *last += 1;
                    *last
                })
            });
        }
        for (no, result) in &changes.results {
            if let Some(row) = self.rows.get_mut(no) {
                row.result = Some(result.clone());
            }
        }
        if tells_start(changes) {
            self.started_at = Some(now);
        }
        let status = self.run.head.status;
        self.finished_at = status
            .is_terminal()
            .then(|| self.finished_at.unwrap_or(now));
        let taken = &changes.taken_signals;
        self.run
            .signals
            .retain(|signal| !taken.contains(&signal.position));
        if let Some((name, payload)) = changes.kept_signal.clone() {
            *last += 1;
            self.run.signals.push(StoredSignal {
                position: *last,
                name,
                payload,
            });
        }
    }

    pub(super) const fn id(&self) -> WorkflowId {
        self.run.head.id
    }

    pub(super) const fn head(&self) -> &Head {
        &self.run.head
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .iter()
            .all(|(label, value)| self.labels.get(label) == Some(value))
    }

    pub(super) fn row(&self, no: TaskNo) -> Option<&TaskRow> {
        self.rows.get(&no)
    }

    pub(super) fn row_mut(&mut self, no: TaskNo) -> Option<&mut TaskRow> {
        self.rows.get_mut(&no)
    }

    pub(super) fn view(&self) -> WorkflowRecord {
        WorkflowRecord {
            head: self.run.head.clone(),
            name: self.name.clone(),
            mode: self.mode,
            source: self.source.clone(),
            labels: self.labels.clone(),
            input: self.input.clone(),
            origin: self.origin.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }

    pub(super) fn view_task(&self, no: TaskNo) -> Option<TaskRecord> {
        let (task, row) = (self.run.tasks.get(&no)?, self.rows.get(&no)?);
        Some(TaskRecord {
            task: task.clone(),
            workflow: self.id(),
            kind: row.kind.clone(),
            payload: row.payload.clone(),
            result: row.result.clone(),
            depends_on: row.depends_on.clone(),
            worker: row.worker.clone(),
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

fn rows(definition: &Definition) -> BTreeMap<TaskNo, TaskRow> {
    let key = |no: TaskNo| Some(definition.tasks().get(usize::from(no.get()))?.key.clone());
    let mut rows = BTreeMap::new();
    for (no, undoes, spec) in definition.numbered() {
        let (work, depends_on) = match undoes {
            None => (&spec.work, definition.graph().dependencies(no)),
            Some(_) => (spec.compensation.as_ref().unwrap_or(&spec.work), &[][..]),
        };
        let row = TaskRow {
            kind: work.kind.clone(),
            payload: work.payload.clone(),
            worker: None,
            started_at: None,
            dead: None,
            depends_on: depends_on.iter().filter_map(|(on, _)| key(*on)).collect(),
            result: None,
            finished_at: None,
        };
        rows.insert(no, row);
    }
    rows
}
