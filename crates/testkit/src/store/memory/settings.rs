//! What people say about applications, groups and catalog entries, in memory.

use async_trait::async_trait;
use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationSettings, CatalogEntry, CatalogKey,
    CatalogSettings, Group, GroupKey, GroupSettings,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    ApplicationRegistry, CatalogColumn, CatalogFilter, CatalogRegistry, GroupRegistry, NamedGroup,
    Release, Settled, StoreError,
};

use super::fleet::{Catalog, has};
use super::{MemoryStore, State, sorted};

#[async_trait]
impl ApplicationRegistry for MemoryStore {
    async fn change(
        &self,
        application: ApplicationKey,
        known: &ApplicationSettings,
        wanted: &ApplicationSettings,
    ) -> Result<Settled<Application>, StoreError> {
        let mut state = self.state("change the settings of an application")?;
        let key = application.get();
        let stored = state.applications.get(&key);
        if stored.is_none_or(|stored| state.application(key, stored).chosen() != *known) {
            return Ok(Settled::Changed);
        }
        let mut groups = state.groups.values();
        let group = groups.find(|group| Some(&group.name) == wanted.group.as_ref());
        let group = group.map(|group| group.key);
        if group.is_none() && wanted.group.is_some() {
            return Ok(Settled::NoOwner);
        }
        if let Some(stored) = state.applications.get_mut(&key) {
            if stored.group != group {
                (stored.group, stored.joined) = (group, None);
            }
            if group.is_some() {
                stored.proposed = None;
            }
            stored.settings = wanted.own.clone();
        }
        let changed = state.applications.get(&key);
        let changed = changed.map(|stored| state.application(key, stored));
        Ok(changed.map_or(Settled::Changed, Settled::Done))
    }
}

fn taken(what: &'static str, name: &str) -> StoreError {
    let name = name.to_owned();
    StoreError::AlreadyExists { what, name }
}

impl State {
    /// Refuses the name of another group.
    fn check_group_name(&self, group: Option<GroupKey>, name: &str) -> Result<(), StoreError> {
        let is_taken = |other: &Group| Some(other.key) != group && other.name == name;
        if self.groups.values().any(is_taken) {
            return Err(taken("application group", name));
        }
        Ok(())
    }

    pub(super) fn forget_group(&mut self, key: i64) {
        self.groups.remove(&key);
        self.found_groups.remove(&key);
        self.group_updates.remove(&key);
        for application in self.applications.values_mut() {
            application.proposed = application.proposed.filter(|group| group.get() != key);
        }
    }

    fn has_catalog(&self, catalog: Option<CatalogKey>) -> bool {
        catalog.is_none_or(|catalog| self.catalog.contains_key(&catalog.get()))
    }

    /// Refuses the name of another entry of this kind.
    fn check_entry_name(
        &self,
        entry: Option<CatalogKey>,
        kind: ApplicationKind,
        name: &str,
    ) -> Result<(), StoreError> {
        let is_taken = |(key, other): (&i64, &Catalog)| {
            Some(Key::new(*key)) != entry && other.kind == kind && other.name == name
        };
        if self.catalog.iter().any(is_taken) {
            return Err(taken("catalog entry", name));
        }
        Ok(())
    }

    fn entry(&self, key: i64) -> Option<CatalogEntry> {
        let entry = self.catalog.get(&key)?;
        let key = CatalogKey::new(key);
        let applications = self.applications.values();
        let applications = applications.filter(|application| application.catalog == Some(key));
        let groups = self.groups.values();
        let groups = groups.filter(|group| group.catalog == Some(key));
        Some(CatalogEntry {
            key,
            name: entry.name.clone(),
            kind: entry.kind,
            settings: entry.settings.clone(),
            applications: u32::try_from(applications.count()).unwrap(),
            groups: u32::try_from(groups.count()).unwrap(),
        })
    }
}

#[async_trait]
impl GroupRegistry for MemoryStore {
    async fn add(
        &self,
        group: &GroupSettings,
        _: Timestamp,
    ) -> Result<Option<NamedGroup>, StoreError> {
        let mut state = self.state("add an application group")?;
        if !state.has_catalog(group.catalog) {
            return Ok(None);
        }
        state.check_group_name(None, &group.name)?;
        let key = state.draw_key();
        let added = Group {
            key: Key::new(key),
            name: group.name.clone(),
            catalog: group.catalog,
            settings: group.own.clone(),
            grouping: group.grouping.clone(),
            applications: 0,
            online: 0,
        };
        state.groups.insert(key, added.clone());
        Ok(Some(state.named(&added)))
    }

