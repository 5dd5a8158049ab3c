//! The store behind a real `PgBouncer`, in the modes that have transactions.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken test setup should stop the test"
)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drover_ports::{RolloutStore, ServerRegistry, StoreHealth, Topic, WakeUps};
use drover_store_sea_orm::{OpenError, Options, SeaOrmStore};
use drover_testkit::eventually::eventually;
use drover_testkit::store::fixtures::{Updater, at, new_server, task, updates};
use drover_testkit::store::postgres::{Cluster, Database, Durability};
use sea_orm::{ConnectionTrait, Statement};
use tempfile::TempDir;
use tokio::task::JoinSet;

const PORT: u16 = 6432;

/// `PgBouncer` in front of one server, on a socket in a folder of its own.
struct Bouncer {
    process: Child,
    folder: TempDir,
    name: String,
    direct: String,
    // Last: PostgreSQL goes after its pooler.
    _database: Database,
    _cluster: Cluster,
}

fn program() -> PathBuf {
    let known = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/usr/local/bin/pgbouncer",
    ];
    let found = known.iter().map(Path::new).find(|path| path.is_file());
    found
        .unwrap_or_else(|| {
            panic!("`pgbouncer` is not installed; this test needs it: apt-get install pgbouncer")
        })
        .to_owned()
}

