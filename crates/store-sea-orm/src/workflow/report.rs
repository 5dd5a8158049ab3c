//! Leases, and writing down how attempts ended.

use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::run::{Changes, Input, Refusal};
use drover_domain::workflow::{LeaseId, TaskId, WorkflowId};
use drover_ports::{
    Assignment, Beat, ClaimRequest, HeldAttempt, Report, ReportVerdict, StoreError, TaskQueue,
};

use super::claim::own_lease;
use super::load::{Found, Locked, lock};
use super::read::{StoredUuid, by_place, task_no};
use super::shape::micros;
use super::write::Writes;
use crate::row::Stored;
use crate::sql::Sql;
use crate::sql::session::Session;
use crate::store::{SeaOrmStore, is_duplicate};

by_place! {
    StoppedRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
    }
}

by_place! {
    HeldRow("task") {
        workflow_id: StoredUuid,
        task_no: i64,
        attempt: i64,
    }
}

/// The error of a lease that ran out or never was.
pub(super) fn lease_over(lease: LeaseId) -> StoreError {
    StoreError::Stale {
        what: "lease",
        name: lease.to_string(),
        attempt: 0,
    }
}

#[async_trait]
impl TaskQueue for SeaOrmStore {
    #[tracing::instrument(name = "db.engine.open_lease", level = "debug", skip_all)]
    async fn open_lease(
        &self,
        lease: LeaseId,
        worker: &str,
        term: Duration,
    ) -> Result<(), StoreError> {
        let session = self.write_once("open a lease").await?;
        let (id, now) = (session.dialect.uuid(1), session.dialect.now());
        let text = format!(
            "INSERT INTO workflow_leases (id, worker, opened_at, expires_at) VALUES ({id}, $2, {now}, {now} + $3)"
        );
        let sql = Sql::new(text).id(lease).text(worker).bind(micros(term));
        session.execute(sql).await.map(|_| ()).map_err(|error| {
            if is_duplicate(&error) {
                return StoreError::AlreadyExists {
                    what: "lease",
                    name: lease.to_string(),
                };
            }
            error
        })
    }

    #[tracing::instrument(name = "db.engine.heartbeat", level = "debug", skip_all)]
    async fn heartbeat(&self, lease: LeaseId, term: Duration) -> Result<Beat, StoreError> {
        let session = self.write_once("renew a lease").await?;
        let (id, now) = (session.dialect.uuid(1), session.dialect.now());
        let text = format!(
            "UPDATE workflow_leases SET expires_at = {now} + $2 WHERE id = {id} AND expires_at > {now}"
        );
        let renew = Sql::new(text).id(lease).bind(micros(term));
        if session.execute(renew).await? == 0 {
            return Err(lease_over(lease));
        }
        let text = format!(
            "SELECT workflow_id, task_no FROM workflow_queue WHERE lease_id = {id} AND is_stopped"
        );
        let mut beat = Beat::default();
        for row in session.rows::<StoppedRow>(Sql::new(text).id(lease)).await? {
            let workflow: WorkflowId = row.workflow_id.id();
            let stored = Stored::new("task", workflow);
            beat.stop
                .push(workflow.task(task_no(&stored, row.task_no)?));
        }
        Ok(beat)
    }

