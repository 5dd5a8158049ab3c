//! The handlers that run under one lease.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{Action, Guarantee, Kind, Takeover, TaskId};
use drover_ports::{Assignment, HeldAttempt, Report};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::stops::Stops;
use super::strangers::Strangers;
use super::{Shared, attempt, child};

/// How long dropped handlers are waited for. One that does not let go of its thread is left behind.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// The handlers that run under one lease. Each runs as a task of its own, so that one that blocks its
/// thread or panics hinders no other.
#[derive(Debug, Default)]
pub(super) struct Hands {
    running: JoinSet<Outcome>,
    held: HashMap<Id, Held>,
    stops: Arc<Stops>,
    /// Until when handlers that were asked to stop may take their time, in this order.
    patience: VecDeque<(Instant, Id)>,
    strangers: Strangers,
}

#[derive(Debug)]
struct Held {
    task: TaskId,
    attempt: u32,
    lane: usize,
    kind: Kind,
    guarantee: Guarantee,
    takeover: Takeover,
    is_asked: bool,
    is_stranger: bool,
    handle: AbortHandle,
}

/// The end of an attempt, and whose place is free now.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) lane: usize,
    pub(super) report: Report,
    /// Whether nothing here executes its kind.
    pub(super) is_stranger: bool,
}

impl Hands {
    /// Starts an attempt.
    pub(super) fn take(&mut self, engine: &Arc<Shared>, lane: usize, task: Assignment) {
        let (id, attempt) = (task.task, task.attempt);
        let (guarantee, takeover) = (task.policy.guarantee, task.policy.takeover);
        let kind = task.kind.clone();
        let stops = Arc::clone(&self.stops);
        let mut is_stranger = false;
        let handle = match &task.action {
            Action::Child {
                definition,
                version,
            } => {
                let (definition, version) = (definition.clone(), *version);
                let engine = Arc::clone(engine);
                self.running
                    .spawn(child::execute(engine, task, definition, version, stops))
            }
            // The last three are not for engines: stores do not hand them out.
            Action::Run | Action::RunRemotely | Action::Timer { .. } | Action::Signal { .. } => {
                match engine.handlers.find(&task.kind) {
                    Some(handler) if task.action == Action::Run => {
                        let handler = Arc::clone(handler);
                        self.running.spawn(attempt::execute(handler, task, stops))
                    }
                    Some(_) | None => {
                        is_stranger = true;
                        let wait = self.strangers.meet(&task.kind, Instant::now());
                        self.running.spawn(attempt::leave_alone(task, wait, stops))
                    }
                }
            }
        };
        let held = Held {
            task: id,
            attempt,
            lane,
            kind,
            guarantee,
            takeover,
            is_asked: false,
            is_stranger,
            handle,
        };
        self.held.insert(held.handle.id(), held);
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// What runs.
    pub(super) fn attempts(&self) -> impl Iterator<Item = HeldAttempt> {
        self.held.values().map(|held| HeldAttempt {
            task: held.task,
            attempt: held.attempt,
        })
    }

    /// Waits for the next end of an attempt; for ever when there is none.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no end.
    pub(super) async fn ended(&mut self) -> Ended {
        loop {
            match self.running.join_next_with_id().await {
                Some(joined) => {
                    if let Some(ended) = self.settle(joined) {
                        return ended;
                    }
                }
                None => pending().await,
            }
        }
    }

    /// The next end of an attempt, if there is one already.
    pub(super) fn try_ended(&mut self) -> Option<Ended> {
        loop {
            let joined = self.running.try_join_next_with_id()?;
            if let Some(ended) = self.settle(joined) {
                return Some(ended);
            }
        }
    }

    // Nothing where it was dropped without a report.
    fn settle(&mut self, joined: Result<(Id, Outcome), JoinError>) -> Option<Ended> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        let held = self.held.remove(&id)?;
        if held.is_asked {
            self.stops.forget(held.task);
        }
        let outcome = outcome.unwrap_or_else(|error| {
            if error.is_panic() {
                let (task, kind) = (held.task, &held.kind);
                tracing::error!(task.id = %task, task.kind = %kind, "the handler of task {task} panicked");
                attempt::panicked(kind.as_str(), held.takeover)
            } else {
                attempt::dropped(held.guarantee, held.takeover)
            }
        });
        Some(Ended {
            lane: held.lane,
            is_stranger: held.is_stranger,
            report: Report {
                task: held.task,
                attempt: held.attempt,
                outcome,
            },
        })
    }

    /// Asks the handlers of these tasks to stop, those that were not asked before, and drops them when
    /// `grace` has passed.
    pub(super) fn stop(&mut self, tasks: &[TaskId], grace: Duration, now: Instant) {
        let tasks: std::collections::HashSet<&TaskId> = tasks.iter().collect();
        let mut asked = Vec::new();
        for (id, held) in &mut self.held {
            if !held.is_asked && tasks.contains(&held.task) {
                held.is_asked = true;
                asked.push(held.task);
                self.patience.push_back((now + grace, *id));
            }
        }
        if !asked.is_empty() {
            self.stops.cancel(asked.into_iter());
        }
    }

    /// Drops the handlers whose time to stop is over; they come out of [`Self::ended`] like others.
    pub(super) fn drop_stubborn(&mut self, now: Instant) {
        while let Some((until, id)) = self.patience.front()
            && *until <= now
        {
            if let Some(held) = self.held.get(id) {
                held.handle.abort();
            }
            self.patience.pop_front();
        }
    }

    /// When [`Self::drop_stubborn`] has something to do.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.patience.front().map(|(until, _)| *until)
    }

    /// Asks every handler to stop because the process ends.
    pub(super) fn hand_over(&self) {
        self.stops.hand_over();
    }

    /// Drops everything; nothing of it is ever reported. How many there were.
    pub(super) async fn drop_all(&mut self) -> usize {
        let dropped = self.held.len();
        self.held.clear();
        self.patience.clear();
        if timeout(DROP_WAIT, self.running.shutdown()).await.is_err() {
            tracing::warn!("handlers that were dropped do not let go of their threads");
            self.running.detach_all();
        }
        dropped
    }
}
