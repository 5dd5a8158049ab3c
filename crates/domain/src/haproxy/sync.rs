//! From what HAProxy shows to what changes. HAProxy wins over stored data.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;

use super::{
    BackendKey, FetchStatus, HaproxyBackend, HaproxyInstance, HaproxyProcess, HaproxyServer,
    HaproxyServerKey, ObservedProcess, ObservedServer, Pin, ServerWord,
};

/// The lowest version of HAProxy that is supported.
pub const VERSION_MIN: (u32, u32) = (2, 4);

/// The most characters of what a sync complains of.
const COMPLAINT_MAX: usize = 500;

/// The most names in one complaint.
const NAMES_MAX: usize = 5;

/// An instance with everything that is present in it. What was removed is not loaded: there may be any number of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHaproxy {
    /// The instance.
    pub instance: HaproxyInstance,
    /// Its backends.
    pub backends: Vec<HaproxyBackend>,
    /// Their servers.
    pub servers: Vec<HaproxyServer>,
}

/// The servers of a backend as the agent showed them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShownServers {
    /// The servers.
    pub servers: Vec<ObservedServer>,
    /// Whether there may be more.
    pub is_partial: bool,
    /// What could not be read, one sentence each.
    pub complaints: Vec<String>,
}

/// What the agent showed: each backend by name with its servers, or why they could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedBackends {
    /// The backends.
    pub backends: BTreeMap<String, Result<ShownServers, String>>,
    /// Whether there may be more.
    pub is_partial: bool,
    /// What could not be read of the list, one sentence each.
    pub complaints: Vec<String>,
    /// HAProxy's version, where the agent reports it.
    pub version: Option<String>,
}

impl FromIterator<(String, Result<Vec<ObservedServer>, String>)> for ObservedBackends {
    /// Backends that were read whole, or not at all.
    fn from_iter<I>(backends: I) -> Self
    where
        I: IntoIterator<Item = (String, Result<Vec<ObservedServer>, String>)>,
    {
        let whole = |servers| ShownServers {
            servers,
            ..ShownServers::default()
        };
        let backends = backends.into_iter();
        Self {
            backends: backends
                .map(|(name, servers)| (name, servers.map(whole)))
                .collect(),
            ..Self::default()
        }
    }
}

/// What one sync changes, written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncChange {
    /// The instance as it is now.
    pub instance: HaproxyInstance,
    /// Backends that are new, back, or read with another result than before.
    pub backends: Vec<BackendUpsert>,
    /// Servers that are new, back, or differ from what is known.
    pub servers: Vec<ServerUpsert>,
    /// Backends that HAProxy did not list for the first time.
    pub missed_backends: Vec<BackendKey>,
    /// Servers that HAProxy did not list for the first time.
    pub missed_servers: Vec<HaproxyServerKey>,
    /// Backends that are gone; their servers are gone with them.
    pub removed_backends: Vec<BackendKey>,
    /// Servers that are gone.
    pub removed_servers: Vec<HaproxyServerKey>,
    /// Status changes for the history.
    pub history: Vec<StatusHistory>,
    /// Servers whose pins have lapsed.
    pub lapsed: Vec<HaproxyServerKey>,
    /// Servers that are pinned, and that a new process of HAProxy has in use: their pins are re-applied. Not
    /// written.
    pub forgotten: Vec<(HaproxyServerKey, Pin)>,
    /// When the sync was made.
    pub at: Timestamp,
}

impl SyncChange {
    /// A change of nothing but the instance's own row.
    #[must_use]
    pub const fn of(instance: HaproxyInstance, at: Timestamp) -> Self {
        Self {
            instance,
            backends: Vec::new(),
            servers: Vec::new(),
            missed_backends: Vec::new(),
            missed_servers: Vec::new(),
            removed_backends: Vec::new(),
            removed_servers: Vec::new(),
            history: Vec::new(),
            lapsed: Vec::new(),
            forgotten: Vec::new(),
            at,
        }
    }

