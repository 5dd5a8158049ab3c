//! What a failed or dropped transaction leaves behind: nothing, wherever it fails.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use drover_domain::access::Role;
use drover_domain::page::PageRequest;
use drover_ports::{AccessKeys, Fault, Rejection, ServerRegistry, StoreError, StoreHealth};
use drover_testkit::eventually::eventually;
use drover_testkit::store::fixtures::{api_key, at, new_server};
use drover_testkit::store::postgres::{Cluster, Database as PostgresDatabase, Durability};
use sea_orm::{ConnectionTrait as _, QueryResult};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::sql::Sql;
use crate::{OpenError, Options, SeaOrmStore};

/// A store whose pool has one connection: what one call leaves behind, the next one meets.
async fn alone(url: &str) -> SeaOrmStore {
    let options = Options {
        connections_max: NonZeroU32::MIN,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(1),
        ..Options::new(url)
    };
    let store = SeaOrmStore::connect(&options).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn file() -> (TempDir, SeaOrmStore, SeaOrmStore) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("drover.db").display());
    (folder, alone(&url).await, alone(&url).await)
}

async fn postgres() -> (Cluster, PostgresDatabase, SeaOrmStore, SeaOrmStore) {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("broken");
    let store = alone(&database.url()).await;
    let other = alone(&database.url()).await;
    (cluster, database, store, other)
}

fn sql(database: &PostgresDatabase, text: &str) {
    drop(database.ask(text));
}

async fn ask(store: &SeaOrmStore, text: &str) -> Vec<QueryResult> {
    store.database().rows(Sql::new(text)).await.unwrap()
}

async fn names(store: &SeaOrmStore) -> Vec<String> {
    let text = "SELECT name FROM servers ORDER BY id";
    let rows = ask(store, text).await;
    rows.iter()
        .map(|row| row.try_get("", "name").unwrap())
        .collect()
}

async fn add(store: &SeaOrmStore, name: &str) -> Result<(), StoreError> {
    store.add(&new_server(name), at(0)).await.map(|_| ())
}

/// That `store` works as a fresh one does, and `other`, another process, sees what it acknowledges.
async fn is_sound(store: &SeaOrmStore, other: &SeaOrmStore, name: &str) {
    let name = name.replace(' ', "-");
    let before = names(other).await;
    add(store, &format!("{name}-a")).await.unwrap();
    store
        .insert(&api_key("0123456789abcdef", Role::Viewer))
        .await
        .unwrap();
    let key = AccessKeys::find(other, "0123456789abcdef").await.unwrap();
    assert!(key.is_some(), "{name}: what is acknowledged is committed");
    add(other, &format!("{name}-b")).await.unwrap();
    let mut expected = before;
    expected.extend([format!("{name}-a"), format!("{name}-b")]);
    assert_eq!(names(other).await, expected, "{name}");
    assert_eq!(names(store).await, expected, "{name}");
    store.check().await.unwrap();
    ask(other, "DELETE FROM api_keys").await;
}

async fn limit_pages(store: &SeaOrmStore, more: i64) {
    let pages = ask(store, "PRAGMA page_count").await;
    let pages: i64 = pages[0].try_get("", "page_count").unwrap();
    ask(store, &format!("PRAGMA max_page_count = {}", pages + more)).await;
}

/// Takes the pages that are free, up to the limit.
async fn fill(store: &SeaOrmStore) {
    ask(store, "CREATE TABLE IF NOT EXISTS ballast (weight BLOB)").await;
    let weight = || Sql::new("INSERT INTO ballast VALUES (zeroblob(3500))");
    while store.database().rows(weight()).await.is_ok() {}
}

