//! What [`ScheduleStore`](drover_ports::ScheduleStore) promises.

use drover_domain::workflow::{
    Cron, DefinitionName, Json, MissedRuns, Schedule, ScheduleName, WorkflowStatus,
};
use drover_ports::{ListedSchedule, WorkflowFilter};

use super::{ALL, is_refused, is_taken, is_unavailable, two_after};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, HOSTILE_JSON, asked, json, linear, start, start_new, status, workflow, workflow_id,
};
use crate::store::fixtures::at;

fn schedule(name: &str, next: i64) -> Schedule {
    Schedule {
        name: ScheduleName::parse(name).unwrap(),
        definition: DefinitionName::parse("backup").unwrap(),
        version: None,
        input: Json::null(),
        cron: Cron::parse("0 * * * *", "UTC").unwrap(),
        missed: MissedRuns::Skip,
        is_paused: false,
        next_at: at(next),
    }
}

async fn put(world: &EngineWorld, schedule: &Schedule) {
    world.schedules().put(schedule).await.unwrap();
}

fn readable(listed: ListedSchedule) -> Schedule {
    match listed {
        ListedSchedule::Readable(schedule) => schedule,
        ListedSchedule::Broken(broken) => panic!("{broken:?}"),
    }
}

async fn listed(world: &EngineWorld) -> Vec<Schedule> {
    let page = world.schedules().list(ALL).await.unwrap();
    page.items
        .into_iter()
        .map(|(_, listed)| readable(listed))
        .collect()
}

async fn due(world: &EngineWorld, now: i64, limit: u32) -> Vec<Schedule> {
    let due = world.schedules().due(at(now), limit).await.unwrap();
    assert!(due.unreadable.is_empty());
    due.schedules
}