    /// Whether nothing but the instance's own row changes.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.backends.is_empty()
            && self.servers.is_empty()
            && self.missed_backends.is_empty()
            && self.missed_servers.is_empty()
            && self.removed_backends.is_empty()
            && self.removed_servers.is_empty()
            && self.lapsed.is_empty()
    }
}

/// A backend to insert, to bring back or to update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUpsert {
    /// Its name.
    pub name: String,
    /// How the reading of its servers went.
    pub status: FetchStatus,
    /// Why it failed, or what could not be read.
    pub error: Option<String>,
    /// As of when its servers are known where that is not this sync.
    pub observed_at: Option<Timestamp>,
}

/// A server to insert, to bring back or to update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUpsert {
    /// Its backend's name.
    pub backend: String,
    /// What is seen of it.
    pub observed: ObservedServer,
}

/// A status that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusHistory {
    /// The server.
    pub server: HaproxyServerKey,
    /// Before.
    pub old: ServerWord,
    /// After.
    pub new: ServerWord,
    /// Whether the administrative state changed, not the health.
    pub is_administrative: bool,
}

/// Compares what the agent showed with what is known.
///
/// What is not in an answer is gone only if the answer was whole and the next whole one does not have it either: one
/// answer may be short for many reasons, on every level. A backend that could not be read keeps its servers. A
/// status-history row is made only for a real change of a known server. `process` is the latest one that was
/// reported; `None` means that no answer had one.
#[must_use]
pub fn reconcile(
    known: &KnownHaproxy,
    observed: &ObservedBackends,
    process: Option<ObservedProcess>,
    now: Timestamp,
) -> SyncChange {
    let known_process = known.instance.process;
    let process = process.map(|seen| HaproxyProcess::seen(known_process, seen, now));
    let instance = HaproxyInstance {
        process: process.or(known_process),
        last_sync: Some(now),
        observed_at: Some(now),
        version: observed
            .version
            .clone()
            .or_else(|| known.instance.version.clone()),
        ..known.instance.clone()
    };
    let mut change = SyncChange {
        lapsed: lapsed(&known.servers, now),
        ..SyncChange::of(instance, now)
    };
    let mut complaints = observed.complaints.clone();
    complaints.extend(change.instance.version.as_deref().and_then(too_old));

    let backends: BTreeMap<&str, &HaproxyBackend> = known
        .backends
        .iter()
        .map(|backend| (backend.name.as_str(), backend))
        .collect();
    let servers: BTreeMap<(BackendKey, &str), &HaproxyServer> = known
        .servers
        .iter()
        .map(|server| ((server.backend, server.observed.name.as_str()), server))
        .collect();
    let mut missed = Vec::new();
    for (name, fetched) in &observed.backends {
        let backend = backends.get(name.as_str()).copied();
        note_backend(&mut change, name, backend, fetched);
        match fetched {
            Ok(shown) => {
                complaints.extend(shown.complaints.iter().map(|why| format!("{name}: {why}")));
                for server in &shown.servers {
                    let stored = backend.and_then(|backend| {
                        servers.get(&(backend.key, server.name.as_str())).copied()
                    });
                    note_server(&mut change, name, stored, server);
                    note_forgotten(&mut change, stored, server);
                }
                if let Some(backend) = backend.filter(|_| !shown.is_partial) {
                    missed.extend(note_missing(&mut change, known, backend, &shown.servers));
                }
            }
            Err(why) => complaints.push(format!("{name}: {why}")),
        }
    }
    if !observed.is_partial {
        let is_gone = |backend: &&HaproxyBackend| !observed.backends.contains_key(&backend.name);
        for backend in known.backends.iter().filter(is_gone) {
            if backend.missed_at.is_some() {
                change.removed_backends.push(backend.key);
                let mut of_backend = known.servers.iter();
                let of_backend = of_backend.by_ref().filter(|one| one.backend == backend.key);
                change.removed_servers.extend(of_backend.map(|one| one.key));
            } else {
                change.missed_backends.push(backend.key);
                missed.push(backend.name.clone());
            }
        }
    }
    complaints.extend(not_listed(&missed));
    change.instance.last_sync_error = summary(&complaints);
    change.instance.last_sync_status = if complaints.is_empty() {
        FetchStatus::Success
    } else {
        FetchStatus::Partial
    };
    change
}

