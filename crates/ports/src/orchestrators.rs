//! Orchestrator playbooks as they are stored.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::orchestrator::{OrchestratorMetadata, OrchestratorPlaybook};

use crate::StoreError;

/// What a scan changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanOutcome {
    /// Playbooks seen for the first time.
    pub new: u32,
    /// Playbooks known before whose metadata changed.
    pub updated: u32,
}

/// The durable record of orchestrator playbooks, keyed by file path.
#[async_trait]
pub trait OrchestratorStore: Send + Sync {
    /// Writes what a scan found, in one transaction: new ones are active, known ones get their
    /// metadata replaced and keep whether they are active. Others stay as they are.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], and then nothing changed.
    async fn record_scan(
        &self,
        found: &[OrchestratorMetadata],
        at: Timestamp,
    ) -> Result<ScanOutcome, StoreError>;

    /// The playbook with this file path.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, file_path: &str) -> Result<Option<OrchestratorPlaybook>, StoreError>;

    /// Playbooks by key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(&self, page: PageRequest) -> Result<Page<OrchestratorPlaybook>, StoreError>;
}
