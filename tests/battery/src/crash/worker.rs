//! A process with an engine in it, which also takes orders as a service does.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use drover_domain::workflow::QueueName;
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_usecases::{Engine, EngineOptions, EnginePorts, QueueOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::{SystemClock, UuidV7};
use super::failing::failing;
use super::handler::handlers;
use super::input;
use super::ledger::{Client, Witness};
use super::order::Order;
use super::plan::{BROAD, NARROW, Plan};
use super::point::{Fuse, Points};

/// How long the store waits for a sign of life of a worker.
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);
/// The word that asks a worker to stop in order.
pub(crate) const STOP: &str = "stop";
/// What a worker says when it can be asked.
pub(crate) const READY: &str = "ready";

/// The arguments of a worker.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerArguments {
    /// The database
    #[arg(long)]
    url: String,
    /// The ledger
    #[arg(long)]
    ledger: PathBuf,
    /// What it is called
    #[arg(long)]
    name: String,
    /// Of the plan
    #[arg(long)]
    seed: u64,
    /// Whether it takes from the queue with limits, too
    #[arg(long)]
    narrow: bool,
    /// Where it ends
    #[arg(long)]
    fuse: Option<Fuse>,
}

/// Works and takes orders from standard input until that ends, or until it is asked to stop.
pub(crate) async fn run(arguments: WorkerArguments) -> Result<()> {
    let store = SeaOrmStore::connect(&Options::new(&arguments.url)).await;
    let store = Arc::new(store.context("the database cannot be opened")?);
    let points = Arc::new(Points::new(arguments.fuse));
    let ports = failing(EnginePorts::over(&store), &points);
    let witness: Arc<dyn Witness> = Arc::new(Client::new(arguments.ledger));
    let handlers = handlers(&witness, &points, None)?;
    let engine = Engine::new(
        ports.clone(),
        Arc::new(SystemClock),
        Arc::new(UuidV7),
        handlers,
        options(arguments.name, arguments.narrow)?,
    )?;
    let (stop, stopped) = watch::channel(false);
    let mut working = JoinSet::new();
    working.spawn(async move { engine.run(stopped).await });
    say(READY)?;
    let mut input = input::lines();
    if take_orders(
        &mut input,
        Plan {
            seed: arguments.seed,
        },
        &ports,
    )
    .await?
    {
        stop.send(true)?;
        tokio::select! {
            _ended = working.join_next() => store.close().await,
            // Its parent is gone.
            () = to_the_end(&mut input) => {}
        }
    }
    Ok(())
}

fn options(name: String, is_narrow: bool) -> Result<EngineOptions> {
    let names = if is_narrow {
        &[BROAD, NARROW][..]
    } else {
        &[BROAD]
    };
    let queues = names.iter().map(|name| {
        Ok(QueueOptions {
            name: QueueName::parse(name)?,
            concurrency: 16,
        })
    });
    Ok(EngineOptions {
        lease: LEASE,
        poll: Duration::from_millis(200),
        upkeep_interval: Duration::from_millis(200),
        overdue_grace: Duration::from_secs(1),
        drain_grace: Duration::from_secs(1),
        schedule_interval: Duration::from_millis(200),
        ..EngineOptions::new(name, queues.collect::<Result<_>>()?)
    })
}

// Whether it must stop in order.
async fn take_orders(
    input: &mut UnboundedReceiver<String>,
    plan: Plan,
    ports: &EnginePorts,
) -> Result<bool> {
    let mut orders: JoinSet<Result<()>> = JoinSet::new();
    loop {
        tokio::select! {
            line = input.recv() => {
                let Some(line) = line else { return Ok(false) };
                if line == STOP {
                    return Ok(true);
                }
                let (id, order) = line.split_once(' ').context("an order has no number")?;
                let (id, order, ports) = (id.to_owned(), order.parse::<Order>()?, ports.clone());
                orders.spawn(async move {
                    let answer = order.carry_out(plan, &ports).await?;
                    say(&format!("{id} {answer}"))
                });
            }
            Some(ended) = orders.join_next() => ended??,
        }
    }
}

async fn to_the_end(input: &mut UnboundedReceiver<String>) {
    while input.recv().await.is_some() {}
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
