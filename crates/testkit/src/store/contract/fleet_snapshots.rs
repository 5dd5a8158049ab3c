//! What [`FleetSnapshots`](drover_ports::FleetSnapshots) promises.

use drover_domain::Key;
use drover_domain::fleet::{ApplicationKey, ApplicationKind, ObservedApplication, SettingsLayer};
use drover_domain::haproxy::{HaproxyInstanceKey, HaproxyServerKey, MappingBasis};
use drover_domain::rollout::snapshot::{
    FleetSnapshot, Target, TargetGroup, TargetHaproxyServer, TargetServer,
};
use drover_ports::NewMapping;

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

    /// A mapping still counts while the agent does not list the HAProxy instance: what was drained
    /// before an update yesterday must not be updated without draining today.
    async fn a_mapping_counts_while_its_instance_is_not_listed(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        map(world, server_key(world, instance, "srv1").await, keys[0]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!(world.haproxy().record_instances(known.instance.server, &[], at(9)).await.unwrap(), []);
        assert_eq!(mapped(world, keys[0]).await, ["srv1"]);
    }

    /// A thousand applications come at once.
    async fn a_thousand_applications_come_at_once(world) {
        let names: Vec<String> = (0..1_000).map(|number| format!("jurws_{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, keys) = fleet(world, "app01", &names).await;
        assert_eq!(world.snapshots().snapshot(&keys).await.unwrap().targets.len(), 1_000);
    }
}
