//! What [`RolloutView`](drover_ports::RolloutView) promises.

use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::rollout::record::{EndStatus, RolloutEnd, RunProgress};
use drover_domain::workflow::run::{Control, Decision, Outcome, TaskError};
use drover_domain::workflow::{Json, TaskStatus};

use super::{ALL, two_after};
use crate::store::fixtures::{Updater, at, job_event, run, task, task_id, updates};

contract! { $ rollout_view => rollout_view_contract for crate::store::World;
    /// A task that is not there is absent, and has no events.
    async fn an_unknown_task_is_absent(world) {
        assert_eq!(world.rollout_view().find(task_id(404)).await.unwrap(), None);
        assert_eq!(world.rollout_view().events(task_id(404), ALL).await.unwrap(), None);
    }

    /// Tasks go from new to old, page by page, each with its position.
    async fn tasks_go_from_new_to_old(world) {
        world.rollouts().start(&updates(vec![task(1, &[]), task(2, &[])])).await.unwrap();
        world.rollouts().start(&updates(vec![task(3, &[])])).await.unwrap();
        let first = world.rollout_view().list(&[], two_after(None)).await.unwrap();
        assert_eq!(first.next, Some(first.items[1].0));
        let rest = world.rollout_view().list(&[], two_after(first.next)).await.unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        assert_eq!(all.iter().map(|(_, task)| task.id).collect::<Vec<_>>(), [task_id(3), task_id(2), task_id(1)]);
        assert!(all.is_sorted_by(|newer, older| newer.0 > older.0), "{all:?}");
        for (_, listed) in all {
            assert_eq!(world.rollout_view().find(listed.id).await.unwrap().unwrap().rollout, listed);
        }
    }

    /// The list has only tasks in the wanted statuses, as the engine knows them.
    async fn the_list_is_narrowed_by_status(world) {
        world.rollouts().start(&updates(vec![task(1, &[]), task(2, &[]), task(3, &[])])).await.unwrap();
        let worker = Updater::open(world.queue(), 1).await;
        worker.take().await;
        let done = worker.take().await;
        worker.succeed(&done).await;
        let listed = async |statuses: &[TaskStatus]| {
            let page = world.rollout_view().list(statuses, ALL).await.unwrap();
            page.items.into_iter().map(|(_, task)| task.id).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[TaskStatus::Queued]).await, [task_id(3)]);
        assert_eq!(listed(&[TaskStatus::Running, TaskStatus::Failed]).await, [task_id(1)]);
        assert_eq!(listed(&[TaskStatus::Running, TaskStatus::Queued]).await, [task_id(3), task_id(1)]);
        assert_eq!(listed(&[TaskStatus::Succeeded]).await, [task_id(2)]);
        assert_eq!(listed(&[TaskStatus::Cancelled]).await, []);
    }

    /// A task stands where the engine says: queued, with a worker, given back, ended.
    async fn a_task_stands_where_the_engine_says(world) {
        world.rollouts().start(&updates(vec![task(1, &[])])).await.unwrap();
        let stands = async || {
            let task = world.rollout_view().find(task_id(1)).await.unwrap().unwrap().rollout;
            (task.status, task.attempt, task.started_at.is_some(), task.finished_at.is_some())
        };
        assert_eq!(stands().await, (TaskStatus::Queued, 0, false, false));
        let worker = Updater::open(world.queue(), 1).await;
        let first = worker.take().await;
        assert_eq!(stands().await, (TaskStatus::Running, 1, true, false));
        world.rollouts().begin(&first, at(20)).await.unwrap();
        worker.report(&first, Outcome::Released).await;
        assert_eq!(stands().await, (TaskStatus::Queued, 1, true, false));
        let second = worker.take().await;
        assert_eq!(stands().await, (TaskStatus::Running, 2, true, false));
        let told = RunProgress {
            run: run(0, 1, &[]),
            events: Vec::new(),
            targets: Vec::new(),
            progress: 50,
            current: Some("Drain".to_owned()),
        };
        world.rollouts().progress(&second, &told).await.unwrap();
        let error = TaskError::new("gone", "the worker was not up to it");
        worker.report(&second, Outcome::Failed { error, retryable: false }).await;
        assert_eq!(stands().await, (TaskStatus::Failed, 2, true, true));
        // The update itself had nothing to say.
        let ended = world.rollout_view().find(task_id(1)).await.unwrap().unwrap().rollout;
        assert_eq!(ended.error.as_deref(), Some("the worker was not up to it"));
        assert_eq!((ended.current, ended.progress), (None, 50));
    }

    /// A rollout with an unknown result counts as ended, until a person resolves it.
    async fn what_nobody_knows_the_end_of_has_ended(world) {
        world.rollouts().start(&updates(vec![task(1, &[])])).await.unwrap();
        let worker = Updater::open(world.queue(), 1).await;
        let claim = worker.take().await;
        let end = RolloutEnd {
            status: EndStatus::Unknown,
            progress: 50,
            result: None,
            error: Some("the play's process is gone".to_owned()),
            targets: Vec::new(),
            versions: Vec::new(),
            events: Vec::new(),
        };
        world.rollouts().finish(&claim, &end, at(40)).await.unwrap();
        let error = TaskError::new("update_unknown", "the play's process is gone");
        worker.report(&claim, Outcome::Unknown { error }).await;
        let shown = async || world.rollout_view().find(task_id(1)).await.unwrap().unwrap().rollout;
        let unknown = shown().await;
        assert_eq!((unknown.status, unknown.finished_at), (TaskStatus::Unknown, Some(at(40))));
        assert_eq!(unknown.error, end.error);
        let decision = Decision::Succeeded { result: Json::null() };
        world.workflows().decide(task_id(1), &decision).await.unwrap();
        let known = shown().await;
        assert_eq!((known.status, known.error), (TaskStatus::Succeeded, None));
        assert!(known.finished_at.is_some_and(|at| at > Timestamp::EPOCH));
    }

    /// A task that is called off before a worker had it is cancelled.
    async fn a_waiting_task_that_is_called_off_is_cancelled(world) {
        world.rollouts().start(&updates(vec![task(1, &[])])).await.unwrap();
        let cancel = Control::Cancel { reason: "not today".to_owned() };
        world.workflows().control(task_id(1).workflow(), &cancel).await.unwrap();
        let task = world.rollout_view().find(task_id(1)).await.unwrap().unwrap().rollout;
        assert_eq!((task.status, task.started_at), (TaskStatus::Cancelled, None));
        assert!(task.finished_at.is_some());
        assert_eq!(Updater::open(world.queue(), 1).await.claim().await, None);
    }

    /// An update is removed with its workflow.
    async fn an_update_is_removed_with_its_workflow(world) {
        world.rollouts().start(&updates(vec![task(1, &[]), task(2, &[])])).await.unwrap();
        let worker = Updater::open(world.queue(), 1).await;
        let claim = worker.take().await;
        world.rollouts().plan(&claim, &[run(0, 1, &[])], &[]).await.unwrap();
        worker.succeed(&claim).await;
        while world.upkeep().prune(&Duration::ZERO.into(), 10).await.unwrap() == 0 {}
        assert_eq!(world.rollout_view().find(task_id(1)).await.unwrap(), None);
        assert_eq!(world.rollout_view().events(task_id(1), ALL).await.unwrap(), None);
        let left = world.rollout_view().list(&[], ALL).await.unwrap().items;
        assert_eq!(left.iter().map(|(_, task)| task.id).collect::<Vec<_>>(), [task_id(2)]);
    }

    /// Events go from old to new, page by page, and only those of the task.
    async fn events_go_from_old_to_new(world) {
        world.rollouts().start(&updates(vec![task(1, &[]), task(2, &[])])).await.unwrap();
        let worker = Updater::open(world.queue(), 1).await;
        for number in [1, 2] {
            let held = worker.take().await;
            let planned = run(0, number, &[]);
            world.rollouts().plan(&held, std::slice::from_ref(&planned), &[]).await.unwrap();
            assert_eq!(world.rollout_view().events(held.task, ALL).await.unwrap().unwrap().items, []);
            let told = RunProgress {
                run: planned,
                events: (0..3).map(job_event).collect(),
                targets: Vec::new(),
                progress: 1,
                current: None,
            };
            world.rollouts().progress(&held, &told).await.unwrap();
        }
        let first = world.rollout_view().events(task_id(1), two_after(None)).await.unwrap().unwrap();
        let rest = world.rollout_view().events(task_id(1), two_after(first.next)).await.unwrap().unwrap();
        assert_eq!((first.next, rest.next), (Some(first.items[1].position), None));
        let all: Vec<_> = first.items.into_iter().chain(rest.items).map(|told| told.event).collect();
        assert_eq!(all, (0..3).map(job_event).collect::<Vec<_>>());
    }
}
