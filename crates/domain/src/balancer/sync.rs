//! From what HAProxy shows to what changes. HAProxy wins over stored data.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;

use super::{
    BackendKey, BalancerBackend, BalancerInstance, BalancerProcess, BalancerServer,
    BalancerServerKey, DesiredState, FetchStatus, ObservedProcess, ObservedServer, ServerWord,
};

/// An instance with everything Drover knows of it, removed rows included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBalancer {
    /// The instance.
    pub instance: BalancerInstance,
    /// Its backends.
    pub backends: Vec<BalancerBackend>,
    /// Their servers.
    pub servers: Vec<BalancerServer>,
}

/// What the agent showed: each backend by name with its servers, or why they could not be read.
pub type ObservedBackends = BTreeMap<String, Result<Vec<ObservedServer>, String>>;

/// What one sync changes, written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncChange {
    /// The instance as it is now.
    pub instance: BalancerInstance,
    /// Backends that are new, back, or read with another result than before.
    pub backends: Vec<BackendUpsert>,
    /// Servers that are new, back, or differ from what is known.
    pub servers: Vec<ServerUpsert>,
    /// Backends that are gone; their servers are gone with them.
    pub removed_backends: Vec<BackendKey>,
    /// Servers that are gone.
    pub removed_servers: Vec<BalancerServerKey>,
    /// Status changes for the history.
    pub history: Vec<StatusHistory>,
    /// Servers that nobody holds any more because the time is over.
    pub lapsed: Vec<BalancerServerKey>,
    /// Servers that are held, and that a new process of HAProxy has in use: what is wanted has to be said again. Not
    /// written.
    pub forgotten: Vec<(BalancerServerKey, DesiredState)>,
    /// When the sync was made.
    pub at: Timestamp,
}

impl SyncChange {
    /// Whether nothing but the instance's own row changes.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.backends.is_empty()
            && self.servers.is_empty()
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
    /// Why it failed.
    pub error: Option<String>,
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
    pub server: BalancerServerKey,
    /// Before.
    pub old: ServerWord,
    /// After.
    pub new: ServerWord,
    /// Whether somebody changed what the server is to do, and not its health.
    pub is_administrative: bool,
}

/// Compares what the agent showed with what is known.
///
/// A backend that could not be read keeps its servers. An answer without any backend, where some
/// are known, is believed only the second time in a row. A status-history row is made only for a
/// real change of a known server. `process` is the latest one of those that told; `None` says nothing about it.
#[must_use]
pub fn reconcile(
    known: &KnownBalancer,
    observed: &ObservedBackends,
    process: Option<ObservedProcess>,
    now: Timestamp,
) -> SyncChange {
    let live_backends = || {
        known
            .backends
            .iter()
            .filter(|backend| backend.removed_at.is_none())
    };
    let empty_answers = if observed.is_empty() && live_backends().next().is_some() {
        known.instance.empty_answers.saturating_add(1)
    } else {
        0
    };
    let known_process = known.instance.process;
    let process = process.map(|seen| BalancerProcess::seen(known_process, seen, now));
    let mut change = SyncChange {
        instance: BalancerInstance {
            process: process.or(known_process),
            last_sync: Some(now),
            last_sync_status: FetchStatus::Success,
            last_sync_error: None,
            empty_answers,
            ..known.instance.clone()
        },
        backends: Vec::new(),
        servers: Vec::new(),
        removed_backends: Vec::new(),
        removed_servers: Vec::new(),
        history: Vec::new(),
        lapsed: lapsed(&known.servers, now),
        forgotten: Vec::new(),
        at: now,
    };
    if empty_answers == 1 {
        change.instance.last_sync_error =
            Some("HAProxy lists no backend although some are known; believed if the next sync says the same".to_owned());
        return change;
    }

    let backends: BTreeMap<&str, &BalancerBackend> = known
        .backends
        .iter()
        .map(|backend| (backend.name.as_str(), backend))
        .collect();
    let servers: BTreeMap<(BackendKey, &str), &BalancerServer> = known
        .servers
        .iter()
        .map(|server| ((server.backend, server.observed.name.as_str()), server))
        .collect();
    let mut kept: BTreeSet<BalancerServerKey> = BTreeSet::new();
    for (name, fetched) in observed {
        let backend = backends.get(name.as_str()).copied();
        note_backend(&mut change, name, backend, fetched);
        match fetched {
            Ok(seen) => {
                for server in seen {
                    let stored = backend.and_then(|backend| {
                        servers.get(&(backend.key, server.name.as_str())).copied()
                    });
                    kept.extend(stored.map(|stored| stored.key));
                    note_server(&mut change, name, stored, server);
                    note_forgotten(&mut change, stored, server);
                }
            }
            Err(_) => kept.extend(
                known
                    .servers
                    .iter()
                    .filter(|server| Some(server.backend) == backend.map(|backend| backend.key))
                    .map(|server| server.key),
            ),
        }
    }
    change.removed_backends = live_backends()
        .filter(|backend| !observed.contains_key(&backend.name))
        .map(|backend| backend.key)
        .collect();
    change.removed_servers = known
        .servers
        .iter()
        .filter(|server| server.removed_at.is_none() && !kept.contains(&server.key))
        .map(|server| server.key)
        .collect();
    change
}

