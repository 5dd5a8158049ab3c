//! What [`QueueStore`](drover_ports::QueueStore) promises.

use std::time::Duration;

use drover_domain::workflow::queue::{QueueLimits, RateLimit};
use drover_domain::workflow::run::Control;
use drover_ports::QueueStats;

use super::is_unavailable;
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, after, dag, linear, parallel, queue, queued_in, record, sequence, start, success, task,
    timer,
};

async fn stats(world: &EngineWorld, name: &str) -> QueueStats {
    let mut all = world.queues().stats().await.unwrap().into_iter();
    let found = all.find(|stats| stats.name == queue(name));
    found.expect("the queue is listed")
}

fn counts(stats: &QueueStats) -> (u64, u64, u64) {
    (stats.waiting, stats.parked, stats.running)
}

fn names(stats: &[QueueStats]) -> Vec<&str> {
    stats.iter().map(|stats| stats.name.as_str()).collect()
}

contract! { $ queue_store => queue_store_contract for EngineWorld;
    /// Where nothing is queued and nothing limited there is no queue.
    async fn an_empty_store_has_no_queues(world) {
        assert_eq!(world.queues().stats().await.unwrap(), []);
        start(world, 1, sequence(vec![timer("a", Duration::from_hours(1)), task("b")])).await;
        assert_eq!(world.queues().stats().await.unwrap(), []);
    }

    /// A queue counts what waits and what runs, and says since when the oldest waits.
    async fn a_queue_counts_its_tasks(world) {
        let id = start(world, 1, dag(vec![task("a"), task("b"), task("c"), after("d", &["a"])])).await;
        let created_at = record(world, id).await.created_at;
        let shown = stats(world, "default").await;
        assert_eq!((counts(&shown), shown.limits), ((3, 0, 0), QueueLimits::default()));
        assert!(shown.oldest >= Some(created_at));
        let driver = Driver::open(world, 1).await;
        let taken = driver.claim(2).await;
        let shown = stats(world, "default").await;
        assert_eq!(counts(&shown), (1, 0, 2));
        assert!(shown.oldest >= Some(created_at));
        let [first, second] = &taken[..] else { panic!("{taken:?}") };
        let (a, other) = if first.key.as_str() == "a" { (first, second) } else { (second, first) };
        driver.end(a, success("1")).await;
        assert_eq!(counts(&stats(world, "default").await), (2, 0, 1));
        driver.end(other, success("1")).await;
        assert_eq!(driver.claim(10).await.len(), 2);
        let shown = stats(world, "default").await;
        assert_eq!((counts(&shown), shown.oldest), ((0, 0, 2), None));
    }

    /// What waits in paused workflows is counted as parked as well.
    async fn parked_tasks_are_counted(world) {
        let id = start(world, 1, parallel(3)).await;
        start(world, 2, linear(&["a"])).await;
        let driver = Driver::open(world, 1).await;
        driver.take().await;
        world.workflows().control(id, &Control::Pause).await.unwrap();
        assert_eq!(counts(&stats(world, "default").await), (3, 2, 1));
        world.workflows().control(id, &Control::Resume).await.unwrap();
        assert_eq!(counts(&stats(world, "default").await), (3, 0, 1));
    }

    /// Queues are listed by name, those with tasks and those with limits, each once.
    async fn queues_are_listed_by_name(world) {
        start(world, 1, dag(vec![queued_in("a", "beta"), queued_in("b", "alpha"), queued_in("c", "delta")])).await;
        for name in ["gamma", "beta"] {
            let limits = QueueLimits { is_paused: true, ..QueueLimits::default() };
            world.queues().limit(&queue(name), limits).await.unwrap();
        }
        let all = world.queues().stats().await.unwrap();
        assert_eq!(names(&all), ["alpha", "beta", "delta", "gamma"]);
        assert_eq!(all.iter().map(|stats| (stats.limits.is_paused, stats.waiting)).collect::<Vec<_>>(), [(false, 1), (true, 1), (false, 1), (true, 0)]);
    }

    /// Limits are read equal and replaced as a whole.
    async fn limits_are_read_equal(world) {
        let rate = |count, per| Some(RateLimit::new(count, per).unwrap());
        for limits in [
            QueueLimits { is_paused: true, concurrency: Some(7), rate: rate(3, Duration::from_secs(10)) },
            QueueLimits { is_paused: false, concurrency: None, rate: rate(1_000_000, Duration::from_hours(24)) },
            QueueLimits { is_paused: true, concurrency: Some(u32::MAX), rate: None },
            QueueLimits { is_paused: true, concurrency: None, rate: rate(1, Duration::from_micros(1_500_001)) },
        ] {
            world.queues().limit(&queue("default"), limits).await.unwrap();
            assert_eq!(stats(world, "default").await.limits, limits);
        }
    }

    /// A limit set anew does not give the rate's tokens back.
    async fn setting_a_rate_again_gives_nothing_back(world) {
        let limits = QueueLimits { rate: Some(RateLimit::new(2, Duration::from_hours(24)).unwrap()), ..QueueLimits::default() };
        world.queues().limit(&queue("default"), limits).await.unwrap();
        start(world, 1, parallel(5)).await;
        let driver = Driver::open(world, 1).await;
        assert_eq!(driver.claim(10).await.len(), 2);
        let stricter = QueueLimits { concurrency: Some(100), ..limits };
        world.queues().limit(&queue("default"), stricter).await.unwrap();
        assert_eq!(driver.claim(10).await, []);
    }

    /// No more queues are listed than a list may have.
    async fn the_list_is_bounded(world) {
        let tasks = (0..1_000).map(|number| queued_in(&format!("t{number}"), &format!("q{number:04}")));
        start(world, 1, dag(tasks.collect())).await;
        start(world, 2, sequence(vec![queued_in("first", "a"), task("b")])).await;
        let all = world.queues().stats().await.unwrap();
        assert_eq!((all.len(), all[0].name.as_str(), all[999].name.as_str()), (QueueStats::LISTED_MAX, "a", "q0998"));
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        world.side_door().cut().await;
        is_unavailable(world.queues().stats().await);
        is_unavailable(world.queues().limit(&queue("default"), QueueLimits::default()).await);
    }
}
