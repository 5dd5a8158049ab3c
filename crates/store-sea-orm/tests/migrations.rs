//! The schema, on both databases.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken test setup should stop the test"
)]

mod support;

use drover_domain::Timestamp;
use drover_domain::page::PageRequest;
use drover_domain::rollout::definition;
use drover_domain::workflow::TaskId;
use drover_domain::workflow::run::{Decision, Outcome};
use drover_domain::workflow::{Json, TaskStatus, WorkflowStatus};
use drover_migrations::Migrator;
use drover_ports::{
    Claim, DeadLetterFilter, Idempotency, NewRollouts, RolloutStore, RolloutView, Started,
    WorkflowStore, WorkflowView,
};
use drover_store_sea_orm::{MigrateError, Options, SeaOrmStore};
use drover_testkit::store::fixtures::{self, Updater};
use drover_testkit::store::postgres::{Cluster, Durability};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

fn sqlite_file() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("drover.db").display());
    (folder, url)
}

async fn open(url: &str) -> SeaOrmStore {
    SeaOrmStore::connect(&Options::new(url)).await.unwrap()
}

async fn goes_up_once(store: SeaOrmStore) {
    let before = store.migration_status().await.unwrap();
    assert_eq!(before.applied, Vec::<String>::new());
    assert_eq!(before.pending, drover_migrations::steps());
    store.migrate().await.unwrap();
    let after = store.migration_status().await.unwrap();
    assert_eq!(
        (&after.applied, after.is_current()),
        (&drover_migrations::steps(), true)
    );
    store.migrate().await.unwrap();
    assert_eq!(store.migration_status().await.unwrap(), after);
}

#[tokio::test]
async fn all_steps_go_up_once_on_sqlite() {
    let (_folder, url) = sqlite_file();
    goes_up_once(open(&url).await).await;
}

#[tokio::test]
async fn all_steps_go_up_once_on_postgres() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("once");
    goes_up_once(open(&database.url()).await).await;
}

#[tokio::test]
async fn processes_that_migrate_at_once_all_succeed() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("many");
    let (_folder, file) = sqlite_file();
    for url in [database.url(), file] {
        let stores = [
            open(&url).await,
            open(&url).await,
            open(&url).await,
            open(&url).await,
        ];
        let [a, b, c, d] = &stores;
        let (a, b, c, d) = tokio::join!(a.migrate(), b.migrate(), c.migrate(), d.migrate());
        a.and(b).and(c).and(d).unwrap();
        assert!(stores[0].migration_status().await.unwrap().is_current());
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_a_sentence() {
    for scene in [support::sqlite().await, support::postgres().await] {
        scene.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_future', 0)", vec![]).await;
        let refusal = scene.store.migrate().await.unwrap_err();
        assert!(
            matches!(&refusal, MigrateError::NewerSchema { steps } if steps == &["m29990101_000001_future"]),
            "{refusal:?}"
        );
        let sentence = refusal.to_string();
        assert!(
            sentence.starts_with("the database was made by a newer release"),
            "{sentence}"
        );
        assert!(!scene.store.migration_status().await.unwrap().is_current());
    }
}

async fn schema(connection: &DatabaseConnection) -> Vec<String> {
    let query = if connection.get_database_backend() == sea_orm::DbBackend::Postgres {
        "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) AS line
             FROM information_schema.columns WHERE table_schema = 'public'
             UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
             UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                       WHERE connamespace = 'public'::regnamespace
             ORDER BY 1"
    } else {
        "SELECT COALESCE(sql, name) AS line FROM sqlite_master ORDER BY 1"
    };
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), query);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get("", "line").unwrap())
        .collect()
}

