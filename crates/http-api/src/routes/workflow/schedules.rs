//! Schedules.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use drover_domain::workflow::ScheduleName;
use drover_usecases::{ListedSchedule, ScheduleError, ScheduleOrder};

use crate::body::Body;
use crate::etag::{
    IfMatch, IfMatchParams, IfNoneMatch, IfNoneMatchParams, TRIES, Tagged, contended,
};
use crate::extract::{NoQuery, PathName};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{NewSchedule, NewScheduleShape, Schedule, schedule_tag};

const TAG: &str = "schedules";

/// Keeps a schedule, in place of the one with its name. Its first moment is the next one from now.
#[utoipa::path(
    put, path = "/schedules/{name}", tag = TAG, operation_id = "put_schedule",
    request_body = NewScheduleShape, params(IfMatchParams),
    responses(
        (status = 200, description = "The schedule", body = Schedule,
         headers(("ETag" = String, description = "As it is after"))),
        (status = 404, description = "`If-Match` is given and there is no such schedule"),
        (status = 412, description = "It was changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn put(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
    wanted: IfMatch,
    Body(body): Body<NewSchedule>,
) -> Result<Tagged<Schedule>, ApiError> {
    let order = ScheduleOrder {
        name: name.clone(),
        definition: body.definition,
        version: body.version,
        input: body.input,
        cron: body.cron,
        missed: body.missed,
        is_paused: body.is_paused,
    };
    let schedules = &api.service.schedules;
    if !wanted.is_given() {
        return Ok(written(schedules.put(order).await?));
    }
    for _ in 0..TRIES {
        let found = schedules.find(&name).await?;
        let found = found.ok_or_else(|| absent(&name))?;
        wanted.check(&schedule_tag(&found))?;
        let replaced = match found {
            ListedSchedule::Readable(known) => schedules.replace(&known, order.clone()).await?,
            // A schedule that cannot be read cannot be compared.
            ListedSchedule::Broken(_) => Some(schedules.put(order.clone()).await?),
        };
        if let Some(schedule) = replaced {
            return Ok(written(schedule));
        }
    }
    Err(contended())
}

fn written(schedule: drover_domain::workflow::Schedule) -> Tagged<Schedule> {
    tagged(ListedSchedule::Readable(schedule), IfNoneMatch::default())
}

fn tagged(listed: ListedSchedule, known: IfNoneMatch) -> Tagged<Schedule> {
    Tagged {
        tag: schedule_tag(&listed),
        body: listed.into(),
        known,
    }
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
    params(IfNoneMatchParams),
    responses(
        (status = 200, description = "The schedule", body = Schedule,
         headers(("ETag" = String, description = "Changes with everything shown"))),
        (status = 304, description = "The caller has it already"),
    )
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathName(name): PathName<ScheduleName>,
    _: NoQuery,
    known: IfNoneMatch,
) -> Result<Tagged<Schedule>, ApiError> {
    let schedule = api.service.schedules.find(&name).await?;
    schedule
        .map(|schedule| tagged(schedule, known))
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
