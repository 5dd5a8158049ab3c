//! The plan of a rollout: what runs, in which order, and what each HAProxy backend keeps meanwhile.
//!
//! A plan is a value that is computed from the same [`PreparedPlaybook`]s as the rollout itself, so the two cannot differ.

use std::collections::BTreeSet;

use crate::haproxy::{Capacity, Members, StandingServer};

use crate::text::visible;

use super::artifact::shows_version;
use super::executor::{BatchLabel, BatchMember, PreparedPlaybook};
use super::record::ArtifactUrl;
use super::snapshot::{FleetSnapshot, Target};

/// One planned rollout: the runs of one update playbook.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRollout {
    /// The update playbook with its parameters, as the settings give it.
    pub playbook_path: String,
    /// Its runs in their order: one for each backend, and one for the applications without a backend.
    pub runs: Vec<PlannedRun>,
}

/// One planned run of the orchestrator playbook.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// What runs.
    pub prepared: PreparedPlaybook,
    /// Its batches in their order.
    pub steps: Vec<PlannedStep>,
}

/// One planned batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// Which part of the targets it has.
    pub label: BatchLabel,
    /// Its targets.
    pub members: Vec<BatchMember>,
    /// What each affected backend keeps while the batch is drained, by name: that of the run first, then those with
    /// servers that follow a drained one. Empty where nothing is drained.
    pub backends: Vec<StepCapacity>,
}

/// What a backend keeps while a batch is drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCapacity {
    /// The backend's name.
    pub backend: String,
    /// Servers that take requests now.
    pub serving: usize,
    /// Servers that take requests while the batch is drained.
    pub left: usize,
    /// Whether fewer are left than the guard allows: the drain will be refused.
    pub is_short: bool,
}

/// Adds to a prepared run what each batch leaves in HAProxy. `standing` has the servers of the run's HAProxy instance, of
/// others too. `min_ready` is the floor of the guard; `drains` is whether the run takes servers out of use at all.
#[must_use]
pub fn plan_run(
    prepared: PreparedPlaybook,
    standing: &[StandingServer],
    min_ready: u32,
    drains: bool,
) -> PlannedRun {
    let backend = prepared.backend.clone().filter(|_| drains);
    let members = backend
        .as_ref()
        .map(|backend| (backend, Members::of(backend.instance, standing)));
    let steps = prepared
        .batches
        .iter()
        .map(|batch| {
            let mut backends = Vec::new();
            if let Some((backend, members)) = &members {
                let names: BTreeSet<&str> = batch
                    .members
                    .iter()
                    .filter_map(|member| member.haproxy_server.as_deref())
                    .collect();
                let leaving = members.leaving(&backend.backend_name, &names);
                backends = leaving
                    .iter()
                    .map(|(name, leaving)| step_capacity(name, members, leaving, min_ready))
                    .collect();
                backends.sort_by_key(|capacity: &StepCapacity| {
                    capacity.backend != backend.backend_name
                });
            }
            PlannedStep {
                label: batch.label,
                members: batch.members.clone(),
                backends,
            }
        })
        .collect();
    PlannedRun { prepared, steps }
}

fn step_capacity(
    backend: &str,
    members: &Members<'_>,
    leaving: &BTreeSet<String>,
    min_ready: u32,
) -> StepCapacity {
    let observed = || members.backend(backend);
    let serving = Capacity::of(observed()).serving();
    let left = Capacity::of(observed().filter(|server| !leaving.contains(&server.name))).serving();
    StepCapacity {
        backend: backend.to_owned(),
        serving,
        left,
        is_short: left < serving && usize::try_from(min_ready).is_ok_and(|floor| left < floor),
    }
}

/// A part of what a plan was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanPart {
    /// What is requested.
    Request,
    /// The applications, their servers, groups, settings and versions.
    Applications,
    /// The HAProxy servers and which of them take requests.
    Haproxy,
    /// The orchestrator playbook and the update playbooks: files and headers.
    Playbooks,
}

impl PlanPart {
    /// All of them, in the order of a digest.
    pub const ALL: [Self; 4] = [
        Self::Request,
        Self::Applications,
        Self::Haproxy,
        Self::Playbooks,
    ];

    /// What changed, for people.
    #[must_use]
    pub const fn changed(self) -> &'static str {
        match self {
            Self::Request => "the request differs from the planned one",
            Self::Applications => "an application, its server, group, settings or version changed",
            Self::Haproxy => "HAProxy's servers, their states or their mappings changed",
            Self::Playbooks => "a playbook file changed",
        }
    }
}

/// Why a text is no digest of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a plan has the form of four groups of 16 hexadecimal digits with `-` between them, as `POST /rollouts:plan` returns it"
)]
pub struct PlanDigestError;

/// What pins a plan: one digest for each [`PlanPart`], so that a stale plan can say what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanDigest([u64; 4]);

impl PlanDigest {
    /// The digest with these parts, in the order of [`PlanPart::ALL`].
    #[must_use]
    pub const fn new(parts: [u64; 4]) -> Self {
        Self(parts)
    }

    /// Reads what [`Self`] displays.
    ///
    /// # Errors
    ///
    /// [`PlanDigestError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, PlanDigestError> {
        let mut parts = [0; 4];
        let mut words = text.split('-');
        for part in &mut parts {
            let word = words.next().ok_or(PlanDigestError)?;
            let is_hex = |found: u8| found.is_ascii_digit() || (b'a'..=b'f').contains(&found);
            if word.len() != 16 || !word.bytes().all(is_hex) {
                return Err(PlanDigestError);
            }
            *part = u64::from_str_radix(word, 16).map_err(|_| PlanDigestError)?;
        }
        if words.next().is_some() {
            return Err(PlanDigestError);
        }
        Ok(Self(parts))
    }

    /// The parts in which `now` differs from this plan.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Vec<PlanPart> {
        let pairs = self.0.iter().zip(&now.0);
        PlanPart::ALL
            .into_iter()
            .zip(pairs)
            .filter(|(_, (planned, now))| planned != now)
            .map(|(part, _)| part)
            .collect()
    }
}

