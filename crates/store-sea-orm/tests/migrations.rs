//! The schema, on both databases.
#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

mod support;

use drover_migrations::Migrator;
use drover_store_sea_orm::{MigrateError, Options, SeaOrmStore};
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
    assert_eq!(keys.len(), 17, "the query above looks at every foreign key");
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
        "orchestrator_playbooks.description",
        "orchestrator_playbooks.version",
        "update_task_events.host",
        "update_task_events.play",
        "update_task_events.task",
        "update_task_instances.composite",
        "update_task_instances.detail",
        "update_task_instances.version_after",
        "update_task_instances.version_before",
        "update_tasks.current_step",
        "update_tasks.error",
        "update_tasks.result",
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

#[tokio::test]
async fn the_queue_is_found_by_a_partial_index() {
    let scene = support::postgres().await;
    scene
        .execute(
            "INSERT INTO update_tasks (id, status, application_ids, artifact_url, mode, orchestrator, playbook_path, actor,
                                       request_id, created_at)
             SELECT gen_random_uuid(), 'succeeded', '[]', 'x', 'update', 'o', 'p', 'a', 'r', 0
             FROM generate_series(1, 20000)",
            vec![],
        )
        .await;
    scene.execute("ANALYZE update_tasks", vec![]).await;
    let plan = scene
        .rows(
            "EXPLAIN SELECT q.position FROM update_tasks q
             WHERE q.status IN ('queued', 'running') AND (q.status = 'queued' OR q.lease_until <= 5)
             ORDER BY q.position LIMIT 1 FOR UPDATE SKIP LOCKED",
        )
        .await;
    let plan: Vec<String> = plan
        .iter()
        .map(|row| row.try_get("", "QUERY PLAN").unwrap())
        .collect();
    assert!(
        plan.iter().any(|line| line.contains("update_tasks_live")),
        "{plan:#?}"
    );
}
