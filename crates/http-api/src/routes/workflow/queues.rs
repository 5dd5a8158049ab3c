//! Queues.

use axum::Json;
use axum::extract::State;
use drover_domain::page::Page;
use drover_domain::workflow::QueueName;

use crate::body::Body;
use crate::extract::{NoQuery, PathName};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{NewLimits, NewLimitsShape, Queue, QueueLimits};

const TAG: &str = "queues";

/// Queues that have tasks or limits, by name; the first 1,000.
#[utoipa::path(
    get, path = "/queues", tag = TAG, operation_id = "list_queues", params(PageParams),
    responses((status = 200, description = "A page of queues", body = ItemPage<Queue>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<()>,
) -> Result<Listed<Queue>, ApiError> {
    let stats = api.service.queues.stats().await?;
    // The place in the list is the position of a page.
    let seen = usize::try_from(list.page.after.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = usize::from(list.page.limit);
    let rest: Vec<_> = (1_i64..)
        .zip(stats)
        .skip(seen)
        .take(limit.saturating_add(1))
        .collect();
    let page = Page::from_lookahead(rest, list.page.limit, |(place, _)| *place);
    Ok(list.reply(page.map(|(_, stats)| stats)))
}

/// Sets how many tasks of a queue run at once and how often they start.
///
/// A limit that is left out is none. Whether the queue is paused stays as it is.
#[utoipa::path(
    put, path = "/queues/{name}", tag = TAG, operation_id = "put_queue_limits",
    request_body = NewLimitsShape,
    responses((status = 200, description = "The limits", body = QueueLimits))
)]
pub(crate) async fn put(
    State(api): State<Api>,
    PathName(name): PathName<QueueName>,
    _: NoQuery,
    Body(body): Body<NewLimits>,
) -> Result<Json<QueueLimits>, ApiError> {
    let queues = &api.service.queues;
    let limits = queues.limit(&name, body.concurrency, body.rate).await?;
    Ok(Json(QueueLimits::new(&name, limits)))
}

/// Lets no task of a queue start; tasks that run go on.
#[utoipa::path(
    post, path = "/queues/{name}/pause", tag = TAG, operation_id = "pause_queue",
    responses((status = 200, description = "The limits", body = QueueLimits))
)]
pub(crate) async fn pause(
    State(api): State<Api>,
    PathName(name): PathName<QueueName>,
    _: NoQuery,
) -> Result<Json<QueueLimits>, ApiError> {
    let limits = api.service.queues.pause(&name, true).await?;
    Ok(Json(QueueLimits::new(&name, limits)))
}

/// Lets tasks of a paused queue start again.
#[utoipa::path(
    post, path = "/queues/{name}/resume", tag = TAG, operation_id = "resume_queue",
    responses((status = 200, description = "The limits", body = QueueLimits))
)]
pub(crate) async fn resume(
    State(api): State<Api>,
    PathName(name): PathName<QueueName>,
    _: NoQuery,
) -> Result<Json<QueueLimits>, ApiError> {
    let limits = api.service.queues.pause(&name, false).await?;
    Ok(Json(QueueLimits::new(&name, limits)))
}
