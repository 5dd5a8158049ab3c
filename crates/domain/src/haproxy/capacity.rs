//! Which servers take requests, and how many of a backend do: one rule for guards, counts and screens.

use std::collections::{BTreeMap, BTreeSet};

use super::{BackendKey, HaproxyInstanceKey, ObservedServer};

/// What the configuration of HAProxy makes of a server. All of it is `false` or `None` where the agent does not report
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ServerRole {
    /// Whether it gets requests only while no other server of the backend does (`backup`).
    pub is_backup: bool,
    /// The server whose state it follows (`track`), as `backend/server`.
    pub tracks: Option<String>,
    /// Whether an agent-check is enabled, which sets the administrative state by itself.
    pub has_agent_check: bool,
}

impl ObservedServer {
    /// Whether HAProxy sends it requests as soon as it is its turn: up or not checked, and of a weight above 0.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.word.takes_traffic() && self.weight > 0
    }
}

/// The servers of a backend that take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    active: usize,
    backup: usize,
}

impl Capacity {
    /// Counts them.
    #[must_use]
    pub fn of<'a>(members: impl IntoIterator<Item = &'a ObservedServer>) -> Self {
        let mut capacity = Self::default();
        for member in members.into_iter().filter(|member| member.takes_requests()) {
            if member.role.is_backup {
                capacity.backup += 1;
            } else {
                capacity.active += 1;
            }
        }
        capacity
    }

    /// How many get requests. Backups get none while others do; then HAProxy uses the first one only, unless the
    /// configuration says `option allbackups`, which it does not show.
    #[must_use]
    pub fn serving(self) -> usize {
        if self.active > 0 {
            self.active
        } else {
            self.backup.min(1)
        }
    }
}

/// A server that follows another one of the same HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tracker {
    /// Its backend.
    pub backend: String,
    /// Its name.
    pub server: String,
    /// The server it follows, as `backend/server`.
    pub tracks: String,
}

/// The backends and names of the servers that follow `server` of `backend`, over any number of steps.
#[must_use]
pub fn followers(trackers: &[Tracker], backend: &str, server: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut open = vec![format!("{backend}/{server}")];
    while let Some(path) = open.pop() {
        for tracker in trackers.iter().filter(|tracker| tracker.tracks == path) {
            let (backend, server) = (tracker.backend.clone(), tracker.server.clone());
            let path = format!("{backend}/{server}");
            if found.insert((backend, server)) {
                open.push(path);
            }
        }
    }
    found
}

/// The names of the servers that leave each backend when those called `leaving` leave `backend`: their followers leave
/// with them.
#[must_use]
pub fn leaving_with_followers(
    trackers: &[Tracker],
    backend: &str,
    leaving: &BTreeSet<&str>,
) -> BTreeMap<String, BTreeSet<String>> {
    let own = leaving.iter().map(|name| (*name).to_owned()).collect();
    let mut all = BTreeMap::from([(backend.to_owned(), own)]);
    for name in leaving {
        for (backend, server) in followers(trackers, backend, name) {
            let of_backend: &mut BTreeSet<String> = all.entry(backend).or_default();
            of_backend.insert(server);
        }
    }
    all
}

/// A server with the backend it stands in, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingServer {
    /// The HAProxy instance.
    pub instance: HaproxyInstanceKey,
    /// The backend.
    pub backend: BackendKey,
    /// The backend's name in HAProxy.
    pub backend_name: String,
    /// The server.
    pub observed: ObservedServer,
}

/// The servers of one HAProxy instance, by backend, and which of them follow others.
#[derive(Debug)]
pub struct Members<'a> {
    by_backend: BTreeMap<&'a str, Vec<&'a ObservedServer>>,
    trackers: Vec<Tracker>,
}

impl<'a> Members<'a> {
    /// Those of `instance`; `standing` may have others too.
    #[must_use]
    pub fn of(instance: HaproxyInstanceKey, standing: &'a [StandingServer]) -> Self {
        let mut by_backend: BTreeMap<&str, Vec<&ObservedServer>> = BTreeMap::new();
        let mut trackers = Vec::new();
        for server in standing.iter().filter(|server| server.instance == instance) {
            let members = by_backend.entry(&server.backend_name).or_default();
            members.push(&server.observed);
            trackers.extend(server.observed.role.tracks.clone().map(|tracks| Tracker {
                backend: server.backend_name.clone(),
                server: server.observed.name.clone(),
                tracks,
            }));
        }
        Self {
            by_backend,
            trackers,
        }
    }

    /// The servers of a backend; none if the instance does not have it.
    pub fn backend(&self, name: &str) -> impl Iterator<Item = &'a ObservedServer> {
        self.by_backend.get(name).into_iter().flatten().copied()
    }

    /// The names of the servers that leave each backend when those called `leaving` leave `backend`.
    #[must_use]
    pub fn leaving(
        &self,
        backend: &str,
        leaving: &BTreeSet<&str>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        leaving_with_followers(&self.trackers, backend, leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerWord;
    use super::*;

    fn server(word: &str, weight: u32, is_backup: bool) -> ObservedServer {
        ObservedServer {
            name: "a".to_owned(),
            word: ServerWord::new(word),
            admin: None,
            sessions: None,
            old_sessions: None,
            queue: None,
            weight,
            role: ServerRole {
                is_backup,
                ..ServerRole::default()
            },
            check_status: None,
            address: None,
            port: None,
        }
    }

    #[test]
    fn backups_serve_only_where_nothing_else_does_and_weight_0_never() {
        let (up, idle) = (server("UP", 1, false), server("UP", 0, false));
        let (backup, down) = (server("no check", 1, true), server("DOWN", 1, false));
        for (members, serving) in [
            (vec![&up, &up, &backup], 2),
            (vec![&up, &idle], 1),
            (vec![&down, &backup], 1),
            (vec![&down, &idle, &backup, &backup], 1),
            (vec![&down, &idle], 0),
            (vec![], 0),
        ] {
            assert_eq!(
                Capacity::of(members.iter().copied()).serving(),
                serving,
                "{members:?}"
            );
        }
    }

    #[test]
    fn followers_are_found_over_any_number_of_steps() {
        let tracker = |backend: &str, server: &str, tracks: &str| Tracker {
            backend: backend.to_owned(),
            server: server.to_owned(),
            tracks: tracks.to_owned(),
        };
        let trackers = [
            tracker("t", "s1", "a/s1"),
            tracker("u", "s1", "t/s1"),
            tracker("t", "s2", "a/s2"),
            // HAProxy refuses a circle; an agent may still report one.
            tracker("x", "s", "y/s"),
            tracker("y", "s", "x/s"),
        ];
        let names = |backend, server| {
            let found = followers(&trackers, backend, server).into_iter();
            found
                .map(|(backend, server)| format!("{backend}/{server}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(names("a", "s1"), ["t/s1", "u/s1"]);
        assert_eq!(names("a", "s2"), ["t/s2"]);
        assert_eq!(names("a", "s3"), Vec::<String>::new());
        assert_eq!(names("x", "s"), ["x/s", "y/s"]);
    }
}
