//! Telling other systems what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::record::Origin;
use drover_domain::webhook::{
    DELIVERY_KIND, DELIVERY_TIMEOUT, Delivery, DeliveryAttempt, EventType, Notice, Noticed,
    ROTATION, Webhook, WebhookKey, WebhookSecret, WebhookWish, delivery_definition, delivery_task,
};
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Json, TaskId, WorkflowId};
use drover_ports::{
    AddedWebhook, Assigned, Claim, Clock, DeliveryFilter, IdSource, Idempotency, NewDelivery,
    NewWorkflow, NoticeSource, Outgoing, RotatedSecret, SendFailure, StartedWorkflow, StopReason,
    StoreError, TaskHandler, WebhookSender, WebhookStore,
};
use tokio::time::Instant;

use crate::patience::{Interrupted, patiently};
use crate::ports::Ports;
use crate::stop::{Stop, pause};

/// The scope of idempotency keys: one record is delivered to one webhook once.
const SCOPE: &str = "webhook.delivery";
/// How often unpublished records are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often they are looked for while no webhook is active.
const LOOK_SELDOM: Duration = Duration::from_secs(10);
/// The most deliveries that are started together.
const DISPATCH_MAX: usize = 500;

/// Requests about webhooks.
#[derive(Clone)]
pub struct Webhooks {
    store: Arc<dyn WebhookStore>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhooks")
    }
}

/// A delivery that a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedDelivery {
    /// The delivery.
    pub id: TaskId,
    /// Whether it came of an earlier request with the same key.
    pub is_replayed: bool,
}

/// Why something about webhooks was refused; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such webhook.
    #[error("there is no webhook with id {webhook}")]
    UnknownWebhook {
        /// Its key.
        webhook: WebhookKey,
    },
    /// There is no such delivery.
    #[error("there is no delivery with id {delivery}")]
    UnknownDelivery {
        /// Its identifier.
        delivery: TaskId,
    },
    /// Nothing but tests is sent to it.
    #[error("webhook {webhook} is switched off; switch it on first")]
    SwitchedOff {
        /// Its key.
        webhook: WebhookKey,
    },
    /// What was given cannot be used.
    #[error("{0}")]
    Unusable(SendFailure),
    /// The machine gives no random numbers.
    #[error("no secret can be made: {0}")]
    NoSecret(SendFailure),
    /// The store did not do its part.
    #[error("webhooks cannot be changed")]
    Store(#[from] StoreError),
}

