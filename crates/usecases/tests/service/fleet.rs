//! Polling and syncing: what agents say becomes what is stored.

use drover_domain::fleet::{ApplicationStatus, ServerStatus};
use drover_domain::page::PageRequest;
use drover_testkit::agent::{Agent, Sight};
use drover_usecases::{
    ApplicationFilter, BackendFilter, FleetEventFilter, FleetView, HaproxyInstanceFilter,
    HaproxyServerFilter, HaproxyView, PollOutcome,
};

use crate::harness::{Harness, address, sight};

#[tokio::test]
async fn a_first_poll_is_stored_and_the_same_again_changes_nothing() {
    let harness = Harness::new();
    let server = harness.add_server("s1", 1, false).await;
    harness
        .agents
        .arrange(address(&server), Agent::Answers(sight(1, "1.0.0")));
    let first = harness
        .service
        .servers
        .refresh(server.key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.outcome, first.applications, first.server.status),
        (PollOutcome::Stored, 1, ServerStatus::Online)
    );
    let again = harness
        .service
        .servers
        .refresh(server.key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.outcome, PollOutcome::Unchanged);
    let page = harness
        .store
        .applications(&ApplicationFilter::default(), PageRequest::first())
        .await
        .unwrap();
    assert_eq!(
        page.items[0].group.as_ref().map(|(_, name)| name.as_str()),
        Some("a")
    );
}

#[tokio::test]
async fn an_agent_that_does_not_answer_twice_makes_its_server_offline() {
    let harness = Harness::with_fleet(1).await;
    let server = harness.server("s1").await;
    harness.agents.remove(&address(&server));
    let first = harness
        .service
        .servers
        .refresh(server.key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.outcome, first.server.status),
        (PollOutcome::Unreachable, ServerStatus::Online)
    );
    let second = harness
        .service
        .servers
        .refresh(server.key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.server.status, ServerStatus::Offline);
    assert!(
        second
            .detail
            .is_some_and(|detail| detail.contains("10.0.0.1:5000"))
    );
    let page = harness
        .store
        .applications(&ApplicationFilter::default(), PageRequest::first())
        .await
        .unwrap();
    assert_eq!(page.items[0].observed.status, ApplicationStatus::NoData);
}

#[tokio::test]
async fn what_this_node_lacks_is_no_silence_of_an_agent() {
    let harness = Harness::with_fleet(1).await;
    let before = harness.server("s1").await;
    harness.agents.starve(true);
    for _ in 0..3 {
        let polled = harness.service.servers.refresh(before.key).await;
        let polled = polled.unwrap().unwrap();
        assert_eq!(polled.outcome, PollOutcome::NotAsked);
        let detail = polled.detail.unwrap();
        assert!(detail.contains("too many open files"), "{detail}");
    }
    assert_eq!(harness.server("s1").await, before);
    harness.agents.starve(false);
    let polled = harness.service.servers.refresh(before.key).await;
    assert_eq!(polled.unwrap().unwrap().outcome, PollOutcome::Unchanged);
}

