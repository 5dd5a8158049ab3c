//! Handlers that do what their kind says, and a ledger of what they did.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Json, Kind, QueueName, TaskId};
use drover_ports::{Assigned, StopReason, TaskHandler};
use drover_usecases::Handlers;
use tokio::time::{Instant, timeout};

/// What a handler does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Succeeds at once.
    Succeed,
    /// Succeeds after this time.
    Take(Duration),
    /// Never ends and ignores the stop request.
    Hang,
    /// Waits for the stop request, and stops.
    Listen,
    /// Waits for the end of the process and then finishes after this time.
    FinishOnHandOver(Duration),
    /// Blocks its thread for this time.
    Block(Duration),
    /// Panics.
    Panic,
    /// Fails with this code as often as said, then succeeds.
    Fail(&'static str, u32),
    /// Fails with an error that is much too long.
    Ramble,
}

/// One thing a handler did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) worker: String,
    pub(crate) task: TaskId,
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) began: Duration,
    /// `None`: it was dropped, or goes on.
    pub(crate) ended: Option<Duration>,
    /// When it ended or was dropped.
    pub(crate) left: Option<Duration>,
}

/// What all handlers of all processes did; times since the ledger was made.
#[derive(Debug)]
pub(crate) struct Ledger {
    zero: Instant,
    entries: Mutex<Vec<Entry>>,
    running: Mutex<BTreeMap<QueueName, (usize, usize)>>,
}

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            zero: Instant::now(),
            entries: Mutex::default(),
            running: Mutex::default(),
        })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.zero.elapsed()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    /// What was done about the tasks with this key.
    pub(crate) fn of(&self, key: &str) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.key == key);
        entries
    }

    /// The most tasks of a queue that ran at once.
    pub(crate) fn peak(&self, queue: &str) -> usize {
        let running = self.running.lock().unwrap();
        let queue = QueueName::parse(queue).unwrap();
        running.get(&queue).map_or(0, |(_, peak)| *peak)
    }

    fn ended(&self, place: usize, at: Duration) {
        let mut entries = self.entries.lock().unwrap();
        entries.get_mut(place).unwrap().ended = Some(at);
    }

    fn begin(&self, worker: &str, assigned: Assigned<'_>) -> usize {
        let mut running = self.running.lock().unwrap();
        let (now, peak) = running.entry(assigned.task.queue.clone()).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
        let mut entries = self.entries.lock().unwrap();
        entries.push(Entry {
            worker: worker.to_owned(),
            task: assigned.task.task,
            key: assigned.task.key.as_str().to_owned(),
            attempt: assigned.task.attempt,
            began: self.elapsed(),
            ended: None,
            left: None,
        });
        entries.len() - 1
    }
}

/// Counts a handler's end, also where it is dropped.
struct Running<'a> {
    ledger: &'a Ledger,
    queue: &'a QueueName,
    place: usize,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.ledger.running.lock().unwrap();
        if let Some((now, _)) = running.get_mut(self.queue) {
            *now -= 1;
        }
        let left = self.ledger.elapsed();
        let mut entries = self.ledger.entries.lock().unwrap();
        if let Some(entry) = entries.get_mut(self.place) {
            entry.left = Some(left);
        }
    }
}

struct Actor {
    act: Act,
    worker: String,
    ledger: Arc<Ledger>,
}

#[async_trait]
impl TaskHandler for Actor {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G1
    }

    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let place = self.ledger.begin(&self.worker, assigned);
        let _running = Running {
            ledger: &self.ledger,
            queue: &assigned.task.queue,
            place,
        };
        let outcome = self.act(assigned).await;
        let now = self.ledger.elapsed();
        self.ledger.ended(place, now);
        outcome
    }
}

impl Actor {
    async fn act(&self, assigned: Assigned<'_>) -> Outcome {
        match self.act {
            Act::Succeed => {}
            Act::Take(time) => pass(time).await,
            Act::Hang => pending().await,
            Act::Listen => {
                return match assigned.progress.stopped().await {
                    StopReason::Cancelled => Outcome::Cancelled,
                    StopReason::HandOver => Outcome::Released,
                };
            }
            Act::FinishOnHandOver(time) => {
                assigned.progress.stopped().await;
                pass(time).await;
            }
            Act::Block(time) => {
                let (_sender, receiver) = std::sync::mpsc::channel::<()>();
                receiver.recv_timeout(time).unwrap_err();
            }
            Act::Panic => panic!("this handler panics"),
            Act::Fail(code, times) => {
                if assigned.task.attempt <= times {
                    return failed(TaskError::new(code, "it did not work"));
                }
            }
            Act::Ramble => {
                return failed(TaskError {
                    code: "c".repeat(1_000),
                    message: "m".repeat(10_000),
                });
            }
        }
        Outcome::Succeeded {
            result: Json::null(),
        }
    }
}

fn failed(error: TaskError) -> Outcome {
    Outcome::Failed {
        error,
        retryable: true,
    }
}

/// Lets time pass.
pub(crate) async fn pass(time: Duration) {
    timeout(time, pending::<()>()).await.unwrap_err();
}

/// Handlers of a process.
pub(crate) fn handlers(worker: &str, acts: &[(&str, Act)], ledger: &Arc<Ledger>) -> Handlers {
    let mut handlers = Handlers::default();
    for (kind, act) in acts {
        let actor = Actor {
            act: *act,
            worker: worker.to_owned(),
            ledger: Arc::clone(ledger),
        };
        handlers
            .register(Kind::parse(kind).unwrap(), Arc::new(actor))
            .unwrap();
    }
    handlers
}
