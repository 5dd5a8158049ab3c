//! The engine under faults.
//!
//! [`model`] drives the pure core of the engine (`Run::apply` and `queue::admit`) in a world that consists of
//! a store, workers, people and a network, all of them simulated and decided by one seed: thousands of
//! histories in a minute, each of which can be played again.
//!
//! [`crash`] kills real processes that work on a real PostgreSQL, and PostgreSQL itself, and checks whether
//! anything was lost, done twice or reported wrongly.
//!
//! [`disk`] fills up the disk under a real store and empties it again.

pub mod crash;
pub mod disk;
pub mod model;
