//! Nodes on one database share the work: none is done twice, and a frozen or stopped node harms no other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use drover_testkit::eventually::eventually;

use crate::nodes::{Node, Nodes, PATIENCE, story, text};
use crate::peer::Peer;

/// How many requests one node makes at once.
const AT_ONCE: usize = 8;

/// Nodes that make few requests at once, with leases of this length.
fn nodes(lease_ms: &str, more: &[(&str, &str)]) -> Nodes {
    let at_once = AT_ONCE.to_string();
    let mut settings = vec![
        ("ENGINE__QUEUES__HTTP", &*at_once),
        ("ENGINE__LEASE_MS", lease_ms),
    ];
    settings.extend(more);
    Nodes::new(&settings)
}

async fn until_called(peer: &Peer, path: &str, attempt: u32, count: usize, nodes: &[&Node]) {
    eventually(PATIENCE, || async {
        match peer.calls(path, attempt).len() {
            calls if calls >= count => Ok(()),
            calls => {
                let logs: Vec<String> = nodes.iter().map(|node| node.process.log()).collect();
                Err(format!(
                    "{calls} calls of {count}; logs:\n{}",
                    logs.join("\n\n")
                ))
            }
        }
    })
    .await;
}

/// What happens to a task that goes well, from its start on.
fn goes_well(attempt: u64, worker: &str) -> [(String, u64, String); 2] {
    [
        ("task_started".to_owned(), attempt, worker.to_owned()),
        ("task_completed".to_owned(), attempt, String::new()),
    ]
}

#[tokio::test]
async fn two_nodes_share_the_work_and_do_none_of_it_twice() {
    let nodes = nodes("30000", &[]);
    let peer = Peer::start().await;
    let (a, b) = tokio::join!(nodes.start(), nodes.start());
    let mut workflows = Vec::new();
    for node in [&a, &b, &a, &b] {
        workflows.push(node.begin(&peer.tasks("/both", 50)).await);
    }
    // No caller is answered before both have called.
    until_called(&peer, "/both", 1, AT_ONCE + 1, &[&a, &b]).await;
    peer.answer("/both", 1);
    let mut started: BTreeMap<String, usize> = BTreeMap::new();
    let mut expected = BTreeSet::new();
    for workflow in &workflows {
        b.until_succeeded(workflow).await;
        let (history, tasks) = (a.history(workflow).await, a.tasks(workflow).await);
        assert_eq!(tasks.len(), 50);
        for task in &tasks {
            let story = story(&history, task);
            let worker = text(&task["worker"]).to_owned();
            assert_eq!(story[0].0, "task_queued");
            assert_eq!(story[1..], goes_well(1, &worker));
            *started.entry(worker).or_default() += 1;
            expected.insert(text(&task["id"]).to_owned());
        }
    }
    let workers: BTreeSet<String> = started.keys().cloned().collect();
    assert_eq!(
        workers,
        BTreeSet::from([a.worker(), b.worker()]),
        "{started:?}"
    );
    let calls = peer.calls("/both", 1);
    let called: BTreeSet<String> = calls.iter().map(|call| call.key.clone()).collect();
    assert_eq!((calls.len(), called), (200, expected));
}

#[tokio::test]
async fn a_node_that_was_frozen_changes_nothing_it_no_longer_holds() {
    let nodes = nodes("5000", &[]);
    let peer = Peer::start().await;
    let a = nodes.start().await;
    let lost = a.begin(&peer.tasks("/lost", AT_ONCE)).await;
    until_called(&peer, "/lost", 1, AT_ONCE, &[&a]).await;
    a.process.signal("STOP");
    let b = nodes.start().await;
    until_called(&peer, "/lost", 2, AT_ONCE, &[&b]).await;

    // The frozen one gets its answers and goes on, while the other one waits for its own.
    peer.answer("/lost", 1);
    a.process.signal("CONT");
    // The other one has no hand free: who does this is the one that was frozen, under a new lease.
    let next = b.begin(&peer.tasks("/next", AT_ONCE)).await;
    peer.answer("/next", 1);
    a.until_succeeded(&next).await;
    for task in a.tasks(&next).await {
        assert_eq!(text(&task["worker"]), a.worker());
    }
    let running = b.workflow(&lost).await;
    assert_eq!(running["status"], "running", "{running}");
    for task in a.tasks(&lost).await {
        assert_eq!(
            (text(&task["status"]), task["attempt"].as_u64()),
            ("running", Some(2))
        );
        assert_eq!(text(&task["worker"]), b.worker());
    }

    peer.answer("/lost", 2);
    a.until_succeeded(&lost).await;
    let history = a.history(&lost).await;
    for task in a.tasks(&lost).await {
        let mut expected = vec![
            ("task_queued".to_owned(), 0, String::new()),
            ("task_started".to_owned(), 1, a.worker()),
            ("task_lost".to_owned(), 1, String::new()),
            ("task_queued".to_owned(), 1, String::new()),
        ];
        expected.extend(goes_well(2, &b.worker()));
        assert_eq!(story(&history, &task), expected);
        assert_eq!(a.result(&task).await["body"]["attempt"], 2);
    }
    assert_eq!(peer.calls("/lost", 3), []);
}

