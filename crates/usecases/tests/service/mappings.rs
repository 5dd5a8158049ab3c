//! Which application stands behind a server in HAProxy: what is found by rule, and what people say.

use std::time::Duration;

use drover_domain::Key;
use drover_domain::fleet::{ApplicationKey, Network, ObservedApplication, ServerPlace};
use drover_domain::haproxy::{
    BreakerPolicy, BreakerState, HaproxyServerKey, MappingAction, MappingBasis, ObservedServer,
    ServerMapping,
};
use drover_domain::page::PageRequest;
use drover_domain::rollout::record::Origin;
use drover_ports::{Clock, Fault, HaproxyActions, HaproxyStore, NewMapping};
use drover_testkit::agent::{Agent, Sight};
use drover_usecases::{
    ApplicationFilter, FleetView, HaproxyInstanceFilter, HaproxyMappings, HaproxyView, MapError,
    MappingCause, MappingChange, Remapped, UnmappedFilter,
};

use crate::harness::{Harness, address, haproxy_server, haproxy_sight, origin, sight};

fn cause(actor: &str) -> MappingCause {
    MappingCause {
        origin: Origin {
            actor: actor.to_owned(),
            request_id: "r7".to_owned(),
        },
        reason: Some("because".to_owned()),
    }
}

async fn servers(harness: &Harness) -> Vec<HaproxyServerKey> {
    let store: &dyn HaproxyView = &harness.store;
    let mut keys = Vec::new();
    for instance in store
        .instances(&HaproxyInstanceFilter::default(), PageRequest::first())
        .await
        .unwrap()
        .items
    {
        let known = HaproxyStore::load(&harness.store, instance.key).await;
        let known = known.unwrap().unwrap();
        keys.extend(known.servers.iter().map(|server| server.key));
    }
    keys
}

async fn mapping(harness: &Harness, server: HaproxyServerKey) -> ServerMapping {
    let view: &dyn HaproxyMappings = &harness.store;
    view.find(server).await.unwrap().unwrap()
}

async fn history(harness: &Harness, server: HaproxyServerKey) -> Vec<MappingChange> {
    let view: &dyn HaproxyMappings = &harness.store;
    let page = view.history(server, PageRequest::first()).await.unwrap();
    page.unwrap().items
}

async fn sync(harness: &Harness) {
    let haproxy = harness.server("lb").await;
    harness.service.servers.refresh(haproxy.key).await.unwrap();
}

