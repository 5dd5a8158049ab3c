//! What shows the end of a run besides the play: a fresh look at the agents and at HAProxy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_domain::fleet::{ApplicationKey, ServerKey};
use drover_domain::rollout::artifact::artifact_version;
use drover_domain::rollout::record::{Rollout, RolloutTarget, TargetOutcome, UpdateMode};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_domain::rollout::verdict::{AgentSight, Sighting};
use drover_ports::StoreError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::drains::Drains;
use super::handler::RolloutHandler;
use crate::patience::{Interrupted, patiently};
use crate::polling::{PollOutcome, Refreshed};

/// The longest all touched servers together are polled once.
const POLL_WAIT: Duration = Duration::from_secs(10);
/// How long an agent may take to show what the play has changed.
const CHANGE_WAIT: Duration = Duration::from_secs(10);
/// The pause before the agents are asked again.
const POLL_AGAIN: Duration = Duration::from_secs(1);

impl RolloutHandler {
    /// What others than the play show of the instances of a run that is over.
    pub(super) async fn evidence(
        &self,
        rollout: &Rollout,
        instances: &[RolloutTarget],
        exit_code: Option<i32>,
        drains: &Drains,
    ) -> Result<BTreeMap<ApplicationKey, Sighting>, Interrupted> {
        let keys: Vec<ApplicationKey> = instances.iter().map(|it| it.application).collect();
        let begun = Instant::now();
        let agents = loop {
            let before = patiently(|| self.ports.snapshots.snapshot(&keys)).await?;
            let silent = self.poll(&before).await;
            let after = patiently(|| self.ports.snapshots.snapshot(&keys)).await?;
            let agents = compare(rollout, instances, &after, &silent);
            let is_open = |instance: &&RolloutTarget| {
                let may_have_changed = !matches!(
                    instance.outcome,
                    TargetOutcome::Failed
                        | TargetOutcome::Skipped
                        | TargetOutcome::RolledBack
                        | TargetOutcome::LeftDrained
                );
                may_have_changed
                    && matches!(
                        agents.get(&instance.application),
                        Some(AgentSight::Same { .. } | AgentSight::Unanswered { .. })
                    )
            };
            let waits = exit_code == Some(0)
                && rollout.request.mode == UpdateMode::Update
                && instances.iter().any(|instance| is_open(&instance));
            if !waits || begun.elapsed() >= CHANGE_WAIT {
                break agents;
            }
            sleep(POLL_AGAIN).await;
        };
        drains.sync().await;
        let mut haproxy = drains.sight().await?;
        let sightings = agents.into_iter().map(|(application, agent)| {
            let composite = instances
                .iter()
                .find(|instance| instance.application == application)
                .map(|instance| instance.composite.as_str());
            let haproxy = composite
                .and_then(|composite| haproxy.remove(composite))
                .unwrap_or_default();
            (application, Sighting { haproxy, agent })
        });
        Ok(sightings.collect())
    }

    /// Polls the servers of a snapshot, some at once; those that did not answer, with the reason.
    async fn poll(&self, snapshot: &FleetSnapshot) -> BTreeMap<ServerKey, String> {
        let servers: BTreeSet<ServerKey> = snapshot
            .targets
            .values()
            .filter_map(|target| Some(target.server.as_ref()?.key))
            .collect();
        let mut silent: BTreeMap<ServerKey, String> = servers
            .iter()
            .map(|server| (*server, "it was not polled in time".to_owned()))
            .collect();
        let most = self.polling.policy().poll_concurrency.max(1);
        let mut waiting = servers.into_iter();
        let mut under_way = JoinSet::new();
        let polls = async {
            loop {
                for server in waiting.by_ref().take(most.saturating_sub(under_way.len())) {
                    let polling = self.polling.clone();
                    under_way.spawn(async move { (server, reason_of(polling.poll(server).await)) });
                }
                match under_way.join_next().await {
                    Some(Ok((server, None))) => {
                        silent.remove(&server);
                    }
                    Some(Ok((server, Some(reason)))) => {
                        silent.insert(server, reason);
                    }
                    Some(Err(error)) => tracing::error!(%error, "a poll ended without an answer"),
                    None => break,
                }
            }
        };
        if timeout(POLL_WAIT, polls).await.is_err() {
            tracing::warn!("not every server that the update touched was polled in time");
        }
        silent
    }
}

/// Why a poll shows nothing new of its server.
fn reason_of(polled: Result<Option<Refreshed>, StoreError>) -> Option<String> {
    match polled {
        Ok(Some(polled)) => match polled.outcome {
            PollOutcome::Stored | PollOutcome::Unchanged => None,
            outcome @ (PollOutcome::NotAsked
            | PollOutcome::Suspect
            | PollOutcome::Unreachable
            | PollOutcome::Unreadable) => {
                Some(polled.detail.unwrap_or_else(|| outcome.as_str().to_owned()))
            }
        },
        Ok(None) => Some("the server is gone".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn compare(
    rollout: &Rollout,
    instances: &[RolloutTarget],
    after: &FleetSnapshot,
    silent: &BTreeMap<ServerKey, String>,
) -> BTreeMap<ApplicationKey, AgentSight> {
    let sights = instances.iter().map(|instance| {
        let before = (
            instance.version_before.as_deref(),
            instance.process_before.as_deref(),
        );
        let target = after.targets.get(&instance.application);
        let server = target.and_then(|target| target.server.as_ref());
        let reason = match server {
            Some(server) => silent.get(&server.key).cloned(),
            None => Some("the application is gone".to_owned()),
        };
        let sight = match (reason, target) {
            (None, Some(target)) => {
                let artifact = artifact_version(target.kind, rollout.request.artifact.as_str());
                let shown = (target.version.as_deref(), target.process.as_deref());
                AgentSight::compare(before, shown, artifact.as_deref())
            }
            // It has never shown anything of the instance.
            (Some(_), _) if before == (None, None) => AgentSight::Silent,
            (Some(reason), _) => AgentSight::Unanswered { reason },
            (None, None) => AgentSight::Silent,
        };
        (instance.application, sight)
    });
    sights.collect()
}
