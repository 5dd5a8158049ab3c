//! Several nodes over one store.

use std::sync::Arc;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_domain::fleet::ApplicationStatus;
use drover_domain::page::PageRequest;
use drover_ports::Clock;
use drover_testkit::agent::{Agent, Sight};
use drover_usecases::{ApplicationFilter, FleetView, Policy, Service};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::harness::{Harness, address, sight};

const SERVERS: u8 = 20;
const MINUTE: Duration = Duration::from_mins(1);

/// The time that goes by in the test.
struct Passing(Instant);

impl Clock for Passing {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(self.0.elapsed())
    }
}

struct Fleet {
    harness: Harness,
    clock: Arc<Passing>,
}

impl Fleet {
    async fn new() -> Self {
        let harness = Harness::new();
        for number in 1..=SERVERS {
            let server = harness
                .add_server(&format!("s{number}"), number, false)
                .await;
            let agent = Agent::Answers(sight(number, "1.0.0"));
            harness.agents.arrange(address(&server), agent);
        }
        let clock = Arc::new(Passing(Instant::now()));
        Self { harness, clock }
    }

    /// A process that polls until it is dropped.
    fn node(&self, name: &str) -> JoinSet<()> {
        let mut ports = self.harness.ports_with_runner(&self.harness.runner);
        ports.clock = Arc::<Passing>::clone(&self.clock);
        let policy = Policy {
            node: name.to_owned(),
            ..Policy::default()
        };
        let background = Service::new(ports, policy).background();
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(async move {
            background.poll_loop(stopped).await;
            drop(stop);
        });
        running
    }

    /// How many polls there are within so many intervals.
    async fn polls(&self, intervals: u32) -> usize {
        let before = self.harness.agents.pings();
        let waiting = std::future::pending::<()>();
        timeout(MINUTE * intervals, waiting).await.unwrap_err();
        self.harness.agents.pings() - before
    }
}

#[tokio::test(start_paused = true)]
async fn one_node_polls_every_server_once_per_interval() {
    let fleet = Fleet::new().await;
    let _node = fleet.node("a");
    fleet.polls(1).await;
    assert_eq!(fleet.polls(5).await, usize::from(SERVERS) * 5);
}

#[tokio::test(start_paused = true)]
async fn nodes_share_the_polls_and_one_that_dies_is_made_up_for() {
    let fleet = Fleet::new().await;
    let first = fleet.node("a");
    let _second = fleet.node("b");
    let _third = fleet.node("c");
    fleet.polls(2).await;
    let shared = fleet.polls(10).await;
    // As many as one node makes, and some for the tenth of an interval in which two may think it is their turn.
    let alone = usize::from(SERVERS) * 10;
    assert!((alone..alone + alone / 5).contains(&shared), "{shared}");
    drop(first);
    fleet.polls(2).await;
    let shared = fleet.polls(10).await;
    assert!((alone..alone + alone / 5).contains(&shared), "{shared}");
}

#[tokio::test(start_paused = true)]
async fn losses_of_many_servers_at_once_are_held_for_a_while() {
    let fleet = Fleet::new().await;
    let mut nodes = fleet.node("n1");
    fleet.polls(2).await;
    // As if the disk behind all agents were gone: each lists nothing, and says so again.
    for number in 1..=SERVERS {
        let server = fleet.harness.server(&format!("s{number}")).await;
        let agent = Agent::Answers(Sight::default());
        fleet.harness.agents.arrange(address(&server), agent);
    }
    let online = async || {
        let filter = ApplicationFilter {
            status: Some(ApplicationStatus::Online),
            ..ApplicationFilter::default()
        };
        let page = fleet
            .harness
            .store
            .applications(&filter, PageRequest::first());
        page.await.unwrap().items.len()
    };
    fleet.polls(1).await;
    assert_eq!(online().await, 20, "the first answers are held");
    fleet.polls(2).await;
    assert_eq!(online().await, 16, "a fifth of the fleet is believed");
    let held = fleet
        .harness
        .service
        .views
        .servers
        .list(PageRequest::first())
        .await
        .unwrap();
    let reasons = held
        .items
        .iter()
        .filter_map(|server| server.last_error.as_deref());
    assert!(
        reasons
            .filter(|reason| reason.contains("of the 20 in the fleet"))
            .count()
            == 16,
        "{held:?}"
    );
    // A person who knows better believes one server at once.
    let one = held
        .items
        .iter()
        .find(|server| server.last_error.is_some())
        .unwrap();
    fleet
        .harness
        .service
        .servers
        .refresh(one.key)
        .await
        .unwrap();
    assert_eq!(online().await, 15);
    fleet.polls(4).await;
    assert_eq!(online().await, 0, "what stays so is believed in the end");
    nodes.shutdown().await;
}
