//! Asking for an update.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::fleet::{ApplicationKey, EventKind, EventStatus, NewEvent};
use drover_domain::page::PageRequest;
use drover_domain::rollout::artifact::ArtifactSight;
use drover_domain::rollout::definition;
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::executor::{PreparedPlaybook, check_drained};
use drover_domain::rollout::grouping::{GroupingItem, GroupingStrategy, group_into_rollouts};
use drover_domain::rollout::plan::{PlanDigest, PlanPart};
use drover_domain::rollout::record::{
    ArtifactUrl, Origin, Rollout, RolloutId, RolloutRequest, UpdateMode,
};
use drover_domain::rollout::snapshot::{FleetSnapshot, Target};
use drover_domain::text::visible;
use drover_domain::workflow::{
    CONCURRENCY_KEYS_MAX, DefinitionError, Json, TaskStatus, WorkflowId,
};
use drover_ports::{Fault, Idempotency, NewRollout, NewRollouts, NewWorkflow, Started, StoreError};

use crate::policy::Policy;
use crate::ports::Ports;

use super::prepare::{PlaybookUse, Unprepared, UsedPlaybook, check_playbooks, prepare};

/// Requests for rollouts.
#[derive(Clone)]
pub struct Rollouts {
    pub(super) ports: Ports,
    pub(super) policy: Arc<Policy>,
}

impl fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rollouts")
    }
}

/// An ordered update.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutOrder {
    /// The applications, each once; 1 to [`drover_domain::rollout::record::APPLICATIONS_MAX`].
    pub applications: Vec<ApplicationKey>,
    /// The artifact.
    pub artifact: ArtifactUrl,
    /// What to do with it.
    pub mode: UpdateMode,
    /// The orchestrator playbook's file name; `None` takes the configured one.
    pub orchestrator: Option<String>,
    /// How long a drained server is waited for.
    pub drain_wait: DrainWait,
    /// Whether applications that should stand behind HAProxy, and have no mapping, may be updated without a drain.
    pub allow_undrained: bool,
    /// Who asks.
    pub origin: Origin,
    /// What makes a repetition the same request.
    pub idempotency: Option<Idempotency>,
    /// The plan that this order follows; the order is refused if the plan is stale.
    pub plan: Option<PlanDigest>,
}

/// An order that can be carried out as far as it can be known.
pub(super) struct Checked {
    /// The fleet around its applications.
    pub(super) snapshot: FleetSnapshot,
    /// The orchestrator playbook, then the update playbook of each part.
    pub(super) playbooks: Vec<UsedPlaybook>,
    /// Its rollouts, in the order in which they are worked on.
    pub(super) parts: Vec<CheckedPart>,
    /// As in [`Accepted`].
    pub(super) warnings: Vec<String>,
}

/// One rollout of a checked order.
pub(super) struct CheckedPart {
    pub(super) id: RolloutId,
    pub(super) request: RolloutRequest,
    pub(super) playbook_path: String,
    pub(super) prepared: Vec<PreparedPlaybook>,
}

/// The rollouts that came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Their identifiers.
    pub rollouts: Vec<RolloutId>,
    /// Whether they came of the same request made before.
    pub replayed: bool,
    /// What a person should know about them, one sentence each: applications that are updated without a drain, those that
    /// joined their group since its last update, an artifact that the control host cannot see. Empty for a repeated request.
    pub warnings: Vec<String>,
}

/// Why an update was refused; nothing was created.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Some applications do not exist.
    #[error("there is no application with id {}", list(keys))]
    UnknownApplications {
        /// Their keys.
        keys: Vec<ApplicationKey>,
    },
    /// The orchestrator playbook is not known.
    #[error(
        "there is no orchestrator playbook `{name}`; `POST /api/orchestrators/scan` reads the playbook folder, `GET /api/orchestrators` lists what is known"
    )]
    UnknownOrchestrator {
        /// The name that was given.
        name: String,
    },
    /// The orchestrator playbook is switched off.
    #[error("the orchestrator playbook `{name}` is switched off")]
    InactiveOrchestrator {
        /// The name that was given.
        name: String,
    },
    /// The request does not fit the fleet or the playbooks.
    #[error("{reason}")]
    Refused {
        /// A sentence for the user.
        reason: String,
        /// What it is about.
        subject: Subject,
    },
    /// The plan that was named does not hold now.
    #[error(
        "the plan is stale: {}; make a new plan (`POST /rollouts:plan`, `drover rollout plan`), look at it, and start that",
        changes.iter().map(|part| part.changed()).collect::<Vec<_>>().join("; ")
    )]
    Stale {
        /// What changed.
        changes: Vec<PlanPart>,
    },
    /// The control host does not answer.
    #[error("the control host does not answer, so the playbooks cannot be checked; try again")]
    Unavailable {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync + 'static>,
    },
    /// The store did not do its part.
    #[error("the update cannot be queued")]
    Store {
        /// Why.
        source: StoreError,
    },
}

