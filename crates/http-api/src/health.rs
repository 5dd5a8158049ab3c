//! Whether the process lives, and whether it can work.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::code::Code;
use crate::problem::{ApiError, Problem};
use crate::state::Api;

/// That all is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `live` or `ready`.
    status: &'static str,
}

/// Whether the process lives. Checks no dependency.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "livez",
    responses((status = 200, description = "It lives", body = Health))
)]
pub(crate) async fn livez() -> Json<Health> {
    Json(Health { status: "live" })
}

/// Whether the database can be written. It is asked by a write, at most once per second.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses(
        (status = 200, description = "It can work", body = Health),
        (status = 503, description = "The database cannot be written; the detail says why", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    match tokio::time::timeout(
        api.options.readiness_timeout,
        api.service.views.health.check(),
    )
    .await
    {
        Ok(Ok(())) => Ok(Json(Health { status: "ready" })),
        Ok(Err(error)) => Err(ApiError::not_ready(error)),
        Err(_) => Err(ApiError::new(
            Code::Unavailable,
            "the database does not answer in time; try again in a moment",
        )),
    }
}
