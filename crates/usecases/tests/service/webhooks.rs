//! Telling other systems what happened, over receivers that take, refuse, or do not answer.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::page::PageRequest;
use drover_domain::webhook::{
    Delivery, DeliveryStatus, EventType, Webhook, WebhookKey, WebhookWish,
};
use drover_domain::workflow::TaskId;
use drover_ports::{DeliveryFilter, WebhookStore};
use drover_testkit::agent::Agent;
use drover_testkit::eventually::eventually;
use drover_usecases::WebhookError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Harness, address, origin, sight};

fn wish(url: &str, events: &[EventType]) -> WebhookWish {
    WebhookWish {
        url: url.to_owned(),
        description: None,
        events: events.iter().copied().collect::<BTreeSet<_>>(),
        is_active: true,
    }
}

fn to(webhook: WebhookKey) -> DeliveryFilter {
    DeliveryFilter {
        webhook: Some(webhook),
        ..DeliveryFilter::default()
    }
}

struct Scene {
    harness: Harness,
    _dispatching: JoinSet<()>,
    _stop: watch::Sender<bool>,
}

impl Scene {
    /// A server with an application, and a node that delivers events.
    async fn new() -> Self {
        let harness = Harness::with_fleet(1).await;
        let (stop, stopped) = watch::channel(false);
        let background = harness.service.background();
        let mut dispatching = JoinSet::new();
        dispatching.spawn(async move { background.webhook_loop(stopped).await });
        Self {
            harness,
            _dispatching: dispatching,
            _stop: stop,
        }
    }

    async fn add(&self, url: &str, events: &[EventType]) -> Webhook {
        let webhooks = &self.harness.service.webhooks;
        let added = webhooks.add(wish(url, events), None, &origin(), None).await;
        added.unwrap().webhook
    }

    /// Lets the agent report this version, and polls it.
    async fn version(&self, version: &str) {
        let server = self.harness.server("s1").await;
        let agent = Agent::Answers(sight(1, version));
        self.harness.agents.arrange(address(&server), agent);
        let refreshed = self.harness.service.servers.refresh(server.key).await;
        assert!(refreshed.unwrap().is_some());
    }

    async fn ended(&self, webhook: &Webhook, count: usize) -> Vec<Delivery> {
        let webhooks = &self.harness.service.webhooks;
        let found = eventually(Duration::from_hours(1), || async {
            let page = webhooks
                .deliveries(&to(webhook.key), PageRequest::first())
                .await;
            let items = page.unwrap().items;
            let is_over = items
                .iter()
                .all(|(_, delivery)| delivery.status != DeliveryStatus::Pending);
            if items.len() == count && is_over {
                Ok(items)
            } else {
                Err(format!("{items:?}"))
            }
        })
        .await;
        let mut deliveries = Vec::new();
        for (_, delivery) in found {
            deliveries.push(self.delivery(delivery.id).await);
        }
        deliveries
    }

    async fn delivery(&self, id: TaskId) -> Delivery {
        let webhooks = &self.harness.service.webhooks;
        webhooks.find_delivery(id).await.unwrap()
    }

