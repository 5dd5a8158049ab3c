//! Readers of the event stream that are cut off again and again, and come back to another node.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use crate::nodes::{Nodes, PATIENCE, text};
use crate::peer::Peer;

const WORKFLOWS: usize = 12;

/// An event as it is compared: position, kind, task.
type Told = (String, String, Option<String>);

fn told(event: &Value) -> Told {
    let task = event["task_id"].as_str().map(str::to_owned);
    (
        text(&event["position"]).to_owned(),
        text(&event["event"]).to_owned(),
        task,
    )
}

/// Where a position stands among all: they are two numbers.
fn place(told: &Told) -> (u64, u64) {
    let (batch, index) = told.0.split_once('-').unwrap();
    (batch.parse().unwrap(), index.parse().unwrap())
}

/// Server-sent events of one connection.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(url: &str, key: &str, last: &str) -> Option<Self> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{url}/api/v1/events/stream"));
        let request = request.bearer_auth(key).header("Last-Event-ID", last);
        // The node may be away.
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 200);
        let text = String::new();
        Some(Self { response, text })
    }

    /// The next event with its `id`; `None` when the connection has ended.
    async fn next(&mut self) -> Option<(String, Option<Value>)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let event = std::mem::replace(&mut self.text, rest);
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::trim)
                };
                assert_eq!(field("event:"), None, "nothing is gone");
                let data = field("data:").map(|data| serde_json::from_str(data).unwrap());
                let id = field("id:").unwrap_or_default().to_owned();
                return Some((id, data));
            }
            let part = self.response.chunk().await.ok()??;
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
}

/// Reads from the beginning until every workflow has ended, a few events at a time.
async fn read(urls: Vec<String>, key: String, number: usize, cuts: &AtomicUsize) -> Vec<Told> {
    let (mut seen, mut last, mut ended): (Vec<Told>, _, _) = (Vec::new(), "0-0".to_owned(), 0);
    for turn in number.. {
        // A few numbers without a common rhythm.
        let most = [1, 7, 30, 3, 90, 12][turn % 6];
        let Some(mut stream) = Stream::open(&urls[turn % urls.len()], &key, &last).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut count = 0;
        while count < most {
            let Some((id, data)) = stream.next().await else {
                break;
            };
            if !id.is_empty() {
                last = id;
            }
            let Some(event) = data else { continue };
            seen.push(told(&event));
            count += 1;
            ended += usize::from(event["event"] == "workflow_completed");
            if ended == WORKFLOWS {
                return seen;
            }
        }
        cuts.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

#[tokio::test]
async fn readers_that_come_back_to_another_node_miss_nothing() {
    let nodes = Nodes::new(&[]);
    let peer = Peer::start().await;
    peer.answer("/quick", 1);
    let (a, b) = tokio::join!(nodes.start(), nodes.start());
    let cuts = AtomicUsize::new(0);
    let urls = vec![a.url.clone(), b.url.clone()];
    let readers = async {
        let reader = |number| read(urls.clone(), nodes.key().to_owned(), number, &cuts);
        let (r0, r1, r2, r3, r4, r5) = tokio::join!(
            reader(0),
            reader(1),
            reader(2),
            reader(3),
            reader(4),
            reader(5)
        );
        [r0, r1, r2, r3, r4, r5]
    };
    let work = async {
        let mut workflows = Vec::new();
        for number in 0..WORKFLOWS {
            let node = if number % 2 == 0 { &a } else { &b };
            workflows.push(node.begin(&peer.tasks("/quick", 15)).await);
        }
        workflows
    };
    let (seen, workflows) = timeout(PATIENCE, async { tokio::join!(readers, work) })
        .await
        .unwrap_or_else(|_| panic!("logs:\n{}\n\n{}", a.process.log(), b.process.log()));

    let mut expected: Vec<Told> = Vec::new();
    for workflow in &workflows {
        expected.extend(a.history(workflow).await.iter().map(told));
    }
    expected.sort_by_key(place);
    assert!(expected.len() >= WORKFLOWS * (2 + 3 * 15));
    for seen in seen {
        assert_eq!(seen, expected);
    }
    assert!(cuts.load(Ordering::Relaxed) > 50);
}
