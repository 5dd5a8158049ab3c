//! Schedules and retention.

use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::page::PageRequest;
use drover_domain::workflow::{
    Cron, DefinitionName, Json, MissedRuns, Schedule, ScheduleName, WorkflowStatus,
};
use drover_ports::{
    ListedSchedule, ScheduleStore, WorkflowFilter, WorkflowRecord, WorkflowStore, WorkflowView,
};
use drover_testkit::engine::fixtures;

use crate::actors::{Act, pass};
use crate::harness::{World, one};

const SECOND: Duration = Duration::from_secs(1);

fn every_minute(definition: &str, next_at: Timestamp) -> Schedule {
    Schedule {
        name: ScheduleName::parse("minutely").unwrap(),
        definition: DefinitionName::parse(definition).unwrap(),
        version: None,
        input: Json::null(),
        cron: Cron::parse("* * * * *", "UTC").unwrap(),
        missed: MissedRuns::Skip,
        is_paused: false,
        next_at,
    }
}

async fn put(world: &World, schedule: &Schedule) {
    let schedules: &dyn ScheduleStore = &world.store;
    schedules.put(schedule).await.unwrap();
}

async fn stored(world: &World) -> Schedule {
    let schedules: &dyn ScheduleStore = &world.store;
    let page = schedules.list(PageRequest::first()).await.unwrap();
    match page.items.into_iter().next().unwrap().1 {
        ListedSchedule::Readable(schedule) => schedule,
        ListedSchedule::Broken(broken) => panic!("{broken:?}"),
    }
}

async fn workflows(world: &World) -> Vec<WorkflowRecord> {
    let view: &dyn WorkflowView = &world.store;
    let filter = WorkflowFilter::default();
    let page = view.list(&filter, PageRequest::first()).await.unwrap();
    page.items.into_iter().map(|(_, record)| record).collect()
}

#[tokio::test(start_paused = true)]
async fn a_schedule_fires_once_per_moment_however_many_engines_look() {
    let world = World::new();
    world.define("report", fixtures::linear(&["x"])).await;
    put(
        &world,
        &every_minute("report", world.now().after(SECOND * 5)),
    )
    .await;
    let nodes = ["n1", "n2"].map(|worker| world.node(worker, &[("test", Act::Succeed)]));
    pass(SECOND * 4).await;
    assert!(workflows(&world).await.is_empty());
    pass(SECOND * 3).await;
    let first = workflows(&world).await;
    assert_eq!(first.len(), 1);
    let record = first.first().unwrap();
    assert_eq!(record.name, "report");
    assert_eq!(record.origin.actor, "engine");
    assert!(record.origin.request_id.starts_with("minutely@20"));
    assert_eq!(
        world.end_of(record.head.id).await,
        WorkflowStatus::Succeeded
    );
    pass(SECOND * 180).await;
    assert_eq!(workflows(&world).await.len(), 4);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_definition_is_gone_moves_on() {
    let world = World::new();
    let begin = world.now();
    put(&world, &every_minute("gone", begin.after(SECOND))).await;
    let node = world.node("n1", &[]);
    pass(SECOND * 3).await;
    let schedule = stored(&world).await;
    assert!(schedule.next_at > begin.after(SECOND * 3));
    assert!(!schedule.is_paused);
    assert!(workflows(&world).await.is_empty());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_missed_is_left_out_or_made_up_for() {
    let world = World::new();
    world.define("report", fixtures::linear(&["x"])).await;
    let long_ago = world.now().before(SECOND * 7_200);
    put(&world, &every_minute("report", long_ago)).await;
    let node = world.node("n1", &[("test", Act::Succeed)]);
    pass(SECOND / 2).await;
    assert!(workflows(&world).await.is_empty());
    let made_up_for = Schedule {
        missed: MissedRuns::RunOnce,
        ..every_minute("report", long_ago)
    };
    put(&world, &made_up_for).await;
    pass(SECOND * 2).await;
    assert_eq!(workflows(&world).await.len(), 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_ended_long_ago_is_removed() {
    let world = World::new();
    let acts = [("test", Act::Succeed), ("hang", Act::Hang)];
    let node = world.node_with("n1", &acts, |options| {
        options.retention = (SECOND * 1_800).into();
        options.upkeep_interval = SECOND * 60;
        options.schedule_interval = SECOND * 60;
        options.poll = SECOND * 60;
    });
    let old = world.start(fixtures::linear(&["x"])).await;
    let running = world
        .start(one(fixtures::timer("t", SECOND * 864_000)))
        .await;
    assert_eq!(world.end_of(old).await, WorkflowStatus::Succeeded);
    pass(SECOND * 3_600 * 2).await;
    // Nothing is known of the clock yet.
    assert_eq!(node.engine.stats().retention_held, 1);
    assert_eq!(workflows(&world).await.len(), 2);
    pass(SECOND * 3_600 * 24).await;
    assert_eq!(node.engine.stats().retention_held, 0);
    let left: Vec<_> = workflows(&world)
        .await
        .iter()
        .map(|record| record.head.id)
        .collect();
    assert_eq!(left, [running]);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_leaps_removes_nothing_for_a_day() {
    let world = World::new();
    let node = world.node_with("n1", &[("test", Act::Succeed)], |options| {
        options.upkeep_interval = SECOND * 60;
        options.schedule_interval = SECOND * 60;
        options.poll = SECOND * 60;
    });
    // The clock is known.
    pass(SECOND * 3_600 * 26).await;
    let old = world.start(fixtures::linear(&["x"])).await;
    assert_eq!(world.end_of(old).await, WorkflowStatus::Succeeded);
    node.stop().await;
    tokio::time::advance(SECOND * 86_400 * 3_650).await;
    let node = world.node_with("n2", &[("test", Act::Succeed)], |options| {
        options.upkeep_interval = SECOND * 60;
        options.schedule_interval = SECOND * 60;
        options.poll = SECOND * 60;
    });
    pass(SECOND * 3_600 * 20).await;
    assert_eq!(workflows(&world).await.len(), 1);
    // There is time to set it right; afterwards it is believed.
    pass(SECOND * 3_600 * 6).await;
    assert_eq!(workflows(&world).await.len(), 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_can_never_be_started_is_left_out_and_the_next_one_follows() {
    let world = World::new();
    world.define("report", fixtures::linear(&["x"])).await;
    let schedule = every_minute("report", world.now().after(SECOND * 5));
    put(&world, &schedule).await;
    // The key of its run belongs to another request.
    let key = format!("minutely@{}", schedule.next_at);
    let taken = fixtures::asked(77, "engine:schedule", &key, 9);
    let store: &dyn WorkflowStore = &world.store;
    store.start(&[taken]).await.unwrap();
    let node = world.node("n1", &[("test", Act::Succeed)]);
    pass(SECOND * 10).await;
    assert!(stored(&world).await.next_at > schedule.next_at);
    assert_eq!(workflows(&world).await.len(), 1);
    pass(SECOND * 60).await;
    assert_eq!(workflows(&world).await.len(), 2);
    node.stop().await;
}
