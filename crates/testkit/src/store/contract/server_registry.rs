//! What [`ServerRegistry`](drover_ports::ServerRegistry) promises.

use drover_domain::Key;
use drover_domain::fleet::{
    ApplicationStatus, Network, NewServer, Server, ServerPlace, ServerStatus,
};
use drover_domain::haproxy::MappingBasis;
use drover_domain::page::PageRequest;
use drover_ports::{NewMapping, Removal, StoreError};

use super::{ALL, two_after};
use crate::store::fixtures::actions::{action_on, start_actions, take_action};
use crate::store::fixtures::{
    Updater, at, fleet, haproxy, haproxy_server, new_server, task, updates,
};

contract! { $ server_registry => server_registry_contract for crate::store::World;
    /// A short name is taken whatever the domain and the letters, and the refusal names the server that has it.
    async fn a_short_name_is_unique_in_the_fleet(world) {
        let servers = world.servers();
        servers.add(&new_server("web1.msk"), at(0)).await.unwrap();
        for name in ["web1.spb", "web1", "WEB1.spb", "web1.msk.example"] {
            let refusal = servers.add(&new_server(name), at(1)).await.unwrap_err();
            assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "web1.msk"), "{name}: {refusal:?}");
        }
        let other = servers.add(&new_server("web01.spb"), at(2)).await.unwrap();
        let place = ServerPlace { name: "web1.spb".to_owned(), ..other.place() };
        let refusal = servers.change(other.key, &other.place(), &place).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "web1.msk"), "{refusal:?}");
        let place = ServerPlace { name: "WEB01".to_owned(), ..other.place() };
        let renamed = servers.change(other.key, &other.place(), &place).await.unwrap().unwrap();
        assert_eq!(renamed.name, "WEB01");
    }

    /// Two servers that are added at once do not get one short name.
    async fn servers_added_at_once_have_different_short_names(world) {
        let servers = world.servers();
        let new = ["web1.a", "web1.b", "web1.c", "web1.d"].map(new_server);
        let (a, b, c, d) = tokio::join!(
            servers.add(&new[0], at(0)), servers.add(&new[1], at(0)), servers.add(&new[2], at(0)), servers.add(&new[3], at(0)),
        );
        let added = [a, b, c, d].into_iter().flatten().count();
        assert_eq!(added, 1);
    }

    /// Networks are kept, and are part of what people say about a server.
    async fn networks_are_what_people_say(world) {
        let network = |text: &str| Network::parse(text).unwrap();
        let new = new_server("web1").with_networks(vec![network("10.1.0.0/24"), network("fd00::/64")]);
        let added = world.servers().add(&new, at(0)).await.unwrap();
        assert_eq!(added.networks, new.networks());
        let known = added.place();
        let place = ServerPlace { networks: vec![network("10.2.0.0/24")], ..known.clone() };
        let changed = world.servers().change(added.key, &known, &place).await.unwrap().unwrap();
        assert_eq!(changed.networks, place.networks);
        assert_eq!(world.servers().change(added.key, &known, &place).await.unwrap(), None);
        assert_eq!(world.servers().remove(added.key, &known).await.unwrap(), Removal::Changed);
    }

    /// A server that was added is found as it was given, and is not polled yet.
    async fn an_added_server_is_found_and_not_polled_yet(world) {
        let new = NewServer::new("lb01.example", "fe80::1", 65535, true).unwrap();
        let added = world.servers().add(&new, at(3)).await.unwrap();
        assert_eq!((added.name.as_str(), added.address.as_str(), added.port), ("lb01.example", "fe80::1", 65535));
        assert_eq!((added.status, added.is_haproxy_node, added.failures), (ServerStatus::Unknown, true, 0));
        assert_eq!((added.last_check, added.inventory_at, &added.last_error, added.suspect), (None, None, &None, None));
        assert_eq!(added.created_at, at(3));
        assert!(added.key.get() > 0);
        assert_eq!(world.servers().find(added.key).await.unwrap(), Some(added));
    }

    /// A name that is taken is refused, and nothing changes.
    async fn a_taken_name_is_refused(world) {
        let first = world.servers().add(&new_server("web01"), at(0)).await.unwrap();
        let again = NewServer::new("web01", "10.9.9.9", 1, true).unwrap();
        let refusal = world.servers().add(&again, at(1)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "web01"), "{refusal:?}");
        assert_eq!(world.servers().list(ALL).await.unwrap().items, [first]);
    }

    /// Of several that add one name at once, one does.
    async fn one_name_is_added_once_however_many_try(world) {
        let new = new_server("web01");
        let add = || world.servers().add(&new, at(0));
        let (a, b, c, d) = tokio::join!(add(), add(), add(), add());
        let added = [&a, &b, &c, &d].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(added, 1, "{a:?} {b:?} {c:?} {d:?}");
        assert_eq!(world.servers().list(ALL).await.unwrap().items.len(), 1);
    }

    /// A server that is not there is absent.
    async fn an_unknown_server_is_absent(world) {
        assert_eq!(world.servers().find(Key::new(404)).await.unwrap(), None);
        for is_haproxy_node in [true, false] {
            let absent = world.servers().set_haproxy_node(Key::new(404), is_haproxy_node).await.unwrap();
            assert_eq!(absent, None);
        }
    }

    /// What people say about a server is changed if it is still as they knew it; another place is another agent.
    async fn a_server_is_changed_if_it_is_as_it_was_known(world) {
        let (server, _) = fleet(world, "app01", &["jurws_1"]).await;
        world.servers().add(&new_server("app02"), at(0)).await.unwrap();
        let polled = world.servers().find(server.key).await.unwrap().unwrap();
        let known = polled.place();
        let renamed = ServerPlace { name: "app01.example".to_owned(), ..known.clone() };
        let changed = world.servers().change(server.key, &known, &renamed).await.unwrap().unwrap();
        assert_eq!(changed, Server { name: "app01.example".to_owned(), ..polled.clone() });
        assert_eq!(world.servers().change(server.key, &known, &renamed).await.unwrap(), None, "somebody else did");
        let moved = ServerPlace { port: 1, ..renamed.clone() };
        let changed = world.servers().change(server.key, &renamed, &moved).await.unwrap().unwrap();
        assert_eq!((changed.port, changed.status, changed.failures), (1, ServerStatus::Unknown, 0));
        assert_eq!(world.servers().find(server.key).await.unwrap(), Some(changed.clone()));
        let taken = ServerPlace { name: "app02".to_owned(), ..moved.clone() };
        let refusal = world.servers().change(server.key, &moved, &taken).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "app02"), "{refusal:?}");
        assert_eq!(world.servers().find(server.key).await.unwrap(), Some(changed));
        assert_eq!(world.servers().change(Key::new(404), &moved, &taken).await.unwrap(), None);
    }

    /// A removed server leaves its applications without a server and with their history; its HAProxy is gone.
    async fn a_removed_server_leaves_its_applications(world) {
        let (server, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("a", "UP")])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let mapping = NewMapping {
            server: known.servers[0].key,
            application: keys[0],
            basis: MappingBasis::Name,
            at: at(9),
            cause: None,
        };
        world.haproxy().map(&[mapping]).await.unwrap();
        let node = world.servers().find(known.instance.server).await.unwrap().unwrap();
        let other = ServerPlace { port: 9, ..node.place() };
        assert_eq!(world.servers().remove(node.key, &other).await.unwrap(), Removal::Changed, "it is not as it was known");
        assert_eq!(world.servers().remove(node.key, &node.place()).await.unwrap(), Removal::Done);
        assert_eq!(world.servers().remove(node.key, &node.place()).await.unwrap(), Removal::Changed);
        assert_eq!(world.haproxy().load(instance).await.unwrap(), None);
        assert_eq!(world.mappings().find(known.servers[0].key).await.unwrap(), None);

        let before = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!(world.servers().remove(server.key, &server.place()).await.unwrap(), Removal::Done);
        let after = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!((after.server, after.observed.status, after.last_seen), (None, ApplicationStatus::NoData, before.last_seen));
        assert_eq!(after.group, before.group);
        assert!(world.fleet().versions(keys[0], ALL).await.unwrap().is_some());
        assert_eq!(world.servers().list(ALL).await.unwrap().items, []);
        // Its name is free again.
        world.servers().add(&new_server("app01"), at(20)).await.unwrap();
    }

    /// A server on which something has not ended stays, and what is under way is counted: updates of what runs on it or is
    /// served by its HAProxy, and actions on servers in its HAProxy.
    async fn a_server_stays_while_something_is_under_way_on_it(world) {
        let (server, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let (other, _) = fleet(world, "app02", &["jurws_2"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("a", "UP")])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let node = world.servers().find(known.instance.server).await.unwrap().unwrap();
        let mapping = NewMapping {
            server: known.servers[0].key,
            application: keys[0],
            basis: MappingBasis::Name,
            at: at(9),
            cause: None,
        };
        world.haproxy().map(&[mapping]).await.unwrap();
        world.rollouts().start(&updates(vec![task(1, &keys)])).await.unwrap();
        start_actions(world, &[action_on(2, &known.servers[0])]).await;
        let remove = async |server: Server| world.servers().remove(server.key, &server.place()).await.unwrap();
        assert_eq!(remove(server.clone()).await, Removal::UnderWay { updates: 1, actions: 0 });
        assert_eq!(remove(node.clone()).await, Removal::UnderWay { updates: 1, actions: 1 });
        assert_eq!(remove(other).await, Removal::Done, "nothing is under way on it");
        assert_eq!(world.servers().find(server.key).await.unwrap(), Some(server.clone()));
        assert!(world.fleet().application(keys[0]).await.unwrap().unwrap().server.is_some());

        let worker = Updater::open(world.queue(), 1).await;
        let claim = worker.take().await;
        assert_eq!(remove(server.clone()).await, Removal::UnderWay { updates: 1, actions: 0 });
        worker.succeed(&claim).await;
        assert_eq!(remove(server).await, Removal::Done);
        assert_eq!(remove(node.clone()).await, Removal::UnderWay { updates: 0, actions: 1 });
        let claim = take_action(&worker).await;
        worker.succeed(&claim).await;
        assert_eq!(remove(node).await, Removal::Done);
    }

    /// A server is found by its full name and by its short one.
    async fn a_server_is_found_by_its_name(world) {
        let mut keys = Vec::new();
        for name in ["web01.example", "web02", "web_3.example", "webx3"] {
            keys.push(world.servers().add(&new_server(name), at(0)).await.unwrap().key);
        }
        for (name, found) in [
            ("web01", Some(0)),
            ("WEB01.example", Some(0)),
            ("web01.other", None),
            ("WEB02.example", Some(1)),
            ("10.0.0.9", None),
            ("10.0.0.5", None),
            ("10", None),
            ("web_3", Some(2)),
            ("web", None),
            ("web0", None),
            ("%", None),
        ] {
            let called = world.servers().find_by_name(name).await.unwrap();
            assert_eq!(called.map(|server| server.key), found.map(|place: usize| keys[place]), "{name}");
        }
    }

    /// Whether a server is an HAProxy node can be said at any time; nothing else of it changes, nor any other server.
    async fn a_server_becomes_an_haproxy_node_and_none_again(world) {
        let added = world.servers().add(&new_server("web01"), at(0)).await.unwrap();
        let other = world.servers().add(&new_server("web02"), at(0)).await.unwrap();
        for is_haproxy_node in [true, true, false, false] {
            let expected = Server { is_haproxy_node, ..added.clone() };
            let told = world.servers().set_haproxy_node(added.key, is_haproxy_node).await.unwrap();
            assert_eq!(told.as_ref(), Some(&expected));
            assert_eq!(world.servers().list(ALL).await.unwrap().items, [expected, other.clone()]);
        }
    }

    /// The instances of a server that is no longer a node are not active, those of others are.
    async fn instances_end_with_their_node(world) {
        let instance = haproxy(world, "lb01", &[]).await;
        let kept = haproxy(world, "lb02", &[]).await;
        let node = world.haproxy().load(instance).await.unwrap().unwrap().instance.server;
        world.servers().set_haproxy_node(node, false).await.unwrap();
        assert_eq!(world.haproxy().active_instances(node).await.unwrap(), []);
        assert!(!world.haproxy().load(instance).await.unwrap().unwrap().instance.is_active);
        assert!(world.haproxy().load(kept).await.unwrap().unwrap().instance.is_active);
        // They return when the agent lists them again, not before.
        world.servers().set_haproxy_node(node, true).await.unwrap();
        assert_eq!(world.haproxy().active_instances(node).await.unwrap(), []);
    }

    /// The list goes by key, page by page, to its end.
    async fn the_list_goes_by_key(world) {
        let mut added = Vec::new();
        for name in ["c", "a", "b"] {
            added.push(world.servers().add(&new_server(name), at(0)).await.unwrap());
        }
        let first = world.servers().list(two_after(None)).await.unwrap();
        assert_eq!((first.items.as_slice(), first.next), (&added[..2], Some(added[1].key.get())));
        let rest = world.servers().list(two_after(first.next)).await.unwrap();
        assert_eq!((rest.items.as_slice(), rest.next), (&added[2..], None));
    }

    /// A page never has more items than pages may have.
    async fn a_page_has_a_greatest_size(world) {
        for number in 0..=PageRequest::LIMIT_MAX {
            world.servers().add(&new_server(&format!("web{number}")), at(0)).await.unwrap();
        }
        let page = world.servers().list(PageRequest { after: None, limit: u16::MAX }).await.unwrap();
        assert_eq!(page.items.len(), usize::from(PageRequest::LIMIT_MAX));
        assert!(page.next.is_some());
    }
}
