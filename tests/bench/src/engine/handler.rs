//! A handler that does nothing, and notes when it was asked to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{Guarantee, Json, WorkflowId};
use drover_ports::{Assigned, TaskHandler};

/// When workflows were begun to be started, while their first tasks have not started.
pub(crate) type Starts = Arc<Mutex<HashMap<WorkflowId, Instant>>>;

/// Does nothing.
pub(crate) struct Noop;

#[async_trait]
impl TaskHandler for Noop {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G1
    }

    async fn run(&self, _: Assigned<'_>) -> Outcome {
        Outcome::Succeeded {
            result: Json::null(),
        }
    }
}

/// Does nothing, and notes how long the task was under way to it, in milliseconds.
pub(crate) struct Timed {
    pub(crate) starts: Starts,
    pub(crate) waits: Arc<Mutex<Vec<f64>>>,
}

#[async_trait]
impl TaskHandler for Timed {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G1
    }

    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let begun = {
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            starts.remove(&assigned.task.task.workflow())
        };
        if let Some(begun) = begun {
            let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
            waits.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        Outcome::Succeeded {
            result: Json::null(),
        }
    }
}
