//! What [`HaproxyMappings`](drover_ports::HaproxyMappings) promises.

use drover_domain::fleet::ApplicationKey;
use drover_domain::haproxy::{
    ActiveMapping, Exclusion, HaproxyInstanceKey, HaproxyServer, HaproxyServerKey, MappingAction,
    MappingBasis, ServerMapping,
};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    MapOutcome, MappingCause, MappingChange, NewMapping, UnmappedFilter, UnmappedServer,
};

use super::{ALL, two_after};
use crate::store::World;
use crate::store::fixtures::mappings::{by_hand, cause, unmapping};
use crate::store::fixtures::{HOSTILE, at, fleet, haproxy, haproxy_server, sync as synced};

/// An HAProxy with `srv1`, and two applications.
async fn scene(world: &World) -> (HaproxyInstanceKey, HaproxyServerKey, Vec<ApplicationKey>) {
    let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
    let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
    (instance, servers(world, instance).await[0].key, keys)
}

async fn servers(world: &World, instance: HaproxyInstanceKey) -> Vec<HaproxyServer> {
    world
        .haproxy()
        .load(instance)
        .await
        .unwrap()
        .unwrap()
        .servers
}

fn found(
    server: HaproxyServerKey,
    application: ApplicationKey,
    cause: Option<MappingCause>,
) -> NewMapping {
    NewMapping {
        server,
        application,
        basis: MappingBasis::Address,
        at: at(5),
        cause,
    }
}

fn mapped(
    server: HaproxyServerKey,
    application: ApplicationKey,
    basis: MappingBasis,
    at: Timestamp,
) -> ServerMapping {
    ServerMapping {
        server,
        active: Some(ActiveMapping {
            application,
            basis,
            at,
        }),
        exclusion: None,
    }
}

fn unmapped(server: HaproxyServerKey, excluded_at: Option<Timestamp>) -> ServerMapping {
    ServerMapping {
        server,
        active: None,
        exclusion: excluded_at.map(|at| Exclusion {
            at,
            actor: "bob".to_owned(),
            reason: Some(HOSTILE.to_owned()),
        }),
    }
}

async fn find(world: &World, server: HaproxyServerKey) -> ServerMapping {
    world.mappings().find(server).await.unwrap().unwrap()
}

/// The whole history, newest first.
async fn history(world: &World, server: HaproxyServerKey) -> Vec<MappingChange> {
    let page = world.mappings().history(server, ALL).await.unwrap();
    page.unwrap().items
}

