//! Writing what steps changed: a constant number of statements for any number of runs and tasks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use drover_domain::Timestamp;
use drover_domain::workflow::run::{Changes, Head, QueueMove, Run, Task, Wake, WakeKind};
use drover_domain::workflow::{
    Executor, Json, NewWorkflowEvent, TaskId, TaskNo, TaskStatus, WorkflowId, WorkflowStatus,
};
use drover_ports::StoreError;
use uuid::Uuid;

use super::load::{Found, Held, WantedTask, WantedWorkflow};
use super::shape::micros;
use crate::sql::batch::{Batch, batch};
use crate::sql::session::Session;
use crate::sql::{Sql, to_json};

batch! {
    /// A workflow as it is now.
    HeadWrite<'a> {
        id: Uuid => Uuid,
        status: &'static str => Text,
        open: i64 => Integer,
        failed: i64 => Integer,
        undoable: i64 => Integer,
        ended: i64 => Integer,
        error: Option<&'a str> => OptionalText,
        started_at: Option<i64> => OptionalInteger,
        finished_at: Option<i64> => OptionalInteger,
    }
}

batch! {
    /// A task as it is now.
    TaskWrite<'a> {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
        status: &'static str => Text,
        attempt: i64 => Integer,
        retries: i64 => Integer,
        lost: i64 => Integer,
        is_uncertain: bool => Boolean,
        pending: i64 => Integer,
        end_rank: Option<i64> => OptionalInteger,
        deadline_at: Option<i64> => OptionalInteger,
        error_code: Option<&'a str> => OptionalText,
        error_message: Option<&'a str> => OptionalText,
        result: Option<&'a str> => OptionalText,
        worker: Option<&'a str> => OptionalText,
        started_at: Option<i64> => OptionalInteger,
        finished_at: Option<i64> => OptionalInteger,
    }
}

batch! {
    /// A task that waits for a worker from now on.
    QueueWrite<'a> {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
        executor: &'static str => Text,
        queue: &'a str => Text,
        priority: i64 => Integer,
        attempt: i64 => Integer,
        timeout: i64 => Integer,
        is_parked: bool => Boolean,
        is_keyed: bool => Boolean,
        holds_keys: bool => Boolean,
        is_stopped: bool => Boolean,
    }
}

batch! {
    /// A moment to wake up at.
    WakeWrite {
        workflow_id: Uuid => Uuid,
        kind: &'static str => Text,
        task_no: Option<i64> => OptionalInteger,
        attempt: Option<i64> => OptionalInteger,
        child_status: Option<&'static str> => OptionalText,
        at: i64 => Integer,
    }
}

batch! {
    /// The events of one workflow in one transaction.
    EventWrite {
        workflow_id: Uuid => Uuid,
        event_count: i64 => Integer,
        events: String => Text,
    }
}

batch! {
    SignalWrite<'a> {
        workflow_id: Uuid => Uuid,
        name: &'a str => Text,
        payload: &'a str => Text,
    }
}

batch! {
    PositionWrite {
        position: i64 => Integer,
    }
}

/// What readers and workers may want to know after a commit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// Whether a task waits for a worker, a moment was asked for, or concurrency keys became free.
    pub(super) work: bool,
    /// Whether something happened.
    pub(super) events: bool,
}

/// What has to be written, collected over many runs.
#[derive(Debug, Default)]
pub(super) struct Writes<'a> {
    heads: Vec<HeadWrite<'a>>,
    tasks: Vec<TaskWrite<'a>>,
    leave: Vec<WantedTask>,
    enter: Vec<QueueWrite<'a>>,
    stop: Vec<WantedTask>,
    park: Vec<WantedWorkflow>,
    unpark: Vec<WantedWorkflow>,
    wakes: Vec<WakeWrite>,
    events: Vec<EventWrite>,
    kept_signals: Vec<SignalWrite<'a>>,
    taken_signals: Vec<PositionWrite>,
    dead: Vec<WantedTask>,
    alive: Vec<WantedTask>,
    told: Told,
}

/// Perhaps a task number as a column.
pub(super) fn column(no: TaskNo) -> i64 {
    i64::from(no.get())
}

// A task that only came into the queue is `queued` because it is there: its record need not say it too.
fn is_said_by_queue(before: Option<TaskStatus>, task: &Task) -> bool {
    before == Some(TaskStatus::Pending)
        && task.status == TaskStatus::Queued
        && task.deadline_at.is_none()
        && task.attempt == 0
}

const fn is_dead(status: TaskStatus) -> bool {
    matches!(
        status,
        TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Unknown
    )
}

