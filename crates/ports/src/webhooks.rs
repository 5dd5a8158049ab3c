//! Webhooks: receivers, unpublished notices, and deliveries.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::webhook::{
    Delivery, DeliveryAttempt, DeliveryStatus, EventType, Notice, Webhook, WebhookKey,
    WebhookSecret, WebhookSecrets, WebhookWish,
};
use drover_domain::workflow::TaskId;

use crate::{Claim, Idempotency, NewWorkflow, StartedWorkflow, StoreError};

/// Which record a notice is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoticeSource {
    /// What happened to the fleet.
    FleetEvent,
    /// How the status of an application changed.
    InstanceStatus,
    /// How the version of an application changed.
    InstanceVersion,
    /// How the status of a server in HAProxy changed.
    HaproxyStatus,
    /// An action that ended.
    Action,
}

/// A record that no delivery was created for yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublished {
    /// Which record it is of.
    pub source: NoticeSource,
    /// The key of the record.
    pub record: i64,
    /// The notice to deliver; `None` if the record is internal.
    pub notice: Option<Notice>,
}

/// A delivery to start.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The workflow: a [`delivery_definition`](drover_domain::webhook::delivery_definition).
    pub workflow: NewWorkflow,
    /// The receiver.
    pub webhook: WebhookKey,
    /// The identifier of the message.
    pub message: String,
    /// What it is about.
    pub event: EventType,
    /// The body, JSON.
    pub payload: String,
    /// When it is made.
    pub created_at: Timestamp,
}

/// Which deliveries are wanted; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// To this webhook.
    pub webhook: Option<WebhookKey>,
    /// About this.
    pub event: Option<EventType>,
    /// That stand there.
    pub status: Option<DeliveryStatus>,
    /// Made not before this moment.
    pub since: Option<Timestamp>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

/// What there is to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The webhook as it is now.
    pub webhook: Webhook,
    /// What it is signed with.
    pub secrets: WebhookSecrets,
    /// The identifier of the message.
    pub message: String,
    /// The event's type.
    pub event: EventType,
    /// The body, JSON.
    pub payload: String,
}

/// What came of adding a webhook.
#[derive(Debug, Clone)]
pub struct AddedWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// Its secret.
    pub secret: WebhookSecret,
    /// Whether it came of an earlier request with the same key.
    pub is_replayed: bool,
}

/// What came of giving a webhook another secret.
#[derive(Debug, Clone)]
pub struct RotatedSecret {
    /// The secret that is in force.
    pub secret: WebhookSecret,
    /// Whether an earlier request with the same key changed it.
    pub is_replayed: bool,
}

/// The durable record of webhooks and their deliveries.
///
/// Every method is atomic; the number of statements depends on no number of rows.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Adds a webhook. A request whose idempotency key was used before adds none and finds what came of the first, with
    /// the secret that is in force now.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when there are as many as there may be; [`StoreError::KeyReused`];
    /// [`StoreError::Refused`] when the webhook of the first request was removed; [`StoreError::Unavailable`].
    async fn add(
        &self,
        wish: &WebhookWish,
        secret: &WebhookSecret,
        actor: &str,
        at: Timestamp,
        idempotency: Option<&Idempotency>,
    ) -> Result<AddedWebhook, StoreError>;

    /// All webhooks, by key. One whose events cannot be read is not active, and `disabled` has the reason.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn all(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Changes a webhook as [`Self::change`] does, if what people set of it still equals `known`; the writing statement
    /// compares. `None` if it changed meanwhile or is gone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn replace(
        &self,
        webhook: WebhookKey,
        known: &WebhookWish,
        wish: &WebhookWish,
    ) -> Result<Option<Webhook>, StoreError>;

    /// Changes the settings of a webhook. If it becomes active, the reason why Drover switched it off is cleared. `None` if it
    /// does not exist.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn change(
        &self,
        webhook: WebhookKey,
        wish: &WebhookWish,
    ) -> Result<Option<Webhook>, StoreError>;

    /// Gives a webhook another secret; the one before signs along until then. The secret it has already is no change. A
    /// request whose idempotency key was used before changes nothing and finds the secret that is in force. `None` if
    /// there is no such webhook.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyReused`], [`StoreError::Unavailable`].
    async fn rotate(
        &self,
        webhook: WebhookKey,
        secret: &WebhookSecret,
        until: Timestamp,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<RotatedSecret>, StoreError>;

    /// Switches a webhook off, and why.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn disable(&self, webhook: WebhookKey, reason: &str) -> Result<(), StoreError>;

    /// Removes a webhook with its deliveries. Whether there was such a webhook.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn remove(&self, webhook: WebhookKey) -> Result<bool, StoreError>;

    /// Unpublished records, the oldest of each kind first, at most `limit` of each kind. Records from a time without an active
    /// webhook are never published.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list_unpublished(&self, limit: u32) -> Result<Vec<Unpublished>, StoreError>;

    /// Creates deliveries and marks their records as published, in one transaction. A delivery whose idempotency key was used
    /// before stays as it is; a delivery to a removed webhook is skipped.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] for an identifier that is taken; [`StoreError::Unavailable`]; in each case nothing
    /// changed.
    async fn dispatch(
        &self,
        deliveries: &[NewDelivery],
        told: &[(NoticeSource, i64)],
    ) -> Result<Vec<StartedWorkflow>, StoreError>;

    /// What there is to send; `None` if the task is no delivery, or its webhook is gone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn outgoing(&self, claim: &Claim) -> Result<Option<Outgoing>, StoreError>;

    /// Notes a try.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::Unavailable`].
    async fn record_attempt(
        &self,
        claim: &Claim,
        attempt: &DeliveryAttempt,
    ) -> Result<(), StoreError>;

    /// A delivery with its tries.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn delivery(&self, delivery: TaskId) -> Result<Option<Delivery>, StoreError>;

    /// Deliveries, newest first, without their tries; each comes with its position.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, Delivery)>, StoreError>;
}

/// What a receiver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The HTTP status.
    pub status: u16,
}

/// Why nothing is known of a receiver having taken a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendFailure {
    /// Why, a sentence, without anything secret.
    pub reason: String,
    /// Whether another try makes sense.
    pub is_final: bool,
}

/// Writes and sends messages.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// A random secret.
    ///
    /// # Errors
    ///
    /// [`SendFailure`] when the machine gives no random numbers.
    fn draw_secret(&self) -> Result<WebhookSecret, SendFailure>;

    /// Whether messages can be sent there at all, and signed with this.
    ///
    /// # Errors
    ///
    /// [`SendFailure`], saying what is wrong.
    fn check(&self, url: &str, secret: Option<&WebhookSecret>) -> Result<(), SendFailure>;

    /// The body of a message.
    fn render(&self, notice: &Notice) -> String;

    /// Sends a message and signs it with these secrets, all within `timeout`. Any status is a receipt.
    ///
    /// # Errors
    ///
    /// [`SendFailure`].
    async fn send(
        &self,
        outgoing: &Outgoing,
        at: Timestamp,
        timeout: Duration,
    ) -> Result<Receipt, SendFailure>;
}