/// The part of a request a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The applications.
    Applications,
    /// The orchestrator playbook or a parameter of it.
    Orchestrator,
    /// The artifact.
    Artifact,
}

impl RequestError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UnknownApplications { .. }
            | Self::UnknownOrchestrator { .. }
            | Self::InactiveOrchestrator { .. }
            | Self::Refused { .. }
            | Self::Stale { .. } => Fault::Permanent,
            Self::Unavailable { .. } => Fault::Transient,
            Self::Store { source } => source.fault(),
        }
    }

    fn from_unprepared(error: Unprepared) -> Self {
        let subject = match &error {
            Unprepared::Prepare(error) if error.is_about_applications() => Subject::Applications,
            // The applications' settings name the update playbook.
            Unprepared::Path(_) => Subject::Applications,
            Unprepared::NoSuchPlaybook { playbook, .. } | Unprepared::Unusable { playbook, .. } => {
                match playbook {
                    PlaybookUse::Orchestrator => Subject::Orchestrator,
                    PlaybookUse::Update => Subject::Applications,
                }
            }
            Unprepared::Context(_) | Unprepared::Prepare(_) => Subject::Orchestrator,
            Unprepared::Runner(source) if source.fault() == Fault::Permanent => {
                Subject::Orchestrator
            }
            Unprepared::Runner(_) => {
                return Self::Unavailable {
                    source: Box::new(error),
                };
            }
        };
        let reason = error.to_string();
        Self::Refused { reason, subject }
    }

    fn from_definition(error: &DefinitionError) -> Self {
        let reason = if let DefinitionError::ConcurrencyKeys { given, .. } = error {
            format!(
                "one rollout would touch {given} groups and HAProxy backends, and at most {CONCURRENCY_KEYS_MAX} can be \
                 kept from other updates; ask for fewer applications at once"
            )
        } else {
            error.to_string()
        };
        Self::Refused {
            reason,
            subject: Subject::Applications,
        }
    }
}

const fn replayed(rollouts: Vec<RolloutId>) -> Accepted {
    Accepted {
        rollouts,
        replayed: true,
        warnings: Vec::new(),
    }
}

/// The workflow that does `task`, which has `keys` to itself while it runs.
fn workflow_of(rollout: &Rollout, keys: Vec<String>) -> Result<NewWorkflow, DefinitionError> {
    Ok(NewWorkflow {
        id: rollout.id.workflow(),
        name: definition::KIND.to_owned(),
        definition: Arc::new(definition::definition(keys)?),
        source: None,
        labels: BTreeMap::new(),
        input: Json::null(),
        origin: rollout.origin.clone(),
        parent: None,
        start_after: Some(Duration::ZERO),
        deadline: None,
        idempotency: None,
    })
}

impl Rollouts {
    pub(crate) const fn new(ports: Ports, policy: Arc<Policy>) -> Self {
        Self { ports, policy }
    }

    /// Queues an update. Everything that can be known to be wrong is refused here, before anything
    /// is created; nothing has been touched when this returns.
    ///
    /// # Errors
    ///
    /// [`RequestError`], and then nothing changed.
    #[tracing::instrument(name = "rollouts.request", skip_all, fields(applications = order.applications.len()))]
    pub async fn request(&self, order: RolloutOrder) -> Result<Accepted, RequestError> {
        // A repeated request gets the same answer whatever changed since: its own rollouts changed it.
        if let Some(idempotency) = &order.idempotency {
            let known = self.ports.rollouts.started_by(idempotency).await;
            if let Some(rollouts) = known.map_err(store)? {
                return Ok(replayed(rollouts));
            }
        }
        let checked = self.check(&order).await?;
        if let Some(planned) = &order.plan {
            let changes = planned.changes(&self.plan_of(&order, &checked).await?.digest);
            if !changes.is_empty() {
                return Err(RequestError::Stale { changes });
            }
        }
        let now = self.ports.clock.now();
        let mut rollouts = Vec::with_capacity(checked.parts.len());
        for part in checked.parts {
            let keys = checked
                .snapshot
                .concurrency_keys(&part.request.applications);
            let (path, origin) = (part.playbook_path, order.origin.clone());
            let rollout = Rollout::queued(part.id, part.request, path, origin, now);
            let workflow = workflow_of(&rollout, keys)
                .map_err(|error| RequestError::from_definition(&error))?;
            rollouts.push(NewRollout { workflow, rollout });
        }

        let events = order
            .applications
            .iter()
            .filter_map(|key| checked.snapshot.targets.get(key))
            .map(|target| NewEvent {
                at: now,
                kind: EventKind::Update,
                status: EventStatus::Pending,
                server: target.server.as_ref().map(|server| server.key),
                application: Some(target.application),
                description: format!(
                    "{} asked to update {} from {}",
                    order.origin.actor, target.name, order.artifact
                ),
            })
            .collect();
        let ids: Vec<RolloutId> = rollouts.iter().map(|new| new.rollout.id).collect();
        let rollouts = NewRollouts {
            rollouts,
            events,
            idempotency: order.idempotency,
            at: now,
        };
        match self.ports.rollouts.start(&rollouts).await.map_err(store)? {
            Started::Replayed(rollouts) => Ok(replayed(rollouts)),
            Started::Created => {
                tracing::info!(
                    rollouts = ids.len(), actor = %order.origin.actor, request.id = %order.origin.request_id,
                    "{} asked to update {} applications from {}", order.origin.actor, order.applications.len(), order.artifact
                );
                Ok(Accepted {
                    rollouts: ids,
                    replayed: false,
                    warnings: checked.warnings,
                })
            }
        }
    }

