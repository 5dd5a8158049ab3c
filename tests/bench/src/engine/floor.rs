//! What PostgreSQL can do by itself: the measure of everything else.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, Value as Parameter};
use serde_json::{Value, json};

use super::server::{Server, plain, settle};
use super::{ROUNDS, TASKS, median, rate, rounded};

/// Rows of one statement of the batched loop and of one bulk insert.
const BATCH: i64 = 500;
const INSERT_ROWS: usize = 1_000;
/// How long pgbench works on each figure.
const SECONDS: &str = "5";
const CLIENTS: [u32; 3] = [1, 8, 32];

/// One row claimed and committed.
const CLAIM_ONE: &str = "UPDATE job SET state = 'running', attempt = attempt + 1 WHERE id = (
    SELECT id FROM job WHERE state = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);";
/// One row changed and committed.
const UPDATE_ONE: &str = "\\set id random(1, 100000)\nUPDATE counter SET n = n + 1 WHERE id = :id;";

pub(crate) async fn measure(server: &Server) -> Result<Value> {
    let database = server.database("floor");
    let url = database.url();
    let side = plain(&url, 2).await?;
    side.execute_unprepared(
        "CREATE TABLE job (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state TEXT NOT NULL, attempt BIGINT NOT NULL,
                           payload TEXT NOT NULL);
         CREATE INDEX job_queued ON job (id) WHERE state = 'queued';
         CREATE TABLE counter (id BIGINT PRIMARY KEY, n BIGINT NOT NULL);
         INSERT INTO counter SELECT g, 0 FROM generate_series(1, 100000) g;",
    )
    .await?;
    let mut loops = Vec::new();
    let mut inserts = Vec::new();
    for round in 0..=ROUNDS {
        let (batched, inserted) = (batched(&side).await?, inserted(&side).await?);
        eprintln!("bench: floor: batched loop {batched:.0}/s, inserts {inserted:.0} rows/s");
        if round > 0 {
            loops.push(batched);
            inserts.push(inserted);
        }
    }
    fill(&side, 600_000).await?;
    let claims = pgbench(&url, CLAIM_ONE)?;
    let updates = pgbench(&url, UPDATE_ONE)?;
    Ok(json!({
        "batched_claim_complete_per_s": rounded(median(loops)),
        "batch": BATCH,
        "single_row_claims_per_s": claims,
        "single_row_commits_per_s": updates,
        "raw_insert_rows_per_s": rounded(median(inserts)),
        "raw_insert_rows_per_statement": INSERT_ROWS,
    }))
}

async fn fill(side: &DatabaseConnection, rows: u64) -> Result<()> {
    side.execute_unprepared(&format!(
        "TRUNCATE job; INSERT INTO job (state, attempt, payload)
         SELECT 'queued', 0, '{{\"n\":1}}' FROM generate_series(1, {rows})"
    ))
    .await?;
    settle(side).await
}

// Two clients, each claiming a batch and completing it, with a commit after each: a hand-written queue without
// an engine.
async fn batched(side: &DatabaseConnection) -> Result<f64> {
    fill(side, TASKS).await?;
    let begun = Instant::now();
    let (one, other) = tokio::join!(work_off(side), work_off(side));
    ensure!(one? + other? == TASKS, "the loop lost tasks");
    Ok(rate(TASKS, begun.elapsed()))
}

async fn work_off(side: &DatabaseConnection) -> Result<u64> {
    let mut done = 0;
    loop {
        let claim = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "UPDATE job SET state = 'running', attempt = attempt + 1 WHERE id = ANY (ARRAY(
                 SELECT id FROM job WHERE state = 'queued' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
             RETURNING id, attempt, payload",
            [BATCH.into()],
        );
        let rows = side.query_all_raw(claim).await?;
        if rows.is_empty() {
            return Ok(done);
        }
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            let _payload: String = row.try_get("", "payload")?;
            ids.push(Parameter::BigInt(Some(row.try_get("", "id")?)));
        }
        done += u64::try_from(ids.len())?;
        let complete = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "UPDATE job SET state = 'done' WHERE id = ANY ($1)",
            [Parameter::Array(ArrayType::BigInt, Some(Box::new(ids)))],
        );
        side.execute_raw(complete).await?;
    }
}

