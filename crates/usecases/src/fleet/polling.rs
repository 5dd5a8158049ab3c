//! Asking agents what runs, and making the stored inventory say so.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::fleet::inventory::{
    InventoryChange, InventoryReport, KnownInventory, Reconciled, hold, reconcile, unreachable,
    unreadable,
};
use drover_domain::fleet::{ApplicationStatus, FleetLosses, Server, ServerKey};
use drover_domain::page::PageRequest;
use drover_ports::{AgentError, StoreError};
use tokio::sync::watch;

use super::agents::{address, sentence};
use crate::haproxy::sync::{HaproxySync, Synced};
use crate::policy::Policy;
use crate::ports::Ports;

/// The most servers of one fleet.
pub(crate) const SERVERS_MAX: usize = 100_000;

/// What one poll came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollOutcome {
    /// Something changed and is stored.
    Stored,
    /// Nothing changed.
    Unchanged,
    /// The answer takes too much away and is held until it is repeated.
    Suspect,
    /// The agent does not answer.
    Unreachable,
    /// The agent answers, but its inventory cannot be read.
    Unreadable,
    /// This node could not ask, for want of descriptors, ports or memory: nothing is known anew.
    NotAsked,
}

impl PollOutcome {
    /// The word used in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unchanged => "unchanged",
            Self::Suspect => "suspect",
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
            Self::NotAsked => "not_asked",
        }
    }
}

/// A server after a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The server as it is now.
    pub server: Server,
    /// What the poll came to.
    pub outcome: PollOutcome,
    /// How many applications the agent listed; 0 when it did not answer.
    pub applications: usize,
    /// Why the outcome is what it is, where that needs a sentence.
    pub detail: Option<String>,
    /// What the agent listed, also where it is held; `None` when nothing was read or believed.
    pub report: Option<InventoryReport>,
}

/// Within how many intervals the losses of all servers count together.
const LOSS_INTERVALS: u32 = 3;

/// Who asks for a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    ByAPerson,
    InTurn,
}

// Those that were present and are not listed.
fn vanished(change: &InventoryChange) -> usize {
    let gone = change.statuses.iter();
    gone.filter(|gone| gone.status == ApplicationStatus::Offline)
        .count()
}

/// Whose turn it is to poll a server in this process, and when the last poll of it was.
type Turn = Arc<tokio::sync::Mutex<Option<Timestamp>>>;

/// Polls servers, one poll per server at a time.
#[derive(Clone)]
pub(crate) struct Polling {
    ports: Ports,
    policy: Arc<Policy>,
    haproxy: HaproxySync,
    turns: Arc<Mutex<HashMap<ServerKey, Turn>>>,
    losses: Arc<Mutex<FleetLosses>>,
    list_changed: Arc<watch::Sender<u64>>,
}

impl fmt::Debug for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Polling")
    }
}

