//! Applications, their settings, versions and updates, and the events of the fleet.

use axum::Json;
use axum::extract::State;
use drover_domain::fleet::ApplicationKey;
use drover_domain::text::visible;
use drover_usecases::{ApplicationDetail, ApplicationFilter, FleetEventFilter, Settled};

use crate::body::Body;
use crate::etag::{
    IfMatch, IfMatchParams, IfNoneMatch, IfNoneMatchParams, TRIES, Tagged, contended,
};
use crate::extract::{Caller, NoQuery, PathId};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::routes::fleet::groups::check_playbook;
use crate::state::Api;
use crate::wire::{
    Application, ApplicationEventParams, ApplicationEvents, ApplicationParams, ApplicationSettings,
    FleetEvent, FleetEventParams, NewApplicationSettings, NewApplicationSettingsShape,
    VersionChange, application_tag,
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
    Ok(Json(find(&api, id).await?.into()))
}

async fn find(api: &Api, id: i64) -> Result<ApplicationDetail, ApiError> {
    let fleet = &api.service.fleet;
    let found = fleet.application(ApplicationKey::new(id)).await?;
    found.ok_or_else(|| ApiError::not_found("application", id))
}

/// What people say about an application: its group, and its own settings.
#[utoipa::path(
    get, path = "/applications/{id}/settings", tag = TAG, operation_id = "get_application_settings",
    params(IfNoneMatchParams),
    responses(
        (status = 200, description = "The settings", body = ApplicationSettings,
         headers(("ETag" = String, description = "Changes with everything shown"))),
        (status = 304, description = "The caller has them already"),
    )
)]
pub(crate) async fn settings(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    known: IfNoneMatch,
) -> Result<Tagged<ApplicationSettings>, ApiError> {
    let found = find(&api, id).await?;
    Ok(Tagged {
        tag: application_tag(&found.application),
        body: found.into(),
        known,
    })
}

/// Says which group an application is in, and its own settings.
///
/// Polls leave it alone. An application without a group is put into that of its base name when it is polled. Updates
/// that have begun go on as they began.
#[utoipa::path(
    put, path = "/applications/{id}/settings", tag = TAG, operation_id = "set_application_settings",
    request_body = NewApplicationSettingsShape, params(IfMatchParams),
    responses(
        (status = 200, description = "The settings as they are after", body = ApplicationSettings,
         headers(("ETag" = String, description = "As they are after"))),
        (status = 404, description = "The resource does not exist"),
        (status = 412, description = "They were changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn set(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    wanted: IfMatch,
    Caller(origin): Caller,
    Body(NewApplicationSettings(body)): Body<NewApplicationSettings>,
) -> Result<Tagged<ApplicationSettings>, ApiError> {
    let settings = &api.service.settings;
    check_playbook(&api, &body.own, "/custom_playbook_path")?;
    for _ in 0..TRIES {
        let known = find(&api, id).await?.application;
        wanted.check(&application_tag(&known))?;
        match settings.change_application(&known, &body, &origin).await? {
            Settled::Done(changed) => {
                return Ok(Tagged {
                    tag: application_tag(&changed),
                    body: api.service.fleet.in_detail(changed).await?.into(),
                    known: IfNoneMatch::default(),
                });
            }
            Settled::Changed => {}
            Settled::NoOwner => {
                let group = visible(&body.group.unwrap_or_default(), 64);
                let detail = format!("there is no application group `{group}`");
                return Err(ApiError::refused("/group", detail));
            }
        }
    }
    Err(contended())
}

/// What happened to an application, newest first.
#[utoipa::path(
    get, path = "/applications/{id}/events", tag = TAG, operation_id = "list_application_events",
    params(PageParams, ApplicationEventParams),
    responses((status = 200, description = "A page of events", body = ItemPage<FleetEvent>))
)]
pub(crate) async fn own_events(
    State(api): State<Api>,
    PathId(id): PathId,
    list: List<ApplicationEvents>,
) -> Result<Listed<FleetEvent>, ApiError> {
    let fleet = &api.service.fleet;
    let ApplicationEvents(filter) = &list.filter;
    let page = fleet
        .events(ApplicationKey::new(id), filter, list.page)
        .await?;
    page.map(|page| list.reply(page))
        .ok_or_else(|| ApiError::not_found("application", id))
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
