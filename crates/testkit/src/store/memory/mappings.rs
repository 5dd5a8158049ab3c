//! Mappings of servers in HAProxy to applications, in memory; and all of HAProxy in a few numbers.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::haproxy::{
    ActiveMapping, Exclusion, FetchStatus, HaproxyBackend, HaproxyCounts, HaproxyServer,
    HaproxyServerKey, InstanceBreaker, MappingAction, MappingBasis, ServerMapping, ShortBackend,
};
use drover_domain::page::{Page, PageRequest};
use drover_ports::{
    HaproxyMappings, ManualMapping, MapOutcome, MappingCause, MappingChange, NewMapping,
    StoreError, UnmappedFilter, UnmappedServer, Unmapping,
};

use super::fleet::has;
use super::{Mapping, MemoryStore, State, ascending, descending};

impl State {
    pub(super) fn active_mapping(&self, server: HaproxyServerKey) -> Option<ActiveMapping> {
        self.mappings
            .iter()
            .find(|known| known.is_active && known.server == server)
            .map(|known| known.what)
    }

    /// Whether a backend is there, in an instance that is active.
    pub(super) fn is_shown(&self, backend: &HaproxyBackend) -> bool {
        let instance = self.instances.get(&backend.instance.get());
        backend.removed_at.is_none() && instance.is_some_and(|instance| instance.is_active)
    }

    fn shown_servers(&self) -> impl Iterator<Item = (&HaproxyBackend, &HaproxyServer)> {
        self.haproxy_servers.values().filter_map(|server| {
            let backend = self.backends.get(&server.backend.get())?;
            (server.removed_at.is_none() && self.is_shown(backend)).then_some((backend, server))
        })
    }

    fn server_mapping(&self, server: HaproxyServerKey) -> ServerMapping {
        ServerMapping {
            server,
            active: self.active_mapping(server),
            exclusion: self.exclusions.get(&server.get()).cloned(),
        }
    }

    fn record_mapping(
        &mut self,
        server: HaproxyServerKey,
        mapping: ActiveMapping,
        (action, at): (MappingAction, Timestamp),
        cause: Option<&MappingCause>,
    ) {
        let change = MappingChange {
            position: self.draw_key(),
            at,
            action,
            application: mapping.application,
            basis: mapping.basis,
            cause: cause.cloned(),
        };
        self.mapping_history.push((server, change));
    }

    pub(super) fn end_mapping(
        &mut self,
        server: HaproxyServerKey,
        at: Timestamp,
        cause: Option<&MappingCause>,
    ) {
        let Some(active) = self.active_mapping(server) else {
            return;
        };
        let of_server = self.mappings.iter_mut();
        of_server
            .filter(|known| known.server == server)
            .for_each(|known| known.is_active = false);
        self.record_mapping(server, active, (MappingAction::Deactivated, at), cause);
    }

    /// Makes a mapping active, if it may be; says whether it was made or changed.
    pub(super) fn make_mapping(&mut self, wanted: &NewMapping) -> bool {
        let server = wanted.server;
        let new = ActiveMapping {
            application: wanted.application,
            basis: wanted.basis,
            at: wanted.at,
        };
        let is_manual = wanted.basis == MappingBasis::Manual;
        let active = self.active_mapping(server);
        let stays = match active {
            Some(active) if active.basis == MappingBasis::Manual && !is_manual => true,
            Some(active) => (active.application, active.basis) == (new.application, new.basis),
            None => self.exclusions.contains_key(&server.get()),
        };
        if stays {
            return false;
        }
        let cause = wanted.cause.as_ref();
        if active.is_some_and(|active| active.application != new.application) {
            self.end_mapping(server, wanted.at, cause);
        }
        let known = self
            .mappings
            .iter_mut()
            .find(|known| known.server == server && known.what.application == new.application);
        let action = if let Some(known) = known {
            let was_active = known.is_active;
            (known.what, known.is_active) = (new, true);
            if was_active {
                MappingAction::Updated
            } else {
                MappingAction::Activated
            }
        } else {
            self.mappings.push(Mapping {
                server,
                what: new,
                is_active: true,
            });
            MappingAction::Created
        };
        self.record_mapping(server, new, (action, wanted.at), cause);
        true
    }