#[tokio::test]
async fn a_mapping_by_hand_outlasts_syncs_and_remaps() {
    let harness = Harness::with_fleet(2).await;
    let (server, applications) = (servers(&harness).await[0], harness.applications().await);
    harness.clock.advance(Duration::from_secs(5));
    let mappings = &harness.service.mappings;
    let made = mappings
        .map(server, applications[1], cause("ann"))
        .await
        .unwrap();
    let active = made.active.unwrap();
    assert_eq!(
        (active.application, active.basis, active.at),
        (applications[1], MappingBasis::Manual, harness.clock.now())
    );
    harness.clock.advance(Duration::from_secs(5));
    sync(&harness).await;
    let done = mappings.remap(cause("bob").origin).await.unwrap();
    assert_eq!(done, Remapped::default());
    let again = mappings.map(server, applications[1], cause("bob")).await;
    assert_eq!(again.unwrap(), made);
    assert_eq!(mapping(&harness, server).await, made);
    let told: Vec<_> = history(&harness, server)
        .await
        .into_iter()
        .map(|change| (change.action, change.application, change.cause))
        .collect();
    let expected = [
        (MappingAction::Created, applications[1], Some(cause("ann"))),
        (
            MappingAction::Deactivated,
            applications[0],
            Some(cause("ann")),
        ),
        (MappingAction::Created, applications[0], None),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_exclusion_lasts_until_it_is_given_back() {
    let harness = Harness::with_fleet(2).await;
    let (server, applications) = (servers(&harness).await[0], harness.applications().await);
    let mappings = &harness.service.mappings;
    let excluded = mappings.unmap(server, true, cause("ann")).await.unwrap();
    let excluded = excluded.unwrap();
    assert_eq!(
        (
            excluded.active,
            excluded.exclusion.as_ref().unwrap().actor.as_str()
        ),
        (None, "ann")
    );
    sync(&harness).await;
    let done = mappings.remap(cause("bob").origin).await.unwrap();
    assert_eq!(done, Remapped::default());
    assert_eq!(mapping(&harness, server).await, excluded);

    let free = mappings.unmap(server, false, cause("bob")).await.unwrap();
    assert_eq!(free.unwrap().exclusion, None);
    assert_eq!(mapping(&harness, server).await.active, None);
    sync(&harness).await;
    let active = mapping(&harness, server).await.active.unwrap();
    assert_eq!(
        (active.application, active.basis),
        (applications[0], MappingBasis::Address)
    );
    assert_eq!(history(&harness, server).await[0].cause, None);
    assert_eq!(
        mappings
            .unmap(Key::new(404), true, cause("ann"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_remap_finds_on_all_instances_what_was_not_known_before() {
    let harness = Harness::new();
    for (name, number) in [("lb", 200), ("lb2", 201)] {
        let node = harness.add_server(name, number, true).await;
        let members = vec![haproxy_server(1, "UP"), haproxy_server(2, "UP")];
        let sight = Agent::Answers(haproxy_sight(members));
        harness.agents.arrange(address(&node), sight);
        harness.service.servers.refresh(node.key).await.unwrap();
    }
    let mappings = &harness.service.mappings;
    let origin = cause("ann").origin;
    let nothing = mappings.remap(origin.clone()).await.unwrap();
    assert_eq!((nothing.looked_at, nothing.mapped), (4, 0));
    let server = harness.add_server("s1", 1, false).await;
    let agent = Agent::Answers(sight(1, "1.0.0"));
    harness.agents.arrange(address(&server), agent);
    harness.service.servers.refresh(server.key).await.unwrap();
    let done = mappings.remap(origin.clone()).await.unwrap();
    assert_eq!((done.looked_at, done.mapped), (4, 2));
    let expected = Some(MappingCause {
        origin: origin.clone(),
        reason: None,
    });
    let mut mapped = 0;
    for server in servers(&harness).await {
        for change in history(&harness, server).await {
            assert_eq!(
                (change.action, &change.cause),
                (MappingAction::Created, &expected)
            );
            mapped += 1;
        }
    }
    assert_eq!(mapped, 2);
    let rest = mappings.remap(origin).await.unwrap();
    assert_eq!((rest.looked_at, rest.mapped), (2, 0));
}

#[tokio::test]
async fn what_is_not_there_cannot_be_mapped() {
    let harness = Harness::with_fleet(1).await;
    let (server, application) = (servers(&harness).await[0], harness.applications().await[0]);
    let mappings = &harness.service.mappings;
    let error = mappings
        .map(Key::new(404), application, cause("ann"))
        .await
        .unwrap_err();
    assert!(matches!(error, MapError::UnknownServer { .. }), "{error:?}");
    let error = mappings
        .map(server, Key::new(404), cause("ann"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, MapError::UnknownApplication { .. }),
        "{error:?}"
    );
    let node = harness.server("lb").await;
    harness
        .service
        .servers
        .set_haproxy_node(node.key, false, &origin())
        .await
        .unwrap();
    let error = mappings
        .map(server, application, cause("ann"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, MapError::Removed { name } if name == "s1_a_1"),
        "{error:?}"
    );
    assert_eq!(error.fault(), Fault::Permanent);
    drover_testkit::store::SideDoor::cut(&harness.store).await;
    let error = mappings
        .map(server, application, cause("ann"))
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::Transient);
}

#[tokio::test]
async fn a_summary_tells_what_a_breaker_means_now() {
    let harness = Harness::with_fleet(2).await;
    let policy = BreakerPolicy::default();
    let store: &dyn HaproxyActions = &harness.store;
    let opened = harness.clock.now();
    let summary = harness.service.mappings.summary().await.unwrap();
    assert_eq!(summary.breakers, [(BreakerState::Closed, None)]);
    assert_eq!(
        (
            summary.numbers.servers.up,
            summary.numbers.unmapped,
            summary.min_ready
        ),
        (2, 0, 1)
    );
    let instance = summary.numbers.breakers[0].instance;
    for _ in 0..policy.failures {
        store
            .record_answer(instance, policy, false, opened)
            .await
            .unwrap();
    }
    let summary = harness.service.mappings.summary().await.unwrap();
    let until = opened.after(policy.open_for);
    assert_eq!(summary.breakers, [(BreakerState::Open, Some(until))]);
    store.admit(instance, policy, until).await.unwrap();
    let summary = harness.service.mappings.summary().await.unwrap();
    let later = until.after(policy.open_for);
    assert_eq!(summary.breakers, [(BreakerState::HalfOpen, Some(later))]);
}

#[tokio::test]
async fn a_server_that_becomes_a_node_is_synced_at_once() {
    let harness = Harness::with_fleet(1).await;
    let plain = harness.add_server("lb2", 201, false).await;
    let members = vec![haproxy_server(1, "UP")];
    let agent = Agent::Answers(haproxy_sight(members));
    harness.agents.arrange(address(&plain), agent);
    let services = &harness.service.servers;
    let node = services
        .set_haproxy_node(plain.key, true, &origin())
        .await
        .unwrap();
    let node = node.unwrap();
    assert!(node.server.is_haproxy_node);
    assert_eq!((node.instances.len(), node.error), (1, None));
    assert_eq!(
        (node.instances[0].backends, node.instances[0].last_sync),
        (1, Some(harness.clock.now()))
    );
    let found = servers(&harness).await;
    assert_eq!(found.len(), 2);
    let active = mapping(&harness, found[1]).await.active.unwrap();
    assert_eq!(active.basis, MappingBasis::Address);

    let off = services
        .set_haproxy_node(plain.key, false, &origin())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((off.server.is_haproxy_node, off.instances), (false, vec![]));
    // A sync that began before it was switched off.
    let known = HaproxyStore::load(&harness.store, node.instances[0].key);
    assert!(!known.await.unwrap().unwrap().instance.is_active);
    let synced = harness
        .service
        .actions
        .sync(node.instances[0].key)
        .await
        .unwrap();
    assert!(!synced.unwrap().is_active);

    harness
        .agents
        .arrange(address(&plain), Agent::SpeaksNonsense);
    let node = services
        .set_haproxy_node(plain.key, true, &origin())
        .await
        .unwrap()
        .unwrap();
    assert!(node.server.is_haproxy_node && node.instances.is_empty());
    assert!(node.error.is_some());
    assert_eq!(
        services
            .set_haproxy_node(Key::new(404), true, &origin())
            .await
            .unwrap(),
        None
    );
}

// Applications as an agent reports them: name, address, port 8080.
fn claims(claims: &[(&str, &str)]) -> Sight {
    let application = |(name, address): &(&str, &str)| ObservedApplication {
        name: (*name).to_owned(),
        address: Some((*address).to_owned()),
        ..sight(1, "1.0.0").applications.remove(0)
    };
    Sight {
        applications: claims.iter().map(application).collect(),
        ..Sight::default()
    }
}

async fn poll(harness: &Harness, server: &str, told: Sight) {
    let server = harness.server(server).await;
    harness
        .agents
        .arrange(address(&server), Agent::Answers(told));
    harness.service.servers.refresh(server.key).await.unwrap();
}

async fn application(harness: &Harness, name: &str) -> ApplicationKey {
    let filter = ApplicationFilter {
        name: Some(name.to_owned()),
        ..ApplicationFilter::default()
    };
    let page = harness.store.applications(&filter, PageRequest::first());
    page.await.unwrap().items[0].key
}

/// Containers with addresses of Docker on `s1` and `s2`, and a server `evil` whose agent claims the addresses of both.
async fn hijacked() -> Harness {
    let harness = Harness::new();
    for number in [1, 2] {
        harness
            .add_server(&format!("s{number}"), number, false)
            .await;
        let name = format!("shop_{number}");
        poll(
            &harness,
            &format!("s{number}"),
            claims(&[(&name, "172.17.0.2")]),
        )
        .await;
    }
    harness.add_server("evil", 66, false).await;
    poll(
        &harness,
        "evil",
        claims(&[
            ("a_1", "10.0.0.1"),
            ("a_2", "10.0.0.2"),
            ("a_3", "10.0.0.3"),
        ]),
    )
    .await;
    let lb = harness.add_server("lb", 200, true).await;
    let shown = [("s1_shop_1", 1), ("s2_shop_2", 2), ("s3_shop_3", 3)];
    let members = shown.map(|(name, number)| ObservedServer {
        name: name.to_owned(),
        ..haproxy_server(number, "UP")
    });
    let sight = haproxy_sight(members.to_vec());
    harness.agents.arrange(address(&lb), Agent::Answers(sight));
    sync(&harness).await;
    harness
}

#[tokio::test]
async fn an_agent_cannot_take_over_the_mappings_of_other_servers() {
    let harness = hijacked().await;
    let keys = servers(&harness).await;
    for (key, name) in [(keys[0], "shop_1"), (keys[1], "shop_2")] {
        let active = mapping(&harness, key).await.active.unwrap();
        assert_eq!(active.application, application(&harness, name).await);
        assert_eq!(active.basis, MappingBasis::Name);
    }
    assert_eq!(mapping(&harness, keys[2]).await.active, None);
    let page = harness
        .service
        .mappings
        .unmapped(&UnmappedFilter::default(), PageRequest::first())
        .await
        .unwrap();
    let [(server, Some(reason))] = page.items.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(server.server.observed.name, "s3_shop_3");
    assert!(reason.contains("`a_3` on evil"), "{reason}");
}

#[tokio::test]
async fn a_mapping_that_breaks_the_rule_ends_at_the_next_sync() {
    let harness = hijacked().await;
    let keys = servers(&harness).await;
    // As an earlier version of the rule made them; the third by hand.
    let (first, third) = (
        application(&harness, "a_1").await,
        application(&harness, "a_3").await,
    );
    let wrong = NewMapping {
        server: keys[0],
        application: first,
        basis: MappingBasis::Address,
        at: harness.clock.now(),
        cause: None,
    };
    HaproxyStore::map(&harness.store, &[wrong]).await.unwrap();
    let mappings = &harness.service.mappings;
    mappings.map(keys[2], third, cause("ann")).await.unwrap();
    sync(&harness).await;
    let active = mapping(&harness, keys[0]).await.active.unwrap();
    assert_eq!(active.application, application(&harness, "shop_1").await);
    let changes = history(&harness, keys[0]).await;
    let last: Vec<_> = changes
        .iter()
        .take(2)
        .map(|change| (change.action, change.application))
        .collect();
    assert_eq!(last[1], (MappingAction::Deactivated, first));
    let by_hand = mapping(&harness, keys[2]).await.active.unwrap();
    assert_eq!(
        (by_hand.application, by_hand.basis),
        (third, MappingBasis::Manual)
    );
}

#[tokio::test]
async fn a_network_that_is_declared_for_a_server_counts_and_stops_counting() {
    let harness = hijacked().await;
    let keys = servers(&harness).await;
    let third = application(&harness, "a_3").await;
    let declare = async |networks: &[&str]| {
        let evil = harness.server("evil").await;
        let place = ServerPlace {
            networks: Network::parse_all(networks.iter().copied()).unwrap(),
            ..evil.place()
        };
        let servers = &harness.service.servers;
        servers
            .change(&evil, &place, &origin())
            .await
            .unwrap()
            .unwrap();
        sync(&harness).await;
    };
    declare(&["10.0.0.3/32"]).await;
    let active = mapping(&harness, keys[2]).await.active.unwrap();
    assert_eq!(
        (active.application, active.basis),
        (third, MappingBasis::Address)
    );
    declare(&[]).await;
    assert_eq!(mapping(&harness, keys[2]).await.active, None);
}
