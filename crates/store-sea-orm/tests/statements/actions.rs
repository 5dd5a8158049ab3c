//! Actions: what it costs to find their servers, start them and look at them depends on no number of rows.

use drover_domain::haproxy::action::{ActionEnd, Evidence};
use drover_domain::haproxy::{BreakerPolicy, HaproxyServer};
use drover_domain::page::PageRequest;
use drover_ports::{ActionFilter, ActionView, HaproxyActions, NewAction, StartedWorkflow};
use drover_store_sea_orm::SeaOrmStore;
use drover_testkit::store::fixtures::actions::{action_on, take_action};
use drover_testkit::store::fixtures::{Updater, at, haproxy_server};

use super::support;
use super::{all_equal, cost, discovered, shown};

const MANY: [usize; 3] = [1, 10, 100];

const ALL: PageRequest = PageRequest {
    after: None,
    limit: PageRequest::LIMIT_MAX,
};

/// So many servers in a HAProxy of their own.
async fn servers(store: &SeaOrmStore, count: usize) -> Vec<HaproxyServer> {
    use drover_ports::HaproxyStore;

    let (_, instance) = discovered(store, &format!("lb{count}"), 1).await;
    let change = shown(store, instance, count, "UP").await;
    store.store(&change).await.unwrap();
    store.load(instance).await.unwrap().unwrap().servers
}

async fn actions_cost_the_same(store: SeaOrmStore) {
    let mut costs: [Vec<u64>; 7] = Default::default();
    for count in MANY {
        let servers = servers(&store, count).await;
        assert_eq!(servers.len(), count);
        let keys: Vec<_> = servers.iter().map(|server| server.key).collect();
        let (targets, found) = cost(&store, store.targets(&keys)).await;
        assert_eq!(found.unwrap().len(), count);
        let first = 1_000 * count as u128;
        let new: Vec<NewAction> = (first..)
            .zip(&servers)
            .map(|(number, server)| action_on(number, server))
            .collect();
        let (start, answers) = cost(&store, store.start(&new)).await;
        let created = new
            .iter()
            .map(|new| StartedWorkflow::Created(new.workflow.id));
        assert_eq!(answers.unwrap(), created.collect::<Vec<_>>());
        let (replay, answers) = cost(&store, store.start(&new)).await;
        let replayed = new
            .iter()
            .map(|new| StartedWorkflow::Replayed(new.workflow.id));
        assert_eq!(answers.unwrap(), replayed.collect::<Vec<_>>());
        let (list, listed) = cost(&store, store.list(&ActionFilter::default(), ALL)).await;
        assert!(listed.unwrap().items.len() >= count);
        let worker = Updater::open(&store, count as u128).await;
        let claim = take_action(&worker).await;
        let (begin, action) = cost(&store, store.begin(&claim, at(20))).await;
        assert!(action.unwrap().is_some());
        let end = ActionEnd {
            at: at(40),
            failure: None,
        };
        let seen = haproxy_server("any", "DRAIN");
        let evidence = Evidence::default();
        let (note, noted) = cost(&store, store.record_evidence(&claim, &evidence)).await;
        noted.unwrap();
        let finish = store.finish(&claim, &end, &evidence, Some(&seen));
        let (finish, finished) = cost(&store, finish).await;
        finished.unwrap();
        worker.succeed(&claim).await;
        for (costs, spent) in costs
            .iter_mut()
            .zip([targets, start, replay, list, begin, note, finish])
        {
            costs.push(spent);
        }
    }
    let names = [
        "targets",
        "starting",
        "starting again",
        "listing",
        "beginning",
        "noting",
        "finishing",
    ];
    for ((name, most), costs) in names.into_iter().zip([2, 9, 3, 1, 3, 2, 7]).zip(&costs) {
        all_equal(name, costs, most);
    }
}

async fn a_healthy_breaker_costs_one_statement(store: SeaOrmStore) {
    let (_, instance) = discovered(&store, "lb01", 1).await;
    let policy = BreakerPolicy::default();
    let (admit, _) = cost(&store, store.admit(instance, policy, at(1))).await;
    let (reached, _) = cost(&store, store.record_answer(instance, policy, true, at(1))).await;
    let (failed, _) = cost(&store, store.record_answer(instance, policy, false, at(1))).await;
    let (mended, _) = cost(&store, store.record_answer(instance, policy, true, at(1))).await;
    assert_eq!([admit, reached, failed, mended], [1, 1, 2, 2]);
}

mod sqlite {
    use super::support;

    #[tokio::test]
    async fn actions_cost_the_same() {
        let scene = support::sqlite().await;
        super::actions_cost_the_same(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn a_healthy_breaker_costs_one_statement() {
        let scene = support::sqlite().await;
        super::a_healthy_breaker_costs_one_statement(scene.store.clone()).await;
    }
}

mod postgres {
    use super::support;

    #[tokio::test]
    async fn actions_cost_the_same() {
        let scene = support::postgres().await;
        super::actions_cost_the_same(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn a_healthy_breaker_costs_one_statement() {
        let scene = support::postgres().await;
        super::a_healthy_breaker_costs_one_statement(scene.store.clone()).await;
    }
}
