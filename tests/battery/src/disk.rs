//! A disk that fills up and is emptied again, under a real store.
//!
//! Clients start workflows of 100 kB on a small file system until it is full, and go on trying. Then space
//! returns. What was acknowledged has to be there after the database is opened again, readiness has to say no
//! while nothing can be written, and writing has to work within five seconds after the space is back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use drover_domain::workflow::{Json, WorkflowId};
use drover_ports::{NewWorkflow, StoreHealth, WorkflowStore, WorkflowView};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::engine::fixtures::{linear, workflow};
use drover_testkit::store::postgres::{Cluster, Database as PostgresDatabase, Durability};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How large what one client writes is.
const PAYLOAD: usize = 100 * 1024;
/// How many clients write at once.
const CLIENTS: u32 = 8;
/// How many refusals show that the disk is full.
const REFUSALS: u32 = 20;
/// How soon writing has to work again.
const SOON: Duration = Duration::from_secs(5);
/// How long anything may take before the life is given up.
const PATIENCE: Duration = Duration::from_mins(2);

/// Which database is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server with its data.
    Postgres,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    // The whole file system, and what is left of it when the clients begin; MiB.
    const fn sizes(self) -> (u64, u64) {
        match self {
            Self::Sqlite => (16, 6),
            Self::Postgres => (320, 40),
        }
    }
}

/// How often a disk fills up.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How often, on each database
    #[arg(long, default_value_t = 20, value_name = "N")]
    runs: u32,
    /// Only on this database
    #[arg(long, value_name = "NAME")]
    database: Option<Kind>,
}

/// One disk that fills up.
#[derive(Debug, Clone, clap::Args)]
pub struct LifeArguments {
    database: Kind,
    folder: PathBuf,
}

/// Has disks fill up, each in a process of its own; the figures, and whether all is well.
///
/// # Errors
///
/// Where a process cannot be started.
pub fn run(arguments: &Arguments) -> Result<(Value, bool)> {
    let kinds = match arguments.database {
        Some(kind) => vec![kind],
        None => vec![Kind::Sqlite, Kind::Postgres],
    };
    let mut figures = BTreeMap::new();
    let mut is_clean = true;
    for kind in kinds {
        let mut lives = Vec::new();
        for _ in 0..arguments.runs {
            let Some(disk) = Disk::mount(kind)? else {
                let reason = "a small file system cannot be mounted here: it takes root, and a container that may mount";
                return Ok((json!({ "skipped": reason }), true));
            };
            let life = disk.live(kind)?;
            is_clean &= is_well(&life);
            lives.push(life);
        }
        figures.insert(kind.word(), summary(&lives));
    }
    Ok((json!(figures), is_clean))
}