async fn fills_up_and_goes_on(store: &SeaOrmStore, seen: impl AsyncFn() -> Vec<String>) {
    let mut acknowledged = seen().await;
    for round in 0..3 {
        limit_pages(store, 20).await;
        fill(store).await;
        let mut refused = 0;
        for number in 0..2_000 {
            let name = format!("web-{round}-{number}");
            match add(store, &name).await {
                Ok(()) => acknowledged.push(name),
                Err(error) => {
                    assert_eq!(error.fault(), Fault::Transient, "{error:?}");
                    let StoreError::Unavailable { source, .. } = &error else {
                        panic!("{error:?}")
                    };
                    assert!(source.to_string().contains("full"), "{source}");
                    refused += 1;
                }
            }
            if refused == 5 {
                break;
            }
        }
        assert_eq!(refused, 5, "the file is full");
        for _ in 0..2 {
            let refusal = store.check().await.unwrap_err();
            let sentence = "the database cannot be written: its disk is full";
            assert_eq!(refusal.to_string(), sentence);
        }
        assert_eq!(names(store).await, acknowledged, "nothing else is shown");
        assert_eq!(seen().await, acknowledged, "nothing else is committed");

        ask(store, "PRAGMA max_page_count = 1000000").await;
        ask(store, "DELETE FROM ballast").await;
        store.check().await.unwrap();
        let name = format!("again-{round}");
        add(store, &name).await.unwrap();
        acknowledged.push(name);
        assert_eq!(seen().await, acknowledged, "round {round}");
    }
}

#[tokio::test]
async fn a_full_file_loses_nothing_and_is_written_again() {
    let (_folder, store, other) = file().await;
    fills_up_and_goes_on(&store, async || names(&other).await).await;
    is_sound(&store, &other, "afterwards").await;
}

// Its only connection is the database: it cannot be closed.
#[tokio::test]
async fn a_full_database_in_memory_loses_nothing_and_is_written_again() {
    let store = alone("sqlite::memory:").await;
    add(&store, "before").await.unwrap();
    fills_up_and_goes_on(&store, async || names(&store).await).await;
}

// A full disk in the middle: the statements after the failed one would each be committed on their own.
#[tokio::test]
async fn nothing_follows_a_failed_statement_of_a_transaction() {
    let (_folder, store, other) = file().await;
    ask(&store, "CREATE TABLE large (filler BLOB)").await;
    limit_pages(&store, 2).await;
    let session = store.write("be tested").await.unwrap();
    let small = || Sql::new("INSERT INTO large VALUES (zeroblob(10))");
    session.execute(small()).await.unwrap();
    let large = Sql::new("INSERT INTO large VALUES (zeroblob(100000))");
    session.execute(large).await.unwrap_err();
    let refusal = session.execute(small()).await.unwrap_err();
    assert_eq!(refusal.fault(), Fault::Transient, "{refusal:?}");
    session
        .rows::<crate::sql::session::KeyRow>(Sql::new("SELECT 1 AS id"))
        .await
        .unwrap_err();
    session.commit().await.unwrap_err();
    let rows = ask(&other, "SELECT count(*) AS count FROM large").await;
    assert_eq!(rows[0].try_get::<i64>("", "count").unwrap(), 0);
    ask(&store, "PRAGMA max_page_count = 1000000").await;
    is_sound(&store, &other, "after a full disk").await;
}

#[tokio::test]
async fn a_failed_transaction_of_postgres_is_not_acknowledged() {
    let (_cluster, _database, store, other) = postgres().await;
    let session = store.write("be tested").await.unwrap();
    session
        .execute(Sql::new("INSERT INTO no_such_table VALUES (1)"))
        .await
        .unwrap_err();
    session.commit().await.unwrap_err();
    is_sound(&store, &other, "after a failed statement").await;
}

