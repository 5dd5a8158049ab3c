//! What really happened outside: the only witness that is asked about effects.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::workflow::TaskId;

use super::invariant::{Broken, Invariant};
use super::mirror::Seen;

/// Every effect that was begun.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    attempts: BTreeSet<(TaskId, u32)>,
    begun: BTreeMap<TaskId, u32>,
}

impl Ledger {
    /// A worker begins an attempt. `seen` is what the events say about the task so far. Whether an
    /// effect begins: what can be found alive and adopted does not begin again.
    pub(super) fn begin(
        &mut self,
        task: TaskId,
        attempt: u32,
        seen: &Seen,
    ) -> Result<bool, Broken> {
        if !self.attempts.insert((task, attempt)) {
            let message = format!("attempt {attempt} of {task} was executed twice");
            return Err(Invariant::OneAttempt.broken(message));
        }
        let begun = self.begun.entry(task).or_default();
        let allowed = 1 + seen.surely_failed + seen.reopened;
        if seen.is_adopted() && *begun >= allowed {
            return Ok(false);
        }
        *begun += 1;
        // What is not repeatable begins once, and again only after it surely failed or because a
        // person wants it.
        if seen.is_unrepeatable() && *begun > allowed {
            let message = format!("{task} cannot be repeated and was begun {begun} times");
            return Err(Invariant::Effects.broken(message));
        }
        Ok(true)
    }

    /// Whether an attempt was executed.
    pub(super) fn has(&self, task: TaskId, attempt: u32) -> bool {
        self.attempts.contains(&(task, attempt))
    }
}
