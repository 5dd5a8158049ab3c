//! What goes on by itself: polling and syncing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use drover_domain::fleet::{Server, ServerKey};
use drover_ports::{Clock, HistoryUpkeep, StoreError, WorkflowUpkeep};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::fleet::polling::{Polling, phase};
use crate::haproxy::actions::Actions;
use crate::ports::Ports;
use crate::retention;
use crate::stop::{Stop, stopped};
use crate::webhook::{self, Webhooks};

/// The loops of one process besides the [`Engine`](crate::Engine)'s. Each ends soon after [`Stop`] says so.
#[derive(Clone)]
pub struct Background {
    polling: Polling,
    actions: Actions,
    history: Arc<dyn HistoryUpkeep>,
    upkeep: Arc<dyn WorkflowUpkeep>,
    webhooks: Webhooks,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

impl Background {
    pub(crate) fn new(ports: &Ports, polling: Polling, actions: Actions) -> Self {
        Self {
            polling,
            actions,
            history: Arc::clone(&ports.history),
            upkeep: Arc::clone(&ports.engine.upkeep),
            webhooks: Webhooks::new(ports),
            clock: Arc::clone(&ports.clock),
        }
    }

    /// Starts deliveries to webhooks of what happens. Any number of nodes may.
    pub async fn webhook_loop(&self, stop: Stop) {
        webhook::run(self.webhooks.clone(), stop).await;
    }

    /// Once per hour, removes records of the fleet and of HAProxy that are older than they are kept.
    pub async fn retention_loop(&self, stop: Stop) {
        let (store, upkeep) = (Arc::clone(&self.history), Arc::clone(&self.upkeep));
        let (clock, ages) = (Arc::clone(&self.clock), self.polling.policy().history);
        retention::run(store, upkeep, clock, ages, stop).await;
    }

    /// Polls every server once per interval, each at its own fixed phase, a bounded number at once. What another node
    /// has just polled is left out: nodes share the fleet, and one that dies is made up for within two intervals.
    pub async fn poll_loop(&self, stop: Stop) {
        let policy = self.polling.policy();
        self.each_server(
            stop,
            policy.polling_interval,
            |_| true,
            |polling, server| async move { polling.poll_in_turn(server.key).await },
        )
        .await;
    }

    /// Syncs every HAProxy once per interval, like [`Background::poll_loop`], and says again what one forgot in a reload.
    pub async fn sync_loop(&self, stop: Stop) {
        let policy = self.polling.policy();
        self.each_server(
            stop,
            policy.sync_interval,
            |server| server.is_haproxy_node,
            |polling, server| {
                let actions = self.actions.clone();
                async move {
                    let synced = polling.sync(&server).await?;
                    actions.follow_up(synced).await
                }
            },
        )
        .await;
    }

    async fn each_server<F>(
        &self,
        mut stop: Stop,
        interval: Duration,
        wanted: impl Fn(&Server) -> bool,
        visit: impl Fn(Polling, Server) -> F,
    ) where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let concurrency = self.polling.policy().poll_concurrency.max(1);
        let mut servers: HashMap<ServerKey, (Server, Instant)> = HashMap::new();
        let mut visits: JoinSet<(ServerKey, Result<(), StoreError>)> = JoinSet::new();
        let mut under_way: HashSet<ServerKey> = HashSet::new();
        // Of those, servers whose last poll failed: hanging agents take half of the places at most.
        let mut troubled: HashSet<ServerKey> = HashSet::new();
        let troubled_max = concurrency.div_ceil(2);
        let mut list_changes = self.polling.list_changes();
        let mut reload_at = Instant::now();
        loop {
            if Instant::now() >= reload_at {
                // Once per interval is enough: additions of this process announce themselves.
                reload_at = Instant::now() + interval;
                match self.polling.servers().await {
                    Ok(listed) => {
                        servers = {
                            let (node, listed) = (&self.polling.policy().node, listed.into_iter());
                            schedule(&servers, listed.filter(&wanted), interval, node)
                        };
                    }
                    Err(error) => {
                        reload_at = Instant::now() + Duration::from_secs(1).min(interval);
                        log(&error, "the list of servers cannot be read");
                    }
                }
            }
            let now = Instant::now();
            for (key, (server, due)) in &mut servers {
                let has_place = !is_troubled(server) || troubled.len() < troubled_max;
                let is_free = visits.len() < concurrency && has_place;
                if *due <= now && is_free && !under_way.contains(key) {
                    *due = now + interval;
                    if is_troubled(server) {
                        troubled.insert(*key);
                    }
                    under_way.insert(*key);
                    let (key, visit) = (*key, visit(self.polling.clone(), server.clone()));
                    visits.spawn(async move { (key, visit.await) });
                }
            }
            let full = visits.len() >= concurrency;
            let next = servers
                .iter()
                .filter(|(key, _)| !full && !under_way.contains(key))
                .filter(|(_, (server, _))| !is_troubled(server) || troubled.len() < troubled_max)
                .map(|(_, (_, due))| *due)
                .chain([reload_at])
                .min()
                .unwrap_or(reload_at);
            tokio::select! {
                () = stopped(&mut stop) => break,
                Ok(()) = list_changes.changed() => reload_at = Instant::now(),
                () = sleep_until(next) => {}
                Some(done) = visits.join_next() => match done {
                    Ok((key, result)) => {
                        under_way.remove(&key);
                        troubled.remove(&key);
                        if let Err(error) = result {
                            log(&error, "what an agent said cannot be stored");
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = &error as &(dyn std::error::Error + 'static), "a poll broke off");
                        under_way.clear();
                        troubled.clear();
                    }
                },
            }
        }
        visits.shutdown().await;
    }
}

fn is_troubled(server: &Server) -> bool {
    server.failures > 0 || server.last_error.is_some()
}

// Servers that are already known keep their place in time.
fn schedule(
    known: &HashMap<ServerKey, (Server, Instant)>,
    listed: impl Iterator<Item = Server>,
    interval: Duration,
    node: &str,
) -> HashMap<ServerKey, (Server, Instant)> {
    let now = Instant::now();
    listed
        .map(|server| {
            let due = known
                .get(&server.key)
                .map_or_else(|| now + phase(node, server.key, interval), |(_, due)| *due);
            (server.key, (server, due))
        })
        .collect()
}

fn log(error: &StoreError, what: &'static str) {
    tracing::warn!(
        error = error as &(dyn std::error::Error + 'static),
        "{what}"
    );
}
