//! An agent that never lists the same names twice: what is kept of it has a bound.

use drover_domain::fleet::ObservedApplication;
use drover_domain::fleet::inventory::{
    APPLICATIONS_PER_SERVER_MAX, InventoryReport, KNOWN_PER_SERVER_MAX, PollPolicy, Reconciled,
    reconcile,
};
use drover_domain::page::PageRequest;
use drover_ports::{FleetView, GroupFilter, InventoryStore, ServerRegistry};
use drover_testkit::store::fixtures::{at, new_server, observed};

use crate::support::sqlite;

#[tokio::test]
async fn new_names_again_and_again_have_a_bound() {
    let scene = sqlite().await;
    let store = &scene.store;
    let server = store.add(&new_server("app01"), at(0)).await.unwrap().key;
    let policy = PollPolicy {
        suspect_percent: 100,
        ..PollPolicy::default()
    };
    for poll in 1..=4 {
        let known = InventoryStore::load(store, server).await.unwrap().unwrap();
        assert!(known.applications.len() <= APPLICATIONS_PER_SERVER_MAX);
        let applications: Vec<ObservedApplication> = (0..APPLICATIONS_PER_SERVER_MAX)
            .map(|number| observed(&format!("p{poll}-{number}"), Some("1")))
            .collect();
        let report = InventoryReport {
            applications,
            ..InventoryReport::default()
        };
        let Reconciled::Apply(change) = reconcile(&known, &report, policy, at(poll)) else {
            panic!("held")
        };
        InventoryStore::store(store, &change).await.unwrap();
    }
    let known = InventoryStore::load(store, server).await.unwrap().unwrap();
    assert_eq!(known.applications.len(), APPLICATIONS_PER_SERVER_MAX);
    assert_eq!(
        known.gone,
        KNOWN_PER_SERVER_MAX - APPLICATIONS_PER_SERVER_MAX
    );
    let reason = known.server.last_error.unwrap();
    assert!(reason.contains("more than 20000 applications"), "{reason}");
    // Only what the new server listed first has groups: no name after that has stayed.
    let filter = GroupFilter {
        like: Some("p2-".to_owned()),
        ..GroupFilter::default()
    };
    let groups = store.groups(&filter, PageRequest::first()).await.unwrap();
    assert_eq!(groups.items, []);
}
