//! HAProxy in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::fleet::{ApplicationKey, ServerKey};
use drover_domain::haproxy::sync::{KnownHaproxy, SyncChange};
use drover_domain::haproxy::{
    BackendKey, Capacity, FetchStatus, HaproxyBackend, HaproxyCounts, HaproxyInstance,
    HaproxyInstanceKey, HaproxyServer, HaproxyServerKey, MappingBasis, MappingCandidate,
    ObservedServer, ServerWord,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::TaskId;
use drover_domain::{Key, Timestamp};
use drover_ports::{
    BackendFilter, DoubtfulMapping, HaproxyInstanceFilter, HaproxyServerFilter, HaproxyStore,
    HaproxyView, MappingCause, NewMapping, StatusChange, StoreError,
};

use super::fleet::has;
use super::{MemoryStore, State, ascending};

/// What is stored of an observation: how many sessions old workers have is not.
fn kept(observed: &ObservedServer) -> ObservedServer {
    ObservedServer {
        old_sessions: None,
        ..observed.clone()
    }
}

impl State {
    fn instance(&self, stored: &HaproxyInstance) -> HaproxyInstance {
        let backends = self
            .backends
            .values()
            .filter(|backend| backend.instance == stored.key && backend.removed_at.is_none());
        HaproxyInstance {
            backends: u32::try_from(backends.count()).unwrap(),
            ..stored.clone()
        }
    }

    pub(super) fn backend(&self, stored: &HaproxyBackend) -> HaproxyBackend {
        let servers = || {
            let of_backend = self
                .haproxy_servers
                .values()
                .filter(|server| server.backend == stored.key);
            of_backend.filter(|server| server.removed_at.is_none())
        };
        let there = servers().filter(|server| server.missed_at.is_none());
        let ready = Capacity::of(there.map(|server| &server.observed)).serving();
        HaproxyBackend {
            servers: u32::try_from(servers().count()).unwrap(),
            ready: u32::try_from(ready).unwrap(),
            observed_at: stored
                .observed_at
                .or_else(|| self.instances.get(&stored.instance.get())?.observed_at),
            ..stored.clone()
        }
    }

    pub(super) fn haproxy_server(&self, stored: &HaproxyServer) -> HaproxyServer {
        let backend = self.backends.get(&stored.backend.get());
        let read_at = backend.and_then(|backend| self.backend(backend).observed_at);
        HaproxyServer {
            observed_at: match stored.missed_at {
                Some(_) => stored.last_seen,
                None => stored.last_seen.max(read_at),
            },
            application: self
                .active_mapping(stored.key)
                .map(|active| active.application),
            ..stored.clone()
        }
    }

    fn active_instances(&self, server: ServerKey) -> Vec<HaproxyInstance> {
        let of_server = self
            .instances
            .values()
            .filter(|instance| instance.server == server && instance.is_active);
        let mut instances: Vec<HaproxyInstance> =
            of_server.map(|instance| self.instance(instance)).collect();
        instances.sort_by(|one, other| one.name.cmp(&other.name));
        instances
    }

    /// Forgets the instances of a server with everything in them.
    pub(super) fn forget_instances(&mut self, server: ServerKey) {
        self.instances
            .retain(|_, instance| instance.server != server);
        let instances = &self.instances;
        self.backends
            .retain(|_, backend| instances.contains_key(&backend.instance.get()));
        let backends = &self.backends;
        self.haproxy_servers
            .retain(|_, found| backends.contains_key(&found.backend.get()));
        self.forget_what_servers_had();
    }

    /// Forgets the servers with these keys, and what hangs on them.
    pub(super) fn forget_servers(&mut self, is_old: impl Fn(i64) -> bool) {
        self.haproxy_servers.retain(|key, _| !is_old(*key));
        self.forget_what_servers_had();
    }

    // What hangs on servers that are gone.
    fn forget_what_servers_had(&mut self) {
        let servers = &self.haproxy_servers;
        let is_there = |key: HaproxyServerKey| servers.contains_key(&key.get());
        let stood = self
            .mappings
            .extract_if(.., |mapping| !is_there(mapping.server));
        let stood = stood.map(|mapping| mapping.what.application.get());
        self.stood_behind_haproxy.extend(stood);
        self.mapping_history.retain(|(server, _)| is_there(*server));
        self.status_history.retain(|(server, _)| is_there(*server));
        self.exclusions
            .retain(|server, _| servers.contains_key(server));
        self.actions
            .retain(|_, action| is_there(action.request.server));
    }

    fn has_instance(&self, backend: BackendKey, instance: HaproxyInstanceKey) -> bool {
        self.backends
            .get(&backend.get())
            .is_some_and(|backend| backend.instance == instance)
    }

    fn apply(&mut self, change: &SyncChange) {
        let instance = change.instance.key;
        for upsert in &change.backends {
            let known = self
                .backends
                .values_mut()
                .find(|known| known.instance == instance && known.name == upsert.name);
            if let Some(known) = known {
                known.last_fetch_status = upsert.status;
                known.last_fetch_error.clone_from(&upsert.error);
                known.observed_at = upsert.observed_at;
                known.missed_at = None;
                known.removed_at = None;
                continue;
            }
            let key = self.draw_key();
            let backend = HaproxyBackend {
                key: Key::new(key),
                instance,
                name: upsert.name.clone(),
                last_fetch_status: upsert.status,
                last_fetch_error: upsert.error.clone(),
                observed_at: upsert.observed_at,
                missed_at: None,
                servers: 0,
                ready: 0,
                removed_at: None,
            };
            self.backends.insert(key, backend);
        }
        for upsert in &change.servers {
            let mut backends = self.backends.values();
            let backend =
                backends.find(|known| known.instance == instance && known.name == upsert.backend);
            let Some(backend) = backend.map(|backend| backend.key) else {
                continue;
            };
            let known = self.haproxy_servers.values_mut().find(|known| {
                known.backend == backend && known.observed.name == upsert.observed.name
            });
            if let Some(known) = known {
                known.observed = kept(&upsert.observed);
                known.last_seen = Some(change.at);
                known.missed_at = None;
                known.removed_at = None;
                continue;
            }
            let key = self.draw_key();
            let server = HaproxyServer {
                key: Key::new(key),
                backend,
                observed: kept(&upsert.observed),
                application: None,
                pin: None,
                last_seen: Some(change.at),
                observed_at: None,
                missed_at: None,
                removed_at: None,
            };
            self.haproxy_servers.insert(key, server);
        }
        self.apply_absence(change);
        for key in &change.lapsed {
            let known = self.haproxy_servers.get_mut(&key.get());
            let known = known.filter(|known| {
                let pin = known.pin.as_ref();
                pin.is_some_and(|pin| pin.has_lapsed(change.at))
            });
            if let Some(known) = known {
                known.pin = None;
            }
        }
        for entry in &change.history {
            let words = (entry.old.clone(), entry.new.clone());
            let action = self.action_under_way(entry.server);
            let action = action.filter(|_| entry.is_administrative);
            self.record_status(entry.server, change.at, words, action);
        }
    }

    /// Marks what an answer lacks as missed, and what it lacks again as removed.
    fn apply_absence(&mut self, change: &SyncChange) {
        let instance = change.instance.key;
        for backend in self
            .backends
            .values_mut()
            .filter(|backend| backend.instance == instance)
        {
            if change.missed_backends.contains(&backend.key) {
                backend.missed_at = Some(change.at);
            }
            if change.removed_backends.contains(&backend.key) {
                backend.removed_at = backend.removed_at.or(Some(change.at));
            }
        }
        for key in &change.missed_servers {
            if let Some(server) = self.haproxy_servers.get_mut(&key.get()) {
                server.missed_at = Some(change.at);
            }
        }
        let gone: Vec<i64> = self
            .haproxy_servers
            .values()
            .filter(|server| {
                change.removed_servers.contains(&server.key)
                    || change.removed_backends.contains(&server.backend)
            })
            .filter(|server| {
                server.removed_at.is_none() && self.has_instance(server.backend, instance)
            })
            .map(|server| server.key.get())
            .collect();
        for key in gone {
            self.haproxy_servers.get_mut(&key).unwrap().removed_at = Some(change.at);
        }
    }

    /// Adds a row to the history of a server; `action` is what changed it, and who asked for that.
    pub(super) fn record_status(
        &mut self,
        server: HaproxyServerKey,
        at: Timestamp,
        (old, new): (ServerWord, ServerWord),
        action: Option<(TaskId, String)>,
    ) {
        if !self.haproxy_servers.contains_key(&server.get()) {
            return;
        }
        let position = self.draw_key();
        let (action, actor) = action.unzip();
        let change = StatusChange {
            position,
            at,
            old,
            new,
            action,
            actor,
        };
        self.status_history.push((server, change));
        self.note_word(server);
    }
}

#[async_trait]
impl HaproxyStore for MemoryStore {
    async fn record_instances(
        &self,
        server: ServerKey,
        names: &[String],
        _at: Timestamp,
    ) -> Result<Vec<HaproxyInstance>, StoreError> {
        let mut state = self.state("store the HAProxy instances of a server")?;
        let Some(found) = state.servers.get(&server.get()) else {
            return Ok(Vec::new());
        };
        let server_name = found.name.clone();
        let names = if found.is_haproxy_node { names } else { &[] };
        let mut missing: Vec<&String> = names.iter().collect();
        missing.sort();
        missing.dedup();
        for instance in state
            .instances
            .values_mut()
            .filter(|instance| instance.server == server)
        {
            instance.is_active = names.contains(&instance.name);
            missing.retain(|name| **name != instance.name);
        }
        for name in missing {
            let key = state.draw_key();
            let instance = HaproxyInstance {
                key: Key::new(key),
                server,
                server_name: server_name.clone(),
                name: name.clone(),
                is_active: true,
                last_sync: None,
                last_sync_status: FetchStatus::Unknown,
                last_sync_error: None,
                observed_at: None,
                version: None,
                process: None,
                backends: 0,
            };
            state.instances.insert(key, instance);
        }
        Ok(state.active_instances(server))
    }

    async fn active_instances(
        &self,
        server: ServerKey,
    ) -> Result<Vec<HaproxyInstance>, StoreError> {
        Ok(self
            .state("list the HAProxy instances of a server")?
            .active_instances(server))
    }

    async fn load(&self, instance: HaproxyInstanceKey) -> Result<Option<KnownHaproxy>, StoreError> {
        let state = self.state("load a HAProxy instance")?;
        let Some(found) = state.instances.get(&instance.get()) else {
            return Ok(None);
        };
        let backends = state
            .backends
            .values()
            .filter(|backend| backend.instance == instance && backend.removed_at.is_none());
        let servers = state.haproxy_servers.values().filter(|server| {
            server.removed_at.is_none() && state.has_instance(server.backend, instance)
        });
        Ok(Some(KnownHaproxy {
            instance: state.instance(found),
            backends: backends.map(|backend| state.backend(backend)).collect(),
            servers: servers.map(|server| state.haproxy_server(server)).collect(),
        }))
    }

    async fn store(&self, change: &SyncChange) -> Result<(), StoreError> {
        let mut state = self.state("store a HAProxy sync")?;
        let Some(instance) = state.instances.get_mut(&change.instance.key.get()) else {
            return Ok(());
        };
        instance.last_sync = change.instance.last_sync;
        instance.last_sync_status = change.instance.last_sync_status;
        instance
            .last_sync_error
            .clone_from(&change.instance.last_sync_error);
        instance.observed_at = change.instance.observed_at;
        instance.version.clone_from(&change.instance.version);
        instance.process = change.instance.process;
        state.apply(change);
        Ok(())
    }

    async fn unmapped(
        &self,
        instance: Option<HaproxyInstanceKey>,
    ) -> Result<Vec<HaproxyServer>, StoreError> {
        let state = self.state("list HAProxy servers without a mapping")?;
        let wanted = state.haproxy_servers.values().filter(|server| {
            let backend = state.backends.get(&server.backend.get());
            let is_there = backend.is_some_and(|backend| match instance {
                Some(instance) => backend.instance == instance && backend.removed_at.is_none(),
                None => state.is_shown(backend),
            });
            is_there
                && server.removed_at.is_none()
                && !state.exclusions.contains_key(&server.key.get())
        });
        let servers = wanted.map(|server| state.haproxy_server(server));
        Ok(servers
            .filter(|server| server.application.is_none())
            .collect())
    }

    async fn candidates(&self) -> Result<Vec<MappingCandidate>, StoreError> {
        let state = self.state("list applications for mapping")?;
        let candidates = state.applications.iter().filter_map(|(key, application)| {
            let is_present = state.is_present(application);
            state.candidate(*key).filter(|_| is_present)
        });
        Ok(candidates.collect())
    }

    async fn map(&self, mappings: &[NewMapping]) -> Result<u64, StoreError> {
        let mut state = self.state("map HAProxy servers to applications")?;
        let wanted: BTreeMap<i64, &NewMapping> = mappings
            .iter()
            .map(|mapping| (mapping.server.get(), mapping))
            .collect();
        let mut made = 0;
        for mapping in wanted.into_values() {
            if state.haproxy_servers.contains_key(&mapping.server.get())
                && state.applications.contains_key(&mapping.application.get())
                && state.make_mapping(mapping)
            {
                made += 1;
            }
        }
        Ok(made)
    }

    async fn doubtful(
        &self,
        instance: Option<HaproxyInstanceKey>,
    ) -> Result<Vec<DoubtfulMapping>, StoreError> {
        let state = self.state("list HAProxy mappings by address")?;
        let servers = state.haproxy_servers.values().filter_map(|server| {
            let backend = state.backends.get(&server.backend.get())?;
            let is_wanted = match instance {
                Some(instance) => backend.instance == instance && backend.removed_at.is_none(),
                None => state.is_shown(backend),
            };
            let active = state.active_mapping(server.key)?;
            let candidate = state.candidate(active.application.get())?;
            let own = [
                Some(candidate.server_address.clone()),
                candidate.agent_ip.map(|ip| ip.to_string()),
            ];
            let is_doubtful = active.basis == MappingBasis::Address
                && candidate.address.is_some()
                && !own.contains(&candidate.address);
            (is_wanted && server.removed_at.is_none() && is_doubtful).then(|| DoubtfulMapping {
                server: server.key,
                server_name: server.observed.name.clone(),
                candidate,
            })
        });
        Ok(servers.collect())
    }

    async fn end(
        &self,
        mappings: &[(HaproxyServerKey, ApplicationKey)],
        at: Timestamp,
        cause: Option<&MappingCause>,
    ) -> Result<u64, StoreError> {
        let mut state = self.state("end mappings of HAProxy servers")?;
        let mut ended = 0;
        for (server, application) in mappings {
            let active = state.active_mapping(*server);
            if active.is_some_and(|active| {
                active.application == *application && active.basis != MappingBasis::Manual
            }) {
                state.end_mapping(*server, at, cause);
                ended += 1;
            }
        }
        Ok(ended)
    }
}

impl State {
    fn candidate(&self, key: i64) -> Option<MappingCandidate> {
        let application = self.applications.get(&key)?;
        let server = self.servers.get(&application.server?.get())?;
        Some(MappingCandidate {
            application: Key::new(key),
            name: application.observed.name.clone(),
            server: server.key,
            server_name: server.name.clone(),
            server_address: server.address.clone(),
            agent_ip: server.agent_ip,
            networks: server.networks.clone(),
            address: application.observed.address.clone(),
            port: application.observed.port,
        })
    }
}

#[async_trait]
impl HaproxyView for MemoryStore {
    async fn instance(
        &self,
        instance: HaproxyInstanceKey,
    ) -> Result<Option<HaproxyInstance>, StoreError> {
        let state = self.state("find a HAProxy instance")?;
        let found = state.instances.get(&instance.get());
        Ok(found.map(|found| state.instance(found)))
    }

    async fn instances(
        &self,
        filter: &HaproxyInstanceFilter,
        page: PageRequest,
    ) -> Result<Page<HaproxyInstance>, StoreError> {
        let state = self.state("list HAProxy instances")?;
        let wanted = state.instances.iter().filter(|(_, instance)| {
            let like = filter.like.as_ref();
            filter.server.is_none_or(|server| instance.server == server)
                && filter
                    .is_active
                    .is_none_or(|is_active| instance.is_active == is_active)
                && (has(&instance.name, like) || has(&instance.server_name, like))
        });
        let wanted = wanted.map(|(key, instance)| (*key, state.instance(instance)));
        Ok(ascending(wanted, page).map(|(_, instance)| instance))
    }

    async fn backends(
        &self,
        instance: HaproxyInstanceKey,
        filter: &BackendFilter,
        page: PageRequest,
    ) -> Result<Option<Page<HaproxyBackend>>, StoreError> {
        let state = self.state("list the backends of a HAProxy instance")?;
        if !state.instances.contains_key(&instance.get()) {
            return Ok(None);
        }
        let wanted = state.backends.iter().filter(|(_, backend)| {
            backend.instance == instance
                && backend.removed_at.is_none()
                && has(&backend.name, filter.like.as_ref())
        });
        let wanted = wanted.map(|(key, backend)| (*key, state.backend(backend)));
        Ok(Some(ascending(wanted, page).map(|(_, backend)| backend)))
    }

    async fn servers(
        &self,
        backend: BackendKey,
        filter: &HaproxyServerFilter,
        page: PageRequest,
    ) -> Result<Option<Page<HaproxyServer>>, StoreError> {
        let state = self.state("list the servers of a HAProxy backend")?;
        if state
            .backends
            .get(&backend.get())
            .is_none_or(|backend| backend.removed_at.is_some())
        {
            return Ok(None);
        }
        let present = state
            .haproxy_servers
            .iter()
            .filter(|(_, server)| server.backend == backend && server.removed_at.is_none());
        let present = present.map(|(key, server)| (*key, state.haproxy_server(server)));
        let wanted = present.filter(|(_, server)| {
            let word = server.observed.word.as_str();
            filter.word.as_ref().is_none_or(|wanted| wanted == word)
                && filter
                    .is_mapped
                    .is_none_or(|is_mapped| server.application.is_some() == is_mapped)
                && has(&server.observed.name, filter.like.as_ref())
        });
        Ok(Some(ascending(wanted, page).map(|(_, server)| server)))
    }

    async fn summary(&self, min_ready: u32) -> Result<HaproxyCounts, StoreError> {
        let state = self.state("sum HAProxy up")?;
        Ok(state.summary(min_ready))
    }
}
