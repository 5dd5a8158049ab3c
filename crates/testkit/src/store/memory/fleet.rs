//! Servers, applications, groups, versions and events in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use drover_domain::fleet::inventory::{ApplicationUpsert, InventoryChange, KnownInventory};
use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationStatus, CatalogKey, Event, Group,
    GroupEntry, GroupKey, NewServer, ObservedApplication, Resolution, Server, ServerKey,
    ServerPlace, ServerStatus, SettingsLayer, VersionChange, VersionChangeKey,
};
use drover_domain::haproxy::{BackendKey, FetchStatus, HaproxyInstanceKey, StandingServer};
use drover_domain::page::{Page, PageRequest, Sort};
use drover_domain::rollout::composite::short_server_name;
use drover_domain::rollout::snapshot::{
    FleetSnapshot, Target, TargetGroup, TargetHaproxyServer, TargetServer,
};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    ApplicationColumn, ApplicationFilter, FleetEventFilter, FleetSnapshots, FleetView, GroupColumn,
    GroupFilter, InventoryStore, NamedGroup, Removal, ServerColumn, ServerFilter, ServerRegistry,
    StoreError,
};

use super::{MemoryStore, Place, State, ascending, descending, sorted};

/// Whether a name has this part, small or capital letters a to z alike.
pub(super) fn has(name: &str, part: Option<&String>) -> bool {
    part.is_none_or(|part| {
        name.to_ascii_lowercase()
            .contains(&part.to_ascii_lowercase())
    })
}

fn application_place(application: &Application, sort: Sort<ApplicationColumn>) -> Place {
    let observed = &application.observed;
    let (text, number) = match sort.by {
        ApplicationColumn::Key => (None, 0),
        ApplicationColumn::Name => (Some(observed.name.clone()), 0),
        ApplicationColumn::Server => (application.server.as_ref().map(|(_, name)| name.clone()), 0),
        ApplicationColumn::Status => (Some(observed.status.as_str().to_owned()), 0),
        ApplicationColumn::Version => (observed.version.version.clone(), 0),
        ApplicationColumn::LastSeen => {
            (None, application.last_seen.map_or(0, Timestamp::as_micros))
        }
    };
    (text.unwrap_or_default(), number, application.key.get())
}

fn server_place(server: &Server, sort: Sort<ServerColumn>) -> Place {
    let (text, number) = match sort.by {
        ServerColumn::Key => ("", 0),
        ServerColumn::Name => (server.name.as_str(), 0),
        ServerColumn::Address => (server.address.as_str(), 0),
        ServerColumn::Status => (server.status.as_str(), 0),
        ServerColumn::LastCheck => ("", server.last_check.map_or(0, Timestamp::as_micros)),
    };
    (text.to_owned(), number, server.key.get())
}

fn group_place(group: &Group, sort: Sort<GroupColumn>) -> Place {
    let text = match sort.by {
        GroupColumn::Key => "",
        GroupColumn::Name => group.name.as_str(),
    };
    (text.to_owned(), 0, group.key.get())
}

#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) name: String,
    pub(super) kind: ApplicationKind,
    pub(super) settings: SettingsLayer,
}

#[derive(Debug)]
pub(super) struct StoredApplication {
    pub(super) server: Option<ServerKey>,
    pub(super) observed: ObservedApplication,
    pub(super) catalog: Option<CatalogKey>,
    pub(super) group: Option<GroupKey>,
    pub(super) proposed: Option<GroupKey>,
    pub(super) joined: Option<Timestamp>,
    number: u32,
    pub(super) settings: SettingsLayer,
    // Of an absent application only; a present one follows its server.
    last_seen: Option<Timestamp>,
}

impl State {
    pub(super) fn application(&self, key: i64, stored: &StoredApplication) -> Application {
        let server = stored
            .server
            .and_then(|server| self.servers.get(&server.get()));
        let group = stored.group.and_then(|group| self.groups.get(&group.get()));
        let proposed = stored
            .proposed
            .and_then(|group| self.groups.get(&group.get()));
        Application {
            key: Key::new(key),
            server: server.map(|server| (server.key, server.name.clone())),
            observed: stored.observed.clone(),
            catalog: stored.catalog,
            group: group.map(|group| (group.key, group.name.clone())),
            proposed: proposed.map(|group| (group.key, group.name.clone())),
            number: stored.number,
            settings: stored.settings.clone(),
            last_seen: stored.last_seen.or_else(|| server?.inventory_at),
        }
    }

