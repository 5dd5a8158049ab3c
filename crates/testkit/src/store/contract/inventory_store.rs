//! What [`InventoryStore`](drover_ports::InventoryStore) promises.

use drover_domain::Key;
use drover_domain::fleet::inventory::{ApplicationUpsert, InventoryChange, StatusChange};
use drover_domain::fleet::{
    ApplicationKind, ApplicationSettings, ApplicationStatus, GroupEntry, ObservedApplication,
    Resolution, Server, ServerPlace, ServerStatus, VersionState,
};
use drover_domain::rollout::record::{EndStatus, RolloutEnd};

use drover_ports::{FleetEventFilter, GroupFilter, Settled};

use super::ALL;
use crate::store::fixtures::{
    HOSTILE, Updater, at, event, fleet, new_server, observed, poll, version_change,
};
use crate::store::{World, fixtures};

fn change(server: &Server) -> InventoryChange {
    InventoryChange::of(server.clone(), Vec::new())
}

fn upsert(observed: ObservedApplication, resolution: Option<(&str, u32)>) -> ApplicationUpsert {
    let kind = observed.kind;
    let resolution = resolution.map(|(base, number)| Resolution {
        base: base.to_owned(),
        kind,
        number,
        make: true,
        entry: GroupEntry::Join,
    });
    ApplicationUpsert {
        observed,
        resolution,
        version: None,
    }
}

async fn only(world: &World, server: &Server) -> drover_domain::fleet::Application {
    let known = world.inventory().load(server.key).await.unwrap().unwrap();
    assert_eq!(known.applications.len(), 1);
    known.applications.into_iter().next().unwrap()
}

