//! What the stores know of the fleet, for the machines that watch: who answers, how old what is known has become,
//! what failed for good.
//!
//! All nodes on one database export the same values: use the maximum over nodes, not the sum.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::fleet::{Server, ServerStatus};
use drover_domain::haproxy::{
    Breaker, BreakerPolicy, BreakerState, FetchStatus, HaproxyInstance, HaproxyInstanceKey,
    InstanceBreaker,
};
use drover_domain::page::PageRequest;
use drover_usecases::{
    DeadLetterFilter, HaproxyInstanceFilter, Policy, Service, StoreError, Views,
};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::rounded;

/// The most pages of one list that are read at a time.
const PAGES_MAX: usize = 500;

/// The most instances whose breakers have a label of their own.
const BREAKERS_MAX: usize = 300;

const SERVERS: &str = "drover_servers";
const POLLED: &str = "drover_servers_by_last_poll";
const WITHOUT_INVENTORY: &str = "drover_servers_without_inventory";
const INVENTORY_AGE: &str = "drover_inventory_age_seconds";
const SYNCED: &str = "drover_haproxy_instances_by_last_sync";
const SYNC_AGE: &str = "drover_haproxy_sync_age_seconds";
const BREAKER: &str = "drover_haproxy_breaker_open";
const BREAKERS: &str = "drover_haproxy_instances_by_breaker";
const PINNED: &str = "drover_haproxy_servers_pinned";
const DRIFTING: &str = "drover_haproxy_servers_drifting";
const DEAD_LETTERS: &str = "drover_dead_letters_total";

/// How a server's last poll went.
const POLLS: [&str; 5] = ["believed", "held", "unreadable", "unreachable", "never"];

/// The exported state of the fleet.
pub(super) struct Fleet {
    views: Views,
    policy: Arc<Policy>,
    breakers: Breakers,
    /// The place of the newest dead letter that was counted; `None` before the first look.
    counted: Option<i64>,
}

impl Fleet {
    pub(super) fn new(service: Service) -> Self {
        Self {
            views: service.views,
            policy: service.policy,
            breakers: Breakers::default(),
            counted: None,
        }
    }

