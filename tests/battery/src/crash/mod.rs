//! Real processes that are really killed, on a real PostgreSQL.
//!
//! The driver starts workers (processes with an engine each, which also take orders as a service does), asks
//! them to start workflows, kills them with `kill -9` at random moments and at every point at which something
//! commits or has an effect, then has PostgreSQL break off, and in the end compares three records: what was
//! acknowledged, what the store has, and what the ledger saw, a process that is never killed.
//!
//! Start reading at `driver`, then `check`.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "where few kinds of events, places or states matter, they are named and the others are not"
)]

mod act;
mod broken;
mod check;
mod clock;
mod defect;
mod driver;
mod evidence;
mod failing;
mod handler;
mod input;
mod ledger;
mod order;
mod plan;
mod point;
mod rehearsal;
mod watch;
mod worker;

pub use check::{Findings, Sin};
pub use defect::Defect;
pub use driver::{Arguments, Report, run};
pub use rehearsal::{rehearse, rehearse_unheard};
pub use worker::WorkerArguments;

use std::path::Path;

use anyhow::Result;

/// The ledger's process, until standard input ends.
///
/// # Errors
///
/// Where its files cannot be used.
pub async fn keep_ledger(socket: &Path, file: &Path) -> Result<()> {
    ledger::serve(socket, file).await
}

/// A worker's process, until standard input ends or it is asked to stop.
///
/// # Errors
///
/// Where the database cannot be opened, and for an order that is none.
pub async fn work(arguments: WorkerArguments) -> Result<()> {
    worker::run(arguments).await
}
