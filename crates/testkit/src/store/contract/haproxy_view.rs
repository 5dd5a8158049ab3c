//! What [`HaproxyView`](drover_ports::HaproxyView) promises.

use drover_domain::Key;
use drover_domain::haproxy::sync::failed;
use drover_domain::haproxy::{
    BreakerPolicy, BreakerRecord, HaproxyCounts, InstanceBreaker, MappingBasis, ServerCounts,
    ShortBackend,
};

use drover_ports::{BackendFilter, HaproxyInstanceFilter, HaproxyServerFilter, NewMapping};

use super::{ALL, two_after};
use crate::store::fixtures::mappings::{by_hand, unmapping};
use crate::store::fixtures::{at, fleet, haproxy, haproxy_server, sync};

contract! { $ haproxy_view => haproxy_view_contract for crate::store::World;
    /// An instance is found by its key, also when it is no longer active.
    async fn an_instance_is_found_by_its_key(world) {
        let instance = haproxy(world, "lb01", &[("be", &[])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let view = world.haproxy_view();
        assert_eq!(view.instance(instance).await.unwrap(), Some(known.instance.clone()));
        world.haproxy().record_instances(known.instance.server, &[], at(9)).await.unwrap();
        let found = view.instance(instance).await.unwrap().unwrap();
        assert_eq!((found.key, found.is_active), (instance, false));
        assert_eq!(view.instance(Key::new(404)).await.unwrap(), None);
    }

    /// Instances go by key, page by page, inactive ones included.
    async fn instances_go_by_key(world) {
        let mut keys = Vec::new();
        for server in ["lb03", "lb01", "lb02"] {
            keys.push(haproxy(world, server, &[]).await);
        }
        let known = world.haproxy().load(keys[0]).await.unwrap().unwrap();
        world.haproxy().record_instances(known.instance.server, &[], at(5)).await.unwrap();
        let first = world.haproxy_view().instances(&HaproxyInstanceFilter::default(), two_after(None)).await.unwrap();
        let rest = world.haproxy_view().instances(&HaproxyInstanceFilter::default(), two_after(first.next)).await.unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        assert_eq!(all.iter().map(|instance| instance.key).collect::<Vec<_>>(), keys);
        assert_eq!(all.iter().map(|instance| instance.is_active).collect::<Vec<_>>(), [false, true, true]);
    }

    /// What is not there has no list.
    async fn what_is_not_there_has_no_list(world) {
        assert_eq!(world.haproxy_view().backends(Key::new(404), &BackendFilter::default(), ALL).await.unwrap(), None);
        assert_eq!(world.haproxy_view().servers(Key::new(404), &HaproxyServerFilter::default(), ALL).await.unwrap(), None);
        let empty = haproxy(world, "lb01", &[]).await;
        assert_eq!(world.haproxy_view().backends(empty, &BackendFilter::default(), ALL).await.unwrap().unwrap().items, []);
    }

    /// Backends go by key, page by page, as they are loaded; removed ones are not shown.
    async fn removed_backends_are_not_shown(world) {
        let servers = [haproxy_server("a", "UP"), haproxy_server("b", "DOWN"), haproxy_server("c", "no check")];
        let shown: [(&str, &[_]); 4] = [("one", &servers), ("two", &[]), ("three", &[]), ("gone", &servers)];
        let instance = haproxy(world, "lb01", &shown).await;
        haproxy(world, "lb02", &[("foreign", &[])]).await;
        sync(world, instance, &shown[..3], at(10)).await;
        let first = world.haproxy_view().backends(instance, &BackendFilter::default(), two_after(None)).await.unwrap().unwrap();
        let rest = world.haproxy_view().backends(instance, &BackendFilter::default(), two_after(first.next)).await.unwrap().unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let present: Vec<_> = known.backends.into_iter().filter(|backend| backend.removed_at.is_none()).collect();
        assert_eq!(all, present);
        assert_eq!(all.len(), 3);
        let one = all.iter().find(|backend| backend.name == "one").unwrap();
        assert_eq!((one.servers, one.ready), (3, 2));
    }

    /// Servers go by key, page by page, as they are loaded; removed ones are not shown.
    async fn removed_servers_are_not_shown(world) {
        let servers = ["a", "b", "c", "gone"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &servers), ("other", &servers[..1])]).await;
        sync(world, instance, &[("be", &servers[..3]), ("other", &servers[..1])], at(10)).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let backend = known.backends.iter().find(|backend| backend.name == "be").unwrap().key;
        let first = world.haproxy_view().servers(backend, &HaproxyServerFilter::default(), two_after(None)).await.unwrap().unwrap();
        let rest = world.haproxy_view().servers(backend, &HaproxyServerFilter::default(), two_after(first.next)).await.unwrap().unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        let of_backend = known.servers.into_iter().filter(|server| server.backend == backend);
        let present: Vec<_> = of_backend.filter(|server| server.removed_at.is_none()).collect();
        assert_eq!(all, present);
        assert_eq!(all.len(), 3);
        sync(world, instance, &[("other", &servers[..1])], at(20)).await;
        assert_eq!(world.haproxy_view().servers(backend, &HaproxyServerFilter::default(), ALL).await.unwrap(), None);
    }

    /// Conditions narrow instances, backends and servers.
    async fn filters_narrow_what_is_shown(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let servers = [haproxy_server("Web_1", "UP"), haproxy_server("web_2", "DOWN")];
        let one = haproxy(world, "lb01.example", &[("be_jurws", &servers), ("be_other", &[])]).await;
        let two = haproxy(world, "lb02.example", &[]).await;
        let known = world.haproxy().load(one).await.unwrap().unwrap();
        let other = world.haproxy().load(two).await.unwrap().unwrap().instance.server;
        world.haproxy().record_instances(other, &[], at(9)).await.unwrap();
        let view = world.haproxy_view();
        let any = HaproxyInstanceFilter::default;
        for (filter, expected) in [
            (any(), vec![one, two]),
            (HaproxyInstanceFilter { server: Some(other), ..any() }, vec![two]),
            (HaproxyInstanceFilter { is_active: Some(true), ..any() }, vec![one]),
            (HaproxyInstanceFilter { is_active: Some(false), ..any() }, vec![two]),
            (HaproxyInstanceFilter { like: Some("LB01".to_owned()), ..any() }, vec![one]),
            (HaproxyInstanceFilter { like: Some("default".to_owned()), ..any() }, vec![one, two]),
            (HaproxyInstanceFilter { like: Some("_".to_owned()), ..any() }, vec![]),
        ] {
            let page = view.instances(&filter, ALL).await.unwrap();
            let found: Vec<_> = page.items.into_iter().map(|instance| instance.key).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
        for (part, count) in [("JURWS", 1), ("be_", 2), ("%", 0)] {
            let filter = BackendFilter { like: Some(part.to_owned()) };
            let page = view.backends(one, &filter, ALL).await.unwrap().unwrap();
            assert_eq!(page.items.len(), count, "{part}");
        }
        let nothing = BackendFilter { like: Some("x".to_owned()) };
        assert_eq!(view.backends(Key::new(404), &nothing, ALL).await.unwrap(), None);

        let first = known.servers.iter().find(|server| server.observed.name == "Web_1").unwrap();
        let mapping = NewMapping {
            server: first.key,
            application: keys[0],
            basis: MappingBasis::Name,
            at: at(10),
            cause: None,
        };
        world.haproxy().map(&[mapping]).await.unwrap();
        let any = HaproxyServerFilter::default;
        for (filter, count) in [
            (any(), 2),
            (HaproxyServerFilter { word: Some("DOWN".to_owned()), ..any() }, 1),
            (HaproxyServerFilter { word: Some("down".to_owned()), ..any() }, 0),
            (HaproxyServerFilter { is_mapped: Some(true), ..any() }, 1),
            (HaproxyServerFilter { is_mapped: Some(false), word: Some("UP".to_owned()), ..any() }, 0),
            (HaproxyServerFilter { like: Some("WEB_".to_owned()), ..any() }, 2),
            (HaproxyServerFilter { like: Some("_2".to_owned()), ..any() }, 1),
        ] {
            let page = view.servers(first.backend, &filter, ALL).await.unwrap().unwrap();
            assert_eq!(page.items.len(), count, "{filter:?}");
        }
    }

    /// A summary counts what is present in active instances, by the words that are shown.
    async fn a_summary_counts_what_is_present(world) {
        assert_eq!(world.haproxy_view().summary(1).await.unwrap(), HaproxyCounts::default());
        let words = ["UP", "UP 1/3", "no check", "DRAIN", "MAINT (via be/s0)", "DOWN 1/2", "NOLB"];
        let servers: Vec<_> = words.iter().zip(0..).map(|(word, place)| haproxy_server(&format!("s{place}"), word)).collect();
        let gone = [haproxy_server("gone", "UP")];
        let instance = haproxy(world, "lb01", &[("be", &servers), ("gone", &gone)]).await;
        sync(world, instance, &[("be", &servers)], at(10)).await;
        let failing = haproxy(world, "lb02", &[("be", &servers[..1])]).await;
        let known = world.haproxy().load(failing).await.unwrap().unwrap();
        world.haproxy().store(&failed(&known.instance, "no answer", at(11))).await.unwrap();
        let left = haproxy(world, "lb03", &[("be", &servers)]).await;
        let known = world.haproxy().load(left).await.unwrap().unwrap();
        world.haproxy().record_instances(known.instance.server, &[], at(12)).await.unwrap();

        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let server = |name: &str| known.servers.iter().find(|server| server.observed.name == name).unwrap().key;
        world.mappings().map_by_hand(&by_hand(server("s0"), keys[0], at(13))).await.unwrap();
        world.mappings().unmap(&unmapping(server("s1"), true, at(14))).await.unwrap();
        let summary = world.haproxy_view().summary(1).await.unwrap();
        assert_eq!((summary.instances, summary.synced, summary.failed, summary.backends), (2, 1, 1, 2));
        assert_eq!(summary.unread_nodes, 1, "the agent of lb03 lists no instance");
        assert_eq!(summary.servers, ServerCounts { up: 4, standby: 0, drain: 1, maint: 1, down: 1, other: 1 });
        assert_eq!((summary.unmapped, summary.excluded), (7, 1));
        assert_eq!((summary.short, summary.short_backends), (0, Vec::new()));
    }

    /// A summary lists the breaker of each active instance, those first that are not closed.
    async fn a_summary_tells_breakers(world) {
        let mut instances = Vec::new();
        for name in ["lb01", "lb02", "lb03"] {
            instances.push(haproxy(world, name, &[]).await);
        }
        let policy = BreakerPolicy::default();
        for (instance, failures) in [(instances[0], 1), (instances[2], policy.failures)] {
            for _ in 0..failures {
                world.actions().record_answer(instance, policy, false, at(20)).await.unwrap();
            }
        }
        let node = world.haproxy().load(instances[1]).await.unwrap().unwrap().instance.server;
        world.haproxy().record_instances(node, &[], at(21)).await.unwrap();
        let breaker = |place: usize, server_name: &str, breaker| InstanceBreaker {
            instance: instances[place],
            name: "default".to_owned(),
            server_name: server_name.to_owned(),
            breaker,
        };
        let open = BreakerRecord { opened_at: Some(at(20)), ..BreakerRecord::default() };
        let one = BreakerRecord { failures: 1, ..BreakerRecord::default() };
        let summary = world.haproxy_view().summary(1).await.unwrap();
        assert_eq!(summary.breakers, [breaker(2, "lb03", open), breaker(0, "lb01", one)]);
    }

    /// A summary names the backends with too few servers that take requests, by key and not all of too many.
    async fn a_summary_names_short_backends(world) {
        let words = |words: &[&str]| -> Vec<_> {
            words.iter().zip(0..).map(|(word, place)| haproxy_server(&format!("s{place}"), word)).collect()
        };
        let (two, one, none) = (words(&["UP", "no check"]), words(&["UP", "DRAIN"]), words(&["MAINT"]));
        let instance = haproxy(world, "lb01", &[("a", &two), ("b", &one), ("c", &none), ("empty", &[])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let short = |name: &str, servers, ready| ShortBackend {
            backend: known.backends.iter().find(|backend| backend.name == name).unwrap().key,
            name: name.to_owned(),
            instance,
            instance_name: "default".to_owned(),
            servers,
            ready,
        };
        for (min_ready, mut expected) in [
            (0, vec![]),
            (1, vec![short("c", 1, 0)]),
            (2, vec![short("b", 2, 1), short("c", 1, 0)]),
        ] {
            expected.sort_by_key(|backend| backend.backend);
            let summary = world.haproxy_view().summary(min_ready).await.unwrap();
            assert_eq!((summary.short, summary.short_backends), (expected.len() as u64, expected), "{min_ready}");
        }
        let names: Vec<String> = (0..=HaproxyCounts::SHORT_MAX).map(|number| format!("be{number:03}")).collect();
        let many: Vec<(&str, &[_])> = names.iter().map(|name| (name.as_str(), none.as_slice())).collect();
        haproxy(world, "lb02", &many).await;
        let summary = world.haproxy_view().summary(1).await.unwrap();
        assert_eq!(summary.short_backends.len(), HaproxyCounts::SHORT_MAX);
        assert_eq!(summary.short, HaproxyCounts::SHORT_MAX as u64 + 2);
    }
}