impl std::fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [request, applications, haproxy, playbooks] = self.0;
        write!(
            f,
            "{request:016x}-{applications:016x}-{haproxy:016x}-{playbooks:016x}"
        )
    }
}

/// What a person should know about a plan before it starts, one sentence each.
#[must_use]
pub fn notes(
    rollouts: &[PlannedRollout],
    snapshot: &FleetSnapshot,
    artifact: &ArtifactUrl,
) -> Vec<String> {
    let runs = || rollouts.iter().flat_map(|rollout| &rollout.runs);
    let steps = runs().flat_map(|run| &run.steps);
    let mut notes: Vec<String> = steps
        .flat_map(|step| step.backends.iter().map(move |backend| (step, backend)))
        .filter(|(_, backend)| backend.is_short)
        .map(|(step, backend)| {
            format!(
                "HAProxy's guard will refuse to drain the `{}` batch: of {} servers of the backend `{}` that take requests it leaves {}",
                step.label.as_str(),
                backend.serving,
                visible(&backend.backend, 64),
                backend.left,
            )
        })
        .collect();
    let members = runs().flat_map(|run| run.prepared.members());
    let targets: Vec<&Target> = members
        .filter_map(|member| snapshot.targets.get(&member.application))
        .collect();
    let has_it = |target: &&&Target| {
        let shown = target.version.as_deref();
        shown
            .is_some_and(|shown| shows_version(target.kind, artifact.as_str(), shown) == Some(true))
    };
    let same = targets.iter().filter(has_it).count();
    if same > 0 {
        notes.push(format!(
            "{same} of {} targets already run the version that the artifact names",
            targets.len()
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Key;
    use crate::haproxy::{ObservedServer, ServerRole, ServerWord};
    use crate::rollout::executor::{Batch, PreparedBackend};

    fn standing(backend: &str, name: &str, word: &str, tracks: Option<&str>) -> StandingServer {
        StandingServer {
            instance: Key::new(1),
            backend: Key::new(1),
            backend_name: backend.to_owned(),
            observed: ObservedServer {
                name: name.to_owned(),
                word: ServerWord::new(word),
                admin: None,
                sessions: None,
                old_sessions: None,
                queue: None,
                weight: 1,
                role: ServerRole {
                    tracks: tracks.map(str::to_owned),
                    ..ServerRole::default()
                },
                check_status: None,
                address: None,
                port: None,
            },
        }
    }

    fn batch(label: BatchLabel, names: &[&str]) -> Batch {
        let members = names.iter().zip(1..).map(|(name, key)| BatchMember {
            application: Key::new(key),
            composite: (*name).to_owned(),
            haproxy_server: Some((*name).to_owned()),
        });
        Batch {
            label,
            members: members.collect(),
        }
    }

    fn prepared(batches: Vec<Batch>) -> PreparedPlaybook {
        PreparedPlaybook {
            playbook: "o.yml".to_owned(),
            playbook_path: "o.yml".to_owned(),
            extra_params: BTreeMap::new(),
            batches,
            backend: Some(PreparedBackend {
                instance: Key::new(1),
                instance_name: "main".to_owned(),
                backend: Key::new(1),
                backend_name: "web".to_owned(),
                api_url: "http://lb01:5001".to_owned(),
            }),
        }
    }

    #[test]
    fn each_step_says_what_every_affected_backend_keeps() {
        let servers = [
            standing("web", "a", "UP", None),
            standing("web", "b", "UP", None),
            standing("web", "c", "DOWN", None),
            standing("api", "a", "UP", Some("web/a")),
            StandingServer {
                instance: Key::new(2),
                ..standing("web", "d", "UP", None)
            },
        ];
        let halves = vec![
            batch(BatchLabel::Even, &["a", "c"]),
            batch(BatchLabel::Odd, &["b"]),
        ];
        let plan = plan_run(prepared(halves.clone()), &servers, 1, true);
        let capacity = |backend: &str, serving, left, is_short| StepCapacity {
            backend: backend.to_owned(),
            serving,
            left,
            is_short,
        };
        let shown: Vec<_> = plan.steps.into_iter().map(|step| step.backends).collect();
        assert_eq!(
            shown,
            [
                vec![capacity("web", 2, 1, false), capacity("api", 1, 0, true)],
                vec![capacity("web", 2, 1, false)],
            ]
        );
        let delivery = plan_run(prepared(halves), &servers, 1, false);
        assert!(delivery.steps.iter().all(|step| step.backends.is_empty()));
    }

    #[test]
    fn a_digest_is_read_as_it_is_shown_and_names_what_changed() {
        let plan = PlanDigest::new([1, u64::MAX, 3, 0]);
        assert_eq!(PlanDigest::parse(&plan.to_string()), Ok(plan));
        assert_eq!(plan.changes(&plan), []);
        let now = PlanDigest::new([1, 2, 3, 4]);
        assert_eq!(
            plan.changes(&now),
            [PlanPart::Applications, PlanPart::Playbooks]
        );
        let whole = plan.to_string();
        for text in [
            "",
            "-",
            "0000000000000001",
            whole.trim_start_matches(|found: char| found != '-'),
            &format!("{whole}-"),
            &format!("{whole}-0000000000000001"),
            &whole.replace('1', "+"),
            &whole.to_uppercase(),
            &format!(" {whole}"),
        ] {
            assert_eq!(PlanDigest::parse(text), Err(PlanDigestError), "{text}");
        }
    }
}