#[tokio::test]
async fn a_node_that_is_frozen_within_a_transaction_holds_nobody_up() {
    let nodes = nodes("2000", &[]);
    let peer = Peer::start().await;
    for attempt in 1..=10 {
        peer.answer("/quick", attempt);
    }
    let a = nodes.start().await;
    let mut workflows = Vec::new();
    for _ in 0..4 {
        workflows.push(a.begin(&peer.tasks("/quick", 1_000)).await);
    }
    loop {
        let before = peer.calls("/quick", 1).len();
        until_called(&peer, "/quick", 1, before + 1, &[&a]).await;
        a.process.signal("STOP");
        if nodes.is_within_a_transaction() {
            break;
        }
        a.process.signal("CONT");
    }
    let b = nodes.start().await;
    let next = b.begin(&peer.tasks("/quick", 10)).await;
    workflows.push(next);
    for workflow in &workflows {
        b.until_succeeded(workflow).await;
        // Nor are those held up who read what happens.
        let history = b.history(workflow).await;
        assert_eq!(history.last().unwrap()["event"], "workflow_completed");
    }
    a.process.signal("CONT");
    a.until_ready().await;
    for workflow in &workflows {
        let history = b.history(workflow).await;
        for task in b.tasks(workflow).await {
            let story = story(&history, &task);
            let ends = story.iter().filter(|(kind, ..)| kind == "task_completed");
            assert_eq!(ends.count(), 1, "{story:?}");
        }
    }
}

#[tokio::test]
async fn a_node_that_ends_hands_over_at_once() {
    // Nothing can be waited for as long as this lease lasts.
    let nodes = nodes("600000", &[("SERVER__SHUTDOWN_GRACE_MS", "8000")]);
    let peer = Peer::start().await;
    let mut a = nodes.start().await;
    let half = AT_ONCE / 2;
    let slow = a.begin(&peer.tasks("/slow", half)).await;
    let stuck = a.begin(&peer.tasks("/stuck", half)).await;
    let calls = [(&slow, "/slow"), (&stuck, "/stuck")];
    for (_, path) in calls {
        until_called(&peer, path, 1, half, &[&a]).await;
    }
    let waiting = a.begin(&peer.tasks("/waiting", half)).await;
    peer.answer("/waiting", 1);
    peer.answer("/stuck", 2);
    let begun = Instant::now();
    a.process.signal("TERM");
    let b = nodes.start().await;

    // What it had not begun is done meanwhile by the other one; what ends in time is its own.
    b.until_succeeded(&waiting).await;
    peer.answer("/slow", 1);
    b.until_succeeded(&slow).await;
    b.until_succeeded(&stuck).await;
    let code = a.process.wait(PATIENCE).code();
    assert_eq!(code, Some(0), "{}", a.process.log());
    assert!(
        begun.elapsed() < Duration::from_mins(2),
        "{:?}",
        begun.elapsed()
    );
    for (workflow, attempt, worker) in [(&waiting, 1, &b), (&slow, 1, &a), (&stuck, 2, &b)] {
        let history = b.history(workflow).await;
        for task in b.tasks(workflow).await {
            let story = story(&history, &task);
            let end = &story[story.len() - 2..];
            assert_eq!(end, goes_well(attempt, &worker.worker()), "{story:?}");
            let begins = story
                .iter()
                .filter(|(kind, ..)| kind == "task_started")
                .count();
            assert_eq!(u64::try_from(begins).unwrap(), attempt, "{story:?}");
        }
    }
}
