//! The lines in which tasks wait for a worker or are with one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use drover_domain::Timestamp;
use drover_domain::workflow::queue::{Candidate, QueueState, admit};
use drover_domain::workflow::run::{Head, Task};
use drover_domain::workflow::{Executor, LeaseId, QueueName, TaskId, WorkflowStatus};
use drover_ports::ClaimRequest;

use super::Engine;

/// A task that waits for a worker or is with one.
#[derive(Debug)]
pub(super) struct QueueRow {
    pub(super) executor: Executor,
    pub(super) queue: QueueName,
    pub(super) priority: i16,
    pub(super) position: i64,
    pub(super) queued_at: Timestamp,
    pub(super) lease: Option<LeaseId>,
    pub(super) claimed_at: Timestamp,
    pub(super) shall_stop: bool,
    holds_keys: bool,
    pub(super) is_parked: bool,
    keys: Vec<String>,
}

impl QueueRow {
    /// `None` for a task that no worker is needed for.
    pub(super) fn new(
        head: &Head,
        task: &Task,
        (position, now): (i64, Timestamp),
        holds_keys: bool,
    ) -> Option<Self> {
        Some(Self {
            executor: task.action.executor()?,
            queue: task.queue.clone(),
            priority: task.priority,
            position,
            queued_at: now,
            lease: None,
            claimed_at: now,
            shall_stop: false,
            holds_keys,
            is_parked: head.status == WorkflowStatus::Paused,
            keys: task.concurrency_keys.clone(),
        })
    }
}

impl Engine {
    /// Which tasks may be taken now; the tokens for them are used up.
    pub(super) fn admitted(&mut self, request: &ClaimRequest, now: Timestamp) -> Vec<TaskId> {
        let mut waiting: Vec<(&TaskId, &QueueRow)> = self
            .queue
            .iter()
            .filter(|(_, row)| {
                row.lease.is_none()
                    && !row.is_parked
                    && row.executor == request.executor
                    && request.queues.contains(&row.queue)
            })
            .collect();
        waiting.sort_by_key(|(_, row)| (Reverse(row.priority), row.position));
        let candidates: Vec<Candidate> = waiting
            .into_iter()
            .map(|(task, row)| Candidate {
                task: *task,
                queue: row.queue.clone(),
                keys: row.keys.clone(),
            })
            .collect();
        let taken: Vec<(TaskId, Vec<String>)> = self
            .queue
            .iter()
            .filter(|(_, row)| row.lease.is_some() || row.holds_keys)
            .map(|(task, row)| (*task, row.keys.clone()))
            .collect();
        let mut queues: BTreeMap<QueueName, QueueState> = self
            .limits
            .iter()
            .map(|(name, (limits, tokens))| {
                let state = QueueState {
                    limits: *limits,
                    running: self.running(name),
                    tokens: *tokens,
                };
                (name.clone(), state)
            })
            .collect();
        let limit = request.limit.min(ClaimRequest::LIMIT_MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let admitted = admit(&candidates, &mut queues, &taken, limit, now);
        for (name, state) in queues {
            self.limits.insert(name, (state.limits, state.tokens));
        }
        admitted
    }

    fn running(&self, queue: &QueueName) -> u32 {
        let running = self
            .queue
            .values()
            .filter(|row| row.lease.is_some() && row.queue == *queue);
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// The tasks that `lease` holds, in the order in which they were queued.
    pub(super) fn held_by(&self, lease: LeaseId) -> Vec<TaskId> {
        let mut held: Vec<(i64, TaskId)> = self
            .queue
            .iter()
            .filter(|(_, row)| row.lease == Some(lease))
            .map(|(task, row)| (row.position, *task))
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, task)| task).collect()
    }
}
