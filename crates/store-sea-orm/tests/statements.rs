//! No port method costs more statements for more rows.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test setup should stop the test"
)]

#[path = "statements/actions.rs"]
mod actions;
#[path = "statements/engine.rs"]
mod engine;
#[path = "statements/mappings.rs"]
mod mappings;
#[path = "statements/names.rs"]
mod names;
mod support;

use drover_domain::fleet::inventory::{
    self, InventoryChange, InventoryReport, PollPolicy, Reconciled,
};
use drover_domain::fleet::{ApplicationKey, NewServer, ObservedApplication, ServerKey};
use drover_domain::haproxy::sync::{self, ObservedBackends};
use drover_domain::haproxy::{HaproxyInstanceKey, MappingBasis, ObservedServer};
use drover_domain::rollout::record::{
    EndStatus, RolloutEnd, RolloutTarget, RunProgress, TargetOutcome,
};
use drover_ports::{
    FleetSnapshots, HaproxyStore, InventoryStore, NewMapping, RolloutStore, RolloutView,
    ServerRegistry,
};
use drover_store_sea_orm::SeaOrmStore;
use drover_testkit::store::fixtures::{
    Updater, at, event, haproxy_server, instance, job_event, new_server, observed, run, task,
    updates, version_change,
};

const SIZES: [usize; 5] = [1, 10, 40, 100, 1_000];

/// How many statements `work` sends.
async fn cost<T>(store: &SeaOrmStore, work: impl Future<Output = T>) -> (u64, T) {
    let before = store.statements();
    let result = work.await;
    (store.statements() - before, result)
}

#[track_caller]
fn all_equal(what: &str, costs: &[u64], most: u64) {
    assert!(
        costs
            .iter()
            .all(|cost| Some(cost) == costs.first() && *cost <= most),
        "{what}: {costs:?}, at most {most}"
    );
}

async fn server(store: &SeaOrmStore, name: &str) -> ServerKey {
    store.add(&new_server(name), at(0)).await.unwrap().key
}

async fn change(
    store: &SeaOrmStore,
    server: ServerKey,
    applications: Vec<ObservedApplication>,
    now: i64,
) -> InventoryChange {
    let known = InventoryStore::load(store, server).await.unwrap().unwrap();
    let report = InventoryReport {
        applications,
        ..InventoryReport::default()
    };
    let policy = PollPolicy {
        suspect_percent: 100,
        ..PollPolicy::default()
    };
    match inventory::reconcile(&known, &report, policy, at(now)) {
        Reconciled::Apply(change) => change,
        Reconciled::Hold(_, reason) => panic!("{reason}"),
    }
}

fn listed(count: usize, version: &str) -> Vec<ObservedApplication> {
    (0..count)
        .map(|number| observed(&format!("a{}_{number}", number / 3), Some(version)))
        .collect()
}

async fn applications(store: &SeaOrmStore, name: &str, count: usize) -> Vec<ApplicationKey> {
    let server = server(store, name).await;
    let change = change(store, server, listed(count, "1"), 1).await;
    InventoryStore::store(store, &change).await.unwrap();
    let known = InventoryStore::load(store, server).await.unwrap().unwrap();
    known
        .applications
        .into_iter()
        .map(|application| application.key)
        .collect()
}

async fn polls_cost_the_same(store: SeaOrmStore) {
    let (mut first, mut changed, mut quiet, mut gone, mut loads, mut recalls) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for count in SIZES {
        let server = server(&store, &format!("app{count}")).await;
        for (costs, applications, now) in [
            (&mut first, listed(count, "1"), 1),
            (&mut changed, listed(count, "2"), 2),
            (&mut quiet, listed(count, "2"), 3),
            (&mut gone, Vec::new(), 4),
        ] {
            let mut change = change(&store, server, applications, now).await;
            if now != 3 {
                change.events = (0..count)
                    .map(|number| event(Some(server), None, &number.to_string()))
                    .collect();
            }
            costs.push(cost(&store, InventoryStore::store(&store, &change)).await.0);
        }
        loads.push(cost(&store, InventoryStore::load(&store, server)).await.0);
        let names = listed(count, "2");
        let names: Vec<_> = names
            .iter()
            .map(|found| (found.kind, found.name.as_str()))
            .collect();
        let (recall, recalled) = cost(&store, store.recall(server, &names)).await;
        assert_eq!(recalled.unwrap().len(), count);
        recalls.push(recall);
    }
    all_equal("a first poll", &first, 7);
    all_equal("a poll with new versions", &changed, 5);
    all_equal("a quiet poll", &quiet, 1);
    all_equal("a poll without applications", &gone, 4);
    all_equal("loading an inventory", &loads, 3);
    all_equal("recalling applications", &recalls, 1);
}

