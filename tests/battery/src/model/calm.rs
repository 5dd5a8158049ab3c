//! The second part of a life: no more faults, people decide what waits for them, and everything ends.

use std::time::Duration;

use super::invariant::{Broken, Invariant};
use super::sim::World;
use super::write::short;

/// The most rounds it may take. A round sees every worker, every message and every moment that is due.
const ROUNDS_MAX: u64 = 400;

impl World {
    pub(super) fn calm(&mut self) -> Result<(), Broken> {
        self.trace.note(|| "no more faults".to_owned());
        self.open_queues();
        for _ in 0..ROUNDS_MAX {
            self.tally.steps += 1;
            let commits = self.tally.commits;
            let now = self.now;
            self.trace.note(|| format!("{now}"));
            self.order();
            self.decide_everything();
            for at in 0..self.workers.len() {
                self.act_fully(at)?;
            }
            self.deliver_all()?;
            self.wake_due(usize::MAX)?;
            self.take_over(usize::MAX)?;
            if self.is_over() {
                return Ok(());
            }
            let next = self.next_moment().filter(|_| self.tally.commits == commits);
            self.now = next.unwrap_or(self.now).max(self.now);
            self.passes(Duration::from_millis(100));
        }
        Err(Invariant::Ends.broken(self.what_is_open()))
    }

    fn is_over(&self) -> bool {
        use drover_domain::workflow::WorkflowStatus;

        let mut heads = self.store.runs.values().map(|run| run.head.status);
        self.orders.iter().all(|order| order.acknowledged.is_some())
            && heads.all(|status| status.is_terminal() && status != WorkflowStatus::NeedsHuman)
            && self.store.queue.is_empty()
    }

    fn what_is_open(&self) -> String {
        let open = self
            .store
            .runs
            .values()
            .filter(|run| !run.head.status.is_terminal());
        let open = open.map(|run| {
            let tasks = run.tasks.values().filter(|task| !task.status.is_terminal());
            let tasks: Vec<String> = tasks
                .map(|task| format!("{} {}", task.no, task.status.as_str()))
                .collect();
            let (id, status) = (short(run.head.id), run.head.status.as_str());
            format!("{id} is {status} with {}", tasks.join(", "))
        });
        let open: Vec<String> = open.collect();
        let rows = self.store.queue.len();
        format!(
            "after {ROUNDS_MAX} rounds: {}; {rows} tasks in line",
            open.join("; ")
        )
    }
}
