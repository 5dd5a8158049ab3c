//! What [`FleetSnapshots`](drover_ports::FleetSnapshots) promises.

use std::collections::BTreeSet;

use drover_domain::Key;
use drover_domain::fleet::{
    ApplicationKey, ApplicationKind, NewServer, ObservedApplication, SettingsLayer,
};
use drover_domain::haproxy::sync::{ObservedBackends, failed, reconcile};
use drover_domain::haproxy::{HaproxyInstanceKey, HaproxyServerKey, MappingBasis, ObservedServer};
use drover_domain::page::PageRequest;
use drover_domain::rollout::snapshot::{
    FleetSnapshot, Target, TargetGroup, TargetHaproxyServer, TargetServer,
};
use drover_ports::{ApplicationFilter, History, NewMapping, Removal};

use crate::store::World;
use crate::store::fixtures::{at, fleet, haproxy, haproxy_server, observed, poll, sync};

fn layer(name: &str) -> SettingsLayer {
    SettingsLayer {
        playbook_path: Some(format!("{name}.yml")),
        artifact_url: Some(format!("http://{name}")),
        artifact_extension: Some(name.to_owned()),
    }
}

async fn server_key(world: &World, instance: HaproxyInstanceKey, name: &str) -> HaproxyServerKey {
    let known = world.haproxy().load(instance).await.unwrap().unwrap();
    known
        .servers
        .into_iter()
        .find(|server| server.observed.name == name)
        .unwrap()
        .key
}

async fn map(world: &World, server: HaproxyServerKey, application: ApplicationKey) {
    let mapping = NewMapping {
        server,
        application,
        basis: MappingBasis::Address,
        at: at(3),
        cause: None,
    };
    world.haproxy().map(&[mapping]).await.unwrap();
}

async fn mapped(world: &World, application: ApplicationKey) -> Vec<String> {
    let mut snapshot = world.snapshots().snapshot(&[application]).await.unwrap();
    let target = snapshot.targets.remove(&application).unwrap();
    target
        .haproxy_servers
        .into_iter()
        .map(|server| server.name)
        .collect()
}

/// Whether all of these applications should stand behind HAProxy.
async fn expect(world: &World, applications: &[ApplicationKey]) -> bool {
    let snapshot = world.snapshots().snapshot(applications).await.unwrap();
    snapshot
        .targets
        .values()
        .all(|target| target.expects_haproxy)
}

