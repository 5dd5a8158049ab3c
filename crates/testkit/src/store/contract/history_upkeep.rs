//! What [`HistoryUpkeep`](drover_ports::HistoryUpkeep) promises.

use drover_domain::fleet::inventory::InventoryChange;
use drover_domain::fleet::{GroupSettings, NewEvent};
use drover_domain::haproxy::MappingBasis;
use drover_domain::page::PageRequest;
use drover_ports::{
    ApplicationFilter, Fault, FleetEventFilter, GroupFilter, History, NewMapping, Removal,
};

use super::ALL;
use crate::store::World;
use crate::store::fixtures::{
    at, event, fleet, haproxy, haproxy_server, new_server, observed, poll, sync,
};

/// The times of all events, oldest first.
async fn events(world: &World) -> Vec<drover_domain::Timestamp> {
    let listed = world
        .fleet()
        .events(&FleetEventFilter::default(), ALL)
        .await
        .unwrap();
    listed
        .items
        .iter()
        .rev()
        .map(|event| event.event.at)
        .collect()
}

contract! { $ history_upkeep => history_upkeep_contract for World;
    /// Applications are forgotten when they are gone long enough, with their history; those that are present never are.
    async fn gone_applications_are_forgotten_with_their_history(world) {
        let (server, keys) = fleet(world, "app01", &["a_1", "b_1", "c_1"]).await;
        poll(world, server.key, &[observed("a_1", Some("2.0")), observed("b_1", Some("1.0"))], at(10)).await;
        poll(world, server.key, &[observed("a_1", Some("2.0"))], at(20)).await;
        let prune = async |before| world.history().prune(History::GoneApplications, at(before), 10).await.unwrap();
        assert_eq!(prune(1).await, 0);
        assert_eq!(prune(10).await, 1);
        assert_eq!(world.fleet().application(keys[2]).await.unwrap(), None);
        assert_eq!(world.fleet().versions(keys[2], PageRequest::first()).await.unwrap(), None);
        assert!(world.fleet().application(keys[1]).await.unwrap().is_some());
        assert_eq!(prune(1_000_000).await, 1);
        assert!(world.fleet().application(keys[0]).await.unwrap().is_some());
    }

    /// What a removed server leaves behind is forgotten in chunks, whenever it was seen.
    async fn what_a_removed_server_leaves_is_forgotten_in_chunks(world) {
        let (server, _) = fleet(world, "app01", &["a_1", "b_1", "c_1"]).await;
        fleet(world, "app02", &["a_1"]).await;
        assert_eq!(world.servers().remove(server.key, &server.place()).await.unwrap(), Removal::Done);
        let mut rounds = Vec::new();
        for _ in 0..3 {
            rounds.push(world.history().prune(History::GoneApplications, at(0), 2).await.unwrap());
        }
        assert_eq!(rounds, [2, 1, 0]);
        let left = world.fleet().applications(&ApplicationFilter::default(), PageRequest::first()).await.unwrap();
        assert_eq!(left.items.len(), 1);
    }

    /// Groups and catalog entries that polling found are forgotten when nothing belongs to them; what a person made or
    /// changed stays.
    async fn empty_groups_that_nobody_set_are_forgotten(world) {
        let (server, _) = fleet(world, "app01", &["a_1", "b_1", "c_1"]).await;
        let groups = world.fleet().groups(&GroupFilter::default(), PageRequest::first()).await.unwrap().items;
        let b = groups.iter().find(|(group, _)| group.name == "b").unwrap().0.clone();
        let wanted = GroupSettings { grouping: "no_grouping".to_owned(), ..b.chosen() };
        world.groups().change(b.key, &b.chosen(), &wanted).await.unwrap();
        let own = GroupSettings { name: "own".to_owned(), catalog: None, ..b.chosen() };
        world.groups().add(&own, at(1)).await.unwrap();
        let prune = async |history, before| world.history().prune(history, at(before), 10).await.unwrap();
        assert_eq!(prune(History::EmptyGroups, 1_000).await, 0);
        world.servers().remove(server.key, &server.place()).await.unwrap();
        assert_eq!(prune(History::GoneApplications, 0).await, 3);
        assert_eq!(prune(History::EmptyGroups, 0).await, 0, "younger than that");
        assert_eq!(prune(History::EmptyGroups, 1_000).await, 2);
        // The entry of the group that stays is in use.
        assert_eq!(prune(History::EmptyCatalogEntries, 1_000).await, 2);
        let left = world.fleet().groups(&GroupFilter::default(), PageRequest::first()).await.unwrap().items;
        let mut names: Vec<_> = left.iter().map(|(group, _)| group.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["b", "own"]);
    }

    /// Of each record what is old goes, oldest first, no more than asked for, and nothing else.
    async fn what_is_old_is_forgotten_oldest_first(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let happened = [30, 10, 20, 40].map(|seconds| NewEvent { at: at(seconds), ..event(Some(server.key), None, "x") }).into();
        let change = InventoryChange::of(server, happened);
        world.inventory().store(&change).await.unwrap();
        let history = world.history();
        assert_eq!(history.prune(History::FleetEvents, at(10), 10).await.unwrap(), 0);
        assert_eq!(history.prune(History::FleetEvents, at(40), 0).await.unwrap(), 0);
        assert_eq!(history.prune(History::FleetEvents, at(40), 2).await.unwrap(), 2);
        assert_eq!(events(world).await, [at(30), at(40)]);
        assert_eq!(history.prune(History::FleetEvents, at(40), 2).await.unwrap(), 1);
        assert_eq!(events(world).await, [at(40)]);

        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("a", "UP")])]).await;
        for (word, seconds) in [("DOWN", 50), ("UP", 60), ("MAINT", 70)] {
            sync(world, instance, &[("be", &[haproxy_server("a", word)])], at(seconds)).await;
        }
        assert_eq!(history.prune(History::HaproxyStatuses, at(70), 10).await.unwrap(), 2);
        let left = world.side_door().status_history().await;
        assert_eq!(left.iter().map(|(_, _, new)| new.as_str()).collect::<Vec<_>>(), ["MAINT"]);
        assert_eq!(events(world).await, [at(40)]);
    }

    /// Servers and backends that left HAProxy long ago go, with their mappings; those that are present stay.
    async fn what_left_haproxy_long_ago_is_forgotten(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let both = ["a", "b"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &both), ("old", &both[..1])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let mapping = NewMapping { server: known.servers[1].key, application: keys[0], basis: MappingBasis::Name, at: at(5), cause: None };
        world.haproxy().map(&[mapping]).await.unwrap();
        sync(world, instance, &[("be", &both[..1])], at(10)).await;
        let history = world.history();
        assert_eq!(history.prune(History::GoneServers, at(10), 10).await.unwrap(), 0);
        assert_eq!(history.prune(History::GoneServers, at(11), 1).await.unwrap(), 1);
        assert_eq!(history.prune(History::GoneServers, at(11), 10).await.unwrap(), 1);
        assert_eq!(history.prune(History::GoneBackends, at(11), 10).await.unwrap(), 1);
        assert_eq!(history.prune(History::GoneBackends, at(11), 10).await.unwrap(), 0);
        // One that returns is a new one, without the mapping of the old one.
        sync(world, instance, &[("be", &both)], at(20)).await;
        let now = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!((now.servers.len(), now.servers[0].key), (2, known.servers[0].key));
        assert_ne!(now.servers[1].key, known.servers[1].key);
        assert_eq!(now.servers[1].application, None);
    }

    /// Without the database it says so, and that it may be back later.
    async fn without_a_database_nothing_is_forgotten(world) {
        world.side_door().cut().await;
        for record in History::ALL {
            let error = world.history().prune(record, at(1), 1).await.unwrap_err();
            assert_eq!(error.fault(), Fault::Transient);
        }
    }
}
