//! Plans of rollouts.

use std::collections::BTreeMap;

use drover_domain::fleet::ApplicationKey;
use drover_domain::rollout::executor::BatchMember;
use drover_domain::rollout::plan::{self, PlannedRun, PlannedStep};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_usecases::Plan;
use serde::Serialize;
use utoipa::ToSchema;

/// What a request would start. Nothing is created or touched.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutPlan {
    /// The plan's digest. A start that names it is refused with 409 `plan_stale` once something that the plan was made from
    /// has changed.
    plan: String,
    /// Number of applications.
    targets: usize,
    /// What a person should know before the start, one sentence each.
    warnings: Vec<String>,
    /// The rollouts, in the order in which they are worked on.
    rollouts: Vec<PlannedRollout>,
}

/// One planned rollout.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedRollout {
    /// The update playbook with its parameters.
    playbook_path: String,
    /// Its runs, in their order.
    runs: Vec<PlannedRunShape>,
}

/// One planned run of the orchestrator playbook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedRun)]
pub(crate) struct PlannedRunShape {
    /// The file of the orchestrator playbook.
    orchestrator_playbook: String,
    /// The HAProxy backend; null for applications without one.
    backend: Option<PlannedBackend>,
    /// The variables that the playbook gets, as text; secrets are masked.
    parameters: BTreeMap<String, String>,
    /// Its batches, in their order.
    batches: Vec<PlannedBatch>,
}

/// The HAProxy backend of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedBackend {
    /// The HAProxy instance's name at its agent.
    haproxy: String,
    /// The backend's name.
    name: String,
}

/// Applications that are updated together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedBatch {
    /// The batch: `even`, `odd` or `all`.
    batch: String,
    targets: Vec<PlannedTarget>,
    /// What each affected backend keeps while the batch is drained; empty where nothing is drained.
    capacity: Vec<BatchCapacity>,
}

/// An application of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedTarget {
    #[schema(minimum = 1)]
    application_id: i64,
    /// Its instance name.
    name: String,
    /// The server's full name.
    server: Option<String>,
    /// Its name in HAProxy.
    haproxy_server: Option<String>,
    /// The version that runs now, if the agent shows one.
    version: Option<String>,
}

/// What a backend keeps while a batch is drained.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchCapacity {
    /// The backend's name.
    backend: String,
    /// Servers that take requests now.
    serving: usize,
    /// Servers that take requests while the batch is drained.
    left: usize,
    /// Whether fewer are left than the guard `min_ready` allows: the drain will be refused.
    below_min_ready: bool,
}

impl From<Plan> for RolloutPlan {
    fn from(plan: Plan) -> Self {
        let snapshot = &plan.snapshot;
        let rollouts = plan.rollouts.into_iter().map(|rollout| PlannedRollout {
            playbook_path: rollout.playbook_path,
            runs: rollout
                .runs
                .into_iter()
                .map(|run| run_shape(run, snapshot))
                .collect(),
        });
        Self {
            plan: plan.digest.to_string(),
            targets: snapshot.targets.len(),
            warnings: plan.warnings,
            rollouts: rollouts.collect(),
        }
    }
}

fn run_shape(run: PlannedRun, snapshot: &FleetSnapshot) -> PlannedRunShape {
    let PlannedRun { prepared, steps } = run;
    let parameters = prepared.extra_params.into_iter();
    PlannedRunShape {
        orchestrator_playbook: prepared.playbook,
        backend: prepared.backend.map(|backend| PlannedBackend {
            haproxy: backend.instance_name,
            name: backend.backend_name,
        }),
        parameters: parameters
            .map(|(name, value)| (name, value.to_string()))
            .collect(),
        batches: steps
            .into_iter()
            .map(|step| batch(step, snapshot))
            .collect(),
    }
}

fn batch(step: PlannedStep, snapshot: &FleetSnapshot) -> PlannedBatch {
    PlannedBatch {
        batch: step.label.as_str().to_owned(),
        targets: step
            .members
            .into_iter()
            .filter_map(|member| target(member, snapshot))
            .collect(),
        capacity: step.backends.into_iter().map(Into::into).collect(),
    }
}

fn target(member: BatchMember, snapshot: &FleetSnapshot) -> Option<PlannedTarget> {
    let key: ApplicationKey = member.application;
    let target = snapshot.targets.get(&key)?;
    Some(PlannedTarget {
        application_id: key.get(),
        name: target.name.clone(),
        server: target.server.as_ref().map(|server| server.name.clone()),
        haproxy_server: member.haproxy_server,
        version: target.version.clone(),
    })
}

impl From<plan::StepCapacity> for BatchCapacity {
    fn from(capacity: plan::StepCapacity) -> Self {
        Self {
            backend: capacity.backend,
            serving: capacity.serving,
            left: capacity.left,
            below_min_ready: capacity.is_short,
        }
    }
}