    #[tracing::instrument(name = "db.engine.claim", level = "debug", skip_all)]
    async fn claim(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError> {
        let claimed = self.claim_tasks(lease, request).await?;
        if !claimed.is_empty() {
            self.hints().told_events();
        }
        Ok(claimed)
    }

    #[tracing::instrument(name = "db.engine.held", level = "debug", skip_all)]
    async fn held(&self, lease: LeaseId, least: Duration) -> Result<Vec<HeldAttempt>, StoreError> {
        let session = self.write("look what a lease holds").await?;
        // A claim keeps the lease until it ends. The second statement sees what the first one waited for.
        if let Err(error) = own_lease(&session, lease).await {
            session.undo().await?;
            return Err(error);
        }
        let text = format!(
            "SELECT workflow_id, task_no, attempt FROM workflow_queue WHERE lease_id = {} AND claimed_at <= {} - $2",
            session.dialect.uuid(1),
            session.dialect.now(),
        );
        let sql = Sql::new(text).id(lease).bind(micros(least));
        let mut held = Vec::new();
        for row in session.rows::<HeldRow>(sql).await? {
            let workflow: WorkflowId = row.workflow_id.id();
            let stored = Stored::new("task", workflow);
            held.push(HeldAttempt {
                task: workflow.task(task_no(&stored, row.task_no)?),
                attempt: stored.number("attempt", row.attempt)?,
            });
        }
        session.commit().await?;
        Ok(held)
    }

    #[tracing::instrument(name = "db.engine.report", level = "debug", skip_all)]
    async fn report(
        &self,
        lease: LeaseId,
        reports: &[Report],
    ) -> Result<Vec<ReportVerdict>, StoreError> {
        if reports.is_empty() {
            return Ok(Vec::new());
        }
        let session = self.write("write down how tasks ended").await?;
        let workflows = reports.iter().map(|report| report.task.workflow());
        let mut locked = lock(&session, workflows).await?;
        let inputs: Vec<(WorkflowId, Option<Input>)> = reports
            .iter()
            .map(|report| (report.task.workflow(), input(report)))
            .collect();
        let wanted: Vec<(WorkflowId, &Input)> = inputs
            .iter()
            .filter_map(|(workflow, input)| Some((*workflow, input.as_ref()?)))
            .collect();
        locked.load_held(&session, &wanted, Some(lease)).await?;
        let mut all = AllChanges::default();
        let mut verdicts = Vec::with_capacity(reports.len());
        for ((workflow, input), report) in inputs.into_iter().zip(reports) {
            verdicts.push(take(&mut locked, &mut all, workflow, input, report, lease)?);
        }
        self.write_all(session, &locked, &all).await?;
        Ok(verdicts)
    }

    #[tracing::instrument(name = "db.engine.close_lease", level = "debug", skip_all)]
    async fn close_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let session = self.write_once("end a lease").await?;
        // The lease ends now, and upkeep takes over what it held: two ways to do that would be one too many.
        let (id, now) = (session.dialect.uuid(1), session.dialect.now());
        let text = format!(
            "UPDATE workflow_leases SET expires_at = {now} WHERE id = {id} AND expires_at > {now}"
        );
        session.execute(Sql::new(text).id(lease)).await?;
        drop(session);
        self.take_over_lease(lease).await?;
        self.tell_others().await;
        Ok(())
    }
}

fn input(report: &Report) -> Option<Input> {
    Some(Input::Ended {
        no: report.task.no()?,
        attempt: report.attempt,
        outcome: report.outcome.clone(),
    })
}

fn take(
    locked: &mut Locked,
    all: &mut AllChanges,
    workflow: WorkflowId,
    input: Option<Input>,
    report: &Report,
    lease: LeaseId,
) -> Result<ReportVerdict, StoreError> {
    let now = locked.now;
    let Some((found, input)) = locked.found.get_mut(&workflow).zip(input) else {
        return Ok(ReportVerdict::NoSuchTask);
    };
    let Some(no) = report
        .task
        .no()
        .filter(|no| found.run.tasks.contains_key(no))
    else {
        return Ok(ReportVerdict::NoSuchTask);
    };
    let attempt = report.attempt;
    if found.held.get(&no).is_none_or(|held| held.lease != lease) {
        return Ok(ReportVerdict::Refused(Refusal::Stale { attempt }));
    }
    match found.run.apply(input, now) {
        Ok(changes) => {
            all.add(workflow, changes);
            Ok(ReportVerdict::Accepted)
        }
        // Found before anything was changed.
        Err(refusal @ Refusal::Stale { .. }) => Ok(ReportVerdict::Refused(refusal)),
        Err(refusal) => Err(defect(report.task, &refusal)),
    }
}

/// A refusal that the state of the world cannot explain.
pub(super) fn defect(task: TaskId, refusal: &Refusal) -> StoreError {
    StoreError::Corrupt {
        what: "task",
        name: task.to_string(),
        reason: refusal.to_string(),
    }
}

/// The changes of several runs.
#[derive(Debug, Default)]
pub(super) struct AllChanges(std::collections::BTreeMap<WorkflowId, Changes>);

impl AllChanges {
    /// Adds the changes of a later step.
    pub(super) fn add(&mut self, workflow: WorkflowId, changes: Changes) {
        self.0.entry(workflow).or_default().absorb(changes);
    }
}

impl SeaOrmStore {
    /// Writes the changes of steps and commits.
    pub(super) async fn write_all(
        &self,
        session: Session,
        locked: &Locked,
        all: &AllChanges,
    ) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        for (workflow, changes) in &all.0 {
            if let Some(found) = locked.found.get(workflow) {
                let found: &Found = found;
                writes.add(found, changes, locked.now);
            }
        }
        let told = writes.flush(&session).await?;
        session.commit().await?;
        self.hints().tell(told);
        Ok(())
    }
}
