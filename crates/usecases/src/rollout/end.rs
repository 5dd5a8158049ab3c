//! The end of an update: what became of it, written down as one fact.

use drover_domain::Timestamp;
use drover_domain::fleet::{
    ApplicationKey, ApplicationKind, ChangeSource, ChangedBy, EventKind, EventStatus, NewEvent,
    VersionChange, VersionState,
};
use drover_domain::rollout::artifact::image_name;
use drover_domain::rollout::record::{
    EndStatus, Rollout, RolloutEnd, RolloutTarget, TargetOutcome, UpdateMode,
};
use drover_domain::rollout::snapshot::{FleetSnapshot, Target};
use drover_domain::secret::without_secrets;
use drover_domain::workflow::Json;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_ports::Claim;

use super::handler::RolloutHandler;
use super::track::progress;
use crate::patience::{Interrupted, patiently};

/// How many instances a sentence names.
const NAMED_MAX: usize = 10;

/// How the runs of a rollout ended.
pub(super) struct Ended {
    pub(super) status: EndStatus,
    pub(super) error: Option<String>,
    pub(super) instances: Vec<RolloutTarget>,
}

impl Ended {
    /// There is nothing that could be run.
    pub(super) const fn refused(reason: String) -> Self {
        Self {
            status: EndStatus::Failed,
            error: Some(reason),
            instances: Vec::new(),
        }
    }

    /// It was called off before anything was done.
    pub(super) fn never_begun() -> Self {
        Self {
            status: EndStatus::Cancelled,
            error: Some("the update was cancelled before anything was done".to_owned()),
            instances: Vec::new(),
        }
    }

    /// It was cancelled; what HAProxy and the agents show of its instances is named.
    pub(super) fn called_off(instances: Vec<RolloutTarget>) -> Self {
        let named = |outcome| {
            let found = instances.iter().filter(|it| it.outcome == outcome);
            let mut named: Vec<String> = found
                .clone()
                .take(NAMED_MAX)
                .map(|it| {
                    let detail = it.detail.as_deref().unwrap_or_default();
                    format!("{} on {} ({detail})", it.name, it.server)
                })
                .collect();
            let more = found.count().saturating_sub(NAMED_MAX);
            if more > 0 {
                named.push(format!("{more} more"));
            }
            named.join(", ")
        };
        let drained = named(TargetOutcome::LeftDrained);
        let unknown = named(TargetOutcome::Unknown);
        let mut error = "the update was cancelled".to_owned();
        if !drained.is_empty() {
            error.push_str("; HAProxy still shows out of use: ");
            error.push_str(&drained);
        }
        if !unknown.is_empty() {
            error.push_str("; unknown: ");
            error.push_str(&unknown);
        }
        Self {
            status: EndStatus::Cancelled,
            error: Some(error),
            instances,
        }
    }
}

/// The engine's outcome for an end. The same for the attempt that reached it and for one that finds
/// it stored.
pub(super) fn outcome(status: EndStatus, result: Option<&str>, error: Option<String>) -> Outcome {
    let error = error.unwrap_or_default();
    match status {
        EndStatus::Succeeded => Outcome::Succeeded {
            result: as_json(result),
        },
        EndStatus::Failed => Outcome::Failed {
            error: TaskError::new("update_failed", &error),
            retryable: false,
        },
        EndStatus::Cancelled => Outcome::Cancelled,
        EndStatus::Unknown => Outcome::Unknown {
            error: TaskError::new("update_unknown", &error),
        },
    }
}

// A summary is words and numbers, which JSON takes as they are.
fn as_json(summary: Option<&str>) -> Json {
    let is_plain = |text: &&str| {
        text.chars()
            .all(|it| it.is_ascii_alphanumeric() || " ,".contains(it))
    };
    summary
        .filter(is_plain)
        .and_then(|text| Json::from_parsed("the result", format!("\"{text}\"")).ok())
        .unwrap_or_default()
}

impl RolloutHandler {
    pub(super) async fn finish(
        &self,
        claim: &Claim,
        rollout: &Rollout,
        ended: Ended,
        snapshot: &FleetSnapshot,
    ) -> Result<Outcome, Interrupted> {
        let now = self.ports.clock.now();
        let instances = ended.instances;
        let mut versions = Vec::new();
        for instance in instances
            .iter()
            .filter(|instance| instance.outcome == TargetOutcome::Done)
        {
            let target = snapshot.targets.get(&instance.application);
            let change = target.and_then(|target| version_change(rollout, target, instance, now));
            versions.extend(change);
        }
        let events = rollout
            .request
            .applications
            .iter()
            .filter_map(|key| snapshot.targets.get(key))
            .map(|target| update_event(rollout, target, &instances, ended.error.as_deref(), now))
            .collect();
        let result = (!instances.is_empty()).then(|| summary(&instances));
        let end = RolloutEnd {
            status: ended.status,
            progress: if ended.status == EndStatus::Succeeded {
                100
            } else {
                progress(&instances).min(99)
            },
            result,
            error: ended.error,
            targets: instances,
            versions,
            events,
        };
        patiently(|| self.ports.rollouts.finish(claim, &end, now)).await?;
        match &end.error {
            None => tracing::info!(
                "rollout {} ended: {}",
                rollout.id,
                end.result.as_deref().unwrap_or("nothing to do")
            ),
            Some(error) => {
                tracing::warn!(
                    "rollout {} ended as {}: {error}",
                    rollout.id,
                    end.status.as_str()
                );
            }
        }
        Ok(outcome(end.status, end.result.as_deref(), end.error))
    }
}

/// The change of a version as the agent shows it: the name of an artifact is no version that was seen.
fn version_change(
    rollout: &Rollout,
    target: &Target,
    instance: &RolloutTarget,
    now: Timestamp,
) -> Option<(ApplicationKey, VersionChange)> {
    if rollout.request.mode != UpdateMode::Update {
        return None;
    }
    let url = rollout.request.artifact.as_str();
    let version = instance.version_after.clone()?;
    let is_image = target.kind == ApplicationKind::Docker;
    let old = VersionState {
        version: instance.version_before.clone(),
        ..VersionState::default()
    };
    let new = VersionState {
        version: Some(version.clone()),
        tag: is_image.then_some(version),
        image: is_image.then(|| image_name(url).to_owned()),
        distr_path: (!is_image).then(|| url.to_owned()),
    };
    let change = VersionChange {
        old,
        new,
        changed_at: now,
        changed_by: ChangedBy::User,
        source: ChangeSource::UpdateTask,
        rollout: Some(rollout.id),
    };
    Some((target.application, change))
}

fn update_event(
    rollout: &Rollout,
    target: &Target,
    instances: &[RolloutTarget],
    error: Option<&str>,
    now: Timestamp,
) -> NewEvent {
    let instance = instances
        .iter()
        .find(|instance| instance.application == target.application);
    let outcome = instance.map_or(TargetOutcome::Skipped, |instance| instance.outcome);
    let done = outcome == TargetOutcome::Done;
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
            target.name, rollout.request.artifact, rollout.origin.actor
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
        // The words of a play may hold the address of the artifact.
        description: without_secrets(&description).chars().take(1_000).collect(),
    }
}

fn summary(instances: &[RolloutTarget]) -> String {
    let counts: Vec<String> = TargetOutcome::ALL
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
