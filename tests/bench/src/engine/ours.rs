//! What the engine does: draining, enqueueing, chains, latency.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use drover_domain::Timestamp;
use drover_domain::id::Uuid;
use drover_domain::workflow::{Definition, ExecutionMode, Kind, QueueName};
use drover_ports::{ClaimRequest, Clock, IdSource, TaskHandler, WorkflowStore};
use drover_store_sea_orm::SeaOrmStore;
use drover_usecases::{Engine, EngineOptions, EnginePorts, Handlers, QueueOptions};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::handler::{Noop, Starts, Timed};
use super::server::{Server, settle};
use super::{ROUNDS, TASKS, median, rate, rounded, shape};

/// The engine's best setting for handlers that do nothing: how many run at once, how many tasks one claim takes
/// and how many outcomes are written together.
const CONCURRENCY: u32 = 4_000;
const BATCH: u32 = ClaimRequest::LIMIT_MAX;
/// How many tasks one call starts.
const PER_CALL: usize = 1_000;
/// The longest a measurement may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long latency is measured, how often a workflow is started meanwhile.
const LATENCY_FOR: Duration = Duration::from_secs(10);
const LATENCY_EVERY: Duration = Duration::from_millis(10);

/// Leases and waits follow the database's clock; the engine's own is for schedules, of which there are none.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }
}

/// Identifiers of leases, the only ones that an engine draws here.
#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU64);

impl IdSource for Counter {
    fn draw(&self) -> Uuid {
        let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let process = u128::from(std::process::id());
        Uuid::from_u128((7_u128 << 76) | (process << 64) | (u128::from(number) + 1))
    }
}

/// An engine over a store, with one handler for every task.
pub(crate) fn engine(store: &SeaOrmStore, handler: Arc<dyn TaskHandler>) -> Result<Engine> {
    let mut handlers = Handlers::default();
    handlers.register(Kind::parse(shape::KIND)?, handler)?;
    let mut queue = QueueOptions::new(QueueName::parse(shape::QUEUE)?);
    queue.concurrency = CONCURRENCY;
    let options = EngineOptions {
        claim_batch_max: BATCH,
        report_batch_max: usize::try_from(BATCH)?,
        ..EngineOptions::new("bench".to_owned(), vec![queue])
    };
    Ok(Engine::new(
        EnginePorts::over(&Arc::new(store.clone())),
        Arc::new(NoClock),
        Arc::new(Counter::default()),
        handlers,
        options,
    )?)
}

/// Runs an engine while `meanwhile` goes on, and stops it after.
pub(crate) async fn while_running<T>(
    engine: &Engine,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (end, told) = watch::channel(false);
    let work = engine.run(told);
    let main = async {
        let result = tokio::time::timeout(PATIENCE, meanwhile).await;
        end.send_replace(true);
        result
    };
    let ((), result) = tokio::join!(work, main);
    result?
}

/// Starts `count` workflows in as few calls as their size allows.
pub(crate) async fn start(
    store: &SeaOrmStore,
    definition: &Arc<Definition>,
    first: u64,
    count: u64,
) -> Result<()> {
    let per_call = (PER_CALL / definition.tasks().len()).max(1);
    let workflows = shape::workflows(definition, first, count);
    for chunk in workflows.chunks(per_call) {
        store.start(chunk).await?;
    }
    Ok(())
}

/// Waits until the engine has written `tasks` outcomes, and has the database confirm that no workflow is open.
/// The database is asked once: asking it all the time would be work that no engine needs.
async fn all_written(engine: &Engine, tasks: u64, side: &DatabaseConnection) -> Result<Instant> {
    while engine.stats().reported < tasks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let written = Instant::now();
    let open = "SELECT count(*) AS open FROM workflows WHERE finished_at IS NULL";
    let statement = Statement::from_string(DbBackend::Postgres, open);
    let row = side.query_one_raw(statement).await?;
    let open: i64 = row.context("a count has a row")?.try_get("", "open")?;
    ensure!(
        open == 0,
        "{open} workflows are open after all of their tasks"
    );
    Ok(written)
}

/// Drains workflows that were started before; how long the engine took from its start to the last commit.
pub(crate) async fn drain(
    store: &SeaOrmStore,
    side: &DatabaseConnection,
    tasks: u64,
) -> Result<Duration> {
    settle(side).await?;
    let engine = engine(store, Arc::new(Noop))?;
    let begun = Instant::now();
    while_running(&engine, async {
        let written = all_written(&engine, tasks, side).await?;
        Ok(written - begun)
    })
    .await
}