contract! { $ inventory_store => inventory_store_contract for World;
    /// What is gone is counted and not loaded; it comes back by its name, with its key and what people said of it.
    async fn what_is_gone_is_recalled_by_name(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1"]).await;
        let (other, _) = fleet(world, "app02", &["a_1", "b_1"]).await;
        poll(world, other.key, &[], at(2)).await;
        poll(world, server.key, &[observed("b_1", Some("1.0"))], at(2)).await;
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!((known.applications.len(), known.gone), (1, 1));
        let service = ApplicationKind::Service;
        let wanted = [(service, "a_1"), (service, "b_1"), (ApplicationKind::Site, "a_1"), (service, "x")];
        let recalled = world.inventory().recall(server.key, &wanted).await.unwrap();
        assert_eq!(recalled.iter().map(|found| found.key).collect::<Vec<_>>(), [keys[0]]);
        assert_eq!(recalled[0].last_seen, Some(at(1)));
        poll(world, server.key, &[observed("a_1", Some("1.0")), observed("b_1", Some("1.0"))], at(3)).await;
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!((known.applications.len(), known.gone), (2, 0));
        assert_eq!(known.applications[0].key, keys[0]);
    }

    /// Applications without data are present: their server is away, not they.
    async fn what_has_no_data_is_not_gone(world) {
        let (server, keys) = fleet(world, "app01", &["a_1"]).await;
        let statuses = vec![StatusChange { application: keys[0], status: ApplicationStatus::NoData, last_seen: server.inventory_at }];
        world.inventory().store(&InventoryChange { statuses, ..change(&server) }).await.unwrap();
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!((known.applications.len(), known.gone), (1, 0));
    }

    /// What is gone longest goes first, and only of this server.
    async fn the_ones_gone_longest_are_forgotten(world) {
        let names = ["a_1", "b_1", "c_1", "d_1"];
        let (other, _) = fleet(world, "app02", &["a_1"]).await;
        poll(world, other.key, &[], at(2)).await;
        let (server, keys) = fleet(world, "app01", &names).await;
        for last in (1..4).rev() {
            let rest: Vec<_> = names[..last].iter().map(|name| observed(name, Some("1.0"))).collect();
            poll(world, server.key, &rest, at(5 - i64::try_from(last).unwrap())).await;
        }
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!((known.applications.len(), known.gone), (1, 3));
        world.inventory().store(&InventoryChange { forget: 2, ..change(&known.server) }).await.unwrap();
        let mut left = Vec::new();
        for key in keys {
            left.push(world.fleet().application(key).await.unwrap().is_some());
        }
        assert_eq!(left, [true, true, false, false]);
        assert_eq!(world.inventory().load(other.key).await.unwrap().unwrap().gone, 1);
    }

    /// A name that may have no group of its own yet joins one that is there.
    async fn a_passing_name_makes_no_group(world) {
        fleet(world, "app01", &["a_1"]).await;
        let server = world.servers().add(&new_server("app02"), at(0)).await.unwrap();
        let passing = |name: &str, base: &str| {
            let mut upsert = upsert(observed(name, None), Some((base, 2)));
            if let Some(resolution) = &mut upsert.resolution {
                resolution.make = false;
            }
            upsert
        };
        let upserts = vec![passing("a_2", "a"), passing("b_2", "b")];
        world.inventory().store(&InventoryChange { upserts, ..change(&server) }).await.unwrap();
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        let groups: Vec<_> = known.applications.iter().map(|found| found.group.as_ref().map(|(_, name)| name.as_str())).collect();
        assert_eq!(groups, [Some("a"), None]);
        assert_eq!(world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items.len(), 1);
    }

    /// Where new members are proposed, a server that has none in the group proposes; what a person accepts joins.
    async fn new_members_are_proposed_where_that_is_wanted(world) {
        let (first, _) = fleet(world, "app01", &["a_1"]).await;
        let propose = |name: &str, base: &str, number: u32| {
            let mut upsert = upsert(observed(name, None), Some((base, number)));
            if let Some(resolution) = &mut upsert.resolution {
                resolution.entry = GroupEntry::Propose;
            }
            upsert
        };
        let second = world.servers().add(&new_server("app02"), at(0)).await.unwrap();
        let upserts = vec![propose("a_2", "a", 2), propose("new_1", "new", 1), propose("new_2", "new", 2)];
        world.inventory().store(&InventoryChange { upserts, ..change(&second) }).await.unwrap();
        let upserts = vec![propose("a_3", "a", 3)];
        world.inventory().store(&InventoryChange { upserts, ..change(&first) }).await.unwrap();
        let known = world.inventory().load(second.key).await.unwrap().unwrap();
        let named = |group: &Option<(drover_domain::fleet::GroupKey, String)>| group.as_ref().map(|(_, name)| name.clone());
        let standing: Vec<_> = known.applications.iter().map(|found| (named(&found.group), named(&found.proposed))).collect();
        let (a, new) = (Some("a".to_owned()), Some("new".to_owned()));
        // The server that makes a group is in it, and so is a second one of a server that has a member.
        assert_eq!(standing, [(None, a.clone()), (new.clone(), None), (new, None)]);
        let known = world.inventory().load(first.key).await.unwrap().unwrap();
        assert_eq!(named(&known.applications[1].group), a);

        let proposed = world.inventory().load(second.key).await.unwrap().unwrap().applications.remove(0);
        let accepted = ApplicationSettings { group: a.clone(), ..proposed.chosen() };
        let settings = world.applications().change(proposed.key, &proposed.chosen(), &accepted).await.unwrap();
        let Settled::Done(accepted) = settings else { panic!("{settings:?}") };
        assert_eq!((named(&accepted.group), accepted.proposed, accepted.number), (a, None, 2));
    }

    /// A server that is not there has no inventory.
    async fn an_unknown_server_has_no_inventory(world) {
        assert_eq!(world.inventory().load(Key::new(404)).await.unwrap(), None);
    }

    /// Every field of the server and of an application is read as it was written.
    async fn what_was_stored_is_loaded_equal(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let server = Server {
            status: ServerStatus::Online,
            failures: 3,
            last_check: Some(at(7)),
            inventory_at: Some(at(6)),
            last_error: Some(HOSTILE.to_owned()),
            suspect: Some(i64::MIN),
            agent_ip: Some("fd00::7".parse().unwrap()),
            inventory_failures: 4,
            ..server
        };
        let text = |name: &str| Some(format!("{name} {HOSTILE}"));
        let full = ObservedApplication {
            name: format!("n {HOSTILE}"),
            kind: ApplicationKind::Docker,
            status: ApplicationStatus::Stopping,
            version: VersionState { version: text("v"), tag: text("t"), image: text("i"), distr_path: text("d") },
            address: text("a"),
            port: Some(65535),
            pid: Some(u32::MAX),
            path: text("p"),
            log_path: text("l"),
            container_id: text("c"),
            start_time: text("s"),
        };
        let resolution = Some(("jurws", 7));
        let upserts = vec![upsert(full.clone(), resolution), upsert(observed("bare", None), None)];
        world.inventory().store(&InventoryChange { upserts, ..change(&server) }).await.unwrap();

        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!(known.server, server);
        let [one, other] = known.applications.as_slice() else { panic!("{known:?}") };
        let (stored, bare) = if one.observed.kind == ApplicationKind::Docker { (one, other) } else { (other, one) };
        assert_eq!(stored.observed, full);
        assert_eq!((stored.number, &stored.server), (7, &Some((server.key, "app01".to_owned()))));
        assert_eq!(stored.group.as_ref().map(|(_, name)| name.as_str()), Some("jurws"));
        assert!(stored.catalog.is_some());
        assert_eq!(bare.observed, observed("bare", None));
        assert_eq!((bare.number, &bare.group, bare.catalog), (0, &None, None));
    }

    /// A quiet change is the server's row and nothing else.
    async fn a_quiet_change_is_the_servers_row_only(world) {
        let (server, _) = fleet(world, "app01", &["jurws_1"]).await;
        let before = world.inventory().load(server.key).await.unwrap().unwrap();
        let server = Server { last_check: Some(at(99)), ..server };
        world.inventory().store(&change(&server)).await.unwrap();
        let after = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!(after.server, server);
        assert_eq!(after.applications, before.applications);
    }

    /// An application that is known is overwritten and keeps its key; others stay.
    async fn an_upsert_overwrites_what_is_known(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1"]).await;
        let (other, _) = fleet(world, "app02", &["a_1"]).await;
        let changed = ObservedApplication { status: ApplicationStatus::Starting, port: Some(1), ..observed("a_1", Some("2")) };
        let upserts = vec![upsert(changed.clone(), None)];
        world.inventory().store(&InventoryChange { upserts, ..change(&server) }).await.unwrap();
        let stored = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!(stored.observed, changed);
        assert!(stored.group.is_some(), "what was resolved before stays");
        let second = world.fleet().application(keys[1]).await.unwrap().unwrap();
        assert_eq!(second.observed, observed("b_1", Some("1.0")));
        assert_eq!(only(world, &other).await.observed, observed("a_1", Some("1.0")));
    }

    /// One name with two kinds is two applications.
    async fn kinds_keep_applications_of_one_name_apart(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let site = ObservedApplication { kind: ApplicationKind::Site, ..observed("jurws_1", Some("1")) };
        poll(world, server.key, &[observed("jurws_1", Some("2")), site], at(1)).await;
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!(known.applications.len(), 2);
        assert_ne!(known.applications[0].catalog, known.applications[1].catalog);
        assert_eq!(known.applications[0].group, known.applications[1].group);
    }

    /// Two upserts of one application in one change: the last counts.
    async fn the_last_of_two_upserts_counts(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let upserts = vec![upsert(observed("a", Some("1")), None), upsert(observed("a", Some("2")), None)];
        world.inventory().store(&InventoryChange { upserts, ..change(&server) }).await.unwrap();
        assert_eq!(only(world, &server).await.observed, observed("a", Some("2")));
    }

    /// Catalog entries and groups are made once and shared by name.
    async fn groups_span_servers(world) {
        let (_, first) = fleet(world, "app01", &["jurws_1", "other_1"]).await;
        let (_, second) = fleet(world, "app02", &["jurws_2"]).await;
        let one = world.fleet().application(first[0]).await.unwrap().unwrap();
        let two = world.fleet().application(second[0]).await.unwrap().unwrap();
        assert_eq!((one.group.clone(), one.catalog, one.number), (two.group, two.catalog, 1));
        assert_eq!(two.number, 2);
        let groups = world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items;
        let mut names: Vec<&str> = groups.iter().map(|(group, _)| group.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["jurws", "other"]);
    }

    /// Two servers that bring the same new names at once share their groups.
    async fn servers_that_bring_the_same_names_at_once_share_groups(world) {
        let mut changes = Vec::new();
        for name in ["app01", "app02", "app03", "app04"] {
            let server = world.servers().add(&new_server(name), at(0)).await.unwrap();
            let mut upserts: Vec<ApplicationUpsert> =
                (0..20).map(|number| upsert(observed(&format!("a{number}_1"), None), Some((&format!("a{number}"), 1)))).collect();
            if changes.len() % 2 == 1 {
                upserts.reverse();
            }
            changes.push(InventoryChange { upserts, ..change(&server) });
        }
        let inventory = world.inventory();
        let (a, b, c, d) = tokio::join!(
            inventory.store(&changes[0]),
            inventory.store(&changes[1]),
            inventory.store(&changes[2]),
            inventory.store(&changes[3]),
        );
        a.and(b).and(c).and(d).unwrap();
        let groups = world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items;
        assert_eq!(groups.len(), 20);
        assert!(groups.iter().all(|(group, catalog)| group.applications == 4 && catalog.is_some()), "{groups:?}");
    }

    /// A manual assignment survives: a resolution only fills empty members.
    async fn an_assigned_application_keeps_its_group(world) {
        let (server, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let before = world.fleet().application(keys[0]).await.unwrap().unwrap();
        let upserts = vec![upsert(observed("jurws_1", Some("9")), Some(("elsewhere", 5)))];
        world.inventory().store(&InventoryChange { upserts, ..change(&server) }).await.unwrap();
        let after = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!((after.group, after.catalog, after.number), (before.group, before.catalog, before.number));
    }

    /// A group without a catalog entry gets one.
    async fn a_group_without_a_catalog_entry_gets_one(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let (group, _) = world.fleet().application(keys[0]).await.unwrap().unwrap().group.unwrap();
        world.side_door().detach_group(group).await;
        assert_eq!(world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items[0].1, None);
        fleet(world, "app02", &["jurws_2"]).await;
        assert_eq!(world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items[0].1.as_deref(), Some("jurws"));
    }

    /// A status change touches the status only, and only on its server.
    async fn a_status_change_touches_the_status_only(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1"]).await;
        let (other, foreign) = fleet(world, "app02", &["c_1"]).await;
        let gone = |application| StatusChange { application, status: ApplicationStatus::NoData, last_seen: Some(at(1)) };
        let statuses = vec![gone(keys[0]), gone(foreign[0])];
        world.inventory().store(&InventoryChange { statuses, ..change(&server) }).await.unwrap();
        let changed = world.fleet().application(keys[0]).await.unwrap().unwrap();
        let expected = ObservedApplication { status: ApplicationStatus::NoData, ..observed("a_1", Some("1.0")) };
        assert_eq!(changed.observed, expected);
        let same = world.fleet().application(keys[1]).await.unwrap().unwrap();
        assert_eq!(same.observed.status, ApplicationStatus::Online);
        assert_eq!(only(world, &other).await.observed.status, ApplicationStatus::Online);
    }

    /// A present application was last seen in its server's last believed inventory; a gone one when
    /// it was listed last; a returning one follows its server again.
    async fn last_seen_follows_the_inventory_while_present(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1"]).await;
        let seen = async || world.fleet().application(keys[0]).await.unwrap().unwrap().last_seen;
        assert_eq!(seen().await, Some(at(1)));
        let both = [observed("a_1", Some("1.0")), observed("b_1", Some("1.0"))];
        poll(world, server.key, &both, at(60)).await;
        assert_eq!(seen().await, Some(at(60)), "a quiet poll moves it");
        poll(world, server.key, &both[1..], at(120)).await;
        poll(world, server.key, &both[1..], at(180)).await;
        assert_eq!(seen().await, Some(at(60)), "gone since then");
        poll(world, server.key, &both, at(240)).await;
        poll(world, server.key, &both, at(300)).await;
        assert_eq!(seen().await, Some(at(300)));
    }

    /// Version changes land in the history of their application.
    async fn version_changes_are_recorded(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1"]).await;
        let recorded = version_change("1.0", HOSTILE, fixtures::task_id(1));
        let new = ApplicationUpsert { version: Some(recorded.clone()), ..upsert(observed("a_1", Some("2")), None) };
        world.inventory().store(&InventoryChange { upserts: vec![new], ..change(&server) }).await.unwrap();
        let history = world.fleet().versions(keys[0], ALL).await.unwrap().unwrap().items;
        assert_eq!(history.len(), 2, "the first discovery and this one");
        assert_eq!(history[0].1, recorded);
        assert_eq!(world.fleet().versions(keys[1], ALL).await.unwrap().unwrap().items.len(), 1);
    }

    /// What a poll found out at a place where the server is no more is dropped, whether anything else changed or not.
    async fn a_poll_of_the_place_before_changes_nothing(world) {
        let (server, keys) = fleet(world, "app01", &["a_1"]).await;
        let polled = world.servers().find(server.key).await.unwrap().unwrap();
        let known = polled.place();
        for place in [ServerPlace { port: 9, ..known.clone() }, ServerPlace { address: "10.9.9.9".to_owned(), ..known.clone() }] {
            let now = world.servers().find(server.key).await.unwrap().unwrap().place();
            let moved = world.servers().change(server.key, &now, &place).await.unwrap().unwrap();
            let seen = Server { status: ServerStatus::Online, failures: 2, last_check: Some(at(99)), ..polled.clone() };
            let events = vec![event(Some(server.key), Some(keys[0]), "late")];
            for late in [change(&seen), InventoryChange { events, ..change(&seen) }] {
                world.inventory().store(&late).await.unwrap();
                assert_eq!(world.servers().find(server.key).await.unwrap().as_ref(), Some(&moved));
            }
        }
        assert_eq!(world.fleet().events(&FleetEventFilter::default(), ALL).await.unwrap().items, []);
    }

    /// Events land in the log, in their order.
    async fn events_are_recorded(world) {
        let (server, keys) = fleet(world, "app01", &["a_1"]).await;
        let events = vec![event(Some(server.key), Some(keys[0]), HOSTILE), event(None, None, "second")];
        world.inventory().store(&InventoryChange { events: events.clone(), ..change(&server) }).await.unwrap();
        let stored = world.fleet().events(&FleetEventFilter::default(), ALL).await.unwrap().items;
        let stored: Vec<_> = stored.into_iter().rev().map(|stored| stored.event).collect();
        assert_eq!(stored, events);
    }

    /// Polling a server and ending a task that changed its applications do not stop each other.
    async fn polling_and_updating_at_once_both_succeed(world) {
        let names: Vec<String> = (0..40).map(|number| format!("a{number}_1")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (server, keys) = fleet(world, "app01", &names).await;
        for round in 1..=5_u128 {
            let task = fixtures::task(round, &keys);
            world.rollouts().start(&fixtures::updates(vec![task.clone()])).await.unwrap();
            let worker = Updater::open(world.queue(), round).await;
            let claim = worker.take().await;
            let changed = keys.iter().rev().map(|key| (*key, version_change("1.0", &round.to_string(), task.id)));
            let end = RolloutEnd {
                progress: 100,
                status: EndStatus::Succeeded,
                result: None,
                error: None,
                targets: Vec::new(),
                versions: changed.collect(),
                events: vec![event(Some(server.key), Some(keys[0]), "updated")],
            };
            let upserts = names.iter().map(|name| upsert(observed(name, Some("seen")), None)).collect();
            let polled = InventoryChange { upserts, ..change(&server) };
            let (polled, ended) = tokio::join!(world.inventory().store(&polled), world.rollouts().finish(&claim, &end, at(9)));
            polled.and(ended).unwrap();
        }
        assert_eq!(world.fleet().versions(keys[0], ALL).await.unwrap().unwrap().items.len(), 6);
    }

    /// A thousand applications are stored and loaded like one.
    async fn a_thousand_applications_are_stored(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let applications: Vec<ObservedApplication> =
            (0..1_000).map(|number| observed(&format!("a{}_{number}", number / 10), Some("1"))).collect();
        poll(world, server.key, &applications, at(1)).await;
        let known = world.inventory().load(server.key).await.unwrap().unwrap();
        assert_eq!(known.applications.len(), 1_000);
        poll(world, server.key, &[], at(2)).await;
        let gone = world.inventory().load(server.key).await.unwrap().unwrap().applications;
        assert!(gone.iter().all(|gone| gone.observed.status == ApplicationStatus::Offline && gone.last_seen == Some(at(1))));
    }
}
