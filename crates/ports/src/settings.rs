//! What people say about applications, groups and catalog entries.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationSettings, CatalogEntry, CatalogKey,
    CatalogSettings, Group, GroupKey, GroupSettings,
};
use drover_domain::page::{Page, PageRequest, Sort};

use crate::{CatalogColumn, StoreError};

/// A group with the name of its catalog entry.
pub type NamedGroup = (Group, Option<String>);

/// The result of a request to change settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled<T> {
    /// It is as wished.
    Done(T),
    /// It is not there, or not as it was known; nothing changed.
    Changed,
    /// The group or catalog entry it refers to does not exist; nothing changed.
    NoOwner,
}

/// The durable record of what people say about applications. Polling makes them and leaves alone what people said.
#[async_trait]
pub trait ApplicationRegistry: Send + Sync {
    /// Changes what people say about an application, if it is still as they knew it. Its number in the group stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn change(
        &self,
        application: ApplicationKey,
        known: &ApplicationSettings,
        wanted: &ApplicationSettings,
    ) -> Result<Settled<Application>, StoreError>;
}

/// The result of a request to remove a group or a catalog entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It is gone.
    Done,
    /// It is not there, or not as it was known; nothing changed.
    Changed,
    /// Something belongs to it; nothing changed.
    InUse {
        /// Applications.
        applications: u32,
        /// Groups.
        groups: u32,
    },
}

/// The durable record of groups. Polling makes them too, by the base names of applications.
#[async_trait]
pub trait GroupRegistry: Send + Sync {
    /// Adds a group without applications; `None` when its catalog entry is not there, and then nothing changed.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken, and then nothing changed;
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn add(
        &self,
        group: &GroupSettings,
        at: Timestamp,
    ) -> Result<Option<NamedGroup>, StoreError>;

    /// The group with this key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, group: GroupKey) -> Result<Option<NamedGroup>, StoreError>;

    /// Changes what people say about a group, if it is still as they knew it. Its applications stay in it.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the name is taken, and then nothing changed;
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn change(
        &self,
        group: GroupKey,
        known: &GroupSettings,
        wanted: &GroupSettings,
    ) -> Result<Settled<NamedGroup>, StoreError>;

    /// Removes a group, if it is still as it was known and has no applications.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn remove(&self, group: GroupKey, known: &GroupSettings) -> Result<Release, StoreError>;
}

/// Which catalog entries are wanted, and in which order; `None` is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogFilter {
    /// Of this kind.
    pub kind: Option<ApplicationKind>,
    /// With this in its name, small or capital letters a to z alike.
    pub like: Option<String>,
    /// In which order.
    pub sort: Sort<CatalogColumn>,
}

/// The durable record of the catalog. Polling makes entries too, by the base names and kinds of applications.
#[async_trait]
pub trait CatalogRegistry: Send + Sync {
    /// Adds an entry without applications and groups.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when there is one of this name and kind, and then nothing changed;
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn add(
        &self,
        kind: ApplicationKind,
        entry: &CatalogSettings,
        at: Timestamp,
    ) -> Result<CatalogEntry, StoreError>;

    /// The entry with this key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn find(&self, entry: CatalogKey) -> Result<Option<CatalogEntry>, StoreError>;

    /// Entries in the order asked for. A page's position is the key of its last entry; the next page begins where that
    /// one stands then.
    ///
    /// # Errors
    ///
    /// [`StoreError::PositionGone`], never in the order of keys; [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn list(
        &self,
        filter: &CatalogFilter,
        page: PageRequest,
    ) -> Result<Page<CatalogEntry>, StoreError>;

    /// Changes what people say about an entry, if it is still as they knew it. `None` if it is not there, or not as it
    /// was known; then nothing changed.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when there is one of this name and kind, and then nothing changed;
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn change(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
        wanted: &CatalogSettings,
    ) -> Result<Option<CatalogEntry>, StoreError>;

    /// Removes an entry, if it is still as it was known and nothing belongs to it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn remove(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
    ) -> Result<Release, StoreError>;
}
