//! Applications, their groups, versions and updates, and the events of the fleet.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use drover_domain::fleet::ApplicationKey;
use drover_usecases::{ApplicationFilter, FleetEventFilter, Idempotency, UpdateOrder};

use crate::body::Body;
use crate::extract::{Caller, IdempotencyKey, IdempotencyParams, NoQuery, PathId, Prefix};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    Application, ApplicationGroup, ApplicationParams, BatchUpdate, FleetEvent, FleetEventParams,
    UpdateAccepted, VersionChange,
};

const TAG: &str = "applications";

/// Applications, by id or as `sort` says.
#[utoipa::path(
    get, path = "/applications", tag = TAG, operation_id = "list_applications", params(PageParams, ApplicationParams),
    responses((status = 200, description = "A page of applications", body = ItemPage<Application>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<ApplicationFilter>,
) -> Result<Listed<Application>, ApiError> {
    let page = api
        .service
        .fleet
        .applications(&list.filter, list.page)
        .await?;
    Ok(list.reply(page.map(Application::from)))
}

/// One application.
#[utoipa::path(
    get, path = "/applications/{id}", tag = TAG, operation_id = "get_application",
    responses((status = 200, description = "The application", body = Application))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
) -> Result<Json<Application>, ApiError> {
    let application = api
        .service
        .fleet
        .application(ApplicationKey::new(id))
        .await?;
    let application = application.ok_or_else(|| ApiError::not_found("application", id))?;
    Ok(Json(application.into()))
}

/// The version history of an application, newest first.
#[utoipa::path(
    get, path = "/applications/{id}/versions", tag = TAG, operation_id = "list_application_versions",
    params(PageParams),
    responses((status = 200, description = "A page of version changes", body = ItemPage<VersionChange>))
)]
pub(crate) async fn versions(
    State(api): State<Api>,
    PathId(id): PathId,
    list: List<()>,
) -> Result<Listed<VersionChange>, ApiError> {
    let page = api
        .service
        .views
        .fleet
        .versions(ApplicationKey::new(id), list.page)
        .await?;
    page.map(|page| list.reply(page))
        .ok_or_else(|| ApiError::not_found("application", id))
}

/// Updates applications together: in batches behind HAProxy, without dropping a request.
///
/// Everything that can be known to be wrong is refused before anything is created. With an
/// `Idempotency-Key`, the same request made again gets the same tasks.
#[utoipa::path(
    post, path = "/applications/batch_update", tag = TAG, operation_id = "batch_update",
    request_body = BatchUpdate,
    params(IdempotencyParams),
    responses(
        (status = 202, description = "The tasks are queued", body = UpdateAccepted, headers(
            ("Location" = String, description = "The address of the first task"),
            ("Idempotency-Replayed" = String, description = "`true` when the tasks came of an earlier request"),
        )),
        (status = 404, description = "An application does not exist; nothing was created"),
    )
)]
pub(crate) async fn batch_update(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<BatchUpdate>,
) -> Result<(StatusCode, HeaderMap, Json<UpdateAccepted>), ApiError> {
    let scope = format!("batch_update {}", origin.actor);
    let idempotency = key.map(|key| Idempotency {
        scope,
        key,
        digest: body.digest(),
    });
    let applications = body.app_ids.len();
    let order = UpdateOrder {
        applications: body.app_ids,
        artifact: body.distr_url,
        mode: body.mode,
        orchestrator: body.orchestrator_playbook,
        drain_wait: body.drain_wait_time,
        origin,
        idempotency,
    };
    let accepted = api.service.updates.request(order).await?;

    let mut headers = HeaderMap::new();
    if let Some(first) = accepted.tasks.first()
        && let Ok(location) = HeaderValue::from_str(&format!("{prefix}/tasks/{first}"))
    {
        headers.insert(header::LOCATION, location);
    }
    if accepted.replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok((
        StatusCode::ACCEPTED,
        headers,
        Json(UpdateAccepted::new(&accepted, applications)),
    ))
}

/// Groups of applications, by id.
#[utoipa::path(
    get, path = "/application-groups", tag = TAG, operation_id = "list_application_groups", params(PageParams),
    responses((status = 200, description = "A page of groups", body = ItemPage<ApplicationGroup>))
)]
pub(crate) async fn groups(
    State(api): State<Api>,
    list: List<()>,
) -> Result<Listed<ApplicationGroup>, ApiError> {
    let page = api.service.views.fleet.groups(list.page).await?;
    Ok(list.reply(page))
}

/// What happened to the fleet, newest first.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "list_events", params(PageParams, FleetEventParams),
    responses((status = 200, description = "A page of events", body = ItemPage<FleetEvent>))
)]
pub(crate) async fn events(
    State(api): State<Api>,
    list: List<FleetEventFilter>,
) -> Result<Listed<FleetEvent>, ApiError> {
    let page = api
        .service
        .views
        .fleet
        .events(&list.filter, list.page)
        .await?;
    Ok(list.reply(page))
}