/// What changes when the instance cannot be read at all: only its own row.
#[must_use]
pub fn failed(instance: &BalancerInstance, reason: &str, now: Timestamp) -> SyncChange {
    SyncChange {
        instance: BalancerInstance {
            last_sync: Some(now),
            last_sync_status: FetchStatus::Failed,
            last_sync_error: Some(reason.chars().take(500).collect()),
            ..instance.clone()
        },
        backends: Vec::new(),
        servers: Vec::new(),
        removed_backends: Vec::new(),
        removed_servers: Vec::new(),
        history: Vec::new(),
        lapsed: Vec::new(),
        forgotten: Vec::new(),
        at: now,
    }
}

fn lapsed(servers: &[BalancerServer], now: Timestamp) -> Vec<BalancerServerKey> {
    let has_lapsed = |server: &&BalancerServer| {
        let desired = server.desired.as_ref();
        desired.is_some_and(|desired| desired.has_lapsed(now))
    };
    let servers = servers.iter().filter(has_lapsed);
    servers.map(|server| server.key).collect()
}

fn note_forgotten(
    change: &mut SyncChange,
    known: Option<&BalancerServer>,
    observed: &ObservedServer,
) {
    let (process, now) = (change.instance.process, change.at);
    if let Some(known) = known
        && let Some(desired) = &known.desired
        && desired.is_forgotten(observed, process, now)
    {
        change.forgotten.push((known.key, desired.clone()));
    }
}

fn note_backend(
    change: &mut SyncChange,
    name: &str,
    known: Option<&BalancerBackend>,
    fetched: &Result<Vec<ObservedServer>, String>,
) {
    let (status, error) = match fetched {
        Ok(_) => (FetchStatus::Success, None),
        Err(reason) => (
            FetchStatus::Failed,
            Some(reason.chars().take(500).collect()),
        ),
    };
    let same = known.is_some_and(|backend| {
        backend.removed_at.is_none()
            && backend.last_fetch_status == status
            && backend.last_fetch_error == error
    });
    if !same {
        change.backends.push(BackendUpsert {
            name: name.to_owned(),
            status,
            error,
        });
    }
}

