//! Webhooks and their deliveries.

use std::collections::BTreeSet;

use drover_domain::Key;
use drover_domain::text::check_line;
use drover_domain::webhook::{
    self, Delivery, DeliveryAttempt, URL_MAX, WebhookSecret, WebhookWish,
};
use drover_usecases::DeliveryFilter;
use serde::Serialize;
use utoipa::openapi::Object;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{Fields, Flaw, ReadBody, boolean, list, text};
use crate::etag::tag;
use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::haproxy::action::line;
use crate::wire::schema::{self, Instant};
use crate::wire::word::DeliveryStatus;

/// The most events a body may name.
const EVENTS_MAX: usize = 16;
/// The most characters of a description.
const DESCRIPTION_MAX: usize = 1_000;
/// The most characters of a secret as it is written.
const SECRET_MAX: usize = 128;

fn url(fields: &mut Fields) -> Option<String> {
    fields.required(
        "url",
        text(|given| {
            check_line("the URL", given, URL_MAX).map_err(Flaw::invalid)?;
            Ok(given.to_owned())
        }),
    )
}

fn event(word: &str) -> Result<webhook::EventType, Flaw> {
    let known = webhook::EventType::ALL;
    let found = known.into_iter().find(|event| event.as_str() == word);
    found.ok_or_else(|| {
        let words = known.map(webhook::EventType::as_str).join(", ");
        Flaw::new("invalid", format!("must be one of {words}"))
    })
}

/// A secret in a body.
fn secret(value: crate::json::Value) -> Result<WebhookSecret, Vec<Flaw>> {
    line("the secret", SECRET_MAX)(value).map(WebhookSecret::new)
}

fn wish(fields: &mut Fields) -> Option<WebhookWish> {
    let url = url(fields);
    let description = fields.optional("description", line("the description", DESCRIPTION_MAX));
    let events = fields.optional("events", list(EVENTS_MAX, |value| text(event)(value)));
    let is_active = fields.optional("active", boolean);
    Some(WebhookWish {
        url: url?,
        description: description?,
        events: events?
            .unwrap_or_default()
            .into_iter()
            .collect::<BTreeSet<_>>(),
        is_active: is_active?.unwrap_or(true),
    })
}

/// A webhook to make.
#[derive(Debug)]
pub(crate) struct NewWebhook {
    pub(crate) wish: WebhookWish,
    pub(crate) secret: Option<WebhookSecret>,
    /// The same for the same request.
    pub(crate) digest: Vec<u8>,
}

impl ReadBody for NewWebhook {
    fn read(fields: &mut Fields) -> Option<Self> {
        let digest = fields.digest();
        let (wish, secret) = (wish(fields), fields.optional("secret", secret));
        Some(Self {
            wish: wish?,
            secret: secret?,
            digest,
        })
    }
}

/// A webhook to make.
#[derive(ToSchema)]
#[schema(as = NewWebhook)]
#[expect(dead_code, reason = "describes what `NewWebhook` reads")]
pub(crate) struct NewWebhookShape {
    #[schema(schema_with = schema::webhook_url)]
    url: String,
    #[schema(schema_with = schema::webhook_description, required = false)]
    description: Option<String>,
    #[schema(schema_with = schema::webhook_events, required = false)]
    events: Option<Vec<String>>,
    /// Whether deliveries are enabled.
    #[schema(default = true)]
    active: Option<bool>,
    #[schema(schema_with = schema::webhook_secret, required = false)]
    secret: Option<String>,
}

/// The wanted settings of a webhook.
#[derive(Debug)]
pub(crate) struct ChangeWebhook(pub(crate) WebhookWish);

impl ReadBody for ChangeWebhook {
    fn read(fields: &mut Fields) -> Option<Self> {
        wish(fields).map(Self)
    }
}

/// The settings of a webhook; a member that is left out gets the default of a new one.
#[derive(ToSchema)]
#[schema(as = ChangeWebhook)]
#[expect(dead_code, reason = "describes what `ChangeWebhook` reads")]
pub(crate) struct ChangeWebhookShape {
    #[schema(schema_with = schema::webhook_url)]
    url: String,
    #[schema(schema_with = schema::webhook_description, required = false)]
    description: Option<String>,
    #[schema(schema_with = schema::webhook_events, required = false)]
    events: Option<Vec<String>>,
    /// Whether deliveries are enabled.
    #[schema(default = true)]
    active: Option<bool>,
}

/// Another secret.
#[derive(Debug)]
pub(crate) struct RotateSecret {
    pub(crate) secret: Option<WebhookSecret>,
    /// The same for the same request.
    pub(crate) digest: Vec<u8>,
}

impl ReadBody for RotateSecret {
    fn read(fields: &mut Fields) -> Option<Self> {
        let digest = fields.digest();
        let secret = fields.optional("secret", secret)?;
        Some(Self { secret, digest })
    }
}

/// Another secret.
#[derive(ToSchema)]
#[schema(as = RotateSecret)]
#[expect(dead_code, reason = "describes what `RotateSecret` reads")]
pub(crate) struct RotateSecretShape {
    #[schema(schema_with = schema::webhook_secret, required = false)]
    secret: Option<String>,
}

