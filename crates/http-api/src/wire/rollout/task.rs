//! Rollouts in the words of earlier clients: tasks with instances.

use drover_domain::rollout::record;
use drover_usecases::Accepted;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::wire::rollout::rollouts::{Rollout, RolloutDetail, Run, Target};

/// What is done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskType {
    /// Applications are updated.
    Update,
}

/// One rollout in the words of earlier clients.
#[derive(Debug, Serialize, ToSchema)]
#[expect(
    clippy::struct_field_names,
    reason = "earlier clients read these names"
)]
pub(crate) struct Task {
    #[serde(flatten)]
    rollout: Rollout,
    task_type: TaskType,
    /// What it does at the moment, or what it waits for; the same as `current_step`.
    current_task: Option<String>,
}

impl From<Rollout> for Task {
    fn from(rollout: Rollout) -> Self {
        Self {
            current_task: rollout.current_step.clone(),
            task_type: TaskType::Update,
            rollout,
        }
    }
}

impl From<(i64, record::Rollout)> for Task {
    fn from(listed: (i64, record::Rollout)) -> Self {
        Rollout::from(listed).into()
    }
}

/// A task with all its parts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDetail {
    #[serde(flatten)]
    task: Task,
    /// Its instances in the order of the update; empty until it is planned.
    instances: Vec<Target>,
    /// Its runs; empty until it is planned.
    runs: Vec<Run>,
    /// The HAProxy servers that still get no requests and need a person.
    left_drained: Vec<String>,
}

impl From<RolloutDetail> for TaskDetail {
    fn from(detail: RolloutDetail) -> Self {
        let RolloutDetail {
            rollout,
            targets,
            runs,
            left_drained,
        } = detail;
        Self {
            task: rollout.into(),
            instances: targets,
            runs,
            left_drained,
        }
    }
}

/// The tasks that do what was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAccepted {
    /// Always true; what cannot be done is a problem.
    success: bool,
    /// A sentence.
    message: String,
    /// The tasks, in the order they will be worked on.
    task_ids: Vec<Uuid>,
    /// How many groups the applications fell into: one task each.
    groups_count: usize,
    /// What a person should know about the applications: those that are updated without a drain because no server in
    /// HAProxy is mapped to them, and those that joined their group since its last update.
    warnings: Vec<String>,
}

impl BatchAccepted {
    pub(crate) fn new(accepted: Accepted, applications: usize) -> Self {
        let groups_count = accepted.rollouts.len();
        let tasks = if groups_count == 1 {
            "1 task".to_owned()
        } else {
            format!("{groups_count} tasks")
        };
        Self {
            success: true,
            message: format!("the update of {applications} applications is queued as {tasks}"),
            task_ids: accepted.rollouts.iter().map(|id| id.as_uuid()).collect(),
            groups_count,
            warnings: accepted.warnings,
        }
    }
}