    /// A group with its counts and the name of its catalog entry.
    pub(super) fn named(&self, group: &Group) -> NamedGroup {
        let members = || {
            let applications = self.applications.values();
            applications.filter(|application| application.group == Some(group.key))
        };
        let online = members()
            .filter(|member| member.observed.status == ApplicationStatus::Online)
            .count();
        let counted = Group {
            applications: u32::try_from(members().count()).unwrap(),
            online: u32::try_from(online).unwrap(),
            ..group.clone()
        };
        let catalog = group
            .catalog
            .and_then(|catalog| self.catalog.get(&catalog.get()));
        (counted, catalog.map(|entry| entry.name.clone()))
    }

    pub(super) fn is_present(&self, stored: &StoredApplication) -> bool {
        let server = stored
            .server
            .and_then(|server| self.servers.get(&server.get()));
        server.is_some_and(|server| {
            stored.last_seen.is_none() || stored.last_seen == server.inventory_at
        })
    }

    /// Whether an application of a removed server, or one that is gone since before this moment.
    fn is_long_gone(&self, stored: &StoredApplication, before: Timestamp) -> bool {
        stored.server.is_none()
            || !self.is_present(stored) && stored.last_seen.is_some_and(|seen| seen < before)
    }

    pub(super) fn forget_application(&mut self, key: i64) {
        let application = ApplicationKey::new(key);
        let stored = self.applications.remove(&key);
        let stood = self.stood_behind_haproxy.remove(&key)
            || self
                .mappings
                .iter()
                .any(|mapping| mapping.what.application == application);
        if let Some(group) = stored.and_then(|stored| stored.group)
            && stood
        {
            self.stood_behind_haproxy.insert(group.get());
        }
        self.versions.retain(|_, (of, _)| *of != application);
        self.mappings
            .retain(|mapping| mapping.what.application != application);
        self.mapping_history
            .retain(|(_, change)| change.application != application);
        for event in self.events.values_mut() {
            event.event.application = event
                .event
                .application
                .filter(|known| *known != application);
        }
    }

    /// What may be forgotten of applications, groups and catalog entries.
    pub(super) fn long_gone(&self, before: Timestamp) -> Vec<(Timestamp, i64)> {
        let gone = self.applications.iter();
        let gone = gone.filter(|(_, stored)| self.is_long_gone(stored, before));
        gone.map(|(key, _)| (Timestamp::EPOCH, *key)).collect()
    }

    pub(super) fn empty_groups(&self) -> Vec<(Timestamp, i64)> {
        let found = self.found_groups.iter().filter(|(key, _)| {
            let is_it = |group: Option<GroupKey>| group.is_some_and(|group| group.get() == **key);
            let mut members = self.applications.values();
            !members.any(|member| is_it(member.group) || is_it(member.proposed))
        });
        found.map(|(key, at)| (*at, *key)).collect()
    }

    pub(super) fn empty_entries(&self) -> Vec<(Timestamp, i64)> {
        let found = self.found_entries.iter().filter(|(key, _)| {
            let is_it = |entry: Option<CatalogKey>| entry.is_some_and(|entry| entry.get() == **key);
            let mut members = self.applications.values();
            let mut groups = self.groups.values();
            !members.any(|member| is_it(member.catalog))
                && !groups.any(|group| is_it(group.catalog))
        });
        found.map(|(key, at)| (*at, *key)).collect()
    }

    /// Whether plays know this server by the name of another.
    fn namesake(&self, server: &Server) -> Option<String> {
        let short = |name: &str| short_server_name(name).to_ascii_lowercase();
        let mut others = self.servers.values();
        let found = others
            .find(|other| other.key != server.key && short(&other.name) == short(&server.name));
        found.map(|other| other.name.clone())
    }

    fn check_server_name(&self, name: &str, except: Option<ServerKey>) -> Result<(), StoreError> {
        let short = |name: &str| short_server_name(name).to_ascii_lowercase();
        let mut others = self.servers.values();
        let found =
            others.find(|other| Some(other.key) != except && short(&other.name) == short(name));
        match found {
            None => Ok(()),
            Some(other) => Err(StoreError::AlreadyExists {
                what: if other.name == name {
                    "server"
                } else {
                    "server with the same short name"
                },
                name: other.name.clone(),
            }),
        }
    }

