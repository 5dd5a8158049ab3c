//! What an engine did so far, for metrics.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use drover_domain::Timestamp;
use drover_domain::workflow::run::Outcome;
use drover_ports::StoreError;

/// The last thing the store did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When, by the process's clock.
    pub at: Timestamp,
    /// What and why, in a sentence.
    pub message: String,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// What an engine did since its process started, and what it has in hand.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct EngineStats {
            $($(#[doc = $doc])* pub $name: u64,)+
            /// The last thing the store did not do.
            pub last_error: Option<LastError>,
        }

        /// The same while it is being counted.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
            last_error: Mutex<Option<LastError>>,
        }

        impl Counters {
            pub(super) fn read(&self) -> EngineStats {
                EngineStats {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    last_error: self
                        .last_error
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                }
            }
        }
    };
}

counters! {
    /// Tasks that were taken.
    claimed,
    /// Claims that were made.
    claims,
    /// Attempts that succeeded; like all counts of outcomes, when they ended, not when that was written.
    succeeded,
    /// Attempts that failed.
    failed,
    /// Attempts that took too long.
    timed_out,
    /// Attempts with an unknown effect.
    unknown,
    /// Attempts that started something and wait for it.
    waiting,
    /// Attempts that were called off.
    cancelled,
    /// Attempts that were given back.
    released,
    /// Outcomes that were written.
    reported,
    /// Groups of outcomes that were written.
    reports,
    /// Outcomes that came too late: this engine no longer held the task.
    refused,
    /// Leases that were lost.
    leases_lost,
    /// Handlers that run now.
    in_hand,
    /// Outcomes that are not written yet.
    unreported,
    /// Whether nothing is removed because the clock may be wrong: 0 or 1.
    retention_held,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn set(gauge: &AtomicU64, count: usize) {
        gauge.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn ended(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Succeeded { .. } => &self.succeeded,
            Outcome::Failed { .. } => &self.failed,
            Outcome::TimedOut => &self.timed_out,
            Outcome::Unknown { .. } => &self.unknown,
            Outcome::Waiting => &self.waiting,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Released => &self.released,
        };
        Self::add(counter, 1);
    }

    pub(super) fn failed(&self, at: Timestamp, what: &str, error: &StoreError) {
        let mut message = format!("{what}: {error}");
        if let Some(cause) = error.source() {
            message = format!("{message}: {cause}");
        }
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(LastError { at, message });
    }
}
