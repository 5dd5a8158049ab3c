//! Reading runs, or the parts of them that a step needs, under the locks of their workflows.
//!
//! Every writer but the claim locks workflows first, in the order of their identifiers; the claim locks rows
//! of the queue and never waits. So there is no circle of waits.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::Timestamp;
use drover_domain::workflow::run::{Head, Input, Run, StoredSignal, Task, TaskError};
use drover_domain::workflow::{
    LeaseId, QueueName, SignalName, TaskKey, TaskNo, TaskStatus, WorkflowId, WorkflowStatus,
};
use drover_ports::StoreError;
use uuid::Uuid;

use super::read::{StoredUuid, by_place, optional_task_no, stored_task, task_no};
use super::shape::{PolicyShape, json, length, read_action, read_edges, read_list};
use crate::row::{Stored, time};
use crate::sql::Sql;
use crate::sql::batch::batch;
use crate::sql::dialect::Dialect;
use crate::sql::session::Session;

batch! {
    /// A workflow that is wanted.
    WantedWorkflow {
        workflow_id: Uuid => Uuid,
    }
}

batch! {
    /// A task that is wanted.
    WantedTask {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
    }
}

batch! {
    /// A task that an attempt of has ended.
    EndedTask {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
        attempt: i64 => Integer,
    }
}

by_place! {
    /// A workflow's head, with the database's time.
    HeadRow("workflow") {
        now: i64,
        id: StoredUuid,
        status: String,
        total: i64,
        open: i64,
        failed: i64,
        undoable: i64,
        ended: i64,
        has_signals: bool,
        parent: Option<StoredUuid>,
        deadline: Option<i64>,
        error: Option<String>,
    }
}

/// The columns of a head, after the time.
pub(super) const HEAD_COLUMNS: &str = "w.id, w.status, w.total, w.open, w.failed, w.undoable, w.ended, w.has_signals, \
                                       w.parent_task, w.deadline, w.error";

impl HeadRow {
    pub(super) fn read(self) -> Result<Head, StoreError> {
        let id: WorkflowId = self.id.id();
        let stored = Stored::new("workflow", id);
        Ok(Head {
            id,
            status: stored.word("status", &self.status, WorkflowStatus::parse)?,
            total: stored.number("count", self.total)?,
            open: stored.number("count", self.open)?,
            failed: stored.number("count", self.failed)?,
            undoable: stored.number("count", self.undoable)?,
            ended: stored.number("count", self.ended)?,
            has_signals: self.has_signals,
            parent: self.parent.map(StoredUuid::id),
            deadline: self.deadline.map(length),
            error: self.error,
        })
    }
}

/// The columns of [`TaskStateRow`]; `t` is the task, `q` its row in the queue, `l` the lease.
pub(super) const TASK_COLUMNS: &str = "t.workflow_id, t.task_no, t.task_key, t.status, t.attempt, t.retries, t.lost, \
    t.is_uncertain, t.pending, t.dependants, t.undoes, t.undone_by, t.end_rank, t.deadline_at, t.action, t.queue, t.priority, \
    t.concurrency_keys, t.policy, t.error_code, t.error_message, q.attempt, q.lease_id, q.claimed_at, l.worker";

/// Where [`TASK_COLUMNS`] come from, after `workflow_tasks t`.
pub(super) const TASK_JOINS: &str = "
    LEFT JOIN workflow_queue q ON q.workflow_id = t.workflow_id AND q.task_no = t.task_no
    LEFT JOIN workflow_leases l ON l.id = q.lease_id";

by_place! {
    /// A task's state with its place in the queue.
    TaskStateRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        task_key: String,
        status: String,
        attempt: i64,
        retries: i64,
        lost: i64,
        is_uncertain: bool,
        pending: i64,
        dependants: String,
        undoes: Option<i64>,
        undone_by: Option<i64>,
        end_rank: Option<i64>,
        deadline_at: Option<i64>,
        action: String,
        queue: String,
        priority: i64,
        concurrency_keys: String,
        policy: String,
        error_code: Option<String>,
        error_message: Option<String>,
        queue_attempt: Option<i64>,
        lease_id: Option<StoredUuid>,
        claimed_at: Option<i64>,
        worker: Option<String>,
    }
}

