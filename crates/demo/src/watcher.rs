//! What HAProxy itself shows of the servers while the update goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::haproxy::{BACKEND, INSTANCE, RuntimeSocket, ServerRow};

/// How often HAProxy is asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Most entries of a timeline; an update of six instances makes about sixty.
const ENTRIES_MAX: usize = 5_000;

/// One change that HAProxy showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Milliseconds since the update was asked for.
    pub at_ms: u64,
    /// Name of the HAProxy.
    pub haproxy: &'static str,
    /// Name of the backend.
    pub backend: &'static str,
    /// Name of the server.
    pub server: String,
    /// HAProxy's word for its state.
    pub state: String,
    /// Requests it was working on.
    pub sessions: u64,
}

/// All that was seen.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Changes in the order of time; the first entry of a server is how it was at the start.
    pub timeline: Vec<Entry>,
    /// The lowest number of servers that took traffic at one time.
    pub min_ready: usize,
    /// How often HAProxy did not answer.
    pub missed: u32,
    last: BTreeMap<String, (String, bool)>,
}

impl Sight {
    /// Begins with a first look.
    fn begin(rows: &[ServerRow]) -> Self {
        let mut sight = Self {
            timeline: Vec::new(),
            min_ready: usize::MAX,
            missed: 0,
            last: BTreeMap::new(),
        };
        sight.take(0, rows);
        sight
    }

    /// Takes in one look at all servers.
    ///
    /// A server gets an entry when its state changes. While it takes no new traffic it also gets one when its last
    /// request ends or another one begins: that is the drain. (Under traffic the count goes through zero all the time.)
    fn take(&mut self, at_ms: u64, rows: &[ServerRow]) {
        let ready = rows.iter().filter(|row| row.takes_traffic()).count();
        self.min_ready = self.min_ready.min(ready);
        for row in rows {
            let busy = row.sessions > 0;
            let changed = match self.last.get(&row.name) {
                Some((status, was_busy)) => {
                    *status != row.status || (*was_busy != busy && !row.takes_traffic())
                }
                None => true,
            };
            self.last
                .insert(row.name.clone(), (row.status.clone(), busy));
            if changed && self.timeline.len() < ENTRIES_MAX {
                self.timeline.push(Entry {
                    at_ms,
                    haproxy: INSTANCE,
                    backend: BACKEND,
                    server: row.name.clone(),
                    state: row.status.clone(),
                    sessions: row.sessions,
                });
            }
        }
    }
}

/// Looks at HAProxy ten times a second.
#[derive(Debug)]
pub struct Watcher {
    stop: CancellationToken,
    task: JoinHandle<Sight>,
}

impl Watcher {
    /// Takes the first look, then goes on looking.
    ///
    /// # Errors
    ///
    /// If HAProxy does not answer the first time.
    pub async fn start(socket: RuntimeSocket) -> anyhow::Result<Self> {
        let began = Instant::now();
        let sight = Sight::begin(&socket.servers().await?);
        let stop = CancellationToken::new();
        let watching = watch(socket, began, sight, stop.clone());
        Ok(Self {
            stop,
            task: TaskTracker::new().spawn(watching),
        })
    }

    /// Takes the last look and gives all that was seen.
    ///
    /// # Errors
    ///
    /// If the watcher failed.
    pub async fn finish(mut self) -> anyhow::Result<Sight> {
        self.stop.cancel();
        (&mut self.task)
            .await
            .context("the watcher of HAProxy failed")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn watch(
    socket: RuntimeSocket,
    began: Instant,
    mut sight: Sight,
    stop: CancellationToken,
) -> Sight {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        match socket.servers().await {
            Ok(rows) => {
                let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                sight.take(at_ms, &rows);
            }
            Err(_) => sight.missed += 1,
        }
        if last {
            return sight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, status: &str, sessions: u64) -> ServerRow {
        ServerRow {
            name: name.to_owned(),
            status: status.to_owned(),
            sessions,
        }
    }

    #[test]
    fn only_changes_are_kept_and_the_end_of_a_drain_is_one() {
        let mut sight = Sight::begin(&[row("a", "UP", 1), row("b", "UP", 0)]);
        for (at_ms, a, b) in [
            (100, row("a", "UP", 0), row("b", "UP", 2)),
            (200, row("a", "DRAIN", 2), row("b", "UP", 2)),
            (300, row("a", "DRAIN", 1), row("b", "UP", 0)),
            (400, row("a", "DRAIN", 0), row("b", "UP", 0)),
            (500, row("a", "DOWN", 0), row("b", "UP 2/3", 0)),
            (600, row("a", "UP", 0), row("b", "UP", 0)),
        ] {
            sight.take(at_ms, &[a, b]);
        }
        let seen: Vec<_> = sight
            .timeline
            .iter()
            .map(|entry| (entry.at_ms, &*entry.server, &*entry.state, entry.sessions))
            .collect();
        assert_eq!(
            seen,
            [
                (0, "a", "UP", 1),
                (0, "b", "UP", 0),
                (200, "a", "DRAIN", 2),
                (400, "a", "DRAIN", 0),
                (500, "a", "DOWN", 0),
                (500, "b", "UP 2/3", 0),
                (600, "a", "UP", 0),
                (600, "b", "UP", 0),
            ]
        );
        assert_eq!(sight.min_ready, 1);
    }

    #[test]
    fn the_timeline_is_bounded() {
        let mut sight = Sight::begin(&[]);
        for at_ms in 0..6_000 {
            let status = if at_ms % 2 == 0 { "UP" } else { "DOWN" };
            sight.take(at_ms, &[row("a", status, 0)]);
        }
        assert_eq!(sight.timeline.len(), ENTRIES_MAX);
        assert_eq!(sight.min_ready, 0);
    }
}
