//! Several nodes over one store.

use std::sync::Arc;
use std::time::Duration;

use drover_domain::Timestamp;
use drover_ports::Clock;
use drover_testkit::agent::Agent;
use drover_usecases::{Policy, Service};
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
