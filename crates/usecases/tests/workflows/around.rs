//! What is kept around workflows: events, schedules, queues.

use std::time::Duration;

use drover_domain::workflow::queue::RateLimit;
use drover_domain::workflow::{
    Cron, DefinitionName, EventKind, EventPosition, ExecutionMode, Json, MissedRuns, ScheduleName,
};
use drover_ports::{EventFilter, ListedSchedule};
use drover_usecases::{ScheduleError, ScheduleOrder, Schedules};

use crate::world::{World, queue, waits};

const ALL: EventFilter = EventFilter { workflow: None };

#[tokio::test(start_paused = true)]
async fn a_feed_waits_for_the_first_event_and_not_for_ever() {
    let world = World::new();
    let feed = &world.events;
    let begun = tokio::time::Instant::now();
    let quiet = Duration::from_secs(15);
    let page = feed.follow(EventPosition::START, ALL, 10, quiet);
    let page = page.await.unwrap();
    assert_eq!((page.events.len(), begun.elapsed().as_secs()), (0, 15));

    let begun = tokio::time::Instant::now();
    let reads = feed.follow(page.next, ALL, 10, quiet);
    let (page, id) = tokio::join!(reads, world.started(vec![waits("a")]));
    let page = page.unwrap();
    let kinds: Vec<EventKind> = page
        .events
        .iter()
        .map(|(event, _)| event.event.kind)
        .collect();
    assert_eq!(kinds.first(), Some(&EventKind::WorkflowCreated));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(page.events.iter().all(|(event, _)| event.workflow == id));
    assert_eq!(feed.end().await.unwrap(), page.next);
}

#[tokio::test]
async fn a_schedule_needs_something_to_start_and_a_future() {
    let world = World::new();
    let order = |line: &str| ScheduleOrder {
        name: ScheduleName::parse("s").unwrap(),
        definition: DefinitionName::parse("d").unwrap(),
        version: None,
        input: Json::null(),
        cron: Cron::parse(line, "UTC").unwrap(),
        missed: MissedRuns::Skip,
        is_paused: false,
    };
    let refused = world.schedules.put(order("0 * * * *")).await.unwrap_err();
    assert!(matches!(refused, ScheduleError::UnknownDefinition { .. }));
    assert_eq!(refused.to_string(), "there is no definition `d`");
    let name = DefinitionName::parse("d").unwrap();
    let mode = ExecutionMode::Parallel;
    let defined = world.definitions.define(name, mode, vec![waits("a")]);
    defined.await.unwrap();

    // The clock stands at 2023-11-14T22:13:20Z.
    let schedule = world.schedules.put(order("0 * * * *")).await.unwrap();
    let moments = Schedules::moments(&schedule);
    assert_eq!(moments.len(), Schedules::MOMENTS);
    assert_eq!(moments[0].to_string(), "2023-11-14T23:00:00.000Z");
    assert_eq!(moments[4].to_string(), "2023-11-15T03:00:00.000Z");

    let name = ScheduleName::parse("s").unwrap();
    let paused = world.schedules.pause(&name, true).await.unwrap().unwrap();
    assert!(paused.is_paused && Schedules::moments(&paused).is_empty());
    assert_eq!(
        world.schedules.find(&name).await.unwrap(),
        Some(ListedSchedule::Readable(paused))
    );
    let resumed = world.schedules.pause(&name, false).await.unwrap().unwrap();
    assert_eq!(resumed, schedule);
    assert!(world.schedules.remove(&name).await.unwrap());
    assert_eq!(world.schedules.pause(&name, true).await.unwrap(), None);
}

#[tokio::test]
async fn limits_and_a_pause_leave_each_other_alone() {
    let world = World::new();
    let name = queue("q");
    let rate = RateLimit::new(2, Duration::from_secs(1)).ok();
    let limits = world.queues.limit(&name, Some(3), rate).await.unwrap();
    assert_eq!((limits.is_paused, limits.concurrency), (false, Some(3)));
    let limits = world.queues.pause(&name, true).await.unwrap();
    assert_eq!((limits.is_paused, limits.rate), (true, rate));
    let limits = world.queues.limit(&name, None, None).await.unwrap();
    assert_eq!((limits.is_paused, limits.concurrency), (true, None));
    assert_eq!(world.queues.stats().await.unwrap()[0].limits, limits);
}
