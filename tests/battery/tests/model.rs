//! Thousands of lives in the simulated world, each of which keeps every promise.

use std::collections::BTreeSet;

use drover_battery::model::{Fault, Life, live, live_many};
use drover_domain::workflow::EventKind;

/// How many lives are lived at each change; `cargo xtask battery model --seeds N` lives more.
const SEEDS: u64 = 20_000;
/// How many of them are lived twice.
const TWICE: u64 = 200;
/// The last lines of a broken life that are shown.
const LINES_SHOWN: usize = 60;

/// The end of a broken life.
fn shown(life: &Life) -> String {
    let from = life.lines.len().saturating_sub(LINES_SHOWN);
    let lines: Vec<&str> = life.lines.iter().skip(from).map(String::as_str).collect();
    let broken = life.broken.as_ref().map(ToString::to_string);
    let (lines, broken, seed) = (lines.join("\n"), broken.unwrap_or_default(), life.seed);
    format!("{lines}\nseed {seed}: {broken}\nagain: cargo xtask battery model --seed {seed}")
}

#[test]
fn every_invariant_holds_in_every_life_and_no_fault_is_missing() {
    let tally = match live_many(0, SEEDS, 2) {
        Ok(tally) => tally,
        Err(life) => panic!("{}", shown(&life)),
    };
    assert_eq!(tally.seeds, SEEDS);
    for fault in Fault::ALL {
        let struck = tally.faults(*fault);
        assert!(struck > 100, "{} struck {struck} times", fault.as_str());
    }
    for kind in EventKind::ALL {
        let told = tally.events(*kind);
        assert!(told > 100, "{} was told {told} times", kind.as_str());
    }
    assert!(
        tally.hostile_commits * 3 > tally.commits,
        "most of it happened after the faults: {} of {} commits before",
        tally.hostile_commits,
        tally.commits
    );
}

#[test]
fn a_seed_plays_again_bit_for_bit() {
    let mut hashes = BTreeSet::new();
    for seed in 0..TWICE {
        let (first, second) = (live(seed, None, false), live(seed, None, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
        assert!(!second.lines.is_empty());
        hashes.insert(first.hash);
    }
    let different = u64::try_from(hashes.len());
    assert_eq!(different, Ok(TWICE), "lives of different seeds differ");
}