/// Who works on a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Under which lease.
    pub(super) lease: LeaseId,
    /// Since when.
    pub(super) claimed_at: Option<Timestamp>,
    /// Who.
    pub(super) worker: Option<String>,
}

impl TaskStateRow {
    pub(super) fn read(self) -> Result<(WorkflowId, Task, Option<Held>), StoreError> {
        let workflow: WorkflowId = self.workflow_id.id();
        let stored = stored_task(workflow, self.task_no);
        let column = stored.word("status", &self.status, TaskStatus::parse)?;
        // The queue knows best whether a task waits or runs: a claim does not touch the task's record.
        let status = match (self.queue_attempt, self.lease_id) {
            (None, _) => column,
            (Some(_), None) => TaskStatus::Queued,
            (Some(_), Some(_)) => TaskStatus::Running,
        };
        let error = self.error_code.map(|code| TaskError {
            code,
            message: self.error_message.unwrap_or_default(),
        });
        let task = Task {
            no: task_no(&stored, self.task_no)?,
            key: TaskKey::restore(&self.task_key)
                .ok_or_else(|| stored.corrupt(format!("`{}` is no key", self.task_key)))?,
            status,
            attempt: stored.number("attempt", self.queue_attempt.unwrap_or(self.attempt))?,
            retries: stored.number("count of retries", self.retries)?,
            lost: stored.number("count of losses", self.lost)?,
            is_uncertain: self.is_uncertain,
            // A task that came into the queue waits for nothing; its record is not written for that.
            pending: match self.queue_attempt {
                Some(_) => 0,
                None => stored.number("count of dependencies", self.pending)?,
            },
            dependants: read_edges(&stored, &self.dependants)?,
            undoes: optional_task_no(&stored, self.undoes)?,
            undone_by: optional_task_no(&stored, self.undone_by)?,
            rank: stored.optional("rank", self.end_rank)?,
            deadline_at: time(self.deadline_at),
            action: read_action(&stored, &self.action)?,
            queue: QueueName::parse(&self.queue)
                .map_err(|error| stored.corrupt(error.to_string()))?,
            priority: stored.number("priority", self.priority)?,
            concurrency_keys: read_list(&stored, "list of keys", &self.concurrency_keys)?,
            policy: stored
                .shape::<PolicyShape>("policy", &self.policy)?
                .read(&stored)?,
            error,
        };
        let claimed_at = time(self.claimed_at);
        let held = self.lease_id.map(|lease| Held {
            lease: lease.id(),
            claimed_at,
            worker: self.worker,
        });
        Ok((workflow, task, held))
    }
}

by_place! {
    SignalRow("signal") {
        position: i64,
        workflow_id: StoredUuid,
        name: String,
        payload: String,
    }
}

/// A run, or a part of it, as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The run; steps change it.
    pub(super) run: Run,
    /// The tasks whose rows in the queue are removed already.
    pub(super) taken_out: BTreeSet<TaskNo>,
    /// Who works on its tasks.
    pub(super) held: BTreeMap<TaskNo, Held>,
    /// The state of the workflow as it was found.
    pub(super) status_before: WorkflowStatus,
    /// The states of its tasks as they were found.
    pub(super) before: BTreeMap<TaskNo, TaskStatus>,
}

/// Workflows whose heads are locked.
#[derive(Debug)]
pub(super) struct Locked {
    /// The database's time.
    pub(super) now: Timestamp,
    pub(super) found: BTreeMap<WorkflowId, Found>,
}

/// Locks workflows; those that do not exist are absent.
pub(super) async fn lock(
    session: &Session,
    workflows: impl IntoIterator<Item = WorkflowId>,
) -> Result<Locked, StoreError> {
    let wanted: BTreeSet<Uuid> = workflows.into_iter().map(WorkflowId::as_uuid).collect();
    let wanted: Vec<WantedWorkflow> = wanted
        .into_iter()
        .map(|workflow_id| WantedWorkflow { workflow_id })
        .collect();
    let dialect = session.dialect;
    let text = format!(
        "SELECT {}, {HEAD_COLUMNS} FROM {} JOIN workflows w ON w.id = r.workflow_id ORDER BY w.id{}",
        dialect.now(),
        dialect.batch::<WantedWorkflow>(1, "r"),
        dialect.locking("w"),
    );
    let rows = session
        .rows::<HeadRow>(Sql::new(text).batch(dialect, &wanted))
        .await?;
    let mut locked = Locked {
        now: Timestamp::EPOCH,
        found: BTreeMap::new(),
    };
    for row in rows {
        // One workflow may have been waited for: the latest time is the one that holds.
        locked.now = locked.now.max(Timestamp::from_micros(row.now));
        let head = row.read()?;
        locked.found.insert(
            head.id,
            Found {
                status_before: head.status,
                run: Run {
                    head,
                    tasks: BTreeMap::new(),
                    signals: Vec::new(),
                },
                taken_out: BTreeSet::new(),
                held: BTreeMap::new(),
                before: BTreeMap::new(),
            },
        );
    }
    Ok(locked)
}

