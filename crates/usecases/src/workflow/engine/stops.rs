//! Telling handlers to stop.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use drover_domain::workflow::TaskId;
use drover_ports::{Progress, StopReason};
use tokio::sync::watch;

/// The stop requests for tasks under one lease. One value for all tasks: a handler that does not wait for it costs
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Stops(watch::Sender<Told>);

#[derive(Debug, Default)]
struct Told {
    hands_over: bool,
    cancelled: HashSet<TaskId>,
}

impl Stops {
    /// Asks the handlers of `tasks` to stop because their workflows are cancelled.
    pub(super) fn cancel(&self, tasks: impl Iterator<Item = TaskId>) {
        self.0.send_modify(|told| told.cancelled.extend(tasks));
    }

    /// Asks every handler to stop because the process ends.
    pub(super) fn hand_over(&self) {
        self.0.send_modify(|told| told.hands_over = true);
    }

    /// Forgets a task that has ended.
    pub(super) fn forget(&self, task: TaskId) {
        self.0.send_if_modified(|told| {
            told.cancelled.remove(&task);
            false
        });
    }
}

/// What the handler of one task sees of it.
pub(super) struct TaskProgress {
    pub(super) task: TaskId,
    pub(super) stops: Arc<Stops>,
}

#[async_trait]
impl Progress for TaskProgress {
    async fn stopped(&self) -> StopReason {
        let mut told = self.stops.0.subscribe();
        loop {
            {
                let told = told.borrow_and_update();
                if told.cancelled.contains(&self.task) {
                    return StopReason::Cancelled;
                }
                if told.hands_over {
                    return StopReason::HandOver;
                }
            }
            if told.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }
}