impl<'a> Writes<'a> {
    /// Adds what a step changed in a run that exists.
    pub(super) fn add(&mut self, found: &'a Found, changes: &'a Changes, now: Timestamp) {
        let Found {
            run,
            held,
            before,
            status_before,
            taken_out,
        } = found;
        let workflow_id = run.head.id.as_uuid();
        if changes.head {
            self.heads.push(head_write(&run.head, *status_before, now));
        }
        for task in changes.tasks.iter().filter_map(|no| run.tasks.get(no)) {
            let was = before.get(&task.no).copied();
            if is_said_by_queue(was, task) {
                continue;
            }
            let result = changes.results.get(&task.no);
            self.tasks.push(task_write(
                workflow_id,
                task,
                result,
                held.get(&task.no),
                now,
            ));
            let task_no = column(task.no);
            let wanted = WantedTask {
                workflow_id,
                task_no,
            };
            let was_dead = was.is_some_and(is_dead);
            match (was_dead, is_dead(task.status)) {
                (false, true) => self.dead.push(wanted),
                (true, false) => self.alive.push(wanted),
                (false, false) | (true, true) => {}
            }
        }
        match changes.parked {
            Some(true) => self.park.push(WantedWorkflow { workflow_id }),
            Some(false) => self.unpark.push(WantedWorkflow { workflow_id }),
            None => {}
        }
        let kept = changes.kept_signal.as_ref();
        self.kept_signals
            .extend(kept.map(|(name, payload)| SignalWrite {
                workflow_id,
                name: name.as_str(),
                payload: payload.as_str(),
            }));
        let taken = changes.taken_signals.iter();
        self.taken_signals
            .extend(taken.map(|position| PositionWrite {
                position: *position,
            }));
        self.add_moves(run, &changes.queue, |no| {
            let was = before.get(&no);
            let may_be =
                was.is_none_or(|was| matches!(was, TaskStatus::Queued | TaskStatus::Running));
            may_be && !taken_out.contains(&no)
        });
        self.add_consequences(run, changes, now);
    }

    /// Adds what creating a run brings besides its rows.
    pub(super) fn add_new(&mut self, run: &'a Run, changes: &'a Changes, now: Timestamp) {
        self.add_moves(run, &changes.queue, |_| false);
        self.add_consequences(run, changes, now);
    }

    fn add_consequences(&mut self, run: &Run, changes: &Changes, now: Timestamp) {
        let workflow = run.head.id;
        for wake in &changes.wakes {
            self.wakes.push(wake_write(workflow, *wake));
        }
        if let Some((status, parent)) = changes.tell_parent.zip(run.head.parent) {
            self.tell_parent(parent, status, now);
        }
        if !changes.events.is_empty() {
            self.told.events = true;
            self.events.push(event_write(workflow, &changes.events));
        }
        self.told.work |= !changes.wakes.is_empty()
            || changes.tell_parent.is_some()
            || changes.parked == Some(false)
            || changes
                .queue
                .iter()
                .any(|change| matches!(change, QueueMove::Enter { .. }));
    }

    fn tell_parent(&mut self, parent: TaskId, status: WorkflowStatus, at: Timestamp) {
        if let Some(no) = parent.no() {
            let kind = WakeKind::ChildEnded { no, status };
            self.wakes
                .push(wake_write(parent.workflow(), Wake { at, kind }));
        }
    }

    // What counts of several moves of one task is where it ends up, and whether it has a row there.
    fn add_moves(&mut self, run: &'a Run, moves: &[QueueMove], has_row: impl Fn(TaskNo) -> bool) {
        let mut ends: BTreeMap<TaskNo, Option<bool>> = BTreeMap::new();
        let mut stopped = Vec::new();
        for change in moves {
            match change {
                QueueMove::Enter { no, holds_keys } => {
                    ends.insert(*no, Some(*holds_keys));
                }
                QueueMove::Leave { no } => {
                    ends.insert(*no, None);
                }
                QueueMove::Stop { no } => stopped.push(*no),
                // A claim is written by the claim itself.
                QueueMove::Take { .. } => {}
            }
        }
        let workflow_id = run.head.id.as_uuid();
        let wanted = |no: TaskNo| WantedTask {
            workflow_id,
            task_no: column(no),
        };
        for (no, end) in &ends {
            if has_row(*no) {
                self.leave.push(wanted(*no));
            }
            let task = run.tasks.get(no);
            self.told.work |= task.is_some_and(|task| !task.concurrency_keys.is_empty());
            if let Some((holds_keys, task)) = end.zip(task) {
                let is_stopped = stopped.contains(no);
                self.enter
                    .push(queue_write(run, task, holds_keys, is_stopped));
            }
        }
        self.stop.extend(
            stopped
                .into_iter()
                .filter(|no| !ends.contains_key(no))
                .map(wanted),
        );
    }

