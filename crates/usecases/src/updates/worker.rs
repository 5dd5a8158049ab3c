//! Doing an update: claim a task, hold it, hand it over. [`super::run`] and [`super::end`] are the
//! middle and the end of it.

use std::fmt;
use std::sync::Arc;

use drover_domain::rollout::task::TaskDetail;
use drover_ports::{Claim, Fault, StoreError};
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

use crate::background::{Stop, pause, stopped};
use crate::polling::Polling;
use crate::service::{Policy, Ports};

use super::patience::{Interrupted, RETRY_WAIT, patiently};

/// Works off the queue of update tasks.
#[derive(Clone)]
pub(crate) struct UpdateWorker {
    pub(super) ports: Ports,
    pub(super) policy: Arc<Policy>,
    queued: Arc<Notify>,
    pub(super) polling: Polling,
}

impl fmt::Debug for UpdateWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateWorker")
    }
}
impl UpdateWorker {
    pub(crate) const fn new(
        ports: Ports,
        policy: Arc<Policy>,
        queued: Arc<Notify>,
        polling: Polling,
    ) -> Self {
        Self {
            ports,
            policy,
            queued,
            polling,
        }
    }

    /// Takes one task after the other until it is time to end.
    pub(crate) async fn work(&self, worker: &str, mut stop: Stop) {
        while !*stop.borrow() {
            match self.ports.tasks.claim(worker, self.policy.lease).await {
                Ok(Some((claim, detail))) => self.hold(&claim, detail, &mut stop).await,
                Ok(None) => tokio::select! {
                    () = stopped(&mut stop) => {}
                    () = self.queued.notified() => {}
                    () = sleep(self.policy.idle_wait) => {}
                },
                Err(error) => {
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "no task can be claimed"
                    );
                    if pause(&mut stop, RETRY_WAIT).await {
                        return;
                    }
                }
            }
        }
    }

    /// Drives a claimed task while the lease is kept alive; whichever ends first ends both.
    #[tracing::instrument(name = "updates.work", skip_all, fields(task.id = %claim.task, task.attempt = claim.attempt))]
    async fn hold(&self, claim: &Claim, detail: TaskDetail, stop: &mut Stop) {
        if claim.attempt > 1 {
            tracing::info!(task.id = %claim.task, "task {} is taken up again, attempt {}", claim.task, claim.attempt);
        }
        tokio::select! {
            driven = self.drive(claim, detail) => {
                if let Err(error) = driven {
                    tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "task {} is let go", claim.task);
                }
            }
            error = self.keep_lease(claim) => {
                tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "task {} is let go", claim.task);
            }
            () = stopped(stop) => match self.ports.tasks.release(claim).await {
                Ok(()) => tracing::info!("task {} is handed over; its play goes on", claim.task),
                Err(error) => tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "task {} was not handed over; its lease runs out by itself", claim.task
                ),
            },
        }
    }

    /// Renews the lease three times per term; returns when the task belongs to somebody else.
    async fn keep_lease(&self, claim: &Claim) -> StoreError {
        let mut beats = interval(self.policy.lease / 3);
        beats.tick().await;
        loop {
            beats.tick().await;
            match self.ports.tasks.heartbeat(claim, self.policy.lease).await {
                Ok(()) => {}
                // The lease may still be good: the next beat tells.
                Err(error) if error.fault() == Fault::Transient => {
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "the lease was not renewed"
                    );
                }
                Err(error) => return error,
            }
        }
    }

    async fn drive(&self, claim: &Claim, detail: TaskDetail) -> Result<(), Interrupted> {
        let task = detail.task.clone();
        let snapshot =
            patiently(|| self.ports.snapshots.snapshot(&task.request.applications)).await?;
        let detail = if detail.runs.is_empty() {
            match self.plan(claim, &task, &snapshot).await? {
                Ok(detail) => detail,
                Err(reason) => return self.refuse(claim, &task, &snapshot, reason).await,
            }
        } else {
            detail
        };
        let outcome = self.run_all(claim, detail, &snapshot).await?;
        self.finish(claim, &task, outcome, &snapshot).await
    }
}