/// What changes when the instance cannot be read at all: only its own row.
#[must_use]
pub fn failed(instance: &HaproxyInstance, reason: &str, now: Timestamp) -> SyncChange {
    let instance = HaproxyInstance {
        last_sync: Some(now),
        last_sync_status: FetchStatus::Failed,
        last_sync_error: Some(reason.chars().take(COMPLAINT_MAX).collect()),
        ..instance.clone()
    };
    SyncChange::of(instance, now)
}

/// Notes which servers of a backend are not in a whole answer; returns those that are missed for the first time.
fn note_missing(
    change: &mut SyncChange,
    known: &KnownHaproxy,
    backend: &HaproxyBackend,
    shown: &[ObservedServer],
) -> Vec<String> {
    let shown: BTreeSet<&str> = shown.iter().map(|server| server.name.as_str()).collect();
    let mut missed = Vec::new();
    for server in &known.servers {
        let name = server.observed.name.as_str();
        if server.backend != backend.key || shown.contains(name) {
            continue;
        }
        if server.missed_at.is_some() {
            change.removed_servers.push(server.key);
        } else {
            change.missed_servers.push(server.key);
            missed.push(format!("{}/{name}", backend.name));
        }
    }
    missed
}

fn not_listed(names: &[String]) -> Option<String> {
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
    let more = match names.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| {
        format!(
            "HAProxy no longer lists {}{more}; removed if the next answer says the same",
            shown.join(", ")
        )
    })
}

/// Why a version is not supported; `None` for one that is, or that does not read as a version.
fn too_old(version: &str) -> Option<String> {
    let mut parts = version.split(['.', '-']);
    let mut number = || parts.next()?.parse::<u32>().ok();
    let found = (number()?, number()?);
    let (major, minor) = VERSION_MIN;
    (found < VERSION_MIN).then(|| {
        format!("HAProxy {version} is older than {major}.{minor}, the lowest version that Drover supports")
    })
}

fn summary(complaints: &[String]) -> Option<String> {
    let text = complaints.join("; ");
    if text.chars().count() <= COMPLAINT_MAX {
        return Some(text).filter(|text| !text.is_empty());
    }
    let mut text: String = text.chars().take(COMPLAINT_MAX - 1).collect();
    text.push('…');
    Some(text)
}

fn lapsed(servers: &[HaproxyServer], now: Timestamp) -> Vec<HaproxyServerKey> {
    let has_lapsed = |server: &&HaproxyServer| {
        let pin = server.pin.as_ref();
        pin.is_some_and(|pin| pin.has_lapsed(now))
    };
    let servers = servers.iter().filter(has_lapsed);
    servers.map(|server| server.key).collect()
}

fn note_forgotten(
    change: &mut SyncChange,
    known: Option<&HaproxyServer>,
    observed: &ObservedServer,
) {
    let (process, now) = (change.instance.process, change.at);
    if let Some(known) = known
        && let Some(pin) = &known.pin
        && pin.is_forgotten(observed, process, now)
    {
        change.forgotten.push((known.key, pin.clone()));
    }
}