#[tokio::test]
async fn every_step_can_be_taken_back() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("down");
    let (_folder, file) = sqlite_file();
    for url in [database.url(), format!("{file}?mode=rwc")] {
        let connection = Database::connect(&url).await.unwrap();
        Migrator::up(&connection, None).await.unwrap();
        let full = schema(&connection).await;
        for count in 1..=u32::try_from(drover_migrations::steps().len()).unwrap() {
            Migrator::down(&connection, Some(count)).await.unwrap();
            Migrator::up(&connection, Some(count)).await.unwrap();
            assert_eq!(
                schema(&connection).await,
                full,
                "{count} steps down and up again"
            );
        }
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn every_foreign_key_is_indexed() {
    let scene = support::postgres().await;
    let bare = scene
        .rows(
            "SELECT k.conrelid::regclass || ' ' || pg_get_constraintdef(k.oid) AS line
             FROM pg_constraint k
             WHERE k.contype = 'f' AND NOT EXISTS (
                 SELECT 1 FROM pg_index i
                 WHERE i.indrelid = k.conrelid AND i.indpred IS NULL
                   AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)",
        )
        .await;
    let bare: Vec<String> = bare
        .iter()
        .map(|row| row.try_get("", "line").unwrap())
        .collect();
    assert_eq!(bare, Vec::<String>::new());
    let keys = scene
        .rows("SELECT oid::bigint AS id FROM pg_constraint WHERE contype = 'f'")
        .await;
    assert_eq!(keys.len(), 25, "the query above looks at every foreign key");
}

#[tokio::test]
async fn names_from_outside_are_bounded() {
    let scene = support::postgres().await;
    let free = scene
        .rows(
            "SELECT table_name || '.' || column_name AS line FROM information_schema.columns c
             WHERE table_schema = 'public' AND data_type = 'text' AND table_name NOT LIKE 'seaql%'
               AND NOT EXISTS (
                   SELECT 1 FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
                   WHERE k.contype = 'c' AND k.conrelid = c.table_name::regclass AND a.attname = c.column_name)
             ORDER BY 1",
        )
        .await;
    let free: Vec<String> = free
        .iter()
        .map(|row| row.try_get("", "line").unwrap())
        .collect();
    // Sentences and names that Drover itself has made and bounded.
    let ours = [
        "events.description",
        "haproxy_actions.failure",
        "orchestrator_playbooks.description",
        "orchestrator_playbooks.version",
        "rollout_events.host",
        "rollout_events.play",
        "rollout_events.task",
        "rollout_targets.composite",
        "rollout_targets.detail",
        "rollout_targets.version_after",
        "rollout_targets.version_before",
        "rollouts.current_step",
        "rollouts.error",
        "rollouts.result",
        "workflow_definitions.definition",
        "workflow_events.events",
        "workflow_tasks.action",
        "workflow_tasks.concurrency_keys",
        "workflow_tasks.dependants",
        "workflow_tasks.depends_on",
        "workflow_tasks.policy",
        "workflows.error",
    ];
    assert_eq!(free, ours);
}

/// What the first queue of rollouts held: place, last digits of the identifier, status, attempt.
const OLD: [(i64, &str, &str, i64); 7] = [
    (1, "001", "succeeded", 1),
    (2, "fff", "failed", 2),
    (3, "000", "running", 3),
    (4, "abc", "queued", 0),
    (5, "7e0", "unknown", 1),
    (6, "010", "cancelled", 1),
    (7, "0a1", "running", 1),
];

fn old_id(place: i64, digits: &str) -> String {
    format!("0190b3a4-7c0{place}-7000-8000-000000000{digits}")
}

/// A database with the schema before updates moved onto the engine, and with [`OLD`] in it.
async fn with_the_first_queue(url: &str) -> DatabaseConnection {
    let connection = Database::connect(url).await.unwrap();
    Migrator::up(&connection, Some(5)).await.unwrap();
    for (place, digits, status, attempt) in OLD {
        let id = old_id(place, digits);
        let at = 1_000 * place;
        let started = if attempt > 0 {
            (at + 1).to_string()
        } else {
            "NULL".to_owned()
        };
        let ended = !matches!(status, "queued" | "running");
        let finished = if ended {
            (at + 2).to_string()
        } else {
            "NULL".to_owned()
        };
        let keys = match (ended, place) {
            (true, _) => "[]",
            (false, 7) => "[\"group:7\"]",
            (false, _) => "[\"group:1\", \"backend:2\"]",
        };
        let worker = if status == "running" {
            "'w1', 5"
        } else {
            "NULL, NULL"
        };
        let text = format!(
            "INSERT INTO update_tasks (
                 id, status, application_ids, concurrency_keys, artifact_url, mode, orchestrator, playbook_path, actor,
                 request_id, attempt, worker, lease_until, created_at, started_at, finished_at, progress, result, error)
             VALUES ('{id}', '{status}', '[1,2]', '{keys}', 'http://nexus/a-1.zip', 'update', 'o.yml', 'p.yml', 'ann', 'r1',
                     {attempt}, {worker}, {at}, {started}, {finished}, 40, 'came so far', 'said so');
             INSERT INTO update_task_runs (task_id, run_index, job_id, prepared, status, hosts)
             VALUES ('{id}', 0, '0190b3a4-7c0{place}-7000-9000-000000000000',
                     '{{\"playbook\":\"o.yml\",\"playbook_path\":\"o.yml\",\"extra_params\":{{}},\"batches\":[],\"backend\":null}}',
                     'running', '[]');
             INSERT INTO update_task_instances (task_id, application_id, name, server, composite, run_index, batch, outcome)
             VALUES ('{id}', 1, 'a_1', 's1', 's1::a_1', 0, 'even', 'updating');
             INSERT INTO idempotency_keys (scope, request_key, digest, task_ids, created_at)
             VALUES ('ann', 'key {place}', {digest}, '[\"{id}\"]', 0);",
            digest = if url.starts_with("sqlite") { "x'01'" } else { "'\\x01'" },
        );
        connection.execute_unprepared(&text).await.unwrap();
    }
    connection
}

