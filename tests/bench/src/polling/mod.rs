//! Polling a whole fleet: what a cycle costs, and what agents that hang cost the others.

pub(crate) mod agents;
mod process;
pub(crate) mod sync;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drover_domain::Timestamp;
use drover_domain::fleet::ServerKey;
use drover_domain::id::Uuid;
use drover_fagent_http::{FagentHttp, Options};
use drover_ports::{Clock, IdSource};
use drover_store_sea_orm::SeaOrmStore;
use drover_testkit::runner::ScriptedRunner;
use drover_testkit::webhook::ScriptedReceivers;
use drover_usecases::{Policy, Ports, Service};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::process::{Running, cpu_s, peak_rss_mib};
use crate::engine::server::Server;

/// The fleet that is asked for, and the large one.
const SERVERS: u64 = 1_000;
const APPLICATIONS: u64 = 20;
const MANY_SERVERS: u64 = 10_000;
const FEW_APPLICATIONS: u64 = 5;
/// How many agents are asked at once, as is usual.
const AT_ONCE: usize = 64;
/// The interval in which the loop is watched, and that of the large fleet.
const INTERVAL: Duration = Duration::from_secs(20);
const LONG_INTERVAL: Duration = Duration::from_mins(1);
/// The longest an agent may take, as is usual.
const DEADLINE: Duration = Duration::from_secs(5);

/// An idle backend of PostgreSQL reports its statistics within ten seconds.
const STATISTICS: Duration = Duration::from_secs(11);

/// The database's order is by its own clock; polls are dated by ours.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "a measurement dates polls as the service does"
        )]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = now.unwrap_or_default().as_micros();
        Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

/// Polling draws no identifiers.
struct NoIds;

impl IdSource for NoIds {
    fn draw(&self) -> Uuid {
        Uuid::nil()
    }
}

struct Fleet {
    agents: Running,
    store: SeaOrmStore,
    side: DatabaseConnection,
    keys: Vec<ServerKey>,
    /// What was written before the next cycle.
    so_far: (i64, i64),
    _database: drover_testkit::store::postgres::Database,
}

