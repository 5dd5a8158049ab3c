//! Asking for rollouts.

use drover_domain::Key;
use drover_domain::fleet::ApplicationKey;
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::plan::PlanDigest;
use drover_domain::rollout::record::{APPLICATIONS_MAX, ArtifactUrl, UpdateMode};
use drover_domain::text::check_line;
use drover_usecases::Accepted;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::body::{Fields, Flaw, ReadBody, boolean, ids, number, text};
use crate::wire::schema;

/// Applications to update together.
#[derive(Debug, ToSchema)]
pub(crate) struct NewRollout {
    #[schema(schema_with = schema::application_ids)]
    pub(crate) app_ids: Vec<ApplicationKey>,
    #[schema(schema_with = schema::artifact_url)]
    pub(crate) distr_url: ArtifactUrl,
    /// What to do with the artifact; `immediate` is another word for `update`.
    #[schema(value_type = Option<RequestedMode>, inline, default = "update")]
    pub(crate) mode: UpdateMode,
    #[schema(schema_with = schema::orchestrator_playbook, required = false)]
    pub(crate) orchestrator_playbook: Option<String>,
    #[schema(schema_with = schema::drain_wait_time, required = false)]
    pub(crate) drain_wait_time: DrainWait,
    /// Whether to update applications without a drain that have no server in HAProxy although they, or others of their
    /// group or catalog entry, stand or stood behind one. Without it such an update is refused, naming them.
    #[schema(value_type = Option<bool>, default = false)]
    pub(crate) allow_undrained: bool,
    /// The digest of the plan to start, as `POST /rollouts:plan` returned it for the same body. If something that the plan
    /// was made from has changed, nothing is started.
    #[schema(value_type = Option<String>, min_length = 67, max_length = 67)]
    pub(crate) plan: Option<PlanDigest>,
}

/// The words a request may use.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "describes the words that `UpdateMode::parse` reads"
)]
pub(crate) enum RequestedMode {
    Update,
    Deliver,
    Immediate,
}

impl ReadBody for NewRollout {
    fn read(fields: &mut Fields) -> Option<Self> {
        let app_ids = fields.required("app_ids", ids(APPLICATIONS_MAX));
        let distr_url = fields.required(
            "distr_url",
            text(|text| ArtifactUrl::parse(text).map_err(Flaw::invalid)),
        );
        let mode = fields.optional(
            "mode",
            text(|word| {
                UpdateMode::parse(word).ok_or_else(|| {
                    Flaw::new("invalid", "must be one of update, deliver, immediate")
                })
            }),
        );
        let orchestrator_playbook = fields.optional(
            "orchestrator_playbook",
            text(|name| {
                check_line("the orchestrator playbook", name, schema::ORCHESTRATOR_MAX)
                    .map_err(Flaw::invalid)?;
                Ok(name.to_owned())
            }),
        );
        let drain_wait_time = fields.optional(
            "drain_wait_time",
            number(|minutes| DrainWait::parse(Some(minutes)).map_err(Flaw::invalid)),
        );
        let allow_undrained = fields.optional("allow_undrained", boolean);
        let plan = fields.optional(
            "plan",
            text(|text| PlanDigest::parse(text).map_err(Flaw::invalid)),
        );
        Some(Self {
            app_ids: app_ids?.into_iter().map(Key::new).collect(),
            distr_url: distr_url?,
            mode: mode?.unwrap_or(UpdateMode::Update),
            orchestrator_playbook: orchestrator_playbook?,
            drain_wait_time: drain_wait_time?.unwrap_or(DrainWait::DEFAULT),
            allow_undrained: allow_undrained?.unwrap_or(false),
            plan: plan?,
        })
    }
}

impl NewRollout {
    /// A digest of what is asked, whatever the order and spelling of the body's fields.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        digest.update(self.app_ids.len().to_be_bytes());
        for key in &self.app_ids {
            digest.update(key.get().to_be_bytes());
        }
        let orchestrator = self.orchestrator_playbook.as_deref();
        for text in [
            Some(self.distr_url.as_str()),
            Some(self.mode.as_str()),
            orchestrator,
        ] {
            // Lengths keep neighbors apart; no text is as long as the mark for an absent one.
            digest.update(
                text.map_or(u64::MAX, |text| text.len() as u64)
                    .to_be_bytes(),
            );
            digest.update(text.unwrap_or_default());
        }
        digest.update(
            self.drain_wait_time
                .minutes()
                .unwrap_or_default()
                .to_bits()
                .to_be_bytes(),
        );
        // Without the flag the digest is that of a request from before there was one.
        if self.allow_undrained {
            digest.update([1]);
        }
        if let Some(plan) = self.plan {
            digest.update(plan.to_string());
        }
        digest.finalize().to_vec()
    }
}

/// The rollouts that do what was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutsAccepted {
    /// The rollouts, in the order they will be worked on: one for each group the applications fall into.
    rollout_ids: Vec<Uuid>,
    /// What a person should know about the applications: those that are updated without a drain because no server in
    /// HAProxy is mapped to them, and those that joined their group since its last update.
    warnings: Vec<String>,
}

impl From<Accepted> for RolloutsAccepted {
    fn from(accepted: Accepted) -> Self {
        Self {
            rollout_ids: accepted.rollouts.iter().map(|id| id.as_uuid()).collect(),
            warnings: accepted.warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(ids: &[i64], orchestrator: Option<&str>) -> NewRollout {
        NewRollout {
            app_ids: ids.iter().copied().map(Key::new).collect(),
            distr_url: ArtifactUrl::parse("http://nexus/a.zip").unwrap(),
            mode: UpdateMode::Update,
            orchestrator_playbook: orchestrator.map(str::to_owned),
            drain_wait_time: DrainWait::DEFAULT,
            allow_undrained: false,
            plan: None,
        }
    }

    #[test]
    fn another_request_has_another_digest() {
        let base = update(&[1, 2], None).digest();
        assert_eq!(update(&[1, 2], None).digest(), base);
        for other in [
            update(&[2, 1], None),
            update(&[1], None),
            update(&[1, 2], Some("")),
            update(&[1, 2], Some("x")),
            NewRollout {
                allow_undrained: true,
                ..update(&[1, 2], None)
            },
            NewRollout {
                plan: Some(PlanDigest::new([1, 2, 3, 4])),
                ..update(&[1, 2], None)
            },
        ] {
            assert_ne!(other.digest(), base, "{other:?}");
        }
    }
}