const ALL: PageRequest = PageRequest {
    after: None,
    limit: 50,
};

/// The line of each rollout, as the release before reads it.
async fn lines(connection: &DatabaseConnection) -> Vec<String> {
    let text = "SELECT CAST(id AS TEXT) || ' ' || status || ' ' || attempt || ' ' || created_at || ' ' ||
                       COALESCE(started_at, -1) || ' ' || COALESCE(finished_at, -1) || ' ' || COALESCE(worker, '-') || ' ' ||
                       CAST(concurrency_keys AS TEXT) AS line
                FROM update_tasks ORDER BY position";
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), text);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get("", "line").unwrap())
        .collect()
}

async fn each_is_a_task_of_the_engine(store: &SeaOrmStore) {
    let listed = RolloutView::list(store, &[], ALL).await.unwrap().items;
    let listed: Vec<_> = listed
        .into_iter()
        .rev()
        .map(|(place, task)| (place, task.id.to_string(), task.status, task.attempt))
        .collect();
    let expected: Vec<_> = OLD
        .iter()
        .map(|(place, digits, status, attempt)| {
            let digits = if *digits == "000" { "001" } else { digits };
            let status = match *status {
                // It has no lease: the next worker goes on with it.
                "running" => TaskStatus::Queued,
                word => TaskStatus::parse(word).unwrap(),
            };
            (
                *place,
                old_id(*place, digits),
                status,
                u32::try_from(*attempt).unwrap(),
            )
        })
        .collect();
    assert_eq!(listed, expected);
    for (place, id, status, _) in expected {
        is_a_task_of_the_engine(store, place, &id, status).await;
    }
    let dead = WorkflowView::dead_letters(store, &DeadLetterFilter::default(), ALL)
        .await
        .unwrap();
    assert_eq!(dead.items.len(), 2);
}

async fn is_a_task_of_the_engine(store: &SeaOrmStore, place: i64, id: &str, status: TaskStatus) {
    let task = id.parse::<TaskId>().unwrap();
    let detail = RolloutView::find(store, task).await.unwrap().unwrap();
    assert_eq!((detail.runs.len(), detail.targets.len()), (1, 1), "{id}");
    let ended = !matches!(status, TaskStatus::Queued);
    let at = |after: i64| Timestamp::from_micros(1_000 * place + after);
    assert_eq!(detail.rollout.finished_at, ended.then(|| at(2)), "{id}");
    let record = WorkflowView::task(store, task).await.unwrap().unwrap();
    assert_eq!(
        (record.task.status, record.kind),
        (status, definition::kind()),
        "{id}"
    );
    if !ended {
        let usual = definition::definition(record.task.concurrency_keys.clone()).unwrap();
        let keys: &[&str] = if place == 7 {
            &["group:7"]
        } else {
            &["group:1", "backend:2"]
        };
        assert_eq!(record.task.concurrency_keys, keys);
        let work = &usual.tasks()[0].work;
        assert_eq!(
            (&record.task.policy, &record.task.action),
            (&work.policy, &work.action)
        );
        assert_eq!(
            (&record.task.queue, &record.payload),
            (&work.queue, &work.payload)
        );
        assert_eq!(record.task.key, usual.tasks()[0].key);
    }
    let workflow = WorkflowView::find(store, task.workflow())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (workflow.name.as_str(), workflow.head.total),
        (definition::KIND, 1)
    );
    assert_eq!(
        workflow.head.open == 0,
        workflow.head.status.is_terminal(),
        "{id}"
    );
}

