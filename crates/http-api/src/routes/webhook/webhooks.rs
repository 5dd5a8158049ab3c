//! Webhooks: telling other systems what happened.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use drover_domain::webhook::WebhookKey;
use drover_usecases::{DeliveryFilter, StartedDelivery};

use crate::body::{Body, MaybeBody};
use crate::etag::{
    IfMatch, IfMatchParams, IfNoneMatch, IfNoneMatchParams, TRIES, Tagged, contended,
};
use crate::extract::{
    Caller, IdempotencyKey, IdempotencyParams, NoQuery, PathId, PathTask, Prefix, mark_replayed,
};
use crate::page::{ItemPage, List, Listed, PageParams};
use crate::problem::ApiError;
use crate::state::Api;
use crate::wire::{
    ChangeWebhook, ChangeWebhookShape, DeliveryParams, DeliveryStarted, NewSecret, NewWebhook,
    NewWebhookShape, RotateSecret, RotateSecretShape, Webhook, WebhookDelivery, WebhookList,
    WebhookWithSecret, webhook_tag,
};

const TAG: &str = "webhooks";

/// All webhooks, by id.
#[utoipa::path(
    get, path = "/webhooks", tag = TAG, operation_id = "list_webhooks",
    responses((status = 200, description = "The webhooks", body = WebhookList))
)]
pub(crate) async fn list(
    State(api): State<Api>,
    _: NoQuery,
) -> Result<Json<WebhookList>, ApiError> {
    let webhooks = api.service.webhooks.all().await?;
    let items = webhooks.into_iter().map(Into::into).collect();
    Ok(Json(WebhookList { items }))
}

/// Adds a webhook: it receives all later events.
///
/// Messages are signed as Standard Webhooks 1.0.0 says, and repeated for three days until they are taken with a 2xx.
/// The secret is made up when none is given, and shown this once. With an `Idempotency-Key`, the same request made
/// again gets the same webhook, with its secret.
#[utoipa::path(
    post, path = "/webhooks", tag = TAG, operation_id = "add_webhook", params(IdempotencyParams), request_body = NewWebhookShape,
    responses(
        (status = 201, description = "The webhook with its secret", body = WebhookWithSecret,
         headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "There are as many webhooks as there may be"),
    )
)]
pub(crate) async fn add(
    State(api): State<Api>,
    _: NoQuery,
    Prefix(prefix): Prefix,
    Caller(origin): Caller,
    key: IdempotencyKey,
    Body(body): Body<NewWebhook>,
) -> Result<(StatusCode, HeaderMap, Json<WebhookWithSecret>), ApiError> {
    let webhooks = &api.service.webhooks;
    let once = key.of("add_webhook", &origin, body.digest);
    let added = webhooks.add(body.wish, body.secret, &origin, once.as_ref());
    let added = added.await?;
    let mut headers = HeaderMap::new();
    let address = format!("{prefix}/webhooks/{}", added.webhook.key);
    if let Ok(location) = HeaderValue::from_str(&address) {
        headers.insert(header::LOCATION, location);
    }
    mark_replayed(&mut headers, added.is_replayed);
    let body = WebhookWithSecret::new(added.webhook, &added.secret);
    Ok((StatusCode::CREATED, headers, Json(body)))
}

/// One webhook.
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = TAG, operation_id = "get_webhook", params(IfNoneMatchParams),
    responses(
        (status = 200, description = "The webhook", body = Webhook,
         headers(("ETag" = String, description = "Changes with everything shown"))),
        (status = 304, description = "The caller has it already"),
    )
)]
pub(crate) async fn get(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    known: IfNoneMatch,
) -> Result<Tagged<Webhook>, ApiError> {
    let webhook = api.service.webhooks.find(WebhookKey::new(id)).await?;
    Ok(tagged(webhook, known))
}

fn tagged(webhook: drover_domain::webhook::Webhook, known: IfNoneMatch) -> Tagged<Webhook> {
    Tagged {
        tag: webhook_tag(&webhook),
        body: webhook.into(),
        known,
    }
}

/// Changes a webhook; one that Drover switched off is on again.
#[utoipa::path(
    put, path = "/webhooks/{id}", tag = TAG, operation_id = "change_webhook", request_body = ChangeWebhookShape,
    params(IfMatchParams),
    responses(
        (status = 200, description = "The webhook as it is after", body = Webhook,
         headers(("ETag" = String, description = "As it is after"))),
        (status = 404, description = "The resource does not exist"),
        (status = 412, description = "It was changed in the meantime; nothing changed"),
    )
)]
pub(crate) async fn put(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    wanted: IfMatch,
    Caller(origin): Caller,
    Body(ChangeWebhook(wish)): Body<ChangeWebhook>,
) -> Result<Tagged<Webhook>, ApiError> {
    let (webhooks, key) = (&api.service.webhooks, WebhookKey::new(id));
    if !wanted.is_given() {
        let webhook = webhooks.change(key, &wish, &origin).await?;
        return Ok(tagged(webhook, IfNoneMatch::default()));
    }
    for _ in 0..TRIES {
        let known = webhooks.find(key).await?;
        wanted.check(&webhook_tag(&known))?;
        if let Some(webhook) = webhooks.replace(&known, &wish, &origin).await? {
            return Ok(tagged(webhook, IfNoneMatch::default()));
        }
    }
    Err(contended())
}

