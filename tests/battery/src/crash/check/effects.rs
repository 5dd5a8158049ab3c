//! Whether tasks had no more effects than their classes allow.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::workflow::{EventKind, Guarantee, TaskNo};

use super::super::evidence::Evidence;
use super::super::ledger::{Deed, Entry};
use super::{Findings, Sin, Subject};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Findings) {
    for (no, deeds) in &subject.story.deeds {
        let events = || {
            let events = subject.story.events.iter();
            events.filter(|event| event.event.task == Some(*no))
        };
        let of = |kind: EventKind| events().filter(move |event| event.event.kind == kind);
        let claimed: BTreeSet<u32> = of(EventKind::TaskStarted)
            .map(|event| event.event.attempt)
            .collect();
        let lost = of(EventKind::TaskLost).count();
        check_task(subject, *no, deeds, &claimed, lost, findings);
    }
}

fn check_task(
    subject: &Subject<'_>,
    no: TaskNo,
    deeds: &[&Entry],
    claimed: &BTreeSet<u32>,
    lost: usize,
    findings: &mut Findings,
) {
    let Some(class) = subject.work(no).map(|work| work.policy.guarantee) else {
        let what = format!("workflow {} has no task {no}, and it acted", subject.id);
        return findings.add(Sin::Excess, what);
    };
    let task = subject.id.task(no);
    let mut excess = |more: usize, what: String| {
        Findings::count(&mut findings.excess, class, more);
        if more > 0 {
            let class = class.as_str();
            findings.add(Sin::Excess, format!("task {task} ({class}): {what}"));
        }
    };
    let count = |deed: Deed| deeds.iter().filter(|entry| entry.deed == deed).count();
    // No attempt is executed without a claim, and none twice.
    let mut begun: BTreeMap<u32, usize> = BTreeMap::new();
    for entry in deeds.iter().filter(|entry| entry.deed == Deed::Begin) {
        *begun.entry(entry.attempt).or_default() += 1;
    }
    for (attempt, times) in &begun {
        excess(
            times - 1,
            format!("attempt {attempt} was executed {times} times"),
        );
        let is_claimed = claimed.contains(attempt);
        let unclaimed = usize::from(!is_claimed);
        excess(unclaimed, format!("attempt {attempt} was never handed out"));
    }
    let keys: BTreeSet<&str> = deeds.iter().map(|entry| entry.key.as_str()).collect();
    let more = keys.len().saturating_sub(1);
    excess(more, format!("it used the keys {keys:?}"));
    let (effects, repeats) = (count(Deed::Effect), count(Deed::Repeat));
    let sends = effects + repeats;
    let allowed = match class {
        // The ledger counts effects of a key once; it is sent once per attempt.
        Guarantee::G0 | Guarantee::G1 | Guarantee::G3 => begun.len(),
        Guarantee::G2 => 1 + lost,
        Guarantee::G4 => 1,
    };
    let more = sends.saturating_sub(allowed);
    excess(
        more,
        format!("it acted {sends} times, {allowed} were allowed"),
    );
    if class == Guarantee::G4 {
        let starts = count(Deed::Begin);
        excess(
            starts.saturating_sub(1),
            format!("it was started {starts} times"),
        );
    }
    Findings::count(&mut findings.repeats, class, sends.saturating_sub(1));
}

/// What acted and is not in the store.
pub(super) fn check_strangers(evidence: &Evidence, findings: &mut Findings) {
    for entry in &evidence.ledger {
        if !evidence.workflows.contains_key(&entry.task.workflow()) {
            let what = format!("task {} acted and is not stored", entry.task);
            findings.add(Sin::Excess, what);
        }
    }
}

/// Whether no two attempts had a concurrency key at once. One that began and had neither effect nor refusal
/// ended with its worker, at an unknown time.
pub(super) fn check_locks(ledger: &[Entry], findings: &mut Findings) {
    let mut held: BTreeMap<&str, Vec<(usize, &Entry)>> = BTreeMap::new();
    for (at, entry) in ledger.iter().enumerate() {
        if let Some(lock) = entry.lock.as_deref() {
            held.entry(lock).or_default().push((at, entry));
        }
    }
    for (lock, entries) in held {
        let mut holder: Option<&Entry> = None;
        for (at, entry) in &entries {
            if entry.deed != Deed::Begin {
                holder = None;
                continue;
            }
            let is_same =
                |other: &Entry| (other.task, other.attempt) == (entry.task, entry.attempt);
            if let Some(other) = holder.filter(|other| !is_same(other)) {
                let mut later = entries.iter().filter(|(later, _)| later > at);
                let goes_on = later.any(|(_, later)| {
                    later.deed != Deed::Begin
                        && (later.task, later.attempt) == (other.task, other.attempt)
                });
                if goes_on {
                    let (one, two) = (other.task, entry.task);
                    let what = format!("tasks {one} and {two} had the key {lock} at once");
                    findings.add(Sin::Overlap, what);
                }
            }
            holder = Some(entry);
        }
    }
}
