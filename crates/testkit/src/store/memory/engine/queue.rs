//! The queue of tasks in memory, as workers use it.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{Input, Refusal};
use drover_domain::workflow::{LeaseId, TaskId};
use drover_ports::{
    Assignment, Beat, ClaimRequest, HeldAttempt, Report, ReportVerdict, StoreError, TaskQueue,
};

use super::{Engine, Lease};
use crate::store::memory::MemoryStore;

fn stale(lease: LeaseId) -> StoreError {
    StoreError::Stale {
        what: "lease",
        name: lease.to_string(),
        attempt: 0,
    }
}

impl Engine {
    fn live(&mut self, lease: LeaseId) -> Result<&mut Lease, StoreError> {
        let now = self.now();
        self.leases
            .get_mut(&lease)
            .filter(|known| known.until > now)
            .ok_or_else(|| stale(lease))
    }

    fn take(&mut self, lease: LeaseId, worker: &str, task: TaskId) -> Option<Assignment> {
        let now = self.now();
        let id = task.workflow();
        let no = task.no()?;
        let claimed = Input::Claimed {
            no,
            worker: worker.to_owned(),
        };
        self.step(id, claimed)
            .expect("what waits in a line is queued");
        let row = self.queue.get_mut(&task)?;
        (row.lease, row.claimed_at) = (Some(lease), now);
        let queued_at = row.queued_at;
        let stored = self.workflows.get_mut(&id)?;
        let taken = stored.row_mut(no)?;
        (taken.worker, taken.started_at) = (Some(worker.to_owned()), Some(now));
        let (state, row) = (stored.run.tasks.get(&no)?, stored.row(no)?);
        Some(Assignment {
            task,
            attempt: state.attempt,
            key: state.key.clone(),
            kind: row.kind.clone(),
            action: state.action.clone(),
            queue: state.queue.clone(),
            payload: row.payload.clone(),
            policy: state.policy.clone(),
            undoes: state.undoes,
            queued_at,
        })
    }

    fn report(&mut self, lease: LeaseId, report: &Report) -> ReportVerdict {
        let id = report.task.workflow();
        let known = self
            .workflows
            .get(&id)
            .and_then(|stored| stored.run.tasks.get(&report.task.no()?));
        let Some(no) = known.map(|task| task.no) else {
            return ReportVerdict::NoSuchTask;
        };
        let attempt = report.attempt;
        let held = self.queue.get(&report.task);
        if held.and_then(|row| row.lease) != Some(lease) {
            return ReportVerdict::Refused(Refusal::Stale { attempt });
        }
        let outcome = report.outcome.clone();
        let input = Input::Ended {
            no,
            attempt,
            outcome,
        };
        match self.step(id, input) {
            Ok(()) => ReportVerdict::Accepted,
            Err(refusal) => ReportVerdict::Refused(refusal),
        }
    }

    /// When the lease of a claimed task was last known to last, and when its attempt began.
    pub(super) fn held(&self) -> impl Iterator<Item = (TaskId, Timestamp, Timestamp)> {
        self.queue.iter().filter_map(|(task, row)| {
            let lease = self.leases.get(&row.lease?)?;
            Some((*task, lease.until, row.claimed_at))
        })
    }
}

#[async_trait]
impl TaskQueue for MemoryStore {
    async fn open_lease(
        &self,
        lease: LeaseId,
        worker: &str,
        term: Duration,
    ) -> Result<(), StoreError> {
        let engine = &mut self.state("begin a lease")?.engine;
        if engine.leases.contains_key(&lease) {
            return Err(StoreError::AlreadyExists {
                what: "lease",
                name: lease.to_string(),
            });
        }
        let begun = Lease {
            worker: worker.to_owned(),
            until: engine.now().after(term),
        };
        engine.leases.insert(lease, begun);
        Ok(())
    }

    async fn heartbeat(&self, lease: LeaseId, term: Duration) -> Result<Beat, StoreError> {
        let engine = &mut self.state("renew a lease")?.engine;
        let until = engine.now().after(term);
        engine.live(lease)?.until = until;
        let mut stop = engine.held_by(lease);
        stop.retain(|task| engine.queue.get(task).is_some_and(|row| row.shall_stop));
        Ok(Beat { stop })
    }

    async fn claim(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError> {
        let engine = &mut self.state("claim tasks")?.engine;
        let worker = engine.live(lease)?.worker.clone();
        let now = engine.now();
        let admitted = engine.admitted(request, now);
        let taken = admitted
            .into_iter()
            .filter_map(|task| engine.take(lease, &worker, task));
        Ok(taken.collect())
    }

    async fn held(
        &self,
        lease: LeaseId,
        at_least: Duration,
    ) -> Result<Vec<HeldAttempt>, StoreError> {
        let engine = &mut self.state("look what a lease holds")?.engine;
        engine.live(lease)?;
        let now = engine.now();
        let held = engine.held_by(lease).into_iter().filter_map(|task| {
            engine
                .queue
                .get(&task)
                .filter(|row| row.claimed_at.after(at_least) <= now)?;
            let run = &engine.workflows.get(&task.workflow())?.run;
            let attempt = run.tasks.get(&task.no()?)?.attempt;
            Some(HeldAttempt { task, attempt })
        });
        Ok(held.collect())
    }

    async fn report(
        &self,
        lease: LeaseId,
        reports: &[Report],
    ) -> Result<Vec<ReportVerdict>, StoreError> {
        let engine = &mut self.state("write down how tasks ended")?.engine;
        Ok(reports
            .iter()
            .map(|report| engine.report(lease, report))
            .collect())
    }

    async fn close_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let engine = &mut self.state("end a lease")?.engine;
        for task in engine.held_by(lease) {
            engine.lose(task);
        }
        engine.leases.remove(&lease);
        Ok(())
    }
}