    async fn find(&self, group: GroupKey) -> Result<Option<NamedGroup>, StoreError> {
        let state = self.state("find an application group")?;
        let found = state.groups.get(&group.get());
        Ok(found.map(|found| state.named(found)))
    }

    async fn change(
        &self,
        group: GroupKey,
        known: &GroupSettings,
        wanted: &GroupSettings,
    ) -> Result<Settled<NamedGroup>, StoreError> {
        let mut state = self.state("change an application group")?;
        let is_owned = state.has_catalog(wanted.catalog);
        let is_free = state.check_group_name(Some(group), &wanted.name);
        let found = state.groups.get_mut(&group.get());
        let Some(found) = found.filter(|found| found.chosen() == *known) else {
            return Ok(Settled::Changed);
        };
        if !is_owned {
            return Ok(Settled::NoOwner);
        }
        is_free?;
        found.name.clone_from(&wanted.name);
        found.catalog = wanted.catalog;
        found.grouping.clone_from(&wanted.grouping);
        found.settings = wanted.own.clone();
        let changed = found.clone();
        state.found_groups.remove(&group.get());
        Ok(Settled::Done(state.named(&changed)))
    }

    async fn remove(&self, group: GroupKey, known: &GroupSettings) -> Result<Release, StoreError> {
        let mut state = self.state("remove an application group")?;
        let found = state.groups.get(&group.get());
        let found = found.map(|found| state.named(found).0);
        let Some(found) = found.filter(|found| found.chosen() == *known) else {
            return Ok(Release::Changed);
        };
        if found.applications > 0 {
            return Ok(Release::InUse {
                applications: found.applications,
                groups: 0,
            });
        }
        state.forget_group(group.get());
        Ok(Release::Done)
    }
}

#[async_trait]
impl CatalogRegistry for MemoryStore {
    async fn add(
        &self,
        kind: ApplicationKind,
        entry: &CatalogSettings,
        _: Timestamp,
    ) -> Result<CatalogEntry, StoreError> {
        let mut state = self.state("add a catalog entry")?;
        state.check_entry_name(None, kind, &entry.name)?;
        let key = state.draw_key();
        let added = Catalog {
            name: entry.name.clone(),
            kind,
            settings: entry.own.clone(),
        };
        state.catalog.insert(key, added);
        Ok(state.entry(key).expect("it was just added"))
    }

    async fn find(&self, entry: CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
        Ok(self.state("find a catalog entry")?.entry(entry.get()))
    }

    async fn list(
        &self,
        filter: &CatalogFilter,
        page: PageRequest,
    ) -> Result<Page<CatalogEntry>, StoreError> {
        let state = self.state("list the catalog")?;
        let sort = filter.sort;
        let all = state.catalog.keys().filter_map(|key| state.entry(*key));
        let wanted = all.filter(|entry| {
            filter.kind.is_none_or(|kind| entry.kind == kind)
                && has(&entry.name, filter.like.as_ref())
        });
        let text = |name: &str| match sort.by {
            CatalogColumn::Key => String::new(),
            CatalogColumn::Name => name.to_owned(),
        };
        let placed = wanted.map(|entry| ((text(&entry.name), 0, entry.key.get()), entry));
        let place = |key: i64| {
            if sort.by == CatalogColumn::Key {
                return Some((String::new(), 0, key));
            }
            let entry = state.catalog.get(&key);
            entry.map(|entry| (text(&entry.name), 0, key))
        };
        sorted(placed.collect(), place, sort.is_descending, page)
    }

    async fn change(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
        wanted: &CatalogSettings,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        let mut state = self.state("change a catalog entry")?;
        let found = state.entry(entry.get());
        let Some(found) = found.filter(|found| found.chosen() == *known) else {
            return Ok(None);
        };
        state.check_entry_name(Some(entry), found.kind, &wanted.name)?;
        state.found_entries.remove(&entry.get());
        if let Some(stored) = state.catalog.get_mut(&entry.get()) {
            stored.name.clone_from(&wanted.name);
            stored.settings = wanted.own.clone();
        }
        Ok(state.entry(entry.get()))
    }

    async fn remove(
        &self,
        entry: CatalogKey,
        known: &CatalogSettings,
    ) -> Result<Release, StoreError> {
        let mut state = self.state("remove a catalog entry")?;
        let found = state.entry(entry.get());
        let Some(found) = found.filter(|found| found.chosen() == *known) else {
            return Ok(Release::Changed);
        };
        let (applications, groups) = (found.applications, found.groups);
        if applications + groups > 0 {
            return Ok(Release::InUse {
                applications,
                groups,
            });
        }
        state.catalog.remove(&entry.get());
        Ok(Release::Done)
    }
}