fn number(life: &Value, name: &str) -> u64 {
    life.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

fn is_well(life: &Value) -> bool {
    let soon = u64::try_from(SOON.as_millis()).unwrap_or(u64::MAX);
    number(life, "lost") == 0
        && number(life, "ready_without_writing") == 0
        && number(life, "writes_again_ms") <= soon
        && number(life, "refused") >= u64::from(REFUSALS)
}

fn summary(lives: &[Value]) -> Value {
    let sum = |name: &str| -> u64 { lives.iter().map(|life| number(life, name)).sum() };
    let slowest = lives.iter().map(|life| number(life, "writes_again_ms"));
    json!({
        "runs": lives.len(),
        "acknowledged": sum("acknowledged"),
        "refused": sum("refused"),
        "lost": sum("lost"),
        "ready_without_writing": sum("ready_without_writing"),
        "server_restarts": sum("server_restarts"),
        "writes_again_ms_max": slowest.max(),
        "broken": lives.iter().filter(|life| !is_well(life)).collect::<Vec<_>>(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "mounting takes a program, and each life a process"
)]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// A small file system.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn mount(kind: Kind) -> Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("drover-disk-").tempdir()?;
        let size = format!("size={}m,mode=0777", kind.sizes().0);
        let mounted = command("mount")
            .args(["-t", "tmpfs", "-o", &size, "drover-disk"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        Ok(is_mounted.then_some(Self { folder }))
    }

    fn live(&self, kind: Kind) -> Result<Value> {
        let life = command(std::env::current_exe()?)
            .args(["disk-life", kind.word()])
            .arg(self.folder.path())
            // A test server puts its files into the folder for temporary ones.
            .env("TMPDIR", self.folder.path())
            .stderr(Stdio::inherit())
            .output()
            .context("a life cannot be started")?;
        ensure!(life.status.success(), "a life broke off: {}", life.status);
        serde_json::from_slice(&life.stdout).context("a life says nothing that can be read")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server's watchdog may still remove its folder; lazily, the rest goes when it has.
        drop(
            command("umount")
                .arg("--lazy")
                .arg(self.folder.path())
                .status(),
        );
    }
}

/// Where the store is.
enum Place {
    Sqlite(String),
    Postgres(PostgresDatabase, Cluster),
}

impl Place {
    fn new(kind: Kind, folder: &Path) -> Self {
        match kind {
            Kind::Sqlite => Self::Sqlite(format!("sqlite:{}", folder.join("drover.db").display())),
            Kind::Postgres => {
                let cluster = Cluster::private(Durability::Durable);
                Self::Postgres(cluster.database("disk"), cluster)
            }
        }
    }

    fn options(&self) -> Options {
        Options::new(match self {
            Self::Sqlite(url) => url.clone(),
            Self::Postgres(database, _) => database.url(),
        })
    }

    // PostgreSQL ends when there is no space for its log; an administrator starts it again.
    fn start_again(&self) -> bool {
        match self {
            Self::Postgres(database, cluster) if !database.is_reachable() => {
                cluster.start();
                true
            }
            Self::Sqlite(_) | Self::Postgres(..) => false,
        }
    }
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    acknowledged: Mutex<Vec<WorkflowId>>,
    refused: AtomicU32,
    next: AtomicU32,
    stop: AtomicBool,
}

impl Seen {
    async fn write(&self, store: &SeaOrmStore) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let new = large(number);
        let is_written = WorkflowStore::start(store, std::slice::from_ref(&new))
            .await
            .is_ok();
        if is_written {
            if let Ok(mut acknowledged) = self.acknowledged.lock() {
                acknowledged.push(new.id);
            }
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        is_written
    }
}

// Text that does not become smaller when it is compressed.
fn large(number: u32) -> NewWorkflow {
    let mut state = u64::from(number) * 2 + 1;
    let mut text = String::with_capacity(PAYLOAD + 2);
    text.push('"');
    while text.len() < PAYLOAD {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let _infallible = write!(text, "{state:016x}");
    }
    text.push('"');
    let input = Json::from_parsed("the input", &*text).unwrap_or_else(|_| Json::null());
    NewWorkflow {
        input,
        ..workflow(number, linear(&["a"]))
    }
}

/// One disk that fills up and is emptied; the figures.
///
/// # Errors
///
/// Where the life cannot be led to its end.
pub async fn live(arguments: LifeArguments) -> Result<Value> {
    let LifeArguments { database, folder } = arguments;
    let place = Place::new(database, &folder);
    let store = SeaOrmStore::connect(&place.options()).await?;
    store.migrate().await?;
    let ballast = folder.join("ballast");
    fill(&ballast, &folder, database.sizes().1)?;

    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (seen, store) = (Arc::clone(&seen), store.clone());
        clients.spawn(async move {
            while !seen.stop.load(Ordering::Relaxed) {
                if !seen.write(&store).await {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    let begun = Instant::now();
    while seen.refused.load(Ordering::Relaxed) < REFUSALS {
        ensure!(begun.elapsed() < PATIENCE, "the disk does not fill up");
        sleep(Duration::from_millis(20)).await;
    }
    let mut ready_without_writing = 0;
    for _ in 0..5 {
        // A write may have become possible: then it works, or the next look says that it does not.
        if store.check().await.is_ok() && !seen.write(&store).await && store.check().await.is_ok() {
            ready_without_writing += 1;
        }
        sleep(Duration::from_millis(200)).await;
    }

    std::fs::remove_file(&ballast)?;
    let mut server_restarts = 0;
    if place.start_again() {
        server_restarts += 1;
    }
    let back = Instant::now();
    while store.check().await.is_err() || !seen.write(&store).await {
        ensure!(back.elapsed() < PATIENCE, "nothing is written again");
        sleep(Duration::from_millis(20)).await;
    }
    let writes_again = back.elapsed();
    seen.stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    store.close().await;

    let acknowledged = seen
        .acknowledged
        .lock()
        .map(|ids| ids.clone())
        .unwrap_or_default();
    let again = SeaOrmStore::connect(&place.options()).await?;
    let mut lost = 0;
    for id in &acknowledged {
        if WorkflowView::find(&again, *id).await?.is_none() {
            lost += 1;
        }
    }
    again.close().await;
    Ok(json!({
        "acknowledged": acknowledged.len(),
        "refused": seen.refused.load(Ordering::Relaxed),
        "lost": lost,
        "ready_without_writing": ready_without_writing,
        "server_restarts": server_restarts,
        "writes_again_ms": u64::try_from(writes_again.as_millis()).unwrap_or(u64::MAX),
    }))
}

// Leaves `spare` MiB of the file system.
fn fill(ballast: &Path, folder: &Path, spare: u64) -> Result<()> {
    let state = rustix::fs::statvfs(folder)?;
    let free = state.f_bavail * state.f_frsize;
    let size = free.saturating_sub(spare * 1024 * 1024);
    let file = std::fs::File::create(ballast)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    Ok(())
}
