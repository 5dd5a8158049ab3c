//! What [`WebhookStore`](drover_ports::WebhookStore) promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_domain::fleet::inventory::InventoryChange;
use drover_domain::fleet::{
    ApplicationStatus, EventKind, NewEvent, ObservedApplication, ServerStatus, VersionState,
};
use drover_domain::haproxy::ObservedServer;
use drover_domain::haproxy::action::{ActionEnd, Evidence};
use drover_domain::id::Uuid;
use drover_domain::rollout::record::Origin;
use drover_domain::webhook::{
    DELIVERY_KIND, DeliveryAttempt, DeliveryStatus, EventType, Noticed, WEBHOOKS_MAX, Webhook,
    WebhookKey, WebhookSecret, WebhookWish, delivery_definition, delivery_queue, delivery_task,
};
use drover_domain::workflow::run::{Control, Outcome};
use drover_domain::workflow::{Json, TaskId, WorkflowId};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    Claim, DeliveryFilter, Fault, Idempotency, NewDelivery, NewWorkflow, NoticeSource,
    StartedWorkflow, StoreError, Unpublished,
};

use super::ALL;
use crate::store::World;
use crate::store::fixtures::actions::{action_on, start_actions, take_action};
use crate::store::fixtures::{
    HOSTILE, Updater, at, event, fleet, haproxy, haproxy_server, observed, poll, sync,
};

fn to(webhook: WebhookKey) -> DeliveryFilter {
    DeliveryFilter {
        webhook: Some(webhook),
        ..DeliveryFilter::default()
    }
}

fn wish(events: &[EventType], is_active: bool) -> WebhookWish {
    WebhookWish {
        url: format!("https://hooks.example/{HOSTILE}"),
        description: Some(format!("for the board {HOSTILE}")),
        events: events.iter().copied().collect::<BTreeSet<_>>(),
        is_active,
    }
}

fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::new(text.to_owned())
}

async fn added(world: &World) -> Webhook {
    let wish = wish(&[EventType::ServerStatus], true);
    let secret = secret("whsec_a");
    let added = world.webhooks().add(&wish, &secret, "ann", at(5), None);
    added.await.unwrap().webhook
}

fn delivery(number: u128, webhook: WebhookKey, key: &str) -> NewDelivery {
    let id = WorkflowId::rooted(Uuid::from_u128(number << 12));
    NewDelivery {
        workflow: NewWorkflow {
            id,
            name: DELIVERY_KIND.to_owned(),
            definition: Arc::new(delivery_definition(webhook).unwrap()),
            source: None,
            labels: BTreeMap::new(),
            input: Json::null(),
            origin: Origin {
                actor: "drover".to_owned(),
                request_id: String::new(),
            },
            parent: None,
            start_after: Some(Duration::ZERO),
            deadline: None,
            idempotency: Some(Idempotency {
                scope: "webhooks".to_owned(),
                key: key.to_owned(),
                digest: vec![1],
            }),
        },
        webhook,
        message: format!("msg_{number}"),
        event: EventType::ServerStatus,
        payload: format!("{{\"number\":{number}}}"),
        created_at: at(20),
    }
}

fn once(key: &str, digest: u8) -> Idempotency {
    Idempotency {
        scope: "webhooks".to_owned(),
        key: key.to_owned(),
        digest: vec![digest],
    }
}

fn id(number: u128) -> TaskId {
    delivery_task(WorkflowId::rooted(Uuid::from_u128(number << 12)))
}

async fn claimed(world: &World) -> Claim {
    let worker = Updater::open(world.queue(), 9).await;
    let claim = worker.claim_of(delivery_queue()).await;
    claim.expect("there is a delivery to take")
}

/// The unpublished notices, without their records.
async fn told(world: &World) -> Vec<(NoticeSource, Timestamp, Noticed)> {
    let unpublished = world
        .webhooks()
        .list_unpublished(100)
        .await
        .unwrap()
        .into_iter();
    let notices = unpublished.filter_map(|unpublished| {
        let notice = unpublished.notice?;
        Some((unpublished.source, notice.at, notice.what))
    });
    notices.collect()
}

/// Marks everything so far as published.
async fn forget(world: &World) {
    let unpublished = world.webhooks().list_unpublished(100).await.unwrap();
    let records: Vec<_> = unpublished
        .iter()
        .map(|unpublished| (unpublished.source, unpublished.record))
        .collect();
    world.webhooks().dispatch(&[], &records).await.unwrap();
    assert_eq!(told(world).await, []);
}

