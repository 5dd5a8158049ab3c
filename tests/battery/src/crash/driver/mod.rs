//! Starts everything, lets faults strike, waits for the end and looks at what is left.

mod desk;
mod faults;
mod process;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::store::postgres::{Cluster, Database, Durability};
use drover_usecases::EnginePorts;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::check::{Findings, Sin, check};
use super::evidence::{Evidence, Leftovers, Told, read_log, read_workflows};
use super::ledger::{Client, Entry, Witness};
use super::order::Order;
use super::plan::{CHILD, Plan, SCHEDULED, SLOW_CHILD};
use super::watch::Watch;
use crate::model::chance::Chance;
use desk::Desk;
use faults::Strikes;
use process::{Crew, Happened};

pub use report::Report;

/// How long everything may take from the last fault on.
const DRAIN_MAX: Duration = Duration::from_mins(1);
/// How long the log must be silent at the end.
const LULL: Duration = Duration::from_secs(1);
/// The pause between two looks at what happened.
const TURN: Duration = Duration::from_millis(10);

/// What to do.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Arguments {
    /// How often a worker is killed at a random moment, besides once at every point
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub kills: u32,
    /// How many tasks are started at least
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub tasks: usize,
    /// How often PostgreSQL breaks off
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub restarts: u32,
    /// Of the plan and of what strikes when
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
}

/// Lets everything happen.
///
/// # Errors
///
/// What keeps it from happening at all; what it brought is in the report.
pub async fn run(arguments: Arguments) -> Result<Report> {
    let mut driver = Driver::new(arguments).await?;
    driver.prepare().await?;
    driver.kill().await?;
    driver.break_off().await?;
    driver.drain().await?;
    driver.finish().await
}

struct Driver {
    arguments: Arguments,
    plan: Plan,
    chance: Chance,
    crew: Crew,
    happened: mpsc::UnboundedReceiver<Happened>,
    desk: Desk,
    watch: Watch,
    strikes: Strikes,
    findings: Findings,
    ports: EnginePorts,
    drained: Option<Duration>,
    background: JoinSet<()>,
    // In the order in which they are to go.
    database: Arc<Database>,
    cluster: Arc<Cluster>,
    folder: TempDir,
}

impl Driver {
    async fn new(arguments: Arguments) -> Result<Self> {
        let now = drover_ports::Clock::now(&super::clock::SystemClock);
        let seed = arguments
            .seed
            .unwrap_or_else(|| now.as_micros().unsigned_abs() % 1_000_000);
        let folder = tempfile::Builder::new()
            .prefix("drover-battery-")
            .tempdir()?;
        let cluster = Arc::new(Cluster::private(Durability::Durable));
        let database = Arc::new(cluster.database("battery"));
        let store = SeaOrmStore::connect(&Options::new(database.url())).await;
        let store = Arc::new(store.context("PostgreSQL cannot be reached")?);
        store.migrate().await.context("the schema cannot be made")?;
        let ports = EnginePorts::over(&store);
        let (tell, happened) = mpsc::unbounded_channel();
        let crew = Crew::new(seed, folder.path(), database.url(), tell.clone()).await?;
        let mut background = JoinSet::new();
        background.spawn(read_along(ports.clone(), tell));
        tell_people(&format!(
            "seed {seed}, files in {}",
            folder.path().display()
        ));
        Ok(Self {
            arguments,
            plan: Plan { seed },
            chance: Chance::new(seed),
            crew,
            happened,
            desk: Desk::new(Plan { seed }),
            watch: Watch::default(),
            strikes: Strikes::new(seed),
            findings: Findings::default(),
            ports,
            drained: None,
            background,
            database,
            cluster,
            folder,
        })
    }

    /// Waits until workers and definitions are there.
    async fn prepare(&mut self) -> Result<()> {
        self.crew.start_all()?;
        for name in [CHILD, SLOW_CHILD, SCHEDULED] {
            let (name, version) = (name.to_owned(), 0);
            self.desk.ask(Order::Define { name, version });
        }
        let end = Instant::now() + DRAIN_MAX;
        while !self.desk.is_empty() || self.crew.asked() > 0 {
            self.turn().await?;
            if Instant::now() > end {
                bail!(
                    "the workers do not take orders; see {}",
                    self.folder.path().display()
                );
            }
        }
        Ok(())
    }

    /// Sees to what happened since the last turn.
    async fn turn(&mut self) -> Result<()> {
        if let Ok(Some(first)) = timeout(TURN, self.happened.recv()).await {
            self.see_to(first)?;
            while let Ok(next) = self.happened.try_recv() {
                self.see_to(next)?;
            }
        }
        self.desk.remind();
        self.crew.hand_out(&mut self.desk, &mut self.chance).await;
        Ok(())
    }

    fn see_to(&mut self, happened: Happened) -> Result<()> {
        match happened {
            Happened::Told(told) => self.watch.learn(told),
            Happened::Said { slot, line } => self.crew.hear(slot, &line, &mut self.desk)?,
            Happened::Gone { slot, status } => self.replace(slot, status)?,
        }
        Ok(())
    }