impl Fleet {
    async fn start(server: &Server, name: &str, servers: u64, applications: u64) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut agents = Running::start(&own, &["agents"])?;
        let port: u16 = agents.first_line()?.parse()?;
        agents.tell(&format!("applications {applications}"))?;
        let (store, side, database) = server.store(name).await?;
        let addresses: Vec<String> = (0..servers).map(agents::address).collect();
        let add = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "INSERT INTO servers (name, address, port, status, created_at)
             SELECT 'node' || lpad(r.place::text, 5, '0'), r.address, $2, 'unknown', 0
             FROM json_array_elements_text(CAST($1 AS json)) WITH ORDINALITY AS r (address, place)",
            [
                serde_json::to_string(&addresses)?.into(),
                i64::from(port).into(),
            ],
        );
        side.execute_raw(add).await?;
        let listed =
            Statement::from_string(DbBackend::Postgres, "SELECT id FROM servers ORDER BY id");
        let rows = side.query_all_raw(listed).await?;
        let keys = rows
            .iter()
            .map(|row| Ok(ServerKey::new(row.try_get::<i64>("", "id")?)));
        let mut fleet = Self {
            agents,
            store,
            side,
            keys: keys.collect::<Result<_>>()?,
            so_far: (0, 0),
            _database: database,
        };
        fleet.so_far = fleet.written().await?;
        Ok(fleet)
    }

    fn service(&self, interval: Duration) -> Result<Service> {
        let gateway = FagentHttp::new(Options {
            inventory_deadline: DEADLINE,
            haproxy_deadline: DEADLINE,
        })?;
        let ports = Ports::over(
            Arc::new(self.store.clone()),
            Arc::new(gateway),
            Arc::new(ScriptedRunner::new()),
            Arc::new(ScriptedReceivers::default()),
            Arc::new(SystemClock),
            Arc::new(NoIds),
        );
        let policy = Policy {
            polling_interval: interval,
            poll_concurrency: AT_ONCE,
            ..Policy::default()
        };
        Ok(Service::new(ports, policy))
    }

    async fn number(&self, text: &str) -> Result<i64> {
        let statement = Statement::from_string(DbBackend::Postgres, text);
        let row = self.side.query_one_raw(statement).await?;
        Ok(row.context("a count has a row")?.try_get("", "n")?)
    }

    /// Makes the polls so far older than the loop's interval, as if no other node had just polled everybody.
    async fn age(&self) -> Result<()> {
        let micros = LONG_INTERVAL.as_micros() * 2;
        let age = format!("UPDATE servers SET last_check = last_check - {micros}");
        self.side.execute_unprepared(&age).await?;
        Ok(())
    }

    /// Rows written and transactions so far.
    async fn written(&self) -> Result<(i64, i64)> {
        sleep(STATISTICS).await;
        let rows = "SELECT CAST(sum(n_tup_ins + n_tup_upd + n_tup_del) AS bigint) AS n FROM pg_stat_user_tables";
        let commits =
            "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()";
        Ok((self.number(rows).await?, self.number(commits).await?))
    }

    /// Polls everybody once, as many at once as is usual.
    async fn cycle(&mut self, what: &str) -> Result<Value> {
        let service = self.service(LONG_INTERVAL)?;
        let (rows, commits) = self.so_far;
        let own = std::process::id();
        let (cpu, begun) = (cpu_s(own)?, Instant::now());
        let mut polls = JoinSet::new();
        let mut keys = self.keys.iter().copied();
        loop {
            while polls.len() < AT_ONCE
                && let Some(key) = keys.next()
            {
                let servers = service.servers.clone();
                polls.spawn(async move { servers.refresh(key).await });
            }
            let Some(polled) = polls.join_next().await else {
                break;
            };
            ensure!(polled??.is_some(), "a server is gone");
        }
        let wall = begun.elapsed().as_secs_f64();
        let cpu = cpu_s(own)? - cpu;
        self.so_far = self.written().await?;
        let (rows_after, commits_after) = self.so_far;
        let servers = f64::from(u32::try_from(self.keys.len())?);
        let written = f64::from(u32::try_from(rows_after - rows)?);
        eprintln!("bench: polling: {what}: {wall:.2} s, {cpu:.2} s CPU, {written} rows");
        Ok(json!({
            "wall_s": rounded(wall), "cpu_s": rounded(cpu), "rows_written": written, "rows_per_server": rounded(written / servers),
            "transactions": commits_after - commits, "cpu_ms_per_poll": rounded(cpu * 1_000.0 / servers),
        }))
    }

    /// Lets the loop poll, and waits until every server that answers was stored; how long the last one took.
    async fn last_stored_s(&self, is_healthy: &str) -> Result<f64> {
        self.age().await?;
        let service = self.service(INTERVAL)?;
        let (stop, stopped) = watch::channel(false);
        let since = SystemClock.now().as_micros();
        let begun = Instant::now();
        let background = service.background();
        let watch = async {
            let waiting = format!(
                "SELECT count(*) AS n FROM servers WHERE {is_healthy} AND COALESCE(last_check, 0) < {since}"
            );
            loop {
                let open = self.number(&waiting).await?;
                let elapsed = begun.elapsed();
                if open == 0 || elapsed > INTERVAL * 3 {
                    stop.send_replace(true);
                    ensure!(
                        open == 0,
                        "{open} servers were not stored within {elapsed:?}"
                    );
                    return Ok(elapsed.as_secs_f64());
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let ((), last) = tokio::join!(background.poll_loop(stopped), watch);
        last
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// Measures everything and returns the report.
pub(crate) async fn measure() -> Result<Value> {
    let server = Server::start();
    let mut fleet = Fleet::start(&server, "fleet", SERVERS, APPLICATIONS).await?;
    let new = fleet.cycle("everything is new").await?;
    // Warms up what is kept for as long as the process lives.
    fleet.cycle("warming up").await?;
    let unchanged = fleet.cycle("nothing changed").await?;
    fleet.agents.tell("changed 1")?;
    let few = fleet.cycle("one in a hundred changed").await?;
    fleet.agents.tell("changed 0")?;
    fleet.agents.tell("version 1")?;
    let all = fleet.cycle("everything changed").await?;
    let clean = fleet.last_stored_s("TRUE").await?;
    // One agent in ten hangs, and another one has stopped listening.
    fleet.agents.tell("trouble 1")?;
    let refuse = "UPDATE servers SET port = 1 WHERE id % 10 = 2";
    fleet.side.execute_unprepared(refuse).await?;
    let healthy = format!("id % 10 <> 2 AND (id - 1) % 10 <> {}", agents::HANGING);
    let troubled = fleet.last_stored_s(&healthy).await?;
    eprintln!("bench: polling: last stored after {clean:.2} s, in trouble after {troubled:.2} s");
    let peak = peak_rss_mib()?;
    let prometheus = prometheus(&mut fleet).await?;
    drop(fleet);
    let large = large(&server).await?;
    let per_poll = unchanged.get("cpu_ms_per_poll").and_then(Value::as_f64);
    let per_scrape = prometheus.get("cpu_ms_per_scrape").and_then(Value::as_f64);
    let ratio = per_poll
        .zip(per_scrape)
        .map(|(ours, theirs)| rounded(ours / theirs));
    Ok(json!({
        "machine": { "cores": std::thread::available_parallelism()?.get() },
        "build": if cfg!(debug_assertions) { "dev" } else { "release" },
        "fleet": { "servers": SERVERS, "applications": APPLICATIONS, "at_once": AT_ONCE },
        "cycles": { "new": new, "unchanged": unchanged, "one_percent": few, "all_changed": all },
        "loop": { "interval_s": INTERVAL.as_secs(), "last_stored_s": rounded(clean), "last_healthy_stored_in_trouble_s": rounded(troubled) },
        "peak_rss_mib": rounded(peak),
        "large": large,
        "prometheus": prometheus,
        "ratios": {
            "unchanged_cpu_s": { "target": 3.0, "is": unchanged.get("cpu_s") },
            "unchanged_rows_per_server": { "target": 2.0, "is": unchanged.get("rows_per_server") },
            "trouble_of_clean": { "target": 1.2, "is": rounded(troubled / clean) },
            "large_of_one_core": { "target": 0.6, "is": large.get("of_one_core") },
            "peak_rss_mib": { "target": 200.0, "is": rounded(peak) },
            "poll_of_scrape": { "target": 2.0, "is": ratio },
        },
    }))
}

/// Ten thousand servers in the usual interval: how much of a core the loop takes once it runs.
async fn large(server: &Server) -> Result<Value> {
    let mut fleet = Fleet::start(server, "large", MANY_SERVERS, FEW_APPLICATIONS).await?;
    fleet.cycle("ten thousand servers are new").await?;
    fleet.age().await?;
    let service = fleet.service(LONG_INTERVAL)?;
    let (stop, stopped) = watch::channel(false);
    let background = service.background();
    let own = std::process::id();
    let watch = async {
        let (cpu, begun) = (cpu_s(own)?, SystemClock.now().as_micros());
        sleep(LONG_INTERVAL + Duration::from_secs(5)).await;
        let used = cpu_s(own)? - cpu;
        let polled = format!("SELECT count(*) AS n FROM servers WHERE last_check >= {begun}");
        let polled = fleet.number(&polled).await?;
        stop.send_replace(true);
        Ok::<_, anyhow::Error>((used, polled))
    };
    let ((), watched) = tokio::join!(background.poll_loop(stopped), watch);
    let (used, polled) = watched?;
    let share = used / (LONG_INTERVAL + Duration::from_secs(5)).as_secs_f64();
    eprintln!("bench: polling: large: {polled} servers polled with {share:.2} of a core");
    ensure!(
        u64::try_from(polled)? == MANY_SERVERS,
        "{polled} of {MANY_SERVERS} servers were polled within an interval"
    );
    Ok(json!({
        "servers": MANY_SERVERS, "applications": FEW_APPLICATIONS, "interval_s": LONG_INTERVAL.as_secs(),
        "polled": polled, "of_one_core": rounded(share),
    }))
}

/// What Prometheus takes to scrape the same targets with the same bytes.
async fn prometheus(fleet: &mut Fleet) -> Result<Value> {
    let Some(program) = program("prometheus") else {
        return Ok(Value::Null);
    };
    fleet.agents.tell("trouble 0")?;
    let port = fleet
        .number("SELECT port AS n FROM servers WHERE port <> 1 LIMIT 1")
        .await?;
    let folder = tempfile::tempdir()?;
    let targets: Vec<String> = (0..SERVERS)
        .map(|number| format!("{}:{port}", agents::address(number)))
        .collect();
    // JSON is YAML.
    let configuration = json!({
        "global": { "scrape_interval": "20s", "scrape_timeout": "5s" },
        "scrape_configs": [{ "job_name": "fleet", "static_configs": [{ "targets": targets }] }],
    });
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, configuration.to_string())?;
    let data = format!(
        "--storage.tsdb.path={}",
        folder.path().join("data").display()
    );
    let file = format!("--config.file={}", file.display());
    let running = Running::start(
        &program,
        &[&file, &data, "--web.listen-address=127.0.0.1:0"],
    )?;
    // It has met every target once and made its series.
    sleep(INTERVAL + Duration::from_secs(10)).await;
    let cpu = cpu_s(running.id())?;
    sleep(INTERVAL).await;
    let used = cpu_s(running.id())? - cpu;
    let per_scrape = used * 1_000.0 / f64::from(u32::try_from(SERVERS)?);
    eprintln!("bench: polling: Prometheus: {used:.2} s CPU per cycle");
    Ok(json!({ "cpu_s": rounded(used), "cpu_ms_per_scrape": rounded(per_scrape) }))
}

fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/bin", "/usr/bin", "/bin"];
    let paths = folders.map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| path.exists())
}