contract! { $ schedule_store => schedule_store_contract for EngineWorld;
    /// A schedule is read equal, whatever is in it.
    async fn a_schedule_is_read_equal(world) {
        assert_eq!(listed(world).await, []);
        let odd = Schedule {
            version: Some(7),
            input: json(HOSTILE_JSON),
            cron: Cron::parse("*/5 9-17 * * mon-fri", "Europe/Berlin").unwrap(),
            missed: MissedRuns::RunOnce,
            is_paused: true,
            ..schedule("a.b:c-d_e", 7)
        };
        put(world, &schedule("plain", 8)).await;
        put(world, &odd).await;
        assert_eq!(listed(world).await, [schedule("plain", 8), odd]);
    }

    /// Putting a schedule of the same name replaces it and keeps its place.
    async fn a_schedule_is_replaced(world) {
        put(world, &schedule("a", 1)).await;
        put(world, &schedule("b", 1)).await;
        let changed = Schedule { is_paused: true, input: json("7"), ..schedule("a", 9) };
        put(world, &changed).await;
        assert_eq!(listed(world).await, [changed, schedule("b", 1)]);
    }

    /// A schedule is replaced if it is still as it was seen; its next moment may differ.
    async fn a_schedule_is_replaced_only_as_it_was_seen(world) {
        let schedules = world.schedules();
        let seen = Schedule { version: Some(7), input: json(HOSTILE_JSON), ..schedule("a", 1) };
        let ours = Schedule { input: json("7"), ..schedule("a", 9) };
        assert!(!schedules.replace(&seen, &ours).await.unwrap());
        let theirs = [
            Schedule { definition: DefinitionName::parse("other").unwrap(), ..seen.clone() },
            Schedule { version: None, ..seen.clone() },
            Schedule { input: json("8"), ..seen.clone() },
            Schedule { cron: Cron::parse("1 * * * *", "UTC").unwrap(), ..seen.clone() },
            Schedule { cron: Cron::parse("0 * * * *", "Europe/Berlin").unwrap(), ..seen.clone() },
            Schedule { missed: MissedRuns::RunOnce, ..seen.clone() },
            Schedule { is_paused: true, ..seen.clone() },
        ];
        for theirs in theirs {
            put(world, &theirs).await;
            assert!(!schedules.replace(&seen, &ours).await.unwrap(), "{theirs:?}");
            assert_eq!(listed(world).await, [theirs]);
        }
        put(world, &Schedule { next_at: at(5), ..seen.clone() }).await;
        assert!(schedules.replace(&seen, &ours).await.unwrap());
        assert_eq!(listed(world).await, std::slice::from_ref(&ours));
        assert!(schedules.replace(&ours, &seen).await.unwrap());
        assert_eq!(listed(world).await, [seen]);
    }

    /// A schedule is removed once.
    async fn a_schedule_is_removed(world) {
        put(world, &schedule("a", 1)).await;
        put(world, &schedule("b", 1)).await;
        let name = schedule("a", 1).name;
        assert!(world.schedules().remove(&name).await.unwrap());
        assert!(!world.schedules().remove(&name).await.unwrap());
        assert_eq!(listed(world).await, [schedule("b", 1)]);
    }

    /// Schedules are listed oldest first, page by page.
    async fn schedules_are_listed_oldest_first(world) {
        for name in ["c", "a", "d", "b", "e"] {
            put(world, &schedule(name, 1)).await;
        }
        let mut after = None;
        let mut seen = Vec::new();
        for size in [2, 2, 1] {
            let page = world.schedules().list(two_after(after)).await.unwrap();
            assert_eq!(page.items.len(), size);
            for (position, schedule) in page.items {
                assert!(after.is_none_or(|after| position > after));
                after = Some(position);
                seen.push(schedule.name().to_owned());
            }
            assert_eq!(page.next, if size == 2 { after } else { None });
        }
        assert_eq!(seen, ["c", "a", "d", "b", "e"]);
    }

    /// Due is what is not paused and whose moment has come.
    async fn due_is_what_is_not_paused_and_whose_moment_has_come(world) {
        put(world, &schedule("now", 10)).await;
        put(world, &schedule("later", 11)).await;
        put(world, &schedule("before", 9)).await;
        put(world, &Schedule { is_paused: true, ..schedule("paused", 1) }).await;
        let mut names: Vec<String> = due(world, 10, 10).await.iter().map(|due| due.name.to_string()).collect();
        names.sort();
        assert_eq!(names, ["before", "now"]);
        assert_eq!((due(world, 10, 1).await.len(), due(world, 10, 0).await.len(), due(world, 8, 10).await.len()), (1, 0, 0));
    }

    /// A schedule that fires moves on and starts its workflow; a second node changes nothing.
    async fn a_schedule_fires_once(world) {
        put(world, &schedule("a", 10)).await;
        let found = due(world, 10, 10).await.remove(0);
        let schedules = world.schedules();
        assert!(schedules.fire(&found, Some(at(20)), Some(&workflow(1, linear(&["a"])))).await.unwrap());
        assert!(!schedules.fire(&found, Some(at(30)), Some(&workflow(2, linear(&["a"])))).await.unwrap());
        assert_eq!(listed(world).await, [schedule("a", 20)]);
        assert_eq!(status(world, workflow_id(1)).await, WorkflowStatus::Running);
        assert_eq!(world.view().find(workflow_id(2)).await.unwrap(), None);
        assert_eq!(Driver::open(world, 1).await.take_all().await, ["a"]);
        assert_eq!(due(world, 19, 10).await, []);
        assert_eq!(due(world, 20, 10).await, [schedule("a", 20)]);
    }

    /// However many nodes fire a schedule, one workflow starts.
    async fn many_nodes_fire_once(world) {
        put(world, &schedule("a", 10)).await;
        let mut nodes = tokio::task::JoinSet::new();
        for number in 1..=6 {
            let world = world.clone();
            nodes.spawn(async move {
                let new = workflow(number, linear(&["a"]));
                world.schedules().fire(&schedule("a", 10), Some(at(20)), Some(&new)).await.unwrap()
            });
        }
        let fired = nodes.join_all().await;
        assert_eq!(fired.iter().filter(|fired| **fired).count(), 1);
        assert_eq!(Driver::open(world, 1).await.claim(10).await.len(), 1);
    }

    /// A missed moment may be left out: the schedule moves on and nothing starts.
    async fn a_moment_may_be_left_out(world) {
        put(world, &schedule("a", 10)).await;
        assert!(world.schedules().fire(&schedule("a", 10), Some(at(20)), None).await.unwrap());
        assert_eq!(listed(world).await, [schedule("a", 20)]);
        assert_eq!(world.view().list(&WorkflowFilter::default(), ALL).await.unwrap().items, []);
    }

    /// Without a next moment the schedule is paused.
    async fn the_last_moment_pauses_the_schedule(world) {
        put(world, &schedule("a", 10)).await;
        assert!(world.schedules().fire(&schedule("a", 10), None, Some(&workflow(1, linear(&["a"])))).await.unwrap());
        assert_eq!(listed(world).await, [Schedule { is_paused: true, ..schedule("a", 10) }]);
        assert_eq!(due(world, 100, 10).await, []);
    }

    /// A schedule that was paused, replaced or removed since it was read does not fire.
    async fn a_schedule_that_changed_does_not_fire(world) {
        for (number, name) in (1..).zip(["paused", "moved", "removed"]) {
            put(world, &schedule(name, 10)).await;
            let read = schedule(name, 10);
            match name {
                "paused" => put(world, &Schedule { is_paused: true, ..read.clone() }).await,
                "moved" => put(world, &schedule(name, 11)).await,
                _ => assert!(world.schedules().remove(&read.name).await.unwrap()),
            }
            assert!(!world.schedules().fire(&read, Some(at(20)), Some(&workflow(number, linear(&["a"])))).await.unwrap(), "{name}");
            assert_eq!(world.view().find(workflow_id(number)).await.unwrap(), None);
        }
    }

    /// If the workflow cannot start, the schedule does not move on.
    async fn firing_is_all_or_nothing(world) {
        start(world, 1, linear(&["a"])).await;
        put(world, &schedule("a", 10)).await;
        is_taken(world.schedules().fire(&schedule("a", 10), Some(at(20)), Some(&workflow(1, linear(&["b"])))).await);
        assert_eq!(listed(world).await, [schedule("a", 10)]);
    }

    /// A workflow that was started with the same idempotency key before is not started again.
    async fn firing_honours_the_idempotency_key(world) {
        start_new(world, asked(1, "scope", "key", 1)).await;
        put(world, &schedule("a", 10)).await;
        assert!(world.schedules().fire(&schedule("a", 10), Some(at(20)), Some(&asked(2, "scope", "key", 1))).await.unwrap());
        assert_eq!(world.view().find(workflow_id(2)).await.unwrap(), None);
        assert_eq!(listed(world).await, [schedule("a", 20)]);
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        world.side_door().cut().await;
        let (schedules, one) = (world.schedules(), schedule("a", 1));
        is_unavailable(schedules.put(&one).await);
        is_unavailable(schedules.replace(&one, &one).await);
        is_unavailable(schedules.remove(&one.name).await);
        is_unavailable(schedules.list(ALL).await);
        is_unavailable(schedules.due(at(1), 1).await);
        is_unavailable(schedules.fire(&one, None, None).await);
    }

    /// There is a bound; what is there already may be changed.
    async fn there_are_only_so_many_schedules(world) {
        for number in 0..Schedule::COUNT_MAX {
            put(world, &schedule(&format!("s{number}"), 1)).await;
        }
        is_refused(world.schedules().put(&schedule("more", 1)).await);
        put(world, &schedule("s7", 2)).await;
        assert!(world.schedules().remove(&ScheduleName::parse("s7").unwrap()).await.unwrap());
        put(world, &schedule("more", 1)).await;
    }
}
