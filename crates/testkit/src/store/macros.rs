//! All store suites at once.

/// Makes every case of every store suite a test, one module per port; the argument is an
/// `async fn() -> World` that sets up an empty store.
#[macro_export]
macro_rules! every_store_contract {
    ($fresh:path) => {
        mod server_registry {
            $crate::server_registry_contract!($fresh);
        }
        mod application_registry {
            $crate::application_registry_contract!($fresh);
        }
        mod group_registry {
            $crate::group_registry_contract!($fresh);
        }
        mod catalog_registry {
            $crate::catalog_registry_contract!($fresh);
        }
        mod inventory_store {
            $crate::inventory_store_contract!($fresh);
        }
        mod fleet_view {
            $crate::fleet_view_contract!($fresh);
        }
        mod fleet_snapshots {
            $crate::fleet_snapshots_contract!($fresh);
        }
        mod haproxy_store {
            $crate::haproxy_store_contract!($fresh);
        }
        mod haproxy_view {
            $crate::haproxy_view_contract!($fresh);
        }
        mod haproxy_mappings {
            $crate::haproxy_mappings_contract!($fresh);
        }
        mod haproxy_actions {
            $crate::haproxy_actions_contract!($fresh);
        }
        mod action_view {
            $crate::action_view_contract!($fresh);
        }
        mod orchestrator_store {
            $crate::orchestrator_store_contract!($fresh);
        }
        mod rollout_store {
            $crate::rollout_store_contract!($fresh);
        }
        mod rollout_view {
            $crate::rollout_view_contract!($fresh);
        }
        mod history_upkeep {
            $crate::history_upkeep_contract!($fresh);
        }
        mod webhook_store {
            $crate::webhook_store_contract!($fresh);
        }
        mod access_keys {
            $crate::access_keys_contract!($fresh);
        }
        mod store_health {
            $crate::store_health_contract!($fresh);
        }
    };
}
