//! A life from its seed to its end, and many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use drover_domain::Timestamp;
use drover_domain::workflow::run::FAMILY_SIZE_MAX;
use drover_domain::workflow::{Definition, TaskId, WorkflowId};

use super::chance::Chance;
use super::defect::{Defect, StoreDefect, Switched};
use super::invariant::{Broken, Invariant};
use super::ledger::Ledger;
use super::mirror::Mirror;
use super::network::Message;
use super::people::{Order, Reader};
use super::plan::{self, Names};
use super::store::Store;
use super::tally::Tally;
use super::trace::Trace;
use super::worker::Worker;

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    pub(super) defect: Option<StoreDefect>,
    pub(super) names: Names,
    /// The definitions of children, by the place of their name.
    pub(super) children: Vec<Definition>,
    /// The time, as the database measures it.
    pub(super) now: Timestamp,
    pub(super) store: Store,
    pub(super) mirrors: BTreeMap<WorkflowId, Mirror>,
    pub(super) ledger: Ledger,
    pub(super) network: Vec<Message>,
    pub(super) workers: Vec<Worker>,
    pub(super) orders: Vec<Order>,
    pub(super) reader: Reader,
    /// What was committed: an acknowledgement of anything else is a lie.
    pub(super) receipts: BTreeSet<Receipt>,
    /// Whether faults strike.
    pub(super) is_hostile: bool,
    /// The last number of a call.
    pub(super) calls: u64,
    /// How many workflows a family has besides those of this life: it is large from the beginning in some.
    pub(super) grown: u32,
}

/// Something that was asked for and committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Receipt {
    /// A call.
    Call(u64),
    /// The end of an attempt.
    Report(TaskId, u32),
}

impl World {
    fn new(seed: u64, defect: Option<StoreDefect>, is_read: bool) -> Result<Self, Broken> {
        let unplanned = |error: &dyn std::fmt::Display| {
            Invariant::History.broken(format!("there is no plan: {error}"))
        };
        let mut chance = Chance::new(seed);
        let names = Names::new().map_err(|error| unplanned(&error))?;
        let mut children = Vec::new();
        for _ in &names.children {
            let child = plan::definition(&mut chance, &names, true);
            children.push(child.map_err(|error| unplanned(&error))?);
        }
        let mut orders = Vec::new();
        for _ in 0..=chance.below(3) {
            let definition = plan::definition(&mut chance, &names, false);
            let definition = definition.map_err(|error| unplanned(&error))?;
            orders.push(Order::new(definition, &mut chance));
        }
        let grown = if chance.one_in(3) {
            FAMILY_SIZE_MAX.saturating_sub(2)
        } else {
            0
        };
        let workers = (0..=chance.below(3)).map(|_| Worker::default()).collect();
        Ok(Self {
            chance,
            trace: Trace::new(is_read),
            tally: Tally::default(),
            defect,
            names,
            children,
            now: Timestamp::from_micros(1_700_000_000_000_000),
            store: Store::default(),
            mirrors: BTreeMap::new(),
            ledger: Ledger::default(),
            network: Vec::new(),
            workers,
            orders,
            reader: Reader::default(),
            receipts: BTreeSet::new(),
            is_hostile: true,
            calls: 0,
            grown,
        })
    }

    fn live(&mut self) -> Result<(), Broken> {
        self.chaos()?;
        self.is_hostile = false;
        self.calm()?;
        self.check_the_end()
    }

    /// Whether a defect of the store shows this time: one in `many` of the chances it has.
    pub(super) fn is_broken(&mut self, defect: StoreDefect, many: usize) -> bool {
        self.defect == Some(defect) && self.chance.one_in(many)
    }
}

/// What came of a seed.
#[derive(Debug)]
pub struct Life {
    /// The seed.
    pub seed: u64,
    /// A hash over everything that happened; the same for every life of this seed.
    pub hash: u64,
    /// What happened how often.
    pub tally: Tally,
    /// The first invariant that did not hold, if one did not.
    pub broken: Option<Broken>,
    /// The trace, if it was requested.
    pub lines: Vec<String>,
}

/// Lives the life of a seed, with a defect or without; `is_read` keeps its lines.
#[must_use]
pub fn live(seed: u64, defect: Option<Defect>, is_read: bool) -> Life {
    let _switched = Switched::on(defect);
    let world = World::new(seed, defect.and_then(Defect::of_store), is_read);
    let mut world = match world {
        Ok(world) => world,
        Err(broken) => {
            return Life {
                seed,
                hash: 0,
                tally: Tally::default(),
                broken: Some(broken),
                lines: Vec::new(),
            };
        }
    };
    let broken = world.live().err();
    world.tally.seeds = 1;
    let (hash, lines) = world.trace.into_parts();
    Life {
        seed,
        hash,
        tally: world.tally,
        broken,
        lines,
    }
}

/// Lives `count` seeds from `first` on, on `threads` threads: what happened, or the smallest seed that broke
/// an invariant, played again so that it can be read.
///
/// # Errors
///
/// The broken life.
pub fn live_many(first: u64, count: u64, threads: usize) -> Result<Tally, Box<Life>> {
    let next = AtomicU64::new(first);
    let end = first.saturating_add(count);
    let sum = Mutex::new(Tally::default());
    let worst = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut own = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || worst.load(Ordering::Relaxed) < seed {
                        break;
                    }
                    let life = live(seed, None, false);
                    own.add(&life.tally);
                    if life.broken.is_some() {
                        worst.fetch_min(seed, Ordering::Relaxed);
                    }
                }
                if let Ok(mut sum) = sum.lock() {
                    sum.add(&own);
                }
            });
        }
    });
    match worst.into_inner() {
        u64::MAX => Ok(sum.into_inner().unwrap_or_default()),
        seed => Err(Box::new(live(seed, None, true))),
    }
}

/// A defect that was found.
#[derive(Debug)]
pub struct Caught {
    /// How many seeds it took.
    pub seeds: u64,
    /// What did not hold.
    pub broken: Broken,
}

/// Looks for the first seed, of at most `most` from 0 on, that shows a defect.
#[must_use]
pub fn hunt(defect: Defect, most: u64) -> Option<Caught> {
    (0..most).find_map(|seed| {
        let broken = live(seed, Some(defect), false).broken?;
        let seeds = seed + 1;
        Some(Caught { seeds, broken })
    })
}