impl Bouncer {
    async fn start(mode: &str, settings_besides: &str) -> Self {
        let cluster = Cluster::private(Durability::Fast);
        let database = cluster.database("pooled");
        let direct = database.url();
        let socket = direct.split_once("?host=").unwrap().1;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let at = folder.path().display();
        let settings = format!(
            "[databases]\n* = host={socket} port=5432 user=postgres\n\
             [pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\nunix_socket_dir = {at}\nauth_type = any\n\
             pool_mode = {mode}\ndefault_pool_size = 20\nmax_client_conn = 200\nlogfile = {at}/log\n\
             pidfile = {at}/pid\n{settings_besides}\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let mut command = command();
        // It refuses to run as root.
        if is_root() {
            command.args(["-u", "postgres"]);
        }
        let process = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bouncer = Self {
            process,
            name: "pooled".to_owned(),
            direct,
            folder,
            _database: database,
            _cluster: cluster,
        };
        let socket = bouncer.folder.path().join(format!(".s.PGSQL.{PORT}"));
        eventually(Duration::from_secs(10), async || {
            let answer = std::os::unix::net::UnixStream::connect(&socket);
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await;
        bouncer
    }

    fn options(&self) -> Options {
        let at = self.folder.path().display();
        Options::new(format!(
            "postgres://postgres@localhost/{}?host={at}&port={PORT}",
            self.name
        ))
    }

    async fn store(&self) -> SeaOrmStore {
        let store = SeaOrmStore::connect(&self.options()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "the pooler is a process")]
fn command() -> Command {
    Command::new(program())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// As `pgbouncer.ini` comes, and as clients that send more than it knows are usually helped.
const CASES: [(&str, &str); 4] = [
    ("transaction", ""),
    (
        "transaction",
        "ignore_startup_parameters = extra_float_digits,options",
    ),
    ("session", ""),
    (
        "session",
        "ignore_startup_parameters = extra_float_digits,options",
    ),
];

#[tokio::test]
async fn nothing_is_refused_because_of_a_pooler() {
    for (mode, more) in CASES {
        let bouncer = Bouncer::start(mode, more).await;
        let (one, two) = (bouncer.store().await, bouncer.store().await);
        one.migrate().await.unwrap();
        one.check().await.unwrap();
        let mut work = JoinSet::new();
        for lane in 0..20_u32 {
            let store = if lane % 2 == 0 {
                one.clone()
            } else {
                two.clone()
            };
            work.spawn(async move {
                for number in 0..25_u128 {
                    let id = u128::from(lane) * 1_000 + number + 1;
                    RolloutStore::start(&store, &updates(vec![task(id, &[])]))
                        .await
                        .unwrap();
                    store
                        .add(&new_server(&format!("web-{lane}-{number}")), at(0))
                        .await
                        .unwrap();
                    ServerRegistry::list(&store, drover_domain::page::PageRequest::first())
                        .await
                        .unwrap();
                }
            });
        }
        for number in 1..=4 {
            let store = if number % 2 == 0 {
                one.clone()
            } else {
                two.clone()
            };
            work.spawn(async move {
                let worker = Updater::open(&store, number).await;
                for _ in 0..40 {
                    let _claimed = worker.claim().await;
                    let seen = store.seen(Topic::Work);
                    // What a worker does that has nothing to do.
                    let waiting = store.changed(Topic::Work, seen);
                    drop(tokio::time::timeout(Duration::from_millis(5), waiting).await);
                }
            });
        }
        while let Some(ended) = work.join_next().await {
            ended.unwrap_or_else(|error| panic!("{mode} {more}: {error}"));
        }
        let side = sea_orm::Database::connect(&bouncer.direct).await.unwrap();
        let count =
            "SELECT (SELECT count(*) FROM rollouts) + (SELECT count(*) FROM servers) AS count";
        let rows = side
            .query_all_raw(Statement::from_string(side.get_database_backend(), count))
            .await
            .unwrap();
        assert_eq!(
            rows[0].try_get::<i64>("", "count").unwrap(),
            1_000,
            "{mode} {more}"
        );
        side.close().await.unwrap();
    }
}

#[tokio::test]
async fn settings_hold_behind_a_pooler() {
    for (mode, more) in CASES {
        let bouncer = Bouncer::start(mode, more).await;
        bouncer.store().await;
        let options = Options {
            statement_timeout: Duration::from_millis(500),
            ..bouncer.options()
        };
        let store = SeaOrmStore::connect(&options).await.unwrap();
        let side = sea_orm::Database::connect(&bouncer.direct).await.unwrap();
        let lock = sea_orm::TransactionTrait::begin(&side).await.unwrap();
        lock.execute_unprepared("LOCK TABLE servers IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        let listed = ServerRegistry::list(&store, drover_domain::page::PageRequest::first());
        let ended = tokio::time::timeout(Duration::from_secs(5), listed).await;
        assert!(matches!(ended, Ok(Err(_))), "{mode} {more}: {ended:?}");
        lock.rollback().await.unwrap();
        store.check().await.unwrap();
        side.close().await.unwrap();
    }
}

#[tokio::test]
async fn notifications_come_from_postgres_itself() {
    let bouncer = Bouncer::start("transaction", "").await;
    let sender = bouncer.store().await;
    let options = Options {
        listen_url: Some(bouncer.direct.clone()),
        ..bouncer.options()
    };
    let listener = SeaOrmStore::connect(&options).await.unwrap();
    // Another process sends: one that has the number of this one is not listened to, so PostgreSQL sends for it.
    let seen = listener.seen(Topic::Work);
    let mut waiting = JoinSet::new();
    let store = listener.clone();
    waiting.spawn(async move {
        let mut seen = seen;
        loop {
            seen = store.changed(Topic::Work, seen).await;
        }
    });
    let side = sea_orm::Database::connect(&bouncer.direct).await.unwrap();
    eventually(Duration::from_secs(10), async || {
        side.execute_unprepared("SELECT pg_notify('drover_engine', '0 w')")
            .await
            .unwrap();
        if listener.seen(Topic::Work) > seen + 1 {
            Ok(())
        } else {
            Err("nothing was heard".to_owned())
        }
    })
    .await;
    waiting.abort_all();
    drop(sender);
    side.close().await.unwrap();
}

#[tokio::test]
async fn statement_mode_is_refused_at_the_start() {
    let bouncer = Bouncer::start("statement", "").await;
    let refusal = SeaOrmStore::connect(&bouncer.options()).await.unwrap_err();
    let OpenError::Unreachable { source, .. } = &refusal else {
        panic!("{refusal:?}")
    };
    assert!(
        source.to_string().contains("statement pooling mode"),
        "{source}"
    );
}
