//! What [`WorkflowView`](drover_ports::WorkflowView) promises.

use std::time::Duration;

use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{
    DefinitionName, ExecutionMode, Executor, Kind, TaskId, TaskKey, TaskNo, TaskStatus, Work,
    WorkflowStatus,
};
use drover_ports::{
    DeadLetterFilter, DefinitionRef, NewWorkflow, TaskRecord, WorkflowFilter, WorkflowRecord,
};

use super::{ALL, is_unavailable, two_after};
use crate::engine::EngineWorld;
use crate::engine::fixtures::{
    Driver, HOSTILE_JSON, dag, diamond, doing, failure, json, let_time_pass, linear, parallel,
    queue, queued_in, record, records, retried, sequence, start, start_new, story, success, task,
    task_record, undoable, unrepeatable, waits_for, work, workflow, workflow_id,
};
use crate::store::fixtures::HOSTILE;

async fn found(world: &EngineWorld, filter: &WorkflowFilter) -> Vec<u32> {
    let page = world.view().list(filter, ALL).await.unwrap();
    assert_eq!(page.next, None);
    let number = |record: &WorkflowRecord| {
        let id = record.head.id;
        (1..100).find(|number| workflow_id(*number) == id).unwrap()
    };
    page.items
        .iter()
        .map(|(_, record)| number(record))
        .collect()
}

async fn letters(world: &EngineWorld, filter: &DeadLetterFilter) -> Vec<TaskId> {
    let page = world.view().dead_letters(filter, ALL).await.unwrap();
    let id = |record: &TaskRecord| record.workflow.task(record.task.no);
    page.items.iter().map(|letter| id(&letter.record)).collect()
}

fn depends_on(record: &TaskRecord) -> Vec<&str> {
    record.depends_on.iter().map(TaskKey::as_str).collect()
}

