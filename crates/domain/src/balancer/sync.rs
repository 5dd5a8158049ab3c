//! From what HAProxy shows to what changes. HAProxy wins over stored data.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;

use super::{
    BackendKey, BalancerBackend, BalancerInstance, BalancerServer, BalancerServerKey, FetchStatus,
    ObservedServer, ServerWord,
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
}

/// Compares what the agent showed with what is known.
///
/// A backend that could not be read keeps its servers. An answer without any backend, where some
/// are known, is believed only the second time in a row. A status-history row is made only for a
/// real change of a known server.
#[must_use]
pub fn reconcile(known: &KnownBalancer, observed: &ObservedBackends, now: Timestamp) -> SyncChange {
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
    let mut change = SyncChange {
        instance: BalancerInstance {
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
        at: now,
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
    use super::*;
    use crate::Key;

    const NOW: Timestamp = Timestamp::from_micros(9);

    fn observed(name: &str, word: &str) -> ObservedServer {
        ObservedServer {
            name: name.to_owned(),
            word: ServerWord::new(word),
            admin: None,
            sessions: Some(3),
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
        assert!(reconcile(&known(), &shows(Ok(vec![busy])), NOW).is_quiet());
    }

    #[test]
    fn a_changed_status_makes_one_history_row() {
        let change = reconcile(&known(), &shows(Ok(vec![observed("s1", "DRAIN")])), NOW);
        assert_eq!(change.history.len(), 1);
        assert_eq!(change.servers.len(), 1);
    }

    #[test]
    fn a_new_server_makes_no_history_and_a_gone_one_is_removed() {
        let change = reconcile(&known(), &shows(Ok(vec![observed("s2", "UP")])), NOW);
        assert_eq!((change.history.len(), change.servers.len()), (0, 1));
        assert_eq!(change.removed_servers, [Key::new(100)]);
    }

    #[test]
    fn an_unreadable_backend_keeps_its_servers() {
        let change = reconcile(&known(), &shows(Err("timeout".to_owned())), NOW);
        assert_eq!(change.removed_servers, []);
        assert_eq!(
            change.backends.first().map(|backend| backend.status),
            Some(FetchStatus::Failed)
        );
    }

    #[test]
    fn an_empty_answer_is_believed_the_second_time() {
        let mut known = known();
        let first = reconcile(&known, &BTreeMap::new(), NOW);
        assert!(first.is_quiet() && first.instance.last_sync_error.is_some());
        known.instance = first.instance;
        let second = reconcile(&known, &BTreeMap::new(), NOW);
        assert_eq!(second.removed_backends, [Key::new(10)]);
        assert_eq!(second.removed_servers, [Key::new(100)]);
    }

    #[test]
    fn a_returning_server_is_written_again() {
        let mut known = known();
        known.servers[0].removed_at = Some(NOW);
        let change = reconcile(&known, &shows(Ok(vec![observed("s1", "UP")])), NOW);
        assert_eq!(change.servers.len(), 1);
        assert_eq!(change.removed_servers, []);
    }
}