    fn resolve(&mut self, resolutions: &BTreeMap<(String, &str), Resolution>, at: Timestamp) {
        for resolution in resolutions.values() {
            if self.catalog_of(resolution).is_none() {
                let key = self.draw_key();
                self.found_entries.insert(key, at);
                let (name, kind) = (resolution.base.clone(), resolution.kind);
                self.catalog.insert(
                    key,
                    Catalog {
                        name,
                        kind,
                        settings: SettingsLayer::default(),
                    },
                );
            }
        }
        for resolution in resolutions.values() {
            let asked = |entry: &Catalog| {
                entry.name == resolution.base
                    && resolutions.contains_key(&(entry.name.clone(), entry.kind.as_str()))
            };
            let catalog = self
                .catalog
                .iter()
                .find(|(_, entry)| asked(entry))
                .map(|(key, _)| Key::new(*key));
            if let Some(group) = self
                .groups
                .values_mut()
                .find(|group| group.name == resolution.base)
            {
                group.catalog = group.catalog.or(catalog);
                continue;
            }
            let key = self.draw_key();
            self.found_groups.insert(key, at);
            let group = Group {
                key: Key::new(key),
                name: resolution.base.clone(),
                catalog,
                settings: SettingsLayer::default(),
                grouping: "by_group".to_owned(),
                applications: 0,
                online: 0,
            };
            self.groups.insert(key, group);
        }
    }

    fn catalog_of(&self, resolution: &Resolution) -> Option<CatalogKey> {
        let mut entries = self.catalog.iter();
        let found = entries
            .find(|(_, entry)| entry.name == resolution.base && entry.kind == resolution.kind);
        found.map(|(key, _)| Key::new(*key))
    }

    fn upsert(&mut self, server: ServerKey, upsert: &ApplicationUpsert, at: Timestamp) {
        let observed = &upsert.observed;
        let resolution = upsert.resolution.as_ref();
        let catalog = resolution.and_then(|resolution| self.catalog_of(resolution));
        let found = resolution.and_then(|resolution| {
            self.groups
                .values()
                .find(|group| group.name == resolution.base)
                .map(|group| group.key)
        });
        let joins = resolution.is_none_or(|resolution| resolution.entry == GroupEntry::Join);
        let group = found.filter(|group| joins || self.is_open(*group, server));
        let proposed = found.filter(|_| group.is_none());
        let number = resolution.map_or(0, |resolution| resolution.number);
        let known = self.applications.iter_mut().find(|(_, known)| {
            known.server == Some(server)
                && known.observed.kind == observed.kind
                && known.observed.name == observed.name
        });
        let mut former = None;
        let key = if let Some((key, known)) = known {
            former = Some(known.observed.status);
            known.observed = observed.clone();
            known.last_seen = None;
            known.catalog = known.catalog.or(catalog);
            if known.group.is_none() && found.is_some() {
                known.number = number;
            }
            if known.group.is_none() && group.is_some() {
                (known.group, known.joined) = (group, Some(at));
            }
            known.proposed = if known.group.is_some() {
                None
            } else {
                proposed.or(known.proposed)
            };
            *key
        } else {
            let key = self.draw_key();
            let stored = StoredApplication {
                server: Some(server),
                observed: observed.clone(),
                catalog,
                group,
                proposed,
                joined: group.map(|_| at),
                number,
                settings: SettingsLayer::default(),
                last_seen: None,
            };
            self.applications.insert(key, stored);
            key
        };
        if let Some(old) = former {
            self.note_instance_status(Key::new(key), old, observed.status, at);
        }
        if let Some(change) = &upsert.version {
            self.record_version(Key::new(key), change);
        }
    }

    /// Whether an application of this server joins the group although new members are proposed.
    fn is_open(&self, group: GroupKey, server: ServerKey) -> bool {
        let members = || {
            let applications = self.applications.values();
            applications.filter(|application| application.group == Some(group))
        };
        members().any(|member| member.server == Some(server))
            || self.open_groups.contains(&group.get())
    }

