//! Definitions: workflows that are kept by name.

use std::fmt;
use std::sync::Arc;

use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::{DefinitionName, ExecutionMode};
use drover_ports::{Clock, DefinitionRecord, DefinitionStore, Fault, StoreError};

use super::kinds::Kinds;
use super::order::{OrderError, TaskOrder};
use crate::EnginePorts;

/// Requests about definitions.
#[derive(Clone)]
pub struct Definitions {
    store: Arc<dyn DefinitionStore>,
    clock: Arc<dyn Clock>,
    kinds: Kinds,
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Definitions")
    }
}

/// A definition as it is stored now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// Its name.
    pub name: DefinitionName,
    /// Its version, from 1.
    pub version: u32,
}

/// Why a definition was refused; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum DefineError {
    /// Its tasks make no workflow.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The store did not do its part.
    #[error("the definition cannot be stored")]
    Store(#[from] StoreError),
}

impl DefineError {
    /// What the caller may do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Order(_) => Fault::Permanent,
            Self::Store(source) => source.fault(),
        }
    }
}

impl Definitions {
    /// Requests over these ports.
    #[must_use]
    pub fn new(ports: &EnginePorts, clock: Arc<dyn Clock>, kinds: Kinds) -> Self {
        Self {
            store: Arc::clone(&ports.definitions),
            clock,
            kinds,
        }
    }

    /// Stores the next version of a definition; one that is the same as the newest is found again.
    ///
    /// # Errors
    ///
    /// [`DefineError`], and then nothing changed.
    pub async fn define(
        &self,
        name: DefinitionName,
        mode: ExecutionMode,
        tasks: Vec<TaskOrder>,
    ) -> Result<Defined, DefineError> {
        let definition = self.kinds.define(mode, tasks)?;
        let now = self.clock.now();
        let version = self.store.put(&name, &definition, now).await?;
        tracing::info!(definition = %name, version, "the definition {name} has version {version}");
        Ok(Defined { name, version })
    }

    /// A version of a definition, or its newest one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find(
        &self,
        name: &DefinitionName,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, StoreError> {
        self.store.find(name, version).await
    }

    /// All versions of all definitions, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn list(&self, page: PageRequest) -> Result<Page<DefinitionRecord>, StoreError> {
        self.store.list(page).await
    }
}