    /// Writes everything in at most one statement per kind of thing.
    pub(super) async fn flush(self, session: &Session) -> Result<Told, StoreError> {
        self.flush_tasks(session).await?;
        let now = session.dialect.now();
        put(session, &self.heads, |batch| {
            format!(
                "UPDATE workflows AS w SET
                     status = r.status, open = r.open, failed = r.failed, undoable = r.undoable, ended = r.ended,
                     error = r.error, started_at = COALESCE(w.started_at, r.started_at),
                     finished_at = r.finished_at
                 FROM {batch} WHERE w.id = r.id"
            )
        })
        .await?;
        put(session, &self.wakes, |batch| {
            format!(
                "INSERT INTO workflow_wakes (workflow_id, kind, task_no, attempt, child_status, at)
                 SELECT r.workflow_id, r.kind, r.task_no, r.attempt, r.child_status, r.at FROM {batch}"
            )
        })
        .await?;
        put(session, &self.taken_signals, |batch| {
            session
                .dialect
                .delete_by("workflow_signals", &["position"], &batch)
        })
        .await?;
        put(session, &self.kept_signals, |batch| {
            format!(
                "INSERT INTO workflow_signals (workflow_id, name, payload)
                 SELECT r.workflow_id, r.name, r.payload FROM {batch}"
            )
        })
        .await?;
        put(session, &self.alive, |batch| {
            session
                .dialect
                .delete_by("workflow_dead_letters", &["workflow_id", "task_no"], &batch)
        })
        .await?;
        put(session, &self.dead, |batch| {
            format!(
                "INSERT INTO workflow_dead_letters (workflow_id, task_no) SELECT r.workflow_id, r.task_no FROM {batch}"
            )
        })
        .await?;
        put(session, &self.events, |batch| {
            session.dialect.tell(&format!(
                "SELECT r.workflow_id, {now}, r.event_count, r.events FROM {batch}"
            ))
        })
        .await?;
        Ok(self.told)
    }

    async fn flush_tasks(&self, session: &Session) -> Result<(), StoreError> {
        let now = session.dialect.now();
        put(session, &self.tasks, |batch| {
            format!(
                "UPDATE workflow_tasks AS t SET
                     status = r.status, attempt = r.attempt, retries = r.retries, lost = r.lost,
                     is_uncertain = r.is_uncertain, pending = r.pending, end_rank = r.end_rank, deadline_at = r.deadline_at, error_code = r.error_code,
                     error_message = r.error_message, result = COALESCE(r.result, t.result),
                     worker = COALESCE(r.worker, t.worker), started_at = COALESCE(r.started_at, t.started_at),
                     finished_at = r.finished_at
                 FROM {batch} WHERE t.workflow_id = r.workflow_id AND t.task_no = r.task_no"
            )
        })
        .await?;
        put(session, &self.leave, |batch| {
            session
                .dialect
                .delete_by("workflow_queue", &["workflow_id", "task_no"], &batch)
        })
        .await?;
        put(session, &self.stop, |batch| {
            format!(
                "UPDATE workflow_queue AS q SET is_stopped = TRUE
                 FROM {batch} WHERE q.workflow_id = r.workflow_id AND q.task_no = r.task_no"
            )
        })
        .await?;
        put(session, &self.park, |batch| {
            format!(
                "UPDATE workflow_queue AS q SET is_parked = TRUE
                 FROM {batch} WHERE q.workflow_id = r.workflow_id AND q.lease_id IS NULL"
            )
        })
        .await?;
        put(session, &self.unpark, |batch| {
            format!(
                "UPDATE workflow_queue AS q SET is_parked = FALSE
                 FROM {batch} WHERE q.workflow_id = r.workflow_id AND q.is_parked"
            )
        })
        .await?;
        put(session, &self.enter, |batch| {
            format!(
                "INSERT INTO workflow_queue (
                     workflow_id, task_no, executor, queue, priority, attempt, timeout, queued_at, is_parked, is_keyed,
                     holds_keys, is_stopped)
                 SELECT r.workflow_id, r.task_no, r.executor, r.queue, r.priority, r.attempt, r.timeout, {now},
                        r.is_parked, r.is_keyed, r.holds_keys, r.is_stopped
                 FROM {batch}"
            )
        })
        .await
    }
}

