//! What each port of the engine promises, one case per promise.
#![expect(
    clippy::indexing_slicing,
    reason = "a case that finds less than it stored has failed"
)]

pub mod definition_store;
pub mod event_log;
pub mod queue_store;
pub mod schedule_store;
pub mod task_queue;
pub mod wake_ups;
pub mod workflow_store;
pub mod workflow_upkeep;
pub mod workflow_view;

use std::fmt::Debug;

use drover_domain::page::PageRequest;
use drover_ports::{Fault, StoreError};

/// The page of two items behind `after`.
const fn two_after(after: Option<i64>) -> PageRequest {
    PageRequest { after, limit: 2 }
}

/// As many items as a page may have.
const ALL: PageRequest = PageRequest {
    after: None,
    limit: PageRequest::LIMIT_MAX,
};

#[track_caller]
fn is_unavailable<T: Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Transient);
}

#[track_caller]
fn is_refused<T: Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

#[track_caller]
fn is_stale<T: Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Stale { .. }), "{error:?}");
}

#[track_caller]
fn is_key_reused<T: Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::KeyReused { .. }), "{error:?}");
}

#[track_caller]
fn is_taken<T: Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(
        matches!(error, StoreError::AlreadyExists { .. }),
        "{error:?}"
    );
}
