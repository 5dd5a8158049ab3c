//! Groups of applications.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use drover_domain::fleet::{GroupKey, SettingsLayer};
use drover_usecases::{GroupFilter, NamedGroup, Release, Settled};

use crate::body::Body;
use crate::code::Code;
use crate::etag::{
    IfMatch, IfMatchParams, IfNoneMatch, IfNoneMatchParams, TRIES, Tagged, contended,
};
use crate::extract::{Caller, NoQuery, PathId, Prefix};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    ApplicationGroup, GroupParams, NewApplicationGroup, NewApplicationGroupShape, group_tag,
};

const TAG: &str = "applications";

/// Groups of applications, by id or as `sort` says.
#[utoipa::path(
    get, path = "/application-groups", tag = TAG, operation_id = "list_application_groups",
    params(PageParams, GroupParams),
    responses((status = 200, description = "A page of groups", body = ItemPage<ApplicationGroup>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<GroupFilter>,
) -> Result<Listed<ApplicationGroup>, ApiError> {
    let view = &api.service.views.fleet;
    let page = view.groups(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

fn no_such_entry() -> ApiError {
    ApiError::refused("/catalog_id", "there is no such catalog entry".to_owned())
}

/// Adds a group without applications.
///
/// Applications are put into it with their settings, and, if they have no group yet, by their base name.
#[utoipa::path(
    post, path = "/application-groups", tag = TAG, operation_id = "add_application_group",
    request_body = NewApplicationGroupShape,
    responses(
        (status = 201, description = "The group as it was added", body = ApplicationGroup,
         headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "The name is taken"),
    )
)]
pub(crate) async fn add(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    Body(NewApplicationGroup(body)): Body<NewApplicationGroup>,
) -> Result<
    (
        StatusCode,
        [(HeaderName, String); 1],
        Json<ApplicationGroup>,
    ),
    ApiError,
> {
    check_playbook(&api, &body.own, "/update_playbook_path")?;
    let added = api.service.settings.add_group(&body, &origin).await?;
    let group = added.ok_or_else(no_such_entry)?;
    let location = format!("{prefix}/application-groups/{}", group.0.key);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(group.into()),
    ))
}

async fn find(api: &Api, id: i64) -> Result<NamedGroup, ApiError> {
    let group = api.service.views.groups.find(GroupKey::new(id)).await?;
    group.ok_or_else(|| ApiError::not_found("application group", id))
}

fn tagged(group: NamedGroup, known: IfNoneMatch) -> Tagged<ApplicationGroup> {
    Tagged {
        tag: group_tag(&group.0),
        body: group.into(),
        known,
    }
}

/// One group.
#[utoipa::path(
    get, path = "/application-groups/{id}", tag = TAG, operation_id = "get_application_group",
    params(IfNoneMatchParams),
    responses(
        (status = 200, description = "The group", body = ApplicationGroup,
         headers(("ETag" = String, description = "Changes with everything shown"))),
        (status = 304, description = "The caller has it already"),
    )
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    known: IfNoneMatch,
) -> Result<Tagged<ApplicationGroup>, ApiError> {
    Ok(tagged(find(&api, id).await?, known))
}

/// Changes a group; its applications stay in it.
///
/// Updates that have begun go on as they began. A new application is put into the group of its base name, which is made
/// again if it is called otherwise now.
#[utoipa::path(
    put, path = "/application-groups/{id}", tag = TAG, operation_id = "change_application_group",
    request_body = NewApplicationGroupShape, params(IfMatchParams),
    responses(
        (status = 200, description = "The group as it is after", body = ApplicationGroup,
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
    Body(NewApplicationGroup(body)): Body<NewApplicationGroup>,
) -> Result<Tagged<ApplicationGroup>, ApiError> {
    let settings = &api.service.settings;
    check_playbook(&api, &body.own, "/update_playbook_path")?;
    for _ in 0..TRIES {
        let (known, _) = find(&api, id).await?;
        wanted.check(&group_tag(&known))?;
        match settings.change_group(&known, &body, &origin).await? {
            Settled::Done(group) => return Ok(tagged(group, IfNoneMatch::default())),
            Settled::Changed => {}
            Settled::NoOwner => return Err(no_such_entry()),
        }
    }
    Err(contended())
}

/// Removes a group that has no applications.
#[utoipa::path(
    delete, path = "/application-groups/{id}", tag = TAG, operation_id = "remove_application_group",
    params(IfMatchParams),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It has applications; nothing changed"),
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
        let (known, _) = find(&api, id).await?;
        wanted.check(&group_tag(&known))?;
        let release = api.service.settings.remove_group(&known, &origin).await?;
        let what = format!("application group {}", known.name);
        if let Some(answer) = released(release, &what, "put them into another group first") {
            return answer;
        }
    }
    Err(contended())
}

/// Refuses a playbook path that no update could use; `pointer` is the field of the body.
pub(in crate::routes) fn check_playbook(
    api: &Api,
    layer: &SettingsLayer,
    pointer: &str,
) -> Result<(), ApiError> {
    let checked = api.service.settings.check(layer);
    checked.map_err(|error| ApiError::refused(pointer, error.to_string()))
}

/// The answer to a request to remove `what`, `None` when others changed it in between; `advice` says what to do when it is
/// in use.
pub(in crate::routes) fn released(
    release: Release,
    what: &str,
    advice: &str,
) -> Option<Result<StatusCode, ApiError>> {
    match release {
        Release::Done => Some(Ok(StatusCode::NO_CONTENT)),
        Release::Changed => None,
        Release::InUse {
            applications,
            groups,
        } => {
            let counts = match groups {
                0 => format!("applications {applications}"),
                _ => format!("applications {applications}, groups {groups}"),
            };
            let detail = format!("{what} is in use: {counts}; {advice}");
            Some(Err(ApiError::new(Code::Conflict, detail)))
        }
    }
}
