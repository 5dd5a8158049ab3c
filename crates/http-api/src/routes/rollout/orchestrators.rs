//! Orchestrator playbooks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::extract::NoQuery;
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{Orchestrator, ScanReport};

const TAG: &str = "orchestrators";

/// Orchestrator playbooks, by id.
#[utoipa::path(
    get, path = "/orchestrators", tag = TAG, operation_id = "list_orchestrators", params(PageParams),
    responses((status = 200, description = "A page of playbooks", body = ItemPage<Orchestrator>))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    list: List<()>,
) -> Result<Listed<Orchestrator>, ApiError> {
    let page = api.service.views.orchestrators.list(list.page).await?;
    Ok(list.reply(page))
}

/// Reads the headers of all orchestrator playbooks of the playbook folder.
#[utoipa::path(
    post, path = "/orchestrators/scan", tag = TAG, operation_id = "scan_orchestrators",
    responses(
        (status = 200, description = "All were read", body = ScanReport),
        (status = 207, description = "Some could not be read; the others were", body = ScanReport),
    )
)]
pub(crate) async fn scan(
    State(api): State<Api>,
    _: NoQuery,
) -> Result<(StatusCode, Json<ScanReport>), ApiError> {
    let report = ScanReport::from(api.service.orchestrators.scan().await?);
    let status = if report.errors.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok((status, Json(report)))
}