    /// How many updates and actions have not ended on a server.
    fn under_way(&self, server: ServerKey) -> (u32, u32) {
        let own: BTreeSet<i64> = self
            .haproxy_servers
            .values()
            .filter(|found| self.agent_of(found.backend) == Some(server))
            .map(|found| found.key.get())
            .collect();
        let mut applications: BTreeSet<ApplicationKey> = self
            .applications
            .iter()
            .filter(|(_, stored)| stored.server == Some(server))
            .map(|(key, _)| Key::new(*key))
            .collect();
        let standing = self.mappings.iter();
        let standing =
            standing.filter(|mapping| mapping.is_active && own.contains(&mapping.server.get()));
        applications.extend(standing.map(|mapping| mapping.what.application));
        let actions = self.actions.values();
        let actions = actions.filter(|action| {
            own.contains(&action.request.server.get()) && self.engine.is_open(action.id.workflow())
        });
        let count = |found: usize| u32::try_from(found).unwrap();
        (
            count(self.open_updates(&applications)),
            count(actions.count()),
        )
    }

    fn agent_of(&self, backend: BackendKey) -> Option<ServerKey> {
        let backend = self.backends.get(&backend.get())?;
        Some(self.instances.get(&backend.instance.get())?.server)
    }

    pub(super) fn record_version(&mut self, application: ApplicationKey, change: &VersionChange) {
        self.note_version(application, change);
        let key = self.draw_key();
        self.versions.insert(key, (application, change.clone()));
    }
}

#[async_trait]
impl ServerRegistry for MemoryStore {
    async fn add(&self, server: &NewServer, at: Timestamp) -> Result<Server, StoreError> {
        let mut state = self.state("add a server")?;
        state.check_server_name(server.name(), None)?;
        let key = state.draw_key();
        let server = Server {
            key: Key::new(key),
            name: server.name().to_owned(),
            address: server.address().to_owned(),
            port: server.port(),
            status: ServerStatus::Unknown,
            is_haproxy_node: server.is_haproxy_node(),
            failures: 0,
            last_check: None,
            inventory_at: None,
            last_error: None,
            suspect: None,
            networks: server.networks().to_vec(),
            agent_ip: None,
            inventory_failures: 0,
            created_at: at,
        };
        state.servers.insert(key, server.clone());
        Ok(server)
    }

    async fn find(&self, server: ServerKey) -> Result<Option<Server>, StoreError> {
        Ok(self
            .state("find a server")?
            .servers
            .get(&server.get())
            .cloned())
    }

    async fn find_by_name(&self, name: &str) -> Result<Option<Server>, StoreError> {
        let state = self.state("find a server by its name")?;
        let mut servers = state.servers.values();
        Ok(servers.find(|server| server.may_be_called(name)).cloned())
    }

    async fn list(&self, page: PageRequest) -> Result<Page<Server>, StoreError> {
        let state = self.state("list servers")?;
        Ok(ascending(
            state
                .servers
                .iter()
                .map(|(key, server)| (*key, server.clone())),
            page,
        )
        .map(|(_, server)| server))
    }

    async fn change(
        &self,
        server: ServerKey,
        known: &ServerPlace,
        place: &ServerPlace,
    ) -> Result<Option<Server>, StoreError> {
        let mut state = self.state("change a server")?;
        let is_free = if place.name == known.name {
            Ok(())
        } else {
            state.check_server_name(&place.name, Some(server))
        };
        let found = state.servers.get_mut(&server.get());
        let Some(found) = found.filter(|found| found.place() == *known) else {
            return Ok(None);
        };
        is_free?;
        if (&found.address, found.port) != (&place.address, place.port) {
            found.status = ServerStatus::Unknown;
            found.failures = 0;
            found.last_error = None;
            found.suspect = None;
            found.agent_ip = None;
            found.inventory_failures = 0;
        }
        found.networks.clone_from(&place.networks);
        found.name.clone_from(&place.name);
        found.address.clone_from(&place.address);
        found.port = place.port;
        let found = found.clone();
        let instances = state.instances.values_mut();
        for instance in instances.filter(|instance| instance.server == server) {
            instance.server_name.clone_from(&found.name);
        }
        Ok(Some(found))
    }

