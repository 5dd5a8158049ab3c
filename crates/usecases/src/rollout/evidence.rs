//! What shows the end of a run besides the play: a fresh look at the agents and at HAProxy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_domain::fleet::inventory::InventoryReport;
use drover_domain::fleet::{
    ApplicationKey, ApplicationStatus, ObservedApplication, Process, ServerKey, known_version,
};
use drover_domain::rollout::record::{Rollout, RolloutTarget, TargetOutcome, UpdateMode};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_domain::rollout::snapshot::Target;
use drover_domain::rollout::verdict::{AgentSight, Shown, Sighting};
use drover_ports::StoreError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::drains::Drains;
use super::handler::RolloutHandler;
use crate::fleet::polling::Refreshed;
use crate::patience::{Interrupted, patiently};

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
            let polled = self.poll(&before).await;
            let agents = compare(rollout, instances, &before, &polled);
            let is_open = |instance: &&RolloutTarget| {
                let may_have_changed = !matches!(
                    instance.outcome,
                    TargetOutcome::Failed
                        | TargetOutcome::Skipped
                        | TargetOutcome::RolledBack
                        | TargetOutcome::LeftDrained
                );
                let is_proven = |seen: &Sighting| {
                    seen.down.is_none()
                        && matches!(seen.agent, AgentSight::Silent | AgentSight::Changed { .. })
                };
                may_have_changed && !agents.get(&instance.application).is_some_and(is_proven)
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
        let sightings = agents.into_iter().map(|(application, seen)| {
            let composite = instances
                .iter()
                .find(|instance| instance.application == application)
                .map(|instance| instance.composite.as_str());
            let haproxy = composite
                .and_then(|composite| haproxy.remove(composite))
                .unwrap_or_default();
            (application, Sighting { haproxy, ..seen })
        });
        Ok(sightings.collect())
    }

    /// Polls the servers of a snapshot, some at once: what their agents list, or why that is unknown.
    async fn poll(&self, snapshot: &FleetSnapshot) -> Polled {
        let servers: BTreeSet<ServerKey> = snapshot
            .targets
            .values()
            .filter_map(|target| Some(target.server.as_ref()?.key))
            .collect();
        let mut found: Polled = servers
            .iter()
            .map(|server| (*server, Err("it was not polled in time".to_owned())))
            .collect();
        let most = self.polling.policy().poll_concurrency.max(1);
        let mut waiting = servers.into_iter();
        let mut under_way = JoinSet::new();
        let polls = async {
            loop {
                for server in waiting.by_ref().take(most.saturating_sub(under_way.len())) {
                    let polling = self.polling.clone();
                    under_way.spawn(async move { (server, report_of(polling.poll(server).await)) });
                }
                match under_way.join_next().await {
                    Some(Ok((server, report))) => {
                        found.insert(server, report);
                    }
                    Some(Err(error)) => tracing::error!(%error, "a poll ended without an answer"),
                    None => break,
                }
            }
        };
        if timeout(POLL_WAIT, polls).await.is_err() {
            tracing::warn!("not every server that the update touched was polled in time");
        }
        found
    }
}

/// What the agents of servers list, or why that is unknown.
type Polled = BTreeMap<ServerKey, Result<InventoryReport, String>>;

/// What a poll shows, or why it shows nothing.
fn report_of(polled: Result<Option<Refreshed>, StoreError>) -> Result<InventoryReport, String> {
    match polled {
        Ok(Some(polled)) => {
            let (outcome, detail) = (polled.outcome, polled.detail);
            let reason = || detail.unwrap_or_else(|| outcome.as_str().to_owned());
            polled.report.ok_or_else(reason)
        }
        Ok(None) => Err("the server is gone".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn compare(
    rollout: &Rollout,
    instances: &[RolloutTarget],
    known: &FleetSnapshot,
    polled: &Polled,
) -> BTreeMap<ApplicationKey, Sighting> {
    let sights = instances.iter().map(|instance| {
        let target = known.targets.get(&instance.application);
        let server = target.and_then(|target| target.server.as_ref());
        let report = match server.map(|server| polled.get(&server.key)) {
            Some(Some(Ok(report))) => Ok(report),
            Some(Some(Err(reason))) => Err(reason.clone()),
            Some(None) => Err("it was not polled".to_owned()),
            None => Err("the application is gone".to_owned()),
        };
        let seen = match (report, target) {
            (Ok(report), Some(target)) => listed(rollout, instance, target, report),
            (Err(reason), _) => unanswered(instance, reason),
            (Ok(_), None) => Sighting::default(),
        };
        (instance.application, seen)
    });
    sights.collect()
}

fn before(instance: &RolloutTarget) -> Shown<'_> {
    let process = instance.process_before.as_deref();
    Shown {
        version: instance.version_before.as_deref().and_then(known_version),
        process: process.map(Process::parse).unwrap_or_default(),
    }
}

/// Of an application of which nothing was ever shown a silent agent can show nothing either.
fn unanswered(instance: &RolloutTarget, reason: String) -> Sighting {
    let agent = if before(instance) == Shown::default() {
        AgentSight::Silent
    } else {
        AgentSight::Unanswered { reason }
    };
    Sighting {
        agent,
        ..Sighting::default()
    }
}

fn listed(
    rollout: &Rollout,
    instance: &RolloutTarget,
    target: &Target,
    report: &InventoryReport,
) -> Sighting {
    let is_it =
        |listed: &&ObservedApplication| listed.kind == target.kind && listed.name == target.name;
    let Some(listed) = report.applications.iter().rfind(is_it) else {
        let what = if report.is_partial {
            "does not list it, and not all that it lists can be read"
        } else {
            "no longer lists it"
        };
        return Sighting {
            agent: AgentSight::Against {
                what: what.to_owned(),
            },
            ..Sighting::default()
        };
    };
    let version = listed.version.version.as_deref().and_then(known_version);
    let shown = Shown {
        version,
        process: Process::new(listed.start_time.as_deref(), listed.pid),
    };
    let artifact = rollout.request.artifact.as_str();
    let word = report.words.get(&(target.kind, target.name.clone()));
    Sighting {
        agent: AgentSight::compare(target.kind, before(instance), shown, artifact),
        version: version.map(str::to_owned),
        down: down(listed.status, word),
        ..Sighting::default()
    }
}

/// The status of an application that does not run. `None` where the agent knows no status.
fn down(status: ApplicationStatus, word: Option<&String>) -> Option<String> {
    match status {
        ApplicationStatus::Online | ApplicationStatus::NoData => None,
        ApplicationStatus::Unknown => word.cloned(),
        ApplicationStatus::Offline | ApplicationStatus::Starting | ApplicationStatus::Stopping => {
            Some(status.as_str().to_owned())
        }
    }
}
