//! Mappings: what it costs to make, end and look at them, and to sum HAProxy up, depends on no number of rows.

use drover_domain::page::PageRequest;
use drover_ports::{HaproxyMappings, HaproxyView, MapOutcome, ServerRegistry, UnmappedFilter};
use drover_store_sea_orm::SeaOrmStore;
use drover_testkit::store::fixtures::at;
use drover_testkit::store::fixtures::mappings::{by_hand, unmapping};

use super::support;
use super::{SIZES, all_equal, applications, cost, discovered, shown};

const ALL: PageRequest = PageRequest {
    after: None,
    limit: PageRequest::LIMIT_MAX,
};

async fn mappings_cost_the_same(store: SeaOrmStore) {
    use drover_ports::HaproxyStore;

    let mut costs: [Vec<u64>; 9] = Default::default();
    for count in SIZES {
        let (_, instance) = discovered(&store, &format!("lb{count}"), count).await;
        let change = shown(&store, instance, count, "UP").await;
        HaproxyStore::store(&store, &change).await.unwrap();
        let known = HaproxyStore::load(&store, instance).await.unwrap().unwrap();
        let server = known.servers[0].key;
        let keys = applications(&store, &format!("app{count}"), 2).await;

        let (find_unmapped, found) = cost(&store, HaproxyStore::unmapped(&store, None)).await;
        assert!(found.unwrap().len() >= count);
        let (list, page) = cost(
            &store,
            HaproxyMappings::unmapped(&store, &UnmappedFilter::default(), ALL),
        )
        .await;
        assert!(page.unwrap().items.len() >= count.min(200));
        let (summary, told) = cost(&store, store.summary(1)).await;
        assert!(told.unwrap().unmapped >= count as u64);
        store
            .map_by_hand(&by_hand(server, keys[0], at(9)))
            .await
            .unwrap();
        let (map, outcome) =
            cost(&store, store.map_by_hand(&by_hand(server, keys[1], at(10)))).await;
        assert!(matches!(outcome.unwrap(), MapOutcome::Mapped(_)));
        let (history, page) = cost(&store, HaproxyMappings::history(&store, server, ALL)).await;
        assert_eq!(page.unwrap().unwrap().items.len(), 3);
        let (find, found) = cost(&store, HaproxyMappings::find(&store, server)).await;
        assert!(found.unwrap().unwrap().active.is_some());
        let (unmap, after) = cost(&store, store.unmap(&unmapping(server, true, at(11)))).await;
        assert!(after.unwrap().unwrap().exclusion.is_some());
        let node = known.instance.server;
        let (off, told) = cost(&store, store.set_haproxy_node(node, false)).await;
        assert!(told.unwrap().is_some());
        let (on, told) = cost(&store, store.set_haproxy_node(node, true)).await;
        assert!(told.unwrap().is_some());
        let spent = [
            find_unmapped,
            list,
            summary,
            map,
            history,
            find,
            unmap,
            off,
            on,
        ];
        for (costs, spent) in costs.iter_mut().zip(spent) {
            costs.push(spent);
        }
    }
    let names = [
        ("finding what is unmapped", 1),
        ("listing what is unmapped", 1),
        ("summing up", 4),
        ("mapping by hand", 9),
        ("listing the history", 1),
        ("finding a mapping", 1),
        ("unmapping", 6),
        ("switching a node off", 3),
        ("switching a node on", 1),
    ];
    for ((name, most), costs) in names.into_iter().zip(&costs) {
        all_equal(name, costs, most);
    }
}

#[tokio::test]
async fn mappings_cost_the_same_on_sqlite() {
    let scene = support::sqlite().await;
    mappings_cost_the_same(scene.store.clone()).await;
}

#[tokio::test]
async fn mappings_cost_the_same_on_postgres() {
    let scene = support::postgres().await;
    mappings_cost_the_same(scene.store.clone()).await;
}
