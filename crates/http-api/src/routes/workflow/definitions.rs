//! Definitions of workflows.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use drover_domain::workflow::DefinitionName;
use drover_usecases::DefineError;

use crate::body::Body;
use crate::extract::{NoQuery, PathName, Prefix, Query};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    DefinitionKept, NewDefinition, NewDefinitionShape, Version, VersionParams, WorkflowDefinition,
    WorkflowDefinitionDetail, refused,
};

const TAG: &str = "workflow definitions";

/// Keeps the next version of a definition; one that is the same as the newest is found again.
#[utoipa::path(
    post, path = "/workflow-definitions", tag = TAG, operation_id = "define_workflow",
    request_body = NewDefinitionShape,
    responses((status = 201, description = "It is kept", body = DefinitionKept,
               headers(("Location" = String, description = "Its address"))))
)]
pub(crate) async fn define(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Body(body): Body<NewDefinition>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<DefinitionKept>), ApiError> {
    let definitions = &api.service.definitions;
    let kept = definitions
        .define(body.name, body.tasks.mode, body.tasks.tasks)
        .await
        .map_err(|error| match error {
            DefineError::Order(refusal) => refused(&refusal),
            DefineError::Store(source) => source.into(),
        })?;
    let (name, version) = (&kept.name, kept.version);
    let location = format!("{prefix}/workflow-definitions/{name}?version={version}");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(kept.into()),
    ))
}

/// All versions of all definitions, newest first.
#[utoipa::path(
    get, path = "/workflow-definitions", tag = TAG, operation_id = "list_workflow_definitions",
    params(PageParams),
    responses((status = 200, description = "A page of definitions", body = ItemPage<WorkflowDefinition>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<()>,
) -> Result<Listed<WorkflowDefinition>, ApiError> {
    Ok(list.reply(api.service.definitions.list(list.page).await?))
}

/// A version of a definition with its tasks.
#[utoipa::path(
    get, path = "/workflow-definitions/{name}", tag = TAG, operation_id = "get_workflow_definition",
    params(VersionParams),
    responses((status = 200, description = "The definition", body = WorkflowDefinitionDetail))
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathName(name): PathName<DefinitionName>,
    Query(Version(version)): Query<Version>,
) -> Result<Json<WorkflowDefinitionDetail>, ApiError> {
    let record = api.service.definitions.find(&name, version).await?;
    record.map(|record| Json(record.into())).ok_or_else(|| {
        let version = version.map_or_else(String::new, |version| format!(" in version {version}"));
        ApiError::not_found("definition", format!("`{name}`{version}"))
    })
}
