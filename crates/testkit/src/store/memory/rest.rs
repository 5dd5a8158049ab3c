//! Orchestrator playbooks, API keys and health in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::access::{ApiKey, KEYS_MAX, KeyOrigin};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::orchestrator::{OrchestratorMetadata, OrchestratorPlaybook};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    AccessKeys, History, HistoryUpkeep, OrchestratorStore, ScanOutcome, StoreError, StoreHealth,
};

use super::{MemoryStore, ascending};

#[async_trait]
impl HistoryUpkeep for MemoryStore {
    async fn prune(
        &self,
        history: History,
        before: Timestamp,
        limit: u32,
    ) -> Result<u32, StoreError> {
        let state = &mut *self.state("forget what happened long ago")?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let times = match history {
            History::FleetEvents => {
                let events = state.events.iter();
                events.map(|(key, event)| (event.event.at, *key)).collect()
            }
            History::HaproxyStatuses => {
                let changes = state.status_history.iter();
                changes
                    .map(|(_, change)| (change.at, change.position))
                    .collect()
            }
            History::GoneServers => {
                let servers = state.haproxy_servers.iter();
                servers
                    .filter_map(|(key, server)| Some((server.removed_at?, *key)))
                    .collect()
            }
            History::GoneBackends => {
                let backends = state.backends.iter();
                backends
                    .filter_map(|(key, backend)| Some((backend.removed_at?, *key)))
                    .collect()
            }
            // They are not kept here.
            History::InstanceStatuses => Vec::new(),
            History::GoneApplications => state.long_gone(before),
            History::EmptyGroups => state.empty_groups(),
            History::EmptyCatalogEntries => state.empty_entries(),
        };
        let mut old: Vec<(Timestamp, i64)> = times;
        old.retain(|(at, _)| *at < before);
        old.sort_unstable();
        old.truncate(most);
        let is_old = |key: i64| old.iter().any(|(_, old)| *old == key);
        match history {
            History::FleetEvents => state.events.retain(|key, _| !is_old(*key)),
            History::HaproxyStatuses => {
                let changes = &mut state.status_history;
                changes.retain(|(_, change)| !is_old(change.position));
            }
            History::GoneServers => state.forget_servers(is_old),
            History::GoneBackends => state.backends.retain(|key, _| !is_old(*key)),
            History::InstanceStatuses => {}
            History::GoneApplications => {
                for (_, key) in &old {
                    state.forget_application(*key);
                }
            }
            History::EmptyGroups => {
                for (_, key) in &old {
                    state.forget_group(*key);
                }
            }
            History::EmptyCatalogEntries => {
                for (_, key) in &old {
                    state.catalog.remove(key);
                    state.found_entries.remove(key);
                }
            }
        }
        Ok(u32::try_from(old.len()).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl OrchestratorStore for MemoryStore {
    async fn record_scan(
        &self,
        found: &[OrchestratorMetadata],
        at: Timestamp,
    ) -> Result<ScanOutcome, StoreError> {
        let mut state = self.state("store the orchestrator playbooks that a scan found")?;
        let found: BTreeMap<&str, &OrchestratorMetadata> = found
            .iter()
            .map(|found| (found.file_path.as_str(), found))
            .collect();
        let mut outcome = ScanOutcome::default();
        for (file_path, metadata) in found {
            let known = state
                .orchestrators
                .values_mut()
                .find(|known| known.metadata.file_path == file_path);
            if let Some(known) = known {
                outcome.updated += u32::from(known.metadata != *metadata);
                (known.metadata, known.last_scanned) = (metadata.clone(), at);
                continue;
            }
            let key = state.draw_key();
            let playbook = OrchestratorPlaybook {
                key: Key::new(key),
                metadata: metadata.clone(),
                is_active: true,
                last_scanned: at,
            };
            state.orchestrators.insert(key, playbook);
            outcome.new += 1;
        }
        Ok(outcome)
    }

    async fn find(&self, file_path: &str) -> Result<Option<OrchestratorPlaybook>, StoreError> {
        let state = self.state("find an orchestrator playbook")?;
        Ok(state
            .orchestrators
            .values()
            .find(|playbook| playbook.metadata.file_path == file_path)
            .cloned())
    }

    async fn list(&self, page: PageRequest) -> Result<Page<OrchestratorPlaybook>, StoreError> {
        let state = self.state("list orchestrator playbooks")?;
        let all = state
            .orchestrators
            .iter()
            .map(|(key, playbook)| (*key, playbook.clone()));
        Ok(ascending(all, page).map(|(_, playbook)| playbook))
    }
}

#[async_trait]
impl AccessKeys for MemoryStore {
    async fn find(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        Ok(self.state("find an API key")?.keys.get(public_id).cloned())
    }

    async fn insert_first(&self, key: &ApiKey) -> Result<bool, StoreError> {
        let mut state = self.state("store the first API key")?;
        if !state.keys.is_empty() {
            return Ok(false);
        }
        state.keys.insert(key.public_id.clone(), key.clone());
        Ok(true)
    }

    async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        let state = self.state("list the API keys")?;
        let mut keys: Vec<ApiKey> = state.keys.values().cloned().collect();
        keys.sort_by(|a, b| (a.created_at, &a.public_id).cmp(&(b.created_at, &b.public_id)));
        Ok(keys)
    }

    async fn insert(&self, key: &ApiKey) -> Result<(), StoreError> {
        let mut state = self.state("store an API key")?;
        let is_taken = |known: &ApiKey| known.name == key.name || known.public_id == key.public_id;
        if state.keys.values().any(is_taken) {
            return Err(StoreError::AlreadyExists {
                what: "the API key",
                name: key.name.clone(),
            });
        }
        if state.keys.len() >= KEYS_MAX {
            return Err(StoreError::Refused {
                reason: format!("there are {KEYS_MAX} API keys already"),
            });
        }
        state.keys.insert(key.public_id.clone(), key.clone());
        Ok(())
    }

    async fn configure(&self, key: Option<&ApiKey>) -> Result<bool, StoreError> {
        let mut state = self.state("store the API key of the settings")?;
        let before: Vec<ApiKey> = state
            .keys
            .values()
            .filter(|key| key.origin == KeyOrigin::Configured)
            .cloned()
            .collect();
        let is_same = match (before.as_slice(), key) {
            ([], None) => true,
            ([known], Some(key)) => {
                (&known.public_id, known.digest, known.role)
                    == (&key.public_id, key.digest, key.role)
            }
            _ => false,
        };
        if is_same {
            return Ok(false);
        }
        state
            .keys
            .retain(|_, key| key.origin != KeyOrigin::Configured);
        if let Some(key) = key {
            state.keys.insert(key.public_id.clone(), key.clone());
        }
        Ok(true)
    }

    async fn remove(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        let mut state = self.state("remove an API key")?;
        let Some(key) = state.keys.get(public_id).cloned() else {
            return Ok(None);
        };
        let others = state
            .keys
            .values()
            .filter(|other| other.public_id != public_id);
        let others: Vec<ApiKey> = others.cloned().collect();
        if let Some(reason) = key.why_kept(&others) {
            return Err(StoreError::Refused { reason });
        }
        Ok(state.keys.remove(public_id))
    }
}

#[async_trait]
impl StoreHealth for MemoryStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.state("answer").map(|_| ())
    }
}
