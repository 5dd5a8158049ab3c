//! Every store port on PostgreSQL and SQLite.
//!
//! One [`SeaOrmStore`] serves all of them; the URL chooses the database. Many rows travel as one
//! JSON parameter, so that no port method costs more statements for more rows.
//!
//! Start reading at [`SeaOrmStore`], then `tasks.rs` (the queue) and `inventory.rs` (polling).

mod action_view;
mod actions;
mod batch;
#[cfg(test)]
mod broken;
mod catalog;
mod database;
mod dialect;
mod engine;
mod events;
mod file;
mod fleet_view;
mod groups;
mod haproxy;
mod haproxy_view;
mod health;
mod held;
mod history;
mod inventory;
mod keys;
mod lease;
mod mappings;
mod migrate;
mod once;
mod options;
mod orchestrators;
mod order;
mod refusal;
mod rollout_view;
mod rollouts;
mod row;
mod servers;
mod session;
mod settings;
mod snapshot;
mod sql;
mod steps;
mod store;
mod webhooks;

pub use migrate::{MigrateError, MigrationStatus};
pub use options::{OpenError, Options};
pub use store::SeaOrmStore;