impl Polling {
    pub(crate) fn new(ports: Ports, policy: Arc<Policy>) -> Self {
        let haproxy = HaproxySync::new(ports.clone());
        Self {
            ports,
            policy,
            haproxy,
            turns: Arc::default(),
            losses: Arc::default(),
            list_changed: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Says that the list of servers is not what it was.
    pub(crate) fn list_changed(&self) {
        self.list_changed.send_modify(|changes| *changes += 1);
    }

    /// Signals every later change of the list of servers.
    pub(crate) fn list_changes(&self) -> watch::Receiver<u64> {
        self.list_changed.subscribe()
    }

    /// Every server, by key.
    pub(crate) async fn servers(&self) -> Result<Vec<Server>, StoreError> {
        let mut servers = Vec::new();
        let mut page = PageRequest {
            after: None,
            limit: PageRequest::LIMIT_MAX,
        };
        loop {
            let found = self.ports.servers.list(page).await?;
            servers.extend(found.items);
            match found.next {
                Some(next) if servers.len() < SERVERS_MAX => page.after = Some(next),
                Some(_) | None => return Ok(servers),
            }
        }
    }

    /// Polls one server; `None` if there is no such server. The poll begins after this call did.
    #[tracing::instrument(name = "polling.poll", skip_all, fields(server.id = %server))]
    pub(crate) async fn poll(&self, server: ServerKey) -> Result<Option<Refreshed>, StoreError> {
        let turn = self.turn(server);
        let mut last = turn.lock().await;
        let Some(known) = self.ports.inventory.load(server).await? else {
            return Ok(None);
        };
        self.ask(known, &mut last, Asked::ByAPerson).await.map(Some)
    }

    /// Polls one server unless another node has done so within most of an interval.
    #[tracing::instrument(name = "polling.poll_in_turn", skip_all, fields(server.id = %server))]
    pub(crate) async fn poll_in_turn(&self, server: ServerKey) -> Result<(), StoreError> {
        let turn = self.turn(server);
        let mut last = turn.lock().await;
        let Some(known) = self.ports.inventory.load(server).await? else {
            return Ok(());
        };
        let now = self.ports.clock.now();
        let fresh = self.policy.polling_interval / 10 * 9;
        let is_fresh = |check: &Timestamp| *check <= now && now.since(*check) < fresh;
        let polled = known.server.last_check.filter(is_fresh);
        if polled.is_some() && polled != *last {
            return Ok(());
        }
        self.ask(known, &mut last, Asked::InTurn).await.map(|_| ())
    }

    async fn ask(
        &self,
        known: KnownInventory,
        last: &mut Option<Timestamp>,
        asked: Asked,
    ) -> Result<Refreshed, StoreError> {
        let refreshed = self.answered(known, asked).await?;
        *last = refreshed.server.last_check;
        Ok(refreshed)
    }

    async fn answered(
        &self,
        mut known: KnownInventory,
        asked: Asked,
    ) -> Result<Refreshed, StoreError> {
        let agent = address(&known.server);
        if let Err(error) = self.ports.agents.ping(&agent).await {
            if let AgentError::NotAsked { .. } = error {
                return Ok(not_asked(&known, &error));
            }
            return self.missed(&known, &error).await;
        }
        let report = match self.ports.agents.inventory(&agent).await {
            Ok(report) => report,
            Err(error @ AgentError::NotAsked { .. }) => return Ok(not_asked(&known, &error)),
            Err(error) => {
                return self.unreadable(&known, sentence(&error)).await;
            }
        };
        if let Some(reason) = self.another_server(&known, &report).await? {
            tracing::warn!(server.name = %known.server.name, "{reason}");
            return self.unreadable(&known, reason).await;
        }
        let missing = known.missing(&report);
        if known.gone > 0 && !missing.is_empty() {
            let inventory = &self.ports.inventory;
            let recalled = inventory.recall(known.server.key, &missing).await?;
            known.applications.extend(recalled);
        }
        let applications = report.applications.len();
        let (change, outcome, detail) =
            match self.reconcile(&known, &report, asked, self.ports.clock.now()) {
                Reconciled::Hold(change, reason) => (change, PollOutcome::Suspect, Some(reason)),
                Reconciled::Apply(change) => {
                    let outcome = if change.is_quiet() {
                        PollOutcome::Unchanged
                    } else {
                        PollOutcome::Stored
                    };
                    let detail = change.server.last_error.clone();
                    (change, outcome, detail)
                }
            };
        self.ports.inventory.store(&change).await?;
        if known.server.status != change.server.status {
            tracing::info!(server.name = %change.server.name, "the agent of {} is online", change.server.name);
        }
        Ok(Refreshed {
            server: change.server,
            outcome,
            applications,
            detail,
            report: Some(report),
        })
    }

    // What the domain says of one server, and then what the fleet lost lately. A poll that a person asks for is for that
    // person to judge.
    fn reconcile(
        &self,
        known: &KnownInventory,
        report: &InventoryReport,
        asked: Asked,
        now: Timestamp,
    ) -> Reconciled {
        let change = match reconcile(known, report, self.policy.poll, now) {
            Reconciled::Apply(change) => change,
            held @ Reconciled::Hold(..) => return held,
        };
        let present = known.applications.iter();
        let listed = present
            .filter(|application| application.last_seen == known.server.inventory_at)
            .count();
        let percent = match asked {
            Asked::ByAPerson => u32::MAX,
            Asked::InTurn => self.policy.poll.suspect_percent,
        };
        let window = self.policy.polling_interval * LOSS_INTERVALS;
        let admitted = self
            .losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(
                known.server.key,
                (listed, vanished(&change)),
                percent,
                window,
                now,
            );
        match admitted {
            Ok(()) => Reconciled::Apply(change),
            Err(reason) => {
                tracing::warn!(server.name = %known.server.name, "{reason}");
                Reconciled::Hold(hold(known, report, &reason, now), reason)
            }
        }
    }

    /// The server is no longer in the fleet.
    pub(crate) fn forget(&self, server: ServerKey) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.forget(server);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.remove(&server);
    }

    /// Why an answer is not that of this server but of another one of the fleet, if so: then two servers have one agent,
    /// or an address has moved. Other names say nothing; people call servers what they like.
    async fn another_server(
        &self,
        known: &KnownInventory,
        report: &InventoryReport,
    ) -> Result<Option<String>, StoreError> {
        let Some(told) = &report.server else {
            return Ok(None);
        };
        if known.server.may_be_called(told) {
            return Ok(None);
        }
        let other = self.ports.servers.find_by_name(told).await?;
        let other = other.filter(|other| other.key != known.server.key);
        Ok(other.map(|other| {
            let (name, address) = (&known.server.name, address(&known.server));
            format!(
                "the agent at {address} says it is on {told}, which is server {} of this fleet ({}) and not {name}; nothing \
                 it says is believed: is the address of {name} right?",
                other.key, other.name
            )
        }))
    }

    async fn unreadable(
        &self,
        known: &KnownInventory,
        reason: String,
    ) -> Result<Refreshed, StoreError> {
        let change = unreadable(known, &reason, self.policy.poll, self.ports.clock.now());
        self.ports.inventory.store(&change).await?;
        if change.server.inventory_failures == self.policy.poll.no_data_after.max(1) {
            tracing::warn!(server.name = %known.server.name, "{}: {reason}", known.server.name);
        }
        Ok(Refreshed {
            server: change.server,
            outcome: PollOutcome::Unreadable,
            applications: 0,
            detail: Some(reason),
            report: None,
        })
    }

    /// Syncs the HAProxy instances of a server.
    pub(crate) async fn sync(&self, server: &Server) -> Result<Synced, StoreError> {
        self.haproxy.sync(server).await
    }

    async fn missed(
        &self,
        known: &KnownInventory,
        error: &AgentError,
    ) -> Result<Refreshed, StoreError> {
        let reason = sentence(error);
        let change = unreachable(known, &reason, self.policy.poll, self.ports.clock.now());
        self.ports.inventory.store(&change).await?;
        if known.server.status != change.server.status {
            let server = &change.server;
            tracing::warn!(server.name = %server.name, failures = server.failures, "{} is offline: {reason}", server.name);
        }
        Ok(Refreshed {
            server: change.server,
            outcome: PollOutcome::Unreachable,
            applications: 0,
            detail: Some(reason),
            report: None,
        })
    }

    // The map keeps one entry for each server ever polled: it is bounded by the fleet.
    fn turn(&self, server: ServerKey) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(server).or_default())
    }
}

/// A poll that did not happen: what is stored stays as it is.
fn not_asked(known: &KnownInventory, error: &AgentError) -> Refreshed {
    let reason = sentence(error);
    tracing::warn!(server.name = %known.server.name, "{} was not polled: {reason}", known.server.name);
    Refreshed {
        server: known.server.clone(),
        outcome: PollOutcome::NotAsked,
        applications: 0,
        detail: Some(reason),
        report: None,
    }
}

/// A server's fixed place in an interval on a node: spread by its key.
pub(crate) fn phase(node: &str, server: ServerKey, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (node, server).hash(&mut hasher);
    let micros = u64::try_from(interval.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    Duration::from_micros(hasher.finish() % micros)
}
