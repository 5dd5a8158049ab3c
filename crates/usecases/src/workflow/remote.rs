//! Workers outside, over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{Executor, LeaseId, QueueName, TaskId};
use drover_ports::{
    Assignment, Beat, ClaimRequest, HeldAttempt, IdSource, Report, ReportVerdict, StoreError,
    TaskQueue, Topic, WakeUps,
};
use tokio::time::{Instant, sleep};

use crate::EnginePorts;

/// How long to wait for a hint before looking by oneself.
const POLL: Duration = Duration::from_secs(1);
/// The shortest time between two looks: hints about other people's work come in swarms.
const PAUSE: Duration = Duration::from_millis(20);

/// Use cases of remote workers.
#[derive(Clone)]
pub struct RemoteWorkers {
    tasks: Arc<dyn TaskQueue>,
    wake_ups: Arc<dyn WakeUps>,
    ids: Arc<dyn IdSource>,
}

impl fmt::Debug for RemoteWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteWorkers")
    }
}

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimOrder {
    /// Its name, 1 to 255 printable characters.
    pub worker: String,
    /// The queues it takes from, each once.
    pub queues: Vec<QueueName>,
    /// The most tasks.
    pub limit: u32,
    /// How long to wait for the first one, at most [`RemoteWorkers::WAIT_MAX`].
    pub wait: Duration,
    /// The lease to claim under; a new one where there is none.
    pub lease: Option<LeaseId>,
    /// The attempts under that lease whose answers the worker received and whose ends it did not report yet. Everything
    /// else under the lease is queued again before anything is claimed. `None`: the worker does not say.
    pub holding: Option<Vec<HeldAttempt>>,
    /// How long the lease lasts without a sign of life.
    pub term: Duration,
}

/// What a worker got.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The lease of these tasks; `None` when the worker came without one and there was nothing to do.
    pub lease: Option<LeaseId>,
    /// The tasks it holds under it besides what it held before.
    pub tasks: Vec<Assignment>,
}

impl RemoteWorkers {
    /// The longest wait for a task.
    pub const WAIT_MAX: Duration = Duration::from_secs(30);
    /// The most tasks of one claim.
    pub const LIMIT_MAX: u32 = 100;
    /// The shortest lease.
    pub const TERM_MIN: Duration = Duration::from_secs(5);
    /// The longest lease.
    pub const TERM_MAX: Duration = Duration::from_mins(10);
    /// The usual lease.
    pub const TERM_DEFAULT: Duration = Duration::from_secs(30);
    /// How long the answer to a claim may be on its way: what was claimed within this time is not missing from a
    /// heartbeat's list.
    pub const ANSWER_MAX: Duration = Self::TERM_MIN;

    /// Requests over these ports.
    #[must_use]
    pub fn new(ports: &EnginePorts, ids: Arc<dyn IdSource>) -> Self {
        Self {
            tasks: Arc::clone(&ports.tasks),
            wake_ups: Arc::clone(&ports.wake_ups),
            ids,
        }
    }

