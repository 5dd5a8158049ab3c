//! What [`TaskView`](drover_ports::TaskView) promises.

use std::time::Duration;

use drover_domain::rollout::task::RunProgress;
use drover_domain::workflow::TaskStatus;

use super::{ALL, two_after};
use crate::store::fixtures::{job_event, run, task, task_id, updates};

contract! { $ task_view => task_view_contract for crate::store::World;
    /// A task that is not there is absent, and has no events.
    async fn an_unknown_task_is_absent(world) {
        assert_eq!(world.task_view().find(task_id(404)).await.unwrap(), None);
        assert_eq!(world.task_view().events(task_id(404), ALL).await.unwrap(), None);
    }

    /// Tasks go from new to old, page by page, each with its place in the queue.
    async fn tasks_go_from_new_to_old(world) {
        world.tasks().start(&updates(vec![task(1, &[]), task(2, &[])])).await.unwrap();
        world.tasks().start(&updates(vec![task(3, &[])])).await.unwrap();
        let first = world.task_view().list(&[], two_after(None)).await.unwrap();
        assert_eq!(first.next, Some(first.items[1].0));
        let rest = world.task_view().list(&[], two_after(first.next)).await.unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        assert_eq!(all.iter().map(|(_, task)| task.id).collect::<Vec<_>>(), [task_id(3), task_id(2), task_id(1)]);
        assert!(all.is_sorted_by(|newer, older| newer.0 > older.0), "{all:?}");
        for (_, listed) in all {
            assert_eq!(world.task_view().find(listed.id).await.unwrap().unwrap().task, listed);
        }
    }

    /// The list has only tasks in the wanted statuses.
    async fn the_list_is_narrowed_by_status(world) {
        world.tasks().start(&updates(vec![task(1, &[]), task(2, &[])])).await.unwrap();
        world.tasks().claim("worker", Duration::from_mins(1)).await.unwrap();
        let listed = async |statuses: &[TaskStatus]| {
            let page = world.task_view().list(statuses, ALL).await.unwrap();
            page.items.into_iter().map(|(_, task)| task.id).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[TaskStatus::Queued]).await, [task_id(2)]);
        assert_eq!(listed(&[TaskStatus::Running, TaskStatus::Failed]).await, [task_id(1)]);
        assert_eq!(listed(&[TaskStatus::Running, TaskStatus::Queued]).await, [task_id(2), task_id(1)]);
        assert_eq!(listed(&[TaskStatus::Succeeded]).await, []);
    }

    /// Events go from old to new, page by page, and only those of the task.
    async fn events_go_from_old_to_new(world) {
        world.tasks().start(&updates(vec![task(1, &[]), task(2, &[])])).await.unwrap();
        for number in [1, 2] {
            let (held, _) = world.tasks().claim("worker", Duration::from_mins(1)).await.unwrap().unwrap();
            let planned = run(0, number, &[]);
            world.tasks().plan(&held, std::slice::from_ref(&planned), &[]).await.unwrap();
            assert_eq!(world.task_view().events(held.task, ALL).await.unwrap().unwrap().items, []);
            let told = RunProgress {
                run: planned,
                events: (0..3).map(job_event).collect(),
                instances: Vec::new(),
                progress: 1,
                current: None,
            };
            world.tasks().progress(&held, &told).await.unwrap();
        }
        let first = world.task_view().events(task_id(1), two_after(None)).await.unwrap().unwrap();
        let rest = world.task_view().events(task_id(1), two_after(first.next)).await.unwrap().unwrap();
        assert_eq!((first.next, rest.next), (Some(first.items[1].position), None));
        let all: Vec<_> = first.items.into_iter().chain(rest.items).map(|told| told.event).collect();
        assert_eq!(all, (0..3).map(job_event).collect::<Vec<_>>());
    }
}