/// Removes a webhook with its deliveries.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = TAG, operation_id = "remove_webhook",
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Caller(origin): Caller,
) -> Result<StatusCode, ApiError> {
    api.service
        .webhooks
        .remove(WebhookKey::new(id), &origin)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook another secret; the one before signs along for a day.
///
/// With an `Idempotency-Key`, the same request made again changes nothing and gets the secret that is in force. The
/// secret that the webhook has already is no change.
#[utoipa::path(
    post, path = "/webhooks/{id}/rotate-secret", tag = TAG, operation_id = "rotate_webhook_secret", params(IdempotencyParams),
    request_body = Option<RotateSecretShape>,
    responses((status = 200, description = "The secret, shown this once", body = NewSecret))
)]
pub(crate) async fn rotate(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Caller(origin): Caller,
    key: IdempotencyKey,
    MaybeBody(body): MaybeBody<RotateSecret>,
) -> Result<(HeaderMap, Json<NewSecret>), ApiError> {
    let webhooks = &api.service.webhooks;
    let once = key.of(&format!("rotate_secret {id}"), &origin, body.digest);
    let rotated = webhooks.rotate(WebhookKey::new(id), body.secret, &origin, once.as_ref());
    let rotated = rotated.await?;
    let mut headers = HeaderMap::new();
    mark_replayed(&mut headers, rotated.is_replayed);
    let secret = rotated.secret.expose().to_owned();
    Ok((headers, Json(NewSecret { secret })))
}

/// Sends a test message, whatever types of events the webhook has chosen.
///
/// With an `Idempotency-Key`, the same request made again gets the same delivery.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", tag = TAG, operation_id = "test_webhook", params(IdempotencyParams),
    responses((status = 202, description = "The delivery is started", body = DeliveryStarted))
)]
pub(crate) async fn test(
    State(api): State<Api>,
    PathId(id): PathId,
    _: NoQuery,
    Caller(origin): Caller,
    key: IdempotencyKey,
) -> Result<(StatusCode, HeaderMap, Json<DeliveryStarted>), ApiError> {
    let webhooks = &api.service.webhooks;
    let once = key.of(&format!("test_webhook {id}"), &origin, Vec::new());
    let started = webhooks.test(WebhookKey::new(id), &origin, once).await?;
    Ok(accepted(started))
}

fn accepted(started: StartedDelivery) -> (StatusCode, HeaderMap, Json<DeliveryStarted>) {
    let mut headers = HeaderMap::new();
    mark_replayed(&mut headers, started.is_replayed);
    let id = started.id.as_uuid();
    (StatusCode::ACCEPTED, headers, Json(DeliveryStarted { id }))
}

/// Deliveries to webhooks, newest first.
#[utoipa::path(
    get, path = "/webhook-deliveries", tag = TAG, operation_id = "list_webhook_deliveries",
    params(PageParams, DeliveryParams),
    responses((status = 200, description = "A page of deliveries", body = ItemPage<WebhookDelivery>))
)]
pub(crate) async fn deliveries(
    State(api): State<Api>,
    list: List<DeliveryFilter>,
) -> Result<Listed<WebhookDelivery>, ApiError> {
    let webhooks = &api.service.webhooks;
    let page = webhooks.deliveries(&list.filter, list.page).await?;
    Ok(list.reply(page))
}

/// One delivery with its tries.
#[utoipa::path(
    get, path = "/webhook-deliveries/{id}", tag = TAG, operation_id = "get_webhook_delivery",
    responses((status = 200, description = "The delivery", body = WebhookDelivery))
)]
pub(crate) async fn delivery(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
) -> Result<Json<WebhookDelivery>, ApiError> {
    let delivery = api.service.webhooks.find_delivery(id).await?;
    Ok(Json(delivery.into()))
}

/// Sends a message again: the same one, under the same identifier.
///
/// With an `Idempotency-Key`, the same request made again gets the same delivery.
#[utoipa::path(
    post, path = "/webhook-deliveries/{id}/redeliver", tag = TAG, operation_id = "redeliver_webhook_delivery", params(IdempotencyParams),
    responses(
        (status = 202, description = "Another delivery is started", body = DeliveryStarted),
        (status = 409, description = "The webhook is switched off"),
    )
)]
pub(crate) async fn redeliver(
    State(api): State<Api>,
    PathTask(id): PathTask,
    _: NoQuery,
    Caller(origin): Caller,
    key: IdempotencyKey,
) -> Result<(StatusCode, HeaderMap, Json<DeliveryStarted>), ApiError> {
    let webhooks = &api.service.webhooks;
    let once = key.of(&format!("redeliver {id}"), &origin, Vec::new());
    Ok(accepted(webhooks.redeliver(id, &origin, once).await?))
}
