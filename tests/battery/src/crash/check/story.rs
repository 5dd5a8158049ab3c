//! What the log and the ledger say of each workflow.

use std::collections::BTreeMap;

use drover_domain::workflow::{TaskNo, WorkflowEvent, WorkflowId};

use super::super::evidence::Evidence;
use super::super::ledger::Entry;

/// What the log and the ledger say of one workflow.
#[derive(Debug, Default)]
pub(super) struct Story<'a> {
    pub(super) events: Vec<&'a WorkflowEvent>,
    pub(super) deeds: BTreeMap<TaskNo, Vec<&'a Entry>>,
}

impl Story<'_> {
    pub(super) fn deeds_of(&self, no: TaskNo) -> &[&Entry] {
        self.deeds.get(&no).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn read(evidence: &Evidence) -> BTreeMap<WorkflowId, Story<'_>> {
    let mut stories: BTreeMap<WorkflowId, Story<'_>> = BTreeMap::new();
    for (event, _) in &evidence.log {
        stories
            .entry(event.workflow)
            .or_default()
            .events
            .push(event);
    }
    for entry in &evidence.ledger {
        let story = stories.entry(entry.task.workflow()).or_default();
        if let Some(no) = entry.task.no() {
            story.deeds.entry(no).or_default().push(entry);
        }
    }
    stories
}