    async fn remove(&self, server: ServerKey, known: &ServerPlace) -> Result<Removal, StoreError> {
        let mut state = self.state("remove a server")?;
        let found = state.servers.get(&server.get());
        let Some(found) = found.filter(|found| found.place() == *known) else {
            return Ok(Removal::Changed);
        };
        let (updates, actions) = state.under_way(server);
        if updates + actions > 0 {
            return Ok(Removal::UnderWay { updates, actions });
        }
        let inventory_at = found.inventory_at;
        state.servers.remove(&server.get());
        for application in state.applications.values_mut() {
            if application.server == Some(server) {
                application.server = None;
                application.observed.status = ApplicationStatus::NoData;
                application.last_seen = application.last_seen.or(inventory_at);
            }
        }
        for event in state.events.values_mut() {
            event.event.server = event.event.server.filter(|known| *known != server);
        }
        state.forget_instances(server);
        Ok(Removal::Done)
    }

    async fn set_haproxy_node(
        &self,
        server: ServerKey,
        is_haproxy_node: bool,
    ) -> Result<Option<Server>, StoreError> {
        let mut state = self.state("say whether a server is a HAProxy node")?;
        let Some(found) = state.servers.get_mut(&server.get()) else {
            return Ok(None);
        };
        found.is_haproxy_node = is_haproxy_node;
        let found = found.clone();
        let instances = state.instances.values_mut();
        for instance in instances.filter(|instance| instance.server == server) {
            instance.is_active &= is_haproxy_node;
        }
        Ok(Some(found))
    }
}

#[async_trait]
impl InventoryStore for MemoryStore {
    async fn load(&self, server: ServerKey) -> Result<Option<KnownInventory>, StoreError> {
        let state = self.state("load the inventory of a server")?;
        let Some(found) = state.servers.get(&server.get()) else {
            return Ok(None);
        };
        let applications = state
            .applications
            .iter()
            .filter(|(_, stored)| stored.server == Some(server));
        let (present, gone): (Vec<_>, Vec<_>) =
            applications.partition(|(_, stored)| state.is_present(stored));
        Ok(Some(KnownInventory {
            server: found.clone(),
            applications: present
                .into_iter()
                .map(|(key, stored)| state.application(*key, stored))
                .collect(),
            gone: gone.len(),
        }))
    }

    async fn recall(
        &self,
        server: ServerKey,
        names: &[(ApplicationKind, &str)],
    ) -> Result<Vec<Application>, StoreError> {
        let state = self.state("recall applications of a server")?;
        let wanted = state.applications.iter().filter(|(_, stored)| {
            let name = (stored.observed.kind, stored.observed.name.as_str());
            stored.server == Some(server) && names.contains(&name) && !state.is_present(stored)
        });
        let found = wanted.map(|(key, stored)| state.application(*key, stored));
        Ok(found.collect())
    }

    async fn store(&self, change: &InventoryChange) -> Result<(), StoreError> {
        let mut state = self.state("store the inventory of a server")?;
        let found = state.servers.get_mut(&change.server.key.get());
        let place = (&change.server.address, change.server.port);
        let Some(server) = found.filter(|found| (&found.address, found.port) == place) else {
            return Ok(());
        };
        *server = Server {
            name: server.name.clone(),
            address: server.address.clone(),
            port: server.port,
            is_haproxy_node: server.is_haproxy_node,
            networks: server.networks.clone(),
            created_at: server.created_at,
            ..change.server.clone()
        };
        let at = change.server.last_check.unwrap_or(change.server.created_at);
        let upserts: BTreeMap<(ApplicationKind, &str), &ApplicationUpsert> = change
            .upserts
            .iter()
            .map(|upsert| {
                (
                    (upsert.observed.kind, upsert.observed.name.as_str()),
                    upsert,
                )
            })
            .collect();
        let resolutions = upserts
            .values()
            .filter_map(|upsert| upsert.resolution.clone())
            .filter(|resolution| resolution.make);
        let resolutions = resolutions.map(|resolution| {
            (
                (resolution.base.clone(), resolution.kind.as_str()),
                resolution,
            )
        });
        state.resolve(&resolutions.collect(), at);
        let empty = state.found_groups.keys().filter(|key| {
            let group = Some(GroupKey::new(**key));
            !state
                .applications
                .values()
                .any(|member| member.group == group)
        });
        state.open_groups = empty.copied().collect();
        for upsert in upserts.values() {
            state.upsert(change.server.key, upsert, at);
        }
        for status in &change.statuses {
            if let Some(application) = state.applications.get_mut(&status.application.get())
                && application.server == Some(change.server.key)
            {
                let old = application.observed.status;
                application.observed.status = status.status;
                application.last_seen = status.last_seen;
                state.note_instance_status(status.application, old, status.status, at);
            }
        }
        state.record(&change.events);
        let gone = state.applications.iter().filter(|(_, stored)| {
            stored.server == Some(change.server.key) && !state.is_present(stored)
        });
        let mut gone: Vec<(Option<Timestamp>, i64)> =
            gone.map(|(key, stored)| (stored.last_seen, *key)).collect();
        gone.sort_unstable();
        for (_, key) in gone.into_iter().take(change.forget) {
            state.forget_application(key);
        }
        Ok(())
    }
}