contract! { $ workflow_view => workflow_view_contract for EngineWorld;
    /// What is not there is `None`, and the lists are empty.
    async fn an_empty_store_shows_nothing(world) {
        let (view, nobody) = (world.view(), workflow_id(404));
        assert_eq!(view.find(nobody).await.unwrap(), None);
        assert_eq!(view.tasks(nobody, ALL).await.unwrap(), None);
        assert_eq!(view.history(nobody, ALL).await.unwrap(), None);
        assert_eq!(view.task(nobody.task(TaskNo::new(0).unwrap())).await.unwrap(), None);
        let nothing = Page { items: Vec::new(), next: None };
        assert_eq!(view.list(&WorkflowFilter::default(), ALL).await.unwrap(), nothing);
        let nothing = Page { items: Vec::new(), next: None };
        assert_eq!(view.dead_letters(&DeadLetterFilter::default(), ALL).await.unwrap(), nothing);
        let id = start(world, 1, linear(&["a"])).await;
        for task in [id.task(TaskNo::new(1).unwrap()), TaskId::from_uuid(id.as_uuid())] {
            assert_eq!(view.task(task).await.unwrap(), None);
        }
    }

    /// Workflows are listed newest first, page by page, each as it is found.
    async fn workflows_are_listed_newest_first(world) {
        for number in [3, 1, 5, 2, 4] {
            start(world, number, linear(&["a"])).await;
        }
        let filter = WorkflowFilter::default();
        assert_eq!(found(world, &filter).await, [4, 2, 5, 1, 3]);
        let mut after = None;
        let mut seen = Vec::new();
        for size in [2, 2, 1] {
            let page = world.view().list(&filter, two_after(after)).await.unwrap();
            assert_eq!(page.items.len(), size);
            for (position, shown) in page.items {
                assert!(after.is_none_or(|after| position < after));
                after = Some(position);
                assert_eq!(shown, record(world, shown.head.id).await);
                seen.push(shown.head.id);
            }
            assert_eq!(page.next, if size == 2 { after } else { None });
        }
        assert_eq!(seen, [4, 2, 5, 1, 3].map(workflow_id));
    }

    /// A page has no more than its limit, and no more than the largest one.
    async fn pages_are_bounded(world) {
        let all: Vec<NewWorkflow> = (1..=203).map(|number| workflow(number, linear(&["a"]))).collect();
        world.workflows().start(&all).await.unwrap();
        let id = start(world, 1_000, parallel(203)).await;
        let driver = Driver::open(world, 1).await;
        for taken in driver.claim(500).await {
            driver.end(&taken, failure("broken")).await;
        }
        let too_many = PageRequest { after: None, limit: u16::MAX };
        let view = world.view();
        let most = usize::from(PageRequest::LIMIT_MAX);
        let page = view.list(&WorkflowFilter::default(), too_many).await.unwrap();
        assert_eq!((page.items.len(), page.next.is_some()), (most, true));
        let page = view.tasks(id, too_many).await.unwrap().unwrap();
        assert_eq!((page.items.len(), page.next), (most, Some(200)));
        let page = view.history(id, too_many).await.unwrap().unwrap();
        assert_eq!((page.items.len(), page.next), (most, Some(200)));
        let page = view.dead_letters(&DeadLetterFilter::default(), too_many).await.unwrap();
        assert_eq!((page.items.len(), page.next.is_some()), (most, true));
        assert_eq!(records(world, id).await.len(), 203);
        assert_eq!(story(world, id).await.len(), 2 + 203 * 3 + 1);
    }

    /// Only the workflows that are meant are listed.
    async fn workflows_are_chosen(world) {
        let labelled = |number, labels: &[(&str, &str)]| NewWorkflow {
            labels: labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            ..workflow(number, linear(&["a"]))
        };
        let parent = workflow_id(50).task(TaskNo::new(7).unwrap());
        start_new(world, labelled(1, &[("team", "red"), ("tier", "gold")])).await;
        start_new(world, labelled(2, &[("team", "red"), (HOSTILE, HOSTILE)])).await;
        start_new(world, labelled(3, &[("tier", "red"), ("team", "blue")])).await;
        start_new(world, NewWorkflow { name: "it's \"odd\" %".to_owned(), ..labelled(4, &[]) }).await;
        start_new(world, NewWorkflow { parent: Some(parent), ..labelled(5, &[]) }).await;
        start_new(world, NewWorkflow { start_after: None, ..labelled(6, &[("team", "red")]) }).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", success("1")).await;
        driver.run("a", failure("broken")).await;

        let any = WorkflowFilter::default();
        let labels = |labels: &[(&str, &str)]| WorkflowFilter { labels: labelled(0, labels).labels, ..any.clone() };
        let statuses = |statuses: &[WorkflowStatus]| WorkflowFilter { statuses: statuses.to_vec(), ..any.clone() };
        let name = |name: &str| WorkflowFilter { name: Some(name.to_owned()), ..any.clone() };
        for (filter, expected) in [
            (any.clone(), &[6, 5, 4, 3, 2, 1][..]),
            (statuses(&[WorkflowStatus::Running]), &[5, 4, 3]),
            (statuses(&[WorkflowStatus::Failed, WorkflowStatus::Succeeded]), &[2, 1]),
            (statuses(&[WorkflowStatus::Cancelled]), &[]),
            (statuses(&WorkflowStatus::ALL), &[6, 5, 4, 3, 2, 1]),
            (name("workflow 3"), &[3]),
            (name("workflow"), &[]),
            (name("it's \"odd\" %"), &[4]),
            (labels(&[("team", "red")]), &[6, 2, 1]),
            (labels(&[("team", "red"), ("tier", "gold")]), &[1]),
            (labels(&[("team", "gold")]), &[]),
            (labels(&[(HOSTILE, HOSTILE)]), &[2]),
            (WorkflowFilter { parent: Some(parent), ..any.clone() }, &[5]),
            (WorkflowFilter { parent: Some(workflow_id(50).task(TaskNo::new(6).unwrap())), ..any.clone() }, &[]),
            (WorkflowFilter { statuses: vec![WorkflowStatus::Pending], ..labels(&[("team", "red")]) }, &[6]),
        ] {
            assert_eq!(found(world, &filter).await, expected, "{filter:?}");
        }
        let page = world.view().list(&labels(&[("team", "red")]), two_after(None)).await.unwrap();
        let rest = world.view().list(&labels(&[("team", "red")]), two_after(page.next)).await.unwrap();
        assert_eq!((page.items.len(), rest.items.len(), rest.next), (2, 1, None));
    }

    /// A workflow says where it came from.
    async fn a_workflow_says_where_it_came_from(world) {
        let source = DefinitionRef { name: DefinitionName::parse("backup:nightly").unwrap(), version: 7 };
        let parent = workflow_id(50).task(TaskNo::new(7).unwrap());
        let new = NewWorkflow { source: Some(source.clone()), parent: Some(parent), ..workflow(1, parallel(2)) };
        let id = start_new(world, new).await;
        let shown = record(world, id).await;
        assert_eq!((shown.source, shown.head.parent, shown.mode), (Some(source), Some(parent), ExecutionMode::Parallel));
        assert_eq!((shown.head.id, shown.name.as_str(), shown.origin.request_id.as_str()), (id, "workflow 1", "request-1"));
    }

    /// Tasks are listed by number, compensations last; a position is the number plus one.
    async fn tasks_are_listed_by_number(world) {
        let id = start(world, 1, sequence(vec![undoable("a"), task("b"), undoable("c")])).await;
        let keys = |page: &Page<TaskRecord>| page.items.iter().map(|shown| shown.task.key.as_str().to_owned()).collect::<Vec<_>>();
        let view = world.view();
        let page = view.tasks(id, two_after(None)).await.unwrap().unwrap();
        assert_eq!((keys(&page), page.next), (vec!["a".to_owned(), "b".to_owned()], Some(2)));
        let page = view.tasks(id, two_after(page.next)).await.unwrap().unwrap();
        assert_eq!((keys(&page), page.next), (vec!["c".to_owned(), "undo/a".to_owned()], Some(4)));
        let page = view.tasks(id, two_after(page.next)).await.unwrap().unwrap();
        assert_eq!((keys(&page), page.next), (vec!["undo/c".to_owned()], None));
        let page = view.tasks(id, two_after(Some(5))).await.unwrap().unwrap();
        assert_eq!((keys(&page), page.next), (Vec::new(), None));
        let all = records(world, id).await;
        assert_eq!((all[3].task.undoes, all[0].task.undone_by), (TaskNo::new(0), TaskNo::new(3)));
        assert_eq!((all[1].task.undone_by, &all[3].depends_on), (None, &Vec::new()));
    }

    /// A task is shown as it was described, with what it waits for.
    async fn a_task_is_shown_as_described(world) {
        let kind = Kind::parse("http.request").unwrap();
        let mut odd = doing("odd", Work {
            kind: kind.clone(), payload: json(HOSTILE_JSON), priority: -100, queue: queue("slow"), ..work()
        });
        odd.concurrency_keys = vec![HOSTILE.to_owned(), "b".to_owned()];
        odd.work.policy = retried("x", 7).work.policy;
        let id = start(world, 1, dag(vec![odd.clone(), waits_for("wait", "go", Some(Duration::from_secs(7)))])).await;
        let shown = task_record(world, id, "odd").await;
        assert_eq!((shown.kind, shown.payload, shown.workflow), (kind, odd.work.payload, id));
        assert_eq!((shown.task.queue, shown.task.priority, shown.task.policy), (odd.work.queue, odd.work.priority, odd.work.policy));
        assert_eq!((shown.task.concurrency_keys, shown.task.action), (odd.concurrency_keys, odd.work.action));
        let waits = task_record(world, id, "wait").await.task;
        assert_eq!((waits.status, waits.action), (TaskStatus::Waiting, waits_for("wait", "go", Some(Duration::from_secs(7))).work.action));
        let id = start(world, 2, diamond()).await;
        let all = records(world, id).await;
        assert_eq!(all.iter().map(depends_on).collect::<Vec<_>>(), [&[][..], &["a"], &["a"], &["b", "c"]]);
        assert_eq!(all.iter().map(|shown| shown.task.pending).collect::<Vec<_>>(), [0, 1, 1, 2]);
        let id = start(world, 3, linear(&["a", "b"])).await;
        assert_eq!(records(world, id).await.iter().map(depends_on).collect::<Vec<_>>(), [&[][..], &["a"]]);
    }

    /// A task shows who took it, when, and what came of it; the list and the task say the same.
    async fn a_task_shows_what_came_of_it(world) {
        let id = start(world, 1, sequence(vec![retried("a", 1), task("b")])).await;
        let task = id.task(TaskNo::new(0).unwrap());
        let shown = world.view().task(task).await.unwrap().unwrap();
        assert_eq!((shown.task.status, shown.task.attempt, &shown.worker), (TaskStatus::Queued, 0, &None));
        assert_eq!((shown.started_at, shown.finished_at, &shown.result), (None, None, &None));
        let driver = Driver::open(world, 1).await;
        let taken = driver.take().await;
        let shown = world.view().task(task).await.unwrap().unwrap();
        let started_at = shown.started_at.expect("it has started");
        assert_eq!((shown.task.status, shown.task.attempt, shown.worker.as_deref()), (TaskStatus::Running, 1, Some("worker 1")));
        assert!(started_at >= taken.queued_at && shown.finished_at.is_none());
        driver.end(&taken, Outcome::Failed { error: TaskError::new("broken", HOSTILE), retryable: true }).await;
        let shown = world.view().task(task).await.unwrap().unwrap();
        assert_eq!((shown.task.status, shown.task.retries), (TaskStatus::Retrying, 1));
        assert_eq!((shown.task.error.as_ref().map(|error| error.message.as_str()), shown.finished_at), (Some(HOSTILE), None));
        let_time_pass(world, id).await;
        let second = Driver::open(world, 2).await;
        second.run("a", success(HOSTILE_JSON)).await;
        let shown = world.view().task(task).await.unwrap().unwrap();
        assert_eq!((shown.task.status, shown.task.attempt, shown.task.error.clone()), (TaskStatus::Succeeded, 2, None));
        assert_eq!((shown.result.clone(), shown.worker.as_deref()), (Some(json(HOSTILE_JSON)), Some("worker 2")));
        assert!(shown.started_at >= Some(started_at) && shown.finished_at >= shown.started_at);
        assert_eq!((shown.task.rank, shown.task.pending), (Some(0), 0));
        assert_eq!(records(world, id).await[0], shown);
        let next = task_record(world, id, "b").await;
        assert_eq!((next.task.status, next.task.pending, next.started_at), (TaskStatus::Queued, 0, None));
    }

    /// The history is numbered from 1, page by page, and has workers, reasons and times.
    async fn a_history_is_numbered(world) {
        let id = start(world, 1, linear(&["a"])).await;
        start(world, 2, linear(&["other"])).await;
        let driver = Driver::open(world, 1).await;
        driver.run("a", Outcome::Failed { error: TaskError::new("broken", HOSTILE), retryable: false }).await;
        driver.run("other", success("1")).await;
        let mut after = None;
        let mut told = Vec::new();
        loop {
            let page = world.view().history(id, two_after(after)).await.unwrap().unwrap();
            assert!(page.items.len() == 2 && page.next.is_none_or(|next| next % 2 == 0));
            told.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(told.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let shown: Vec<_> = told.iter().map(|(_, event)| (event.event.kind.as_str(), event.event.detail.as_deref())).collect();
        let reason = format!("broken: {HOSTILE}");
        let whole = format!("the task `a` ended as failed: {reason}");
        assert_eq!(shown, [
            ("workflow_created", None), ("workflow_started", None), ("task_queued", None), ("task_started", Some("worker 1")),
            ("task_failed", Some(reason.as_str())), ("workflow_failed", Some(whole.as_str())),
        ]);
        let created_at = record(world, id).await.created_at;
        assert!(told.iter().all(|(_, event)| event.workflow == id && event.at >= created_at));
        assert!(told.is_sorted_by(|(_, before), (_, after)| before.at <= after.at && before.position < after.position));
        assert_eq!(world.view().history(id, two_after(Some(6))).await.unwrap().unwrap().items, []);
    }

    /// Dead letters are listed newest first, page by page; what is done again leaves the list.
    async fn dead_letters_are_listed_newest_first(world) {
        let driver = Driver::open(world, 1).await;
        let error = TaskError::new("who_knows", HOSTILE);
        let mut dead = Vec::new();
        for (number, first, outcome) in [
            (3, task("a"), failure("broken")),
            (1, unrepeatable("a"), Outcome::Unknown { error: error.clone() }),
            (2, task("a"), Outcome::TimedOut),
        ] {
            let id = start(world, number, sequence(vec![first, task("b")])).await;
            driver.run("a", outcome).await;
            dead.insert(0, id.task(TaskNo::new(0).unwrap()));
        }
        start(world, 4, sequence(vec![retried("a", 1)])).await;
        driver.run("a", failure("broken")).await;
        let all = DeadLetterFilter::default();
        assert_eq!(letters(world, &all).await, dead);
        let page = world.view().dead_letters(&all, two_after(None)).await.unwrap();
        assert_eq!((page.items.len(), page.next), (2, Some(page.items[1].position)));
        assert_eq!((page.items[1].workflow_name.as_str(), page.items[1].record.task.error.as_ref()), ("workflow 1", Some(&error)));
        assert_eq!(page.items[1].record, task_record(world, workflow_id(1), "a").await);
        let rest = world.view().dead_letters(&all, two_after(page.next)).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
        assert_eq!(world.workflows().redrive(&all, 1, None).await.unwrap(), dead[2..]);
        assert_eq!(letters(world, &all).await, dead[..2]);
        driver.run("a", failure("broken")).await;
        assert_eq!(letters(world, &all).await, [dead[2], dead[0], dead[1]]);
    }

    /// Only the dead letters that are meant are listed.
    async fn dead_letters_are_chosen(world) {
        let driver = Driver::on(world, 1, Executor::Engine, &["default", "slow"]).await;
        let kind = Kind::parse("special").unwrap();
        let special = doing("a", Work { kind: kind.clone(), ..work() });
        let mut dead = Vec::new();
        for (number, (first, code)) in (1..).zip([(task("a"), "one"), (queued_in("a", "slow"), "two"), (special, "o'ne")]) {
            let id = start(world, number, sequence(vec![first])).await;
            driver.run("a", failure(code)).await;
            dead.push(id.task(TaskNo::new(0).unwrap()));
        }
        let any = DeadLetterFilter::default();
        for (filter, expected) in [
            (DeadLetterFilter { task: Some(dead[0]), ..any.clone() }, &dead[..1]),
            (DeadLetterFilter { workflow: Some(workflow_id(2)), ..any.clone() }, &dead[1..2]),
            (DeadLetterFilter { queue: Some(queue("slow")), ..any.clone() }, &dead[1..2]),
            (DeadLetterFilter { kind: Some(kind), ..any.clone() }, &dead[2..]),
            (DeadLetterFilter { code: Some("o'ne".to_owned()), ..any.clone() }, &dead[2..]),
            (DeadLetterFilter { code: Some("one".to_owned()), queue: Some(queue("slow")), ..any.clone() }, &[]),
            (DeadLetterFilter { workflow: Some(workflow_id(404)), ..any }, &[]),
        ] {
            assert_eq!(letters(world, &filter).await, expected, "{filter:?}");
        }
    }

    /// Without a database it says so.
    async fn it_says_so_when_the_database_is_gone(world) {
        let id = start(world, 1, linear(&["a"])).await;
        world.side_door().cut().await;
        let view = world.view();
        is_unavailable(view.find(id).await);
        is_unavailable(view.list(&WorkflowFilter::default(), ALL).await);
        is_unavailable(view.tasks(id, ALL).await);
        is_unavailable(view.task(id.task(TaskNo::new(0).unwrap())).await);
        is_unavailable(view.history(id, ALL).await);
        is_unavailable(view.dead_letters(&DeadLetterFilter::default(), ALL).await);
    }
}
