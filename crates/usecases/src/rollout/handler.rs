//! The task handler of rollouts: what the engine hands out, and the outcome it gets. [`super::run`] and
//! [`super::end`] are the middle and the end of it.

use std::fmt;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::workflow::Guarantee;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_ports::{Assigned, Claim, StopReason, TaskHandler};
use tokio::time::sleep;

use crate::fleet::polling::Polling;
use crate::policy::Policy;
use crate::ports::Ports;

use super::called_off::CalledOff;
use super::end::{Ended, outcome};
use super::run::Unplanned;
use crate::patience::{Interrupted, patiently};

/// Carries out rollouts.
///
/// A play outlives its worker: the next worker follows the play that an earlier attempt
/// started. So the end of a process or of an attempt's time is no reason to stop; the task is released,
/// and the play goes on.
#[derive(Clone)]
pub(crate) struct RolloutHandler {
    pub(super) ports: Ports,
    pub(super) policy: Arc<Policy>,
    pub(super) polling: Polling,
}

impl fmt::Debug for RolloutHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RolloutHandler")
    }
}

impl RolloutHandler {
    pub(crate) const fn new(ports: Ports, policy: Arc<Policy>, polling: Polling) -> Self {
        Self {
            ports,
            policy,
            polling,
        }
    }

    async fn drive(&self, claim: &Claim, called_off: &CalledOff) -> Result<Outcome, Interrupted> {
        let begun = patiently(|| self.ports.rollouts.begin(claim, self.ports.clock.now())).await?;
        let Some(work) = begun else {
            let reason =
                "no update has this identifier; updates are asked for, not made as workflows";
            return Ok(Outcome::Failed {
                error: TaskError::new("no_such_update", reason),
                retryable: false,
            });
        };
        let (rollout, detail) = (work.detail.rollout.clone(), work.detail);
        if let Some(status) = work.end {
            return Ok(outcome(status, rollout.result.as_deref(), rollout.error));
        }
        if work.is_called_off {
            called_off.tell();
        }
        let snapshot =
            patiently(|| self.ports.snapshots.snapshot(&rollout.request.applications)).await?;
        let planned = if detail.runs.is_empty() {
            self.plan(claim, &rollout, &snapshot, called_off).await?
        } else {
            Ok(detail)
        };
        let ended = match planned {
            Ok(detail) => self.run_all(claim, detail, &snapshot, called_off).await?,
            Err(Unplanned::Refused(reason)) => Ended::refused(reason),
            Err(Unplanned::CalledOff) => Ended::never_begun(),
        };
        self.finish(claim, &rollout, ended, &snapshot).await
    }
}

#[async_trait]
impl TaskHandler for RolloutHandler {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G4
    }

    #[tracing::instrument(name = "rollouts.work", skip_all, fields(rollout.id = %assigned.task.task, rollout.attempt = assigned.task.attempt))]
    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let claim = Claim {
            task: assigned.task.task,
            attempt: assigned.task.attempt,
        };
        let task = claim.task;
        if claim.attempt > 1 {
            tracing::info!(rollout.id = %task, "rollout {task} is taken up again, attempt {}", claim.attempt);
        }
        let called_off = CalledOff::default();
        let handed_over = async {
            if assigned.progress.stopped().await == StopReason::Cancelled {
                called_off.tell();
                pending::<()>().await;
            }
        };
        tokio::select! {
            driven = self.drive(&claim, &called_off) => driven.unwrap_or_else(|error| let_go(claim, &error)),
            () = handed_over => {
                tracing::info!("rollout {task} is handed over; its play goes on");
                Outcome::Released
            }
            // Long before the engine would end the attempt, while its play runs.
            () = sleep(assigned.task.policy.timeout / 2) => {
                tracing::info!("rollout {task} takes long; a fresh attempt goes on with its play");
                Outcome::Released
            }
        }
    }
}

fn let_go(claim: Claim, interrupted: &Interrupted) -> Outcome {
    let task = claim.task;
    tracing::warn!(
        error = interrupted as &(dyn std::error::Error + 'static),
        "rollout {task} is let go"
    );
    interrupted.outcome(|error| {
        let reason = format!("its record cannot be used, and its play may be running: {error}");
        Outcome::Unknown {
            error: TaskError::new("update_unreadable", &reason),
        }
    })
}