    pub(super) fn summary(&self, min_ready: u32) -> HaproxyCounts {
        let count = |number: usize| u64::try_from(number).unwrap();
        let instances = || {
            self.instances
                .values()
                .filter(|instance| instance.is_active)
        };
        let with = |status| {
            let those = instances().filter(|instance| instance.last_sync_status == status);
            count(those.count())
        };
        let backends = || {
            self.backends
                .values()
                .filter(|backend| self.is_shown(backend))
        };
        let mut summary = HaproxyCounts {
            instances: count(instances().count()),
            synced: with(FetchStatus::Success),
            partial: with(FetchStatus::Partial),
            failed: with(FetchStatus::Failed),
            backends: count(backends().count()),
            unread_nodes: count(
                self.servers
                    .values()
                    .filter(|server| server.is_haproxy_node)
                    .filter(|server| !instances().any(|instance| instance.server == server.key))
                    .count(),
            ),
            ..HaproxyCounts::default()
        };
        for (_, server) in self.shown_servers() {
            let observed = &server.observed;
            let takes_requests = observed.takes_requests() && !observed.role.is_backup;
            summary.servers.note(&observed.word, takes_requests, 1);
            if let Some(pin) = &server.pin {
                summary.count_pinned(pin.state, &observed.word, observed.admin, 1);
            }
            if self.active_mapping(server.key).is_none() {
                summary.unmapped += 1;
                summary.excluded += u64::from(self.exclusions.contains_key(&server.key.get()));
            }
        }
        summary.breakers = instances()
            .map(|instance| InstanceBreaker {
                instance: instance.key,
                name: instance.name.clone(),
                server_name: instance.server_name.clone(),
                breaker: self
                    .breakers
                    .get(&instance.key.get())
                    .copied()
                    .unwrap_or_default(),
            })
            .collect();
        summary.breakers.sort_by_key(|found| {
            (
                found.breaker.opened_at.is_none() && found.breaker.probe_at.is_none(),
                found.instance,
            )
        });
        summary.breakers.truncate(HaproxyCounts::BREAKERS_MAX);
        let short = backends().filter_map(|backend| {
            let backend = self.backend(backend);
            let instance = self.instances.get(&backend.instance.get())?;
            (backend.servers > 0 && backend.ready < min_ready).then(|| ShortBackend {
                backend: backend.key,
                name: backend.name,
                instance: instance.key,
                instance_name: instance.name.clone(),
                servers: backend.servers,
                ready: backend.ready,
            })
        });
        summary.short_backends = short.collect();
        summary.short = count(summary.short_backends.len());
        summary.short_backends.truncate(HaproxyCounts::SHORT_MAX);
        summary
    }
}

#[async_trait]
impl HaproxyMappings for MemoryStore {
    async fn map_by_hand(&self, mapping: &ManualMapping) -> Result<MapOutcome, StoreError> {
        let mut state = self.state("map a HAProxy server by hand")?;
        let Some(server) = state.haproxy_servers.get(&mapping.server.get()) else {
            return Ok(MapOutcome::NoServer);
        };
        if !state.applications.contains_key(&mapping.application.get()) {
            return Ok(MapOutcome::NoApplication);
        }
        if !state
            .shown_servers()
            .any(|(_, shown)| shown.key == mapping.server)
        {
            return Ok(MapOutcome::Removed(server.observed.name.clone()));
        }
        state.exclusions.remove(&mapping.server.get());
        state.make_mapping(&NewMapping {
            server: mapping.server,
            application: mapping.application,
            basis: MappingBasis::Manual,
            at: mapping.at,
            cause: Some(mapping.cause.clone()),
        });
        Ok(MapOutcome::Mapped(state.server_mapping(mapping.server)))
    }

    async fn unmap(&self, unmapping: &Unmapping) -> Result<Option<ServerMapping>, StoreError> {
        let mut state = self.state("unmap a HAProxy server")?;
        let key = unmapping.server.get();
        if !state.haproxy_servers.contains_key(&key) {
            return Ok(None);
        }
        state.end_mapping(unmapping.server, unmapping.at, Some(&unmapping.cause));
        if unmapping.exclude {
            let MappingCause { origin, reason } = unmapping.cause.clone();
            state.exclusions.entry(key).or_insert(Exclusion {
                at: unmapping.at,
                actor: origin.actor,
                reason,
            });
        } else {
            state.exclusions.remove(&key);
        }
        Ok(Some(state.server_mapping(unmapping.server)))
    }

    async fn find(&self, server: HaproxyServerKey) -> Result<Option<ServerMapping>, StoreError> {
        let state = self.state("find the mapping of a HAProxy server")?;
        let is_known = state.haproxy_servers.contains_key(&server.get());
        Ok(is_known.then(|| state.server_mapping(server)))
    }

    async fn history(
        &self,
        server: HaproxyServerKey,
        page: PageRequest,
    ) -> Result<Option<Page<MappingChange>>, StoreError> {
        let state = self.state("list the mapping changes of a HAProxy server")?;
        if !state.haproxy_servers.contains_key(&server.get()) {
            return Ok(None);
        }
        let of_server = state.mapping_history.iter().filter(|(of, _)| *of == server);
        let changes = of_server.map(|(_, change)| (change.position, change.clone()));
        Ok(Some(descending(changes, page).map(|(_, change)| change)))
    }

    async fn unmapped(
        &self,
        filter: &UnmappedFilter,
        page: PageRequest,
    ) -> Result<Page<UnmappedServer>, StoreError> {
        let state = self.state("list the unmapped HAProxy servers")?;
        let unmapped = state.shown_servers().filter_map(|(backend, server)| {
            let instance = state.instances.get(&backend.instance.get())?;
            let found = UnmappedServer {
                server: state.haproxy_server(server),
                backend_name: backend.name.clone(),
                instance: instance.key,
                instance_name: instance.name.clone(),
                node_name: instance.server_name.clone(),
                exclusion: state.exclusions.get(&server.key.get()).cloned(),
            };
            let like = filter.like.as_ref();
            let is_wanted = found.server.application.is_none()
                && filter.instance.is_none_or(|wanted| wanted == instance.key)
                && (has(&server.observed.name, like) || has(&backend.name, like));
            is_wanted.then_some((server.key.get(), found))
        });
        Ok(ascending(unmapped, page).map(|(_, found)| found))
    }
}
