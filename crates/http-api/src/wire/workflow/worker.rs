//! What workers outside say and hear.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::Id;
use drover_domain::text::check_title;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{Json, LeaseId, QueueName, TaskId};
use drover_usecases::{Assignment, Beat, ClaimOrder, Claimed, HeldAttempt, RemoteWorkers};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::body::{Fields, Flaw, ReadBody, boolean, document, list, object, seconds, text, whole};
use crate::json::Value;
use crate::wire::document::Document;
use crate::wire::schema::Instant;
use crate::wire::word::GuaranteeClass;
use crate::wire::workflow::task::{GivenError, GivenErrorShape};

/// The most queues of one claim.
const QUEUES_MAX: usize = 100;
/// The most characters of a worker's name.
const WORKER_MAX: usize = 255;
/// The most tasks that a worker names as held.
const HOLDING_MAX: usize = 1_000;

/// Reads a UUID.
pub(in crate::wire) fn uuid(value: Value) -> Result<Uuid, Vec<Flaw>> {
    text(|text| {
        text.parse::<Id<()>>()
            .map(Id::as_uuid)
            .map_err(Flaw::invalid)
    })(value)
}

fn attempt(value: Value) -> Result<u32, Vec<Flaw>> {
    // The bounds fit.
    whole(1, i64::from(i32::MAX))(value).map(|attempt| u32::try_from(attempt).unwrap_or(u32::MAX))
}

fn term(value: Value) -> Result<Duration, Vec<Flaw>> {
    let bounds = RemoteWorkers::TERM_MIN..=RemoteWorkers::TERM_MAX;
    let term = seconds(value)?;
    if bounds.contains(&term) {
        Ok(term)
    } else {
        let (least, most) = (bounds.start().as_secs(), bounds.end().as_secs());
        let detail = format!("must be {least} to {most} seconds");
        Err(vec![Flaw::new("out_of_range", detail)])
    }
}

/// Asking for tasks.
#[derive(Debug)]
pub(crate) struct ClaimTasks(pub(crate) ClaimOrder);

impl ReadBody for ClaimTasks {
    fn read(fields: &mut Fields) -> Option<Self> {
        let worker = fields.required(
            "worker",
            text(|name| {
                check_title("the worker's name", name, WORKER_MAX).map_err(Flaw::invalid)?;
                Ok(name.to_owned())
            }),
        );
        let queues = fields.required("queues", queues);
        let limit = fields.optional("limit", whole(1, i64::from(RemoteWorkers::LIMIT_MAX)));
        let wait = fields.optional("wait_s", |value| {
            let wait = seconds(value)?;
            let most = RemoteWorkers::WAIT_MAX;
            let detail = format!("must be 0 to {} seconds", most.as_secs());
            if wait <= most {
                Ok(wait)
            } else {
                Err(vec![Flaw::new("out_of_range", detail)])
            }
        });
        let lease = fields.optional("lease_id", uuid);
        let holding = fields.optional("holding", holding);
        let term = fields.optional("lease_s", term);
        Some(Self(ClaimOrder {
            worker: worker?,
            queues: queues?,
            limit: u32::try_from(limit?.unwrap_or(1)).ok()?,
            wait: wait?.unwrap_or_default(),
            lease: lease?.map(LeaseId::from_uuid),
            holding: holding?,
            term: term?.unwrap_or(RemoteWorkers::TERM_DEFAULT),
        }))
    }
}

fn queues(value: Value) -> Result<Vec<QueueName>, Vec<Flaw>> {
    let read = |value| text(|text| QueueName::parse(text).map_err(Flaw::invalid))(value);
    let queues = list(QUEUES_MAX, read)(value)?;
    if queues.is_empty() {
        return Err(vec![Flaw::new("empty", "at least one queue is needed")]);
    }
    let mut seen = BTreeSet::new();
    match queues.iter().position(|queue| !seen.insert(queue)) {
        None => Ok(queues),
        Some(again) => Err(vec![
            Flaw::new("duplicate", "is given more than once").below(again),
        ]),
    }
}