contract! { $ fleet_snapshots => fleet_snapshots_contract for World;
    /// An application expects a server in HAProxy if it had one, or its group had, or others of its catalog entry have.
    async fn what_stood_behind_haproxy_expects_to(world) {
        let (_, keys) = fleet(world, "app01", &["a_1", "a_2", "b_1"]).await;
        let (_, others) = fleet(world, "app02", &["a_3"]).await;
        let expects = async |key: ApplicationKey| {
            let snapshot = world.snapshots().snapshot(&[key]).await.unwrap();
            snapshot.targets[&key].expects_haproxy
        };
        assert!(!expects(keys[0]).await);
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let server = server_key(world, instance, "srv1").await;
        map(world, server, keys[0]).await;
        for (key, expected) in [(keys[0], true), (keys[1], true), (others[0], true), (keys[2], false)] {
            assert_eq!(expects(key).await, expected, "{key}");
        }
        world.haproxy().end(&[(server, keys[0])], at(5), None).await.unwrap();
        assert!(expects(keys[0]).await && expects(others[0]).await);
        assert!(!expects(keys[2]).await);
    }

    /// Another server with the same short name is named: what was added before that was refused.
    async fn a_server_with_the_same_short_name_is_named(world) {
        let (_, keys) = fleet(world, "web1.msk", &["a_1"]).await;
        fleet(world, "web2.msk", &["b_1"]).await;
        let namesake = async || {
            let snapshot = world.snapshots().snapshot(&keys).await.unwrap();
            snapshot.targets[&keys[0]].server.clone().unwrap().namesake
        };
        assert_eq!(namesake().await, None);
        world.side_door().add_server_unchecked("WEB1.spb").await;
        assert_eq!(namesake().await.as_deref(), Some("WEB1.spb"));
    }

    /// A snapshot of nothing is empty; unknown applications are absent.
    async fn unknown_applications_are_absent(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "other_1"]).await;
        assert_eq!(world.snapshots().snapshot(&[]).await.unwrap(), FleetSnapshot::default());
        let snapshot = world.snapshots().snapshot(&[keys[0], Key::new(404)]).await.unwrap();
        assert_eq!(snapshot.targets.into_keys().collect::<Vec<_>>(), [keys[0]]);
    }

    /// An application comes with everything around it.
    async fn an_application_comes_with_everything_around_it(world) {
        let (server, keys) = fleet(world, "app01.example", &["jurws_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let mapped = server_key(world, instance, "srv1").await;
        map(world, mapped, keys[0]).await;
        let application = world.fleet().application(keys[0]).await.unwrap().unwrap();
        let (group, _) = application.group.unwrap();
        world.side_door().set_application_settings(keys[0], layer("own")).await;
        world.side_door().set_group_settings(group, layer("group"), "no_grouping").await;
        world.side_door().set_catalog_settings(application.catalog.unwrap(), layer("catalog")).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();

        let snapshot = world.snapshots().snapshot(&keys).await.unwrap();
        let expected = Target {
            application: keys[0],
            name: "jurws_1".to_owned(),
            kind: ApplicationKind::Service,
            version: Some("1.0".to_owned()),
            process: None,
            server: Some(TargetServer {
                key: server.key,
                name: "app01.example".to_owned(),
                address: "10.0.0.1".to_owned(),
                namesake: None,
            }),
            group: Some(TargetGroup {
                key: group,
                name: "jurws".to_owned(),
                settings: layer("group"),
                grouping: "no_grouping".to_owned(),
            }),
            own_settings: layer("own"),
            catalog_settings: layer("catalog"),
            haproxy_servers: vec![TargetHaproxyServer {
                key: mapped,
                name: "srv1".to_owned(),
                backend: known.backends[0].key,
                backend_name: "be".to_owned(),
                instance,
                instance_name: "default".to_owned(),
                agent: ("10.0.0.2".to_owned(), 5001),
            }],
            expects_haproxy: true,
            is_new_in_group: false,
        };
        assert!(snapshot.has_haproxy);
        assert_eq!(snapshot.targets.into_values().collect::<Vec<_>>(), [expected]);
    }

    /// The process of an application has its start time and its number, as far as the agent shows them.
    async fn a_process_has_its_start_time_and_its_number(world) {
        let (server, keys) = fleet(world, "app01", &["jurws_1"]).await;
        for (second, start, pid, expected) in [
            (10, Some("2026-11-01T00:00:00Z"), Some(7), Some("2026-11-01T00:00:00Z process 7")),
            (11, Some("2026-11-01T00:00:00Z"), None, Some("2026-11-01T00:00:00Z")),
            (12, None, Some(7), Some("process 7")),
            (13, None, None, None),
        ] {
            let seen = ObservedApplication {
                start_time: start.map(str::to_owned),
                pid,
                ..observed("jurws_1", Some("1.0"))
            };
            poll(world, server.key, &[seen], at(second)).await;
            let snapshot = world.snapshots().snapshot(&keys).await.unwrap();
            assert_eq!(snapshot.targets[&keys[0]].process.as_deref(), expected);
        }
    }

    /// An application behind several servers comes once, with the servers in the order of their keys.
    async fn mapped_servers_come_in_the_order_of_their_keys(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let servers = ["c", "a", "b"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &servers)]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        for server in known.servers.iter().rev() {
            map(world, server.key, keys[0]).await;
        }
        let names: Vec<String> = known.servers.iter().map(|server| server.observed.name.clone()).collect();
        assert_eq!(mapped(world, keys[0]).await, names);
    }

    /// Only active mappings count.
    async fn an_ended_mapping_does_not_count(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let server = server_key(world, instance, "srv1").await;
        map(world, server, keys[0]).await;
        map(world, server, keys[1]).await;
        assert_eq!(mapped(world, keys[0]).await, Vec::<String>::new());
        assert_eq!(mapped(world, keys[1]).await, ["srv1"]);
    }

    /// A removed server, or one of a removed backend, is absent and comes back with its mapping.
    async fn a_removed_server_is_absent_until_it_returns(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let (srv1, srv2) = (haproxy_server("srv1", "UP"), haproxy_server("srv2", "UP"));
        let (one, other) = ([srv1], [srv2]);
        let instance = haproxy(world, "lb01", &[("be", &one), ("other", &other)]).await;
        map(world, server_key(world, instance, "srv1").await, keys[0]).await;
        sync(world, instance, &[("be", &[]), ("other", &other)], at(10)).await;
        assert_eq!(mapped(world, keys[0]).await, Vec::<String>::new());
        sync(world, instance, &[("be", &one), ("other", &other)], at(20)).await;
        assert_eq!(mapped(world, keys[0]).await, ["srv1"]);
        sync(world, instance, &[("other", &other)], at(30)).await;
        assert_eq!(mapped(world, keys[0]).await, Vec::<String>::new());
    }

    /// A mapping in an instance that is not active does not count, and its application goes on expecting HAProxy: when
    /// the instance has another name, and when HAProxy is switched off.
    async fn what_stood_in_an_inactive_instance_expects_haproxy(world) {
        let (_, keys) = fleet(world, "app01", &["a_1", "a_2"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        map(world, server_key(world, instance, "srv1").await, keys[0]).await;
        let node = world.haproxy().load(instance).await.unwrap().unwrap().instance.server;
        let names = ["other".to_owned()];
        let renamed = world.haproxy().record_instances(node, &names, at(9)).await.unwrap();
        assert!(mapped(world, keys[0]).await.is_empty() && expect(world, &keys).await);
        sync(world, renamed[0].key, &[], at(10)).await;
        assert!(mapped(world, keys[0]).await.is_empty() && expect(world, &keys).await);
        world.servers().set_haproxy_node(node, false).await.unwrap();
        assert!(mapped(world, keys[0]).await.is_empty() && expect(world, &keys).await);
    }

    /// An application, and its group, stood behind HAProxy also when the server of that HAProxy is removed.
    async fn what_stood_behind_a_removed_haproxy_expects_it(world) {
        let (_, keys) = fleet(world, "app01", &["a_1", "a_2"]).await;
        let (_, others) = fleet(world, "app02", &["b_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        map(world, server_key(world, instance, "srv1").await, keys[0]).await;
        let node = world.haproxy().load(instance).await.unwrap().unwrap().instance.server;
        let place = world.servers().find(node).await.unwrap().unwrap().place();
        assert_eq!(world.servers().remove(node, &place).await.unwrap(), Removal::Done);
        assert!(expect(world, &keys).await);
        assert!(!expect(world, &others).await);
    }

    /// Retention forgets servers that left HAProxy and the mappings to them, and not that there were any.
    async fn what_stood_behind_a_forgotten_server_expects_haproxy(world) {
        let (_, keys) = fleet(world, "app01", &["a_1", "a_2"]).await;
        let (_, others) = fleet(world, "app02", &["b_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        map(world, server_key(world, instance, "srv1").await, keys[0]).await;
        sync(world, instance, &[("be", &[])], at(10)).await;
        assert_eq!(world.history().prune(History::GoneServers, at(1_000), 10).await.unwrap(), 1);
        assert!(expect(world, &keys).await);
        assert!(!expect(world, &others).await);
    }

    /// A group stood behind HAProxy also when the application that was mapped is forgotten, with its mapping or after it.
    async fn a_group_outlives_the_application_that_was_mapped(world) {
        for (name, loses_mapping) in [("a", false), ("b", true)] {
            let first = format!("{name}_1");
            let second = format!("{name}_2");
            let (server, keys) = fleet(world, &format!("app-{name}"), &[&first]).await;
            let (_, others) = fleet(world, &format!("app-{name}2"), &[&second]).await;
            let lb = format!("lb-{name}");
            let instance = haproxy(world, &lb, &[("be", &[haproxy_server("srv1", "UP")])]).await;
            map(world, server_key(world, instance, "srv1").await, keys[0]).await;
            if loses_mapping {
                sync(world, instance, &[("be", &[])], at(10)).await;
                assert_eq!(world.history().prune(History::GoneServers, at(1_000), 10).await.unwrap(), 1);
            }
            assert_eq!(world.servers().remove(server.key, &server.place()).await.unwrap(), Removal::Done);
            assert_eq!(world.history().prune(History::GoneApplications, at(0), 10).await.unwrap(), 1);
            assert!(expect(world, &others).await, "{name}");
        }
    }

    /// An application at whose address HAProxy has a server, or after which one is named, expects HAProxy, whatever that
    /// server is mapped to: an application under a new name, for example.
    async fn what_haproxy_has_a_server_for_expects_it(world) {
        let listening = |name: &str, port| ObservedApplication { port: Some(port), ..observed(name, Some("1.0")) };
        let shown = |name: &str, address: &str, port| ObservedServer {
            address: Some(address.to_owned()),
            port: Some(port),
            ..haproxy_server(name, "UP")
        };
        let (server, _) = fleet(world, "web1.msk", &["old_1"]).await;
        let applications = [listening("green_1", 7001), listening("blue_1", 7002), listening("red_1", 7003), listening("pay_1", 7004)];
        poll(world, server.key, &applications, at(5)).await;
        let servers = [shown("s1", "10.0.0.1", 7001), shown("s2", "::ffff:10.0.0.1", 7002), shown("s3", "10.0.0.7", 7003), shown("WEB1_pay_1", "10.0.0.7", 1)];
        let instance = haproxy(world, "lb01", &[("be", &servers)]).await;
        let found = world.fleet().applications(&ApplicationFilter::default(), PageRequest::first()).await.unwrap();
        let key = |name: &str| found.items.iter().find(|found| found.observed.name == name).unwrap().key;
        map(world, server_key(world, instance, "s1").await, key("old_1")).await;
        for (name, expected) in [("green_1", true), ("blue_1", true), ("red_1", false), ("pay_1", true)] {
            assert_eq!(expect(world, &[key(name)]).await, expected, "{name}");
        }
        let node = world.haproxy().load(instance).await.unwrap().unwrap().instance.server;
        world.servers().set_haproxy_node(node, false).await.unwrap();
        assert!(!expect(world, &[key("green_1")]).await);
    }

    /// A snapshot names the HAProxy nodes of which it is unknown what stands behind them.
    async fn haproxy_that_was_never_read_is_named(world) {
        let (_, keys) = fleet(world, "app01", &["a_1"]).await;
        let unread = async || world.snapshots().snapshot(&keys).await.unwrap().unread_haproxy;
        assert!(unread().await.is_empty());
        let new = NewServer::new("lb01", "10.0.0.2", 5001, true).unwrap();
        let node = world.servers().add(&new, at(0)).await.unwrap();
        assert_eq!(unread().await, ["lb01"]);
        let instance = world.haproxy().record_instances(node.key, &["default".to_owned()], at(1)).await.unwrap().remove(0);
        assert_eq!(unread().await, ["lb01"], "it is listed and was not read");
        world.haproxy().store(&failed(&instance, "no answer", at(2))).await.unwrap();
        assert_eq!(unread().await, ["lb01"], "its first sync failed");
        sync(world, instance.key, &[("be", &[haproxy_server("srv1", "UP")])], at(3)).await;
        assert!(unread().await.is_empty());
        let instance = world.haproxy().load(instance.key).await.unwrap().unwrap().instance;
        world.haproxy().store(&failed(&instance, "no answer", at(4))).await.unwrap();
        assert!(unread().await.is_empty(), "what it had is known");
        let shown = [
            ("be".to_owned(), Ok(vec![haproxy_server("srv1", "UP")])),
            ("new".to_owned(), Err("no answer".to_owned())),
        ];
        let observed: ObservedBackends = shown.into_iter().collect();
        let known = world.haproxy().load(instance.key).await.unwrap().unwrap();
        world.haproxy().store(&reconcile(&known, &observed, None, at(5))).await.unwrap();
        assert_eq!(unread().await, ["lb01"], "a backend of it was never read");
        world.servers().set_haproxy_node(node.key, false).await.unwrap();
        assert!(unread().await.is_empty());
        world.servers().set_haproxy_node(node.key, true).await.unwrap();
        assert_eq!(unread().await, ["lb01"], "switched on again and not read yet");
    }

    /// The servers of the named instances come with their backends; removed and missed ones do not.
    async fn the_servers_of_instances_come_with_their_backends(world) {
        let shown = [haproxy_server("a", "UP"), haproxy_server("b", "DRAIN")];
        let instance = haproxy(world, "lb01", &[("be", &shown), ("api", &[haproxy_server("c", "DOWN")])]).await;
        let other = haproxy(world, "lb02", &[("be", &[haproxy_server("d", "UP")])]).await;
        let standing = async |instances: &[HaproxyInstanceKey]| {
            let servers = world.snapshots().standing(instances).await.unwrap();
            let known = servers.into_iter().map(|server| (server.backend_name, server.observed.name, server.observed.word));
            known.map(|(backend, name, word)| format!("{backend}/{name} {}", word.as_str())).collect::<BTreeSet<_>>()
        };
        assert!(standing(&[]).await.is_empty());
        let all = BTreeSet::from(["be/a UP", "be/b DRAIN", "api/c DOWN"].map(str::to_owned));
        assert_eq!(standing(&[instance, Key::new(404)]).await, all);
        assert_eq!(standing(&[other]).await, BTreeSet::from(["be/d UP".to_owned()]));
        assert_eq!(standing(&[instance, other]).await.len(), 4);
        sync(world, instance, &[("be", &[haproxy_server("a", "UP")]), ("api", &[haproxy_server("c", "DOWN")])], at(9)).await;
        assert_eq!(standing(&[instance]).await, BTreeSet::from(["be/a UP", "api/c DOWN"].map(str::to_owned)), "b is missed");
    }

    /// A thousand applications come at once.
    async fn a_thousand_applications_come_at_once(world) {
        let names: Vec<String> = (0..1_000).map(|number| format!("jurws_{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, keys) = fleet(world, "app01", &names).await;
        assert_eq!(world.snapshots().snapshot(&keys).await.unwrap().targets.len(), 1_000);
    }
}