impl Webhooks {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self {
            store: Arc::clone(&ports.webhooks),
            sender: Arc::clone(&ports.webhook_sender),
            clock: Arc::clone(&ports.clock),
            ids: Arc::clone(&ports.ids),
        }
    }

    /// Adds a webhook; it receives what happens from now on. Returns it with its secret, which is not shown again, except to
    /// the same request made again under its idempotency key.
    ///
    /// # Errors
    ///
    /// [`WebhookError::Unusable`] for a URL that may not be called or a secret that is none;
    /// [`WebhookError::Store`], among others when there are as many as there may be.
    pub async fn add(
        &self,
        wish: WebhookWish,
        secret: Option<WebhookSecret>,
        origin: &Origin,
        idempotency: Option<&Idempotency>,
    ) -> Result<AddedWebhook, WebhookError> {
        self.sender
            .check(&wish.url, secret.as_ref())
            .map_err(WebhookError::Unusable)?;
        let secret = self.secret(secret)?;
        let now = self.clock.now();
        let actor = &origin.actor;
        let added = self.store.add(&wish, &secret, actor, now, idempotency);
        let added = added.await?;
        if !added.is_replayed {
            tracing::info!(webhook.id = %added.webhook.key, actor = %actor, request.id = %origin.request_id, "{actor} added a webhook");
        }
        Ok(added)
    }

    fn secret(&self, given: Option<WebhookSecret>) -> Result<WebhookSecret, WebhookError> {
        let drawn = || self.sender.draw_secret().map_err(WebhookError::NoSecret);
        given.map_or_else(drawn, Ok)
    }

    /// All webhooks, by key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn all(&self) -> Result<Vec<Webhook>, StoreError> {
        self.store.all().await
    }

    /// The webhook with this key.
    ///
    /// # Errors
    ///
    /// [`WebhookError::UnknownWebhook`], [`WebhookError::Store`].
    pub async fn find(&self, webhook: WebhookKey) -> Result<Webhook, WebhookError> {
        let mut all = self.store.all().await?.into_iter();
        all.find(|known| known.key == webhook)
            .ok_or(WebhookError::UnknownWebhook { webhook })
    }

    /// Changes a webhook. One that Drover switched off is on again if the request says so.
    ///
    /// # Errors
    ///
    /// As [`Self::add`]; [`WebhookError::UnknownWebhook`].
    pub async fn change(
        &self,
        webhook: WebhookKey,
        wish: &WebhookWish,
        origin: &Origin,
    ) -> Result<Webhook, WebhookError> {
        self.sender
            .check(&wish.url, None)
            .map_err(WebhookError::Unusable)?;
        let changed = self.store.change(webhook, wish).await?;
        let changed = changed.ok_or(WebhookError::UnknownWebhook { webhook })?;
        tracing::info!(webhook.id = %webhook, actor = %origin.actor, request.id = %origin.request_id, "{} changed webhook {webhook}", origin.actor);
        Ok(changed)
    }

    /// Changes a webhook as [`Self::change`] does, if it is still as it was known; `None` if it was changed or removed
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub async fn replace(
        &self,
        known: &Webhook,
        wish: &WebhookWish,
        origin: &Origin,
    ) -> Result<Option<Webhook>, WebhookError> {
        self.sender
            .check(&wish.url, None)
            .map_err(WebhookError::Unusable)?;
        let webhook = known.key;
        let replaced = self.store.replace(webhook, &known.wish, wish).await?;
        if replaced.is_some() {
            tracing::info!(webhook.id = %webhook, actor = %origin.actor, request.id = %origin.request_id, "{} changed webhook {webhook}", origin.actor);
        }
        Ok(replaced)
    }

    /// Gives a webhook another secret, which is not shown again; the one before signs along for a day.
    ///
    /// # Errors
    ///
    /// As [`Self::change`].
    pub async fn rotate(
        &self,
        webhook: WebhookKey,
        secret: Option<WebhookSecret>,
        origin: &Origin,
        idempotency: Option<&Idempotency>,
    ) -> Result<RotatedSecret, WebhookError> {
        let known = self.find(webhook).await?;
        self.sender
            .check(&known.wish.url, secret.as_ref())
            .map_err(WebhookError::Unusable)?;
        let secret = self.secret(secret)?;
        let until = self.clock.now().after(ROTATION);
        let rotated = self.store.rotate(webhook, &secret, until, idempotency);
        let rotated = rotated.await?;
        let rotated = rotated.ok_or(WebhookError::UnknownWebhook { webhook })?;
        if !rotated.is_replayed {
            tracing::info!(webhook.id = %webhook, actor = %origin.actor, request.id = %origin.request_id, "{} changed the secret of webhook {webhook}", origin.actor);
        }
        Ok(rotated)
    }

    /// Removes a webhook with its deliveries.
    ///
    /// # Errors
    ///
    /// [`WebhookError::UnknownWebhook`], [`WebhookError::Store`].
    pub async fn remove(&self, webhook: WebhookKey, origin: &Origin) -> Result<(), WebhookError> {
        if !self.store.remove(webhook).await? {
            return Err(WebhookError::UnknownWebhook { webhook });
        }
        tracing::info!(webhook.id = %webhook, actor = %origin.actor, request.id = %origin.request_id, "{} removed webhook {webhook}", origin.actor);
        Ok(())
    }

    /// Sends a test message, whatever types of events the webhook has chosen, also while it is switched off.
    ///
    /// # Errors
    ///
    /// [`WebhookError::UnknownWebhook`], [`WebhookError::Store`].
    pub async fn test(
        &self,
        webhook: WebhookKey,
        origin: &Origin,
        idempotency: Option<Idempotency>,
    ) -> Result<StartedDelivery, WebhookError> {
        let webhook = self.find(webhook).await?;
        let notice = Notice {
            at: self.clock.now(),
            what: Noticed::Test {
                actor: origin.actor.clone(),
            },
        };
        let payload = self.sender.render(&notice);
        let mut delivery = self.delivery(&webhook, notice.event(), payload, None, origin, None)?;
        delivery.workflow.idempotency = idempotency;
        self.start(delivery).await
    }

    /// Sends a message again: the same one, under the same identifier.
    ///
    /// # Errors
    ///
    /// [`WebhookError::UnknownDelivery`]; [`WebhookError::SwitchedOff`], unless it is a test; [`WebhookError::Store`].
    pub async fn redeliver(
        &self,
        delivery: TaskId,
        origin: &Origin,
        idempotency: Option<Idempotency>,
    ) -> Result<StartedDelivery, WebhookError> {
        let known = self.store.delivery(delivery).await?;
        let known = known.ok_or(WebhookError::UnknownDelivery { delivery })?;
        let webhook = self.find(known.webhook).await?;
        if !webhook.wish.is_active && known.event != EventType::Test {
            let webhook = webhook.key;
            return Err(WebhookError::SwitchedOff { webhook });
        }
        let message = Some(known.message);
        let mut again =
            self.delivery(&webhook, known.event, known.payload, message, origin, None)?;
        again.workflow.idempotency = idempotency;
        self.start(again).await
    }

    async fn start(&self, delivery: NewDelivery) -> Result<StartedDelivery, WebhookError> {
        let id = delivery.workflow.id;
        let started = self.store.dispatch(&[delivery], &[]).await?;
        let (id, is_replayed) = match started.first() {
            Some(StartedWorkflow::Replayed(first)) => (*first, true),
            Some(StartedWorkflow::Created(_)) | None => (id, false),
        };
        Ok(StartedDelivery {
            id: delivery_task(id),
            is_replayed,
        })
    }

    /// A delivery with its tries.
    ///
    /// # Errors
    ///
    /// [`WebhookError::UnknownDelivery`], [`WebhookError::Store`].
    pub async fn find_delivery(&self, delivery: TaskId) -> Result<Delivery, WebhookError> {
        let found = self.store.delivery(delivery).await?;
        found.ok_or(WebhookError::UnknownDelivery { delivery })
    }

    /// Deliveries, newest first, without their tries.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, Delivery)>, StoreError> {
        self.store.deliveries(filter, page).await
    }

    /// Creates the deliveries of unpublished records, once; returns whether there may be more, and whether any webhook is
    /// active. A record without a receiver counts as published: a later webhook does not get it.
    pub(crate) async fn dispatch(&self) -> Result<(bool, bool), StoreError> {
        let webhooks = self.store.all().await?;
        let active = webhooks
            .iter()
            .filter(|webhook| webhook.wish.is_active)
            .count();
        // Five kinds of records, each for every webhook.
        let limit = u32::try_from((DISPATCH_MAX / active.max(1) / 5).max(1)).unwrap_or(1);
        let unpublished = self.store.list_unpublished(limit).await?;
        if unpublished.is_empty() {
            return Ok((false, active > 0));
        }
        // A webhook that was added since gets it too: a record is marked as published for all webhooks.
        let webhooks = self.store.all().await?;
        let origin = Origin {
            actor: "drover".to_owned(),
            request_id: String::new(),
        };
        let mut deliveries = Vec::new();
        let mut told: Vec<(NoticeSource, i64)> = Vec::new();
        let mut full: BTreeMap<NoticeSource, u32> = BTreeMap::new();
        for unpublished in unpublished {
            told.push((unpublished.source, unpublished.record));
            *full.entry(unpublished.source).or_default() += 1;
            let Some(notice) = unpublished.notice else {
                continue;
            };
            let wanting: Vec<&Webhook> = webhooks
                .iter()
                .filter(|webhook| webhook.wants(&notice))
                .collect();
            if wanting.is_empty() {
                continue;
            }
            let payload = self.sender.render(&notice);
            for webhook in wanting {
                // An action that the engine ended may be done again, and end again.
                let (source, record, at) = (
                    unpublished.source,
                    unpublished.record,
                    notice.at.as_micros(),
                );
                let key = format!("{source:?}:{record}:{at}:{}", webhook.key);
                let event = notice.event();
                let made = self.delivery(webhook, event, payload.clone(), None, &origin, Some(key));
                match made {
                    Ok(delivery) => deliveries.push(delivery),
                    Err(error) => tracing::error!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "a delivery cannot be made"
                    ),
                }
            }
        }
        self.store.dispatch(&deliveries, &told).await?;
        Ok((full.values().any(|count| *count >= limit), active > 0))
    }

    fn delivery(
        &self,
        webhook: &Webhook,
        event: EventType,
        payload: String,
        message: Option<String>,
        origin: &Origin,
        key: Option<String>,
    ) -> Result<NewDelivery, WebhookError> {
        let id = WorkflowId::rooted(self.ids.draw());
        let definition = delivery_definition(webhook.key).map_err(|error| {
            WebhookError::Store(StoreError::Corrupt {
                what: "delivery",
                name: id.to_string(),
                reason: error.to_string(),
            })
        })?;
        Ok(NewDelivery {
            workflow: NewWorkflow {
                id,
                name: DELIVERY_KIND.to_owned(),
                definition: Arc::new(definition),
                source: None,
                labels: BTreeMap::new(),
                input: Json::null(),
                origin: origin.clone(),
                parent: None,
                start_after: Some(Duration::ZERO),
                deadline: None,
                idempotency: key.map(|key| Idempotency {
                    scope: SCOPE.to_owned(),
                    // The key says all of it; a digest has at most 64 bytes, and the key may be longer.
                    digest: SCOPE.as_bytes().to_vec(),
                    key,
                }),
            },
            webhook: webhook.key,
            message: message.unwrap_or_else(|| format!("msg_{id}")),
            event,
            payload,
            created_at: self.clock.now(),
        })
    }
}

