//! Workflows: starting, steering, looking.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use drover_domain::workflow::run::Control;
use drover_domain::workflow::{SignalName, WorkflowId};
use drover_usecases::{
    Idempotency, StartError, StartedWorkflow, StoreError, WorkflowFilter, WorkflowOrder,
};

use crate::body::{Body, MaybeBody};
use crate::extract::{
    Caller, IdempotencyKey, IdempotencyParams, NoQuery, PathName, PathWorkflow, Prefix,
};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    CancelWorkflow, HistoryEvent, NewWorkflow, NewWorkflowShape, SendSignal, Workflow,
    WorkflowAccepted, WorkflowDetail, WorkflowParams, WorkflowState, WorkflowTask, refused,
};

const TAG: &str = "workflows";

/// Starts a workflow: tasks with what each waits for, or a stored definition.
///
/// Everything that can be known to be wrong is refused before anything is created. With an
/// `Idempotency-Key`, the same request made again gets the same workflow.
#[utoipa::path(
    post, path = "/workflows", tag = TAG, operation_id = "start_workflow", request_body = NewWorkflowShape,
    params(IdempotencyParams),
    responses((status = 202, description = "The workflow exists", body = WorkflowAccepted, headers(
        ("Location" = String, description = "Its address"),
        ("Idempotency-Replayed" = String, description = "`true` when it came of an earlier request"),
    )))
)]
pub(crate) async fn start(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewWorkflow>,
) -> Result<(StatusCode, HeaderMap, Json<WorkflowAccepted>), ApiError> {
    let scope = format!("start_workflow {}", origin.actor);
    let digest = body.digest;
    let order = WorkflowOrder {
        name: body.name,
        source: body.source,
        labels: body.labels,
        input: body.input,
        start: body.start,
        deadline: body.deadline,
        origin,
        idempotency: key.map(|key| Idempotency { scope, key, digest }),
    };
    let started = api.service.workflows.start(order).await;
    let started = started.map_err(|error| match &error {
        StartError::Order(refusal) => refused(refusal),
        StartError::UnknownDefinition { .. }
        | StartError::KindGone { .. }
        | StartError::ReservedQueue { .. } => ApiError::refused("/definition", error.to_string()),
        StartError::Store(_) => error.into(),
    })?;
    let (id, is_replayed) = match started {
        StartedWorkflow::Created(id) => (id, false),
        StartedWorkflow::Replayed(id) => (id, true),
    };
    let mut headers = HeaderMap::new();
    if let Ok(location) = HeaderValue::from_str(&format!("{prefix}/workflows/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    if is_replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok((StatusCode::ACCEPTED, headers, Json(id.into())))
}

/// Workflows, newest first.
#[utoipa::path(
    get, path = "/workflows", tag = TAG, operation_id = "list_workflows", params(PageParams, WorkflowParams),
    responses((status = 200, description = "A page of workflows", body = ItemPage<Workflow>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<WorkflowFilter>,
) -> Result<Listed<Workflow>, ApiError> {
    let view = &api.service.views.workflows;
    let page = view.list(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// One workflow with its input and output.
#[utoipa::path(
    get, path = "/workflows/{id}", tag = TAG, operation_id = "get_workflow",
    responses((status = 200, description = "The workflow", body = WorkflowDetail))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    _: NoQuery,
) -> Result<Json<WorkflowDetail>, ApiError> {
    let detail = api.service.workflows.find(id).await?;
    detail
        .map(|detail| Json(detail.into()))
        .ok_or_else(|| absent(id))
}

/// Starts a workflow that waits for it.
#[utoipa::path(
    post, path = "/workflows/{id}/start", tag = TAG, operation_id = "run_workflow",
    responses(
        (status = 200, description = "Where it stands now", body = WorkflowState),
        (status = 409, description = "It has started before"),
    )
)]
pub(crate) async fn run(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    _: NoQuery,
    caller: Caller,
) -> Result<Json<WorkflowState>, ApiError> {
    control(&api, id, &Control::Start, caller).await
}

/// Lets no task of a workflow start; tasks that run go on.
#[utoipa::path(
    post, path = "/workflows/{id}/pause", tag = TAG, operation_id = "pause_workflow",
    responses(
        (status = 200, description = "Where it stands now", body = WorkflowState),
        (status = 409, description = "It does not run"),
    )
)]
pub(crate) async fn pause(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    _: NoQuery,
    caller: Caller,
) -> Result<Json<WorkflowState>, ApiError> {
    control(&api, id, &Control::Pause, caller).await
}

