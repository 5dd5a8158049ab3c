//! Planning a rollout: what a request would start, without starting it.

use std::collections::BTreeSet;

use drover_domain::haproxy::{HaproxyInstanceKey, StandingServer};
use drover_domain::rollout::plan::{PlanDigest, PlannedRollout, notes, plan_run};
use drover_domain::rollout::record::UpdateMode;
use drover_domain::rollout::snapshot::FleetSnapshot;
use sha2::{Digest as _, Sha256};

use super::request::{Checked, RequestError, RolloutOrder, Rollouts, store};

/// What an order would start.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The rollouts in the order in which they are worked on.
    pub rollouts: Vec<PlannedRollout>,
    /// The fleet that the plan was made from.
    pub snapshot: FleetSnapshot,
    /// What a person should know before it starts, one sentence each.
    pub warnings: Vec<String>,
    /// What a start compares to find out whether the plan still holds.
    pub digest: PlanDigest,
}

impl Rollouts {
    /// What an order would start. It passes the same checks as [`Self::request`]; nothing is created or touched.
    ///
    /// # Errors
    ///
    /// [`RequestError`], for whatever the order itself would be refused.
    #[tracing::instrument(name = "rollouts.plan", skip_all, fields(applications = order.applications.len()))]
    pub async fn plan(&self, order: &RolloutOrder) -> Result<Plan, RequestError> {
        let checked = self.check(order).await?;
        self.plan_of(order, &checked).await
    }

    pub(super) async fn plan_of(
        &self,
        order: &RolloutOrder,
        checked: &Checked,
    ) -> Result<Plan, RequestError> {
        let runs = checked.parts.iter().flat_map(|part| &part.prepared);
        let instances: BTreeSet<HaproxyInstanceKey> = runs
            .filter_map(|run| Some(run.backend.as_ref()?.instance))
            .collect();
        let instances: Vec<HaproxyInstanceKey> = instances.into_iter().collect();
        let standing = if instances.is_empty() {
            Vec::new()
        } else {
            let found = self.ports.snapshots.standing(&instances).await;
            found.map_err(store)?
        };
        let drains = order.mode != UpdateMode::Deliver;
        let min_ready = self.policy.min_ready;
        let parts = checked.parts.iter();
        let rollouts: Vec<PlannedRollout> = parts
            .map(|part| PlannedRollout {
                playbook_path: part.playbook_path.clone(),
                runs: part
                    .prepared
                    .iter()
                    .map(|run| plan_run(run.clone(), &standing, min_ready, drains))
                    .collect(),
            })
            .collect();
        let mut warnings = checked.warnings.clone();
        warnings.extend(notes(&rollouts, &checked.snapshot, &order.artifact));
        let digest = digest(order, checked, &standing);
        Ok(Plan {
            rollouts,
            snapshot: checked.snapshot.clone(),
            warnings,
            digest,
        })
    }
}

/// Feeds facts to a digest so that no two lists of facts give the same bytes.
struct Facts(Sha256);

impl Facts {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn number(&mut self, number: i64) -> &mut Self {
        self.0.update(number.to_be_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.update(text.len().to_be_bytes());
        self.0.update(text);
        self
    }

    fn optional(&mut self, text: Option<&str>) -> &mut Self {
        self.number(i64::from(text.is_some()));
        self.text(text.unwrap_or_default())
    }

    fn sum(self) -> u64 {
        let bytes = self.0.finalize();
        let mut first = [0; 8];
        first
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        u64::from_be_bytes(first)
    }
}

fn digest(order: &RolloutOrder, checked: &Checked, standing: &[StandingServer]) -> PlanDigest {
    let mut request = Facts::new();
    for application in &order.applications {
        request.number(application.get());
    }
    request
        .text(order.artifact.as_str())
        .text(order.mode.as_str())
        .optional(order.orchestrator.as_deref())
        .optional(
            order
                .drain_wait
                .minutes()
                .map(|minutes| minutes.to_string())
                .as_deref(),
        )
        .number(order.allow_undrained.into());

    let mut applications = Facts::new();
    for target in checked.snapshot.targets.values() {
        let server = target.server.as_ref();
        applications
            .number(target.application.get())
            .text(&target.name)
            .text(target.kind.as_str())
            .optional(target.version.as_deref())
            .optional(server.map(|server| server.name.as_str()))
            .optional(server.map(|server| server.address.as_str()))
            .optional(target.group.as_ref().map(|group| group.name.as_str()));
    }
    for part in &checked.parts {
        applications.text(&part.playbook_path);
        for application in &part.request.applications {
            applications.number(application.get());
        }
    }

    let mut haproxy = Facts::new();
    for server in checked
        .snapshot
        .targets
        .values()
        .flat_map(|target| &target.haproxy_servers)
    {
        haproxy.number(server.key.get());
    }
    let backends: BTreeSet<_> = checked
        .parts
        .iter()
        .flat_map(|part| &part.prepared)
        .filter_map(|run| Some(run.backend.as_ref()?.backend))
        .collect();
    for server in standing
        .iter()
        .filter(|server| backends.contains(&server.backend))
    {
        let observed = &server.observed;
        haproxy
            .number(server.backend.get())
            .text(&observed.name)
            .number(observed.takes_requests().into())
            .number(observed.role.is_backup.into())
            .optional(observed.role.tracks.as_deref());
    }

    let mut playbooks = Facts::new();
    for (name, digest) in &checked.playbooks {
        playbooks.text(name).optional(digest.as_deref());
    }
    for run in checked.parts.iter().flat_map(|part| &part.prepared) {
        // Names only: values come from what the other parts cover, or are secrets.
        run.extra_params.keys().for_each(|name| {
            playbooks.text(name);
        });
    }
    PlanDigest::new([
        request.sum(),
        applications.sum(),
        haproxy.sum(),
        playbooks.sum(),
    ])
}
