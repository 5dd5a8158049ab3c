//! Tasks.

use axum::Json;
use axum::extract::State;
use drover_domain::workflow::TaskStatus;
use drover_domain::workflow::run::Control;

use crate::body::MaybeBody;
use crate::extract::{Caller, NoQuery, PathTask};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{CancelWorkflow, Task, TaskDetail, TaskEvent, TaskParams};

const TAG: &str = "tasks";

/// Tasks, newest first.
#[utoipa::path(
    get, path = "/tasks", tag = TAG, operation_id = "list_tasks", params(PageParams, TaskParams),
    responses((status = 200, description = "A page of tasks", body = ItemPage<Task>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<Vec<TaskStatus>>,
) -> Result<Listed<Task>, ApiError> {
    let page = api
        .service
        .views
        .tasks
        .list(&list.filter, list.page)
        .await?;
    Ok(list.reply(page))
}

/// One task with all its parts.
#[utoipa::path(
    get, path = "/tasks/{id}", tag = TAG, operation_id = "get_task",
    responses((status = 200, description = "The task", body = TaskDetail))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
) -> Result<Json<TaskDetail>, ApiError> {
    let mut detail = api
        .service
        .views
        .tasks
        .find(id)
        .await?
        .ok_or_else(|| ApiError::not_found("task", id))?;
    if detail.task.current.is_none() {
        detail.task.current = api.service.updates.waits_for(&detail.task).await?;
    }
    Ok(Json(detail.into()))
}

/// Cancels an update by its own id.
///
/// An update that waits ends at once. A play that runs is stopped, and its instances may stay drained; `left_drained`
/// names them once the task has ended.
#[utoipa::path(
    post, path = "/tasks/{id}/cancel", tag = TAG, operation_id = "cancel_task",
    request_body = Option<CancelWorkflow>,
    responses(
        (status = 200, description = "The task as it is now", body = TaskDetail),
        (status = 409, description = "It has ended"),
    )
)]
pub(crate) async fn cancel(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
    Caller(origin): Caller,
    MaybeBody(body): MaybeBody<CancelWorkflow>,
) -> Result<Json<TaskDetail>, ApiError> {
    let absent = || ApiError::not_found("task", id);
    let known = api.service.views.tasks.find(id).await?;
    known.ok_or_else(absent)?;
    let reason = body.by(&origin);
    let control = Control::Cancel { reason };
    let workflows = &api.service.workflows;
    workflows
        .control(id.workflow(), &control, &origin)
        .await?
        .ok_or_else(absent)?;
    let detail = api.service.views.tasks.find(id).await?;
    detail.map(|detail| Json(detail.into())).ok_or_else(absent)
}

/// What the plays of a task said, oldest first.
///
/// While more may come, `next_cursor` is there even after the last event: ask again with it to
/// follow the task. It is null once the task ended and everything was told.
#[utoipa::path(
    get, path = "/tasks/{id}/events", tag = TAG, operation_id = "list_task_events", params(PageParams),
    responses((status = 200, description = "A page of events", body = ItemPage<TaskEvent>))
)]
pub(crate) async fn events(
    State(api): State<Api>,
    PathTask(id): PathTask,
    list: List<()>,
) -> Result<Listed<TaskEvent>, ApiError> {
    let absent = || ApiError::not_found("task", id);
    // The task before its events: once it has ended, none comes any more.
    let ended = api
        .service
        .views
        .tasks
        .find(id)
        .await?
        .ok_or_else(absent)?
        .task
        .status
        .is_terminal();
    let page = api
        .service
        .views
        .tasks
        .events(id, list.page)
        .await?
        .ok_or_else(absent)?;
    let seen = page
        .items
        .last()
        .map(|event| event.position)
        .or(list.page.after)
        .unwrap_or(0);
    let next = page.next.or((!ended).then_some(seen));
    Ok(list.reply_until(page.items.into_iter().map(Into::into).collect(), next))
}
