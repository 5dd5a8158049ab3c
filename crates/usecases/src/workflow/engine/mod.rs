//! The durable engine's loops: take tasks, run their handlers, report how they ended, keep house.
//!
//! One process runs one [`Engine`]. Everything it takes it holds under one lease; a [`hold::Hold`] is
//! the time of one lease, from the first claim to the hand-over or the loss. What happens to a workflow
//! is decided in `drover_domain::workflow::run` and written by the store: here is only who works on
//! what, for how long, and what happens when the store or a handler does not answer.
//!
//! Start reading at [`Engine::run`], then [`hold`].

mod attempt;
mod backoff;
mod child;
mod handlers;
mod hands;
mod hold;
mod lanes;
mod options;
mod outbox;
mod retention;
mod schedules;
mod stats;
mod stops;
mod strangers;
mod upkeep;
mod worker;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use drover_ports::{Clock, IdSource, StoreError};
use tokio::task::JoinSet;

pub use handlers::{Handlers, KindTaken};
pub use options::{EngineOptions, EngineOptionsError, QueueOptions};
pub(crate) use retention::trusted;
pub use stats::{EngineStats, LastError};

use self::stats::Counters;
use crate::EnginePorts;
use crate::stop::{Stop, pause};

/// How long a loop that broke off is left alone before it is started again.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// The durable engine of one process. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// An engine that does nothing yet.
    ///
    /// * `ports` — the store.
    /// * `clock` — says when schedules are due; leases and retries follow the database's clock.
    /// * `handlers` — what executes tasks, by kind.
    ///
    /// # Errors
    ///
    /// [`EngineOptionsError`], naming the first option that makes no sense.
    pub fn new(
        ports: EnginePorts,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        handlers: Handlers,
        options: EngineOptions,
    ) -> Result<Self, EngineOptionsError> {
        let options = options.checked()?;
        Ok(Self {
            shared: Arc::new(Shared {
                ports,
                clock,
                ids,
                handlers,
                options,
                counters: Counters::default(),
            }),
        })
    }

    /// Works until `stop`, then hands over: nothing more is claimed, handlers are asked to stop and
    /// have [`EngineOptions::drain_grace`] to end, outcomes are reported, and the lease is closed so
    /// that others go on with the rest at once.
    ///
    /// It returns [`EngineOptions::drain_grace`] plus [`EngineOptions::lease`] and a few seconds after
    /// `stop` at the latest, also where the store is away. Run it once at a time.
    ///
    /// # Cancellation
    ///
    /// Dropping the future is what a kill would do: handlers are dropped, nothing is handed over, and the
    /// lease runs out by itself.
    pub async fn run(&self, stop: Stop) {
        let engine = &self.shared;
        tokio::join!(
            watched("worker", &stop, || worker::run(
                Arc::clone(engine),
                stop.clone()
            )),
            watched("wake-ups", &stop, || upkeep::wake(
                Arc::clone(engine),
                stop.clone()
            )),
            watched("take-over", &stop, || upkeep::take_over(
                Arc::clone(engine),
                stop.clone()
            )),
            watched("schedules", &stop, || schedules::run(
                Arc::clone(engine),
                stop.clone()
            )),
            watched("retention", &stop, || retention::run(
                Arc::clone(engine),
                stop.clone()
            )),
        );
    }

    /// What it did so far and has in hand now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.shared.counters.read()
    }

    /// What it executes.
    #[must_use]
    pub fn handlers(&self) -> &Handlers {
        &self.shared.handlers
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// What the loops have in common.
struct Shared {
    ports: EnginePorts,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    handlers: Handlers,
    options: EngineOptions,
    counters: Counters,
}

impl Shared {
    /// Logs a failure of the store. Of consecutive failures (`before` is their number before this
    /// one), the first and then every thirtieth is a warning.
    fn complain(&self, what: &'static str, error: &StoreError, before: u32) {
        self.counters.failed(self.clock.now(), what, error);
        let error = error as &(dyn std::error::Error + 'static);
        if before.is_multiple_of(30) {
            tracing::warn!(error, "{what}");
        } else {
            tracing::debug!(error, "{what}");
        }
    }
}

/// Runs a loop as a task of its own, and again when a defect broke it off: an engine that half works
/// would be worse than none.
async fn watched<F>(name: &'static str, stop: &Stop, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut stop = stop.clone();
    loop {
        let mut running = JoinSet::new();
        running.spawn(start());
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "the engine's loop `{name}` broke off; it starts again"
                );
                if pause(&mut stop, RESTART_WAIT).await {
                    return;
                }
            }
            Some(Ok(()) | Err(_)) | None => return,
        }
    }
}
