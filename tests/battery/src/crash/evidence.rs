//! Everything there is to see after the last fault: the ledger, the store, and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use drover_domain::page::PageRequest;
use drover_domain::workflow::{EventPosition, TaskId, TaskKey, WorkflowEvent, WorkflowId};
use drover_ports::{EventFilter, TaskRecord, WorkflowFilter, WorkflowRecord};
use drover_usecases::EnginePorts;

use super::ledger::Entry;
use super::order::Verdict;
use super::plan::Plan;

/// An event as a reader of the log sees it.
pub(crate) type Told = (WorkflowEvent, Option<TaskKey>);

/// What was acknowledged to callers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    /// Workflows that were started.
    pub(crate) workflows: BTreeSet<u64>,
    /// Schedules that were stored.
    pub(crate) schedules: BTreeSet<u64>,
    /// The decisions about tasks with an unknown result.
    pub(crate) decided: BTreeMap<TaskId, Vec<Verdict>>,
}

/// A workflow as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: WorkflowRecord,
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) history: Vec<(i64, WorkflowEvent)>,
}

/// What no port shows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leftovers {
    pub(crate) leases: u64,
    pub(crate) queue_rows: u64,
}

/// Everything there is to see.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) plan: Plan,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) ledger: Vec<Entry>,
    /// The log, as a reader followed it during the run.
    pub(crate) tail: Vec<Told>,
    /// The log, read from its beginning afterwards.
    pub(crate) log: Vec<Told>,
    pub(crate) workflows: BTreeMap<WorkflowId, Stored>,
    pub(crate) leftovers: Leftovers,
}

/// The whole log.
pub(crate) async fn read_log(ports: &EnginePorts) -> Result<Vec<Told>> {
    let (mut position, mut told) = (EventPosition::START, Vec::new());
    loop {
        let filter = EventFilter::default();
        let page = ports.events.after(position, filter, 1_000).await?;
        if page.events.is_empty() {
            return Ok(told);
        }
        position = page.next;
        told.extend(page.events);
    }
}

/// Every workflow.
pub(crate) async fn read_workflows(ports: &EnginePorts) -> Result<BTreeMap<WorkflowId, Stored>> {
    let view = &ports.view;
    let (mut after, mut workflows) = (None, BTreeMap::new());
    loop {
        let request = page(after);
        let found = view.list(&WorkflowFilter::default(), request).await?;
        for (_, record) in found.items {
            let id = record.head.id;
            let (mut tasks, mut from) = (Vec::new(), None);
            loop {
                let part = view.tasks(id, page(from)).await?;
                let part = part.context("a workflow that was listed has no tasks")?;
                tasks.extend(part.items);
                from = part.next;
                if from.is_none() {
                    break;
                }
            }
            let (mut history, mut from) = (Vec::new(), None);
            loop {
                let part = view.history(id, page(from)).await?;
                let part = part.context("a workflow that was listed has no history")?;
                history.extend(part.items);
                from = part.next;
                if from.is_none() {
                    break;
                }
            }
            let stored = Stored {
                record,
                tasks,
                history,
            };
            workflows.insert(id, stored);
        }
        after = found.next;
        if after.is_none() {
            return Ok(workflows);
        }
    }
}

const fn page(after: Option<i64>) -> PageRequest {
    PageRequest {
        after,
        limit: PageRequest::LIMIT_MAX,
    }
}
