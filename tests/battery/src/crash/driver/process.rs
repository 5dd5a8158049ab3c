//! The processes: a ledger, and workers that are started again whenever they are gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::evidence::Told;
use super::super::order::Order;
use super::super::point::{Fuse, Place};
use super::super::worker::{READY, STOP};
use super::desk::{Asked, Desk};
use super::ledger_answers;
use crate::model::chance::Chance;

/// How many workers there are.
const WORKERS: usize = 3;
/// How many orders one of them has at once.
const ORDERS_MAX: usize = 20;

/// What happened.
#[derive(Debug)]
pub(super) enum Happened {
    /// Events of the log.
    Told(Vec<Told>),
    /// A worker said something.
    Said { slot: usize, line: String },
    /// A worker is gone.
    Gone { slot: usize, status: ExitStatus },
}

/// The place of one worker after the other.
#[derive(Debug)]
pub(super) struct Slot {
    input: Option<ChildStdin>,
    kill: Option<mpsc::Sender<()>>,
    asked: BTreeMap<u64, Asked>,
    /// Where it ends, if it has such an order.
    pub(super) fuse: Option<Fuse>,
    pub(super) begun: Instant,
    pub(super) is_ready: bool,
    /// Whether it was killed, or asked to stop.
    pub(super) is_doomed: bool,
    /// Whether it has come to its point.
    pub(super) has_burnt: bool,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Crew {
    seed: u64,
    folder: PathBuf,
    url: String,
    program: PathBuf,
    tell: mpsc::UnboundedSender<Happened>,
    pub(super) slots: Vec<Slot>,
    // Gone when this is dropped.
    _ledger: Child,
    readers: JoinSet<()>,
    // What the driver did, beside the logs of the workers.
    log: File,
    since: Instant,
    /// How many workers were started.
    pub(super) started: u64,
    /// Whether ended processes are not replaced.
    pub(super) is_finishing: bool,
    /// How long each start took until it could be asked.
    pub(super) ready_after: Vec<Duration>,
    /// Workers that ended without an order.
    pub(super) ended_alone: Vec<String>,
}

impl Crew {
    pub(super) async fn new(
        seed: u64,
        folder: &Path,
        url: String,
        tell: mpsc::UnboundedSender<Happened>,
    ) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut ledger = command(&program);
        ledger
            .arg("ledger")
            .arg(socket(folder))
            .arg(ledger_file(folder));
        let ledger = ledger.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let ledger = ledger.context("the ledger cannot be started")?;
        ledger_answers(socket(folder)).await?;
        let log = folder.join("driver.log");
        let log = File::options().create(true).append(true).open(log)?;
        Ok(Self {
            seed,
            folder: folder.to_owned(),
            url,
            program,
            tell,
            slots: Vec::new(),
            _ledger: ledger,
            readers: JoinSet::new(),
            log,
            since: Instant::now(),
            started: 0,
            is_finishing: false,
            ready_after: Vec::new(),
            ended_alone: Vec::new(),
        })
    }

    /// Writes down what the driver does.
    pub(super) fn note(&mut self, what: &str) {
        note(&mut self.log, self.since, what);
    }

    pub(super) fn ledger_file(&self) -> PathBuf {
        ledger_file(&self.folder)
    }

    pub(super) fn start_all(&mut self) -> Result<()> {
        for slot in 0..WORKERS {
            let worker = self.start(slot, None)?;
            self.slots.push(worker);
        }
        Ok(())
    }

