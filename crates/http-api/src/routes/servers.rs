//! Servers.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use drover_domain::fleet::ServerKey;

use crate::body::Body;
use crate::extract::{NoQuery, PathId, Prefix};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{NewServer, RefreshReport, Server};

const TAG: &str = "servers";

/// All servers, by id.
#[utoipa::path(
    get, path = "/servers", tag = TAG, operation_id = "list_servers", params(PageParams),
    responses((status = 200, description = "A page of servers", body = ItemPage<Server>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<()>,
) -> Result<Listed<Server>, ApiError> {
    let page = api.service.views.servers.list(list.page).await?;
    Ok(list.reply(page))
}

/// Adds a server; polling begins within one interval.
#[utoipa::path(
    post, path = "/servers", tag = TAG, operation_id = "add_server", request_body = NewServer,
    responses(
        (status = 201, description = "The server as it was added", body = Server,
         headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "The name is taken"),
    )
)]
pub(crate) async fn add(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Body(body): Body<NewServer>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Server>), ApiError> {
    let server = body
        .to_domain()
        .map_err(|_| ApiError::defect("a server was read but cannot be made"))?;
    let server = api.service.servers.add(server).await?;
    let location = format!("{prefix}/servers/{}", server.key);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(server.into()),
    ))
}

/// One server.
#[utoipa::path(
    get, path = "/servers/{id}", tag = TAG, operation_id = "get_server",
    responses((status = 200, description = "The server", body = Server))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
) -> Result<Json<Server>, ApiError> {
    let server = api.service.views.servers.find(ServerKey::new(id)).await?;
    server
        .map(|server| Json(server.into()))
        .ok_or_else(|| ApiError::not_found("server", id))
}

/// Polls a server now, and syncs its HAProxy if it is a node.
///
/// An agent that does not answer is an outcome, not an error.
#[utoipa::path(
    post, path = "/servers/{id}/refresh", tag = TAG, operation_id = "refresh_server",
    responses((status = 200, description = "What the poll came to", body = RefreshReport))
)]
pub(crate) async fn refresh(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
) -> Result<Json<RefreshReport>, ApiError> {
    let refreshed = api.service.servers.refresh(ServerKey::new(id)).await?;
    refreshed
        .map(|refreshed| Json(refreshed.into()))
        .ok_or_else(|| ApiError::not_found("server", id))
}
