//! Rollouts.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::TaskStatus;
use drover_domain::workflow::run::Control;

use drover_usecases::{Accepted, Idempotency, RolloutOrder};

use crate::body::{Body, MaybeBody};
use crate::extract::{
    Caller, IdempotencyKey, IdempotencyParams, NoQuery, PathTask, Prefix, mark_replayed,
};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    CancelWorkflow, NewRollout, Rollout, RolloutDetail, RolloutEvent, RolloutParams, RolloutPlan,
    RolloutsAccepted,
};

const TAG: &str = "rollouts";

/// Updates applications together: in batches behind HAProxy, without dropping a request.
///
/// Everything that can be known to be wrong is refused before anything is created. With an
/// `Idempotency-Key`, the same request made again gets the same rollouts.
#[utoipa::path(
    post, path = "/rollouts", tag = TAG, operation_id = "create_rollouts",
    request_body = NewRollout,
    params(IdempotencyParams),
    responses(
        (status = 202, description = "The rollouts are queued", body = RolloutsAccepted, headers(
            ("Location" = String, description = "The address of the first rollout"),
            ("Idempotency-Replayed" = String, description = "`true` when the rollouts came of an earlier request"),
        )),
        (status = 404, description = "An application does not exist; nothing was created"),
        (status = 409, description = "The named plan is stale (`plan_stale`); nothing was created"),
    )
)]
pub(crate) async fn create(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewRollout>,
) -> Result<(StatusCode, HeaderMap, Json<RolloutsAccepted>), ApiError> {
    let accepted = order(&api, origin, key, body).await?;
    let headers = accepted_headers(&accepted, &format!("{prefix}/rollouts"));
    Ok((StatusCode::ACCEPTED, headers, Json(accepted.into())))
}

/// Plans rollouts: what the same body would start, in which order, and what HAProxy keeps meanwhile.
///
/// The plan passes every check of a start, and nothing is created or touched.
#[utoipa::path(
    post, path = "/rollouts:plan", tag = TAG, operation_id = "plan_rollouts",
    request_body = NewRollout,
    responses(
        (status = 200, description = "The plan", body = RolloutPlan),
        (status = 404, description = "An application does not exist"),
    )
)]
pub(crate) async fn plan(
    State(api): State<Api>,
    _: NoQuery,
    Caller(origin): Caller,
    Body(body): Body<NewRollout>,
) -> Result<Json<RolloutPlan>, ApiError> {
    let order = rollout_order(origin, None, body);
    Ok(Json(api.service.rollouts.plan(&order).await?.into()))
}

/// Orders the rollouts of a request.
pub(in crate::routes) async fn order(
    api: &Api,
    origin: Origin,
    key: Option<String>,
    body: NewRollout,
) -> Result<Accepted, ApiError> {
    let order = rollout_order(origin, key, body);
    Ok(api.service.rollouts.request(order).await?)
}

fn rollout_order(origin: Origin, key: Option<String>, body: NewRollout) -> RolloutOrder {
    let scope = format!("rollouts {}", origin.actor);
    let idempotency = key.map(|key| Idempotency {
        scope,
        key,
        digest: body.digest(),
    });
    RolloutOrder {
        applications: body.app_ids,
        artifact: body.distr_url,
        mode: body.mode,
        orchestrator: body.orchestrator_playbook,
        drain_wait: body.drain_wait_time,
        allow_undrained: body.allow_undrained,
        origin,
        idempotency,
        plan: body.plan,
    }
}

/// The headers of an answer that accepts rollouts: where the first one is, and whether they came of an earlier request.
pub(in crate::routes) fn accepted_headers(accepted: &Accepted, path: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(first) = accepted.rollouts.first()
        && let Ok(location) = HeaderValue::from_str(&format!("{path}/{first}"))
    {
        headers.insert(header::LOCATION, location);
    }
    mark_replayed(&mut headers, accepted.replayed);
    headers
}

/// Rollouts, newest first.
#[utoipa::path(
    get, path = "/rollouts", tag = TAG, operation_id = "list_rollouts", params(PageParams, RolloutParams),
    responses((status = 200, description = "A page of rollouts", body = ItemPage<Rollout>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<Vec<TaskStatus>>,
) -> Result<Listed<Rollout>, ApiError> {
    let page = api
        .service
        .views
        .rollouts
        .list(&list.filter, list.page)
        .await?;
    Ok(list.reply(page))
}

/// One rollout with all its parts.
#[utoipa::path(
    get, path = "/rollouts/{id}", tag = TAG, operation_id = "get_rollout",
    responses((status = 200, description = "The rollout", body = RolloutDetail))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
) -> Result<Json<RolloutDetail>, ApiError> {
    let mut detail = api
        .service
        .views
        .rollouts
        .find(id)
        .await?
        .ok_or_else(|| ApiError::not_found("rollout", id))?;
    if detail.rollout.current.is_none() {
        detail.rollout.current = api.service.rollouts.waits_for(&detail.rollout).await?;
    }
    Ok(Json(detail.into()))
}

/// Cancels a rollout.
///
/// A rollout that waits ends at once. A play that runs is stopped, and its targets may stay drained; `left_drained`
/// names them once the rollout has ended.
#[utoipa::path(
    post, path = "/rollouts/{id}/cancel", tag = TAG, operation_id = "cancel_rollout",
    request_body = Option<CancelWorkflow>,
    responses(
        (status = 200, description = "The rollout as it is now", body = RolloutDetail),
        (status = 409, description = "It has ended"),
    )
)]
pub(crate) async fn cancel(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
    Caller(origin): Caller,
    MaybeBody(body): MaybeBody<CancelWorkflow>,
) -> Result<Json<RolloutDetail>, ApiError> {
    let absent = || ApiError::not_found("rollout", id);
    let known = api.service.views.rollouts.find(id).await?;
    known.ok_or_else(absent)?;
    let reason = body.by(&origin);
    let control = Control::Cancel { reason };
    let workflows = &api.service.workflows;
    workflows
        .control(id.workflow(), &control, &origin)
        .await?
        .ok_or_else(absent)?;
    let detail = api.service.views.rollouts.find(id).await?;
    detail.map(|detail| Json(detail.into())).ok_or_else(absent)
}

/// What the plays of a rollout said, oldest first.
///
/// While more may come, `next_cursor` is there even after the last event: ask again with it to
/// follow the rollout. It is null after the last event of an ended rollout.
#[utoipa::path(
    get, path = "/rollouts/{id}/events", tag = TAG, operation_id = "list_rollout_events", params(PageParams),
    responses((status = 200, description = "A page of events", body = ItemPage<RolloutEvent>))
)]
pub(crate) async fn events(
    State(api): State<Api>,
    PathTask(id): PathTask,
    list: List<()>,
) -> Result<Listed<RolloutEvent>, ApiError> {
    let absent = || ApiError::not_found("rollout", id);
    // The rollout before its events: after its end none follows.
    let ended = api
        .service
        .views
        .rollouts
        .find(id)
        .await?
        .ok_or_else(absent)?
        .rollout
        .status
        .is_terminal();
    let page = api
        .service
        .views
        .rollouts
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