#[async_trait]
impl FleetView for MemoryStore {
    async fn application(
        &self,
        application: ApplicationKey,
    ) -> Result<Option<Application>, StoreError> {
        let state = self.state("find an application")?;
        Ok(state
            .applications
            .get(&application.get())
            .map(|stored| state.application(application.get(), stored)))
    }

    async fn applications(
        &self,
        filter: &ApplicationFilter,
        page: PageRequest,
    ) -> Result<Page<Application>, StoreError> {
        let state = self.state("list applications")?;
        let all = state
            .applications
            .iter()
            .map(|(key, stored)| state.application(*key, stored));
        let wanted = all.filter(|application| {
            let entry = application
                .catalog
                .and_then(|key| state.catalog.get(&key.get()));
            let catalog = entry.map(|entry| &entry.name);
            let group = application.group.as_ref().map(|(_, name)| name);
            filter.server.is_none_or(|server| {
                application
                    .server
                    .as_ref()
                    .is_some_and(|(key, _)| *key == server)
            }) && filter.group.as_ref().is_none_or(|name| group == Some(name))
                && filter
                    .kind
                    .is_none_or(|kind| application.observed.kind == kind)
                && filter
                    .name
                    .as_ref()
                    .is_none_or(|name| application.observed.name == *name)
                && filter
                    .status
                    .is_none_or(|status| application.observed.status == status)
                && filter.version.as_ref().is_none_or(|version| {
                    application.observed.version.version.as_ref() == Some(version)
                })
                && filter
                    .catalog
                    .as_ref()
                    .is_none_or(|name| catalog == Some(name))
                && has(&application.observed.name, filter.like.as_ref())
        });
        let sort = filter.sort;
        let placed = wanted.map(|found| (application_place(&found, sort), found));
        let place = |key: i64| {
            if sort.by == ApplicationColumn::Key {
                return Some((String::new(), 0, key));
            }
            let stored = state.applications.get(&key)?;
            Some(application_place(&state.application(key, stored), sort))
        };
        sorted(placed.collect(), place, sort.is_descending, page)
    }

    async fn versions(
        &self,
        application: ApplicationKey,
        page: PageRequest,
    ) -> Result<Option<Page<(VersionChangeKey, VersionChange)>>, StoreError> {
        let state = self.state("list the versions of an application")?;
        if !state.applications.contains_key(&application.get()) {
            return Ok(None);
        }
        let changes = state
            .versions
            .iter()
            .filter(|(_, (of, _))| *of == application);
        let changes = changes.map(|(key, (_, change))| (*key, change.clone()));
        Ok(Some(
            descending(changes, page).map(|(key, change)| (Key::new(key), change)),
        ))
    }

    async fn groups(
        &self,
        filter: &GroupFilter,
        page: PageRequest,
    ) -> Result<Page<NamedGroup>, StoreError> {
        let state = self.state("list application groups")?;
        let named = state.groups.values().map(|group| state.named(group));
        let wanted = named.filter(|(group, catalog)| {
            let wanted = filter.catalog.as_ref();
            has(&group.name, filter.like.as_ref())
                && wanted.is_none_or(|wanted| catalog.as_ref() == Some(wanted))
        });
        let sort = filter.sort;
        let placed = wanted.map(|named| (group_place(&named.0, sort), named));
        let place = |key: i64| {
            if sort.by == GroupColumn::Key {
                return Some((String::new(), 0, key));
            }
            let group = state.groups.get(&key);
            group.map(|group| group_place(group, sort))
        };
        sorted(placed.collect(), place, sort.is_descending, page)
    }

