//! A store that keeps everything in memory and every promise of the store ports.

mod actions;
mod engine;
mod fleet;
mod haproxy;
mod mappings;
mod rest;
mod rollouts;
mod settings;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use drover_domain::access::ApiKey;
use drover_domain::fleet::{
    ApplicationKey, CatalogKey, Event, Group, GroupKey, NewEvent, Server, ServerStatus,
    SettingsLayer, VersionChange,
};
use drover_domain::haproxy::action::HaproxyAction;
use drover_domain::haproxy::{
    ActiveMapping, BreakerRecord, Exclusion, HaproxyBackend, HaproxyInstance, HaproxyServer,
    HaproxyServerKey,
};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::orchestrator::OrchestratorPlaybook;
use drover_domain::webhook::{Delivery, Webhook, WebhookSecrets};
use drover_domain::workflow::TaskId;
use drover_domain::{Key, Timestamp};
use drover_ports::{MappingChange, StatusChange, StoreError, Unpublished};

use self::engine::Engine;
use self::fleet::{Catalog, StoredApplication};
use self::rollouts::StoredRollout;
use super::{SideDoor, World};

/// A store that keeps everything in memory. Clones share it.
///
/// Leases follow tokio's clock, the engine's database time, so that a test with paused time decides when
/// they run out.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    last_key: i64,
    servers: BTreeMap<i64, Server>,
    catalog: BTreeMap<i64, Catalog>,
    groups: BTreeMap<i64, Group>,
    /// Groups and catalog entries that polling found and no person has changed, with when they were made.
    found_groups: BTreeMap<i64, Timestamp>,
    found_entries: BTreeMap<i64, Timestamp>,
    group_updates: BTreeMap<i64, Timestamp>,
    /// Groups that polling found and that had no member when the change under way began.
    open_groups: BTreeSet<i64>,
    applications: BTreeMap<i64, StoredApplication>,
    versions: BTreeMap<i64, (ApplicationKey, VersionChange)>,
    events: BTreeMap<i64, Event>,
    instances: BTreeMap<i64, HaproxyInstance>,
    backends: BTreeMap<i64, HaproxyBackend>,
    haproxy_servers: BTreeMap<i64, HaproxyServer>,
    mappings: Vec<Mapping>,
    /// Applications and groups that stood behind HAProxy by mappings that are forgotten.
    stood_behind_haproxy: BTreeSet<i64>,
    mapping_history: Vec<(HaproxyServerKey, MappingChange)>,
    exclusions: BTreeMap<i64, Exclusion>,
    status_history: Vec<(HaproxyServerKey, StatusChange)>,
    actions: BTreeMap<i64, HaproxyAction>,
    breakers: BTreeMap<i64, BreakerRecord>,
    orchestrators: BTreeMap<i64, OrchestratorPlaybook>,
    rollouts: BTreeMap<i64, StoredRollout>,
    idempotency: HashMap<(String, String), (Vec<u8>, Vec<TaskId>)>,
    keys: BTreeMap<String, ApiKey>,
    webhooks: BTreeMap<i64, (Webhook, WebhookSecrets)>,
    /// The webhooks that requests with an idempotency key were about.
    webhook_requests: HashMap<(String, String), (Vec<u8>, i64)>,
    deliveries: BTreeMap<i64, Delivery>,
    unpublished: Vec<Unpublished>,
    /// Published actions that the engine ended, by key.
    told_actions: BTreeSet<i64>,
    engine: Engine,
}

#[derive(Debug)]
struct Mapping {
    server: HaproxyServerKey,
    what: ActiveMapping,
    is_active: bool,
}

impl MemoryStore {
    /// A world of its own around a fresh store.
    #[must_use]
    pub fn world() -> World {
        let store = Self::default();
        World::new(store.clone(), store)
    }

    fn state(&self, action: &'static str) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.unguarded();
        if state.is_cut {
            return Err(StoreError::Unavailable {
                action,
                source: "the memory was cut off".into(),
            });
        }
        Ok(state)
    }

    fn unguarded(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nobody panics while using the store")
    }
}

impl State {
    fn draw_key(&mut self) -> i64 {
        self.last_key += 1;
        self.last_key
    }

    fn record(&mut self, events: &[NewEvent]) {
        for event in events {
            let key = self.draw_key();
            let mut event = event.clone();
            event.server = event
                .server
                .filter(|server| self.servers.contains_key(&server.get()));
            event.application = event
                .application
                .filter(|key| self.applications.contains_key(&key.get()));
            self.note_event(&event);
            self.events.insert(
                key,
                Event {
                    key: Key::new(key),
                    event,
                },
            );
        }
    }
}

fn limit(page: PageRequest) -> u16 {
    page.limit.min(PageRequest::LIMIT_MAX)
}

