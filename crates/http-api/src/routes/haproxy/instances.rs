//! HAProxy, as it was last read.

use axum::Json;
use axum::extract::State;
use drover_domain::haproxy::{BackendKey, HaproxyInstanceKey};
use drover_usecases::{BackendFilter, HaproxyInstanceFilter, HaproxyServerFilter};

use crate::extract::{NoQuery, PathId};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    HaproxyBackend, HaproxyBackendParams, HaproxyInstance, HaproxyInstanceParams, HaproxyServer,
    HaproxyServerParams,
};

pub(in crate::routes) const TAG: &str = "haproxy";

/// HAProxy instances, by id.
#[utoipa::path(
    get, path = "/haproxy/instances", tag = TAG, operation_id = "list_haproxy_instances",
    params(PageParams, HaproxyInstanceParams),
    responses((status = 200, description = "A page of instances", body = ItemPage<HaproxyInstance>))
)]
pub(crate) async fn instances(
    State(api): State<Api>,
    list: List<HaproxyInstanceFilter>,
) -> Result<Listed<HaproxyInstance>, ApiError> {
    let view = &api.service.views.haproxy;
    let page = view.instances(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// The backends of an instance, by id.
#[utoipa::path(
    get, path = "/haproxy/instances/{id}/backends", tag = TAG, operation_id = "list_haproxy_backends",
    params(PageParams, HaproxyBackendParams),
    responses((status = 200, description = "A page of backends", body = ItemPage<HaproxyBackend>))
)]
pub(crate) async fn backends(
    State(api): State<Api>,
    PathId(id): PathId,
    list: List<BackendFilter>,
) -> Result<Listed<HaproxyBackend>, ApiError> {
    let page = api
        .service
        .views
        .haproxy
        .backends(HaproxyInstanceKey::new(id), &list.filter, list.page)
        .await?;
    page.map(|page| list.reply(page))
        .ok_or_else(|| ApiError::not_found("HAProxy instance", id))
}

/// The servers of a backend, by id.
#[utoipa::path(
    get, path = "/haproxy/backends/{id}/servers", tag = TAG, operation_id = "list_haproxy_servers",
    params(PageParams, HaproxyServerParams),
    responses((status = 200, description = "A page of servers", body = ItemPage<HaproxyServer>))
)]
pub(crate) async fn servers(
    State(api): State<Api>,
    PathId(id): PathId,
    list: List<HaproxyServerFilter>,
) -> Result<Listed<HaproxyServer>, ApiError> {
    let page = api
        .service
        .views
        .haproxy
        .servers(BackendKey::new(id), &list.filter, list.page)
        .await?;
    page.map(|page| list.reply(page))
        .ok_or_else(|| ApiError::not_found("HAProxy backend", id))
}

/// Reads an HAProxy now.
///
/// An HAProxy that cannot be read is an outcome, not an error.
#[utoipa::path(
    post, path = "/haproxy/instances/{id}/sync", tag = TAG, operation_id = "sync_haproxy_instance",
    responses((status = 200, description = "The instance as it is after", body = HaproxyInstance))
)]
pub(crate) async fn sync(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
) -> Result<Json<HaproxyInstance>, ApiError> {
    let synced = api
        .service
        .actions
        .sync(HaproxyInstanceKey::new(id))
        .await?;
    synced
        .map(|instance| Json(instance.into()))
        .ok_or_else(|| ApiError::not_found("HAProxy instance", id))
}