fn note_backend(
    change: &mut SyncChange,
    name: &str,
    known: Option<&HaproxyBackend>,
    fetched: &Result<ShownServers, String>,
) {
    let (status, error) = match fetched {
        Ok(shown) if shown.is_partial || !shown.complaints.is_empty() => {
            (FetchStatus::Partial, summary(&shown.complaints))
        }
        Ok(_) => (FetchStatus::Success, None),
        Err(reason) => (
            FetchStatus::Failed,
            Some(reason.chars().take(COMPLAINT_MAX).collect()),
        ),
    };
    let observed_at = known
        .and_then(|backend| backend.observed_at)
        .filter(|_| status == FetchStatus::Failed);
    let same = known.is_some_and(|backend| {
        backend.removed_at.is_none()
            && backend.missed_at.is_none()
            && backend.last_fetch_status == status
            && backend.last_fetch_error == error
    });
    if !same {
        change.backends.push(BackendUpsert {
            name: name.to_owned(),
            status,
            error,
            observed_at,
        });
    }
}

fn note_server(
    change: &mut SyncChange,
    backend: &str,
    known: Option<&HaproxyServer>,
    observed: &ObservedServer,
) {
    if let Some(known) = known {
        let is_there = known.removed_at.is_none() && known.missed_at.is_none();
        if is_there && known.observed.is_settled_as(observed) {
            return;
        }
        if known.observed.word != observed.word {
            change.history.push(StatusHistory {
                server: known.key,
                old: known.observed.word.clone(),
                new: observed.word.clone(),
                is_administrative: known.observed.admin_state() != observed.admin_state(),
            });
        }
    }
    change.servers.push(ServerUpsert {
        backend: backend.to_owned(),
        observed: observed.clone(),
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Key;
    use crate::haproxy::{AdminState, ServerRole};

    const NOW: Timestamp = Timestamp::from_micros(9);

    fn observed(name: &str, word: &str) -> ObservedServer {
        ObservedServer {
            name: name.to_owned(),
            word: ServerWord::new(word),
            admin: None,
            sessions: Some(3),
            old_sessions: None,
            queue: None,
            weight: 1,
            role: ServerRole::default(),
            check_status: None,
            address: None,
            port: None,
        }
    }

    fn known() -> KnownHaproxy {
        let instance = HaproxyInstance {
            key: Key::new(1),
            server: Key::new(1),
            server_name: "lb01".to_owned(),
            name: "default".to_owned(),
            is_active: true,
            last_sync: None,
            last_sync_status: FetchStatus::Unknown,
            last_sync_error: None,
            observed_at: None,
            version: None,
            process: None,
            backends: 1,
        };
        let backend = HaproxyBackend {
            key: Key::new(10),
            instance: instance.key,
            name: "be".to_owned(),
            last_fetch_status: FetchStatus::Success,
            last_fetch_error: None,
            observed_at: None,
            missed_at: None,
            servers: 1,
            ready: 1,
            removed_at: None,
        };
        let server = HaproxyServer {
            key: Key::new(100),
            backend: backend.key,
            observed: observed("s1", "UP"),
            application: None,
            pin: None,
            last_seen: None,
            observed_at: None,
            missed_at: None,
            removed_at: None,
        };
        KnownHaproxy {
            instance,
            backends: vec![backend],
            servers: vec![server],
        }
    }

    fn shows(servers: Result<Vec<ObservedServer>, String>) -> ObservedBackends {
        [("be".to_owned(), servers)].into_iter().collect()
    }

    #[test]
    fn the_same_again_is_quiet_even_with_other_counters() {
        let busy = ObservedServer {
            sessions: Some(77),
            ..observed("s1", "UP")
        };
        assert!(reconcile(&known(), &shows(Ok(vec![busy])), None, NOW).is_quiet());
    }

    #[test]
    fn a_changed_status_makes_one_history_row() {
        let change = reconcile(
            &known(),
            &shows(Ok(vec![observed("s1", "DRAIN")])),
            None,
            NOW,
        );
        assert_eq!(change.history.len(), 1);
        assert_eq!(change.servers.len(), 1);
    }

    fn status(change: &SyncChange) -> (FetchStatus, &str) {
        let instance = &change.instance;
        (
            instance.last_sync_status,
            instance.last_sync_error.as_deref().unwrap_or_default(),
        )
    }

    /// The same with everything that `change` missed noted, as a store has it then.
    fn after(mut known: KnownHaproxy, change: &SyncChange) -> KnownHaproxy {
        known.instance = change.instance.clone();
        for backend in &mut known.backends {
            if change.missed_backends.contains(&backend.key) {
                backend.missed_at = Some(NOW);
            }
        }
        for server in &mut known.servers {
            if change.missed_servers.contains(&server.key) {
                server.missed_at = Some(NOW);
            }
        }
        known
    }

    #[test]
    fn a_new_server_makes_no_history_and_one_that_is_missed_twice_is_removed() {
        let shown = shows(Ok(vec![observed("s2", "UP")]));
        let first = reconcile(&known(), &shown, None, NOW);
        assert_eq!((first.history.len(), first.servers.len()), (0, 1));
        assert_eq!(
            (first.removed_servers.len(), &first.missed_servers),
            (0, &vec![Key::new(100)])
        );
        let (found, why) = status(&first);
        assert_eq!(found, FetchStatus::Partial);
        assert!(why.contains("no longer lists be/s1"), "{why}");
        let second = reconcile(&after(known(), &first), &shown, None, NOW);
        assert_eq!(second.removed_servers, [Key::new(100)]);
        assert_eq!(status(&second), (FetchStatus::Success, ""));
        // It was only one short answer.
        let back = shows(Ok(vec![observed("s1", "UP")]));
        let back = reconcile(&after(known(), &first), &back, None, NOW);
        assert_eq!(
            (
                back.servers.len(),
                back.removed_servers.len(),
                back.missed_servers.len()
            ),
            (1, 0, 0)
        );
    }

    #[test]
    fn an_unreadable_backend_keeps_its_servers() {
        let change = reconcile(&known(), &shows(Err("timeout".to_owned())), None, NOW);
        assert_eq!(
            (change.removed_servers.len(), change.missed_servers.len()),
            (0, 0)
        );
        assert_eq!(
            change.backends.first().map(|backend| backend.status),
            Some(FetchStatus::Failed)
        );
        assert_eq!(status(&change), (FetchStatus::Partial, "be: timeout"));
    }

    #[test]
    fn an_empty_answer_is_believed_the_second_time_on_every_level() {
        for shown in [ObservedBackends::default(), shows(Ok(vec![]))] {
            let first = reconcile(&known(), &shown, None, NOW);
            assert_eq!(
                (first.removed_backends.len(), first.removed_servers.len()),
                (0, 0)
            );
            assert_eq!(status(&first).0, FetchStatus::Partial);
            let second = reconcile(&after(known(), &first), &shown, None, NOW);
            assert_eq!(second.removed_servers, [Key::new(100)]);
            assert_eq!(
                second.removed_backends.len(),
                usize::from(shown.backends.is_empty())
            );
        }
    }

    #[test]
    fn nothing_is_missed_in_an_answer_that_was_not_whole() {
        let complaints = vec!["server 2 has no `name`".to_owned()];
        let of_servers = ShownServers {
            servers: vec![],
            is_partial: true,
            complaints: complaints.clone(),
        };
        let of_servers = ObservedBackends {
            backends: BTreeMap::from([("be".to_owned(), Ok(of_servers))]),
            ..ObservedBackends::default()
        };
        let of_backends = ObservedBackends {
            is_partial: true,
            complaints,
            ..ObservedBackends::default()
        };
        for shown in [of_servers, of_backends] {
            let mut known = known();
            for _ in 0..3 {
                let change = reconcile(&known, &shown, None, NOW);
                let lost = [&change.missed_servers, &change.removed_servers].map(Vec::len);
                let lost_backends =
                    [&change.missed_backends, &change.removed_backends].map(Vec::len);
                assert_eq!((lost, lost_backends), ([0, 0], [0, 0]), "{shown:?}");
                let (found, why) = status(&change);
                assert_eq!(found, FetchStatus::Partial);
                assert!(why.ends_with("server 2 has no `name`"), "{why}");
                known = after(known, &change);
            }
        }
    }

    #[test]
    fn a_version_that_is_not_supported_is_said() {
        for (version, is_old) in [
            ("2.2.9-2+deb11u6", true),
            ("1.8.30", true),
            ("2.4.0", false),
            ("2.6.12-1+deb12u4", false),
            ("2.10-dev1", false),
            ("3.2.26", false),
            ("unknown", false),
        ] {
            let shown = ObservedBackends {
                version: Some(version.to_owned()),
                ..shows(Ok(vec![observed("s1", "UP")]))
            };
            let change = reconcile(&known(), &shown, None, NOW);
            let (found, why) = status(&change);
            assert_eq!(
                (found == FetchStatus::Partial, why.contains("2.4")),
                (is_old, is_old),
                "{version}"
            );
            assert_eq!(change.instance.version.as_deref(), Some(version));
        }
    }

    #[test]
    fn what_cannot_be_read_is_as_of_before() {
        let mut known = known();
        known.instance.observed_at = Some(Timestamp::from_micros(5));
        known.backends[0].observed_at = Some(Timestamp::from_micros(5));
        let failed = reconcile(&known, &shows(Err("timeout".to_owned())), None, NOW);
        assert_eq!(
            failed.backends[0].observed_at,
            Some(Timestamp::from_micros(5))
        );
        assert_eq!(failed.instance.observed_at, Some(NOW));
        let unreachable = super::failed(&known.instance, "refused", NOW);
        assert_eq!(
            unreachable.instance.observed_at,
            Some(Timestamp::from_micros(5))
        );
    }

    #[test]
    fn a_returning_server_is_written_again() {
        let mut known = known();
        known.servers[0].removed_at = Some(NOW);
        let change = reconcile(&known, &shows(Ok(vec![observed("s1", "UP")])), None, NOW);
        assert_eq!(change.servers.len(), 1);
        assert_eq!(change.removed_servers, []);
    }

    #[test]
    fn what_a_new_process_has_forgotten_is_told() {
        let mut known = known();
        known.servers[0].pin = Some(Pin {
            state: AdminState::Drain,
            owner: "alice".to_owned(),
            reason: None,
            since: Timestamp::from_micros(1_000_000),
            until: Some(Timestamp::from_micros(100_000_000)),
        });
        let sync = |known: &KnownHaproxy, word, uptime, at| {
            let process = ObservedProcess {
                pid: 7,
                uptime: Duration::from_secs(uptime),
            };
            let shown = shows(Ok(vec![observed("s1", word)]));
            reconcile(known, &shown, Some(process), Timestamp::from_micros(at))
        };
        let drained = sync(&known, "DRAIN", 60, 50_000_000);
        assert_eq!(drained.forgotten, []);
        // A person returned it by hand: nothing was lost.
        assert_eq!(sync(&known, "UP", 60, 50_000_000).forgotten, []);
        let change = sync(&known, "UP", 10, 50_000_000);
        let keys: Vec<_> = change.forgotten.iter().map(|(key, _)| *key).collect();
        assert_eq!((keys, change.lapsed), (vec![Key::new(100)], vec![]));
        let late = sync(&known, "UP", 10, 100_000_000);
        assert_eq!(
            (late.forgotten, late.lapsed.clone()),
            (vec![], vec![Key::new(100)])
        );
        // An agent that does not report the process changes nothing about it.
        known.instance.process = change.instance.process;
        let silent = reconcile(&known, &shows(Ok(vec![observed("s1", "UP")])), None, NOW);
        assert_eq!(silent.instance.process, known.instance.process);
    }
}
