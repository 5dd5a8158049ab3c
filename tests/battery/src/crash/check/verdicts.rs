//! Whether everything that was acknowledged came to an end, and to one that is true.

use std::collections::BTreeMap;

use drover_domain::workflow::{
    Action, EventKind, Guarantee, TaskId, TaskNo, TaskStatus, WorkflowEvent, WorkflowStatus,
};

use super::super::evidence::Evidence;
use super::super::ledger::Deed;
use super::super::order::{Verdict, schedule_name};
use super::super::plan::{CHILD, Plan, SCHEDULED, SLOW_CHILD};
use super::{Findings, Sin, Subject};

/// Whether everything that was acknowledged is there, once, and nothing else.
pub(super) fn check_acknowledged(evidence: &Evidence, findings: &mut Findings) {
    let acknowledged = &evidence.acknowledged;
    for number in &acknowledged.workflows {
        let id = Plan::id(*number);
        if !evidence.workflows.contains_key(&id) {
            let tasks = evidence
                .plan
                .definition(*number)
                .map(|found| found.tasks().len());
            findings.lost_tasks += tasks.unwrap_or(1);
            let what = format!("workflow {id} ({number}) was acknowledged and is not there");
            findings.add(Sin::Lost, what);
        }
    }
    let mut fired: BTreeMap<&str, usize> = BTreeMap::new();
    let mut children: BTreeMap<_, usize> = BTreeMap::new();
    for (id, stored) in &evidence.workflows {
        let record = &stored.record;
        match record.name.as_str() {
            SCHEDULED => {
                let asked = record.origin.request_id.split('@').next();
                *fired.entry(asked.unwrap_or_default()).or_default() += 1;
            }
            CHILD | SLOW_CHILD => *children.entry(record.head.parent).or_default() += 1,
            _ if !acknowledged.workflows.contains(&Plan::number(*id)) => {
                let what = format!("workflow {id} was never acknowledged");
                findings.add(Sin::Unexpected, what);
            }
            _ => {}
        }
    }
    for (parent, count) in children {
        if count > 1 || parent.is_none() {
            let what = format!("the task {parent:?} has {count} children");
            findings.add(Sin::Unexpected, what);
        }
    }
    for number in &acknowledged.schedules {
        let name = schedule_name(*number).map(|name| name.to_string());
        let name = name.unwrap_or_default();
        match fired.get(name.as_str()) {
            Some(1) => {}
            Some(times) => {
                let what = format!("the schedule {name} started {times} workflows");
                findings.add(Sin::Unexpected, what);
            }
            None => findings.add(Sin::Lost, format!("the schedule {name} started nothing")),
        }
    }
}

/// Whether a workflow and its tasks came to an end that is true.
pub(super) fn check(evidence: &Evidence, subject: &Subject<'_>, findings: &mut Findings) {
    let (id, record) = (subject.id, &subject.stored.record);
    let status = record.head.status;
    if status.is_terminal() {
        check_end(evidence, subject, findings);
    } else {
        let what = format!(
            "workflow {id} ({}) is {} still",
            record.name,
            status.as_str()
        );
        findings.add(Sin::Lost, what);
    }
    for task in &subject.stored.tasks {
        // What would undo something that never happened is never needed.
        let is_over = task.task.status.is_terminal()
            || (task.task.undoes.is_some() && task.task.status == TaskStatus::Pending);
        if !is_over {
            findings.lost_tasks += 1;
            let (no, status) = (task.task.no, task.task.status.as_str());
            let what = format!(
                "task {no} of workflow {id} ({}) is {status} still",
                record.name
            );
            findings.add(Sin::Lost, what);
        }
    }
    for event in &subject.story.events {
        if let Some(no) = event.event.task {
            check_event(evidence, subject, no, event, findings);
        }
    }
}

fn check_end(evidence: &Evidence, subject: &Subject<'_>, findings: &mut Findings) {
    use WorkflowStatus::{Cancelled, Failed, Succeeded};

    let (record, plan) = (&subject.stored.record, evidence.plan);
    let may_be = match record.name.as_str() {
        CHILD | SCHEDULED => &[Succeeded][..],
        SLOW_CHILD => &[Cancelled, Succeeded],
        _ => plan.shape(Plan::number(subject.id)).ends(),
    };
    let decided = &evidence.acknowledged.decided;
    let has_failed = subject.stored.tasks.iter().any(|task| {
        let verdicts = decided.get(&subject.id.task(task.task.no));
        verdicts.is_some_and(|verdicts| verdicts.contains(&Verdict::Failed))
    });
    // The parent of a child that a person resolved as failed fails, too.
    let is_parent_of_failed = evidence.workflows.values().any(|child| {
        child.record.head.status == Failed
            && child.record.head.parent.map(TaskId::workflow) == Some(subject.id)
    });
    let status = record.head.status;
    let may_fail = (has_failed || is_parent_of_failed) && status == Failed;
    if !may_be.contains(&status) && !may_fail {
        let (name, error) = (
            &record.name,
            record.head.error.as_deref().unwrap_or("no error"),
        );
        let what = format!(
            "workflow {} ({name}) is {}: {error}",
            subject.id,
            status.as_str()
        );
        findings.add(Sin::FalseVerdict, what);
    }
}

fn check_event(
    evidence: &Evidence,
    subject: &Subject<'_>,
    no: TaskNo,
    event: &WorkflowEvent,
    findings: &mut Findings,
) {
    let Some(work) = subject.work(no) else {
        return;
    };
    let task = subject.id.task(no);
    let attempt = event.event.attempt;
    let deeds = subject.story.deeds_of(no);
    let is_handled = work.action == Action::Run;
    let has = |deed: Deed| deeds.iter().any(|entry| entry.deed == deed);
    let decided = evidence.acknowledged.decided.get(&task);
    let is_decided = |verdict: Verdict| decided.is_some_and(|verdicts| verdicts.contains(&verdict));
    let refused = || {
        let mut deeds = deeds.iter();
        deeds.any(|entry| entry.deed == Deed::Refusal && entry.attempt == attempt)
    };
    let is_true = match event.event.kind {
        EventKind::TaskCompleted => !is_handled || has(Deed::Effect),
        EventKind::TaskRetrying => !is_handled || refused(),
        EventKind::TaskFailed => !is_handled || refused() || is_decided(Verdict::Failed),
        // Nothing is planned that takes too long.
        EventKind::TaskTimedOut => false,
        EventKind::TaskLost => {
            findings.takeovers += 1;
            true
        }
        EventKind::TaskUnknown => {
            findings.takeovers += 1;
            findings.unknown += 1;
            if work.policy.guarantee != Guarantee::G4 {
                findings.add(Sin::Obscured, format!("task {task} became unknown"));
            }
            true
        }
        _ => true,
    };
    if !is_true {
        let kind = event.event.kind.as_str();
        let detail = event.event.detail.as_deref().unwrap_or("no detail");
        let what = format!(
            "task {task} ({}): {kind} in attempt {attempt}, and the ledger says otherwise: {detail}",
            work.kind
        );
        findings.add(Sin::FalseVerdict, what);
    }
}