async fn a_snapshot_costs_one_statement(store: SeaOrmStore) {
    let mut costs = Vec::new();
    for count in SIZES {
        let keys = applications(&store, &format!("app{count}"), count).await;
        let (cost, snapshot) = cost(&store, store.snapshot(&keys)).await;
        assert_eq!(snapshot.unwrap().targets.len(), count);
        costs.push(cost);
    }
    all_equal("a snapshot", &costs, 1);
    let mut costs = Vec::new();
    for count in SIZES {
        let (_, instance) = discovered(&store, &format!("lb{count}"), 3).await;
        let change = shown(&store, instance, count, "UP").await;
        HaproxyStore::store(&store, &change).await.unwrap();
        let (cost, standing) = cost(&store, store.standing(&[instance])).await;
        assert_eq!(standing.unwrap().len(), count);
        costs.push(cost);
    }
    all_equal("the servers of an HAProxy", &costs, 1);
}

async fn discovered(store: &SeaOrmStore, name: &str, names: usize) -> (u64, HaproxyInstanceKey) {
    let node = NewServer::new(name, "10.0.0.2", 5001, true).unwrap();
    let server = store.add(&node, at(0)).await.unwrap().key;
    let names: Vec<String> = (0..names)
        .map(|number| format!("instance{number}"))
        .collect();
    let (cost, instances) = cost(store, store.record_instances(server, &names, at(1))).await;
    (cost, instances.unwrap().first().unwrap().key)
}

async fn shown(
    store: &SeaOrmStore,
    instance: HaproxyInstanceKey,
    count: usize,
    word: &str,
) -> sync::SyncChange {
    let known = HaproxyStore::load(store, instance).await.unwrap().unwrap();
    let servers: Vec<ObservedServer> = (0..count)
        .map(|number| haproxy_server(&format!("s{number}"), word))
        .collect();
    let observed: ObservedBackends = if count == 0 {
        ObservedBackends::default()
    } else {
        servers
            .chunks(10)
            .enumerate()
            .map(|(number, chunk)| (format!("be{number}"), Ok(chunk.to_vec())))
            .collect()
    };
    let mut change = sync::reconcile(&known, &observed, None, at(2));
    if count == 0 {
        // Believed only the second time in a row.
        HaproxyStore::store(store, &change).await.unwrap();
        let known = HaproxyStore::load(store, instance).await.unwrap().unwrap();
        change = sync::reconcile(&known, &observed, None, at(3));
    }
    change
}

async fn syncs_cost_the_same(store: SeaOrmStore) {
    let (mut discoveries, mut first, mut changed, mut quiet, mut gone) =
        (vec![], vec![], vec![], vec![], vec![]);
    let (mut loads, mut maps, mut moves) = (vec![], vec![], vec![]);
    for count in SIZES {
        let (spent, instance) = discovered(&store, &format!("lb{count}"), count).await;
        discoveries.push(spent);
        for (costs, count, word) in [
            (&mut first, count, "UP"),
            (&mut changed, count, "DRAIN"),
            (&mut quiet, count, "DRAIN"),
        ] {
            let change = shown(&store, instance, count, word).await;
            costs.push(cost(&store, HaproxyStore::store(&store, &change)).await.0);
        }
        let (spent, known) = cost(&store, HaproxyStore::load(&store, instance)).await;
        loads.push(spent);
        let servers = known.unwrap().unwrap().servers;
        assert_eq!(servers.len(), count);
        let keys = applications(&store, &format!("app{count}"), 2).await;
        for (costs, application) in [(&mut maps, keys[0]), (&mut moves, keys[1])] {
            let wanted: Vec<NewMapping> = servers
                .iter()
                .map(|server| NewMapping {
                    server: server.key,
                    application,
                    basis: MappingBasis::Name,
                    at: at(5),
                    cause: None,
                })
                .collect();
            costs.push(cost(&store, store.map(&wanted)).await.0);
        }
        let change = shown(&store, instance, 0, "").await;
        gone.push(cost(&store, HaproxyStore::store(&store, &change)).await.0);
    }
    all_equal("a discovery", &discoveries, 6);
    all_equal("a first sync", &first, 3);
    all_equal("a sync with changes", &changed, 3);
    all_equal("a quiet sync", &quiet, 1);
    all_equal("a sync without backends", &gone, 5);
    all_equal("loading an instance", &loads, 3);
    all_equal("mapping", &maps, 5);
    all_equal("mapping again", &moves, 6);
}

