//! The durable engine against PostgreSQL, beside what PostgreSQL itself can do and what others do with it.
//!
//! Everything is measured in one run against one server that syncs every commit; what counts are the ratios.

mod floor;
mod growth;
mod handler;
mod ours;
mod peers;
pub(crate) mod server;
mod shape;

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use self::server::Server;

/// How many tasks are drained.
pub(crate) const TASKS: u64 = 20_000;
/// How many tasks are there already where cost growth is looked at.
const FINISHED: u64 = 1_000_000;
/// Each figure is the median of this many rounds.
const ROUNDS: usize = 3;

/// What to measure besides the engine itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Other queues and engines, each installed into a scratch folder.
    pub(crate) peers: bool,
    /// The engine again with a million finished tasks in its tables.
    pub(crate) growth: bool,
}

/// Measures everything and returns the report.
pub(crate) async fn measure(options: Options) -> Result<Value> {
    let server = Server::start();
    let floor = floor::measure(&server).await?;
    eprintln!("bench: floor: {floor}");
    let ours = ours::measure(&server).await?;
    eprintln!("bench: ours: {ours}");
    let growth = if options.growth {
        growth::measure(&server, FINISHED).await?
    } else {
        Value::Null
    };
    let peers = if options.peers {
        peers::measure(&server).await?
    } else {
        Value::Null
    };
    let ratios = ratios(&floor, &ours, &growth, &peers);
    Ok(json!({
        "machine": { "cores": std::thread::available_parallelism()?.get() },
        "build": if cfg!(debug_assertions) { "dev" } else { "release" },
        "tasks": TASKS,
        "rounds": ROUNDS,
        "floor": floor,
        "drover": ours,
        "growth": growth,
        "peers": peers,
        "ratios": ratios,
    }))
}

fn number(value: &Value, path: &str) -> Option<f64> {
    value.pointer(path).and_then(Value::as_f64)
}

// Each ratio with the target it is compared with; a ratio is null where a part was not measured.
fn ratios(floor: &Value, ours: &Value, growth: &Value, peers: &Value) -> Value {
    let ratio = |a: Option<f64>, b: Option<f64>, target: f64| {
        let value = a.zip(b).map(|(a, b)| a / b);
        json!({ "ratio": value, "target": target, "met": value.map(|value| value >= target) })
    };
    let drain = number(ours, "/drain_per_s/wide");
    let linear = number(ours, "/linear_workflows_per_s");
    let peer = |name: &str, what: &str| number(peers, &format!("/{name}/{what}"));
    let below = |value: Option<f64>, most: f64| json!({ "ms": value, "target": most, "met": value.map(|value| value <= most) });
    json!({
        "drain_of_batched_loop": ratio(drain, number(floor, "/batched_claim_complete_per_s"), 0.5),
        "drain_of_single_row_claims": ratio(drain, number(floor, "/single_row_claims_per_s/best"), 3.0),
        "enqueue_of_raw_inserts": ratio(number(ours, "/enqueue_per_s/wide"), number(floor, "/raw_insert_rows_per_s"), 0.25),
        "linear_of_drain": ratio(linear, drain, 1.0 / 8.0),
        "latency_p50": below(number(ours, "/latency_ms/p50"), 3.0),
        "latency_p99": below(number(ours, "/latency_ms/p99"), 10.0),
        "drain_with_a_million_finished": ratio(number(growth, "/drain_per_s"), drain, 0.9),
        "drain_of_pg_boss": ratio(drain, peer("pg-boss", "drain_per_s"), 1.0),
        "drain_of_graphile_worker": ratio(drain, peer("graphile-worker", "drain_per_s"), 0.7),
        "linear_of_dbos": ratio(linear, peer("dbos", "workflows_per_s"), 5.0),
    })
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How many in a second.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement")]
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// A figure that is read by people: no more digits than it deserves.
pub(crate) fn rounded(value: f64) -> f64 {
    if value >= 100.0 {
        value.round()
    } else {
        (value * 100.0).round() / 100.0
    }
}