/// Lets tasks of a paused workflow start again.
#[utoipa::path(
    post, path = "/workflows/{id}/resume", tag = TAG, operation_id = "resume_workflow",
    responses(
        (status = 200, description = "Where it stands now", body = WorkflowState),
        (status = 409, description = "It is not paused"),
    )
)]
pub(crate) async fn resume(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    _: NoQuery,
    caller: Caller,
) -> Result<Json<WorkflowState>, ApiError> {
    control(&api, id, &Control::Resume, caller).await
}

/// Cancels a workflow.
///
/// Waiting tasks end at once, workers of running tasks are asked to stop, and finished tasks are compensated.
#[utoipa::path(
    post, path = "/workflows/{id}/cancel", tag = TAG, operation_id = "cancel_workflow",
    request_body = Option<CancelWorkflow>,
    responses(
        (status = 200, description = "Where it stands now", body = WorkflowState),
        (status = 409, description = "It has ended, or is being undone"),
    )
)]
pub(crate) async fn cancel(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    _: NoQuery,
    Caller(origin): Caller,
    MaybeBody(body): MaybeBody<CancelWorkflow>,
) -> Result<Json<WorkflowState>, ApiError> {
    let reason = body.by(&origin);
    control(&api, id, &Control::Cancel { reason }, Caller(origin)).await
}

/// The tasks of a workflow in their author's order, compensations last.
#[utoipa::path(
    get, path = "/workflows/{id}/tasks", tag = TAG, operation_id = "list_workflow_tasks", params(PageParams),
    responses((status = 200, description = "A page of tasks", body = ItemPage<WorkflowTask>))
)]
pub(crate) async fn tasks(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    list: List<()>,
) -> Result<Listed<WorkflowTask>, ApiError> {
    let page = api.service.views.workflows.tasks(id, list.page).await?;
    page.map(|page| list.reply(page)).ok_or_else(|| absent(id))
}

/// What happened to a workflow, oldest first.
///
/// While more may come, `next_cursor` is there even after the last event: ask again with it to follow
/// the workflow. It is null after the last event of an ended workflow.
#[utoipa::path(
    get, path = "/workflows/{id}/history", tag = TAG, operation_id = "list_workflow_history",
    params(PageParams),
    responses((status = 200, description = "A page of events", body = ItemPage<HistoryEvent>))
)]
pub(crate) async fn history(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    list: List<()>,
) -> Result<Listed<HistoryEvent>, ApiError> {
    let view = &api.service.views.workflows;
    // The workflow is read before its events: after its end no further event comes.
    let found = view.find(id).await?.ok_or_else(|| absent(id))?;
    let page = view
        .history(id, list.page)
        .await?
        .ok_or_else(|| absent(id))?;
    let seen = page.items.last().map(|(number, _)| *number);
    let seen = seen.or(list.page.after).unwrap_or(0);
    let is_over = found.head.status.is_terminal();
    let next = page.next.or((!is_over).then_some(seen));
    Ok(list.reply_until(page.items.into_iter().map(Into::into).collect(), next))
}

/// Brings a signal: a task that waits for it takes it, else it is kept until one does.
///
/// With an `Idempotency-Key`, the same signal sent again changes nothing.
#[utoipa::path(
    post, path = "/workflows/{id}/signals/{name}", tag = TAG, operation_id = "signal_workflow",
    request_body = Option<SendSignal>, params(IdempotencyParams),
    responses(
        (status = 200, description = "Where the workflow stands now", body = WorkflowState),
        (status = 409, description = "The workflow has ended"),
    )
)]
pub(crate) async fn signal(
    State(api): State<Api>,
    PathWorkflow(id): PathWorkflow,
    PathName(name): PathName<SignalName>,
    _: NoQuery,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    MaybeBody(body): MaybeBody<SendSignal>,
) -> Result<Json<WorkflowState>, ApiError> {
    let digest = body.digest;
    let idempotency = key.map(|key| Idempotency {
        scope: format!("signal {} {id} {name}", origin.actor),
        key,
        digest,
    });
    let status = api
        .service
        .workflows
        .signal(id, &name, &body.payload, idempotency.as_ref(), &origin)
        .await?;
    status
        .map(|status| Json(WorkflowState::new(id, status)))
        .ok_or_else(|| absent(id))
}

async fn control(
    api: &Api,
    id: WorkflowId,
    control: &Control,
    Caller(origin): Caller,
) -> Result<Json<WorkflowState>, ApiError> {
    let status: Result<_, StoreError> = api.service.workflows.control(id, control, &origin).await;
    status?
        .map(|status| Json(WorkflowState::new(id, status)))
        .ok_or_else(|| absent(id))
}

/// That there is no such workflow.
pub(in crate::routes) fn absent(id: WorkflowId) -> ApiError {
    ApiError::not_found("workflow", id)
}
