//! The catalog of applications.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use drover_domain::fleet::{self, CatalogKey};
use drover_usecases::CatalogFilter;

use crate::body::Body;
use crate::etag::{
    IfMatch, IfMatchParams, IfNoneMatch, IfNoneMatchParams, TRIES, Tagged, contended,
};
use crate::extract::{Caller, NoQuery, PathId, Prefix};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::routes::fleet::groups::{check_playbook, released};
use crate::state::Api;
use crate::wire::{
    CatalogEntry, CatalogParams, ChangeCatalogEntry, ChangeCatalogEntryShape, NewCatalogEntry,
    NewCatalogEntryShape, entry_tag,
};

const TAG: &str = "applications";

/// Catalog entries, by id or as `sort` says.
#[utoipa::path(
    get, path = "/application-catalog", tag = TAG, operation_id = "list_application_catalog",
    params(PageParams, CatalogParams),
    responses((status = 200, description = "A page of catalog entries", body = ItemPage<CatalogEntry>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<CatalogFilter>,
) -> Result<Listed<CatalogEntry>, ApiError> {
    let catalog = &api.service.views.catalog;
    let page = catalog.list(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// Adds a catalog entry. Applications of its kind whose base name is its name belong to it when they are new.
#[utoipa::path(
    post, path = "/application-catalog", tag = TAG, operation_id = "add_catalog_entry",
    request_body = NewCatalogEntryShape,
    responses(
        (status = 201, description = "The entry as it was added", body = CatalogEntry,
         headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "There is one of this name and kind"),
    )
)]
pub(crate) async fn add(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    Body(NewCatalogEntry { kind, entry }): Body<NewCatalogEntry>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<CatalogEntry>), ApiError> {
    let settings = &api.service.settings;
    check_playbook(&api, &entry.own, "/default_playbook_path")?;
    let entry = settings.add_entry(kind, &entry, &origin).await?;
    let location = format!("{prefix}/application-catalog/{}", entry.key);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(entry.into()),
    ))
}

async fn find(api: &Api, id: i64) -> Result<fleet::CatalogEntry, ApiError> {
    let entry = api.service.views.catalog.find(CatalogKey::new(id)).await?;
    entry.ok_or_else(|| ApiError::not_found("catalog entry", id))
}

fn tagged(entry: fleet::CatalogEntry, known: IfNoneMatch) -> Tagged<CatalogEntry> {
    Tagged {
        tag: entry_tag(&entry),
        body: entry.into(),
        known,
    }
}

/// One catalog entry.
#[utoipa::path(
    get, path = "/application-catalog/{id}", tag = TAG, operation_id = "get_catalog_entry",
    params(IfNoneMatchParams),
    responses(
        (status = 200, description = "The catalog entry", body = CatalogEntry,
         headers(("ETag" = String, description = "Changes with everything shown"))),
        (status = 304, description = "The caller has it already"),
    )
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    known: IfNoneMatch,
) -> Result<Tagged<CatalogEntry>, ApiError> {
    Ok(tagged(find(&api, id).await?, known))
}

/// Changes a catalog entry; what belongs to it stays with it.
///
/// Its settings hold where neither an application nor its group says something else. Updates that have begun go on as
/// they began.
#[utoipa::path(
    put, path = "/application-catalog/{id}", tag = TAG, operation_id = "change_catalog_entry",
    request_body = ChangeCatalogEntryShape, params(IfMatchParams),
    responses(
        (status = 200, description = "The entry as it is after", body = CatalogEntry,
         headers(("ETag" = String, description = "As it is after"))),
        (status = 404, description = "The resource does not exist"),
        (status = 409, description = "There is one of this name and kind"),
        (status = 412, description = "It was changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn put(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    wanted: IfMatch,
    Caller(origin): Caller,
    Body(ChangeCatalogEntry(body)): Body<ChangeCatalogEntry>,
) -> Result<Tagged<CatalogEntry>, ApiError> {
    let settings = &api.service.settings;
    check_playbook(&api, &body.own, "/default_playbook_path")?;
    for _ in 0..TRIES {
        let known = find(&api, id).await?;
        wanted.check(&entry_tag(&known))?;
        if let Some(entry) = settings.change_entry(&known, &body, &origin).await? {
            return Ok(tagged(entry, IfNoneMatch::default()));
        }
    }
    Err(contended())
}

/// Removes a catalog entry that nothing belongs to.
#[utoipa::path(
    delete, path = "/application-catalog/{id}", tag = TAG, operation_id = "remove_catalog_entry",
    params(IfMatchParams),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Something belongs to it; nothing changed"),
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
    let advice =
        "groups can be given another entry; applications keep theirs, which goes by their names";
    for _ in 0..TRIES {
        let known = find(&api, id).await?;
        wanted.check(&entry_tag(&known))?;
        let release = api.service.settings.remove_entry(&known, &origin).await?;
        let what = format!("catalog entry {}", known.name);
        if let Some(answer) = released(release, &what, advice) {
            return answer;
        }
    }
    Err(contended())
}
