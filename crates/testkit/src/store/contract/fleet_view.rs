//! What [`FleetView`](drover_ports::FleetView) promises.

use drover_domain::Key;
use drover_domain::fleet::inventory::InventoryChange;
use drover_domain::fleet::{
    ApplicationKey, ApplicationKind, ApplicationStatus, EventKind, EventStatus, NewServer,
    ObservedApplication, ServerKey, ServerStatus, SettingsLayer,
};
use drover_domain::page::{PageRequest, Sort, SortColumn};
use drover_ports::{
    ApplicationColumn, ApplicationFilter, FleetEventFilter, GroupFilter, Removal, ServerColumn,
    ServerFilter, StoreError,
};

use super::{ALL, two_after};
use crate::store::World;
use crate::store::fixtures::{at, event, fleet, new_server, observed, poll};

async fn keys(world: &World, filter: ApplicationFilter) -> Vec<ApplicationKey> {
    let page = world.fleet().applications(&filter, ALL).await.unwrap();
    page.items
        .into_iter()
        .map(|application| application.key)
        .collect()
}

/// The keys of all applications in this order, read in pages of `limit`.
async fn pages(world: &World, sort: Sort<ApplicationColumn>, limit: u16) -> Vec<ApplicationKey> {
    let filter = ApplicationFilter {
        sort,
        ..ApplicationFilter::default()
    };
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest { after, limit };
        let page = world.fleet().applications(&filter, page).await.unwrap();
        assert!(page.items.len() <= usize::from(limit));
        keys.extend(page.items.iter().map(|application| application.key));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}

