//! The end of an update: what became of it, written down as one fact.

use std::collections::BTreeSet;

use drover_domain::Timestamp;
use drover_domain::fleet::{
    ApplicationKey, ApplicationKind, ChangeSource, ChangedBy, EventKind, EventStatus, NewEvent,
    ServerKey, VersionChange, VersionState,
};
use drover_domain::rollout::artifact::artifact_version;
use drover_domain::rollout::snapshot::{FleetSnapshot, Target};
use drover_domain::rollout::task::{
    InstanceOutcome, TaskEnd, TaskInstance, UpdateMode, UpdateTask,
};
use drover_domain::workflow::TaskStatus;
use drover_ports::Claim;

use super::patience::{Interrupted, patiently};
use super::track::progress;
use super::worker::UpdateWorker;

/// How the runs of a task ended.
pub(super) struct Outcome {
    pub(super) status: TaskStatus,
    pub(super) error: Option<String>,
    pub(super) instances: Vec<TaskInstance>,
}
impl UpdateWorker {
    pub(super) async fn refuse(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        snapshot: &FleetSnapshot,
        reason: String,
    ) -> Result<(), Interrupted> {
        let outcome = Outcome {
            status: TaskStatus::Failed,
            error: Some(reason),
            instances: Vec::new(),
        };
        self.finish(claim, task, outcome, snapshot).await
    }

    pub(super) async fn finish(
        &self,
        claim: &Claim,
        task: &UpdateTask,
        outcome: Outcome,
        snapshot: &FleetSnapshot,
    ) -> Result<(), Interrupted> {
        let now = self.ports.clock.now();
        let mut instances = outcome.instances;
        let mut versions = Vec::new();
        for instance in instances
            .iter_mut()
            .filter(|instance| instance.outcome == InstanceOutcome::Done)
        {
            let target = snapshot.targets.get(&instance.application);
            if let Some((key, change)) =
                target.and_then(|target| version_change(task, target, instance, now))
            {
                instance.version_after.clone_from(&change.new.version);
                versions.push((key, change));
            }
        }
        let events = task
            .request
            .applications
            .iter()
            .filter_map(|key| snapshot.targets.get(key))
            .map(|target| update_event(task, target, &instances, outcome.error.as_deref(), now))
            .collect();
        let result = (!instances.is_empty()).then(|| summary(&instances));
        let end = TaskEnd {
            status: outcome.status,
            progress: if outcome.status == TaskStatus::Succeeded {
                100
            } else {
                progress(&instances).min(99)
            },
            result,
            error: outcome.error,
            instances,
            versions,
            events,
        };
        patiently(|| self.ports.tasks.finish(claim, &end, now)).await?;
        match &end.error {
            None => tracing::info!(
                "task {} ended: {}",
                task.id,
                end.result.as_deref().unwrap_or("nothing to do")
            ),
            Some(error) => {
                tracing::warn!("task {} ended as {}: {error}", task.id, end.status.as_str());
            }
        }
        self.poll_touched(snapshot).await;
        Ok(())
    }

    // What the task says is checked against what the agents say, at once instead of a minute later.
    async fn poll_touched(&self, snapshot: &FleetSnapshot) {
        let servers: BTreeSet<ServerKey> = snapshot
            .targets
            .values()
            .filter_map(|target| Some(target.server.as_ref()?.key))
            .collect();
        for server in servers {
            if let Err(error) = self.polling.poll(server).await {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "server {server} was not polled"
                );
            }
        }
    }
}
fn version_change(
    task: &UpdateTask,
    target: &Target,
    instance: &TaskInstance,
    now: Timestamp,
) -> Option<(ApplicationKey, VersionChange)> {
    if task.request.mode != UpdateMode::Update {
        return None;
    }
    let url = task.request.artifact.as_str();
    let version = artifact_version(target.kind, url)?;
    let is_image = target.kind == ApplicationKind::Docker;
    let old = VersionState {
        version: instance.version_before.clone(),
        ..VersionState::default()
    };
    let new = VersionState {
        version: Some(version.clone()),
        tag: is_image.then_some(version),
        image: is_image.then(|| url.to_owned()),
        distr_path: (!is_image).then(|| url.to_owned()),
    };
    let change = VersionChange {
        old,
        new,
        changed_at: now,
        changed_by: ChangedBy::User,
        source: ChangeSource::UpdateTask,
        task: Some(task.id),
    };
    Some((target.application, change))
}

fn update_event(
    task: &UpdateTask,
    target: &Target,
    instances: &[TaskInstance],
    error: Option<&str>,
    now: Timestamp,
) -> NewEvent {
    let instance = instances
        .iter()
        .find(|instance| instance.application == target.application);
    let outcome = instance.map_or(InstanceOutcome::Skipped, |instance| instance.outcome);
    let done = outcome == InstanceOutcome::Done;
    let status = if done {
        EventStatus::Success
    } else {
        EventStatus::Failed
    };
    let reason = instance
        .and_then(|instance| instance.detail.as_deref())
        .or(error)
        .unwrap_or_default();
    let description = if done {
        format!(
            "{} was updated from {} by {}",
            target.name, task.request.artifact, task.origin.actor
        )
    } else {
        format!(
            "the update of {} ended as {}: {reason}",
            target.name,
            outcome.as_str()
        )
    };
    NewEvent {
        at: now,
        kind: EventKind::Update,
        status,
        server: target.server.as_ref().map(|server| server.key),
        application: Some(target.application),
        description: description.chars().take(1_000).collect(),
    }
}

fn summary(instances: &[TaskInstance]) -> String {
    let counts: Vec<String> = InstanceOutcome::ALL
        .into_iter()
        .filter_map(|outcome| {
            let count = instances
                .iter()
                .filter(|instance| instance.outcome == outcome)
                .count();
            (count > 0).then(|| format!("{count} {}", outcome.as_str().replace('_', " ")))
        })
        .collect();
    format!("{} of {}", counts.join(", "), instances.len())
}