/// Asking for tasks.
#[derive(ToSchema)]
#[schema(as = ClaimTasks)]
#[expect(dead_code, reason = "describes what `ClaimTasks` reads")]
pub(crate) struct ClaimTasksShape {
    /// What the worker is called, for people who look.
    #[schema(min_length = 1, max_length = 255)]
    worker: String,
    /// The queues to take from, each once.
    #[schema(min_items = 1, max_items = 100)]
    queues: Vec<String>,
    /// The most tasks.
    #[schema(minimum = 1, maximum = 100, default = 1)]
    limit: Option<u32>,
    /// How long to wait for the first one, seconds.
    #[schema(minimum = 0, maximum = 30, default = 0)]
    wait_s: Option<f64>,
    /// The lease to claim under; a new one when it is not given.
    lease_id: Option<Uuid>,
    /// What the worker holds under that lease: every task whose claim was answered and whose end is not reported. All
    /// other tasks under the lease are queued again at once. Without it, a lease that holds tasks is not renewed and the
    /// answer names a new one. It has no effect without `lease_id`.
    #[schema(max_items = 1000)]
    holding: Option<Vec<HeldTaskShape>>,
    /// How long the lease lasts without a heartbeat, seconds.
    #[schema(minimum = 5, maximum = 600, default = 30)]
    lease_s: Option<f64>,
}

/// An attempt that a worker holds.
#[derive(Debug)]
struct HeldTask(HeldAttempt);

impl ReadBody for HeldTask {
    fn read(fields: &mut Fields) -> Option<Self> {
        let task = fields.required("task_id", uuid);
        let attempt = fields.required("attempt", attempt);
        Some(Self(HeldAttempt {
            task: TaskId::from_uuid(task?),
            attempt: attempt?,
        }))
    }
}

fn holding(value: Value) -> Result<Vec<HeldAttempt>, Vec<Flaw>> {
    let held = list(HOLDING_MAX, object::<HeldTask>)(value)?;
    Ok(held.into_iter().map(|held| held.0).collect())
}

/// An attempt that a worker holds.
#[derive(ToSchema)]
#[schema(as = HeldTask)]
#[expect(dead_code, reason = "describes what `HeldTask` reads")]
pub(crate) struct HeldTaskShape {
    /// The task.
    task_id: Uuid,
    /// The attempt, as it was claimed.
    #[schema(minimum = 1)]
    attempt: u32,
}

/// What a worker got.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimedTasks {
    /// The lease of these tasks, to be named in heartbeats and reports about them; it can be another one than the
    /// request named. Null when there was nothing to do and the request named none.
    lease_id: Option<Uuid>,
    /// How long it lasts from now on, seconds.
    lease_s: f64,
    /// The tasks.
    #[schema(max_items = 100)]
    tasks: Vec<AssignedTask>,
}

impl ClaimedTasks {
    pub(crate) fn new(claimed: Claimed, term: Duration) -> Self {
        Self {
            lease_id: claimed.lease.map(LeaseId::as_uuid),
            lease_s: term.as_secs_f64(),
            tasks: claimed.tasks.into_iter().map(Into::into).collect(),
        }
    }
}

/// A task that a worker holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignedTask {
    /// The task.
    task_id: Uuid,
    /// Its workflow.
    workflow_id: Uuid,
    /// The attempt, to be named in every report about it.
    attempt: u32,
    /// Its key in the workflow.
    key: String,
    /// Its kind.
    kind: String,
    /// The queue it came from.
    queue: String,
    /// What it is given.
    payload: Document,
    /// The same for every attempt of the task, and for no other task.
    idempotency_key: String,
    guarantee: GuaranteeClass,
    /// How long the attempt may take, seconds.
    timeout_s: f64,
    /// The task it undoes.
    undoes_task_id: Option<Uuid>,
    /// When it was put into the queue.
    queued_at: Instant,
}