// Rows of the same bytes as a task of ours, into a table with the same columns and one key.
async fn inserted(side: &DatabaseConnection) -> Result<f64> {
    side.execute_unprepared(
        "DROP TABLE IF EXISTS raw;
         CREATE TABLE raw (workflow_id UUID, task_no BIGINT, task_key TEXT, kind TEXT, action TEXT, queue TEXT, priority BIGINT,
             payload TEXT, policy TEXT, concurrency_keys TEXT, depends_on TEXT, dependants TEXT, status TEXT,
             attempt BIGINT, retries BIGINT, lost BIGINT, pending BIGINT, PRIMARY KEY (workflow_id, task_no))",
    )
    .await?;
    let numbers: Vec<Parameter> = (0_i64..).take(INSERT_ROWS).map(Parameter::from).collect();
    let keys: Vec<Parameter> = (0..INSERT_ROWS)
        .map(|number| Parameter::from(format!("t{number}")))
        .collect();
    let same = |text: &str| {
        let values = vec![Parameter::from(text); INSERT_ROWS];
        Parameter::Array(ArrayType::String, Some(Box::new(values)))
    };
    let zeros = || {
        let values = vec![Parameter::from(0_i64); INSERT_ROWS];
        Parameter::Array(ArrayType::BigInt, Some(Box::new(values)))
    };
    let begun = Instant::now();
    let calls = TASKS / u64::try_from(INSERT_ROWS)?;
    for call in 0..calls {
        let insert = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "INSERT INTO raw SELECT CAST(lpad(to_hex(CAST($1 AS bigint)), 32, '0') AS uuid), u.* FROM unnest(
                 CAST($2 AS bigint[]), CAST($3 AS text[]), CAST($4 AS text[]), CAST($5 AS text[]), CAST($6 AS text[]),
                 CAST($7 AS bigint[]), CAST($8 AS text[]), CAST($9 AS text[]), CAST($10 AS text[]), CAST($11 AS text[]),
                 CAST($12 AS text[]), CAST($13 AS text[]), CAST($14 AS bigint[]), CAST($15 AS bigint[]), CAST($16 AS bigint[]),
                 CAST($17 AS bigint[])) u",
            [
                i64::try_from(call)?.into(),
                Parameter::Array(ArrayType::BigInt, Some(Box::new(numbers.clone()))),
                Parameter::Array(ArrayType::String, Some(Box::new(keys.clone()))),
                same("noop"),
                same("{\"type\":\"run\"}"),
                same("default"),
                zeros(),
                same("{\"n\":1}"),
                same("{\"guarantee\":\"g1\",\"takeover\":\"requeue\",\"timeout\":300000000}"),
                same("[]"),
                same("[]"),
                same("[]"),
                same("queued"),
                zeros(),
                zeros(),
                zeros(),
                zeros(),
            ],
        );
        side.execute_raw(insert).await?;
    }
    Ok(rate(TASKS, begun.elapsed()))
}

// Commits per second of one statement, by the number of clients, and the best of them.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement starts what it measures"
)]
fn pgbench(url: &str, script: &str) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script)?;
    let program = pgbench_program()?;
    let mut figures = serde_json::Map::new();
    let mut best = 0.0_f64;
    for clients in CLIENTS {
        let output = Command::new(&program)
            .args([
                "--no-vacuum",
                "--protocol=prepared",
                "--jobs=2",
                "--time",
                SECONDS,
            ])
            .args(["--client", &clients.to_string(), "--file"])
            .arg(&file)
            .arg(url)
            .output()
            .context("pgbench cannot be started")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let tps = text
            .lines()
            .find_map(|line| {
                line.strip_prefix("tps = ")?
                    .split(' ')
                    .next()?
                    .parse::<f64>()
                    .ok()
            })
            .with_context(|| {
                format!(
                    "pgbench said no rate: {text}{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })?;
        eprintln!("bench: floor: pgbench with {clients} clients: {tps:.0}/s");
        figures.insert(clients.to_string(), json!(rounded(tps)));
        best = best.max(tps);
    }
    figures.insert("best".to_owned(), json!(rounded(best)));
    Ok(Value::Object(figures))
}

// Debian keeps it beside the server.
fn pgbench_program() -> Result<std::path::PathBuf> {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let mut programs: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/pgbench")))
        .filter(|program| program.exists())
        .collect();
    programs.sort();
    programs
        .pop()
        .context("pgbench is not installed; it comes with Debian's postgresql package")
}