/// A shape that is measured: how many workflows of how many tasks each.
struct Shape {
    name: &'static str,
    mode: ExecutionMode,
    tasks: u64,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "wide",
        mode: ExecutionMode::Parallel,
        tasks: 1_000,
    },
    Shape {
        name: "single",
        mode: ExecutionMode::Parallel,
        tasks: 1,
    },
];

pub(crate) async fn measure(server: &Server) -> Result<Value> {
    let (store, side, _database) = server.store("drover").await?;
    let mut first = 0;
    let mut drained = serde_json::Map::new();
    let mut enqueued = serde_json::Map::new();
    for shape in SHAPES {
        let definition = shape::definition(shape.mode, usize::try_from(shape.tasks)?)?;
        let count = TASKS / shape.tasks;
        let (mut drains, mut starts) = (Vec::new(), Vec::new());
        // The first round warms caches and plans up and is not counted.
        for round in 0..=ROUNDS {
            let begun = Instant::now();
            start(&store, &definition, first, count).await?;
            let enqueue = rate(TASKS, begun.elapsed());
            first += count;
            let drained_at = rate(TASKS, drain(&store, &side, TASKS).await?);
            eprintln!(
                "bench: {}: enqueued {enqueue:.0}/s, drained {drained_at:.0}/s",
                shape.name
            );
            if round > 0 {
                starts.push(enqueue);
                drains.push(drained_at);
            }
        }
        enqueued.insert(shape.name.to_owned(), json!(rounded(median(starts))));
        drained.insert(shape.name.to_owned(), json!(rounded(median(drains))));
    }
    let linear = linear(&store, &side, &mut first).await?;
    let latency = latency(&store, &side, first).await?;
    store.close().await;
    Ok(json!({
        "settings": { "concurrency": CONCURRENCY, "batch": BATCH, "tasks_per_start": PER_CALL },
        "shapes": { "wide": "20 workflows of 1,000 tasks", "single": "20,000 workflows of one task" },
        "drain_per_s": drained,
        "enqueue_per_s": enqueued,
        "linear_workflows_per_s": rounded(linear),
        "linear_steps": 5,
        "latency_ms": latency,
    }))
}

// Chains of five, from the first start to the last end: starting goes on while the engine works.
async fn linear(store: &SeaOrmStore, side: &DatabaseConnection, first: &mut u64) -> Result<f64> {
    const CHAINS: u64 = 4_000;
    let definition = shape::definition(ExecutionMode::Sequential, 5)?;
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        settle(side).await?;
        let engine = engine(store, Arc::new(Noop))?;
        let begun = Instant::now();
        let took = while_running(&engine, async {
            start(store, &definition, *first, CHAINS).await?;
            let written = all_written(&engine, CHAINS * 5, side).await?;
            Ok(written - begun)
        })
        .await?;
        *first += CHAINS;
        eprintln!("bench: linear: {:.0} workflows/s", rate(CHAINS, took));
        if round > 0 {
            rates.push(rate(CHAINS, took));
        }
    }
    Ok(median(rates))
}

async fn latency(store: &SeaOrmStore, side: &DatabaseConnection, first: u64) -> Result<Value> {
    settle(side).await?;
    let definition = shape::definition(ExecutionMode::Parallel, 1)?;
    let starts = Starts::default();
    let waits: Arc<Mutex<Vec<f64>>> = Arc::default();
    let handler = Timed {
        starts: Arc::clone(&starts),
        waits: Arc::clone(&waits),
    };
    let engine = engine(store, Arc::new(handler))?;
    while_running(&engine, async {
        let mut ticks = tokio::time::interval(LATENCY_EVERY);
        let end = Instant::now() + LATENCY_FOR;
        let mut number = first;
        while Instant::now() < end {
            ticks.tick().await;
            let workflows = shape::workflows(&definition, number, 1);
            number += 1;
            {
                let mut starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
                starts.extend(workflows.iter().map(|new| (new.id, Instant::now())));
            }
            store.start(&workflows).await?;
        }
        all_written(&engine, number - first, side).await.map(|_| ())
    })
    .await?;
    let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(
        waits.len() > 100,
        "only {} workflows were timed",
        waits.len()
    );
    waits.sort_by(f64::total_cmp);
    let at = |part: usize| {
        waits
            .get(waits.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(json!({
        "p50": rounded(at(50)), "p99": rounded(at(99)), "rate": 100, "samples": waits.len(),
        "from": "before the call that starts the workflow, to the first line of the handler",
    }))
}