impl From<Assignment> for AssignedTask {
    fn from(task: Assignment) -> Self {
        let workflow = task.task.workflow();
        Self {
            task_id: task.task.as_uuid(),
            workflow_id: workflow.as_uuid(),
            attempt: task.attempt,
            key: task.key.to_string(),
            kind: task.kind.to_string(),
            queue: task.queue.to_string(),
            idempotency_key: task.idempotency_key(),
            guarantee: task.policy.guarantee.into(),
            timeout_s: task.policy.timeout.as_secs_f64(),
            undoes_task_id: task.undoes.map(|no| workflow.task(no).as_uuid()),
            queued_at: task.queued_at.into(),
            payload: task.payload.into(),
        }
    }
}

/// A sign of life.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pub(crate) lease: LeaseId,
    pub(crate) holding: Option<Vec<HeldAttempt>>,
    pub(crate) term: Duration,
}

impl ReadBody for Heartbeat {
    fn read(fields: &mut Fields) -> Option<Self> {
        let lease = fields.required("lease_id", uuid);
        let holding = fields.optional("holding", holding);
        let term = fields.optional("lease_s", term);
        Some(Self {
            lease: LeaseId::from_uuid(lease?),
            holding: holding?,
            term: term?.unwrap_or(RemoteWorkers::TERM_DEFAULT),
        })
    }
}

/// A sign of life.
#[derive(ToSchema)]
#[schema(as = Heartbeat)]
#[expect(dead_code, reason = "describes what `Heartbeat` reads")]
pub(crate) struct HeartbeatShape {
    /// The lease to renew, with everything held under it.
    lease_id: Uuid,
    /// What the worker holds under that lease: every task whose claim was answered and whose end is not reported. Tasks
    /// that the lease has held for longer than 5 seconds and that are not named are queued again; tasks that are named
    /// and no longer held come back in `stop_task_ids`.
    #[schema(max_items = 1000)]
    holding: Option<Vec<HeldTaskShape>>,
    /// How long it lasts from now on, seconds.
    #[schema(minimum = 5, maximum = 600, default = 30)]
    lease_s: Option<f64>,
}

/// What a sign of life brings back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeartbeatAnswer {
    /// How long the lease lasts from now on, seconds.
    lease_s: f64,
    /// Tasks to stop: their workflows are cancelled, or the lease no longer holds them. Report them as failed with
    /// the outcome `cancelled`; where that is answered with 409, nothing has to be reported.
    stop_task_ids: Vec<Uuid>,
}

impl HeartbeatAnswer {
    pub(crate) fn new(beat: Beat, term: Duration) -> Self {
        Self {
            lease_s: term.as_secs_f64(),
            stop_task_ids: beat.stop.into_iter().map(TaskId::as_uuid).collect(),
        }
    }
}

/// How an attempt ended, and whose it was.
#[derive(Debug)]
pub(crate) struct AttemptEnd {
    pub(crate) lease: LeaseId,
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
}

/// That a task did what it should.
#[derive(Debug)]
pub(crate) struct CompleteTask(pub(crate) AttemptEnd);

impl ReadBody for CompleteTask {
    fn read(fields: &mut Fields) -> Option<Self> {
        let held = Held::read(fields);
        let result = fields.optional("result", document);
        let result: Json = result?.unwrap_or_default();
        Some(Self(held?.ends(Outcome::Succeeded { result })))
    }
}

/// That a task did not do what it should.
#[derive(Debug)]
pub(crate) struct FailTask(pub(crate) AttemptEnd);