    async fn servers(
        &self,
        filter: &ServerFilter,
        page: PageRequest,
    ) -> Result<Page<Server>, StoreError> {
        let state = self.state("list servers")?;
        let wanted = state.servers.iter().filter(|(_, server)| {
            let like = filter.like.as_ref();
            filter.status.is_none_or(|status| server.status == status)
                && filter
                    .is_haproxy_node
                    .is_none_or(|is_node| server.is_haproxy_node == is_node)
                && (has(&server.name, like) || has(&server.address, like))
        });
        let sort = filter.sort;
        let placed = wanted.map(|(_, server)| (server_place(server, sort), server.clone()));
        let place = |key: i64| {
            if sort.by == ServerColumn::Key {
                return Some((String::new(), 0, key));
            }
            state
                .servers
                .get(&key)
                .map(|server| server_place(server, sort))
        };
        sorted(placed.collect(), place, sort.is_descending, page)
    }

    async fn events(
        &self,
        filter: &FleetEventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let state = self.state("list events")?;
        let events = state.events.iter().filter(|(_, event)| {
            let event = &event.event;
            filter.server.is_none_or(|key| event.server == Some(key))
                && filter
                    .application
                    .is_none_or(|key| event.application == Some(key))
                && filter.kind.is_none_or(|kind| event.kind == kind)
                && filter.status.is_none_or(|status| event.status == status)
                && filter.since.is_none_or(|since| event.at >= since)
                && filter.until.is_none_or(|until| event.at < until)
        });
        Ok(
            descending(events.map(|(key, event)| (*key, event.clone())), page)
                .map(|(_, event)| event),
        )
    }
}

#[async_trait]
impl FleetSnapshots for MemoryStore {
    async fn snapshot(&self, applications: &[ApplicationKey]) -> Result<FleetSnapshot, StoreError> {
        let state = self.state("load a snapshot of the fleet")?;
        let found = applications
            .iter()
            .filter_map(|key| Some((*key, state.applications.get(&key.get())?)));
        let targets: BTreeMap<ApplicationKey, Target> = found
            .map(|(key, stored)| (key, state.target(key, stored)))
            .collect();
        Ok(FleetSnapshot {
            has_haproxy: !targets.is_empty()
                && state.instances.values().any(|instance| instance.is_active),
            unread_haproxy: if targets.is_empty() {
                Vec::new()
            } else {
                state.unread_haproxy()
            },
            targets,
        })
    }

    async fn standing(
        &self,
        instances: &[HaproxyInstanceKey],
    ) -> Result<Vec<StandingServer>, StoreError> {
        let state = self.state("load the servers of HAProxy instances")?;
        let servers = state
            .haproxy_servers
            .values()
            .filter(|server| server.removed_at.is_none() && server.missed_at.is_none());
        let standing = servers.filter_map(|server| {
            let backend = state.backends.get(&server.backend.get())?;
            let is_shown = backend.removed_at.is_none() && instances.contains(&backend.instance);
            is_shown.then(|| StandingServer {
                instance: backend.instance,
                backend: backend.key,
                backend_name: backend.name.clone(),
                observed: state.haproxy_server(server).observed,
            })
        });
        Ok(standing.collect())
    }
}

impl State {
    /// The names of the HAProxy nodes without an instance, or with one that was never read whole.
    fn unread_haproxy(&self) -> Vec<String> {
        let is_unread = |server: &&Server| {
            let mut active = self
                .instances
                .values()
                .filter(|instance| instance.server == server.key && instance.is_active)
                .peekable();
            active.peek().is_none()
                || active.any(|instance| {
                    let mut backends = self.backends.values();
                    instance.observed_at.is_none()
                        || backends.any(|backend| {
                            backend.instance == instance.key
                                && backend.removed_at.is_none()
                                && backend.last_fetch_status == FetchStatus::Failed
                                && backend.observed_at.is_none()
                        })
                })
        };
        let nodes = self
            .servers
            .values()
            .filter(|server| server.is_haproxy_node);
        let unread = nodes.filter(is_unread).take(20);
        unread.map(|server| server.name.clone()).collect()
    }