    /// Exports it as of `now`; a value that cannot be read stays as it was.
    pub(super) async fn tell(&mut self, now: Timestamp) {
        for told in [
            self.servers(now).await,
            self.haproxy(now).await,
            self.breakers().await,
            self.dead_letters().await,
        ] {
            if let Err(error) = told {
                tracing::debug!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "the metrics of the fleet cannot be told"
                );
            }
        }
    }

    async fn servers(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut sums = Servers::default();
        let mut page = largest();
        for _ in 0..PAGES_MAX {
            let found = self.views.servers.list(page).await?;
            for server in &found.items {
                sums.add(server, self.policy.poll.no_data_after, now);
            }
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        sums.tell();
        Ok(())
    }

    async fn haproxy(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut sums = HaproxyInstances::default();
        let mut page = largest();
        for _ in 0..PAGES_MAX {
            let found = self
                .views
                .haproxy
                .instances(&HaproxyInstanceFilter::default(), page)
                .await?;
            for instance in &found.items {
                sums.add(instance, now);
            }
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        let summary = self.views.haproxy.summary(self.policy.min_ready).await?;
        sums.add_unread(summary.unread_nodes);
        sums.tell();
        Ok(())
    }

    async fn breakers(&mut self) -> Result<(), StoreError> {
        let least = self.policy.min_ready;
        let summary = self.views.haproxy.summary(least).await?;
        self.breakers.tell(&summary.breakers, self.policy.breaker);
        gauge!(PINNED).set(rounded(summary.pinned));
        gauge!(DRIFTING).set(rounded(summary.drifting));
        Ok(())
    }

    /// Counts the letters that are newer than the newest one counted. They come with their payloads: most looks see one.
    async fn dead_letters(&mut self) -> Result<(), StoreError> {
        let filter = DeadLetterFilter::default();
        let mut page = PageRequest {
            after: None,
            limit: 1,
        };
        let (mut newest, mut count) = (None, 0);
        for _ in 0..PAGES_MAX {
            let found = self.views.workflows.dead_letters(&filter, page).await?;
            let positions = found.items.iter().map(|letter| letter.position);
            newest = newest.max(positions.clone().max());
            let fresh = positions.filter(|at| self.counted.is_some_and(|counted| *at > counted));
            let fresh = fresh.count();
            count += fresh;
            if fresh < found.items.len() || found.next.is_none() {
                break;
            }
            page = PageRequest {
                after: found.next,
                limit: PageRequest::LIMIT_DEFAULT,
            };
        }
        // The first look counts nothing: what lies there is not new. A list that is empty then begins at 0.
        self.counted = self.counted.or(Some(0)).max(newest);
        counter!(DEAD_LETTERS).increment(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(())
    }
}

const fn largest() -> PageRequest {
    PageRequest {
        after: None,
        limit: PageRequest::LIMIT_MAX,
    }
}

/// Says what the metrics mean; before a recorder is installed this does nothing.
pub(super) fn describe() {
    describe_gauge!(SERVERS, "Servers, by whether their agents answer");
    describe_gauge!(
        POLLED,
        "Servers by how the last poll went: `believed`; `held` until it is seen again; `unreadable`; `unreachable`; `never` polled"
    );
    describe_gauge!(
        WITHOUT_INVENTORY,
        "Servers whose agent answers, and whose applications have no data because no inventory came for several polls"
    );
    describe_gauge!(
        INVENTORY_AGE,
        Unit::Seconds,
        "How old the oldest inventory of a server is; of one that was never read, since it was added"
    );
    describe_gauge!(
        SYNCED,
        "Active HAProxy instances by how the last sync went; `unknown` counts HAProxy nodes without a known instance, too"
    );
    describe_gauge!(
        SYNC_AGE,
        Unit::Seconds,
        "How long ago the sync of an active HAProxy instance ended that ended first, well or not"
    );
    describe_gauge!(
        BREAKER,
        "1 while the breaker of an HAProxy instance is not closed, else 0, by the instance's number; of those, at most 300, that were seen open since this node started"
    );
    describe_gauge!(
        BREAKERS,
        "Active HAProxy instances by the state of their breaker"
    );
    describe_gauge!(PINNED, "Servers in HAProxy that are pinned out of use");
    describe_gauge!(
        DRIFTING,
        "Servers in HAProxy that show another state than their pin"
    );
    describe_counter!(
        DEAD_LETTERS,
        "Tasks of all nodes that failed for good, timed out or are unknown, since this node started"
    );
}

/// Sums over servers.
#[derive(Debug)]
struct Servers {
    statuses: Words,
    polls: Words,
    without_inventory: u64,
    oldest: Duration,
}

impl Default for Servers {
    fn default() -> Self {
        let statuses = [
            ServerStatus::Online,
            ServerStatus::Offline,
            ServerStatus::Unknown,
        ];
        Self {
            statuses: none_of(statuses.map(ServerStatus::as_str)),
            polls: none_of(POLLS),
            without_inventory: 0,
            oldest: Duration::ZERO,
        }
    }
}

impl Servers {
    fn add(&mut self, server: &Server, no_data_after: u32, now: Timestamp) {
        self.without_inventory += u64::from(
            server.status == ServerStatus::Online
                && server.inventory_failures >= no_data_after.max(1),
        );
        *self.statuses.entry(server.status.as_str()).or_default() += 1;
        *self.polls.entry(last_poll(server)).or_default() += 1;
        let known = server.inventory_at.unwrap_or(server.created_at);
        self.oldest = self.oldest.max(now.since(known));
    }

    fn tell(&self) {
        for (status, count) in &self.statuses {
            gauge!(SERVERS, "status" => *status).set(rounded(*count));
        }
        for (outcome, count) in &self.polls {
            gauge!(POLLED, "outcome" => *outcome).set(rounded(*count));
        }
        gauge!(WITHOUT_INVENTORY).set(rounded(self.without_inventory));
        gauge!(INVENTORY_AGE).set(self.oldest.as_secs_f64());
    }
}

/// Which of [`POLLS`] a server's last poll was.
fn last_poll(server: &Server) -> &'static str {
    if server.last_check.is_none() {
        "never"
    } else if server.failures > 0 {
        "unreachable"
    } else if server.suspect.is_some() {
        "held"
    } else if server.inventory_at == server.last_check {
        "believed"
    } else {
        "unreadable"
    }
}

/// Sums over HAProxy instances.
#[derive(Debug)]
struct HaproxyInstances {
    syncs: Words,
    oldest: Duration,
}

impl Default for HaproxyInstances {
    fn default() -> Self {
        let statuses = [
            FetchStatus::Success,
            FetchStatus::Partial,
            FetchStatus::Failed,
            FetchStatus::Unknown,
        ];
        Self {
            syncs: none_of(statuses.map(FetchStatus::as_str)),
            oldest: Duration::ZERO,
        }
    }
}

impl HaproxyInstances {
    fn add(&mut self, instance: &HaproxyInstance, now: Timestamp) {
        if !instance.is_active {
            return;
        }
        let status = instance.last_sync_status.as_str();
        *self.syncs.entry(status).or_default() += 1;
        let age = instance.observed_at.map(|observed| now.since(observed));
        self.oldest = self.oldest.max(age.unwrap_or_default());
    }

    /// Adds HAProxy nodes whose instances are unknown.
    fn add_unread(&mut self, nodes: u64) {
        *self.syncs.entry(FetchStatus::Unknown.as_str()).or_default() += nodes;
    }

    fn tell(&self) {
        for (outcome, count) in &self.syncs {
            gauge!(SYNCED, "outcome" => *outcome).set(rounded(*count));
        }
        gauge!(SYNC_AGE).set(self.oldest.as_secs_f64());
    }
}

/// The exported breakers. An instance gets a label once its breaker was seen open.
#[derive(Debug, Default)]
struct Breakers {
    labelled: BTreeSet<HaproxyInstanceKey>,
}

impl Breakers {
    fn tell(&mut self, breakers: &[InstanceBreaker], policy: BreakerPolicy) {
        let all = [
            BreakerState::Closed,
            BreakerState::Open,
            BreakerState::HalfOpen,
        ];
        let mut states = none_of(all.map(BreakerState::as_str));
        let mut open = BTreeSet::new();
        for found in breakers {
            let state = Breaker::restore(policy, found.breaker).state();
            *states.entry(state.as_str()).or_default() += 1;
            if state != BreakerState::Closed {
                open.insert(found.instance);
                if self.labelled.len() < BREAKERS_MAX {
                    self.labelled.insert(found.instance);
                }
            }
        }
        for instance in &self.labelled {
            let is_open = if open.contains(instance) { 1.0 } else { 0.0 };
            gauge!(BREAKER, "haproxy" => instance.to_string()).set(is_open);
        }
        for (state, count) in &states {
            gauge!(BREAKERS, "state" => *state).set(rounded(*count));
        }
    }
}

/// The number for each word; a word with 0 is exported too, so that a sum that went back to 0 is seen.
type Words = BTreeMap<&'static str, u64>;

fn none_of<const N: usize>(words: [&'static str; N]) -> Words {
    words.map(|word| (word, 0)).into()
}

#[cfg(test)]
mod tests {
    use drover_domain::Key;
    use drover_domain::haproxy::BreakerRecord;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn server() -> Server {
        Server {
            key: Key::new(1),
            name: "web1".to_owned(),
            address: "192.0.2.1".to_owned(),
            port: 11011,
            status: ServerStatus::Online,
            is_haproxy_node: true,
            failures: 0,
            last_check: Some(at(90)),
            inventory_at: Some(at(90)),
            last_error: None,
            suspect: None,
            networks: Vec::new(),
            agent_ip: None,
            inventory_failures: 0,
            created_at: at(0),
        }
    }

    fn instance() -> HaproxyInstance {
        HaproxyInstance {
            key: Key::new(1),
            server: Key::new(1),
            server_name: "web1".to_owned(),
            name: "default".to_owned(),
            is_active: true,
            last_sync: Some(at(70)),
            last_sync_status: FetchStatus::Success,
            last_sync_error: None,
            observed_at: Some(at(70)),
            version: None,
            process: None,
            backends: 1,
        }
    }

    fn told(tell: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, tell);
        handle.render()
    }

    #[test]
    fn servers_are_told_by_how_their_last_poll_went() {
        let mut sums = Servers::default();
        for server in [
            server(),
            Server {
                last_error: Some("one file cannot be read".to_owned()),
                ..server()
            },
            Server {
                inventory_at: Some(at(40)),
                inventory_failures: 5,
                ..server()
            },
            Server {
                suspect: Some(7),
                inventory_failures: 4,
                inventory_at: Some(at(50)),
                ..server()
            },
            Server {
                failures: 1,
                inventory_at: Some(at(60)),
                ..server()
            },
            Server {
                status: ServerStatus::Unknown,
                last_check: None,
                inventory_at: None,
                created_at: at(95),
                ..server()
            },
        ] {
            sums.add(&server, 5, at(100));
        }
        let told = told(|| sums.tell());
        for line in [
            "drover_servers_without_inventory 1",
            "drover_servers{status=\"online\"} 5",
            "drover_servers{status=\"offline\"} 0",
            "drover_servers{status=\"unknown\"} 1",
            "drover_servers_by_last_poll{outcome=\"believed\"} 2",
            "drover_servers_by_last_poll{outcome=\"held\"} 1",
            "drover_servers_by_last_poll{outcome=\"unreadable\"} 1",
            "drover_servers_by_last_poll{outcome=\"unreachable\"} 1",
            "drover_servers_by_last_poll{outcome=\"never\"} 1",
            "drover_inventory_age_seconds 60",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn an_instance_that_is_gone_makes_nothing_stale() {
        let mut sums = HaproxyInstances::default();
        for instance in [
            instance(),
            HaproxyInstance {
                last_sync_status: FetchStatus::Failed,
                ..instance()
            },
            HaproxyInstance {
                is_active: false,
                last_sync: Some(at(1)),
                observed_at: Some(at(1)),
                ..instance()
            },
        ] {
            sums.add(&instance, at(100));
        }
        sums.add_unread(1);
        let told = told(|| sums.tell());
        for line in [
            "drover_haproxy_instances_by_last_sync{outcome=\"success\"} 1",
            "drover_haproxy_instances_by_last_sync{outcome=\"failed\"} 1",
            "drover_haproxy_instances_by_last_sync{outcome=\"unknown\"} 1",
            "drover_haproxy_sync_age_seconds 30",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn a_breaker_that_was_open_is_told_until_it_is_closed_and_after() {
        let breaker = |key: i64, opened_at| InstanceBreaker {
            instance: Key::new(key),
            name: "default".to_owned(),
            server_name: "web1".to_owned(),
            breaker: BreakerRecord {
                opened_at,
                ..BreakerRecord::default()
            },
        };
        let told = told(|| {
            let (mut breakers, policy) = (Breakers::default(), BreakerPolicy::default());
            let before = [
                breaker(1, Some(at(5))),
                breaker(2, Some(at(6))),
                breaker(3, None),
            ];
            breakers.tell(&before, policy);
            breakers.tell(&[breaker(2, Some(at(6))), breaker(1, None)], policy);
        });
        for line in [
            "drover_haproxy_breaker_open{haproxy=\"1\"} 0",
            "drover_haproxy_breaker_open{haproxy=\"2\"} 1",
            "drover_haproxy_instances_by_breaker{state=\"closed\"} 1",
            "drover_haproxy_instances_by_breaker{state=\"open\"} 1",
            "drover_haproxy_instances_by_breaker{state=\"half_open\"} 0",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
        assert!(!told.contains("haproxy=\"3\""), "{told}");
    }
}
