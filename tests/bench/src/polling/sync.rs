//! Syncing many HAProxy instances: what a sync costs in which nothing changed, and what it writes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use drover_domain::haproxy::{FetchStatus, HaproxyInstanceKey};
use drover_fagent_http::{FagentHttp, Options};
use drover_store_sea_orm::SeaOrmStore;
use drover_testkit::runner::ScriptedRunner;
use drover_testkit::webhook::ScriptedReceivers;
use drover_usecases::{Policy, Ports, Service};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::process::{Running, cpu_s};
use super::{DEADLINE, NoIds, STATISTICS, SystemClock, agents, rounded};
use crate::engine::server::Server;

const INSTANCES: u64 = 10;
const BACKENDS: u64 = 10;
const SERVERS: u64 = 100;
/// How often a sync of everything is measured.
const ROUNDS: u32 = 5;

struct HaproxyFleet {
    agents: Running,
    service: Service,
    store: SeaOrmStore,
    side: DatabaseConnection,
    keys: Vec<HaproxyInstanceKey>,
    _database: drover_testkit::store::postgres::Database,
}

impl HaproxyFleet {
    async fn start(server: &Server) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut agents = Running::start(&own, &["agents"])?;
        let port: u16 = agents.first_line()?.parse()?;
        agents.tell(&format!("backends {BACKENDS}"))?;
        agents.tell(&format!("servers {SERVERS}"))?;
        let (store, side, database) = server.store("haproxy").await?;
        let addresses: Vec<String> = (0..INSTANCES).map(agents::address).collect();
        let add = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "INSERT INTO servers (name, address, port, status, is_haproxy_node, created_at)
             SELECT 'lb' || r.place, r.address, $2, 'online', TRUE, 0
             FROM json_array_elements_text(CAST($1 AS json)) WITH ORDINALITY AS r (address, place)",
            [
                serde_json::to_string(&addresses)?.into(),
                i64::from(port).into(),
            ],
        );
        side.execute_raw(add).await?;
        // An application stands behind every server, as the agents below address them.
        let behind = format!(
            "INSERT INTO application_instances (server_id, kind, name, status, address, port, created_at)
             SELECT l.id, 'docker', 'app' || b.n || 'x' || s.n || '_1', 'online', '10.' || (l.id - 1) || '.' || b.n || '.' || s.n, 8080, 0
             FROM servers l, generate_series(0, {BACKENDS} - 1) AS b (n), generate_series(0, {SERVERS} - 1) AS s (n)"
        );
        side.execute_unprepared(&behind).await?;
        let found = Statement::from_string(
            DbBackend::Postgres,
            "INSERT INTO haproxy_instances (server_id, name, created_at) SELECT id, 'default', 0 FROM servers RETURNING id",
        );
        let rows = side.query_all_raw(found).await?;
        let keys = rows
            .iter()
            .map(|row| Ok(HaproxyInstanceKey::new(row.try_get::<i64>("", "id")?)));
        let gateway = FagentHttp::new(Options {
            inventory_deadline: DEADLINE,
            haproxy_deadline: DEADLINE,
        })?;
        let ports = Ports::over(
            Arc::new(store.clone()),
            Arc::new(gateway),
            Arc::new(ScriptedRunner::new()),
            Arc::new(ScriptedReceivers::default()),
            Arc::new(SystemClock),
            Arc::new(NoIds),
        );
        Ok(Self {
            agents,
            service: Service::new(ports, Policy::default()),
            store,
            keys: keys.collect::<Result<_>>()?,
            side,
            _database: database,
        })
    }

    /// Rows written so far, by table.
    async fn written(&self) -> Result<Vec<(String, i64)>> {
        sleep(STATISTICS).await;
        let text = "SELECT relname AS name, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables";
        let statement = Statement::from_string(DbBackend::Postgres, text);
        let rows = self.side.query_all_raw(statement).await?;
        let read = rows
            .iter()
            .map(|row| Ok((row.try_get("", "name")?, row.try_get("", "n")?)));
        read.collect()
    }

    /// Syncs all of them, one after another, so many times.
    async fn sync(&self, what: &str, rounds: u32) -> Result<Value> {
        let before = self.written().await?;
        let statements = self.store.statements();
        let own = std::process::id();
        let (cpu, begun) = (cpu_s(own)?, Instant::now());
        for _ in 0..rounds {
            for key in &self.keys {
                let synced = self.service.actions.sync(*key).await?;
                let synced = synced.context("an instance is gone")?;
                ensure!(
                    synced.last_sync_status == FetchStatus::Success,
                    "{:?}",
                    synced.last_sync_error
                );
            }
        }
        let times = f64::from(rounds);
        let wall = begun.elapsed().as_secs_f64() / times;
        let cpu = (cpu_s(own)? - cpu) / times;
        let syncs = u64::from(rounds) * INSTANCES;
        let statements = (self.store.statements() - statements) / syncs;
        let mut written = serde_json::Map::new();
        for (table, rows) in self.written().await? {
            let earlier = before.iter().find(|(name, _)| *name == table);
            let rows = rows - earlier.map_or(0, |(_, rows)| *rows);
            if rows > 0 {
                written.insert(table, rows.into());
            }
        }
        let written = Value::Object(written);
        eprintln!(
            "bench: sync: {what}: {wall:.2} s, {cpu:.2} s CPU, {statements} statements per instance, rows {written}"
        );
        Ok(json!({
            "wall_s": rounded(wall), "cpu_s": rounded(cpu), "statements_per_instance": statements, "rows_written": written,
            "rounds": rounds,
        }))
    }
}

/// Measures everything and returns the report.
pub(crate) async fn measure() -> Result<Value> {
    let server = Server::start();
    let mut haproxy = HaproxyFleet::start(&server).await?;
    let new = haproxy.sync("everything is new", 1).await?;
    let unchanged = haproxy.sync("nothing changed", ROUNDS).await?;
    let mapped = Statement::from_string(
        DbBackend::Postgres,
        "SELECT count(*) AS n FROM application_mappings WHERE is_active",
    );
    let row = haproxy.side.query_one_raw(mapped).await?;
    let mapped: i64 = row.context("a count has a row")?.try_get("", "n")?;
    haproxy.agents.tell("drained 1")?;
    let drained = haproxy
        .sync("one server of each backend is drained", 1)
        .await?;
    let gone = "DELETE FROM application_instances WHERE id % 1000 = 7";
    haproxy.side.execute_unprepared(gone).await?;
    let unmapped = haproxy
        .sync("one server of each instance has no application", ROUNDS)
        .await?;
    let rows = unchanged.get("rows_written").and_then(Value::as_object);
    let tables: Vec<&String> = rows.into_iter().flat_map(|rows| rows.keys()).collect();
    Ok(json!({
        "machine": { "cores": std::thread::available_parallelism()?.get() },
        "build": if cfg!(debug_assertions) { "dev" } else { "release" },
        "haproxy": { "instances": INSTANCES, "backends": BACKENDS, "servers": SERVERS, "mapped": mapped },
        "new": new, "unchanged": unchanged, "drained": drained, "unmapped": unmapped,
        "ratios": {
            "unchanged_cpu_s": { "target": 1.0, "is": unchanged.get("cpu_s") },
            "unchanged_tables_written": { "target": ["haproxy_instances"], "is": tables },
        },
    }))
}