// The error comes with the commit, and the transaction goes on.
#[tokio::test]
async fn a_failed_commit_leaves_no_transaction() {
    let (_folder, file_store, file_other) = file().await;
    let (_cluster, _database, store, other) = postgres().await;
    for (store, other) in [(file_store, file_other), (store, other)] {
        ask(
            &other,
            "CREATE TABLE parents (id BIGINT NOT NULL PRIMARY KEY)",
        )
        .await;
        ask(
            &other,
            "CREATE TABLE children (parent BIGINT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
        let session = store.write("be tested").await.unwrap();
        let orphan = Sql::new("INSERT INTO children VALUES (7)");
        session.execute(orphan).await.unwrap();
        session.commit().await.unwrap_err();
        let rows = ask(&other, "SELECT count(*) AS count FROM children").await;
        assert_eq!(rows[0].try_get::<i64>("", "count").unwrap(), 0);
        is_sound(&store, &other, "after a failed commit").await;
    }
}

#[tokio::test]
async fn a_locked_file_leaves_no_transaction() {
    let (_folder, store, other) = file().await;
    let lock = other.write("lock the file").await.unwrap();
    for _ in 0..2 {
        let refusal = add(&store, "too-early").await.unwrap_err();
        assert_eq!(refusal.fault(), Fault::Transient, "{refusal:?}");
    }
    let refusal = store.check().await.unwrap_err();
    assert!(
        matches!(refusal, StoreError::Unavailable { .. }),
        "{refusal:?}"
    );
    lock.undo().await.unwrap();
    is_sound(&store, &other, "after a lock").await;
}

/// Polls a future so often and drops it: an answer that is not waited for.
async fn polled<T>(times: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut count = 0;
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        count += 1;
        if count >= times {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// `lock` is what keeps the table from others; on SQLite every writer does.
async fn dropped_anywhere(store: &SeaOrmStore, other: &SeaOrmStore, lock: Option<&str>) {
    // A busy machine may answer each poll below at once. While the table is locked, a call waits for certain when it is dropped.
    let session = other.write("lock the table").await.unwrap();
    if let Some(lock) = lock {
        session.execute(Sql::new(lock)).await.unwrap();
    }
    let waiting = timeout(Duration::from_millis(100), add(store, "dropped-0"));
    assert!(waiting.await.is_err(), "it did not wait for the lock");
    session.undo().await.unwrap();
    for times in (1..=30).chain(1..=30) {
        let name = format!("dropped-{times}");
        drop(polled(times, add(store, &name)).await);
        // On a connection that has a transaction, this would be acknowledged and never be committed.
        store
            .insert(&api_key("0123456789abcdef", Role::Viewer))
            .await
            .unwrap();
        let key = AccessKeys::find(other, "0123456789abcdef").await.unwrap();
        assert!(key.is_some(), "dropped at poll {times}");
        ask(other, "DELETE FROM api_keys").await;
        ask(other, "DELETE FROM servers").await;
    }
    is_sound(store, other, "after drops").await;
}

#[tokio::test]
async fn a_call_that_is_dropped_anywhere_leaves_no_transaction() {
    let (_folder, store, other) = file().await;
    dropped_anywhere(&store, &other, None).await;
    let (_cluster, _database, store, other) = postgres().await;
    let lock = "LOCK TABLE servers IN ACCESS EXCLUSIVE MODE";
    dropped_anywhere(&store, &other, Some(lock)).await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_no_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("drover.db").display());
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("broken");
    for url in [url, database.url()] {
        let options = Options {
            connections_max: NonZeroU32::MIN,
            ..Options::new(&url)
        };
        let store = SeaOrmStore::connect(&options).await.unwrap();
        // One of the last steps finds its table there.
        ask(&store, "CREATE TABLE webhooks (id BIGINT)").await;
        for _ in 0..2 {
            let refusal = store.migrate().await.unwrap_err();
            assert!(
                matches!(refusal, crate::MigrateError::Step(_)),
                "{refusal:?}"
            );
        }
        let status = store.migration_status().await.unwrap();
        assert_eq!(status.applied, Vec::<String>::new(), "all steps or none");
        for times in 1..60 {
            drop(polled(times, store.migrate()).await);
        }
        ask(&store, "DROP TABLE webhooks").await;
        store.migrate().await.unwrap();
        let other = alone(&url).await;
        is_sound(&store, &other, "after a failed migration").await;
    }
}

#[tokio::test]
async fn a_session_that_was_opened_read_only_is_given_up() {
    let (_cluster, database, store, other) = postgres().await;
    sql(
        &database,
        "ALTER DATABASE broken SET default_transaction_read_only = on",
    );
    // Sessions that are opened now are read-only.
    cut(&database);
    eventually(Duration::from_secs(10), async || {
        let refusal = store.check().await.err().map(|error| error.to_string());
        let sentence = "the database cannot be written: it is read-only";
        if refusal.as_deref() == Some(sentence) {
            Ok(())
        } else {
            Err(format!("{refusal:?}"))
        }
    })
    .await;
    let refusal = add(&store, "read-only").await.unwrap_err();
    assert_eq!(refusal.fault(), Fault::Transient, "{refusal:?}");
    sql(
        &database,
        "BEGIN READ WRITE; ALTER DATABASE broken RESET default_transaction_read_only; COMMIT",
    );
    store.check().await.unwrap();
    drop(other.check().await);
    is_sound(&store, &other, "writable again").await;
}

fn cut(database: &PostgresDatabase) {
    sql(
        database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_given_up() {
    let (_cluster, database, store, other) = postgres().await;
    for round in 0..3 {
        cut(&database);
        for store in [&store, &other] {
            eventually(Duration::from_secs(10), async || {
                store.check().await.map_err(|error| error.to_string())
            })
            .await;
        }
        is_sound(&store, &other, &format!("round-{round}")).await;
    }
}

// Two sessions, one name: what happens behind a connection pooler that Drover does not know of.
#[tokio::test]
async fn a_prepared_statement_of_a_stranger_costs_one_connection() {
    let (_cluster, _database, store, other) = postgres().await;
    let session = store.read("be tested");
    session.execute(Sql::new("DEALLOCATE ALL")).await.unwrap();
    // The driver believes that it has this statement.
    let mut refused = 0;
    for _ in 0..4 {
        if names_or_refusal(&store).await.is_err() {
            refused += 1;
        }
        session.execute(Sql::new("DEALLOCATE ALL")).await.ok();
    }
    assert!(refused <= 4, "{refused}");
    drop(names_or_refusal(&store).await);
    is_sound(&store, &other, "after a lost statement").await;
}

async fn names_or_refusal(store: &SeaOrmStore) -> Result<usize, StoreError> {
    let servers = ServerRegistry::list(store, PageRequest::first()).await?;
    Ok(servers.items.len())
}

#[tokio::test]
async fn a_missing_right_is_the_administrators_business() {
    let (_cluster, database, store, _other) = postgres().await;
    sql(&database, "CREATE ROLE weak LOGIN");
    sql(
        &database,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO weak",
    );
    sql(
        &database,
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO weak",
    );
    let url = database.url().replace("postgres@", "weak@");
    let weak = SeaOrmStore::connect(&Options::new(&url)).await.unwrap();
    weak.migrate().await.unwrap();
    weak.check().await.unwrap();
    add(&weak, "allowed").await.unwrap();
    sql(&database, "REVOKE INSERT ON servers FROM weak");
    let refusal = add(&weak, "forbidden").await.unwrap_err();
    assert!(
        matches!(
            refusal,
            StoreError::Rejected {
                why: Rejection::Setup(_),
                ..
            }
        ),
        "{refusal:?}"
    );
    eventually(Duration::from_secs(5), async || {
        let refusal = weak.check().await.err().map(|error| error.to_string());
        let is_told = refusal
            .as_deref()
            .is_some_and(|reason| reason.contains("may not read and write all tables"));
        if is_told {
            Ok(())
        } else {
            Err(format!("{refusal:?}"))
        }
    })
    .await;
    sql(&database, "GRANT INSERT ON servers TO weak");
    weak.check().await.unwrap();
    add(&weak, "allowed-again").await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_session_without_our_settings_is_not_ready() {
    let (_cluster, _database, store, _other) = postgres().await;
    store.check().await.unwrap();
    ask(&store, "SET statement_timeout = 0").await;
    let refusal = eventually(Duration::from_secs(5), async || {
        store
            .check()
            .await
            .err()
            .ok_or("it is still fresh".to_owned())
    })
    .await;
    assert!(
        refusal.to_string().contains("settings of Drover"),
        "{refusal}"
    );
    ask(&store, "RESET statement_timeout").await;
    store.check().await.unwrap();
}

#[tokio::test]
async fn another_encoding_is_refused_at_the_start() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("broken");
    sql(
        &database,
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'",
    );
    let url = database.url().replace("/broken?", "/latin?");
    let refusal = SeaOrmStore::connect(&Options::new(&url)).await.unwrap_err();
    assert!(matches!(refusal, OpenError::Encoding { .. }), "{refusal:?}");
    assert!(!refusal.may_pass());
    let sentence = refusal.to_string();
    assert!(
        sentence.contains("LATIN1") && sentence.contains("UTF8"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_read_only_server_is_waited_for() {
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("broken");
    sql(
        &database,
        "ALTER DATABASE broken SET default_transaction_read_only = on",
    );
    let refusal = SeaOrmStore::connect(&Options::new(database.url()))
        .await
        .unwrap_err();
    assert!(matches!(refusal, OpenError::ReadOnly { .. }), "{refusal:?}");
    assert!(refusal.may_pass());
}

#[tokio::test]
async fn the_reason_of_a_refused_connection_is_told() {
    let (cluster, _database, store, _other) = postgres().await;
    cluster.stop();
    let refusal = loop {
        let error = store.check().await.unwrap_err();
        let StoreError::Unavailable { source, .. } = error else {
            continue;
        };
        let reason = source.to_string();
        if !reason.contains("terminating") && !reason.contains("closed") && !reason.contains("EOF")
        {
            break reason;
        }
    };
    assert!(!refusal.contains("timed out"), "{refusal}");
    let url = "postgres://drover:secret@127.0.0.1:1/drover";
    let started = std::time::Instant::now();
    let refusal = SeaOrmStore::connect(&Options::new(url)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    let OpenError::Unreachable { source, .. } = refusal else {
        panic!("{refusal:?}")
    };
    assert!(
        source.to_string().contains("Connection refused"),
        "{source}"
    );
}

#[tokio::test]
async fn files_are_for_their_user_alone() {
    let (folder, store, _other) = file().await;
    add(&store, "web01").await.unwrap();
    let path = folder.path().join("drover.db");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parts = || {
        std::fs::read_dir(folder.path())
            .unwrap()
            .map(|part| part.unwrap().path())
    };
    assert_eq!(parts().count(), 3, "the file, its log and the log's index");
    for part in parts() {
        assert_eq!(mode(&part), 0o600, "{}", part.display());
    }
    // Those of an older release.
    for part in parts() {
        std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let _again = alone(&format!("sqlite:{}", path.display())).await;
    for part in parts() {
        assert_eq!(mode(&part), 0o600, "{}", part.display());
    }
}

#[tokio::test]
async fn what_is_no_database_of_drover_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("text"), "a text that is longer than a header").unwrap();
    std::fs::write(at("short"), "short").unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for (name, table) in [
        ("foreign", "CREATE TABLE servers (id INTEGER)"),
        (
            "sea",
            "CREATE TABLE seaql_migrations (version VARCHAR NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)",
        ),
    ] {
        let url = format!("sqlite:{}?mode=rwc", at(name).display());
        let foreign = sea_orm::Database::connect(&url).await.unwrap();
        foreign.execute_unprepared(table).await.unwrap();
        foreign.close().await.unwrap();
    }
    for (name, what) in [
        ("folder", "a folder"),
        ("folder/", "the name of a folder"),
        ("missing/", "the name of a folder"),
        ("text", "no SQLite database"),
        ("short", "no SQLite database"),
        ("text/file", "in a folder that is a file"),
        ("dangling", "a symbolic link to a file that does not exist"),
        ("socket", "no regular file"),
        ("foreign", "the SQLite database of another program"),
        ("sea", "the SQLite database of another program"),
    ] {
        let path = at(name);
        let mode = |path: &Path| std::fs::metadata(path).map(|found| found.permissions().mode());
        if let Ok(found) = std::fs::metadata(&path)
            && name != "socket"
        {
            let open = found.permissions().mode() | 0o044;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).unwrap();
        }
        let before = (mode(&path).ok(), std::fs::read(&path).ok());
        for suffix in ["", "?mode=rwc"] {
            let url = format!("sqlite://{}{suffix}", path.display());
            let refusal = SeaOrmStore::connect(&Options::new(&url)).await.unwrap_err();
            let OpenError::NotOurs { what: seen, .. } = &refusal else {
                panic!("{name}: {refusal:?}")
            };
            assert_eq!(*seen, what, "{name}");
            assert!(!refusal.may_pass());
        }
        assert_eq!(
            before,
            (mode(&path).ok(), std::fs::read(&path).ok()),
            "{name}"
        );
    }
    drop(socket);
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("var/lib");
    for suffix in ["", "?mode=rwc"] {
        let url = format!("sqlite://{}{suffix}", missing.join("drover.db").display());
        let refusal = SeaOrmStore::connect(&Options::new(&url)).await.unwrap_err();
        assert!(matches!(refusal, OpenError::NoFolder { .. }), "{refusal:?}");
        let sentence = refusal.to_string();
        assert!(
            sentence.contains(&*missing.display().to_string()),
            "{sentence}"
        );
    }
}
