//! Many things that go wrong, in an order that a seed decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_domain::workflow::WorkflowStatus;
use drover_testkit::engine::fixtures;

use crate::actors::{Act, Entry, pass};
use crate::harness::{Node, World, line, one, task};
use crate::queue::Weather;

const SECOND: Duration = Duration::from_secs(1);

/// Numbers that look random and are the same for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn weather(dice: &mut Dice) -> Weather {
    Weather {
        is_away: dice.roll(3) == 0,
        loses_beats: dice.roll(3) == 0,
        loses_claims: dice.roll(3) == 0,
        loses_verdicts: dice.roll(3) == 0,
        chokes_on: (dice.roll(4) == 0).then_some(5),
        refuses_results: false,
    }
}

fn node(world: &World, number: usize) -> Node {
    // Some take longer than a lease lasts.
    let acts = [
        ("test", Act::Take(SECOND * 2)),
        ("slow", Act::Take(SECOND * 12)),
    ];
    world.node_with(&format!("n{number}"), &acts, |options| {
        options.lease = SECOND * 10;
        options.drain_grace = SECOND;
        options.queues = vec![line("default", 8)];
    })
}

async fn storm(world: &World, dice: &mut Dice) {
    let mut nodes: Vec<Node> = (0..3).map(|number| node(world, number)).collect();
    for number in 3..15 {
        pass(Duration::from_millis(500 + dice.roll(4_000))).await;
        let at = usize::try_from(dice.roll(3)).unwrap();
        match dice.roll(4) {
            0 => nodes.swap_remove(at).kill().await,
            1 => {
                nodes.swap_remove(at).stop().await;
            }
            _ => {
                nodes.get(at).unwrap().queue.set(weather(dice));
                continue;
            }
        }
        nodes.push(node(world, number));
    }
    for node in &nodes {
        node.queue.set(Weather::default());
    }
    pass(SECOND * 120).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_everything_is_done_and_nothing_by_two_at_a_time() {
    for seed in 1..=30 {
        let world = World::new();
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(world.start(fixtures::parallel(8)).await);
            ids.push(world.start(fixtures::linear(&["a", "b", "c", "d"])).await);
            ids.push(world.start(one(task("slow"))).await);
        }
        storm(&world, &mut dice).await;
        for id in ids {
            let status = world.status(id).await;
            assert_eq!(status, WorkflowStatus::Succeeded, "seed {seed}");
        }
        check(&world.ledger.entries(), seed);
    }
}

fn check(entries: &[Entry], seed: u64) {
    let mut attempts = BTreeSet::new();
    let mut by_task: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        assert!(
            attempts.insert((entry.task, entry.attempt)),
            "seed {seed}: an attempt was started twice: {entry:?}"
        );
        by_task.entry(entry.task).or_default().push(entry);
    }
    for entries in by_task.values() {
        for pair in entries.windows(2) {
            let [before, after] = pair else { continue };
            let left = before.left.unwrap();
            assert!(
                left <= after.began,
                "seed {seed}: two at a time: {before:?} and {after:?}"
            );
        }
    }
}
