//! `drover-battery`: the engine under faults; `cargo xtask battery` builds and runs it. Answers are JSON on
//! standard output, one line each; progress and what went wrong are on standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user there"
)]

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use drover_battery::model::{Life, live, live_many};
use drover_battery::{crash, disk};
use serde_json::json;

/// The last lines of a broken life that are shown.
const LINES_SHOWN: usize = 60;

#[derive(Debug, Parser)]
#[command(name = "drover-battery", about = "The engine under faults")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Lives seeds in the simulated world and checks every invariant after every commit
    Model {
        /// How many seeds
        #[arg(long, default_value_t = 20_000, value_name = "N")]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0, value_name = "SEED")]
        first: u64,
        /// Only this seed, and every line of it
        #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "first"])]
        seed: Option<u64>,
    },
    /// Kills workers on a real PostgreSQL, and PostgreSQL itself, and looks whether anything was lost
    Crash(crash::Arguments),
    /// Fills up the disk under SQLite and PostgreSQL and empties it again, and looks whether anything was lost
    Disk(disk::Arguments),
    /// One disk of `disk`
    #[command(hide = true)]
    DiskLife(disk::LifeArguments),
    /// What the workers of `crash` act upon
    #[command(hide = true)]
    Ledger { socket: PathBuf, file: PathBuf },
    /// A worker of `crash`
    #[command(hide = true)]
    Worker(crash::WorkerArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().part {
        Part::Crash(arguments) => process(async move {
            let report = crash::run(arguments).await?;
            println!("{}", report.figures);
            eprint!("{}", report.complaint());
            Ok(report.is_clean())
        }),
        Part::Disk(arguments) => match disk::run(&arguments) {
            Ok((figures, is_clean)) => {
                println!("{figures}");
                if is_clean {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                eprintln!("drover-battery: {error:#}");
                ExitCode::FAILURE
            }
        },
        Part::DiskLife(arguments) => process(async move {
            println!("{}", disk::live(arguments).await?);
            Ok(true)
        }),
        Part::Ledger { socket, file } => attended(async move {
            crash::keep_ledger(&socket, &file).await?;
            Ok(true)
        }),
        Part::Worker(arguments) => attended(async move {
            crash::work(arguments).await?;
            Ok(true)
        }),
        Part::Model {
            seed: Some(seed), ..
        } => read_one(seed),
        Part::Model { seeds, first, .. } => many(first, seeds),
    }
}

/// A process that others look after: it has a log, on standard error.
fn attended(work: impl Future<Output = Result<bool>>) -> ExitCode {
    let _is_the_first = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .try_init()
        .is_ok();
    process(work)
}

/// Runs something that waits; it says whether all is well.
fn process(work: impl Future<Output = Result<bool>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(work));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("drover-battery: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_one(seed: u64) -> ExitCode {
    let life = live(seed, None, true);
    for line in &life.lines {
        eprintln!("{line}");
    }
    told(&life)
}

fn told(life: &Life) -> ExitCode {
    if let Some(broken) = &life.broken {
        eprintln!("seed {}: {broken}", life.seed);
        eprintln!("again: cargo xtask battery model --seed {}", life.seed);
    }
    let mut answer = life.tally.to_json();
    answer.insert("seed".to_owned(), json!(life.seed));
    answer.insert("hash".to_owned(), json!(format!("{:016x}", life.hash)));
    let broken = life.broken.as_ref().map(ToString::to_string);
    answer.insert("broken".to_owned(), json!(broken));
    println!("{}", json!(answer));
    if life.broken.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn many(first: u64, seeds: u64) -> ExitCode {
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    match live_many(first, seeds, threads) {
        Ok(tally) => {
            let mut answer = tally.to_json();
            let seconds = start.elapsed().as_secs_f64();
            answer.insert("first".to_owned(), json!(first));
            answer.insert("threads".to_owned(), json!(threads));
            answer.insert("seconds".to_owned(), json!(seconds));
            println!("{}", json!(answer));
            ExitCode::SUCCESS
        }
        Err(life) => {
            let from = life.lines.len().saturating_sub(LINES_SHOWN);
            for line in life.lines.iter().skip(from) {
                eprintln!("{line}");
            }
            told(&life)
        }
    }
}