async fn put<B: Batch + Sync>(
    session: &Session,
    rows: &[B],
    statement: impl FnOnce(String) -> String + Send,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let text = statement(session.dialect.batch::<B>(1, "r"));
    session
        .execute(Sql::new(text).batch(session.dialect, rows))
        .await
        .map(|_| ())
}

fn head_write(head: &Head, before: WorkflowStatus, now: Timestamp) -> HeadWrite<'_> {
    let is_ended = head.status.is_terminal();
    let is_waiting = |status| matches!(status, WorkflowStatus::Draft | WorkflowStatus::Pending);
    // What is called off before it started never did.
    let has_started =
        is_waiting(before) && !is_waiting(head.status) && head.status != WorkflowStatus::Cancelled;
    HeadWrite {
        id: head.id.as_uuid(),
        status: head.status.as_str(),
        open: i64::from(head.open),
        failed: i64::from(head.failed),
        undoable: i64::from(head.undoable),
        ended: i64::from(head.ended),
        error: head.error.as_deref(),
        started_at: has_started.then(|| now.as_micros()),
        finished_at: is_ended.then(|| now.as_micros()),
    }
}

fn task_write<'a>(
    workflow_id: Uuid,
    task: &'a Task,
    result: Option<&'a Json>,
    held: Option<&'a Held>,
    now: Timestamp,
) -> TaskWrite<'a> {
    TaskWrite {
        workflow_id,
        task_no: column(task.no),
        status: task.status.as_str(),
        attempt: i64::from(task.attempt),
        retries: i64::from(task.retries),
        lost: i64::from(task.lost),
        is_uncertain: task.is_uncertain,
        pending: i64::from(task.pending),
        end_rank: task.rank.map(i64::from),
        deadline_at: task.deadline_at.map(Timestamp::as_micros),
        error_code: task.error.as_ref().map(|error| error.code.as_str()),
        error_message: task.error.as_ref().map(|error| error.message.as_str()),
        result: result.map(Json::as_str),
        worker: held.and_then(|held| held.worker.as_deref()),
        started_at: held
            .and_then(|held| held.claimed_at)
            .map(Timestamp::as_micros),
        finished_at: task.status.is_terminal().then(|| now.as_micros()),
    }
}

fn queue_write<'a>(
    run: &Run,
    task: &'a Task,
    holds_keys: bool,
    is_stopped: bool,
) -> QueueWrite<'a> {
    QueueWrite {
        workflow_id: run.head.id.as_uuid(),
        task_no: column(task.no),
        executor: task.action.executor().unwrap_or(Executor::Engine).as_str(),
        queue: task.queue.as_str(),
        priority: i64::from(task.priority),
        attempt: i64::from(task.attempt),
        timeout: micros(task.policy.timeout),
        is_parked: run.head.status == WorkflowStatus::Paused,
        is_keyed: !task.concurrency_keys.is_empty(),
        holds_keys,
        is_stopped,
    }
}

/// A wake as a row.
pub(super) fn wake_write(workflow: WorkflowId, wake: Wake) -> WakeWrite {
    let (attempt, child_status) = match wake.kind {
        WakeKind::Retry { attempt, .. } | WakeKind::WaitOver { attempt, .. } => {
            (Some(i64::from(attempt)), None)
        }
        WakeKind::ChildEnded { status, .. } => (None, Some(status.as_str())),
        WakeKind::Start
        | WakeKind::WorkflowDeadline
        | WakeKind::TaskDeadline { .. }
        | WakeKind::CancelChild { .. } => (None, None),
    };
    WakeWrite {
        workflow_id: workflow.as_uuid(),
        kind: wake.kind.as_str(),
        task_no: wake.kind.task().map(column),
        attempt,
        child_status,
        at: wake.at.as_micros(),
    }
}

/// An event in its batch: kind, task, attempt, detail.
pub(super) type EventShape<'a> = (Cow<'a, str>, Option<u16>, u32, Option<Cow<'a, str>>);

fn event_write(workflow: WorkflowId, events: &[NewWorkflowEvent]) -> EventWrite {
    let shapes: Vec<EventShape<'_>> = events
        .iter()
        .map(|event| {
            (
                Cow::Borrowed(event.kind.as_str()),
                event.task.map(TaskNo::get),
                event.attempt,
                event.detail.as_deref().map(Cow::Borrowed),
            )
        })
        .collect();
    EventWrite {
        workflow_id: workflow.as_uuid(),
        event_count: i64::try_from(events.len()).unwrap_or(i64::MAX),
        events: to_json(&shapes),
    }
}