    /// Takes tasks; waits for the first one as long as the order says, and not longer than until
    /// `enough`. The lease lasts for its term from the answer on.
    ///
    /// An answer can be lost after its tasks were taken. A worker that says what it holds gets them back into the queue
    /// with its next claim. One that does not say gets a new lease while the old one still holds something: a claim
    /// never renews a lease whose tasks the worker may not know.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] when the given lease ran out; [`StoreError::Unavailable`];
    /// [`StoreError::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// What was claimed and not answered is queued again by the worker's next claim, or when the lease runs out.
    pub async fn claim(
        &self,
        order: ClaimOrder,
        enough: impl Future<Output = ()> + Send,
    ) -> Result<Claimed, StoreError> {
        let known = match order.lease {
            Some(lease) => self.go_on(lease, &order).await?,
            None => None,
        };
        let lease = match known {
            Some(lease) => lease,
            None => self.begin(&order).await?,
        };
        let tasks = self.wait_and_claim(lease, &order, enough).await;
        let got_some = matches!(&tasks, Ok(tasks) if !tasks.is_empty());
        if known.is_none() && !got_some {
            // A lease that cannot be closed runs out: nothing is held under it.
            if let Err(error) = self.tasks.close_lease(lease).await {
                tracing::debug!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "an empty lease could not be closed"
                );
            }
            return Ok(Claimed {
                lease: order.lease,
                tasks: tasks?,
            });
        }
        Ok(Claimed {
            lease: Some(lease),
            tasks: tasks?,
        })
    }

    async fn begin(&self, order: &ClaimOrder) -> Result<LeaseId, StoreError> {
        let lease = self.ids.next();
        self.tasks
            .open_lease(lease, &order.worker, order.term)
            .await?;
        Ok(lease)
    }

    /// Renews the lease of a claim, unless it holds tasks and the worker does not say which of them it knows.
    async fn go_on(
        &self,
        lease: LeaseId,
        order: &ClaimOrder,
    ) -> Result<Option<LeaseId>, StoreError> {
        let held = self.tasks.held(lease, Duration::ZERO).await?;
        let Some(holding) = &order.holding else {
            if !held.is_empty() {
                return Ok(None);
            }
            self.tasks.heartbeat(lease, order.term).await?;
            return Ok(Some(lease));
        };
        self.tasks.heartbeat(lease, order.term).await?;
        self.give_back(lease, held, holding).await?;
        Ok(Some(lease))
    }

    /// Queues again what the lease holds and the worker does not.
    async fn give_back(
        &self,
        lease: LeaseId,
        held: Vec<HeldAttempt>,
        holding: &[HeldAttempt],
    ) -> Result<(), StoreError> {
        let strays: Vec<Report> = held
            .into_iter()
            .filter(|held| !holding.contains(held))
            .map(|HeldAttempt { task, attempt }| Report {
                task,
                attempt,
                outcome: Outcome::Released,
            })
            .collect();
        if strays.is_empty() {
            return Ok(());
        }
        tracing::info!(
            lease.id = %lease,
            tasks = strays.len(),
            "tasks whose worker did not receive them are queued again"
        );
        self.tasks.report(lease, &strays).await.map(|_| ())
    }

    async fn wait_and_claim(
        &self,
        lease: LeaseId,
        order: &ClaimOrder,
        enough: impl Future<Output = ()> + Send,
    ) -> Result<Vec<Assignment>, StoreError> {
        let request = ClaimRequest {
            executor: Executor::Remote,
            queues: order.queues.clone(),
            limit: order.limit.clamp(1, Self::LIMIT_MAX),
        };
        let mut end = Instant::now() + order.wait.min(Self::WAIT_MAX);
        tokio::pin!(enough);
        let mut renewed = Instant::now();
        loop {
            // Before the look: a hint that comes during it counts.
            let seen = self.wake_ups.seen(Topic::Work);
            let tasks = self.tasks.claim(lease, &request).await?;
            let now = Instant::now();
            if !tasks.is_empty() || now.duration_since(renewed) >= order.term / 3 {
                self.tasks.heartbeat(lease, order.term).await?;
                renewed = now;
            }
            if !tasks.is_empty() || now >= end {
                return Ok(tasks);
            }
            sleep(PAUSE.min(end.saturating_duration_since(now))).await;
            let left = end.saturating_duration_since(Instant::now());
            tokio::select! {
                _ = self.wake_ups.changed(Topic::Work, seen) => {}
                () = sleep(POLL.min(left)) => {}
                // One last look.
                () = &mut enough => end = Instant::now(),
            }
        }
    }

    /// A heartbeat: renews the lease with all tasks held under it, and returns the tasks that must stop.
    ///
    /// A worker that says what it holds also learns which of that the lease no longer holds; what the lease has
    /// held for longer than [`Self::ANSWER_MAX`] and the worker does not name is queued again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] when it ran out: what it held belongs to others;
    /// [`StoreError::Unavailable`].
    pub async fn heartbeat(
        &self,
        lease: LeaseId,
        term: Duration,
        holding: Option<&[HeldAttempt]>,
    ) -> Result<Beat, StoreError> {
        let mut beat = self.tasks.heartbeat(lease, term).await?;
        let Some(holding) = holding else {
            return Ok(beat);
        };
        let old = self.tasks.held(lease, Self::ANSWER_MAX).await?;
        self.give_back(lease, old, holding).await?;
        let held = self.tasks.held(lease, Duration::ZERO).await?;
        let gone = holding.iter().filter(|named| !held.contains(named));
        for HeldAttempt { task, .. } in gone {
            if !beat.stop.contains(task) {
                beat.stop.push(*task);
            }
        }
        Ok(beat)
    }

    /// Writes down how an attempt ended.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: whether it was written is not known, and repeating it is safe;
    /// [`StoreError::Corrupt`].
    pub async fn report(
        &self,
        lease: LeaseId,
        task: TaskId,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<ReportVerdict, StoreError> {
        let report = Report {
            task,
            attempt,
            outcome,
        };
        let verdicts = self.tasks.report(lease, &[report]).await?;
        Ok(verdicts
            .into_iter()
            .next()
            .unwrap_or(ReportVerdict::NoSuchTask))
    }
}