    /// Checks an order and prepares its rollouts; nothing is created.
    pub(super) async fn check(&self, order: &RolloutOrder) -> Result<Checked, RequestError> {
        let snapshot = self
            .ports
            .snapshots
            .snapshot(&order.applications)
            .await
            .map_err(store)?;
        let keys: Vec<ApplicationKey> = order
            .applications
            .iter()
            .filter(|key| !snapshot.targets.contains_key(key))
            .copied()
            .collect();
        if !keys.is_empty() {
            return Err(RequestError::UnknownApplications { keys });
        }
        let name = order
            .orchestrator
            .clone()
            .unwrap_or_else(|| self.policy.default_orchestrator.clone());
        let orchestrator = match self.ports.orchestrators.find(&name).await.map_err(store)? {
            Some(playbook) if playbook.is_active => playbook.metadata,
            Some(_) => return Err(RequestError::InactiveOrchestrator { name }),
            None => return Err(RequestError::UnknownOrchestrator { name }),
        };

        // A control host that cannot run anything is no reason to queue what waits for it.
        let probed = self.ports.runner.probe().await;
        probed.map_err(|error| RequestError::from_unprepared(Unprepared::Runner(error)))?;
        let groups = group_into_rollouts(&self.grouping_items(&order.applications, &snapshot));
        let paths = groups.iter().map(|group| group.playbook_path.as_str());
        let folder = &self.policy.playbook_folder;
        let playbooks =
            check_playbooks(&*self.ports.runner, folder, &orchestrator.file_path, paths)
                .await
                .map_err(RequestError::from_unprepared)?;
        let mut warnings = warnings(order, &snapshot);
        warnings.extend(self.look_for(&order.artifact).await?);
        // All of them are named at once, not only those of the first rollout.
        if !order.allow_undrained && order.mode != UpdateMode::Deliver {
            check_drained(&order.applications, &snapshot)
                .map_err(|error| RequestError::from_unprepared(error.into()))?;
        }
        let mut parts = Vec::with_capacity(groups.len());
        for group in groups {
            let id = definition::task(WorkflowId::rooted(self.ports.ids.draw()));
            let request = RolloutRequest {
                applications: group.applications,
                artifact: order.artifact.clone(),
                mode: order.mode,
                orchestrator: orchestrator.file_path.clone(),
                drain_wait: order.drain_wait,
                allow_undrained: order.allow_undrained,
            };
            let prepared = prepare(id, &request, &group.playbook_path, &orchestrator, &snapshot)
                .map_err(RequestError::from_unprepared)?;
            parts.push(CheckedPart {
                id,
                request,
                playbook_path: group.playbook_path,
                prepared,
            });
        }
        Ok(Checked {
            snapshot,
            playbooks,
            parts,
            warnings,
        })
    }