fn note_server(
    change: &mut SyncChange,
    backend: &str,
    known: Option<&BalancerServer>,
    observed: &ObservedServer,
) {
    if let Some(known) = known {
        if known.removed_at.is_none() && known.observed.is_settled_as(observed) {
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
    use crate::balancer::AdminState;

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
            check_status: None,
            address: None,
            port: None,
        }
    }

    fn known() -> KnownBalancer {
        let instance = BalancerInstance {
            key: Key::new(1),
            server: Key::new(1),
            server_name: "lb01".to_owned(),
            name: "default".to_owned(),
            is_active: true,
            last_sync: None,
            last_sync_status: FetchStatus::Unknown,
            last_sync_error: None,
            empty_answers: 0,
            process: None,
            backends: 1,
        };
        let backend = BalancerBackend {
            key: Key::new(10),
            instance: instance.key,
            name: "be".to_owned(),
            last_fetch_status: FetchStatus::Success,
            last_fetch_error: None,
            servers: 1,
            ready: 1,
            removed_at: None,
        };
        let server = BalancerServer {
            key: Key::new(100),
            backend: backend.key,
            observed: observed("s1", "UP"),
            application: None,
            desired: None,
            last_seen: None,
            removed_at: None,
        };
        KnownBalancer {
            instance,
            backends: vec![backend],
            servers: vec![server],
        }
    }

    fn shows(servers: Result<Vec<ObservedServer>, String>) -> ObservedBackends {
        BTreeMap::from([("be".to_owned(), servers)])
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

    #[test]
    fn a_new_server_makes_no_history_and_a_gone_one_is_removed() {
        let change = reconcile(&known(), &shows(Ok(vec![observed("s2", "UP")])), None, NOW);
        assert_eq!((change.history.len(), change.servers.len()), (0, 1));
        assert_eq!(change.removed_servers, [Key::new(100)]);
    }

    #[test]
    fn an_unreadable_backend_keeps_its_servers() {
        let change = reconcile(&known(), &shows(Err("timeout".to_owned())), None, NOW);
        assert_eq!(change.removed_servers, []);
        assert_eq!(
            change.backends.first().map(|backend| backend.status),
            Some(FetchStatus::Failed)
        );
    }

    #[test]
    fn an_empty_answer_is_believed_the_second_time() {
        let mut known = known();
        let first = reconcile(&known, &BTreeMap::new(), None, NOW);
        assert!(first.is_quiet() && first.instance.last_sync_error.is_some());
        known.instance = first.instance;
        let second = reconcile(&known, &BTreeMap::new(), None, NOW);
        assert_eq!(second.removed_backends, [Key::new(10)]);
        assert_eq!(second.removed_servers, [Key::new(100)]);
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
        known.servers[0].desired = Some(DesiredState {
            state: AdminState::Drain,
            owner: "alice".to_owned(),
            reason: None,
            since: Timestamp::from_micros(1_000_000),
            until: Some(Timestamp::from_micros(100_000_000)),
        });
        let sync = |known: &KnownBalancer, word, uptime, at| {
            let process = ObservedProcess {
                pid: 7,
                uptime: Duration::from_secs(uptime),
            };
            let shown = shows(Ok(vec![observed("s1", word)]));
            reconcile(known, &shown, Some(process), Timestamp::from_micros(at))
        };
        let held = sync(&known, "DRAIN", 60, 50_000_000);
        assert_eq!(held.forgotten, []);
        // Somebody returned it by hand: nothing was forgotten.
        assert_eq!(sync(&known, "UP", 60, 50_000_000).forgotten, []);
        let change = sync(&known, "UP", 10, 50_000_000);
        let keys: Vec<_> = change.forgotten.iter().map(|(key, _)| *key).collect();
        assert_eq!((keys, change.lapsed), (vec![Key::new(100)], vec![]));
        let late = sync(&known, "UP", 10, 100_000_000);
        assert_eq!(
            (late.forgotten, late.lapsed.clone()),
            (vec![], vec![Key::new(100)])
        );
        // An agent that does not tell of the process says nothing about it.
        known.instance.process = change.instance.process;
        let silent = reconcile(&known, &shows(Ok(vec![observed("s1", "UP")])), None, NOW);
        assert_eq!(silent.instance.process, known.instance.process);
    }
}
