//! The workflows that are measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use drover_domain::id::Uuid;
use drover_domain::rollout::record::Origin;
use drover_domain::workflow::{
    Action, Definition, ExecutionMode, Guarantee, Json, Kind, QueueName, TaskKey, TaskPolicy,
    TaskSpec, Work, WorkflowId,
};
use drover_ports::NewWorkflow;

/// The queue of every task that is measured.
pub(crate) const QUEUE: &str = "default";
/// The kind of every task that is measured.
pub(crate) const KIND: &str = "noop";

/// `tasks` tasks that do nothing, in this order.
pub(crate) fn definition(mode: ExecutionMode, tasks: usize) -> Result<Arc<Definition>> {
    let tasks = (0..tasks)
        .map(|number| {
            Ok(TaskSpec {
                key: TaskKey::parse(&format!("t{number}"))?,
                work: Work {
                    kind: Kind::parse(KIND)?,
                    action: Action::Run,
                    queue: QueueName::parse(QUEUE)?,
                    priority: 0,
                    payload: Json::from_parsed("the payload", "{\"n\":1}")?,
                    policy: TaskPolicy::once(Guarantee::G1),
                },
                depends_on: Vec::new(),
                concurrency_keys: Vec::new(),
                compensation: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Definition::new(mode, tasks)?))
}

/// The workflows `first..first + count` of a definition, started at once.
pub(crate) fn workflows(definition: &Arc<Definition>, first: u64, count: u64) -> Vec<NewWorkflow> {
    // Identifiers as a clock would draw them: ascending, 60 bits of them used.
    let base = 0x0190_0000_0000_7000_8000_0000_0000_0000_u128;
    (first..first + count)
        .map(|number| NewWorkflow {
            id: WorkflowId::rooted(Uuid::from_u128(base + (u128::from(number) << 12))),
            name: "bench".to_owned(),
            definition: Arc::clone(definition),
            source: None,
            labels: BTreeMap::new(),
            input: Json::null(),
            origin: Origin {
                actor: "bench".to_owned(),
                request_id: "bench".to_owned(),
            },
            parent: None,
            start_after: Some(std::time::Duration::ZERO),
            deadline: None,
            idempotency: None,
        })
        .collect()
}