    /// What a queued update waits for: the running update that has one of its groups or backends to itself. `None` where it
    /// waits for none, or only for a worker.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn waits_for(&self, rollout: &Rollout) -> Result<Option<String>, StoreError> {
        if rollout.status != TaskStatus::Queued || rollout.attempt > 0 {
            return Ok(None);
        }
        let page = PageRequest {
            after: None,
            limit: PageRequest::LIMIT_MAX,
        };
        let open = [TaskStatus::Queued, TaskStatus::Running, TaskStatus::Unknown];
        let found = self.ports.rollout_view.list(&open, page).await?;
        let others = found.items.into_iter().map(|(_, other)| other);
        let others: Vec<Rollout> = others
            .filter(|other| other.id != rollout.id)
            .filter(|other| other.status != TaskStatus::Queued || other.attempt > 0)
            .collect();
        let applications: BTreeSet<ApplicationKey> = others
            .iter()
            .chain([rollout])
            .flat_map(|rollout| rollout.request.applications.iter().copied())
            .collect();
        let applications: Vec<ApplicationKey> = applications.into_iter().collect();
        let snapshot = self.ports.snapshots.snapshot(&applications).await?;
        let own = snapshot.concurrency_keys(&rollout.request.applications);
        let holder = others.iter().find_map(|other| {
            let keys = snapshot.concurrency_keys(&other.request.applications);
            let shared = keys.into_iter().find(|key| own.contains(key))?;
            Some((other.id, named(&shared, rollout, &snapshot)))
        });
        Ok(holder.map(|(id, what)| format!("waits for update {id} of {what}")))
    }

    /// Refuses an artifact that is not there: its absence must not cost a drain. An unclear answer is a warning.
    async fn look_for(&self, artifact: &ArtifactUrl) -> Result<Option<String>, RequestError> {
        let seen = self.ports.artifacts.look(artifact).await;
        match seen.map_err(|error| RequestError::from_unprepared(Unprepared::Runner(error)))? {
            ArtifactSight::Found { .. } | ArtifactSight::NotChecked => Ok(None),
            ArtifactSight::Absent { reason } => Err(RequestError::Refused {
                reason: format!(
                    "the artifact {artifact} is not there: {reason}; nothing was drained, check the address"
                ),
                subject: Subject::Artifact,
            }),
            ArtifactSight::Unknown { reason } => Ok(Some(format!(
                "the control host cannot tell whether the artifact {artifact} is there: {reason}"
            ))),
        }
    }

    fn grouping_items(
        &self,
        applications: &[ApplicationKey],
        snapshot: &FleetSnapshot,
    ) -> Vec<GroupingItem> {
        applications
            .iter()
            .filter_map(|key| snapshot.targets.get(key))
            .map(|target| GroupingItem {
                application: target.application,
                server: target.server.as_ref().map(|server| server.key),
                group: target.group.as_ref().map(|group| group.key),
                name: target.name.clone(),
                playbook_path: target.update_playbook(&self.policy.default_playbook),
                strategy: target
                    .group
                    .as_ref()
                    .map_or_else(GroupingStrategy::default, |group| {
                        GroupingStrategy::parse(&group.grouping)
                    }),
            })
            .collect()
    }
}

/// What a concurrency key of an update stands for, by name.
fn named(key: &str, rollout: &Rollout, snapshot: &FleetSnapshot) -> String {
    let mut targets = rollout
        .request
        .applications
        .iter()
        .filter_map(|application| snapshot.targets.get(application));
    let found = targets.find_map(|target| {
        if let Some(group) = &target.group
            && key == format!("group:{}", group.key)
        {
            return Some(format!("the group {}", group.name));
        }
        let mut servers = target.haproxy_servers.iter();
        let server = servers.find(|server| key == format!("backend:{}", server.backend))?;
        Some(format!("the HAProxy backend {}", server.backend_name))
    });
    found.unwrap_or_else(|| key.to_owned())
}

fn warnings(order: &RolloutOrder, snapshot: &FleetSnapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    if order.mode != UpdateMode::Deliver {
        let has_haproxy = snapshot.has_haproxy || !snapshot.unread_haproxy.is_empty();
        let undrained: Vec<String> = snapshot
            .unmapped(&order.applications)
            .filter(|target| has_haproxy || target.expects_haproxy)
            .map(Target::label)
            .collect();
        if !undrained.is_empty() {
            warnings.push(format!(
                "updated without a drain, because no HAProxy server is mapped to it: {}",
                list(&undrained)
            ));
        }
    }
    let mut joined: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for target in order
        .applications
        .iter()
        .filter_map(|key| snapshot.targets.get(key))
    {
        if let Some(group) = target.group.as_ref().filter(|_| target.is_new_in_group) {
            joined.entry(&group.name).or_default().push(target.label());
        }
    }
    for (group, applications) in joined {
        warnings.push(format!(
            "joined the group `{}` since its last update: {}",
            visible(group, 64),
            list(&applications)
        ));
    }
    warnings
}

pub(super) const fn store(source: StoreError) -> RequestError {
    RequestError::Store { source }
}

fn list(keys: &[impl ToString]) -> String {
    const SHOWN_MAX: usize = 10;
    let shown = keys
        .iter()
        .take(SHOWN_MAX)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    match keys.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        others => format!("{shown} and {others} more"),
    }
}