async fn tasks_cost_the_same(store: SeaOrmStore) {
    let mut costs: [Vec<u64>; 6] = Default::default();
    let mut job = 0;
    for count in SIZES {
        let keys = applications(&store, &format!("app{count}"), count).await;
        let mut asked = updates(
            (0..=u128::from(count > 50))
                .map(|number| task(1_000 * count as u128 + number, &keys))
                .collect(),
        );
        asked.events = keys
            .iter()
            .map(|key| event(None, Some(*key), "asked"))
            .collect();
        let instances: Vec<RolloutTarget> = keys.iter().map(|key| instance(*key, 0)).collect();
        let done: Vec<RolloutTarget> = instances
            .iter()
            .map(|instance| RolloutTarget {
                outcome: TargetOutcome::Done,
                ..instance.clone()
            })
            .collect();
        let mut spent = Vec::new();
        spent.push(cost(&store, RolloutStore::start(&store, &asked)).await.0);
        let worker = Updater::open(&store, count as u128).await;
        for _ in &asked.rollouts {
            let held = worker.take().await;
            job += 1;
            let planned = run(0, job, &keys);
            let (plan, result) = cost(
                &store,
                store.plan(&held, std::slice::from_ref(&planned), &instances),
            )
            .await;
            result.unwrap();
            let (begin, work) = cost(&store, store.begin(&held, at(20))).await;
            assert_eq!(work.unwrap().unwrap().detail.targets, instances);
            let events = (0..count as u64).map(job_event).collect();
            let told = RunProgress {
                run: planned,
                events,
                targets: done.clone(),
                progress: 9,
                current: None,
            };
            let (progress, result) = cost(&store, store.progress(&held, &told)).await;
            result.unwrap();
            let (find, found) = cost(&store, RolloutView::find(&store, held.task)).await;
            assert_eq!(found.unwrap().unwrap().targets, done);
            let end = RolloutEnd {
                progress: 100,
                status: EndStatus::Succeeded,
                result: None,
                error: None,
                targets: done.clone(),
                versions: keys
                    .iter()
                    .map(|key| (*key, version_change("1", "2", held.task)))
                    .collect(),
                events: asked.events.clone(),
            };
            let (finish, result) = cost(&store, store.finish(&held, &end, at(40))).await;
            result.unwrap();
            worker.succeed(&held).await;
            if spent.len() == 1 {
                spent.extend([plan, begin, progress, find, finish]);
            }
        }
        for (costs, spent) in costs.iter_mut().zip(spent) {
            costs.push(spent);
        }
    }
    let names = [
        "starting",
        "planning",
        "beginning",
        "progress",
        "finding",
        "finishing",
    ];
    for ((name, most), costs) in names.into_iter().zip([9, 4, 5, 5, 3, 8]).zip(&costs) {
        all_equal(name, costs, most);
    }
}

mod sqlite {
    use super::support;

    #[tokio::test]
    async fn polls_cost_the_same() {
        let scene = support::sqlite().await;
        super::polls_cost_the_same(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn a_snapshot_costs_one_statement() {
        let scene = support::sqlite().await;
        super::a_snapshot_costs_one_statement(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn syncs_cost_the_same() {
        let scene = support::sqlite().await;
        super::syncs_cost_the_same(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn tasks_cost_the_same() {
        let scene = support::sqlite().await;
        super::tasks_cost_the_same(scene.store.clone()).await;
    }
}

mod postgres {
    use super::support;

    #[tokio::test]
    async fn polls_cost_the_same() {
        let scene = support::postgres().await;
        super::polls_cost_the_same(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn a_snapshot_costs_one_statement() {
        let scene = support::postgres().await;
        super::a_snapshot_costs_one_statement(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn syncs_cost_the_same() {
        let scene = support::postgres().await;
        super::syncs_cost_the_same(scene.store.clone()).await;
    }

    #[tokio::test]
    async fn tasks_cost_the_same() {
        let scene = support::postgres().await;
        super::tasks_cost_the_same(scene.store.clone()).await;
    }
}