    fn statuses(delivery: &Delivery) -> Vec<Option<u16>> {
        let attempts = delivery.attempts.iter();
        attempts.map(|attempt| attempt.status).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_know_is_told_once() {
    let scene = Scene::new().await;
    let all = scene.add("https://all", &[]).await;
    let versions = scene
        .add("https://versions", &[EventType::InstanceVersion])
        .await;
    let servers = scene
        .add("https://servers", &[EventType::ServerStatus])
        .await;
    let worker = scene.harness.work("w1");
    scene.version("2.0.0").await;
    for webhook in [&all, &versions] {
        let [delivery] = &scene.ended(webhook, 1).await[..] else {
            panic!("one is told")
        };
        assert_eq!(delivery.status, DeliveryStatus::Delivered);
        assert_eq!(delivery.event, EventType::InstanceVersion);
        assert_eq!(Scene::statuses(delivery), [Some(204)]);
    }
    assert_eq!(scene.ended(&servers, 0).await, []);
    let received = scene.harness.receivers.received();
    assert_eq!(received.len(), 2, "{received:?}");
    assert_ne!(received[0].message, received[1].message);
    assert!(received[0].body.contains("2.0.0"), "{received:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_sent_again_under_the_same_identifier() {
    let scene = Scene::new().await;
    let webhook = scene.add("https://a", &[]).await;
    for answer in [
        Ok(500),
        Err("the receiver cannot be reached"),
        Ok(302),
        Ok(429),
    ] {
        scene.harness.receivers.answer(answer);
    }
    let worker = scene.harness.work("w1");
    scene.version("2.0.0").await;
    let [delivery] = &scene.ended(&webhook, 1).await[..] else {
        panic!("one is told")
    };
    assert_eq!(delivery.status, DeliveryStatus::Delivered);
    assert_eq!(
        Scene::statuses(delivery),
        [Some(500), None, Some(302), Some(429), Some(204)]
    );
    assert!(
        delivery.attempts[1]
            .failure
            .as_ref()
            .is_some_and(|reason| reason.contains("reached"))
    );
    let received = scene.harness.receivers.received();
    assert!(
        received.iter().all(|one| one.message == delivery.message),
        "{received:?}"
    );

    // Sent again by hand: the same message once more.
    let webhooks = &scene.harness.service.webhooks;
    let again = webhooks
        .redeliver(delivery.id, &origin(), None)
        .await
        .unwrap()
        .id;
    scene.ended(&webhook, 2).await;
    let again = scene.delivery(again).await;
    assert_eq!(
        (&again.message, &again.payload),
        (&delivery.message, &delivery.payload)
    );
    assert_eq!(Scene::statuses(&again), [Some(204)]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_not_told_any_more() {
    let scene = Scene::new().await;
    let webhook = scene.add("https://a", &[]).await;
    scene.harness.receivers.answer(Ok(410));
    let worker = scene.harness.work("w1");
    scene.version("2.0.0").await;
    let [delivery] = &scene.ended(&webhook, 1).await[..] else {
        panic!("one is told")
    };
    assert_eq!(delivery.status, DeliveryStatus::Failed);
    assert_eq!(Scene::statuses(delivery), [Some(410)]);
    let webhooks = &scene.harness.service.webhooks;
    let off = webhooks.find(webhook.key).await.unwrap();
    assert!(!off.wish.is_active && off.disabled.is_some(), "{off:?}");
    scene.version("3.0.0").await;
    assert_eq!(scene.ended(&webhook, 1).await.len(), 1);
    let on = webhooks
        .change(webhook.key, &webhook.wish, &origin())
        .await
        .unwrap();
    assert!(on.wish.is_active && on.disabled.is_none());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_but_a_test_goes_to_a_webhook_that_is_switched_off() {
    let scene = Scene::new().await;
    let webhook = scene.add("https://a", &[]).await;
    let off = WebhookWish {
        is_active: false,
        ..webhook.wish.clone()
    };
    let webhooks = &scene.harness.service.webhooks;
    let set = async |wish| webhooks.change(webhook.key, wish, &origin()).await.unwrap();
    scene.harness.receivers.answer(Ok(500));
    let worker = scene.harness.work("w1");
    scene.version("2.0.0").await;
    eventually(Duration::from_mins(1), || async {
        let count = scene.harness.receivers.received().len();
        if count == 1 {
            Ok(())
        } else {
            Err(format!("{count}"))
        }
    })
    .await;
    set(&off).await;
    let [delivery] = &scene.ended(&webhook, 1).await[..] else {
        panic!("one is told")
    };
    assert_eq!(delivery.status, DeliveryStatus::Failed);
    assert_eq!(Scene::statuses(delivery), [Some(500), None]);
    let refused = webhooks.redeliver(delivery.id, &origin(), None).await;
    assert!(
        matches!(refused, Err(WebhookError::SwitchedOff { .. })),
        "{refused:?}"
    );
    let test = webhooks
        .test(webhook.key, &origin(), None)
        .await
        .unwrap()
        .id;
    scene.ended(&webhook, 2).await;
    assert_eq!(scene.delivery(test).await.status, DeliveryStatus::Delivered);

    // An event from before it was switched off that was not delivered then is not delivered later.
    set(&webhook.wish).await;
    scene.version("3.0.0").await;
    set(&off).await;
    eventually(Duration::from_hours(1), || async {
        let store: &dyn WebhookStore = &scene.harness.store;
        let unpublished = store.list_unpublished(10).await.unwrap();
        if unpublished.is_empty() {
            Ok(())
        } else {
            Err(format!("{unpublished:?}"))
        }
    })
    .await;
    set(&webhook.wish).await;
    scene.version("4.0.0").await;
    let ended = scene.ended(&webhook, 3).await;
    let payloads = ended.iter().map(|one| one.payload.as_str());
    let told: Vec<&str> = payloads.filter(|one| one.contains("4.0.0")).collect();
    assert_eq!(told.len(), 1, "{ended:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_changed_without_a_gap() {
    let scene = Scene::new().await;
    let webhook = scene.add("https://a", &[EventType::ServerStatus]).await;
    let webhooks = &scene.harness.service.webhooks;
    let worker = scene.harness.work("w1");
    let rotated = webhooks
        .rotate(webhook.key, None, &origin(), None)
        .await
        .unwrap();
    assert!(rotated.secret.expose().starts_with("whsec_"));
    webhooks.test(webhook.key, &origin(), None).await.unwrap();
    scene.ended(&webhook, 1).await;
    scene.harness.clock.advance(Duration::from_hours(24));
    webhooks.test(webhook.key, &origin(), None).await.unwrap();
    scene.ended(&webhook, 2).await;
    let received = scene.harness.receivers.received();
    let signatures: Vec<usize> = received.iter().map(|one| one.signatures).collect();
    assert_eq!(signatures, [2, 1]);
    assert!(received[0].body.starts_with("webhook.test"), "{received:?}");
    worker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let harness = Harness::new();
    let webhooks = &harness.service.webhooks;
    let refused = webhooks.add(wish("bad", &[]), None, &origin(), None).await;
    assert!(
        matches!(refused, Err(WebhookError::Unusable(_))),
        "{refused:?}"
    );
    let nobody = WebhookKey::new(404);
    assert!(matches!(
        webhooks.find(nobody).await,
        Err(WebhookError::UnknownWebhook { .. })
    ));
    assert!(matches!(
        webhooks.test(nobody, &origin(), None).await,
        Err(WebhookError::UnknownWebhook { .. })
    ));
    assert!(matches!(
        webhooks.remove(nobody, &origin()).await,
        Err(WebhookError::UnknownWebhook { .. })
    ));
    assert_eq!(webhooks.all().await.unwrap(), []);
}
