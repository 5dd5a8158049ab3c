//! Tasks of workflows: looking, deciding, doing dead ones again.

use axum::Json;
use axum::extract::State;
use drover_domain::workflow::TaskId;
use drover_domain::workflow::run::Decision;
use drover_usecases::{DeadLetterFilter, Redriven};

use crate::body::{Body, MaybeBody};
use crate::code::Code;
use crate::extract::{
    Caller, CallerRole, IdempotencyKey, IdempotencyParams, NoQuery, PathWorkflowTask,
};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    DeadLetterParams, DeadTask, Redrive, RedriveShape, RedrivenTasks, ResolveTask,
    ResolveTaskShape, WorkflowState, WorkflowTaskDetail,
};

const TAG: &str = "workflows";
const DEAD: &str = "dead letters";

/// One task of a workflow.
#[utoipa::path(
    get, path = "/workflows/{id}/tasks/{task_id}", tag = TAG, operation_id = "get_workflow_task",
    responses((status = 200, description = "The task", body = WorkflowTaskDetail))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathWorkflowTask(task): PathWorkflowTask,
    _: NoQuery,
) -> Result<Json<WorkflowTaskDetail>, ApiError> {
    let record = api.service.views.workflows.task(task).await?;
    record
        .map(|record| Json(record.into()))
        .ok_or_else(|| absent(task))
}

/// Does a task again that failed, timed out or is unknown, with what was skipped because of it.
#[utoipa::path(
    post, path = "/workflows/{id}/tasks/{task_id}/retry", tag = TAG, operation_id = "retry_task",
    responses(
        (status = 200, description = "Where the workflow stands now", body = WorkflowState),
        (status = 409, description = "The state of the task or its workflow does not allow it"),
    )
)]
pub(crate) async fn retry(
    State(api): State<Api>,
    PathWorkflowTask(task): PathWorkflowTask,
    _: NoQuery,
    caller: Caller,
    role: CallerRole,
) -> Result<Json<WorkflowState>, ApiError> {
    decide(&api, task, &Decision::Retry, caller, role).await
}

/// Does without a task.
#[utoipa::path(
    post, path = "/workflows/{id}/tasks/{task_id}/skip", tag = TAG, operation_id = "skip_task",
    responses(
        (status = 200, description = "Where the workflow stands now", body = WorkflowState),
        (status = 409, description = "The state of the task or its workflow does not allow it"),
    )
)]
pub(crate) async fn skip(
    State(api): State<Api>,
    PathWorkflowTask(task): PathWorkflowTask,
    _: NoQuery,
    caller: Caller,
    role: CallerRole,
) -> Result<Json<WorkflowState>, ApiError> {
    decide(&api, task, &Decision::Skip, caller, role).await
}

/// Resolves a task whose result is unknown.
///
/// A task of Drover's own (an update, an action in HAProxy, a delivery) is only resolved as `failed`, by an admin.
#[utoipa::path(
    post, path = "/workflows/{id}/tasks/{task_id}/resolve", tag = TAG, operation_id = "resolve_task",
    request_body = ResolveTaskShape,
    responses(
        (status = 200, description = "Where the workflow stands now", body = WorkflowState),
        (status = 409, description = "The task is not unknown"),
    )
)]
pub(crate) async fn resolve(
    State(api): State<Api>,
    PathWorkflowTask(task): PathWorkflowTask,
    _: NoQuery,
    caller: Caller,
    role: CallerRole,
    Body(ResolveTask(decision)): Body<ResolveTask>,
) -> Result<Json<WorkflowState>, ApiError> {
    decide(&api, task, &decision, caller, role).await
}

/// Tasks that failed, timed out or are unknown, newest first.
#[utoipa::path(
    get, path = "/dead-letters", tag = DEAD, operation_id = "list_dead_letters",
    params(PageParams, DeadLetterParams),
    responses((status = 200, description = "A page of dead letters", body = ItemPage<DeadTask>))
)]
pub(crate) async fn dead_letters(
    State(api): State<Api>,
    list: List<DeadLetterFilter>,
) -> Result<Listed<DeadTask>, ApiError> {
    let view = &api.service.views.workflows;
    let page = view.dead_letters(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// Does dead letters again: one, or all that fit every condition, oldest first.
///
/// Those whose workflows no longer allow it are left alone, and so are updates, actions in HAProxy and deliveries,
/// which have verbs of their own: a request that means only these is refused. Without a condition all are meant. With an
/// `Idempotency-Key`, the same request made again does nothing and gets the tasks of the first one.
#[utoipa::path(
    post, path = "/dead-letters/redrive", tag = DEAD, operation_id = "redrive_dead_letters",
    request_body = Option<RedriveShape>, params(IdempotencyParams),
    responses(
        (status = 200, description = "The tasks that are queued again", body = RedrivenTasks),
        (status = 404, description = "The task that was named does not exist"),
        (status = 409, description = "The task that was named is no dead letter"),
    )
)]
pub(crate) async fn redrive(
    State(api): State<Api>,
    _: NoQuery,
    Caller(origin): Caller,
    key: IdempotencyKey,
    MaybeBody(body): MaybeBody<Redrive>,
) -> Result<Json<RedrivenTasks>, ApiError> {
    let workflows = &api.service.workflows;
    let named = body.filter.task;
    let once = key.of("redrive", &origin, body.digest);
    let redriven = workflows.redrive(&body.filter, body.limit, once.as_ref(), &origin);
    match redriven.await? {
        Redriven::Tasks(tasks) => Ok(Json(tasks.into())),
        Redriven::NoSuchTask => Err(ApiError::not_found(
            "task",
            named.map(|task| task.to_string()).unwrap_or_default(),
        )),
        Redriven::NotAllowed => Err(ApiError::new(
            Code::Conflict,
            "the task is no dead letter, or its workflow does not allow it to be done again",
        )),
    }
}

async fn decide(
    api: &Api,
    task: TaskId,
    decision: &Decision,
    Caller(origin): Caller,
    CallerRole(role): CallerRole,
) -> Result<Json<WorkflowState>, ApiError> {
    let workflows = &api.service.workflows;
    workflows
        .decide(task, decision, &origin, role)
        .await?
        .map(|status| Json(WorkflowState::new(task.workflow(), status)))
        .ok_or_else(|| absent(task))
}

fn absent(task: TaskId) -> ApiError {
    ApiError::not_found("task", task)
}
