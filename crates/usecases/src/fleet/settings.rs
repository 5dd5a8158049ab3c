//! Saying what holds for applications, groups and catalog entries.

use std::fmt;
use std::sync::Arc;

use drover_domain::fleet::{
    Application, ApplicationKind, ApplicationSettings, CatalogEntry, CatalogSettings, Group,
    GroupSettings, SettingsLayer,
};
use drover_domain::rollout::playbook_path::{PlaybookPath, PlaybookPathError};
use drover_domain::rollout::record::Origin;
use drover_ports::{
    ApplicationRegistry, CatalogRegistry, Clock, GroupRegistry, NamedGroup, Release, Settled,
    StoreError,
};

use crate::policy::Policy;
use crate::ports::Ports;

/// Requests about the settings of applications, groups and catalog entries.
#[derive(Clone)]
pub struct Settings {
    applications: Arc<dyn ApplicationRegistry>,
    groups: Arc<dyn GroupRegistry>,
    catalog: Arc<dyn CatalogRegistry>,
    clock: Arc<dyn Clock>,
    playbook_folder: String,
}

/// Writes down who did what to the `what` called `name`.
fn record(origin: &Origin, did: &'static str, what: &'static str, name: &str) {
    let Origin { actor, request_id } = origin;
    tracing::info!(actor = %actor, request.id = %request_id, "{actor} {did} {what} {name}");
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

impl Settings {
    pub(crate) fn new(ports: &Ports, policy: &Policy) -> Self {
        Self {
            applications: Arc::clone(&ports.applications),
            groups: Arc::clone(&ports.groups),
            catalog: Arc::clone(&ports.catalog),
            clock: Arc::clone(&ports.clock),
            playbook_folder: policy.playbook_folder.clone(),
        }
    }

    /// Checks that an update could use the playbook path of a layer, with the sentence that a request for an update
    /// gives. Whether the file exists is left to the request: it may be put there later.
    ///
    /// # Errors
    ///
    /// [`PlaybookPathError`].
    pub fn check(&self, layer: &SettingsLayer) -> Result<(), PlaybookPathError> {
        let Some(path) = &layer.playbook_path else {
            return Ok(());
        };
        PlaybookPath::parse(path)?
            .file_in(&self.playbook_folder)
            .map(drop)
    }

    /// Changes what people say about an application, if it is still as it was known. Updates that have begun go on as
    /// they began.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn change_application(
        &self,
        known: &Application,
        wanted: &ApplicationSettings,
        origin: &Origin,
    ) -> Result<Settled<Application>, StoreError> {
        let changed = self
            .applications
            .change(known.key, &known.chosen(), wanted)
            .await?;
        if let Settled::Done(_) = &changed {
            let name = &known.observed.name;
            record(origin, "changed the settings of", "application", name);
        }
        Ok(changed)
    }

    /// Adds a group without applications; `None` when its catalog entry is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken; else as the store.
    pub async fn add_group(
        &self,
        group: &GroupSettings,
        origin: &Origin,
    ) -> Result<Option<NamedGroup>, StoreError> {
        let added = self.groups.add(group, self.clock.now()).await?;
        if added.is_some() {
            record(origin, "added", "application group", &group.name);
        }
        Ok(added)
    }

    /// Changes what people say about a group, if it is still as it was known. Its applications stay in it, and updates
    /// that have begun go on as they began.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken; else as the store.
    pub async fn change_group(
        &self,
        known: &Group,
        wanted: &GroupSettings,
        origin: &Origin,
    ) -> Result<Settled<NamedGroup>, StoreError> {
        let changed = self
            .groups
            .change(known.key, &known.chosen(), wanted)
            .await?;
        if let Settled::Done(_) = &changed {
            record(origin, "changed", "application group", &known.name);
        }
        Ok(changed)
    }

    /// Removes a group, if it is still as it was known and has no applications.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn remove_group(
        &self,
        known: &Group,
        origin: &Origin,
    ) -> Result<Release, StoreError> {
        let release = self.groups.remove(known.key, &known.chosen()).await?;
        if release == Release::Done {
            record(origin, "removed", "application group", &known.name);
        }
        Ok(release)
    }

    /// Adds a catalog entry that nothing belongs to yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when there is one of this name and kind; else as the store.
    pub async fn add_entry(
        &self,
        kind: ApplicationKind,
        entry: &CatalogSettings,
        origin: &Origin,
    ) -> Result<CatalogEntry, StoreError> {
        let added = self.catalog.add(kind, entry, self.clock.now()).await?;
        record(origin, "added", "catalog entry", &entry.name);
        Ok(added)
    }

    /// Changes what people say about a catalog entry, if it is still as it was known; `None` if it is not.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when there is one of this name and kind; else as the store.
    pub async fn change_entry(
        &self,
        known: &CatalogEntry,
        wanted: &CatalogSettings,
        origin: &Origin,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        let changed = self
            .catalog
            .change(known.key, &known.chosen(), wanted)
            .await?;
        if changed.is_some() {
            record(origin, "changed", "catalog entry", &known.name);
        }
        Ok(changed)
    }

    /// Removes a catalog entry, if it is still as it was known and nothing belongs to it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn remove_entry(
        &self,
        known: &CatalogEntry,
        origin: &Origin,
    ) -> Result<Release, StoreError> {
        let release = self.catalog.remove(known.key, &known.chosen()).await?;
        if release == Release::Done {
            record(origin, "removed", "catalog entry", &known.name);
        }
        Ok(release)
    }
}