async fn a_repeated_request_is_still_known(store: &SeaOrmStore) {
    let key = Idempotency {
        scope: "ann".to_owned(),
        key: "key 3".to_owned(),
        digest: vec![1],
    };
    let again = NewRollouts {
        idempotency: Some(key),
        ..fixtures::updates(Vec::new())
    };
    let replayed = RolloutStore::start(store, &again).await.unwrap();
    assert_eq!(
        replayed,
        Started::Replayed(vec![old_id(3, "001").parse().unwrap()])
    );
}

async fn the_engine_goes_on_with_them(store: &SeaOrmStore) {
    // What ran goes on, and what waits for it waits on.
    let worker = Updater::open(store, 1).await;
    let running = [worker.take().await, worker.take().await];
    assert_eq!(worker.claim().await, None);
    let expected = [(3, "001", 4), (7, "0a1", 2)];
    for (claim, (place, digits, attempt)) in running.iter().zip(expected) {
        assert_eq!(
            (claim.task.to_string(), claim.attempt),
            (old_id(place, digits), attempt)
        );
        let begun = store.begin(claim, fixtures::at(1)).await.unwrap().unwrap();
        assert_eq!((begun.end, begun.detail.runs.len()), (None, 1));
        assert_eq!(
            begun.detail.rollout.started_at,
            Some(Timestamp::from_micros(1_000 * place + 1))
        );
    }
    worker.report(&running[0], Outcome::Released).await;
    assert_eq!(worker.take().await.attempt, 5);
    worker
        .succeed(&Claim {
            attempt: 5,
            ..running[0]
        })
        .await;
    assert_eq!(worker.take().await.task.to_string(), old_id(4, "abc"));
    let unknown: TaskId = old_id(5, "7e0").parse().unwrap();
    let decision = Decision::Succeeded {
        result: Json::null(),
    };
    let status = WorkflowStore::decide(store, unknown, &decision)
        .await
        .unwrap();
    assert_eq!(status, Some(WorkflowStatus::Succeeded));
}

async fn updates_move_onto_the_engine(url: &str) {
    let connection = with_the_first_queue(url).await;
    let before = lines(&connection).await;
    let store = open(url).await;
    store.migrate().await.unwrap();
    each_is_a_task_of_the_engine(&store).await;
    a_repeated_request_is_still_known(&store).await;
    the_engine_goes_on_with_them(&store).await;
    store.close().await;

    // And back: what has happened since is kept.
    let later = u32::try_from(drover_migrations::steps().len()).unwrap() - 5;
    Migrator::down(&connection, Some(later)).await.unwrap();
    let after = lines(&connection).await;
    assert_eq!((&after[0], &after[1]), (&before[0], &before[1]));
    assert_eq!(after.len(), before.len());
    for (place, words) in [
        (2, "succeeded 5"),
        (3, "running 1"),
        (4, "succeeded 1"),
        (5, "cancelled 1"),
        (6, "running 2"),
    ] {
        assert!(after[place].contains(words), "{}", after[place]);
    }
    let statement = sea_orm::Statement::from_string(
        connection.get_database_backend(),
        "SELECT count(*) AS count FROM workflows",
    );
    let left = connection.query_one_raw(statement).await.unwrap().unwrap();
    assert_eq!(left.try_get::<i64>("", "count").unwrap(), 0);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn updates_of_the_first_queue_move_onto_the_engine_on_sqlite() {
    let (_folder, url) = sqlite_file();
    updates_move_onto_the_engine(&format!("{url}?mode=rwc")).await;
}

#[tokio::test]
async fn updates_of_the_first_queue_move_onto_the_engine_on_postgres() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("moves");
    updates_move_onto_the_engine(&database.url()).await;
}
