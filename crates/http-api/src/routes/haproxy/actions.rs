//! Setting servers in HAProxy to a state, and what came of it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use drover_domain::haproxy::HaproxyServerKey;
use drover_usecases::ActionFilter;

use crate::body::Body;
use crate::extract::{Caller, IdempotencyKey, NoQuery, PathId, PathTask, Prefix};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::routes::haproxy::instances::TAG;
use crate::state::Api;
use crate::wire::{
    BatchTransactionParams, HaproxyAction, HaproxyActionParams, HaproxyActionResults,
    HaproxyStatusChange, NewHaproxyAction, NewHaproxyActionShape, NewHaproxyActions,
    NewHaproxyActionsShape, TransactionParams,
};

/// Sets a server to a state.
///
/// The answer comes before it is done: look at the action until it is `success` or `failed`. It has succeeded when
/// HAProxy was seen to be as wanted. With a `transaction_id`, or an `Idempotency-Key`, the same request made again
/// gets the same action; the former counts where both are given.
#[utoipa::path(
    post, path = "/haproxy/servers/{id}/action", tag = TAG, operation_id = "act_on_haproxy_server",
    request_body = NewHaproxyActionShape, params(TransactionParams),
    responses(
        (status = 202, description = "The action is queued", body = HaproxyAction, headers(
            ("Location" = String, description = "Its address"),
            ("Idempotency-Replayed" = String, description = "`true` when it came of an earlier request"),
        )),
        (status = 409, description = "The server is not in HAProxy any more, or too few servers would be left"),
    )
)]
pub(crate) async fn act(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewHaproxyAction>,
) -> Result<(StatusCode, HeaderMap, Json<HaproxyAction>), ApiError> {
    let order = body.order(HaproxyServerKey::new(id), key, origin)?;
    let accepted = api.service.actions.request(order).await?;

    let mut headers = HeaderMap::new();
    let address = format!("{prefix}/haproxy/actions/{}", accepted.action.id);
    if let Ok(location) = HeaderValue::from_str(&address) {
        headers.insert(header::LOCATION, location);
    }
    if accepted.replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok((StatusCode::ACCEPTED, headers, Json(accepted.action.into())))
}

/// Sets several servers to a state, each with an answer of its own.
///
/// What is refused for one server changes nothing for the others. With a `transaction_id`, each server's action has
/// that one followed by `:` and the server's id. An `Idempotency-Key` counts as the `transaction_id` where there is none.
#[utoipa::path(
    post, path = "/haproxy/batch/action", tag = TAG, operation_id = "act_on_haproxy_servers",
    request_body = NewHaproxyActionsShape, params(BatchTransactionParams),
    responses((status = 200, description = "What became of each, in the order given", body = HaproxyActionResults))
)]
pub(crate) async fn act_many(
    State(api): State<Api>,
    _: NoQuery,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewHaproxyActions>,
) -> Result<Json<HaproxyActionResults>, ApiError> {
    let orders = body.orders(key, &origin)?;
    let outcomes = api.service.actions.request_many(orders).await?;
    Ok(Json(HaproxyActionResults::new(&body.servers, outcomes)))
}

/// Actions, newest first.
#[utoipa::path(
    get, path = "/haproxy/actions", tag = TAG, operation_id = "list_haproxy_actions",
    params(PageParams, HaproxyActionParams),
    responses((status = 200, description = "A page of actions", body = ItemPage<HaproxyAction>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<ActionFilter>,
) -> Result<Listed<HaproxyAction>, ApiError> {
    let view = &api.service.views.actions;
    let page = view.list(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// One action.
#[utoipa::path(
    get, path = "/haproxy/actions/{id}", tag = TAG, operation_id = "get_haproxy_action",
    responses((status = 200, description = "The action", body = HaproxyAction))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
) -> Result<Json<HaproxyAction>, ApiError> {
    let action = api.service.views.actions.find(id).await?;
    action
        .map(|action| Json(action.into()))
        .ok_or_else(|| ApiError::not_found("HAProxy action", id))
}

/// How the status of a server changed, newest first.
#[utoipa::path(
    get, path = "/haproxy/servers/{id}/history", tag = TAG, operation_id = "list_haproxy_server_history",
    params(PageParams),
    responses((status = 200, description = "A page of changes", body = ItemPage<HaproxyStatusChange>))
)]
pub(crate) async fn history(
    State(api): State<Api>,
    PathId(id): PathId,
    list: List<()>,
) -> Result<Listed<HaproxyStatusChange>, ApiError> {
    let view = &api.service.views.actions;
    let page = view.history(HaproxyServerKey::new(id), list.page).await?;
    page.map(|page| list.reply(page))
        .ok_or_else(|| ApiError::not_found("HAProxy server", id))
}
