//! One attempt at a task.

use std::sync::Arc;

use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, Takeover};
use drover_ports::{Assigned, Assignment, Progress, TaskHandler};
use tokio::time::{Duration, sleep, timeout};

use super::stops::{Stops, TaskProgress};

/// Lets a handler execute a task, within the time of one attempt.
pub(super) async fn execute(
    handler: Arc<dyn TaskHandler>,
    task: Assignment,
    stops: Arc<Stops>,
) -> Outcome {
    let progress = TaskProgress {
        task: task.task,
        stops,
    };
    let assigned = Assigned {
        task: &task,
        progress: &progress,
    };
    match timeout(task.policy.timeout, handler.run(assigned)).await {
        Ok(outcome) => bounded(outcome),
        Err(_elapsed) => Outcome::TimedOut,
    }
}

/// Keeps a task that nothing here executes for a while, and gives it back.
pub(super) async fn leave_alone(task: Assignment, wait: Duration, stops: Arc<Stops>) -> Outcome {
    let progress = TaskProgress {
        task: task.task,
        stops,
    };
    // Not longer than an attempt may take: it would count as one.
    tokio::select! {
        () = sleep(wait.min(task.policy.timeout)) => {}
        _reason = progress.stopped() => {}
    }
    Outcome::Released
}

/// The outcome of an attempt whose handler panicked. A task that cannot be repeated is not, whatever its policy says:
/// its progress is unknown.
pub(super) fn panicked(kind: &str, takeover: Takeover) -> Outcome {
    let message = format!("the handler of `{kind}` panicked; the log of its worker says where");
    Outcome::Failed {
        error: TaskError::new("panicked", &message),
        retryable: takeover == Takeover::Requeue,
    }
}

/// How an attempt ended whose handler did not stop when its workflow was called off. An effect that goes on
/// without its worker is for the next one to stop, who is asked to as well.
pub(super) fn dropped(guarantee: Guarantee, takeover: Takeover) -> Outcome {
    match (guarantee, takeover) {
        (Guarantee::G4, Takeover::Requeue) => Outcome::Released,
        (_, Takeover::Requeue) => Outcome::Cancelled,
        (_, Takeover::Unknown) => Outcome::Unknown {
            error: TaskError::new(
                "cancelled",
                "its handler did not stop when it was asked to and was dropped; nobody knows what it did",
            ),
        },
    }
}

// Handlers may have made their errors without `TaskError::new`.
fn bounded(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { error, retryable } => Outcome::Failed {
            error: TaskError::new(&error.code, &error.message),
            retryable,
        },
        Outcome::Unknown { error } => Outcome::Unknown {
            error: TaskError::new(&error.code, &error.message),
        },
        Outcome::Succeeded { .. }
        | Outcome::TimedOut
        | Outcome::Waiting
        | Outcome::Cancelled
        | Outcome::Released => outcome,
    }
}