/// The page of `items` (by position) that comes after its position, going up.
fn ascending<T>(items: impl Iterator<Item = (i64, T)>, page: PageRequest) -> Page<(i64, T)> {
    let after = page.after.unwrap_or(0);
    let items = items
        .filter(|(position, _)| *position > after)
        .take(usize::from(limit(page)) + 1)
        .collect();
    Page::from_lookahead(items, limit(page), |(position, _)| *position)
}

/// The page of `items` (by position, upwards) that comes after its position, going down.
fn descending<T>(
    items: impl DoubleEndedIterator<Item = (i64, T)>,
    page: PageRequest,
) -> Page<(i64, T)> {
    let before = page.after.unwrap_or(i64::MAX);
    let items = items
        .rev()
        .filter(|(position, _)| *position < before)
        .take(usize::from(limit(page)) + 1)
        .collect();
    Page::from_lookahead(items, limit(page), |(position, _)| *position)
}

/// Where an item stands in an order: by a text or a number, and then by its key.
type Place = (String, i64, i64);

/// The page of `items` in their order. `place` is that of the item before the page, `None` if that is gone.
fn sorted<T>(
    mut items: Vec<(Place, T)>,
    place: impl FnOnce(i64) -> Option<Place>,
    is_descending: bool,
    page: PageRequest,
) -> Result<Page<T>, StoreError> {
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    if is_descending {
        items.reverse();
    }
    if let Some(after) = page.after {
        let place = place(after).ok_or(StoreError::PositionGone)?;
        items.retain(|(own, _)| {
            if is_descending {
                *own < place
            } else {
                *own > place
            }
        });
    }
    items.truncate(usize::from(limit(page)) + 1);
    let page = Page::from_lookahead(items, limit(page), |((_, _, key), _)| *key);
    Ok(page.map(|(_, item)| item))
}

#[async_trait]
impl SideDoor for MemoryStore {
    async fn set_application_settings(&self, application: ApplicationKey, settings: SettingsLayer) {
        self.unguarded()
            .applications
            .get_mut(&application.get())
            .expect("the application is stored")
            .settings = settings;
    }

    async fn set_group_settings(&self, group: GroupKey, settings: SettingsLayer, grouping: &str) {
        let mut state = self.unguarded();
        let group = state
            .groups
            .get_mut(&group.get())
            .expect("the group is stored");
        group.settings = settings;
        grouping.clone_into(&mut group.grouping);
    }

    async fn set_catalog_settings(&self, catalog: CatalogKey, settings: SettingsLayer) {
        self.unguarded()
            .catalog
            .get_mut(&catalog.get())
            .expect("the catalog entry is stored")
            .settings = settings;
    }

    async fn detach_group(&self, group: GroupKey) {
        self.unguarded()
            .groups
            .get_mut(&group.get())
            .expect("the group is stored")
            .catalog = None;
    }

    async fn add_server_unchecked(&self, name: &str) {
        let mut state = self.unguarded();
        let key = state.draw_key();
        let server = Server {
            key: Key::new(key),
            name: name.to_owned(),
            address: "10.0.0.1".to_owned(),
            port: 5000,
            status: ServerStatus::Unknown,
            is_haproxy_node: false,
            failures: 0,
            last_check: None,
            inventory_at: None,
            last_error: None,
            suspect: None,
            networks: Vec::new(),
            agent_ip: None,
            inventory_failures: 0,
            created_at: Timestamp::EPOCH,
        };
        state.servers.insert(key, server);
    }

    async fn retire_orchestrator(&self, file_path: &str) {
        let mut state = self.unguarded();
        let found = state
            .orchestrators
            .values_mut()
            .find(|playbook| playbook.metadata.file_path == file_path);
        found.expect("the playbook is stored").is_active = false;
    }

    async fn status_history(&self) -> Vec<(HaproxyServerKey, String, String)> {
        let state = self.unguarded();
        let history = state.status_history.iter();
        history
            .map(|(server, change)| (*server, change.old.to_string(), change.new.to_string()))
            .collect()
    }

    async fn status_reasons(&self) -> Vec<String> {
        let state = self.unguarded();
        let by_action = |change: &StatusChange| change.action.is_some();
        let history = state.status_history.iter();
        history
            .map(|(_, change)| if by_action(change) { "command" } else { "sync" })
            .map(str::to_owned)
            .collect()
    }

    async fn mapping_history(&self) -> Vec<(HaproxyServerKey, ApplicationKey, String)> {
        let state = self.unguarded();
        let history = state.mapping_history.iter();
        history
            .map(|(server, change)| {
                let action = change.action.as_str().to_owned();
                (*server, change.application, action)
            })
            .collect()
    }

    async fn cut(&self) {
        self.unguarded().is_cut = true;
    }
}