impl Locked {
    /// Reads what these inputs need of their runs.
    pub(super) async fn load(
        &mut self,
        session: &Session,
        inputs: &[(WorkflowId, &Input)],
    ) -> Result<(), StoreError> {
        self.load_held(session, inputs, None).await
    }

    /// Reads what these inputs need of their runs. Where a step needs one task only, and the task is held
    /// under `lease` in the attempt that has ended, its row in the queue may be removed by the same statement.
    pub(super) async fn load_held(
        &mut self,
        session: &Session,
        inputs: &[(WorkflowId, &Input)],
        lease: Option<LeaseId>,
    ) -> Result<(), StoreError> {
        let mut whole = BTreeSet::new();
        let mut touched = BTreeSet::new();
        let mut ended = Vec::new();
        for (workflow, input) in inputs {
            let Some(found) = self.found.get(workflow) else {
                continue;
            };
            if input.needs_whole_run(&found.run.head) {
                whole.insert(*workflow);
            } else if let Some(no) = input.task()
                && touched.insert((*workflow, no))
                && let Input::Ended { attempt, .. } = input
            {
                ended.push(EndedTask {
                    workflow_id: workflow.as_uuid(),
                    task_no: i64::from(no.get()),
                    attempt: i64::from(*attempt),
                });
            }
        }
        touched.retain(|(workflow, _)| !whole.contains(workflow));
        let signal_arrives = inputs
            .iter()
            .any(|(_, input)| matches!(input, Input::Signal { .. }));
        self.load_whole(session, &whole, signal_arrives).await?;
        ended.retain(|task| !whole.contains(&WorkflowId::from_uuid(task.workflow_id)));
        let out = self.take_out(session, &ended, lease).await?;
        let others = touched.difference(&out).copied().collect();
        self.load_tasks(session, &others).await?;
        let dependants: BTreeSet<(WorkflowId, TaskNo)> = touched
            .iter()
            .filter_map(|(workflow, no)| {
                let task = self.found.get(workflow)?.run.tasks.get(no)?;
                Some(task.dependants.iter().map(|(next, _)| (*workflow, *next)))
            })
            .flatten()
            .filter(|wanted| !touched.contains(wanted))
            .collect();
        self.load_tasks(session, &dependants).await
    }

