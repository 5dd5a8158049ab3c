//! What [`HistoryUpkeep`](drover_ports::HistoryUpkeep) promises.

use drover_domain::balancer::MappingBasis;
use drover_domain::fleet::NewEvent;
use drover_domain::fleet::inventory::InventoryChange;
use drover_ports::{Fault, FleetEventFilter, History, NewMapping};

use super::ALL;
use crate::store::World;
use crate::store::fixtures::{at, balancer, balancer_server, event, fleet, new_server, sync};

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
    /// Of each record what is old goes, oldest first, no more than asked for, and nothing else.
    async fn what_is_old_is_forgotten_oldest_first(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let happened = [30, 10, 20, 40].map(|seconds| NewEvent { at: at(seconds), ..event(Some(server.key), None, "x") }).into();
        let change = InventoryChange { server, upserts: Vec::new(), statuses: Vec::new(), events: happened };
        world.inventory().store(&change).await.unwrap();
        let history = world.history();
        assert_eq!(history.forget(History::FleetEvents, at(10), 10).await.unwrap(), 0);
        assert_eq!(history.forget(History::FleetEvents, at(40), 0).await.unwrap(), 0);
        assert_eq!(history.forget(History::FleetEvents, at(40), 2).await.unwrap(), 2);
        assert_eq!(events(world).await, [at(30), at(40)]);
        assert_eq!(history.forget(History::FleetEvents, at(40), 2).await.unwrap(), 1);
        assert_eq!(events(world).await, [at(40)]);

        let instance = balancer(world, "lb01", &[("be", &[balancer_server("a", "UP")])]).await;
        for (word, seconds) in [("DOWN", 50), ("UP", 60), ("MAINT", 70)] {
            sync(world, instance, &[("be", &[balancer_server("a", word)])], at(seconds)).await;
        }
        assert_eq!(history.forget(History::BalancerStatuses, at(70), 10).await.unwrap(), 2);
        let left = world.side_door().status_history().await;
        assert_eq!(left.iter().map(|(_, _, new)| new.as_str()).collect::<Vec<_>>(), ["MAINT"]);
        assert_eq!(events(world).await, [at(40)]);
    }

    /// Servers and backends that left HAProxy long ago go, with their mappings; those that are present stay.
    async fn what_left_haproxy_long_ago_is_forgotten(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let both = ["a", "b"].map(|name| balancer_server(name, "UP"));
        let instance = balancer(world, "lb01", &[("be", &both), ("old", &both[..1])]).await;
        let known = world.balancers().load(instance).await.unwrap().unwrap();
        let mapping = NewMapping { server: known.servers[1].key, application: keys[0], basis: MappingBasis::Name, at: at(5), cause: None };
        world.balancers().map(&[mapping]).await.unwrap();
        sync(world, instance, &[("be", &both[..1])], at(10)).await;
        let history = world.history();
        assert_eq!(history.forget(History::GoneServers, at(10), 10).await.unwrap(), 0);
        assert_eq!(history.forget(History::GoneServers, at(11), 1).await.unwrap(), 1);
        assert_eq!(history.forget(History::GoneServers, at(11), 10).await.unwrap(), 1);
        assert_eq!(history.forget(History::GoneBackends, at(11), 10).await.unwrap(), 1);
        assert_eq!(history.forget(History::GoneBackends, at(11), 10).await.unwrap(), 0);
        // One that returns is a new one, without the mapping of the old one.
        sync(world, instance, &[("be", &both)], at(20)).await;
        let now = world.balancers().load(instance).await.unwrap().unwrap();
        assert_eq!((now.servers.len(), now.servers[0].key), (2, known.servers[0].key));
        assert_ne!(now.servers[1].key, known.servers[1].key);
        assert_eq!(now.servers[1].application, None);
    }

    /// Without the database it says so, and that it may be back later.
    async fn without_a_database_nothing_is_forgotten(world) {
        world.side_door().cut().await;
        for record in History::ALL {
            let error = world.history().forget(record, at(1), 1).await.unwrap_err();
            assert_eq!(error.fault(), Fault::Transient);
        }
    }
}