impl ReadBody for FailTask {
    fn read(fields: &mut Fields) -> Option<Self> {
        let held = Held::read(fields);
        let word = fields.optional(
            "outcome",
            text(|word| {
                EndWord::parse(word).ok_or_else(|| {
                    Flaw::new(
                        "invalid",
                        "must be one of failed, unknown, cancelled, released",
                    )
                })
            }),
        );
        let error = fields.optional("error", object::<GivenError>);
        let retryable = fields.optional("retryable", boolean);
        let (word, error) = (
            word?.unwrap_or(EndWord::Failed),
            error?.map(|given| given.0),
        );
        let retryable = retryable?;
        let outcome = match (word, error) {
            (EndWord::Failed, Some(error)) => Outcome::Failed {
                error,
                retryable: retryable.unwrap_or(true),
            },
            (EndWord::Unknown, Some(error)) => Outcome::Unknown { error },
            (EndWord::Cancelled, None) => Outcome::Cancelled,
            (EndWord::Released, None) => Outcome::Released,
            (EndWord::Failed | EndWord::Unknown, None) => {
                fields.complain("error", Flaw::new("missing", "`error` is missing"));
                return None;
            }
            (EndWord::Cancelled | EndWord::Released, Some(_)) => {
                let detail = "only what failed or is unknown has an `error`";
                fields.complain("error", Flaw::new("invalid", detail));
                return None;
            }
        };
        Some(Self(held?.ends(outcome)))
    }
}

struct Held {
    lease: LeaseId,
    task: TaskId,
    attempt: u32,
}

impl Held {
    fn read(fields: &mut Fields) -> Option<Self> {
        let lease = fields.required("lease_id", uuid);
        let task = fields.required("task_id", uuid);
        let attempt = fields.required("attempt", attempt);
        Some(Self {
            lease: LeaseId::from_uuid(lease?),
            task: TaskId::from_uuid(task?),
            attempt: attempt?,
        })
    }

    fn ends(self, outcome: Outcome) -> AttemptEnd {
        AttemptEnd {
            lease: self.lease,
            task: self.task,
            attempt: self.attempt,
            outcome,
        }
    }
}

/// That a task did what it should.
#[derive(ToSchema)]
#[schema(as = CompleteTask)]
#[expect(dead_code, reason = "describes what `CompleteTask` reads")]
pub(crate) struct CompleteTaskShape {
    /// The lease it is held under.
    lease_id: Uuid,
    /// The task.
    task_id: Uuid,
    /// The attempt, as it was claimed.
    #[schema(minimum = 1)]
    attempt: u32,
    /// What came of it; at most 256 KiB as JSON.
    #[schema(value_type = Document, required = false)]
    result: Option<Document>,
}

/// That a task did not do what it should.
#[derive(ToSchema)]
#[schema(as = FailTask)]
#[expect(dead_code, reason = "describes what `FailTask` reads")]
pub(crate) struct FailTaskShape {
    /// The lease it is held under.
    lease_id: Uuid,
    /// The task.
    task_id: Uuid,
    /// The attempt, as it was claimed.
    #[schema(minimum = 1)]
    attempt: u32,
    /// How it ended: `failed`; `unknown`, if its effect is unknown; `cancelled`, if it was
    /// asked to stop and did; `released`, if nothing was done and another worker may do it.
    #[schema(inline, default = "failed")]
    outcome: Option<EndWord>,
    /// Why; must be there for `failed` and `unknown`, and only there.
    error: Option<GivenErrorShape>,
    /// Whether another attempt may help; the task's retry policy has the last word. For `failed`.
    #[schema(default = true)]
    retryable: Option<bool>,
}

/// How an attempt that did not succeed ended.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum EndWord {
    Failed,
    Unknown,
    Cancelled,
    Released,
}

impl EndWord {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "failed" => Some(Self::Failed),
            "unknown" => Some(Self::Unknown),
            "cancelled" => Some(Self::Cancelled),
            "released" => Some(Self::Released),
            _ => None,
        }
    }
}

/// That a report is written down.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportAccepted {
    /// The task.
    task_id: Uuid,
    /// The attempt.
    attempt: u32,
}

impl ReportAccepted {
    pub(crate) fn new(task: TaskId, attempt: u32) -> Self {
        Self {
            task_id: task.as_uuid(),
            attempt,
        }
    }
}
