//! Servers.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use drover_domain::fleet::{self, ServerKey, ServerPlace};
use drover_domain::rollout::record::Origin;
use drover_usecases::{Removal, ServerFilter};

use crate::body::Body;
use crate::code::Code;
use crate::etag::{
    IfMatch, IfMatchParams, IfNoneMatch, IfNoneMatchParams, TRIES, Tagged, contended,
};
use crate::extract::{
    Caller, IdempotencyKey, IdempotencyParams, NoQuery, PathId, Prefix, mark_replayed,
};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    ChangeServer, NewServer, PatchServer, RefreshReport, Server, ServerHaproxy, ServerParams,
    SetHaproxyNode, server_tag,
};

const TAG: &str = "servers";

/// Servers, by id or as `sort` says.
#[utoipa::path(
    get, path = "/servers", tag = TAG, operation_id = "list_servers", params(PageParams, ServerParams),
    responses((status = 200, description = "A page of servers", body = ItemPage<Server>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<ServerFilter>,
) -> Result<Listed<Server>, ApiError> {
    let view = &api.service.views.fleet;
    let page = view.servers(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// Adds a server; polling begins within one interval.
///
/// A name is there once. With an `Idempotency-Key`, a server that is there exactly as the request says is the answer to
/// the same request made again, and no conflict.
#[utoipa::path(
    post, path = "/servers", tag = TAG, operation_id = "add_server", request_body = NewServer,
    params(IdempotencyParams),
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
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewServer>,
) -> Result<(StatusCode, HeaderMap, Json<Server>), ApiError> {
    let server = body
        .to_domain()
        .map_err(|_| ApiError::defect("a server was read but cannot be made"))?;
    let servers = &api.service.servers;
    let (server, is_replayed) = match key {
        Some(_) => servers.add_once(server, &origin).await?,
        None => (servers.add(server, &origin).await?, false),
    };
    let mut headers = HeaderMap::new();
    if let Ok(location) = HeaderValue::from_str(&format!("{prefix}/servers/{}", server.key)) {
        headers.insert(header::LOCATION, location);
    }
    mark_replayed(&mut headers, is_replayed);
    Ok((StatusCode::CREATED, headers, Json(server.into())))
}

/// One server.
#[utoipa::path(
    get, path = "/servers/{id}", tag = TAG, operation_id = "get_server", params(IfNoneMatchParams),
    responses(
        (status = 200, description = "The server", body = Server,
         headers(("ETag" = String, description = "Changes with everything shown"))),
        (status = 304, description = "The caller has it already"),
    )
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    known: IfNoneMatch,
) -> Result<Tagged<Server>, ApiError> {
    let server = find(&api, id).await?;
    Ok(Tagged {
        tag: server_tag(&server),
        body: server.into(),
        known,
    })
}

async fn find(api: &Api, id: i64) -> Result<fleet::Server, ApiError> {
    let server = api.service.views.servers.find(ServerKey::new(id)).await?;
    server.ok_or_else(|| ApiError::not_found("server", id))
}

/// The server, if it is as the caller saw it.
async fn unchanged(api: &Api, id: i64, wanted: &IfMatch) -> Result<fleet::Server, ApiError> {
    let known = find(api, id).await?;
    wanted.check(&server_tag(&known))?;
    Ok(known)
}

/// Changes the name of a server, or where its agent listens.
///
/// Another address or port is another agent: its status is unknown until it is polled, within one interval.
#[utoipa::path(
    put, path = "/servers/{id}", tag = TAG, operation_id = "change_server", request_body = ChangeServer,
    params(IfMatchParams),
    responses(
        (status = 200, description = "The server as it is after", body = Server,
         headers(("ETag" = String, description = "As it is after"))),
        (status = 404, description = "The resource does not exist"),
        (status = 409, description = "The name is taken"),
        (status = 412, description = "It was changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn put(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    wanted: IfMatch,
    Caller(origin): Caller,
    Body(body): Body<ChangeServer>,
) -> Result<Tagged<Server>, ApiError> {
    change(&api, id, &wanted, &origin, |_| body.clone().place()).await
}

/// Changes the server to what `place` makes of it. Where others change it in between, it is read and checked again.
async fn change(
    api: &Api,
    id: i64,
    wanted: &IfMatch,
    origin: &Origin,
    place: impl Fn(ServerPlace) -> ServerPlace + Send + Sync,
) -> Result<Tagged<Server>, ApiError> {
    let servers = &api.service.servers;
    for _ in 0..TRIES {
        let known = unchanged(api, id, wanted).await?;
        let place = place(known.place());
        if let Some(server) = servers.change(&known, &place, origin).await? {
            return Ok(Tagged {
                tag: server_tag(&server),
                body: server.into(),
                known: IfNoneMatch::default(),
            });
        }
    }
    Err(contended())
}

/// Changes some members of a server; a member that is left out stays as it is.
///
/// Another address or port is another agent: its status is unknown until it is polled, within one interval.
#[utoipa::path(
    patch, path = "/servers/{id}", tag = TAG, operation_id = "patch_server", request_body = PatchServer,
    params(IfMatchParams),
    responses(
        (status = 200, description = "The server as it is after", body = Server,
         headers(("ETag" = String, description = "As it is after"))),
        (status = 409, description = "The name is taken"),
        (status = 412, description = "It was changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn patch(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    wanted: IfMatch,
    Caller(origin): Caller,
    Body(body): Body<PatchServer>,
) -> Result<Tagged<Server>, ApiError> {
    change(&api, id, &wanted, &origin, |known| {
        body.clone().place(known)
    })
    .await
}

/// Removes a server with its HAProxy instances.
///
/// Its applications stay, with their history and without a server; what its agent lists when it is added again are new
/// ones. It is refused while an update of applications on it or behind its HAProxy, or an action on a server in its
/// HAProxy, has not ended.
#[utoipa::path(
    delete, path = "/servers/{id}", tag = TAG, operation_id = "remove_server", params(IfMatchParams),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Something is under way on it; nothing changed"),
        (status = 412, description = "It was changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    wanted: IfMatch,
    Caller(origin): Caller,
) -> Result<StatusCode, ApiError> {
    for _ in 0..TRIES {
        let known = unchanged(&api, id, &wanted).await?;
        match api.service.servers.remove(&known, &origin).await? {
            Removal::Done => return Ok(StatusCode::NO_CONTENT),
            Removal::Changed => {}
            Removal::UnderWay { updates, actions } => {
                let detail = format!(
                    "under way on server {}: updates {updates}, actions in HAProxy {actions}; wait for their end or \
                     cancel them, and then remove it",
                    known.name
                );
                return Err(ApiError::new(Code::Conflict, detail));
            }
        }
    }
    Err(contended())
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

/// Says whether an HAProxy is managed through a server's agent.
///
/// A node is synced at once; an agent that does not answer is an outcome, not an error. The instances of a server that
/// is no longer a node become inactive; they return with all that is known of them when it is one again.
#[utoipa::path(
    put, path = "/servers/{id}/haproxy", tag = TAG, operation_id = "set_server_haproxy", request_body = SetHaproxyNode,
    responses(
        (status = 200, description = "The server with the instances found", body = ServerHaproxy),
        (status = 404, description = "The resource does not exist"),
    )
)]
pub(crate) async fn haproxy(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Caller(origin): Caller,
    Body(body): Body<SetHaproxyNode>,
) -> Result<Json<ServerHaproxy>, ApiError> {
    let servers = &api.service.servers;
    let node = servers
        .set_haproxy_node(ServerKey::new(id), body.is_haproxy_node, &origin)
        .await?;
    node.map(|node| Json(node.into()))
        .ok_or_else(|| ApiError::not_found("server", id))
}