contract! { $ fleet_view => fleet_view_contract for World;
    /// An application that is not there is absent, and has no history.
    async fn an_unknown_application_is_absent(world) {
        assert_eq!(world.fleet().application(Key::new(404)).await.unwrap(), None);
        assert_eq!(world.fleet().versions(Key::new(404), ALL).await.unwrap(), None);
    }

    /// Applications go by key, page by page; each is the one that is found alone.
    async fn applications_go_by_key(world) {
        let (_, mut expected) = fleet(world, "app01", &["c_1", "a_1"]).await;
        expected.extend(fleet(world, "app02", &["b_1"]).await.1);
        expected.sort();
        let first = world.fleet().applications(&ApplicationFilter::default(), two_after(None)).await.unwrap();
        let rest = world.fleet().applications(&ApplicationFilter::default(), two_after(first.next)).await.unwrap();
        assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
        for (application, key) in first.items.into_iter().chain(rest.items).zip(expected) {
            assert_eq!(world.fleet().application(key).await.unwrap(), Some(application));
        }
    }

    /// Each condition narrows the list, and all of them together.
    async fn filters_narrow_the_list(world) {
        let (server, first) = fleet(world, "app01", &["jurws_1", "other_1"]).await;
        let (_, second) = fleet(world, "app02", &["jurws_1"]).await;
        let site = ObservedApplication { kind: ApplicationKind::Site, ..observed("site", None) };
        let listed = [observed("jurws_1", Some("1.0")), observed("other_1", Some("1.0")), site];
        poll(world, server.key, &listed, at(2)).await;
        let any = ApplicationFilter::default;
        assert_eq!(keys(world, any()).await.len(), 4);
        assert_eq!(keys(world, ApplicationFilter { server: Some(server.key), ..any() }).await.len(), 3);
        let group = ApplicationFilter { group: Some("jurws".to_owned()), ..any() };
        assert_eq!(keys(world, group.clone()).await, [first[0], second[0]]);
        assert_eq!(keys(world, ApplicationFilter { kind: Some(ApplicationKind::Site), ..any() }).await.len(), 1);
        assert_eq!(keys(world, ApplicationFilter { name: Some("other_1".to_owned()), ..any() }).await, [first[1]]);
        let all = ApplicationFilter {
            server: Some(server.key),
            kind: Some(ApplicationKind::Service),
            name: Some("jurws_1".to_owned()),
            ..group
        };
        assert_eq!(keys(world, all).await, [first[0]]);
        assert_eq!(keys(world, ApplicationFilter { group: Some("nobody".to_owned()), ..any() }).await, []);
        let of = async |filter: ApplicationFilter| keys(world, filter).await.len();
        assert_eq!(of(ApplicationFilter { status: Some(ApplicationStatus::Online), ..any() }).await, 4);
        assert_eq!(of(ApplicationFilter { status: Some(ApplicationStatus::Offline), ..any() }).await, 0);
        assert_eq!(of(ApplicationFilter { version: Some("1.0".to_owned()), ..any() }).await, 3);
        assert_eq!(of(ApplicationFilter { catalog: Some("jurws".to_owned()), ..any() }).await, 2);
        assert_eq!(of(ApplicationFilter { catalog: Some("jurws_1".to_owned()), ..any() }).await, 0);
        for (part, count) in [("JURWS", 2), ("_1", 3), ("%", 0), ("r_1", 1), ("rws_", 2), ("!", 0), ("\\", 0), ("it", 1)] {
            assert_eq!(of(ApplicationFilter { like: Some(part.to_owned()), ..any() }).await, count, "{part}");
        }
    }

    /// A part of a name is found in small and in capital letters a to z; other letters are what they are.
    async fn letters_beyond_z_are_not_folded(world) {
        fleet(world, "app01", &["Bär_1"]).await;
        for (part, count) in [("bär", 1), ("BäR", 1), ("BÄR", 0), ("Ä", 0), ("ä", 1)] {
            let filter = ApplicationFilter { like: Some(part.to_owned()), ..ApplicationFilter::default() };
            assert_eq!(keys(world, filter).await.len(), count, "{part}");
        }
    }

    /// Servers go by key, page by page, narrowed by conditions.
    async fn servers_go_by_key(world) {
        let (first, _) = fleet(world, "app01.example", &["jurws_1"]).await;
        let node = NewServer::new("lb01", "10.7.7.7", 5000, true).unwrap();
        let node = world.servers().add(&node, at(0)).await.unwrap();
        let of = async |filter: ServerFilter| -> Vec<ServerKey> {
            let page = world.fleet().servers(&filter, ALL).await.unwrap();
            page.items.iter().map(|server| server.key).collect()
        };
        let any = ServerFilter::default;
        assert_eq!(of(any()).await, [first.key, node.key]);
        assert_eq!(of(ServerFilter { status: Some(ServerStatus::Online), ..any() }).await, [first.key]);
        assert_eq!(of(ServerFilter { is_haproxy_node: Some(true), ..any() }).await, [node.key]);
        assert_eq!(of(ServerFilter { is_haproxy_node: Some(false), ..any() }).await, [first.key]);
        for (part, found) in [("APP01", vec![first.key]), ("7.7", vec![node.key]), ("%", vec![]), ("0", vec![first.key, node.key])] {
            assert_eq!(of(ServerFilter { like: Some(part.to_owned()), ..any() }).await, found, "{part}");
        }
        let page = world.fleet().servers(&any(), PageRequest { after: None, limit: 1 }).await.unwrap();
        assert_eq!((page.items.len(), page.next), (1, Some(first.key.get())));
        let rest = world.fleet().servers(&any(), two_after(page.next)).await.unwrap();
        assert_eq!(rest.items, [node]);
    }

    /// Applications go in every order there is, up and down, in pages of any size, each once. Texts go by their bytes; what
    /// has no value is the least, and where values are the same the key decides.
    async fn applications_go_in_every_order(world) {
        let (one, first) = fleet(world, "b.example", &["Zeta_1", "alpha_1", "élan_1", "_x"]).await;
        let (_, second) = fleet(world, "A.example", &["alpha_1", "zeta_1"]).await;
        let (gone, third) = fleet(world, "c.example", &["beta_1"]).await;
        assert_eq!(world.servers().remove(gone.key, &gone.place()).await.unwrap(), Removal::Done);
        let listed = [observed("Zeta_1", Some("1.10")), observed("alpha_1", None), observed("élan_1", Some("1.9"))];
        poll(world, one.key, &listed, at(5)).await;
        let (zeta, alpha, elan, x) = (first[0], first[1], first[2], first[3]);
        let by_key = [zeta, alpha, elan, x, second[0], second[1], third[0]];
        let mut in_order = by_key.to_vec();
        in_order.sort();
        for (by, expected) in [
            (ApplicationColumn::Key, in_order),
            (ApplicationColumn::Name, vec![zeta, x, alpha, second[0], third[0], second[1], elan]),
            (ApplicationColumn::Server, [vec![third[0]], {
                let mut on = second.clone();
                on.sort();
                on
            }, {
                let mut on = first.clone();
                on.sort();
                on
            }].concat()),
        ] {
            let sort = Sort { by, is_descending: false };
            assert_eq!(pages(world, sort, 200).await, expected, "{by:?}");
        }
        for by in ApplicationColumn::ALL.iter().copied() {
            let up = pages(world, Sort { by, is_descending: false }, 200).await;
            let mut down = pages(world, Sort { by, is_descending: true }, 200).await;
            down.reverse();
            assert_eq!(up, down, "{by:?}");
            assert_eq!(up.len(), by_key.len());
            for limit in [1, 2, 3, 7] {
                assert_eq!(pages(world, Sort { by, is_descending: false }, limit).await, up, "{by:?} {limit}");
                let mut down = pages(world, Sort { by, is_descending: true }, limit).await;
                down.reverse();
                assert_eq!(down, up, "{by:?} {limit}");
            }
        }
        let value = async |key: ApplicationKey| {
            let found = world.fleet().application(key).await.unwrap().unwrap();
            (found.observed.version.version.unwrap_or_default(), found.last_seen)
        };
        let mut versions = Vec::new();
        for key in pages(world, Sort { by: ApplicationColumn::Version, is_descending: false }, 2).await {
            versions.push(value(key).await.0);
        }
        assert!(versions.is_sorted(), "{versions:?}");
        let mut seen = Vec::new();
        for key in pages(world, Sort { by: ApplicationColumn::LastSeen, is_descending: false }, 2).await {
            seen.push(value(key).await.1);
        }
        assert!(seen.is_sorted(), "{seen:?}");
    }

    /// An order keeps the conditions, and goes on where the last item of the page before stands now.
    async fn an_order_keeps_conditions_and_place(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1", "c_1", "d_1"]).await;
        fleet(world, "app02", &["a_2"]).await;
        let filter = ApplicationFilter {
            server: Some(server.key),
            status: Some(ApplicationStatus::Online),
            sort: Sort { by: ApplicationColumn::Name, is_descending: true },
            ..ApplicationFilter::default()
        };
        let first = world.fleet().applications(&filter, two_after(None)).await.unwrap();
        let shown: Vec<_> = first.items.iter().map(|application| application.key).collect();
        assert_eq!((shown, first.next), (vec![keys[3], keys[2]], Some(keys[2].get())));
        // The item that the next page begins after still exists, but no longer matches the filter.
        let down = ObservedApplication { status: ApplicationStatus::Offline, ..observed("c_1", Some("1.0")) };
        let listed = [observed("a_1", Some("1.0")), observed("b_1", Some("1.0")), down, observed("d_1", Some("1.0"))];
        poll(world, server.key, &listed, at(2)).await;
        let rest = world.fleet().applications(&filter, two_after(first.next)).await.unwrap();
        let shown: Vec<_> = rest.items.iter().map(|application| application.key).collect();
        assert_eq!((shown, rest.next), (vec![keys[1], keys[0]], None));
        let end = world.fleet().applications(&filter, two_after(Some(keys[0].get()))).await.unwrap();
        assert_eq!((end.items, end.next), (vec![], None));
    }

    /// A page that begins after an item that is gone is refused, not silently short; by key, it goes on.
    async fn a_page_after_what_is_gone_is_refused(world) {
        for name in ["a", "b", "c"] {
            world.servers().add(&new_server(name), at(0)).await.unwrap();
        }
        let by = |by: ServerColumn, is_descending: bool| ServerFilter {
            sort: Sort { by, is_descending },
            ..ServerFilter::default()
        };
        let first = world.fleet().servers(&by(ServerColumn::Name, false), two_after(None)).await.unwrap();
        let last = first.items[1].clone();
        assert_eq!((last.name.as_str(), first.next), ("b", Some(last.key.get())));
        assert_eq!(world.servers().remove(last.key, &last.place()).await.unwrap(), Removal::Done);
        for column in [ServerColumn::Name, ServerColumn::Address, ServerColumn::Status, ServerColumn::LastCheck] {
            for is_descending in [false, true] {
                let refusal = world.fleet().servers(&by(column, is_descending), two_after(first.next)).await.unwrap_err();
                assert!(matches!(refusal, StoreError::PositionGone), "{column:?}: {refusal:?}");
            }
        }
        let sorted = ApplicationFilter {
            sort: Sort { by: ApplicationColumn::Name, is_descending: false },
            ..ApplicationFilter::default()
        };
        let refusal = world.fleet().applications(&sorted, two_after(Some(404))).await.unwrap_err();
        assert!(matches!(refusal, StoreError::PositionGone), "{refusal:?}");
        let names = async |filter: ServerFilter| -> Vec<String> {
            let page = world.fleet().servers(&filter, two_after(first.next)).await.unwrap();
            page.items.into_iter().map(|server| server.name).collect()
        };
        assert_eq!(names(by(ServerColumn::Key, false)).await, ["c"]);
        assert_eq!(names(by(ServerColumn::Key, true)).await, ["a"]);
    }

    /// Servers go in every order there is; one that was never polled comes before those that were.
    async fn servers_go_in_every_order(world) {
        let (polled, _) = fleet(world, "b", &["x_1"]).await;
        for name in ["c", "a"] {
            world.servers().add(&new_server(name), at(0)).await.unwrap();
        }
        let names = async |by: ServerColumn, is_descending: bool| -> Vec<String> {
            let filter = ServerFilter { sort: Sort { by, is_descending }, ..ServerFilter::default() };
            let page = world.fleet().servers(&filter, ALL).await.unwrap();
            page.items.into_iter().map(|server| server.name).collect()
        };
        assert!(polled.last_check.is_some());
        assert_eq!(names(ServerColumn::Key, false).await, ["b", "c", "a"]);
        assert_eq!(names(ServerColumn::Key, true).await, ["a", "c", "b"]);
        assert_eq!(names(ServerColumn::Name, false).await, ["a", "b", "c"]);
        assert_eq!(names(ServerColumn::Name, true).await, ["c", "b", "a"]);
        assert_eq!(names(ServerColumn::LastCheck, false).await, ["c", "a", "b"]);
        assert_eq!(names(ServerColumn::LastCheck, true).await, ["b", "a", "c"]);
        assert_eq!(names(ServerColumn::Status, false).await, ["b", "c", "a"]);
        assert_eq!(names(ServerColumn::Address, false).await, ["b", "c", "a"]);
    }

    /// An application shows its own settings.
    async fn own_settings_are_shown(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let settings = SettingsLayer {
            playbook_path: Some("own.yml".to_owned()),
            artifact_url: Some("http://own".to_owned()),
            artifact_extension: Some("war".to_owned()),
        };
        world.side_door().set_application_settings(keys[0], settings.clone()).await;
        assert_eq!(world.fleet().application(keys[0]).await.unwrap().unwrap().settings, settings);
    }

    /// Version history goes from new to old, page by page.
    async fn versions_go_from_new_to_old(world) {
        let (server, keys) = fleet(world, "app01", &["jurws_1"]).await;
        for (second, version) in [(2, "2.0"), (3, "3.0")] {
            poll(world, server.key, &[observed("jurws_1", Some(version))], at(second)).await;
        }
        let first = world.fleet().versions(keys[0], two_after(None)).await.unwrap().unwrap();
        let rest = world.fleet().versions(keys[0], two_after(first.next)).await.unwrap().unwrap();
        assert_eq!(rest.next, None);
        let all = first.items.into_iter().chain(rest.items);
        let versions: Vec<_> = all.map(|(_, change)| (change.old.version, change.new.version)).collect();
        let text = |version: &str| Some(version.to_owned());
        assert_eq!(versions, [(text("2.0"), text("3.0")), (text("1.0"), text("2.0")), (None, text("1.0"))]);
    }

    /// An application without changes has an empty history, which is not none.
    async fn an_application_without_changes_has_an_empty_history(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        poll(world, server.key, &[observed("a", None)], at(1)).await;
        let key = world.inventory().load(server.key).await.unwrap().unwrap().applications[0].key;
        assert_eq!(world.fleet().versions(key, ALL).await.unwrap().unwrap().items, []);
    }

    /// Groups go by key and count their applications and those online.
    async fn groups_count_their_applications(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let down = ObservedApplication { status: ApplicationStatus::Offline, ..observed("b_2", None) };
        poll(world, server.key, &[observed("a_1", None)], at(1)).await;
        for seconds in [2, 3] {
            poll(world, server.key, &[observed("a_1", None), observed("b_1", None), down.clone()], at(seconds)).await;
        }
        fleet(world, "app02", &["c_1"]).await;
        let first = world.fleet().groups(&GroupFilter::default(), two_after(None)).await.unwrap();
        let counts: Vec<_> = first.items.iter().map(|(group, catalog)| {
            (group.name.as_str(), group.applications, group.online, catalog.as_deref())
        }).collect();
        assert_eq!(counts, [("a", 1, 1, Some("a")), ("b", 2, 1, Some("b"))]);
        assert_eq!(first.items[0].0.grouping, "by_group");
        let rest = world.fleet().groups(&GroupFilter::default(), two_after(first.next)).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
    }

    /// A group shows its settings and its grouping word, also an unknown one.
    async fn a_group_shows_its_settings(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let (group, _) = world.fleet().application(keys[0]).await.unwrap().unwrap().group.unwrap();
        let settings = SettingsLayer { playbook_path: Some("group.yml".to_owned()), ..SettingsLayer::default() };
        world.side_door().set_group_settings(group, settings.clone(), "whatever").await;
        let stored = world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items.remove(0).0;
        assert_eq!((stored.settings, stored.grouping.as_str()), (settings, "whatever"));
    }

    /// Events go from new to old, of one server or of all, page by page.
    async fn events_go_from_new_to_old(world) {
        let (one, _) = fleet(world, "app01", &["a_1"]).await;
        let (two, _) = fleet(world, "app02", &["b_1"]).await;
        let events = vec![
            event(Some(one.key), None, "1"),
            event(Some(two.key), None, "2"),
            event(None, None, "3"),
            event(Some(one.key), None, "4"),
        ];
        let change = InventoryChange::of(one.clone(), events);
        world.inventory().store(&change).await.unwrap();
        let mut told = Vec::new();
        let mut next = None;
        loop {
            let page = world.fleet().events(&FleetEventFilter::default(), two_after(next)).await.unwrap();
            told.extend(page.items.into_iter().map(|event| event.event.description));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(told, ["4", "3", "2", "1"]);
        let of_one = world.fleet().events(&FleetEventFilter { server: Some(one.key), ..FleetEventFilter::default() }, ALL).await.unwrap().items;
        let of_one: Vec<&str> = of_one.iter().map(|event| event.event.description.as_str()).collect();
        assert_eq!(of_one, ["4", "1"]);
        let of = async |filter: FleetEventFilter| -> Vec<String> {
            let page = world.fleet().events(&filter, ALL).await.unwrap();
            page.items.into_iter().map(|event| event.event.description).collect()
        };
        let any = FleetEventFilter::default;
        assert_eq!(of(FleetEventFilter { kind: Some(EventKind::Update), status: Some(EventStatus::Pending), ..any() }).await.len(), 4);
        assert_eq!(of(FleetEventFilter { kind: Some(EventKind::Connect), ..any() }).await.len(), 0);
        assert_eq!(of(FleetEventFilter { status: Some(EventStatus::Failed), ..any() }).await.len(), 0);
        assert_eq!(of(FleetEventFilter { since: Some(at(15)), until: Some(at(16)), ..any() }).await.len(), 4);
        assert_eq!(of(FleetEventFilter { since: Some(at(16)), ..any() }).await.len(), 0);
        assert_eq!(of(FleetEventFilter { until: Some(at(15)), ..any() }).await.len(), 0);
        assert_eq!(of(FleetEventFilter { application: Some(Key::new(404)), ..any() }).await.len(), 0);
    }
}