    /// Starts a worker in the place of one that is gone.
    pub(super) fn restart(&mut self, at: usize, fuse: Option<Fuse>) -> Result<()> {
        let worker = self.start(at, fuse)?;
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = worker;
        }
        Ok(())
    }

    fn start(&mut self, slot: usize, fuse: Option<Fuse>) -> Result<Slot> {
        self.started += 1;
        let log = self.folder.join(format!("worker-{slot}.log"));
        let log = File::options().create(true).append(true).open(log)?;
        let name = format!("worker-{slot}.{}", self.started);
        let end = fuse
            .map(|fuse| format!(" until {fuse}"))
            .unwrap_or_default();
        self.note(&format!("{name} starts{end}"));
        let mut worker = command(&self.program);
        worker.args(["worker", "--url", &self.url, "--name", &name, "--ledger"]);
        worker
            .arg(socket(&self.folder))
            .args(["--seed", &self.seed.to_string()]);
        if slot == 0 {
            worker.arg("--narrow");
        }
        if let Some(fuse) = fuse {
            worker.args(["--fuse", &fuse.to_string()]);
        }
        worker
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = worker.spawn().context("a worker cannot be started")?;
        let input = child.stdin.take();
        let (kill, killed) = mpsc::channel(1);
        self.readers
            .spawn(attend(slot, child, killed, self.tell.clone()));
        Ok(Slot {
            input,
            kill: Some(kill),
            asked: BTreeMap::new(),
            fuse,
            begun: Instant::now(),
            is_ready: false,
            is_doomed: false,
            has_burnt: false,
        })
    }

    /// Hands orders out, each to a process that can take it. Now and then an order is given to two, as by an
    /// impatient client.
    pub(super) async fn hand_out(&mut self, desk: &mut Desk, chance: &mut Chance) {
        let mut at = chance.below(self.slots.len().max(1));
        let mut full = 0;
        while !desk.is_idle() && full < self.slots.len() {
            at = (at + 1) % self.slots.len();
            let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.has_room()) else {
                full += 1;
                continue;
            };
            full = 0;
            let place = slot.fuse.map(|fuse| fuse.point.place);
            let Some(asked) = desk.take(place) else {
                return;
            };
            // Pausing twice differs from pausing once, if a resume comes in between.
            let may_be_doubled = !matches!(asked.order, Order::Pause { .. });
            if may_be_doubled && chance.percent(3) {
                let next = (at + 1) % self.slots.len();
                self.give(next, asked.clone()).await;
            }
            self.give(at, asked).await;
        }
    }

    /// Gives an order to one worker.
    pub(super) async fn give(&mut self, at: usize, asked: Asked) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let line = format!("{} {}\n", asked.id, asked.order);
        slot.asked.insert(asked.id, asked);
        slot.write(&line).await;
    }

    /// How many orders are with workers.
    pub(super) fn asked(&self) -> usize {
        self.slots.iter().map(|slot| slot.asked.len()).sum()
    }

    pub(super) fn hear(&mut self, at: usize, line: &str, desk: &mut Desk) -> Result<()> {
        let Some(slot) = self.slots.get_mut(at) else {
            return Ok(());
        };
        if line == READY {
            slot.is_ready = true;
            self.ready_after.push(slot.begun.elapsed());
            return Ok(());
        }
        let Some((id, answer)) = line.split_once(' ') else {
            bail!("a worker said `{line}`");
        };
        if id == "at" {
            slot.has_burnt = true;
            return Ok(());
        }
        if let Some(asked) = slot.asked.remove(&id.parse()?) {
            let line = format!("worker-{at} answers {id} `{}`: {answer}", asked.order);
            note(&mut self.log, self.since, &line);
            desk.answer(asked, answer.parse()?);
        }
        Ok(())
    }

    /// Notes that a worker is gone, and gives back what it was asked for.
    pub(super) fn gone(&mut self, at: usize, status: ExitStatus, desk: &mut Desk) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        slot.input = None;
        slot.is_ready = false;
        desk.put_back(std::mem::take(&mut slot.asked).into_values().collect());
        let line = format!(
            "worker-{at} is gone after {:?}: {status}",
            slot.begun.elapsed()
        );
        note(&mut self.log, self.since, &line);
        let is_killed = status.signal() == Some(Signal::KILL.as_raw());
        let is_meant = (is_killed && (slot.has_burnt || slot.is_doomed))
            || (status.success() && slot.is_doomed);
        if !is_meant {
            let log = self.folder.join(format!("worker-{at}.log"));
            let what = format!("a worker ended with {status}; see {}", log.display());
            self.ended_alone.push(what);
        }
    }

    /// Kills a worker.
    pub(super) fn kill(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.is_doomed = true;
            note(&mut self.log, self.since, &format!("worker-{at} is killed"));
            if let Some(kill) = slot.kill.take() {
                let _is_gone_already = kill.try_send(()).is_err();
            }
        }
    }

    /// Asks a worker to stop in order.
    pub(super) async fn stop(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.is_doomed = true;
            slot.write(&format!("{STOP}\n")).await;
        }
    }

    /// Asks all workers to stop in order; none is replaced.
    pub(super) async fn stop_all(&mut self) {
        self.is_finishing = true;
        for at in 0..self.slots.len() {
            self.stop(at).await;
        }
    }

    /// Whether everybody is there and can be asked.
    pub(super) fn is_complete(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.all(|slot| slot.is_ready && !slot.is_doomed)
    }

    /// Whether a worker is there.
    pub(super) fn is_there(&self) -> bool {
        self.slots.iter().any(|slot| slot.input.is_some())
    }
}

impl Slot {
    fn has_room(&self) -> bool {
        self.is_ready && !self.is_doomed && self.asked.len() < ORDERS_MAX
    }

    /// Whether it has an order that comes down to `place`.
    pub(super) fn is_asked(&self, place: Place) -> bool {
        self.asked
            .values()
            .any(|asked| asked.order.place() == place)
    }

    // A process that is gone takes no orders; its orders go to others when its end is known.
    async fn write(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _is_gone = input.write_all(line.as_bytes()).await.is_err();
        }
    }
}

/// Listens to a worker until it is gone, and kills it if that is wished.
async fn attend(
    slot: usize,
    mut child: Child,
    mut killed: mpsc::Receiver<()>,
    tell: mpsc::UnboundedSender<Happened>,
) {
    let Some(output) = child.stdout.take() else {
        return;
    };
    let mut lines = BufReader::new(output).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { break };
                if tell.send(Happened::Said { slot, line }).is_err() {
                    return;
                }
            }
            Some(()) = killed.recv() => {
                let _is_gone_already = child.start_kill().is_err();
            }
        }
    }
    if let Ok(status) = child.wait().await {
        let _nobody_listens = tell.send(Happened::Gone { slot, status }).is_err();
    }
}

fn note(log: &mut File, since: Instant, what: &str) {
    let seconds = since.elapsed().as_secs_f64();
    let _is_only_a_note = writeln!(log, "{seconds:9.3} {what}").is_err();
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("ledger.socket")
}

fn ledger_file(folder: &Path) -> PathBuf {
    folder.join("ledger.txt")
}

#[expect(
    clippy::disallowed_methods,
    reason = "processes are what the battery kills"
)]
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    command
}
