//! What [`EventLog`](drover_ports::EventLog) promises.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_domain::workflow::{EventPosition, WorkflowEvent, WorkflowId};
use drover_ports::{EventFilter, NewWorkflow};

use super::{ALL, is_unavailable};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, dag, linear, parallel, start, success, task, workflow, workflow_id,
};

const ANY: EventFilter = EventFilter { workflow: None };

/// Everything after `position`, read in pages of `limit`.
async fn follow(
    world: &EngineWorld,
    mut position: EventPosition,
    filter: EventFilter,
    limit: u32,
) -> Vec<WorkflowEvent> {
    let mut events = Vec::new();
    loop {
        let page = world.events().after(position, filter, limit).await.unwrap();
        if page.events.is_empty() {
            assert_eq!(page.next, position);
            return events;
        }
        events.extend(page.events.into_iter().map(|(event, _)| event));
        assert!(position < page.next);
        position = page.next;
    }
}

#[track_caller]
fn ascends(events: &[WorkflowEvent]) {
    let is_ascending = events.is_sorted_by(|before, after| before.position < after.position);
    assert!(is_ascending, "{events:#?}");
}

/// Three workflows whose events are mixed.
async fn three(world: &EngineWorld) -> [WorkflowId; 3] {
    let ids = [
        start(world, 1, linear(&["a", "b"])).await,
        start(world, 2, linear(&["c"])).await,
        start(world, 3, parallel(3)).await,
    ];
    Driver::open(world, 1).await.drain().await;
    ids
}

async fn history(world: &EngineWorld, id: WorkflowId) -> Vec<WorkflowEvent> {
    let page = world.view().history(id, ALL).await.unwrap().unwrap();
    page.items.into_iter().map(|(_, event)| event).collect()
}

