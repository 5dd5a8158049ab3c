//! Whether everybody who reads events reads the same.

use std::collections::BTreeMap;

use drover_domain::workflow::WorkflowId;

use super::super::evidence::{Evidence, Told};
use super::story::Story;
use super::{Findings, Sin};

pub(super) fn check(
    evidence: &Evidence,
    stories: &BTreeMap<WorkflowId, Story<'_>>,
    findings: &mut Findings,
) {
    for (name, told) in [("tail", &evidence.tail), ("log", &evidence.log)] {
        let position = |told: &Told| told.0.position;
        for pair in told.windows(2) {
            if let [first, second] = pair
                && position(first) >= position(second)
            {
                let (first, second) = (position(first), position(second));
                let what = format!("the {name} has {second} behind {first}");
                findings.add(Sin::Gap, what);
            }
        }
    }
    if evidence.tail != evidence.log {
        let (tail, log) = (&evidence.tail, &evidence.log);
        let differing = tail.iter().zip(log).find(|(seen, there)| seen != there);
        let at = differing.map(|(seen, _)| seen.0.position.to_string());
        let what = format!(
            "who read along saw {} events, there are {}; the first difference is at {}",
            tail.len(),
            log.len(),
            at.unwrap_or_else(|| "the end".to_owned()),
        );
        findings.add(Sin::Gap, what);
    }
    for (id, stored) in &evidence.workflows {
        let events = stories.get(id).map_or(&[][..], |story| &story.events);
        let numbers = stored.history.iter().map(|(number, _)| *number);
        let is_numbered = numbers.eq((1_i64..).take(stored.history.len()));
        let history = stored.history.iter().map(|(_, event)| event);
        if !is_numbered || !history.eq(events.iter().copied()) {
            let what = format!(
                "the history of workflow {id} has {} events, the log has {} of it, or they differ",
                stored.history.len(),
                events.len(),
            );
            findings.add(Sin::Gap, what);
        }
    }
}