    // What is left over, because it is not held like that, is read like everything else.
    async fn take_out(
        &mut self,
        session: &Session,
        ended: &[EndedTask],
        lease: Option<LeaseId>,
    ) -> Result<BTreeSet<(WorkflowId, TaskNo)>, StoreError> {
        let Some(lease) =
            lease.filter(|_| session.dialect == Dialect::Postgres && !ended.is_empty())
        else {
            return Ok(BTreeSet::new());
        };
        // The rows are found by their key first and looked at then: the statistics know next to nothing of what
        // is held at the moment, and a plan that begins there goes through all of it for each of these tasks.
        let text = format!(
            "WITH found AS MATERIALIZED (
                 SELECT w.ctid AS place, w.lease_id = CAST($1 AS uuid) AND w.attempt = r.attempt AS is_held
                 FROM {} JOIN workflow_queue w ON w.workflow_id = r.workflow_id AND w.task_no = r.task_no),
             q AS (
                 DELETE FROM workflow_queue w
                 WHERE w.ctid = ANY (ARRAY(SELECT place FROM found WHERE is_held))
                 RETURNING w.workflow_id, w.task_no, w.attempt, w.lease_id, w.claimed_at)
             SELECT {TASK_COLUMNS} FROM q
             JOIN workflow_tasks t ON t.workflow_id = q.workflow_id AND t.task_no = q.task_no
             LEFT JOIN workflow_leases l ON l.id = q.lease_id",
            session.dialect.batch::<EndedTask>(2, "r"),
        );
        let sql = Sql::new(text).id(lease).batch(session.dialect, ended);
        let rows = session.rows::<TaskStateRow>(sql).await?;
        let mut out = BTreeSet::new();
        for (workflow, no) in self.take(rows)? {
            out.insert((workflow, no));
            if let Some(found) = self.found.get_mut(&workflow) {
                found.taken_out.insert(no);
            }
        }
        Ok(out)
    }

    async fn load_tasks(
        &mut self,
        session: &Session,
        wanted: &BTreeSet<(WorkflowId, TaskNo)>,
    ) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted: Vec<WantedTask> = wanted
            .iter()
            .map(|(workflow, no)| WantedTask {
                workflow_id: workflow.as_uuid(),
                task_no: i64::from(no.get()),
            })
            .collect();
        let text = format!(
            "SELECT {TASK_COLUMNS} FROM {}
             JOIN workflow_tasks t ON t.workflow_id = r.workflow_id AND t.task_no = r.task_no {TASK_JOINS}",
            session.dialect.batch::<WantedTask>(1, "r"),
        );
        let rows = session
            .rows::<TaskStateRow>(Sql::new(text).batch(session.dialect, &wanted))
            .await?;
        self.take(rows).map(|_| ())
    }

    async fn load_whole(
        &mut self,
        session: &Session,
        wanted: &BTreeSet<WorkflowId>,
        signal_arrives: bool,
    ) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let dialect = session.dialect;
        let wanted: Vec<WantedWorkflow> = wanted
            .iter()
            .map(|workflow| WantedWorkflow {
                workflow_id: workflow.as_uuid(),
            })
            .collect();
        let batch = dialect.batch::<WantedWorkflow>(1, "r");
        // A claim under way has its rows locked: it is waited for, and its tasks are then seen as running.
        if let Some(locking) = dialect.locking_all("q") {
            let text = format!(
                "SELECT q.position AS id FROM {batch} JOIN workflow_queue q ON q.workflow_id = r.workflow_id{locking}"
            );
            let lock = Sql::new(text).batch(dialect, &wanted);
            session.rows::<crate::sql::session::KeyRow>(lock).await?;
        }
        let text = format!(
            "SELECT {TASK_COLUMNS} FROM {batch} JOIN workflow_tasks t ON t.workflow_id = r.workflow_id {TASK_JOINS}"
        );
        let rows = session
            .rows::<TaskStateRow>(Sql::new(text).batch(dialect, &wanted))
            .await?;
        self.take(rows)?;
        let text = format!(
            "SELECT s.position, s.workflow_id, s.name, s.payload
             FROM {batch} JOIN workflow_signals s ON s.workflow_id = r.workflow_id ORDER BY s.position"
        );
        let has_signals = |wanted: &WantedWorkflow| {
            let found = self.found.get(&WorkflowId::from_uuid(wanted.workflow_id));
            found.is_some_and(|found| found.run.head.has_signals)
        };
        // They count when another one arrives, also where no task will ever take them.
        if signal_arrives || wanted.iter().any(has_signals) {
            let signals = Sql::new(text).batch(dialect, &wanted);
            for row in session.rows::<SignalRow>(signals).await? {
                self.take_signal(row)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, rows: Vec<TaskStateRow>) -> Result<Vec<(WorkflowId, TaskNo)>, StoreError> {
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            let (workflow, task, held) = row.read()?;
            if let Some(found) = self.found.get_mut(&workflow) {
                if let Some(held) = held {
                    found.held.insert(task.no, held);
                }
                taken.push((workflow, task.no));
                found.before.insert(task.no, task.status);
                found.run.tasks.insert(task.no, task);
            }
        }
        Ok(taken)
    }

    fn take_signal(&mut self, row: SignalRow) -> Result<(), StoreError> {
        let workflow = row.workflow_id.id();
        let stored = Stored::new("signal", row.position);
        let signal = StoredSignal {
            position: row.position,
            name: SignalName::parse(&row.name)
                .map_err(|error| stored.corrupt(error.to_string()))?,
            payload: json(&stored, row.payload)?,
        };
        if let Some(found) = self.found.get_mut(&workflow) {
            found.run.signals.push(signal);
        }
        Ok(())
    }
}
