//! A world of one thread for the engine's core: what happens next is drawn from a seed.
//!
//! Each seed is a life: random definitions are started, workers take tasks and report, people interfere,
//! and faults strike: workers crash, answers get lost, messages come late, twice and in any order, leases
//! run out while their workers go on, the clock jumps. Then the faults stop, people decide
//! what waits for them, and everything has to end. After every commit a second, simpler engine, which knows
//! only events, is asked whether that was allowed ([`Invariant`]).
#![expect(
    clippy::indexing_slicing,
    reason = "places are the simulation's own; a wrong one is a defect of it and shall stop it"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not named is not allowed, whatever is added later"
)]

mod calls;
mod calm;
pub(crate) mod chance;
mod chaos;
mod checks;
mod defect;
mod invariant;
mod ledger;
mod mirror;
mod network;
mod people;
mod plan;
mod sim;
mod store;
mod tally;
mod trace;
mod upkeep;
mod worker;
mod write;

pub use defect::{Defect, StoreDefect};
pub use invariant::{Broken, Invariant};
pub use sim::{Caught, Life, hunt, live, live_many};
pub use tally::{Fault, Tally};
