//! All suites of the engine at once.

/// Makes every case of every suite of the engine's ports a test, one module per port; the argument is
/// an `async fn() -> EngineWorld` that sets up an empty store.
#[macro_export]
macro_rules! every_engine_contract {
    ($fresh:path) => {
        mod workflow_store {
            $crate::workflow_store_contract!($fresh);
        }
        mod task_queue {
            $crate::task_queue_contract!($fresh);
        }
        mod workflow_upkeep {
            $crate::workflow_upkeep_contract!($fresh);
        }
        mod workflow_view {
            $crate::workflow_view_contract!($fresh);
        }
        mod event_log {
            $crate::event_log_contract!($fresh);
        }
        mod wake_ups {
            $crate::wake_ups_contract!($fresh);
        }
        mod definition_store {
            $crate::definition_store_contract!($fresh);
        }
        mod queue_store {
            $crate::queue_store_contract!($fresh);
        }
        mod schedule_store {
            $crate::schedule_store_contract!($fresh);
        }
    };
}