    /// Waits until everything has ended that can, then decides what people have to, and waits again.
    async fn drain(&mut self) -> Result<()> {
        tell_people("nothing strikes any more");
        let begun = Instant::now();
        let mut is_calm = false;
        // What a schedule is about to start is not open yet.
        while !is_calm && begun.elapsed() < DRAIN_MAX {
            if !self.wait(Self::is_calm).await? {
                break;
            }
            self.drained = Some(begun.elapsed());
            let until = Instant::now() + LULL;
            while Instant::now() < until {
                self.turn().await?;
            }
            is_calm = self.is_calm();
        }
        if !is_calm {
            self.too_late("by itself");
            return Ok(());
        }
        if !self.wait(Self::is_over).await? {
            self.too_late("after people have decided");
        }
        Ok(())
    }

    async fn wait(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<bool> {
        let end = Instant::now() + DRAIN_MAX;
        let mut decide_at = Instant::now();
        while !is_so(self) {
            if Instant::now() > end {
                return Ok(false);
            }
            if Instant::now() > decide_at {
                self.decide()?;
                decide_at = Instant::now() + Duration::from_millis(500);
            }
            self.turn().await?;
        }
        Ok(true)
    }

    fn too_late(&mut self, how: &str) {
        let stuck = self.watch.stuck();
        let some: Vec<&str> = stuck.iter().take(5).map(String::as_str).collect();
        let seconds = DRAIN_MAX.as_secs();
        let what = format!(
            "{} workflows did not end {how} within {seconds} s, and {} orders are open: {some:?}",
            stuck.len(),
            self.crew.asked(),
        );
        self.findings.add(Sin::Leftover, what);
    }

    fn has_answers(&self) -> bool {
        let mut asked = self.desk.acknowledged.workflows.iter();
        self.desk.is_empty()
            && self.crew.asked() == 0
            && asked.all(|number| self.watch.knows(Plan::id(*number)))
    }

    fn is_calm(&self) -> bool {
        self.has_answers() && self.watch.going_on() == 0
    }

    fn is_over(&self) -> bool {
        self.has_answers() && self.watch.is_over(self.plan)
    }

    /// Lets people resolve unknown results, and retry what failed.
    fn decide(&mut self) -> Result<()> {
        if self.watch.has_unknown() {
            let ledger = self.ledger()?;
            for order in self.watch.verdicts(&ledger) {
                self.desk.decide(order);
            }
        }
        if self.watch.has_poisoned(self.plan) {
            self.desk.ask_once(Order::Redrive);
        }
        Ok(())
    }

    fn ledger(&self) -> Result<Vec<Entry>> {
        let text = std::fs::read_to_string(self.crew.ledger_file())?;
        // The last line may be being written.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let entries = whole.lines().map(|line| {
            let read = Entry::parse(line);
            read.with_context(|| format!("the ledger has the line `{line}`"))
        });
        entries.collect()
    }

    /// Stops everybody in order and looks at what is left.
    async fn finish(mut self) -> Result<Report> {
        tell_people("everything has ended; looking at what is left");
        self.crew.stop_all().await;
        let end = Instant::now() + DRAIN_MAX;
        while self.crew.is_there() && Instant::now() < end {
            self.turn().await?;
        }
        if self.crew.is_there() {
            let what = "workers did not stop when they were told to".to_owned();
            self.findings.add(Sin::Leftover, what);
        }
        let log = read_log(&self.ports).await?;
        while self.watch.told.len() < log.len() && Instant::now() < end {
            self.turn().await?;
        }
        let ledger = self.ledger()?;
        let evidence = Evidence {
            plan: self.plan,
            acknowledged: std::mem::take(&mut self.desk.acknowledged),
            ledger,
            tail: std::mem::take(&mut self.watch.told),
            log,
            workflows: read_workflows(&self.ports).await?,
            leftovers: self.leftovers()?,
        };
        let mut findings = check(&evidence);
        for (sin, whats) in &self.findings.sins {
            for what in whats {
                findings.add(*sin, what.clone());
            }
        }
        for what in self.desk.refusals.iter().chain(&self.crew.ended_alone) {
            findings.add(Sin::Unexpected, what.clone());
        }
        self.background.shutdown().await;
        Ok(self.report(findings))
    }

    fn leftovers(&self) -> Result<Leftovers> {
        let count = |table: &str| -> Result<u64> {
            let counted = self.database.ask(&format!("SELECT count(*) FROM {table}"));
            Ok(counted.parse()?)
        };
        Ok(Leftovers {
            leases: count("workflow_leases")?,
            queue_rows: count("workflow_queue")?,
        })
    }
}

/// Prints progress.
fn tell_people(what: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "battery: {what}").is_err();
}

/// Reads the log along, whatever happens to the database.
async fn read_along(ports: EnginePorts, tell: mpsc::UnboundedSender<Happened>) {
    let mut position = drover_domain::workflow::EventPosition::START;
    loop {
        let filter = drover_ports::EventFilter::default();
        match ports.events.after(position, filter, 1_000).await {
            Ok(page) if !page.events.is_empty() => {
                position = page.next;
                let told: Vec<Told> = page.events;
                if tell.send(Happened::Told(told)).is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => sleep(TURN).await,
        }
    }
}

/// The ledger's process is there when it answers.
async fn ledger_answers(socket: PathBuf) -> Result<()> {
    let client = Client::new(socket);
    let end = Instant::now() + DRAIN_MAX;
    while client.has("nothing").await.is_err() {
        if Instant::now() > end {
            bail!("the ledger does not answer");
        }
        sleep(TURN).await;
    }
    Ok(())
}
