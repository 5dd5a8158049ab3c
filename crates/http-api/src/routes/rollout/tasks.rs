//! Rollouts under the paths and words of earlier clients: tasks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use drover_domain::workflow::TaskStatus;

use crate::body::{Body, MaybeBody};
use crate::extract::{Caller, IdempotencyKey, IdempotencyParams, NoQuery, PathTask, Prefix};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::routes::rollout::rollouts::{self, accepted_headers, order};
use crate::state::Api;
use crate::wire::{
    BatchAccepted, CancelWorkflow, NewRollout, RolloutEvent, RolloutParams, Task, TaskDetail,
};

const TAG: &str = "tasks";

/// Updates applications together; `POST /rollouts` in the words of earlier clients.
#[utoipa::path(
    post, path = "/applications/batch_update", tag = TAG, operation_id = "batch_update",
    request_body = NewRollout,
    params(IdempotencyParams),
    responses(
        (status = 202, description = "The tasks are queued", body = BatchAccepted, headers(
            ("Location" = String, description = "The address of the first task"),
            ("Idempotency-Replayed" = String, description = "`true` when the tasks came of an earlier request"),
        )),
        (status = 404, description = "An application does not exist; nothing was created"),
    )
)]
pub(crate) async fn batch_update(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewRollout>,
) -> Result<(StatusCode, HeaderMap, Json<BatchAccepted>), ApiError> {
    let applications = body.app_ids.len();
    let accepted = order(&api, origin, key, body).await?;
    let headers = accepted_headers(&accepted, &format!("{prefix}/tasks"));
    let answer = BatchAccepted::new(accepted, applications);
    Ok((StatusCode::ACCEPTED, headers, Json(answer)))
}

/// Rollouts, newest first; `GET /rollouts` in the words of earlier clients.
#[utoipa::path(
    get, path = "/tasks", tag = TAG, operation_id = "list_tasks", params(PageParams, RolloutParams),
    responses((status = 200, description = "A page of tasks", body = ItemPage<Task>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<Vec<TaskStatus>>,
) -> Result<Listed<Task>, ApiError> {
    let rollouts = &api.service.views.rollouts;
    let page = rollouts.list(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// One rollout with all its parts; `GET /rollouts/{id}` in the words of earlier clients.
#[utoipa::path(
    get, path = "/tasks/{id}", tag = TAG, operation_id = "get_task",
    responses((status = 200, description = "The task", body = TaskDetail))
)]
pub(crate) async fn get(
    state: State<Api>,
    path: PathTask,
    no_query: NoQuery,
) -> Result<Json<TaskDetail>, ApiError> {
    let Json(rollout) = rollouts::get(state, path, no_query).await?;
    Ok(Json(rollout.into()))
}

/// Cancels a rollout; `POST /rollouts/{id}/cancel` in the words of earlier clients.
#[utoipa::path(
    post, path = "/tasks/{id}/cancel", tag = TAG, operation_id = "cancel_task",
    request_body = Option<CancelWorkflow>,
    responses(
        (status = 200, description = "The task as it is now", body = TaskDetail),
        (status = 409, description = "It has ended"),
    )
)]
pub(crate) async fn cancel(
    state: State<Api>,
    path: PathTask,
    no_query: NoQuery,
    caller: Caller,
    body: MaybeBody<CancelWorkflow>,
) -> Result<Json<TaskDetail>, ApiError> {
    let Json(rollout) = rollouts::cancel(state, path, no_query, caller, body).await?;
    Ok(Json(rollout.into()))
}

/// What the plays of a rollout said; `GET /rollouts/{id}/events` for earlier clients.
#[utoipa::path(
    get, path = "/tasks/{id}/events", tag = TAG, operation_id = "list_task_events", params(PageParams),
    responses((status = 200, description = "A page of events", body = ItemPage<RolloutEvent>))
)]
pub(crate) async fn events(
    state: State<Api>,
    path: PathTask,
    list: List<()>,
) -> Result<Listed<RolloutEvent>, ApiError> {
    rollouts::events(state, path, list).await
}
