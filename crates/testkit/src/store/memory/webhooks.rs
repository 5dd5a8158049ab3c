//! Webhooks in memory: an unpublished record is marked when it is written.

use async_trait::async_trait;
use drover_domain::fleet::{
    ApplicationKey, ApplicationStatus, EventKind, NewEvent, ServerStatus, VersionChange,
};
use drover_domain::haproxy::HaproxyServerKey;
use drover_domain::haproxy::action::HaproxyAction;
use drover_domain::page::{Page, PageRequest};
use drover_domain::webhook::{
    ATTEMPTS_MAX, Delivery, DeliveryAttempt, DeliveryStatus, NamedHaproxyServer, NamedInstance,
    Notice, Noticed, WEBHOOKS_MAX, Webhook, WebhookKey, WebhookSecret, WebhookSecrets, WebhookWish,
    delivery_task,
};
use drover_domain::workflow::TaskId;
use drover_domain::{Key, Timestamp};
use drover_ports::{
    AddedWebhook, Claim, DeliveryFilter, Idempotency, NewDelivery, NewWorkflow, NoticeSource,
    Outgoing, RotatedSecret, StartedWorkflow, StoreError, Unpublished, WebhookStore,
};

use super::{MemoryStore, State, descending};

fn stale(claim: &Claim) -> StoreError {
    StoreError::Stale {
        what: "delivery",
        name: claim.task.to_string(),
        attempt: claim.attempt,
    }
}

impl State {
    fn note(&mut self, source: NoticeSource, at: Timestamp, what: Option<Noticed>) {
        let is_told = !self
            .webhooks
            .values()
            .any(|(webhook, _)| webhook.wish.is_active);
        let Some(what) = what.filter(|_| !is_told) else {
            return;
        };
        let record = self.draw_key();
        self.unpublished.push(Unpublished {
            source,
            record,
            notice: Some(Notice { at, what }),
        });
    }

    pub(super) fn note_event(&mut self, event: &NewEvent) {
        let new = match event.kind {
            EventKind::Connect => ServerStatus::Online,
            EventKind::Disconnect => ServerStatus::Offline,
            EventKind::Start | EventKind::Stop | EventKind::Restart | EventKind::Update => return,
        };
        let server = event
            .server
            .and_then(|server| self.servers.get(&server.get()));
        let what = server.map(|server| Noticed::ServerStatus {
            server: server.key,
            name: server.name.clone(),
            new,
        });
        self.note(NoticeSource::FleetEvent, event.at, what);
    }

    fn named_instance(&self, application: ApplicationKey) -> Option<NamedInstance> {
        let stored = self.applications.get(&application.get())?;
        let server = stored
            .server
            .and_then(|server| self.servers.get(&server.get()));
        Some(NamedInstance {
            key: application,
            name: stored.observed.name.clone(),
            server: server.map(|server| server.name.clone()),
        })
    }

    pub(super) fn note_instance_status(
        &mut self,
        application: ApplicationKey,
        old: ApplicationStatus,
        new: ApplicationStatus,
        at: Timestamp,
    ) {
        if old == new {
            return;
        }
        let instance = self.named_instance(application);
        let what = instance.map(|instance| Noticed::InstanceStatus { instance, old, new });
        self.note(NoticeSource::InstanceStatus, at, what);
    }

    pub(super) fn note_version(&mut self, application: ApplicationKey, change: &VersionChange) {
        let either = |version: &Option<String>, tag: &Option<String>| {
            version.clone().or_else(|| tag.clone())
        };
        let old = either(&change.old.version, &change.old.tag);
        if old.is_none() {
            return;
        }
        let instance = self.named_instance(application);
        let what = instance.map(|instance| Noticed::InstanceVersion {
            instance,
            old,
            new: either(&change.new.version, &change.new.tag),
            rollout: change.rollout,
        });
        self.note(NoticeSource::InstanceVersion, change.changed_at, what);
    }

