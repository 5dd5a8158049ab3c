//! What each store port promises, one case per promise.
#![expect(
    clippy::indexing_slicing,
    reason = "a case that finds less than it stored has failed"
)]

pub mod access_keys;
pub mod action_view;
pub mod application_registry;
pub mod catalog_registry;
pub mod fleet_snapshots;
pub mod fleet_view;
pub mod group_registry;
pub mod haproxy_actions;
pub mod haproxy_mappings;
pub mod haproxy_store;
pub mod haproxy_view;
pub mod history_upkeep;
pub mod inventory_store;
pub mod orchestrator_store;
pub mod rollout_store;
pub mod rollout_view;
pub mod server_registry;
pub mod store_health;
pub mod webhook_store;

use drover_domain::page::PageRequest;

/// The page of two items behind `after`.
const fn two_after(after: Option<i64>) -> PageRequest {
    PageRequest { after, limit: 2 }
}

/// As many items as a page may have.
const ALL: PageRequest = PageRequest {
    after: None,
    limit: PageRequest::LIMIT_MAX,
};
