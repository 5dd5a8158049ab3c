//! What the engine does all the time is found by indexes, however much has ended: PostgreSQL counts it.
//!
//! The statements are the store's own: what counts is how the tables were read, not how a copy of a
//! statement would be planned here.
#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

mod support;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use drover_domain::page::PageRequest;
use drover_domain::workflow::{EventPosition, Executor, LeaseId};
use drover_ports::{
    Assignment, ClaimRequest, EventFilter, EventLog, Report, ReportVerdict, TaskQueue,
    WorkflowStore, WorkflowUpkeep, WorkflowView,
};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::engine::fixtures::{
    LEASE, dag, failure, lease_id, linear, parallel, queue, retried, success, workflow, workflow_id,
};
use drover_testkit::eventually::eventually;

use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use support::Scene;

/// How many ended workflows of a thousand tasks there are.
const ENDED: i64 = 25;
/// The tables that grow with what has ended, and the queue.
const TABLES: [&str; 4] = [
    "workflow_events",
    "workflow_queue",
    "workflow_tasks",
    "workflows",
];
/// Longer than a statement may be planned anew each time: afterwards PostgreSQL keeps one plan for all.
const ROUNDS: usize = 12;

async fn open(scene: &Scene) -> SeaOrmStore {
    let mut options = Options::new(&scene.url);
    options.connections_max = NonZeroU32::MIN;
    SeaOrmStore::connect(&options).await.unwrap()
}

async fn claim(store: &SeaOrmStore, lease: LeaseId, limit: u32) -> Vec<Assignment> {
    let request = ClaimRequest {
        executor: Executor::Engine,
        queues: vec![queue("default"), queue("another")],
        limit,
    };
    store.claim(lease, &request).await.unwrap()
}

async fn report(store: &SeaOrmStore, lease: LeaseId, tasks: &[Assignment], fails: bool) {
    let report = |task: &Assignment| Report {
        task: task.task,
        attempt: task.attempt,
        outcome: if fails {
            failure("broken")
        } else {
            success("1")
        },
    };
    let reports: Vec<Report> = tasks.iter().map(report).collect();
    let verdicts = store.report(lease, &reports).await.unwrap();
    assert!(
        verdicts
            .iter()
            .all(|verdict| *verdict == ReportVerdict::Accepted)
    );
}

/// A workflow that has ended, many times over.
async fn fill(scene: &Scene) {
    let store = open(scene).await;
    store.start(&[workflow(0, parallel(1_000))]).await.unwrap();
    store
        .open_lease(lease_id(0), "worker", LEASE)
        .await
        .unwrap();
    let tasks = claim(&store, lease_id(0), 1_000).await;
    report(&store, lease_id(0), &tasks, false).await;
    store.close().await;
    let copies = [
        "INSERT INTO workflows SELECT r.* FROM workflows w CROSS JOIN generate_series(1, $1::bigint) n
         CROSS JOIN LATERAL jsonb_populate_record(
             w, jsonb_build_object('id', gen_random_uuid(), 'position', -n)) r",
        "INSERT INTO workflow_tasks SELECT r.* FROM workflow_tasks t CROSS JOIN workflows w
         CROSS JOIN LATERAL jsonb_populate_record(t, jsonb_build_object('workflow_id', w.id)) r
         WHERE -w.position BETWEEN 1 AND $1",
        "INSERT INTO workflow_events
         SELECT nextval('workflow_event_order'), w.id, e.at, e.event_count, '[[\"task_completed\",0,1,null]]'
         FROM workflow_events e CROSS JOIN workflows w CROSS JOIN generate_series(1, 500)
         WHERE -w.position BETWEEN 1 AND $1",
    ];
    // PostgreSQL reports its counts when a connection is closed.
    let other = Database::connect(&scene.url).await.unwrap();
    for copy in copies {
        let copy = Statement::from_sql_and_values(DbBackend::Postgres, copy, [ENDED.into()]);
        other.execute_raw(copy).await.unwrap();
    }
    // What autovacuum does soon enough.
    for table in TABLES {
        other
            .execute_unprepared(&format!("VACUUM ANALYZE {table}"))
            .await
            .unwrap();
    }
    other.close().await.unwrap();
}

