//! Schedules.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use drover_domain::workflow::ScheduleName;
use drover_usecases::{ScheduleError, ScheduleOrder};

use crate::body::Body;
use crate::extract::{NoQuery, PathName};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{NewSchedule, NewScheduleShape, Schedule};

const TAG: &str = "schedules";

/// Keeps a schedule, in place of the one with its name. Its first moment is the next one from now.
#[utoipa::path(
    put, path = "/schedules/{name}", tag = TAG, operation_id = "put_schedule",
    request_body = NewScheduleShape,
    responses((status = 200, description = "The schedule", body = Schedule))
)]
pub(crate) async fn put(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
    Body(body): Body<NewSchedule>,
) -> Result<Json<Schedule>, ApiError> {
    let order = ScheduleOrder {
        name,
        definition: body.definition,
        version: body.version,
        input: body.input,
        cron: body.cron,
        missed: body.missed,
        is_paused: body.is_paused,
    };
    Ok(Json(api.service.schedules.put(order).await?.into()))
}

/// Schedules, oldest first.
#[utoipa::path(
    get, path = "/schedules", tag = TAG, operation_id = "list_schedules", params(PageParams),
    responses((status = 200, description = "A page of schedules", body = ItemPage<Schedule>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<()>,
) -> Result<Listed<Schedule>, ApiError> {
    Ok(list.reply(api.service.schedules.list(list.page).await?))
}

/// One schedule with its next moments.
#[utoipa::path(
    get, path = "/schedules/{name}", tag = TAG, operation_id = "get_schedule",
    responses((status = 200, description = "The schedule", body = Schedule))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
) -> Result<Json<Schedule>, ApiError> {
    let schedule = api.service.schedules.find(&name).await?;
    schedule
        .map(|schedule| Json(schedule.into()))
        .ok_or_else(|| absent(&name))
}

/// Forgets a schedule; workflows it has started go on.
#[utoipa::path(
    delete, path = "/schedules/{name}", tag = TAG, operation_id = "delete_schedule",
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
) -> Result<StatusCode, ApiError> {
    if api.service.schedules.remove(&name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(absent(&name))
    }
}

/// Leaves a schedule alone until it is resumed; its moments in between are not made up for.
#[utoipa::path(
    post, path = "/schedules/{name}/pause", tag = TAG, operation_id = "pause_schedule",
    responses((status = 200, description = "The schedule", body = Schedule))
)]
pub(crate) async fn pause(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
) -> Result<Json<Schedule>, ApiError> {
    set_paused(&api, &name, true).await
}

/// Lets a schedule go on with its next moment from now.
#[utoipa::path(
    post, path = "/schedules/{name}/resume", tag = TAG, operation_id = "resume_schedule",
    responses((status = 200, description = "The schedule", body = Schedule))
)]
pub(crate) async fn resume(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
) -> Result<Json<Schedule>, ApiError> {
    set_paused(&api, &name, false).await
}

async fn set_paused(
    api: &Api,
    name: &ScheduleName,
    is_paused: bool,
) -> Result<Json<Schedule>, ApiError> {
    let schedule: Result<_, ScheduleError> = api.service.schedules.pause(name, is_paused).await;
    schedule?
        .map(|schedule| Json(schedule.into()))
        .ok_or_else(|| absent(name))
}

fn absent(name: &ScheduleName) -> ApiError {
    ApiError::not_found("schedule", format!("`{name}`"))
}
