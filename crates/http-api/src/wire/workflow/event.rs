//! What happened to workflows, as a list and as a stream.

use drover_domain::workflow::{self, EventPosition, TaskId, TaskKey};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::wire::schema::Instant;
use crate::wire::word::WorkflowEventKind;

/// Something that happened to a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryEvent {
    /// Its number in the workflow, from 1 and without gaps.
    #[schema(minimum = 1)]
    number: i64,
    /// Where it stands among all events: a stream that goes on after it misses none.
    position: String,
    /// When it became true.
    at: Instant,
    event: WorkflowEventKind,
    /// The task; null for the workflow itself.
    task_id: Option<Uuid>,
    /// In which attempt of the task; 0 before the first and for the workflow.
    attempt: u32,
    /// A reason, a worker or a name.
    detail: Option<String>,
}

impl From<(i64, workflow::WorkflowEvent)> for HistoryEvent {
    fn from((number, event): (i64, workflow::WorkflowEvent)) -> Self {
        let task = event.event.task.map(|no| event.workflow.task(no));
        Self {
            number,
            position: event.position.to_string(),
            at: event.at.into(),
            event: event.event.kind.into(),
            task_id: task.map(TaskId::as_uuid),
            attempt: event.event.attempt,
            detail: event.event.detail,
        }
    }
}

/// An event of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowEvent {
    /// Where it stands among all events; pass it as `after` to go on behind it.
    position: String,
    /// When it became true.
    at: Instant,
    event: WorkflowEventKind,
    /// The workflow.
    workflow_id: Uuid,
    /// The task; null for the workflow itself.
    task_id: Option<Uuid>,
    /// Its key.
    task_key: Option<String>,
    /// In which attempt of the task; 0 before the first and for the workflow.
    attempt: u32,
    /// A reason, a worker or a name.
    detail: Option<String>,
}

impl From<(workflow::WorkflowEvent, Option<TaskKey>)> for WorkflowEvent {
    fn from((event, key): (workflow::WorkflowEvent, Option<TaskKey>)) -> Self {
        let task = event.event.task.map(|no| event.workflow.task(no));
        Self {
            position: event.position.to_string(),
            at: event.at.into(),
            event: event.event.kind.into(),
            workflow_id: event.workflow.as_uuid(),
            task_id: task.map(TaskId::as_uuid),
            task_key: key.map(|key| key.as_str().to_owned()),
            attempt: event.event.attempt,
            detail: event.event.detail,
        }
    }
}

/// That events after a position are gone: retention has removed them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventGap {
    /// Always `gap`.
    event: &'static str,
    /// The position that was asked for.
    after: String,
}

impl EventGap {
    pub(crate) fn new(after: EventPosition) -> Self {
        Self {
            event: "gap",
            after: after.to_string(),
        }
    }
}

/// Where a stream begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter that streams read")]
pub(crate) struct AfterParams {
    /// Go on behind this position; `0-0` is the beginning. Without it the stream begins now.
    #[param(pattern = "^[0-9]+-[0-9]+$")]
    after: Option<String>,
}

/// Of which workflow.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter that the stream reads")]
pub(crate) struct StreamParams {
    /// Events of this workflow only.
    workflow_id: Option<Uuid>,
}

/// Where a reader that was cut off goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header that the stream reads")]
pub(crate) struct LastEventParams {
    /// The `id` of the last event that was seen; counts more than `after`.
    #[param(rename = "Last-Event-ID", pattern = "^[0-9]+-[0-9]+$")]
    last_event_id: Option<String>,
}
