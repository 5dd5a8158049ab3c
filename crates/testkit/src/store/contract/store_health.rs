//! What [`StoreHealth`](drover_ports::StoreHealth) promises, and every port when the database is away.

use drover_domain::Key;
use drover_domain::access::Role;
use drover_ports::{
    ApplicationFilter, CatalogFilter, Claim, Fault, FleetEventFilter, GroupFilter,
    HaproxyInstanceFilter, HaproxyServerFilter, StoreError, UnmappedFilter,
};

use super::ALL;
use crate::store::fixtures::mappings::{by_hand, unmapping};
use crate::store::fixtures::{api_key, at, new_server, orchestrator, task, task_id, updates};

contract! { $ store_health => store_health_contract for crate::store::World;
    /// A database that is there answers.
    async fn a_database_that_is_there_answers(world) {
        world.health().check().await.unwrap();
    }

    /// Without the database every port says so, and that it may be back later.
    async fn without_a_database_every_port_is_unavailable(world) {
        world.side_door().cut().await;
        let refusals: Vec<Option<StoreError>> = vec![
            world.health().check().await.err(),
            world.servers().add(&new_server("web01"), at(0)).await.err(),
            world.servers().find(Key::new(1)).await.err(),
            world.servers().list(ALL).await.err(),
            world.servers().set_haproxy_node(Key::new(1), true).await.err(),
            world.inventory().load(Key::new(1)).await.err(),
            world.fleet().applications(&ApplicationFilter::default(), ALL).await.err(),
            world.fleet().versions(Key::new(1), ALL).await.err(),
            world.fleet().groups(&GroupFilter::default(), ALL).await.err(),
            world.groups().find(Key::new(1)).await.err(),
            world.catalog().list(&CatalogFilter::default(), ALL).await.err(),
            world.fleet().events(&FleetEventFilter::default(), ALL).await.err(),
            world.snapshots().snapshot(&[Key::new(1)]).await.err(),
            world.haproxy().record_instances(Key::new(1), &[], at(0)).await.err(),
            world.haproxy().load(Key::new(1)).await.err(),
            world.haproxy().candidates().await.err(),
            world.haproxy_view().instances(&HaproxyInstanceFilter::default(), ALL).await.err(),
            world.haproxy_view().servers(Key::new(1), &HaproxyServerFilter::default(), ALL).await.err(),
            world.haproxy_view().summary(1).await.err(),
            world.mappings().map_by_hand(&by_hand(Key::new(1), Key::new(1), at(0))).await.err(),
            world.mappings().unmap(&unmapping(Key::new(1), true, at(0))).await.err(),
            world.mappings().find(Key::new(1)).await.err(),
            world.mappings().history(Key::new(1), ALL).await.err(),
            world.mappings().unmapped(&UnmappedFilter::default(), ALL).await.err(),
            world.orchestrators().record_scan(&[orchestrator("a.yml", "1")], at(0)).await.err(),
            world.orchestrators().list(ALL).await.err(),
            world.rollouts().start(&updates(vec![task(1, &[])])).await.err(),
            world.rollouts().begin(&Claim { task: task_id(1), attempt: 1 }, at(0)).await.err(),
            world.rollout_view().find(task_id(1)).await.err(),
            world.rollout_view().list(&[], ALL).await.err(),
            world.keys().find("1111111111111111").await.err(),
            world.keys().insert_first(&api_key("1111111111111111", Role::Admin)).await.err(),
            world.keys().insert(&api_key("1111111111111111", Role::Admin)).await.err(),
            world.keys().list().await.err(),
            world.keys().configure(None).await.err(),
            world.keys().remove("1111111111111111").await.err(),
        ];
        for (place, refusal) in refusals.into_iter().enumerate() {
            let refusal = refusal.unwrap_or_else(|| panic!("call {place} worked without a database"));
            assert!(matches!(refusal, StoreError::Unavailable { .. }), "call {place}: {refusal:?}");
            assert_eq!(refusal.fault(), Fault::Transient);
        }
    }
}