fn is_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert_eq!(answer.unwrap_err().fault(), Fault::Transient);
}

contract! { $ webhook_store => webhook_store_contract for World;
    /// A webhook is kept as it was wished, changed, switched off with a reason and on again, and removed.
    async fn webhooks_are_kept(world) {
        let store = world.webhooks();
        assert_eq!(store.all().await.unwrap(), []);
        let first = added(world).await;
        let second = store.add(&wish(&[], false), &secret("whsec_b"), "bob", at(6), None).await.unwrap().webhook;
        assert_eq!((first.created_at, first.created_by.as_str(), &first.disabled), (at(5), "ann", &None));
        assert_eq!(first.wish, wish(&[EventType::ServerStatus], true));
        assert_eq!(store.all().await.unwrap(), [first.clone(), second.clone()]);
        store.disable(first.key, "410").await.unwrap();
        let off = store.all().await.unwrap().remove(0);
        assert_eq!((off.wish.is_active, off.disabled.as_deref()), (false, Some("410")));
        let still_off = store.change(first.key, &wish(&[], false)).await.unwrap().unwrap();
        assert_eq!(still_off.disabled.as_deref(), Some("410"));
        let on = wish(&EventType::ALL, true);
        let changed = store.change(first.key, &on).await.unwrap().unwrap();
        assert_eq!(changed, Webhook { wish: on.clone(), ..first.clone() });
        assert_eq!(store.change(Key::new(404), &on).await.unwrap(), None);
        assert_eq!([store.remove(first.key).await.unwrap(), store.remove(first.key).await.unwrap()], [true, false]);
        assert_eq!(store.all().await.unwrap(), [second]);
    }

    /// A webhook is replaced if it is still as it was seen.
    async fn a_webhook_is_replaced_only_as_it_was_seen(world) {
        let store = world.webhooks();
        let (webhook, seen) = (added(world).await.key, wish(&[EventType::ServerStatus], true));
        let ours = WebhookWish { description: Some("ours".to_owned()), ..wish(&EventType::ALL, true) };
        let theirs = [
            WebhookWish { url: "https://theirs.example/".to_owned(), ..seen.clone() },
            WebhookWish { description: Some("theirs".to_owned()), ..seen.clone() },
            wish(&[], true),
            wish(&[EventType::ServerStatus], false),
        ];
        for theirs in theirs {
            store.change(webhook, &theirs).await.unwrap();
            assert_eq!(store.replace(webhook, &seen, &ours).await.unwrap(), None, "{theirs:?}");
            assert_eq!(store.all().await.unwrap().remove(0).wish, theirs);
        }
        store.change(webhook, &seen).await.unwrap();
        store.disable(webhook, "410").await.unwrap();
        assert_eq!(store.replace(webhook, &seen, &ours).await.unwrap(), None);
        let off = WebhookWish { is_active: false, ..seen.clone() };
        let replaced = store.replace(webhook, &off, &ours).await.unwrap().unwrap();
        assert_eq!((replaced.wish, replaced.disabled), (ours.clone(), None));
        assert_eq!(store.replace(webhook, &ours, &seen).await.unwrap().unwrap().wish, seen);
        assert_eq!(store.replace(Key::new(404), &seen, &ours).await.unwrap(), None);
    }

    /// A request to add a webhook that is made again under its key finds what came of the first, with its secret.
    async fn a_webhook_is_added_once_under_a_key(world) {
        let (store, wish) = (world.webhooks(), wish(&[], true));
        let key = |digest| once("add", digest);
        let first = store.add(&wish, &secret("whsec_a"), "ann", at(5), Some(&key(1))).await.unwrap();
        assert!(!first.is_replayed);
        let again = store.add(&wish, &secret("whsec_b"), "ann", at(6), Some(&key(1))).await.unwrap();
        assert!(again.is_replayed);
        assert_eq!((&again.webhook, again.secret.expose()), (&first.webhook, "whsec_a"));
        let other = store.add(&wish, &secret("whsec_b"), "ann", at(6), Some(&key(2))).await;
        assert!(matches!(other, Err(StoreError::KeyReused { .. })), "{other:?}");
        assert_eq!(store.all().await.unwrap().len(), 1);
        store.remove(first.webhook.key).await.unwrap();
        let gone = store.add(&wish, &secret("whsec_b"), "ann", at(6), Some(&key(1))).await;
        assert!(matches!(gone, Err(StoreError::Refused { .. })), "{gone:?}");
    }

    /// A secret is changed once under a key, and the secret that is there already takes no other one away.
    async fn a_secret_is_changed_once_under_a_key(world) {
        let webhook = added(world).await;
        world.webhooks().dispatch(&[delivery(1, webhook.key, "one")], &[]).await.unwrap();
        let claim = claimed(world).await;
        let key = once("rotate", 1);
        for (given, is_replayed) in [("whsec_b", false), ("whsec_c", true)] {
            let rotated = world.webhooks().rotate(webhook.key, &secret(given), at(90), Some(&key)).await;
            let rotated = rotated.unwrap().unwrap();
            assert_eq!((rotated.secret.expose(), rotated.is_replayed), ("whsec_b", is_replayed));
        }
        world.webhooks().rotate(webhook.key, &secret("whsec_b"), at(91), None).await.unwrap();
        let secrets = world.webhooks().outgoing(&claim).await.unwrap().unwrap().secrets;
        assert_eq!(secrets.current.expose(), "whsec_b");
        assert_eq!(secrets.former.map(|(former, until)| (former.expose().to_owned(), until)), Some(("whsec_a".to_owned(), at(90))));
    }

    /// There is a bound.
    async fn there_are_only_so_many_webhooks(world) {
        for _ in 0..WEBHOOKS_MAX {
            added(world).await;
        }
        let one_more = world.webhooks().add(&wish(&[], true), &secret("whsec_c"), "ann", at(7), None).await;
        assert!(matches!(one_more, Err(StoreError::AlreadyExists { .. })), "{one_more:?}");
    }

    /// Without an active webhook there is nothing to publish, and events of that time never are.
    async fn without_a_webhook_nothing_is_to_be_told(world) {
        let (server, _) = fleet(world, "app01", &["jurws_1"]).await;
        world.webhooks().add(&wish(&[], false), &secret("whsec_b"), "bob", at(6), None).await.unwrap();
        poll(world, server.key, &[observed("jurws_1", Some("2.0"))], at(10)).await;
        added(world).await;
        assert_eq!(told(world).await, []);
        poll(world, server.key, &[observed("jurws_1", Some("3.0"))], at(11)).await;
        assert_eq!(told(world).await.len(), 1);
    }

    /// Every kind of event is listed with names until it is published.
    async fn what_happens_is_to_be_told(world) {
        added(world).await;
        let (server, keys) = fleet(world, "app01", &["jurws_1", "same_1"]).await;
        assert_eq!(told(world).await, [], "what is new did not change");

        let down = ObservedApplication { status: ApplicationStatus::Offline, ..observed("jurws_1", Some("2.0")) };
        poll(world, server.key, &[down, observed("same_1", Some("1.0"))], at(10)).await;
        let found = told(world).await;
        let [(NoticeSource::InstanceStatus, first, Noticed::InstanceStatus { instance, old, new }),
             (NoticeSource::InstanceVersion, second, Noticed::InstanceVersion { old: former, new: latter, rollout, .. })] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((*first, *second), (at(10), at(10)));
        assert_eq!((instance.key, instance.name.as_str(), instance.server.as_deref()), (keys[0], "jurws_1", Some("app01")));
        assert_eq!((*old, *new), (ApplicationStatus::Online, ApplicationStatus::Offline));
        assert_eq!((former.as_deref(), latter.as_deref(), rollout), (Some("1.0"), Some("2.0"), &None));
        forget(world).await;

        // One that is no longer listed.
        poll(world, server.key, &[observed("jurws_1", Some("2.0"))], at(11)).await;
        assert_eq!(told(world).await.len(), 2);
        forget(world).await;

        let happened = |kind| NewEvent { kind, ..event(Some(server.key), None, "x") };
        let events = vec![happened(EventKind::Disconnect), happened(EventKind::Update)];
        let change = InventoryChange::of(server.clone(), events);
        world.inventory().store(&change).await.unwrap();
        let name = "app01".to_owned();
        let what = Noticed::ServerStatus { server: server.key, name, new: ServerStatus::Offline };
        assert_eq!(told(world).await, [(NoticeSource::FleetEvent, at(15), what)]);
        forget(world).await;

        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("a", "UP")])]).await;
        sync(world, instance, &[("be", &[haproxy_server("a", "DOWN")])], at(30)).await;
        let found = told(world).await;
        let [(NoticeSource::HaproxyStatus, _, Noticed::HaproxyStatus { server, old, new, action: None })] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((server.name.as_str(), server.backend.as_str(), server.instance.as_str(), server.node.as_str()), ("a", "be", "default", "lb01"));
        assert_eq!((old.as_str(), new.as_str()), ("UP", "DOWN"));
        forget(world).await;

        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        start_actions(world, &[action_on(1, &known.servers[0])]).await;
        let claim = take_action(&Updater::open(world.queue(), 1).await).await;
        let failure = Some(("still_busy".to_owned(), HOSTILE.to_owned()));
        let end = ActionEnd { at: at(40), failure: failure.clone() };
        let seen = ObservedServer { admin: None, ..haproxy_server("a", "DRAIN") };
        world.actions().finish(&claim, &end, &Evidence::default(), Some(&seen)).await.unwrap();
        let found = told(world).await;
        let [(_, _, Noticed::HaproxyStatus { action: Some((by, actor)), .. }),
             (NoticeSource::Action, ended, Noticed::ActionFinished { action, failure: told, wanted, .. })] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((*by, *action, actor.as_deref(), *ended), (claim.task, claim.task, Some("tester 1"), at(40)));
        assert_eq!((told, wanted.as_str()), (&failure, "drain"));
        forget(world).await;
    }

    /// An action that the engine ended before it had an end of its own is published like any other, once.
    async fn what_the_engine_ended_is_told(world) {
        added(world).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("a", "UP")])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        start_actions(world, &[action_on(1, &known.servers[0])]).await;
        forget(world).await;
        assert_eq!(told(world).await, []);
        let cancel = Control::Cancel { reason: "not today".to_owned() };
        world.workflows().control(id(1).workflow(), &cancel).await.unwrap();
        let found = told(world).await;
        let [(_, _, Noticed::ActionFinished { failure: Some((code, _)), actor, .. })] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((code.as_str(), actor.as_str()), ("cancelled", "tester 1"));
        forget(world).await;
        assert_eq!(told(world).await, []);
    }

    /// As many of each kind as asked for, the oldest first.
    async fn what_is_untold_is_bounded(world) {
        added(world).await;
        let names: Vec<String> = (0..5).map(|number| format!("a{number}_1")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (server, _) = fleet(world, "app01", &names).await;
        let next: Vec<ObservedApplication> = names.iter().map(|name| ObservedApplication {
            status: ApplicationStatus::Offline,
            version: VersionState { version: Some("2.0".to_owned()), ..VersionState::default() },
            ..observed(name, None)
        }).collect();
        poll(world, server.key, &next, at(10)).await;
        let unpublished = world.webhooks().list_unpublished(2).await.unwrap();
        let of = |source| unpublished.iter().filter(move |unpublished: &&Unpublished| unpublished.source == source).count();
        assert_eq!((of(NoticeSource::InstanceStatus), of(NoticeSource::InstanceVersion), unpublished.len()), (2, 2, 4));
        assert!(unpublished[0].record < unpublished[1].record);
    }

    /// Deliveries are created once for a key, in one step with the publication; a removed webhook gets none.
    async fn deliveries_are_started_once(world) {
        let webhook = added(world).await;
        let (server, _) = fleet(world, "app01", &["jurws_1"]).await;
        poll(world, server.key, &[observed("jurws_1", Some("2.0"))], at(10)).await;
        let unpublished = world.webhooks().list_unpublished(9).await.unwrap();
        let records = [(unpublished[0].source, unpublished[0].record)];
        let news = [delivery(1, webhook.key, "one"), delivery(2, Key::new(404), "two")];
        let started = world.webhooks().dispatch(&news, &records).await.unwrap();
        assert_eq!(started, [1, 2].map(|number| StartedWorkflow::Created(id(number).workflow())));
        assert_eq!(told(world).await, []);
        let again = [delivery(3, webhook.key, "one")];
        let again = world.webhooks().dispatch(&again, &records).await.unwrap();
        assert_eq!(again, [StartedWorkflow::Replayed(id(1).workflow())]);
        let listed = world.webhooks().deliveries(&to(webhook.key), ALL).await.unwrap().items;
        let [(_, only)] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((only.id, only.message.as_str(), only.event, only.created_at), (id(1), "msg_1", EventType::ServerStatus, at(20)));
        assert_eq!((only.payload.as_str(), only.status, &only.attempts), ("{\"number\":1}", DeliveryStatus::Pending, &vec![]));
        assert_eq!(world.webhooks().delivery(id(1)).await.unwrap().as_ref(), Some(only));
        assert_eq!(world.webhooks().delivery(id(2)).await.unwrap(), None);
        assert_eq!(world.webhooks().delivery(id(404)).await.unwrap(), None);
    }

    /// Nodes that start the same deliveries at the same time start each once, in whatever order they name them.
    async fn nodes_dispatch_at_once(world) {
        let webhook = added(world).await;
        let batch = |node: u128, is_reversed: bool| {
            let mut news: Vec<NewDelivery> = (1..=20_u128)
                .map(|number| delivery(node * 100 + number, webhook.key, &number.to_string()))
                .collect();
            if is_reversed {
                news.reverse();
            }
            news
        };
        let (one, other, third) = (batch(1, false), batch(2, true), batch(3, false));
        let store = world.webhooks();
        let (one, other, third) = tokio::join!(
            store.dispatch(&one, &[]),
            store.dispatch(&other, &[]),
            store.dispatch(&third, &[]),
        );
        let answers = [one, other, third].map(Result::unwrap).concat();
        let created = answers.iter().filter(|answer| matches!(answer, StartedWorkflow::Created(_)));
        assert_eq!(created.count(), 20);
        let listed = store.deliveries(&to(webhook.key), ALL).await.unwrap().items;
        assert_eq!(listed.len(), 20);
    }

    /// The holder of the task reads what to send, with the current secrets, and records attempts; no other worker can.
    async fn the_worker_sends_and_notes(world) {
        let webhook = added(world).await;
        world.webhooks().dispatch(&[delivery(1, webhook.key, "one")], &[]).await.unwrap();
        let stranger = Claim { task: id(1), attempt: 7 };
        assert!(matches!(world.webhooks().outgoing(&stranger).await, Err(StoreError::Stale { .. })));
        let claim = claimed(world).await;
        let outgoing = world.webhooks().outgoing(&claim).await.unwrap().unwrap();
        assert_eq!((outgoing.webhook, outgoing.message.as_str(), outgoing.payload.as_str()), (webhook.clone(), "msg_1", "{\"number\":1}"));
        assert_eq!(outgoing.event, delivery(1, webhook.key, "one").event);
        assert_eq!((outgoing.secrets.current.expose(), outgoing.secrets.former.is_some()), ("whsec_a", false));
        let rotated = world.webhooks().rotate(webhook.key, &secret("whsec_z"), at(90), None).await.unwrap();
        assert_eq!(rotated.map(|rotated| rotated.is_replayed), Some(false));
        assert!(world.webhooks().rotate(Key::new(404), &secret("whsec_z"), at(90), None).await.unwrap().is_none());
        let secrets = world.webhooks().outgoing(&claim).await.unwrap().unwrap().secrets;
        assert_eq!(secrets.current.expose(), "whsec_z");
        assert_eq!(secrets.former.map(|(secret, until)| (secret.expose().to_owned(), until)), Some(("whsec_a".to_owned(), at(90))));
        let tried = |number, status, failure: Option<&str>| DeliveryAttempt {
            number,
            at: at(30),
            took: Duration::from_micros(1_500),
            status,
            failure: failure.map(str::to_owned),
        };
        let course = [tried(1, Some(503), Some(HOSTILE)), tried(2, None, Some("no answer")), tried(3, Some(204), None)];
        for attempt in &course {
            world.webhooks().record_attempt(&claim, attempt).await.unwrap();
        }
        world.webhooks().record_attempt(&claim, &tried(2, Some(200), None)).await.unwrap();
        assert!(matches!(world.webhooks().record_attempt(&stranger, &course[0]).await, Err(StoreError::Stale { .. })));
        let found = world.webhooks().delivery(id(1)).await.unwrap().unwrap();
        assert_eq!(found.attempts, course);
        assert_eq!(found.status, DeliveryStatus::Pending);
    }

    /// A delivery says how the engine says it ended.
    async fn a_delivery_ends_as_its_task_does(world) {
        let webhook = added(world).await;
        world.webhooks().dispatch(&[delivery(1, webhook.key, "one")], &[]).await.unwrap();
        let worker = Updater::open(world.queue(), 9).await;
        let claim = worker.claim_of(delivery_queue()).await.unwrap();
        worker.report(&claim, Outcome::Succeeded { result: Json::null() }).await;
        assert_eq!(world.webhooks().delivery(id(1)).await.unwrap().unwrap().status, DeliveryStatus::Delivered);
        world.webhooks().remove(webhook.key).await.unwrap();
        assert_eq!(world.webhooks().delivery(id(1)).await.unwrap(), None);
    }

    /// The log is over all webhooks, newest first, under each condition and all of them together.
    async fn the_log_can_be_asked_for_a_part(world) {
        let (one, other) = (added(world).await, added(world).await);
        let test = |number, to| NewDelivery { event: EventType::Test, created_at: at(30), ..delivery(number, to, &number.to_string()) };
        let news = [delivery(1, one.key, "1"), test(2, one.key), test(3, other.key)];
        world.webhooks().dispatch(&news, &[]).await.unwrap();
        let worker = Updater::open(world.queue(), 9).await;
        let claim = worker.claim_of(delivery_queue()).await.unwrap();
        worker.report(&claim, Outcome::Succeeded { result: Json::null() }).await;
        let done = claim.task;
        let listed = async |filter: &DeliveryFilter| -> Vec<TaskId> {
            let page = world.webhooks().deliveries(filter, ALL).await.unwrap();
            page.items.into_iter().map(|(_, delivery)| delivery.id).collect()
        };
        let all = DeliveryFilter::default();
        assert_eq!(listed(&all).await, [3, 2, 1].map(id));
        assert_eq!(listed(&to(one.key)).await, [2, 1].map(id));
        assert_eq!(listed(&to(Key::new(404))).await, []);
        assert_eq!(listed(&DeliveryFilter { event: Some(EventType::Test), ..all.clone() }).await, [3, 2].map(id));
        assert_eq!(listed(&DeliveryFilter { since: Some(at(30)), ..all.clone() }).await, [3, 2].map(id));
        assert_eq!(listed(&DeliveryFilter { until: Some(at(30)), ..all.clone() }).await, [1].map(id));
        let delivered = DeliveryFilter { status: Some(DeliveryStatus::Delivered), ..all.clone() };
        assert_eq!(listed(&delivered).await, [done]);
        let rest: Vec<TaskId> = [3, 2, 1].map(id).into_iter().filter(|id| *id != done).collect();
        assert_eq!(listed(&DeliveryFilter { status: Some(DeliveryStatus::Pending), ..all.clone() }).await, rest);
        assert_eq!(listed(&DeliveryFilter { status: Some(DeliveryStatus::Failed), ..all }).await, []);
        let every = DeliveryFilter {
            webhook: Some(other.key),
            event: Some(EventType::Test),
            since: Some(at(30)),
            until: Some(at(31)),
            status: Some(if done == id(3) { DeliveryStatus::Delivered } else { DeliveryStatus::Pending }),
        };
        assert_eq!(listed(&every).await, [id(3)]);
    }

    /// Without the database every call says so, and that it may be back later.
    async fn without_a_database_nobody_is_told(world) {
        world.side_door().cut().await;
        let (store, key) = (world.webhooks(), Key::new(1));
        let claim = Claim { task: id(1), attempt: 1 };
        is_unavailable(store.add(&wish(&[], true), &secret("whsec_a"), "ann", at(1), None).await);
        is_unavailable(store.all().await);
        is_unavailable(store.change(key, &wish(&[], true)).await);
        is_unavailable(store.rotate(key, &secret("whsec_a"), at(1), None).await);
        is_unavailable(store.disable(key, "x").await);
        is_unavailable(store.remove(key).await);
        is_unavailable(store.list_unpublished(1).await);
        is_unavailable(store.dispatch(&[], &[]).await);
        is_unavailable(store.outgoing(&claim).await);
        is_unavailable(store.delivery(id(1)).await);
        is_unavailable(store.deliveries(&to(key), ALL).await);
    }
}
