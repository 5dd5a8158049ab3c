//! What people say about applications, in memory.

use async_trait::async_trait;
use drover_domain::fleet::{Application, ApplicationKey, ApplicationSettings};
use drover_ports::{ApplicationRegistry, Settled, StoreError};

use super::MemoryStore;

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
            stored.group = group;
            stored.settings = wanted.own.clone();
        }
        let changed = state.applications.get(&key);
        let changed = changed.map(|stored| state.application(key, stored));
        Ok(changed.map_or(Settled::Changed, Settled::Done))
    }
}
