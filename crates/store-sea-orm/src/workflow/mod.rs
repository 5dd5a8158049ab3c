//! The durable engine's ports.
//!
//! `load` reads what a step needs under the workflow's lock, the domain decides, `write` writes what changed:
//! that is every method but the claim, which takes tasks set by set without loading their runs.

mod careful;
mod claim;
mod events;
mod load;
mod queues;
mod read;
mod registry;
mod report;
mod schedules;
mod shape;
mod start;
mod steer;
mod upkeep;
mod view;
mod wake;
mod write;

pub(crate) use start::start_all;
pub(crate) use wake::Hints;