    fn named_server(&self, server: HaproxyServerKey) -> Option<NamedHaproxyServer> {
        let stored = self.haproxy_servers.get(&server.get())?;
        let backend = self.backends.get(&stored.backend.get())?;
        let instance = self.instances.get(&backend.instance.get())?;
        Some(NamedHaproxyServer {
            key: server,
            name: stored.observed.name.clone(),
            backend: backend.name.clone(),
            instance: instance.name.clone(),
            node: instance.server_name.clone(),
        })
    }

    pub(super) fn note_word(&mut self, server: HaproxyServerKey) {
        let named = self.named_server(server);
        let Some((_, change)) = self.status_history.last() else {
            return;
        };
        let at = change.at;
        let what = named.map(|server| Noticed::HaproxyStatus {
            server,
            old: change.old.clone(),
            new: change.new.clone(),
            action: change.action.map(|action| (action, change.actor.clone())),
        });
        self.note(NoticeSource::HaproxyStatus, at, what);
    }

    pub(super) fn note_action(&mut self, action: TaskId) {
        let mut actions = self.actions.values();
        let Some(own) = actions.find(|own| own.id == action) else {
            return;
        };
        let Some(end) = own.end.clone() else {
            return;
        };
        let what = self.ended_action(own, end.failure);
        self.note(NoticeSource::Action, end.at, what);
    }

    fn ended_action(
        &self,
        own: &HaproxyAction,
        failure: Option<(String, String)>,
    ) -> Option<Noticed> {
        Some(Noticed::ActionFinished {
            action: own.id,
            server: self.named_server(own.request.server)?,
            wanted: own.request.wanted.as_str().to_owned(),
            actor: own.origin.actor.clone(),
            failure,
        })
    }

    /// Unpublished actions without an end of their own that the engine has ended.
    fn ended_by_the_engine(&self) -> impl Iterator<Item = Unpublished> {
        let open = self.actions.iter();
        let open = open.filter(|(key, own)| own.end.is_none() && !self.told_actions.contains(key));
        open.filter_map(|(key, own)| {
            let is_over = self.engine.standing(own.id)?.finished_at.is_some();
            let end = self.shown_action(own).filter(|_| is_over)?.end?;
            Some(Unpublished {
                source: NoticeSource::Action,
                record: *key,
                notice: Some(Notice {
                    at: end.at,
                    what: self.ended_action(own, end.failure)?,
                }),
            })
        })
    }

    fn shown_delivery(&self, stored: &Delivery) -> Option<Delivery> {
        let standing = self.engine.standing(stored.id)?;
        Some(Delivery {
            status: DeliveryStatus::of(standing.status),
            ..stored.clone()
        })
    }

    fn held_delivery(&mut self, claim: &Claim) -> Result<Option<&mut Delivery>, StoreError> {
        self.engine
            .is_called_off(claim.task, claim.attempt)
            .ok_or_else(|| stale(claim))?;
        let mut deliveries = self.deliveries.values_mut();
        Ok(deliveries.find(|delivery| delivery.id == claim.task))
    }
}

impl State {
    /// The webhook that the first request with this key was about.
    fn webhook_of(&self, idempotency: Option<&Idempotency>) -> Result<Option<i64>, StoreError> {
        let Some(key) = idempotency else {
            return Ok(None);
        };
        let known = (key.scope.clone(), key.key.clone());
        match self.webhook_requests.get(&known) {
            Some((digest, webhook)) if *digest == key.digest => Ok(Some(*webhook)),
            Some(_) => Err(StoreError::KeyReused {
                key: key.key.clone(),
            }),
            None => Ok(None),
        }
    }

    fn remember_webhook(&mut self, idempotency: Option<&Idempotency>, webhook: i64) {
        if let Some(key) = idempotency {
            let known = (key.scope.clone(), key.key.clone());
            let first = (key.digest.clone(), webhook);
            self.webhook_requests.entry(known).or_insert(first);
        }
    }
}