#[tokio::test]
async fn an_unreadable_answer_keeps_the_inventory() {
    let harness = Harness::with_fleet(1).await;
    let server = harness.server("s1").await;
    harness
        .agents
        .arrange(address(&server), Agent::SpeaksNonsense);
    for _ in 0..3 {
        harness
            .service
            .servers
            .refresh(server.key)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(harness.applications().await.len(), 1);
    assert!(harness.server("s1").await.last_error.is_some());
}

#[tokio::test]
async fn an_unknown_server_is_none() {
    let harness = Harness::new();
    assert_eq!(
        harness
            .service
            .servers
            .refresh(drover_domain::Key::new(77))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn servers_in_haproxy_are_mapped_to_their_applications() {
    let harness = Harness::with_fleet(2).await;
    let instances = HaproxyView::instances(
        &harness.store,
        &HaproxyInstanceFilter::default(),
        PageRequest::first(),
    )
    .await
    .unwrap();
    let backends = harness
        .store
        .backends(
            instances.items[0].key,
            &BackendFilter::default(),
            PageRequest::first(),
        )
        .await
        .unwrap()
        .unwrap();
    let backend = backends.items[0].key;
    let servers = HaproxyView::servers(
        &harness.store,
        backend,
        &HaproxyServerFilter::default(),
        PageRequest::first(),
    )
    .await
    .unwrap()
    .unwrap();
    let mapped: Vec<_> = servers
        .items
        .iter()
        .map(|server| server.application)
        .collect();
    let applications = harness.applications().await;
    assert_eq!(
        mapped,
        applications.into_iter().map(Some).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_answer_of_another_server_is_not_believed() {
    let harness = Harness::with_fleet(2).await;
    let server = harness.server("s1").await;
    for (told, is_believed) in [
        (Some("s1.example"), true),
        (Some("whatever"), true),
        (None, true),
        (Some("s2"), false),
        (Some("S2.example"), false),
    ] {
        let sight = Sight {
            server: told.map(str::to_owned),
            ..sight(1, "1.0.0")
        };
        harness
            .agents
            .arrange(address(&server), Agent::Answers(sight));
        let refreshed = harness
            .service
            .servers
            .refresh(server.key)
            .await
            .unwrap()
            .unwrap();
        let is_read = refreshed.outcome != PollOutcome::Unreadable;
        assert_eq!(is_read, is_believed, "{told:?}: {refreshed:?}");
    }
    let error = harness.server("s1").await.last_error.unwrap();
    assert!(
        error.contains("S2.example") && error.contains("not s1"),
        "{error}"
    );
    assert_eq!(harness.applications().await.len(), 2);
}

#[tokio::test]
async fn a_server_whose_inventory_never_comes_ages_to_no_data() {
    let harness = Harness::with_fleet(1).await;
    let server = harness.server("s1").await;
    harness
        .agents
        .arrange(address(&server), Agent::SpeaksNonsense);
    let status = async || {
        let page = harness
            .store
            .applications(&ApplicationFilter::default(), PageRequest::first())
            .await
            .unwrap();
        page.items[0].observed.status
    };
    for failures in 1..=6 {
        let refreshed = harness
            .service
            .servers
            .refresh(server.key)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(refreshed.outcome, PollOutcome::Unreadable);
        assert_eq!(refreshed.server.status, ServerStatus::Online);
        assert_eq!(refreshed.server.inventory_failures, failures);
        let expected = if failures < 5 {
            ApplicationStatus::Online
        } else {
            ApplicationStatus::NoData
        };
        assert_eq!(status().await, expected, "poll {failures}");
    }
    let reason = harness.server("s1").await.last_error.unwrap();
    assert!(reason.starts_with("no inventory in 6 polls"), "{reason}");
    harness
        .agents
        .arrange(address(&server), Agent::Answers(sight(1, "1.0.0")));
    harness.service.servers.refresh(server.key).await.unwrap();
    assert_eq!(status().await, ApplicationStatus::Online);
    let filter = FleetEventFilter::default();
    let events = FleetView::events(&harness.store, &filter, PageRequest::first());
    let events = events.await.unwrap().items;
    let told: Vec<&str> = events
        .iter()
        .map(|event| event.event.description.as_str())
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].contains("answers, but no inventory in 5 polls"),
        "{told:?}"
    );
    assert!(told[0].contains("lists its applications again"), "{told:?}");
}

#[tokio::test]
async fn an_application_that_returns_keeps_its_key_and_its_version() {
    let harness = Harness::with_fleet(1).await;
    let server = harness.server("s1").await;
    let before = harness.applications().await;
    for sight in [Sight::default(), Sight::default(), sight(1, "1.0.0")] {
        harness
            .agents
            .arrange(address(&server), Agent::Answers(sight));
        harness.service.servers.refresh(server.key).await.unwrap();
    }
    assert_eq!(harness.applications().await, before);
    let versions = harness.store.versions(before[0], PageRequest::first());
    assert_eq!(versions.await.unwrap().unwrap().items.len(), 1);
}