/// Starts deliveries of what happens until it is time to end.
pub(crate) async fn run(webhooks: Webhooks, mut stop: Stop) {
    let mut wait = LOOK_EVERY;
    while !pause(&mut stop, wait).await {
        wait = match webhooks.dispatch().await {
            Ok((true, _)) => Duration::ZERO,
            Ok((false, true)) => LOOK_EVERY,
            Ok((false, false)) => LOOK_SELDOM,
            Err(error) => {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "nobody is told what happens"
                );
                LOOK_SELDOM
            }
        };
    }
}

/// Sends messages to webhooks.
#[derive(Clone)]
pub(crate) struct DeliveryHandler {
    store: Arc<dyn WebhookStore>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for DeliveryHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryHandler")
    }
}

impl DeliveryHandler {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self {
            store: Arc::clone(&ports.webhooks),
            sender: Arc::clone(&ports.webhook_sender),
            clock: Arc::clone(&ports.clock),
        }
    }

    async fn deliver(&self, claim: &Claim) -> Result<Outcome, Interrupted> {
        let Some(outgoing) = patiently(|| self.store.outgoing(claim)).await? else {
            return Ok(failed("no_such_webhook", "the webhook was removed", false));
        };
        let (at, begun) = (self.clock.now(), Instant::now());
        if !outgoing.webhook.wish.is_active && outgoing.event != EventType::Test {
            let reason = "the webhook is switched off; nothing was sent";
            let attempt = DeliveryAttempt {
                number: claim.attempt,
                at,
                took: Duration::ZERO,
                status: None,
                failure: Some(reason.to_owned()),
            };
            patiently(|| self.store.record_attempt(claim, &attempt)).await?;
            return Ok(failed("webhook_disabled", reason, false));
        }
        let sent = self.sender.send(&outgoing, at, DELIVERY_TIMEOUT).await;
        let (attempt, outcome) = self.judge(claim, &outgoing, sent).await?;
        let attempt = DeliveryAttempt {
            number: claim.attempt,
            at,
            took: begun.elapsed(),
            ..attempt
        };
        patiently(|| self.store.record_attempt(claim, &attempt)).await?;
        Ok(outcome)
    }

    /// What an answer means, and what is noted about it.
    async fn judge(
        &self,
        claim: &Claim,
        outgoing: &Outgoing,
        sent: Result<drover_ports::Receipt, SendFailure>,
    ) -> Result<(DeliveryAttempt, Outcome), Interrupted> {
        let noted = |status, failure: Option<&str>| DeliveryAttempt {
            number: claim.attempt,
            at: self.clock.now(),
            took: Duration::ZERO,
            status,
            failure: failure.map(|reason| reason.chars().take(1_000).collect()),
        };
        let status = match sent {
            Ok(receipt) => receipt.status,
            Err(failure) => {
                let outcome = failed("not_delivered", &failure.reason, !failure.is_final);
                return Ok((noted(None, Some(&failure.reason)), outcome));
            }
        };
        if (200..300).contains(&status) {
            let result = Json::null();
            return Ok((noted(Some(status), None), Outcome::Succeeded { result }));
        }
        let reason = match status {
            410 => "the receiver wants no messages any more (410)".to_owned(),
            300..400 => format!("the receiver redirects ({status}), which is not followed"),
            _ => format!("the receiver answered with status {status}"),
        };
        if status == 410 {
            let key = outgoing.webhook.key;
            patiently(|| self.store.disable(key, &reason)).await?;
            tracing::warn!(webhook.id = %key, "webhook {key} is switched off: {reason}");
        }
        let outcome = failed("refused", &reason, status != 410);
        Ok((noted(Some(status), Some(&reason)), outcome))
    }
}

fn failed(code: &str, reason: &str, retryable: bool) -> Outcome {
    Outcome::Failed {
        error: TaskError::new(code, reason),
        retryable,
    }
}

#[async_trait]
impl TaskHandler for DeliveryHandler {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G3
    }

    #[tracing::instrument(name = "webhooks.deliver", skip_all, fields(task.id = %assigned.task.task, task.attempt = assigned.task.attempt))]
    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let claim = Claim {
            task: assigned.task.task,
            attempt: assigned.task.attempt,
        };
        let stopped = async {
            match assigned.progress.stopped().await {
                StopReason::Cancelled => Outcome::Cancelled,
                // The sent request goes on for a moment: its answer shows what it did.
                StopReason::HandOver => std::future::pending().await,
            }
        };
        tokio::select! {
            delivered = self.deliver(&claim) => delivered.unwrap_or_else(|interrupted| {
                interrupted.outcome(|error| {
                    failed("delivery_unreadable", &format!("its record cannot be used: {error}"), false)
                })
            }),
            outcome = stopped => outcome,
        }
    }
}
