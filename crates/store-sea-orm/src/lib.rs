//! Every store port on PostgreSQL and SQLite.
//!
//! One [`SeaOrmStore`] serves all of them; the URL chooses the database. Many rows travel as one
//! JSON parameter, so that no port method costs more statements for more rows.
//!
//! Start reading at [`SeaOrmStore`], then `workflow/claim.rs` (the queue) and `fleet/inventory.rs` (polling). Statements, sessions and the
//! two dialects are in `sql`.

mod access;
#[cfg(test)]
mod broken;
mod fleet;
mod haproxy;
mod health;
mod migrate;
mod options;
mod rollout;
mod row;
mod sql;
mod steps;
mod store;
mod webhook;
mod workflow;

pub use migrate::{MigrateError, MigrationStatus};
pub use options::{OpenError, Options};
pub use store::SeaOrmStore;
