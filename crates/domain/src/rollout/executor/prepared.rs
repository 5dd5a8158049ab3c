//! What the template makes.

use std::collections::BTreeMap;

use crate::fleet::ApplicationKey;
use crate::haproxy::{BackendKey, HaproxyInstanceKey};
use crate::rollout::job::Variable;

/// One run of an orchestrator playbook, ready to start; it serves one backend or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedPlaybook {
    /// The orchestrator playbook's file.
    pub playbook: String,
    /// The file with its parameters, as it is shown.
    pub playbook_path: String,
    /// The variables of the run: every declared one that has a value, and the update playbook's own.
    pub extra_params: BTreeMap<String, Variable>,
    /// The instances in the order and in the halves the playbook takes them.
    pub batches: Vec<Batch>,
    /// The backend it drains and returns servers of.
    pub backend: Option<PreparedBackend>,
}

impl PreparedPlaybook {
    /// All its instances: batch after batch.
    pub fn members(&self) -> impl Iterator<Item = &BatchMember> {
        self.batches.iter().flat_map(|batch| &batch.members)
    }
}

/// Instances that are updated together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which half it is.
    pub label: BatchLabel,
    /// Its instances.
    pub members: Vec<BatchMember>,
}

/// Which instances a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchLabel {
    /// Those at even places: the first half.
    Even,
    /// Those at odd places: the second half.
    Odd,
    /// All at once.
    All,
}

impl BatchLabel {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Odd => "odd",
            Self::All => "all",
        }
    }

    /// The label with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Even, Self::Odd, Self::All]
            .into_iter()
            .find(|label| label.as_str() == word)
    }
}

/// One instance of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMember {
    /// The application.
    pub application: ApplicationKey,
    /// The name the playbook knows it by.
    pub composite: String,
    /// Its name in HAProxy.
    pub haproxy_server: Option<String>,
}

/// The backend a run works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedBackend {
    /// The HAProxy instance.
    pub instance: HaproxyInstanceKey,
    /// Its name at the agent.
    pub instance_name: String,
    /// The backend.
    pub backend: BackendKey,
    /// Its name in HAProxy.
    pub backend_name: String,
    /// Where the agent takes commands for the instance.
    pub api_url: String,
}