    fn target(&self, key: ApplicationKey, stored: &StoredApplication) -> Target {
        let server = stored
            .server
            .and_then(|server| self.servers.get(&server.get()));
        let group = stored.group.and_then(|group| self.groups.get(&group.get()));
        let catalog = stored
            .catalog
            .and_then(|catalog| self.catalog.get(&catalog.get()));
        let active = self
            .mappings
            .iter()
            .filter(|mapping| mapping.is_active && mapping.what.application == key);
        let mut haproxy_servers: Vec<TargetHaproxyServer> = active
            .filter_map(|mapping| self.target_server(mapping.server.get()))
            .collect();
        haproxy_servers.sort_by_key(|server| server.key);
        Target {
            application: key,
            name: stored.observed.name.clone(),
            kind: stored.observed.kind,
            version: stored.observed.version.version.clone(),
            process: {
                let start = stored.observed.start_time.iter().cloned();
                let pid = stored.observed.pid.map(|pid| format!("process {pid}"));
                let parts: Vec<String> = start.chain(pid).collect();
                (!parts.is_empty()).then(|| parts.join(" "))
            },
            server: server.map(|server| TargetServer {
                key: server.key,
                name: server.name.clone(),
                address: server.address.clone(),
                namesake: self.namesake(server),
            }),
            group: group.map(|group| TargetGroup {
                key: group.key,
                name: group.name.clone(),
                settings: group.settings.clone(),
                grouping: group.grouping.clone(),
            }),
            own_settings: stored.settings.clone(),
            catalog_settings: catalog
                .map(|catalog| catalog.settings.clone())
                .unwrap_or_default(),
            haproxy_servers,
            expects_haproxy: self.expects_haproxy(key, stored),
            is_new_in_group: group
                .and_then(|group| self.group_updates.get(&group.key.get()))
                .is_some_and(|updated| stored.joined > Some(*updated)),
        }
    }

    fn expects_haproxy(&self, key: ApplicationKey, stored: &StoredApplication) -> bool {
        let group = stored.group.or(stored.proposed);
        let is_of_group = |application: i64| {
            let other = self.applications.get(&application);
            group.is_some() && other.is_some_and(|other| other.group == group)
        };
        let is_of_entry = |application: ApplicationKey| {
            let other = self.applications.get(&application.get());
            stored.catalog.is_some() && other.is_some_and(|other| other.catalog == stored.catalog)
        };
        let by_mapping = self.mappings.iter().any(|mapping| {
            let application = mapping.what.application;
            application == key
                || is_of_group(application.get())
                || mapping.is_active && is_of_entry(application)
        });
        let by_memory = self.stood_behind_haproxy.iter().any(|stood| {
            *stood == key.get()
                || group.is_some_and(|group| group.get() == *stood)
                || is_of_group(*stood)
        });
        by_mapping || by_memory || self.is_shown_at(stored)
    }

    /// Whether HAProxy has a server at the address of this application, or with its name.
    fn is_shown_at(&self, stored: &StoredApplication) -> bool {
        let server = stored
            .server
            .and_then(|server| self.servers.get(&server.get()));
        let Some(server) = server else {
            return false;
        };
        let observed = &stored.observed;
        let short = server.name.split('.').next().unwrap_or_default();
        let name = format!("{short}_{}", observed.name);
        let agent_ip = server.agent_ip.map(|address| address.to_string());
        self.haproxy_servers.values().any(|found| {
            let shown = &found.observed;
            let address = shown.address.as_deref();
            let address = address.map(|address| address.trim_start_matches("::ffff:"));
            let is_own = address.is_some_and(|address| {
                address.eq_ignore_ascii_case(&server.address)
                    || agent_ip.as_deref() == Some(address)
            });
            let is_declared = !server.networks.is_empty()
                && shown.address.is_some()
                && shown.address == observed.address;
            let is_there = shown.port.is_some() && shown.port == observed.port;
            self.target_server(found.key.get()).is_some()
                && (shown.name.eq_ignore_ascii_case(&name) || is_there && (is_own || is_declared))
        })
    }

    fn target_server(&self, key: i64) -> Option<TargetHaproxyServer> {
        let server = self
            .haproxy_servers
            .get(&key)
            .filter(|server| server.removed_at.is_none())?;
        let backend = self
            .backends
            .get(&server.backend.get())
            .filter(|backend| backend.removed_at.is_none())?;
        let instance = self
            .instances
            .get(&backend.instance.get())
            .filter(|instance| instance.is_active)?;
        let agent = self.servers.get(&instance.server.get())?;
        Some(TargetHaproxyServer {
            key: server.key,
            name: server.observed.name.clone(),
            backend: backend.key,
            backend_name: backend.name.clone(),
            instance: instance.key,
            instance_name: instance.name.clone(),
            agent: (agent.address.clone(), agent.port),
        })
    }
}
