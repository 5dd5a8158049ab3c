//! Finding orchestrator playbooks on the control host.

use std::fmt;
use std::sync::Arc;

use drover_domain::rollout::orchestrator::{is_orchestrator_file, read_header};
use drover_ports::{Clock, Fault, OrchestratorStore, PlaybookRunner, RunnerError, StoreError};

use crate::ports::Ports;

/// Requests about orchestrator playbooks.
#[derive(Clone)]
pub struct Orchestrators {
    store: Arc<dyn OrchestratorStore>,
    runner: Arc<dyn PlaybookRunner>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Orchestrators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orchestrators")
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Orchestrator playbooks in the folder.
    pub scanned: u32,
    /// Seen for the first time.
    pub new: u32,
    /// Known before, with another header now.
    pub updated: u32,
    /// Files that could not be read, each with the reason.
    pub errors: Vec<(String, String)>,
}

/// Why the folder was not scanned; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The control host did not answer.
    #[error("the playbook folder cannot be read")]
    Runner {
        /// Why.
        source: RunnerError,
    },
    /// Its answer could not be stored.
    #[error("the playbooks cannot be stored")]
    Store {
        /// Why.
        source: StoreError,
    },
}

impl ScanError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Runner { source } => source.fault(),
            Self::Store { source } => source.fault(),
        }
    }
}

impl Orchestrators {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self {
            store: Arc::clone(&ports.orchestrators),
            runner: Arc::clone(&ports.runner),
            clock: Arc::clone(&ports.clock),
        }
    }

    /// Reads the headers of all orchestrator playbooks and stores what they say. A file that
    /// cannot be read is an entry of [`Scan::errors`]; the others are stored.
    ///
    /// # Errors
    ///
    /// [`ScanError`].
    #[tracing::instrument(name = "orchestrators.scan", skip_all)]
    pub async fn scan(&self) -> Result<Scan, ScanError> {
        let files = self
            .runner
            .playbooks()
            .await
            .map_err(|source| ScanError::Runner { source })?;
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for file in files
            .into_iter()
            .filter(|file| is_orchestrator_file(&file.name))
        {
            if let Some(reason) = file.why_unusable() {
                errors.push((file.name.clone(), reason.to_owned()));
            } else if let Ok(head) = &file.head {
                found.push(read_header(&file.name, head));
            }
        }
        let outcome = self
            .store
            .record_scan(&found, self.clock.now())
            .await
            .map_err(|source| ScanError::Store { source })?;
        let scanned = u32::try_from(found.len() + errors.len()).unwrap_or(u32::MAX);
        tracing::info!(
            scanned,
            new = outcome.new,
            errors = errors.len(),
            "{scanned} orchestrator playbooks were read"
        );
        Ok(Scan {
            scanned,
            new: outcome.new,
            updated: outcome.updated,
            errors,
        })
    }
}
