//! The engine again, when there is a past.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use drover_domain::workflow::ExecutionMode;
use drover_store_sea_orm::SeaOrmStore;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};

use super::ours::{drain, start};
use super::server::{Server, settle};
use super::{ROUNDS, TASKS, median, rate, rounded, shape};

/// Identifiers of the past: far from those of the rounds.
const PAST: u64 = 1 << 40;

pub(crate) async fn measure(server: &Server, finished: u64) -> Result<Value> {
    let (store, side, _database) = server.store("growth").await?;
    eprintln!("bench: growth: filling in {finished} finished tasks");
    let definition = shape::definition(ExecutionMode::Parallel, 1_000)?;
    // One workflow is run as every other; the others of the past are copies of what it left behind.
    start(&store, &definition, PAST, 1).await?;
    drain(&store, &side, 1_000).await?;
    copy_past(&side, finished / 1_000).await?;
    settle(&side).await?;
    let mut drains = Vec::new();
    for round in 0..=ROUNDS {
        let count = TASKS / 1_000;
        start(&store, &definition, u64::try_from(round)? * count, count).await?;
        let drained = rate(TASKS, drain(&store, &side, TASKS).await?);
        eprintln!("bench: growth: drained {drained:.0}/s");
        if round > 0 {
            drains.push(drained);
        }
    }
    let statements = json!({
        "start_10_tasks": start_statements(&store, 10, 1 << 20).await?,
        "start_1000_tasks": start_statements(&store, 1_000, 1 << 21).await?,
    });
    store.close().await;
    Ok(json!({
        "finished_tasks": finished,
        "drain_per_s": rounded(median(drains)),
        "statements": statements,
    }))
}

async fn start_statements(store: &SeaOrmStore, tasks: usize, first: u64) -> Result<u64> {
    let definition = shape::definition(ExecutionMode::Parallel, tasks)?;
    let before = store.statements();
    start(store, &Arc::clone(&definition), first, 1).await?;
    Ok(store.statements() - before)
}

async fn copy_past(side: &DatabaseConnection, workflows: u64) -> Result<()> {
    let begun = Instant::now();
    // The identifiers of the copies: the number of the copy in the middle, where the original has zeros.
    let id = |column: &str| {
        format!(
            "CAST(overlay(CAST({column} AS text) PLACING lpad(to_hex(n), 4, '0') FROM 20 FOR 4) AS uuid)"
        )
    };
    let tables = [
        (
            "workflows",
            "id",
            "name, mode, labels, input, actor, request_id, status, total, open, failed, undoable, ended, has_signals, \
             created_at, started_at, finished_at",
        ),
        (
            "workflow_tasks",
            "workflow_id",
            "task_no, task_key, kind, action, queue, priority, payload, policy, concurrency_keys, depends_on, dependants, \
             status, attempt, retries, lost, is_uncertain, pending, end_rank, result, worker, started_at, finished_at",
        ),
    ];
    for (table, key, columns) in tables {
        let text = format!(
            "INSERT INTO {table} ({key}, {columns})
             SELECT {}, {columns} FROM {table} CROSS JOIN generate_series(1, {}) n",
            id(key),
            workflows - 1,
        );
        side.execute_raw(Statement::from_string(DbBackend::Postgres, text))
            .await?;
    }
    let text = format!(
        "INSERT INTO workflow_events (position, workflow_id, at, event_count, events)
         SELECT nextval('workflow_event_order'), {}, at, event_count, events
         FROM workflow_events CROSS JOIN generate_series(1, {}) n",
        id("workflow_id"),
        workflows - 1,
    );
    side.execute_raw(Statement::from_string(DbBackend::Postgres, text))
        .await?;
    eprintln!(
        "bench: growth: filled in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}