#[async_trait]
impl WebhookStore for MemoryStore {
    async fn add(
        &self,
        wish: &WebhookWish,
        secret: &WebhookSecret,
        actor: &str,
        at: Timestamp,
        idempotency: Option<&Idempotency>,
    ) -> Result<AddedWebhook, StoreError> {
        let mut state = self.state("add a webhook")?;
        if let Some(first) = state.webhook_of(idempotency)? {
            let (webhook, secrets) =
                state
                    .webhooks
                    .get(&first)
                    .ok_or_else(|| StoreError::Refused {
                        reason: format!("webhook {first} was removed"),
                    })?;
            return Ok(AddedWebhook {
                webhook: webhook.clone(),
                secret: secrets.current.clone(),
                is_replayed: true,
            });
        }
        if state.webhooks.len() >= WEBHOOKS_MAX {
            return Err(StoreError::AlreadyExists {
                what: "webhook",
                name: format!("number {}", WEBHOOKS_MAX + 1),
            });
        }
        let key = state.draw_key();
        let webhook = Webhook {
            key: Key::new(key),
            wish: wish.clone(),
            disabled: None,
            created_at: at,
            created_by: actor.to_owned(),
        };
        let secrets = WebhookSecrets {
            current: secret.clone(),
            former: None,
        };
        state.webhooks.insert(key, (webhook.clone(), secrets));
        state.remember_webhook(idempotency, key);
        Ok(AddedWebhook {
            webhook,
            secret: secret.clone(),
            is_replayed: false,
        })
    }

    async fn all(&self) -> Result<Vec<Webhook>, StoreError> {
        let state = self.state("list webhooks")?;
        let webhooks = state.webhooks.values();
        Ok(webhooks.map(|(webhook, _)| webhook.clone()).collect())
    }

    async fn change(
        &self,
        webhook: WebhookKey,
        wish: &WebhookWish,
    ) -> Result<Option<Webhook>, StoreError> {
        let mut state = self.state("change a webhook")?;
        let found = state.webhooks.get_mut(&webhook.get());
        Ok(found.map(|(found, _)| {
            found.wish = wish.clone();
            found.disabled = found.disabled.take().filter(|_| !wish.is_active);
            found.clone()
        }))
    }

    async fn replace(
        &self,
        webhook: WebhookKey,
        known: &WebhookWish,
        wish: &WebhookWish,
    ) -> Result<Option<Webhook>, StoreError> {
        let mut state = self.state("replace a webhook")?;
        let found = state.webhooks.get_mut(&webhook.get());
        let found = found.filter(|(found, _)| found.wish == *known);
        Ok(found.map(|(found, _)| {
            found.wish = wish.clone();
            found.disabled = found.disabled.take().filter(|_| !wish.is_active);
            found.clone()
        }))
    }

