//! The durable engine against PostgreSQL, beside what PostgreSQL itself can do and what others do.

mod shape;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use drover_domain::id::Uuid;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{ExecutionMode, Executor, Json, LeaseId, QueueName};
use drover_ports::{ClaimRequest, Report, TaskQueue, WorkflowStore};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::store::postgres::{Cluster, Durability};
use serde_json::{Value, json};

/// Measures everything and returns the report.
pub(crate) async fn measure() -> Result<Value> {
    let cluster = Cluster::private(Durability::Durable);
    let database = cluster.database("bench");
    let store = SeaOrmStore::connect(&Options::new(database.url())).await?;
    store.migrate().await?;
    let lease = LeaseId::from_uuid(Uuid::from_u128(7));
    store.open_lease(lease, "bench", Duration::from_secs(600)).await?;
    let mut first = 0;
    let mut out = Vec::new();
    for (mode, tasks, count) in [
        (ExecutionMode::Parallel, 1000, 20),
        (ExecutionMode::Parallel, 1000, 20),
        (ExecutionMode::Parallel, 1, 20_000),
        (ExecutionMode::Sequential, 5, 4_000),
    ] {
        let definition = shape::definition(mode, tasks)?;
        let start = Instant::now();
        let workflows = shape::workflows(&definition, first, count);
        first += count;
        let made = start.elapsed();
        for chunk in workflows.chunks(if tasks > 100 { 1 } else { 1000 / tasks }) {
            store.start(chunk).await?;
        }
        let started = start.elapsed();
        let request = ClaimRequest {
            executor: Executor::Engine,
            queues: vec![QueueName::parse(shape::QUEUE)?],
            limit: 500,
        };
        let start = Instant::now();
        let mut done = 0;
        let (mut claiming, mut reporting) = (Duration::ZERO, Duration::ZERO);
        loop {
            let t = Instant::now();
            let claimed = store.claim(lease, &request).await?;
            claiming += t.elapsed();
            if claimed.is_empty() {
                break;
            }
            done += claimed.len();
            let reports: Vec<Report> = claimed
                .iter()
                .map(|task| Report {
                    task: task.task,
                    attempt: task.attempt,
                    outcome: Outcome::Succeeded { result: Json::null() },
                })
                .collect();
            let t = Instant::now();
            store.report(lease, &reports).await.context("report")?;
            reporting += t.elapsed();
        }
        let took = start.elapsed();
        let line = json!({"mode": mode.as_str(), "tasks": tasks, "made_ms": made.as_millis(), "start_ms": started.as_millis(), "done": done, "drain_per_s": done as f64 / took.as_secs_f64(), "claim_ms": claiming.as_millis(), "report_ms": reporting.as_millis()});
        eprintln!("{line}");
        out.push(line);
    }
    Ok(json!(out))
}
