//! Which application stands behind a server in HAProxy; and HAProxy in a few numbers.

use axum::Json;
use axum::extract::State;
use drover_domain::haproxy::HaproxyServerKey;
use drover_usecases::{MappingCause, UnmappedFilter};

use crate::body::{Body, MaybeBody};
use crate::extract::{Caller, NoQuery, PathId};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::routes::haproxy::instances::TAG;
use crate::state::Api;
use crate::wire::{
    EndHaproxyMapping, HaproxyMapping, HaproxyMappingChange, HaproxyRemapped, HaproxySummary,
    NewHaproxyMapping, UnmappedHaproxyServer, UnmappedParams,
};

/// The servers of all instances that have no mapping, by id, each with the reason.
#[utoipa::path(
    get, path = "/haproxy/servers/unmapped", tag = TAG, operation_id = "list_unmapped_haproxy_servers",
    params(PageParams, UnmappedParams),
    responses((status = 200, description = "A page of servers", body = ItemPage<UnmappedHaproxyServer>))
)]
pub(crate) async fn unmapped(
    State(api): State<Api>,
    list: List<UnmappedFilter>,
) -> Result<Listed<UnmappedHaproxyServer>, ApiError> {
    let mappings = &api.service.mappings;
    let page = mappings.unmapped(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// Maps a server to an application by hand.
///
/// The mapping stays until a person changes it: no sync does. A mapping that was active before ends. A repeated
/// request changes nothing.
#[utoipa::path(
    post, path = "/haproxy/servers/{id}/map", tag = TAG, operation_id = "map_haproxy_server",
    request_body = NewHaproxyMapping,
    responses(
        (status = 200, description = "The mapping as it is after", body = HaproxyMapping),
        (status = 409, description = "The server is not in HAProxy any more"),
    )
)]
pub(crate) async fn map(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Caller(origin): Caller,
    Body(body): Body<NewHaproxyMapping>,
) -> Result<Json<HaproxyMapping>, ApiError> {
    let application = body.application();
    let cause = MappingCause {
        origin,
        reason: body.reason,
    };
    let mappings = &api.service.mappings;
    let mapping = mappings
        .map(HaproxyServerKey::new(id), application, cause)
        .await?;
    Ok(Json(mapping.into()))
}

/// Ends the mapping of a server, a manual one too.
///
/// The server then has none until a person maps it: neither a sync nor a remap does it by rule. With
/// `"exclude": false` the next sync does.
#[utoipa::path(
    post, path = "/haproxy/servers/{id}/unmap", tag = TAG, operation_id = "unmap_haproxy_server",
    request_body = Option<EndHaproxyMapping>,
    responses((status = 200, description = "Where the server stands after", body = HaproxyMapping))
)]
pub(crate) async fn unmap(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Caller(origin): Caller,
    MaybeBody(body): MaybeBody<EndHaproxyMapping>,
) -> Result<Json<HaproxyMapping>, ApiError> {
    let exclude = body.excludes();
    let cause = MappingCause {
        origin,
        reason: body.reason,
    };
    let mappings = &api.service.mappings;
    let after = mappings
        .unmap(HaproxyServerKey::new(id), exclude, cause)
        .await?;
    after
        .map(|mapping| Json(mapping.into()))
        .ok_or_else(|| ApiError::not_found("HAProxy server", id))
}

/// Maps by rule, now, whatever has no mapping on any instance.
///
/// It looks at what the last syncs found, and passes over excluded servers.
#[utoipa::path(
    post, path = "/haproxy/mapping/remap", tag = TAG, operation_id = "remap_haproxy_servers",
    responses((status = 200, description = "What it came to", body = HaproxyRemapped))
)]
pub(crate) async fn remap(
    State(api): State<Api>,
    _: NoQuery,
    Caller(origin): Caller,
) -> Result<Json<HaproxyRemapped>, ApiError> {
    let done = api.service.mappings.remap(origin).await?;
    Ok(Json(done.into()))
}

/// Which application stands behind a server, and why we think so.
#[utoipa::path(
    get, path = "/haproxy/servers/{id}/mapping", tag = TAG, operation_id = "get_haproxy_server_mapping",
    responses((status = 200, description = "Where the server stands", body = HaproxyMapping))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
) -> Result<Json<HaproxyMapping>, ApiError> {
    let view = &api.service.views.mappings;
    let mapping = view.find(HaproxyServerKey::new(id)).await?;
    mapping
        .map(|mapping| Json(mapping.into()))
        .ok_or_else(|| ApiError::not_found("HAProxy server", id))
}

/// How the mapping of a server changed, newest first.
#[utoipa::path(
    get, path = "/haproxy/servers/{id}/mapping/history", tag = TAG,
    operation_id = "list_haproxy_server_mapping_history", params(PageParams),
    responses((status = 200, description = "A page of changes", body = ItemPage<HaproxyMappingChange>))
)]
pub(crate) async fn history(
    State(api): State<Api>,
    PathId(id): PathId,
    list: List<()>,
) -> Result<Listed<HaproxyMappingChange>, ApiError> {
    let view = &api.service.views.mappings;
    let page = view.history(HaproxyServerKey::new(id), list.page).await?;
    page.map(|page| list.reply(page))
        .ok_or_else(|| ApiError::not_found("HAProxy server", id))
}

/// All of HAProxy in a few numbers.
#[utoipa::path(
    get, path = "/haproxy/summary", tag = TAG, operation_id = "get_haproxy_summary",
    responses((status = 200, description = "The numbers, of one moment", body = HaproxySummary))
)]
pub(crate) async fn summary(
    State(api): State<Api>,
    _: NoQuery,
) -> Result<Json<HaproxySummary>, ApiError> {
    let summary = api.service.mappings.summary().await?;
    Ok(Json(summary.into()))
}