    async fn rotate(
        &self,
        webhook: WebhookKey,
        secret: &WebhookSecret,
        until: Timestamp,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<RotatedSecret>, StoreError> {
        let mut state = self.state("change the secret of a webhook")?;
        let is_replayed = state.webhook_of(idempotency)?.is_some();
        let Some((_, secrets)) = state.webhooks.get_mut(&webhook.get()) else {
            return Ok(None);
        };
        if !is_replayed && secrets.current.expose() != secret.expose() {
            let former = std::mem::replace(&mut secrets.current, secret.clone());
            secrets.former = Some((former, until));
        }
        let secret = secrets.current.clone();
        state.remember_webhook(idempotency, webhook.get());
        Ok(Some(RotatedSecret {
            secret,
            is_replayed,
        }))
    }

    async fn disable(&self, webhook: WebhookKey, reason: &str) -> Result<(), StoreError> {
        let mut state = self.state("switch a webhook off")?;
        if let Some((webhook, _)) = state.webhooks.get_mut(&webhook.get()) {
            webhook.wish.is_active = false;
            webhook.disabled = Some(reason.to_owned());
        }
        Ok(())
    }

    async fn remove(&self, webhook: WebhookKey) -> Result<bool, StoreError> {
        let mut state = self.state("remove a webhook")?;
        state
            .deliveries
            .retain(|_, delivery| delivery.webhook != webhook);
        Ok(state.webhooks.remove(&webhook.get()).is_some())
    }

    async fn list_unpublished(&self, limit: u32) -> Result<Vec<Unpublished>, StoreError> {
        let state = self.state("list what nobody was told of yet")?;
        let sources = [
            NoticeSource::FleetEvent,
            NoticeSource::InstanceStatus,
            NoticeSource::InstanceVersion,
            NoticeSource::HaproxyStatus,
            NoticeSource::Action,
        ];
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut all = state.unpublished.clone();
        all.extend(state.ended_by_the_engine());
        let of = |source| {
            let unpublished = all.iter();
            unpublished
                .filter(move |unpublished| unpublished.source == source)
                .take(most)
        };
        Ok(sources.into_iter().flat_map(of).cloned().collect())
    }

    async fn dispatch(
        &self,
        deliveries: &[NewDelivery],
        told: &[(NoticeSource, i64)],
    ) -> Result<Vec<StartedWorkflow>, StoreError> {
        let mut state = self.state("start deliveries to webhooks")?;
        let workflows: Vec<NewWorkflow> = deliveries
            .iter()
            .map(|delivery| delivery.workflow.clone())
            .collect();
        let answers = state.engine.start_all(&workflows)?;
        for (new, answer) in deliveries.iter().zip(&answers) {
            let is_there = state.webhooks.contains_key(&new.webhook.get());
            if matches!(answer, StartedWorkflow::Created(_)) && is_there {
                let position = state.draw_key();
                let delivery = Delivery {
                    id: delivery_task(new.workflow.id),
                    webhook: new.webhook,
                    message: new.message.clone(),
                    event: new.event,
                    payload: new.payload.clone(),
                    created_at: new.created_at,
                    status: DeliveryStatus::Pending,
                    attempts: Vec::new(),
                };
                state.deliveries.insert(position, delivery);
            }
        }
        let is_told =
            |unpublished: &Unpublished| told.contains(&(unpublished.source, unpublished.record));
        state
            .unpublished
            .retain(|unpublished| !is_told(unpublished));
        let actions = told
            .iter()
            .filter(|(source, _)| *source == NoticeSource::Action);
        state.told_actions.extend(actions.map(|(_, record)| record));
        Ok(answers)
    }

    async fn outgoing(&self, claim: &Claim) -> Result<Option<Outgoing>, StoreError> {
        let mut state = self.state("read what there is to send")?;
        let Some(delivery) = state.held_delivery(claim)?.map(|delivery| delivery.clone()) else {
            return Ok(None);
        };
        let found = state.webhooks.get(&delivery.webhook.get());
        Ok(found.map(|(webhook, secrets)| Outgoing {
            webhook: webhook.clone(),
            secrets: secrets.clone(),
            message: delivery.message,
            event: delivery.event,
            payload: delivery.payload,
        }))
    }

    async fn record_attempt(
        &self,
        claim: &Claim,
        attempt: &DeliveryAttempt,
    ) -> Result<(), StoreError> {
        let mut state = self.state("note a try to deliver")?;
        if let Some(delivery) = state.held_delivery(claim)? {
            let is_known = delivery
                .attempts
                .iter()
                .any(|known| known.number == attempt.number);
            if !is_known && attempt.number <= ATTEMPTS_MAX {
                delivery.attempts.push(attempt.clone());
            }
        }
        Ok(())
    }

    async fn delivery(&self, delivery: TaskId) -> Result<Option<Delivery>, StoreError> {
        let state = self.state("find a delivery")?;
        let mut deliveries = state.deliveries.values();
        let found = deliveries.find(|stored| stored.id == delivery);
        Ok(found.and_then(|stored| state.shown_delivery(stored)))
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, Delivery)>, StoreError> {
        let state = self.state("list deliveries to webhooks")?;
        let wanted = |delivery: &Delivery| {
            filter.webhook.is_none_or(|key| delivery.webhook == key)
                && filter.event.is_none_or(|event| delivery.event == event)
                && filter.status.is_none_or(|status| delivery.status == status)
                && filter
                    .since
                    .is_none_or(|since| since <= delivery.created_at)
                && filter.until.is_none_or(|until| delivery.created_at < until)
        };
        let shown = state.deliveries.iter().filter_map(|(position, stored)| {
            let shown = state.shown_delivery(stored).filter(wanted)?;
            let bare = Delivery {
                attempts: Vec::new(),
                ..shown
            };
            Some((*position, bare))
        });
        Ok(descending(shown, page))
    }
}
