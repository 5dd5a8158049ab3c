//! What [`WakeUps`](drover_ports::WakeUps) promises, as far as a hint can.

use std::time::Duration;

use drover_domain::workflow::run::Control;
use drover_ports::Topic;
use tokio::time::timeout;

use crate::engine::EngineWorld;
use crate::engine::fixtures::{Driver, linear, queued_in, sequence, start, success, task};

/// Longer than any hint takes.
const LONG: Duration = Duration::from_secs(5);

/// Waits for a hint after the `seen` ones, and for those that may still be on their way.
async fn hinted(world: &EngineWorld, topic: Topic, seen: u64) {
    let hint = timeout(LONG, world.wake_ups().changed(topic, seen)).await;
    let hint = hint.unwrap_or_else(|_| panic!("no hint about {topic:?} came"));
    assert_ne!(hint, seen);
}

contract! { $ wake_ups => wake_ups_contract for EngineWorld;
    /// A waiter for work gets a hint when a workflow starts, and so does a waiter for events.
    async fn a_start_is_hinted(world) {
        let wake_ups = world.wake_ups();
        let (work, events) = (wake_ups.seen(Topic::Work), wake_ups.seen(Topic::Events));
        start(world, 1, linear(&["a"])).await;
        hinted(world, Topic::Work, work).await;
        hinted(world, Topic::Events, events).await;
        // What has come already is not waited for.
        hinted(world, Topic::Work, work).await;
    }

    /// A waiter that waits already gets it too.
    async fn who_waits_is_woken(world) {
        let seen = world.wake_ups().seen(Topic::Work);
        let (hint, _) = tokio::join!(
            timeout(LONG, world.wake_ups().changed(Topic::Work, seen)),
            start(world, 1, linear(&["a"])),
        );
        assert_ne!(hint.expect("a hint came"), seen);
    }

    /// A report that queues the next task is hinted.
    async fn a_report_is_hinted(world) {
        start(world, 1, sequence(vec![task("a"), queued_in("b", "other")])).await;
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        let wake_ups = world.wake_ups();
        let (work, events) = (wake_ups.seen(Topic::Work), wake_ups.seen(Topic::Events));
        driver.end(&taken, success("1")).await;
        hinted(world, Topic::Work, work).await;
        hinted(world, Topic::Events, events).await;
    }

    /// A workflow that goes on is hinted.
    async fn a_resumed_workflow_is_hinted(world) {
        let id = start(world, 1, linear(&["a"])).await;
        world.workflows().control(id, &Control::Pause).await.unwrap();
        let seen = world.wake_ups().seen(Topic::Work);
        world.workflows().control(id, &Control::Resume).await.unwrap();
        hinted(world, Topic::Work, seen).await;
    }

    /// Waiting and giving up loses nothing.
    async fn giving_up_loses_nothing(world) {
        let wake_ups = world.wake_ups();
        let seen = wake_ups.seen(Topic::Work);
        timeout(Duration::ZERO, wake_ups.changed(Topic::Work, seen)).await.unwrap_or(seen);
        start(world, 1, linear(&["a"])).await;
        hinted(world, Topic::Work, seen).await;
    }
}