contract! { $ haproxy_mappings => haproxy_mappings_contract for World;
    /// A manual mapping replaces any other, with a history row for each step with actor and reason.
    async fn a_mapping_by_hand_takes_the_place_of_any_other(world) {
        let (_, srv1, keys) = scene(world).await;
        assert_eq!(find(world, srv1).await, unmapped(srv1, None));
        world.haproxy().map(&[found(srv1, keys[0], None)]).await.unwrap();
        assert_eq!(find(world, srv1).await, mapped(srv1, keys[0], MappingBasis::Address, at(5)));
        for (application, now) in [(keys[1], 6), (keys[0], 7)] {
            let outcome = world.mappings().map_by_hand(&by_hand(srv1, application, at(now))).await.unwrap();
            let expected = mapped(srv1, application, MappingBasis::Manual, at(now));
            assert_eq!(outcome, MapOutcome::Mapped(expected.clone()));
            assert_eq!(find(world, srv1).await, expected);
        }
        let told: Vec<_> = history(world, srv1)
            .await
            .into_iter()
            .map(|change| (change.action, change.application, change.basis, change.at, change.cause))
            .collect();
        let ann = Some(cause("ann"));
        let (manual, address) = (MappingBasis::Manual, MappingBasis::Address);
        let expected = [
            (MappingAction::Activated, keys[0], manual, at(7), ann.clone()),
            (MappingAction::Deactivated, keys[1], manual, at(7), ann.clone()),
            (MappingAction::Created, keys[1], manual, at(6), ann.clone()),
            (MappingAction::Deactivated, keys[0], address, at(6), ann),
            (MappingAction::Created, keys[0], address, at(5), None),
        ];
        assert_eq!(told, expected);
    }

    /// What is mapped by hand already stays as it is, without a history row; what a sync mapped becomes manual.
    async fn the_same_mapping_by_hand_again_changes_nothing(world) {
        let (_, srv1, keys) = scene(world).await;
        world.haproxy().map(&[found(srv1, keys[0], None)]).await.unwrap();
        for now in [6, 7, 8] {
            let outcome = world.mappings().map_by_hand(&by_hand(srv1, keys[0], at(now))).await.unwrap();
            assert_eq!(outcome, MapOutcome::Mapped(mapped(srv1, keys[0], MappingBasis::Manual, at(6))));
        }
        let actions: Vec<_> = history(world, srv1).await.into_iter().map(|change| change.action).collect();
        assert_eq!(actions, [MappingAction::Updated, MappingAction::Created]);
    }

    /// A sync leaves a manual mapping alone.
    async fn a_mapping_by_hand_outlasts_a_sync(world) {
        let (_, srv1, keys) = scene(world).await;
        world.mappings().map_by_hand(&by_hand(srv1, keys[1], at(6))).await.unwrap();
        assert_eq!(world.haproxy().map(&[found(srv1, keys[0], None)]).await.unwrap(), 0);
        assert_eq!(find(world, srv1).await, mapped(srv1, keys[1], MappingBasis::Manual, at(6)));
        assert_eq!(history(world, srv1).await.len(), 1);
    }

    /// What is not there is not mapped, and nothing changes.
    async fn what_is_not_there_is_not_mapped(world) {
        let (instance, srv1, keys) = scene(world).await;
        let map = async |server, application| {
            let wanted = by_hand(server, application, at(6));
            world.mappings().map_by_hand(&wanted).await.unwrap()
        };
        assert_eq!(map(Key::new(404), keys[0]).await, MapOutcome::NoServer);
        assert_eq!(map(Key::new(404), Key::new(404)).await, MapOutcome::NoServer);
        assert_eq!(map(srv1, Key::new(404)).await, MapOutcome::NoApplication);
        assert_eq!(world.mappings().unmap(&unmapping(Key::new(404), true, at(6))).await.unwrap(), None);
        assert_eq!(world.mappings().find(Key::new(404)).await.unwrap(), None);
        assert_eq!(world.mappings().history(Key::new(404), ALL).await.unwrap(), None);
        synced(world, instance, &[("be", &[])], at(10)).await;
        let removed = MapOutcome::Removed("srv1".to_owned());
        assert_eq!(map(srv1, keys[0]).await, removed);
        synced(world, instance, &[("be", &[haproxy_server("srv1", "UP")])], at(11)).await;
        let node = world.haproxy().load(instance).await.unwrap().unwrap().instance.server;
        world.haproxy().record_instances(node, &[], at(12)).await.unwrap();
        assert_eq!(map(srv1, keys[0]).await, removed);
        assert_eq!((find(world, srv1).await, history(world, srv1).await), (unmapped(srv1, None), vec![]));
    }

    /// An unmapping ends any mapping, of a server that left HAProxy too, with a history row with actor and reason.
    async fn an_unmapping_ends_any_mapping(world) {
        let (instance, srv1, keys) = scene(world).await;
        for exclude in [true, false] {
            world.mappings().map_by_hand(&by_hand(srv1, keys[0], at(6))).await.unwrap();
            let after = world.mappings().unmap(&unmapping(srv1, exclude, at(7))).await.unwrap();
            assert_eq!(after, Some(unmapped(srv1, exclude.then(|| at(7)))));
            let newest = history(world, srv1).await.remove(0);
            let told = (newest.action, newest.application, newest.basis, newest.at, newest.cause);
            let expected = (MappingAction::Deactivated, keys[0], MappingBasis::Manual, at(7), Some(cause("bob")));
            assert_eq!(told, expected);
        }
        world.haproxy().map(&[found(srv1, keys[0], None)]).await.unwrap();
        synced(world, instance, &[("be", &[])], at(10)).await;
        world.mappings().unmap(&unmapping(srv1, true, at(11))).await.unwrap();
        assert_eq!(find(world, srv1).await, unmapped(srv1, Some(at(11))));
        assert_eq!(history(world, srv1).await[0].basis, MappingBasis::Address);
        // What returns is as it was left.
        synced(world, instance, &[("be", &[haproxy_server("srv1", "UP")])], at(12)).await;
        assert_eq!(world.haproxy().map(&[found(srv1, keys[0], None)]).await.unwrap(), 0);
        assert_eq!(find(world, srv1).await, unmapped(srv1, Some(at(11))));
    }

    /// An exclusion stays as it is when it is asked for again, and ends when it is not wanted or by a mapping by hand.
    async fn an_exclusion_lasts_until_it_is_ended(world) {
        let (_, srv1, keys) = scene(world).await;
        for now in [6, 7] {
            let after = world.mappings().unmap(&unmapping(srv1, true, at(now))).await.unwrap();
            assert_eq!(after, Some(unmapped(srv1, Some(at(6)))));
        }
        let after = world.mappings().unmap(&unmapping(srv1, false, at(8))).await.unwrap();
        assert_eq!(after, Some(unmapped(srv1, None)));
        // Without a mapping nothing has ended.
        assert_eq!(history(world, srv1).await, []);
        world.mappings().unmap(&unmapping(srv1, true, at(9))).await.unwrap();
        let outcome = world.mappings().map_by_hand(&by_hand(srv1, keys[0], at(10))).await.unwrap();
        assert_eq!(outcome, MapOutcome::Mapped(mapped(srv1, keys[0], MappingBasis::Manual, at(10))));
    }

    /// The history of a server is its own and goes from the newest to the oldest, page by page; mappings of one
    /// request have its actor.
    async fn the_history_goes_from_the_newest_to_the_oldest(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        let both = ["srv1", "srv2"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &both)]).await;
        let servers = servers(world, instance).await;
        let wish = MappingCause { reason: None, ..cause("eve") };
        let wanted = [servers[0].key, servers[1].key].map(|server| found(server, keys[0], Some(wish.clone())));
        world.haproxy().map(&wanted).await.unwrap();
        let srv1 = servers[0].key;
        world.mappings().map_by_hand(&by_hand(srv1, keys[1], at(6))).await.unwrap();
        world.mappings().unmap(&unmapping(srv1, true, at(7))).await.unwrap();
        let first = world.mappings().history(srv1, two_after(None)).await.unwrap().unwrap();
        let rest = world.mappings().history(srv1, two_after(first.next)).await.unwrap().unwrap();
        assert_eq!((first.next, rest.next), (Some(first.items[1].position), None));
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        assert_eq!(all, history(world, srv1).await);
        let told: Vec<_> = all.iter().map(|change| (change.action, change.application)).collect();
        let expected = [
            (MappingAction::Deactivated, keys[1]),
            (MappingAction::Created, keys[1]),
            (MappingAction::Deactivated, keys[0]),
            (MappingAction::Created, keys[0]),
        ];
        assert_eq!(told, expected);
        assert_eq!(all[3].cause, Some(wish));
        assert_eq!(history(world, servers[1].key).await.len(), 1);
    }

    /// Unmapped servers are sorted by key, in pages, with their place and the author of an exclusion; only those that are
    /// present in active instances are listed.
    async fn unmapped_servers_tell_where_they_are(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let all = ["a", "b", "c", "mapped", "gone"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &all), ("dead", &all[..1])]).await;
        synced(world, instance, &[("be", &all[..4])], at(10)).await;
        let left = haproxy(world, "lb02", &[("be", &all)]).await;
        let node = world.haproxy().load(left).await.unwrap().unwrap().instance.server;
        world.servers().set_haproxy_node(node, false).await.unwrap();
        let present: Vec<_> = servers(world, instance).await.into_iter().filter(|server| server.removed_at.is_none()).collect();
        let named = |name: &str| present.iter().find(|server| server.observed.name == name).unwrap();
        world.mappings().map_by_hand(&by_hand(named("mapped").key, keys[0], at(11))).await.unwrap();
        world.mappings().unmap(&unmapping(named("b").key, true, at(12))).await.unwrap();

        let first = world.mappings().unmapped(&UnmappedFilter::default(), two_after(None)).await.unwrap();
        let rest = world.mappings().unmapped(&UnmappedFilter::default(), two_after(first.next)).await.unwrap();
        assert_eq!((first.items.len(), rest.next), (2, None));
        let found: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        let mut expected: Vec<_> = ["a", "b", "c"].map(|name| UnmappedServer {
            server: named(name).clone(),
            backend_name: "be".to_owned(),
            instance,
            instance_name: "default".to_owned(),
            node_name: "lb01".to_owned(),
            exclusion: if name == "b" { unmapped(named(name).key, Some(at(12))).exclusion } else { None },
        }).into();
        expected.sort_by_key(|server| server.server.key);
        assert_eq!(found, expected);
        let any = UnmappedFilter::default;
        for (filter, count) in [
            (UnmappedFilter { instance: Some(instance), ..any() }, 3),
            (UnmappedFilter { instance: Some(left), ..any() }, 0),
            (UnmappedFilter { like: Some("C".to_owned()), ..any() }, 1),
            (UnmappedFilter { like: Some("BE".to_owned()), ..any() }, 3),
        ] {
            let page = world.mappings().unmapped(&filter, two_after(None)).await.unwrap();
            assert_eq!((page.items.len(), page.next.is_some()), (count.min(2), count > 2), "{filter:?}");
        }
    }

    /// A mapping by hand and a sync at once leave the one by hand.
    async fn a_sync_at_the_same_time_does_not_undo_it(world) {
        let (_, srv1, keys) = scene(world).await;
        let (wanted, found) = (by_hand(srv1, keys[0], at(6)), [found(srv1, keys[1], None)]);
        let (one, other) = tokio::join!(world.mappings().map_by_hand(&wanted), world.haproxy().map(&found));
        assert!(matches!(one.unwrap(), MapOutcome::Mapped(_)));
        assert!(other.unwrap() <= 1);
        assert_eq!(find(world, srv1).await, mapped(srv1, keys[0], MappingBasis::Manual, at(6)));
    }
}
