//! What one update is about.

use crate::fleet::ApplicationKey;
use crate::rollout::drain::DrainWait;
use crate::rollout::orchestrator::OrchestratorMetadata;
use crate::rollout::record::{ArtifactUrl, RolloutId, UpdateMode};

/// Everything the template is given besides the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct OrchestratorContext {
    task: RolloutId,
    applications: Vec<ApplicationKey>,
    artifact: ArtifactUrl,
    mode: UpdateMode,
    orchestrator: OrchestratorMetadata,
    original_playbook_path: String,
    drain_wait: DrainWait,
    allow_undrained: bool,
}

/// Something an update cannot do without is missing; the message names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an update needs {field}, and there is none")]
pub struct ContextError {
    /// The missing part.
    pub field: &'static str,
}

impl OrchestratorContext {
    /// A complete context.
    ///
    /// # Errors
    ///
    /// [`ContextError`], naming the first missing part: task, applications, orchestrator playbook,
    /// update playbook path. (An empty artifact URL cannot be made.)
    pub fn new(
        task: RolloutId,
        applications: Vec<ApplicationKey>,
        artifact: ArtifactUrl,
        mode: UpdateMode,
        orchestrator: OrchestratorMetadata,
        original_playbook_path: String,
        drain_wait: DrainWait,
    ) -> Result<Self, ContextError> {
        let missing = if task.as_uuid().is_nil() {
            Some("a task id")
        } else if applications.is_empty() {
            Some("applications")
        } else if orchestrator.file_path.trim().is_empty() {
            Some("an orchestrator playbook")
        } else if original_playbook_path.trim().is_empty() {
            Some("an update playbook path")
        } else {
            None
        };
        match missing {
            Some(field) => Err(ContextError { field }),
            None => Ok(Self {
                task,
                applications,
                artifact,
                mode,
                orchestrator,
                original_playbook_path,
                drain_wait,
                allow_undrained: false,
            }),
        }
    }

    /// The same update, which may leave out the drain of applications that should stand behind HAProxy.
    #[must_use]
    pub fn allowing_undrained(self, allow_undrained: bool) -> Self {
        Self {
            allow_undrained,
            ..self
        }
    }

    /// The same update, narrowed to some of its applications.
    pub(super) fn narrowed(&self, applications: Vec<ApplicationKey>) -> Self {
        Self {
            applications,
            ..self.clone()
        }
    }

    /// The task.
    #[must_use]
    pub const fn task(&self) -> RolloutId {
        self.task
    }

    /// The applications, at least one.
    #[must_use]
    pub fn applications(&self) -> &[ApplicationKey] {
        &self.applications
    }

    /// The artifact.
    #[must_use]
    pub const fn artifact(&self) -> &ArtifactUrl {
        &self.artifact
    }

    /// What to do with the artifact.
    #[must_use]
    pub const fn mode(&self) -> UpdateMode {
        self.mode
    }

    /// The orchestrator playbook's metadata.
    #[must_use]
    pub const fn orchestrator(&self) -> &OrchestratorMetadata {
        &self.orchestrator
    }

    /// The update playbook with its parameters, as the settings gave it.
    #[must_use]
    pub fn original_playbook_path(&self) -> &str {
        &self.original_playbook_path
    }

    /// Whether applications that should stand behind HAProxy may be updated without a drain. Delivering needs none.
    pub(super) fn may_be_undrained(&self) -> bool {
        self.allow_undrained || self.mode == UpdateMode::Deliver
    }

    /// How long a drained server is waited for.
    #[must_use]
    pub const fn drain_wait(&self) -> DrainWait {
        self.drain_wait
    }
}
