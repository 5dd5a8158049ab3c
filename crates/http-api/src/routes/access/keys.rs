//! API keys: list, issue, revoke.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use drover_usecases::NewKey;

use crate::auth::ApiKeyText;
use crate::body::Body;
use crate::extract::{Caller, NoQuery, PathKey, Prefix};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{AccessKeyList, IssuedAccessKey, NewAccessKey, NewAccessKeyShape};

const TAG: &str = "access";

/// All API keys, oldest first, without their secrets.
#[utoipa::path(
    get, path = "/access/keys", tag = TAG, operation_id = "list_access_keys",
    responses((status = 200, description = "The keys", body = AccessKeyList))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    _: NoQuery,
) -> Result<Json<AccessKeyList>, ApiError> {
    let keys = api.service.access.list().await?;
    let items = keys.into_iter().map(Into::into).collect();
    Ok(Json(AccessKeyList { items }))
}

/// Issues an API key.
///
/// The answer is the only place where the whole key is shown. The key is valid on every node at once.
#[utoipa::path(
    post, path = "/access/keys", tag = TAG, operation_id = "issue_access_key", request_body = NewAccessKeyShape,
    responses(
        (status = 201, description = "The key with its secret", body = IssuedAccessKey,
         headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "A key has this name already, or there are as many as there may be"),
    )
)]
pub(crate) async fn issue(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    Body(body): Body<NewAccessKey>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<IssuedAccessKey>), ApiError> {
    let (key, text) = ApiKeyText::draw().map_err(|_| ApiError::defect("no key can be made"))?;
    let new = NewKey {
        public_id: key.public_id().to_owned(),
        digest: key.digest(),
        name: body.name,
        role: body.role,
        expires_at: body.expires_at,
    };
    let key = api.service.access.issue(new, &origin).await?;
    let location = format!("{prefix}/access/keys/{}", key.public_id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(IssuedAccessKey::new(key, text)),
    ))
}

/// Revokes an API key: requests with it are refused from now on, and its streams end within five seconds.
///
/// The last key with the role admin that does not expire cannot be revoked, nor the key of the setting
/// `access.admin_key`.
#[utoipa::path(
    delete, path = "/access/keys/{id}", tag = TAG, operation_id = "revoke_access_key",
    responses(
        (status = 204, description = "The key is revoked"),
        (status = 409, description = "The last administrator's key, or the key of the settings"),
    )
)]
pub(crate) async fn revoke(
    State(api): State<Api>,
    PathKey(id): PathKey,
    _: NoQuery,
    Caller(origin): Caller,
) -> Result<StatusCode, ApiError> {
    api.service.access.revoke(&id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