/// A receiver of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Webhook {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Where messages go.
    url: String,
    /// What it is for.
    description: Option<String>,
    /// The types of events to deliver; empty for all.
    #[schema(max_items = 16)]
    events: Vec<&'static str>,
    /// Whether deliveries are enabled.
    active: bool,
    /// Why Drover switched it off.
    disabled: Option<String>,
    /// When it was created; earlier events are not delivered.
    created_at: Instant,
    /// By whom.
    created_by: String,
}

/// The tag of what people set of a webhook.
pub(crate) fn webhook_tag(webhook: &webhook::Webhook) -> String {
    let wish = &webhook.wish;
    let events: Vec<_> = wish.events.iter().map(|event| event.as_str()).collect();
    tag([
        wish.url.as_str(),
        wish.description.as_deref().unwrap_or_default(),
        &events.join(" "),
        if wish.is_active { "active" } else { "" },
    ])
}

impl From<webhook::Webhook> for Webhook {
    fn from(webhook: webhook::Webhook) -> Self {
        let webhook::Webhook {
            key,
            wish,
            disabled,
            created_at,
            created_by,
        } = webhook;
        Self {
            id: key.get(),
            url: wish.url,
            description: wish.description,
            events: wish.events.iter().map(|event| event.as_str()).collect(),
            active: wish.is_active,
            disabled,
            created_at: created_at.into(),
            created_by,
        }
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookWithSecret {
    webhook: Webhook,
    /// What messages are signed with.
    secret: String,
}

impl WebhookWithSecret {
    pub(crate) fn new(webhook: webhook::Webhook, secret: &WebhookSecret) -> Self {
        Self {
            webhook: webhook.into(),
            secret: secret.expose().to_owned(),
        }
    }
}

/// All webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    /// They, by id.
    #[schema(max_items = 100)]
    pub(crate) items: Vec<Webhook>,
}

/// A secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewSecret {
    /// What messages are signed with from now on; the one before signs along for a day.
    pub(crate) secret: String,
}

/// A delivery that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryStarted {
    /// Its id.
    pub(crate) id: Uuid,
}

/// Which deliveries are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct DeliveryParams {
    #[param(schema_with = to_webhook)]
    webhook_id: Option<i64>,
    #[param(schema_with = about)]
    event: Option<String>,
    /// That stand there.
    #[param(inline)]
    status: Option<DeliveryStatus>,
    /// Made not before this moment.
    since: Option<Instant>,
    /// Made before this moment.
    until: Option<Instant>,
}

fn to_webhook() -> Object {
    schema::id().description(Some("To this webhook.")).build()
}

/// Every event there is a message about.
fn events() -> impl Iterator<Item = &'static str> {
    let all = webhook::EventType::ALL.into_iter();
    let all = all.chain([webhook::EventType::Test]);
    all.map(webhook::EventType::as_str)
}

fn about() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(events()))
        .description(Some("About this."))
        .build()
}

impl Filter for DeliveryFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let known: Vec<&str> = events().collect();
        Ok(Self {
            webhook: parameters.id("webhook_id")?.map(Key::new),
            event: parameters.word("event", &known.join(", "), webhook::EventType::parse)?,
            status: parameters.word("status", "pending, delivered, failed", |word| {
                let all = webhook::DeliveryStatus::ALL.into_iter();
                all.into_iter().find(|status| status.as_str() == word)
            })?,
            since: parameters.time("since")?,
            until: parameters.time("until")?,
        })
    }
}

/// A message on its way to one webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDelivery {
    /// Its id.
    id: Uuid,
    /// The webhook.
    #[schema(minimum = 1)]
    webhook_id: i64,
    /// What the receiver gets as `webhook-id`.
    message_id: String,
    /// What it is about.
    event: &'static str,
    status: DeliveryStatus,
    /// When it was made.
    created_at: Instant,
    /// The body.
    payload: String,
    /// The tries so far, oldest first; in lists there are none.
    #[schema(max_items = 20)]
    attempts: Vec<WebhookAttempt>,
}

impl From<Delivery> for WebhookDelivery {
    fn from(delivery: Delivery) -> Self {
        let Delivery {
            id,
            webhook,
            message,
            event,
            payload,
            created_at,
            status,
            attempts,
        } = delivery;
        Self {
            id: id.as_uuid(),
            webhook_id: webhook.get(),
            message_id: message,
            event: event.as_str(),
            status: status.into(),
            created_at: created_at.into(),
            payload,
            attempts: attempts.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<(i64, Delivery)> for WebhookDelivery {
    fn from((_, delivery): (i64, Delivery)) -> Self {
        delivery.into()
    }
}

/// One try to deliver a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookAttempt {
    /// Which, from 1.
    number: u32,
    /// When it began.
    at: Instant,
    /// How long it took, seconds.
    took_s: f64,
    /// What the receiver answered with.
    status: Option<u16>,
    /// Why it did not arrive.
    failure: Option<String>,
}

impl From<DeliveryAttempt> for WebhookAttempt {
    fn from(attempt: DeliveryAttempt) -> Self {
        let DeliveryAttempt {
            number,
            at,
            took,
            status,
            failure,
        } = attempt;
        Self {
            number,
            at: at.into(),
            took_s: took.as_secs_f64(),
            status,
            failure,
        }
    }
}