contract! { $ event_log => event_log_contract for EngineWorld;
    /// Before anything has happened there is nothing to read, and nothing is missing.
    async fn an_empty_log_has_nothing(world) {
        let page = world.events().after(EventPosition::START, ANY, 10).await.unwrap();
        assert_eq!((page.events, page.next, page.gap), (Vec::new(), EventPosition::START, false));
        let end = world.events().end().await.unwrap();
        start(world, 1, linear(&["a"])).await;
        assert_eq!(follow(world, end, ANY, 10).await.len(), 3);
    }

    /// The log has every event of every workflow, in order, as in the histories, with the keys of
    /// their tasks.
    async fn the_log_has_everything_in_order(world) {
        let ids = three(world).await;
        let page = world.events().after(EventPosition::START, ANY, 1_000).await.unwrap();
        let events: Vec<WorkflowEvent> = page.events.iter().map(|(event, _)| event.clone()).collect();
        ascends(&events);
        assert_eq!(page.next, events[events.len() - 1].position);
        for id in ids {
            let own: Vec<WorkflowEvent> = events.iter().filter(|event| event.workflow == id).cloned().collect();
            assert_eq!(own, history(world, id).await);
        }
        assert_eq!(events.len(), 9 + 6 + 12);
        for (event, key) in &page.events {
            let task = event.event.task.map(|no| event.workflow.task(no));
            let expected = match task {
                Some(task) => Some(world.view().task(task).await.unwrap().unwrap().task.key),
                None => None,
            };
            assert_eq!(key, &expected);
        }
    }

    /// However small the pages are, each event is read once; a page has at least one and is not much
    /// larger than asked for.
    async fn pages_have_every_event_once(world) {
        three(world).await;
        let all = follow(world, EventPosition::START, ANY, 1_000).await;
        for limit in [0, 1, 2, 3, 7, u32::MAX] {
            assert_eq!(follow(world, EventPosition::START, ANY, limit).await, all, "{limit}");
        }
        let page = world.events().after(EventPosition::START, ANY, 2).await.unwrap();
        assert!(page.events.len() <= 5, "{}", page.events.len());
    }

    /// A reader that continues from the position of any page gets exactly what came after it.
    async fn reading_goes_on_from_any_page(world) {
        three(world).await;
        let all = follow(world, EventPosition::START, ANY, 1_000).await;
        let mut position = EventPosition::START;
        let mut seen = 0;
        loop {
            let page = world.events().after(position, ANY, 1).await.unwrap();
            assert_eq!(follow(world, position, ANY, 5).await, all[seen..]);
            if page.events.is_empty() {
                break;
            }
            seen += page.events.len();
            position = page.next;
        }
        assert_eq!(seen, all.len());
    }

    /// A reader that continues from the position of any event gets exactly what came after it: positions are
    /// given out with single events.
    async fn reading_goes_on_from_any_event(world) {
        three(world).await;
        let all = follow(world, EventPosition::START, ANY, 1_000).await;
        for (at, event) in all.iter().enumerate() {
            let printed: EventPosition = event.position.to_string().parse().unwrap();
            assert_eq!(follow(world, printed, ANY, 4).await, all[at + 1..]);
        }
    }

    /// The events of one workflow may be read alone.
    async fn one_workflow_may_be_read_alone(world) {
        for id in three(world).await {
            let filter = EventFilter { workflow: Some(id) };
            for limit in [1, 2, 100] {
                assert_eq!(follow(world, EventPosition::START, filter, limit).await, history(world, id).await);
            }
        }
        let nobody = EventFilter { workflow: Some(workflow_id(404)) };
        assert_eq!(follow(world, EventPosition::START, nobody, 10).await, []);
    }

    /// Behind the end there is only what happens later.
    async fn the_end_is_behind_everything(world) {
        three(world).await;
        let end = world.events().end().await.unwrap();
        let page = world.events().after(end, ANY, 10).await.unwrap();
        assert_eq!((page.events, page.next, page.gap), (Vec::new(), end, false));
        let id = start(world, 4, linear(&["a"])).await;
        assert_eq!(follow(world, end, ANY, 10).await, history(world, id).await);
        assert!(world.events().end().await.unwrap() > end);
    }

    /// The events of one step appear together, with one time.
    async fn a_start_is_told_together(world) {
        start(world, 1, parallel(10)).await;
        let page = world.events().after(EventPosition::START, ANY, 1).await.unwrap();
        assert_eq!(page.events.len(), 12);
        assert!(page.events.iter().all(|(event, _)| event.at == page.events[0].0.at));
    }

    /// A reader whose position was removed gets a gap; another one does not.
    async fn a_gap_is_told(world) {
        let old = start(world, 1, linear(&["a"])).await;
        let stays = start(world, 2, linear(&["b"])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        let hour = Duration::from_hours(1);
        world.side_door().end_earlier(old, hour).await;
        let fresh = world.events().after(EventPosition::START, ANY, 100).await.unwrap();
        assert!(!fresh.gap);
        assert_eq!(world.upkeep().prune(&(hour / 2).into(), 10).await.unwrap(), 1);
        driver.run("b", success("1")).await;
        let late = world.events().after(EventPosition::START, ANY, 100).await.unwrap();
        let left: Vec<WorkflowEvent> = late.events.into_iter().map(|(event, _)| event).collect();
        assert_eq!((left, late.gap), (history(world, stays).await, true));
        let in_time = world.events().after(fresh.next, ANY, 100).await.unwrap();
        assert_eq!((in_time.events.len(), in_time.gap), (3, false));
        let end = world.events().end().await.unwrap();
        assert!(!world.events().after(end, ANY, 100).await.unwrap().gap);
    }

    /// The end does not move back when the last events are removed.
    async fn the_end_outlives_the_last_event(world) {
        let id = start(world, 1, linear(&["a"])).await;
        Driver::open(world, 1).await.drain().await;
        let end = world.events().end().await.unwrap();
        let hour = Duration::from_hours(1);
        world.side_door().end_earlier(id, hour).await;
        assert_eq!(world.upkeep().prune(&(hour / 2).into(), 10).await.unwrap(), 1);
        assert!(world.events().end().await.unwrap() >= end);
        let page = world.events().after(end, ANY, 10).await.unwrap();
        assert_eq!((page.events, page.gap), (Vec::new(), false));
        start(world, 2, linear(&["a"])).await;
        assert_eq!(follow(world, end, ANY, 10).await.len(), 3);
    }

    /// A reader never passes a transaction that is still open: what it writes is read when it is
    /// committed, once and in order.
    async fn a_late_commit_is_not_missed(world) {
        let id = start(world, 1, linear(&["a"])).await;
        let first = world.events().after(EventPosition::START, ANY, 100).await.unwrap();
        world.side_door().begin_event(id).await;
        start(world, 2, linear(&["b"])).await;
        let end = world.events().end().await.unwrap();
        let mut events: Vec<WorkflowEvent> = first.events.into_iter().map(|(event, _)| event).collect();
        let meanwhile = world.events().after(first.next, ANY, 100).await.unwrap();
        events.extend(meanwhile.events.into_iter().map(|(event, _)| event));
        world.side_door().commit_event().await;
        let late = follow(world, meanwhile.next, ANY, 100).await;
        assert!(late.iter().any(|event| event.event.kind.as_str() == "signal_received"), "{late:?}");
        events.extend(late);
        assert_eq!(events.len(), 3 + 3 + 1);
        ascends(&events);
        assert_eq!(events, follow(world, EventPosition::START, ANY, 100).await);
        let since_end = follow(world, end, ANY, 100).await;
        assert!(since_end.iter().any(|event| event.event.kind.as_str() == "signal_received"), "{since_end:?}");
    }

    /// A reader that follows while many write sees every event once and in order.
    async fn a_reader_among_writers_misses_nothing(world) {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4_u32 {
            let world = world.clone();
            writers.spawn(async move {
                for round in 0..10 {
                    let number = writer * 100 + round * 2;
                    let new: Vec<NewWorkflow> = [number, number + 1]
                        .map(|number| workflow(number, dag(vec![task("a"), task("b")])))
                        .into();
                    world.workflows().start(&new).await.unwrap();
                }
            });
        }
        let mut position = EventPosition::START;
        let mut seen = Vec::new();
        while seen.len() < 4 * 20 * 4 {
            let page = world.events().after(position, ANY, 7).await.unwrap();
            seen.extend(page.events.into_iter().map(|(event, _)| event));
            position = page.next;
            tokio::task::yield_now().await;
        }
        writers.join_all().await;
        assert_eq!(follow(world, position, ANY, 7).await, []);
        ascends(&seen);
        assert_eq!(seen.len(), 4 * 20 * 4);
        let workflows: BTreeSet<WorkflowId> = seen.iter().map(|event| event.workflow).collect();
        assert_eq!(workflows.len(), 80);
        assert_eq!(seen, follow(world, EventPosition::START, ANY, 1_000).await);
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        world.side_door().cut().await;
        is_unavailable(world.events().after(EventPosition::START, ANY, 1).await);
        is_unavailable(world.events().end().await);
    }
}