/// How often each table was read from end to end, how many rows of it indexes led to, and how often each
/// index was looked into, as far as connections that are closed have said.
async fn reads(scene: &Scene) -> BTreeMap<String, i64> {
    eventually(Duration::from_secs(20), || async {
        let others = scene
            .rows(
                "SELECT 1 FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            )
            .await;
        if others.is_empty() {
            Ok(())
        } else {
            Err(format!("{} connections are not closed yet", others.len()))
        }
    })
    .await;
    let rows = scene
        .rows(
            "SELECT relname::text AS name, seq_scan AS times FROM pg_stat_user_tables
             UNION ALL SELECT relname || ' rows', idx_tup_fetch FROM pg_stat_user_tables
             UNION ALL SELECT indexrelname::text, idx_scan FROM pg_stat_user_indexes",
        )
        .await;
    rows.iter()
        .map(|row| {
            let times: Option<i64> = row.try_get("", "times").unwrap();
            (row.try_get("", "name").unwrap(), times.unwrap_or(0))
        })
        .collect()
}

#[tokio::test]
async fn what_is_hot_is_found_by_indexes() {
    let scene = support::postgres().await;
    // It has served for the migration; others open one of their own.
    scene.store.close().await;
    fill(&scene).await;
    let before = reads(&scene).await;

    let store = open(&scene).await;
    let lease = lease_id(1);
    store.open_lease(lease, "worker", LEASE).await.unwrap();
    let (mut started, mut position) = (0, EventPosition::START);
    for _ in 0..ROUNDS {
        let kinds = [parallel(200), linear(&["a", "b", "c"])];
        let new: Vec<_> = (0..100)
            .map(|number| {
                started += 1;
                workflow(started, kinds[usize::from(number > 0)].clone())
            })
            .collect();
        store.start(&new).await.unwrap();
        for limit in [1, 10, 200] {
            let tasks = claim(&store, lease, limit).await;
            assert_eq!(u32::try_from(tasks.len()).unwrap(), limit);
            report(&store, lease, &tasks, false).await;
        }
        let failing = [workflow(10_000 + started, dag(vec![retried("a", 1)]))];
        store.start(&failing).await.unwrap();
        let tasks = claim(&store, lease, 2).await;
        report(&store, lease, &tasks, true).await;
        store.wake_due(100).await.unwrap();
        store.take_over(Duration::ZERO, 100).await.unwrap();
        store.heartbeat(lease, LEASE).await.unwrap();
        store
            .prune(&Duration::from_hours(24).into(), 10)
            .await
            .unwrap();
        for workflow in [None, Some(workflow_id(1))] {
            let page = store
                .after(position, EventFilter { workflow }, 100)
                .await
                .unwrap();
            if workflow.is_none() {
                position = page.next;
            }
        }
        let page = PageRequest {
            after: None,
            limit: 50,
        };
        store.find(workflow_id(1)).await.unwrap().unwrap();
        store.tasks(workflow_id(1), page).await.unwrap().unwrap();
        store.history(workflow_id(1), page).await.unwrap().unwrap();
    }
    store.close().await;

    let after = reads(&scene).await;
    let times = |name: &str| after[name] - before[name];
    for table in TABLES {
        assert_eq!(times(table), 0, "{table} was read from end to end");
    }
    // Nor by way of an index: all rounds together read fewer rows than have ended.
    for (table, ended) in [("workflow_tasks", 1_000), ("workflow_events", 500)] {
        let read = times(&format!("{table} rows"));
        assert!(read < ENDED * ended, "{read} rows of {table} were read");
    }
    let used = [
        "workflow_events_pkey",
        "workflow_events_workflow",
        "workflow_queue_held",
        "workflow_queue_ready",
        "workflow_queue_workflow_id_task_no_key",
        "workflow_tasks_pkey",
        "workflows_finished",
        "workflows_id_key",
    ];
    for index in used {
        assert!(times(index) > 0, "{index} was not used");
    }
}
