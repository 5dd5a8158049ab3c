//! Removing what ended long ago.

use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::ClockLeap;
use drover_ports::{StoreError, WatchedClock, WorkflowUpkeep};

use super::Shared;
use super::backoff::Backoff;
use super::stats::Counters;
use crate::stop::{Stop, pause};

/// How many workflows are removed in one transaction.
const CHUNK: u32 = 500;
/// How many transactions one round makes at most: others want to use the store, too.
const CHUNKS_MAX: u32 = 100;
/// How long after the start the first round is: starting is work enough.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_hours(1);
/// How soon a round follows that did not come to the end.
const MORE_WAIT: Duration = Duration::from_mins(1);

/// Once per hour, removes workflows that ended longer ago than they are kept; not while the clock may be wrong.
pub(super) async fn run(engine: Arc<Shared>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    let mut wait = FIRST_WAIT;
    while !pause(&mut stop, wait).await {
        wait = round(&engine, &stop, &mut backoff).await;
    }
}

/// Whether anything may be removed because it is old; says why not.
pub(crate) async fn trusted(upkeep: &dyn WorkflowUpkeep) -> Result<bool, StoreError> {
    let WatchedClock { watch, leap } = upkeep.watch_clock().await?;
    let now = watch.seen_at;
    let hours = |length: Duration| length.as_secs().div_ceil(3_600);
    match leap {
        Some(ClockLeap::Ahead(by)) => tracing::warn!(
            "the clock shows {now}, {} h after the last look at it; if it is wrong, set it: old records are removed only \
             after it has gone on for a day",
            hours(by)
        ),
        Some(ClockLeap::Back(by)) => tracing::warn!(
            "the clock shows {now}, {} h before the last look at it; old records are removed only after it has gone on for \
             a day",
            hours(by)
        ),
        Some(ClockLeap::New) | None => {}
    }
    let hold = watch.hold();
    if let Some(hold) = hold {
        tracing::info!("no old records are removed in the next {} h", hours(hold));
    }
    Ok(hold.is_none())
}

async fn prune_keys(engine: &Shared) -> Result<(), StoreError> {
    let age = engine.options.retention.usual;
    for _ in 0..CHUNKS_MAX {
        if engine.ports.upkeep.prune_keys(age, CHUNK).await? < CHUNK {
            break;
        }
    }
    Ok(())
}

async fn round(engine: &Shared, stop: &Stop, backoff: &mut Backoff) -> Duration {
    match trusted(&*engine.ports.upkeep).await {
        Ok(is_trusted) => {
            Counters::set(&engine.counters.retention_held, usize::from(!is_trusted));
            if !is_trusted {
                return INTERVAL;
            }
        }
        Err(error) => {
            engine.complain("the clock is not looked at", &error, backoff.failures());
            backoff.fail();
            return MORE_WAIT;
        }
    }
    if let Err(error) = prune_keys(engine).await {
        engine.complain(
            "old idempotency keys are not removed",
            &error,
            backoff.failures(),
        );
    }
    let mut removed = 0;
    for _ in 0..CHUNKS_MAX {
        if *stop.borrow() {
            return Duration::ZERO;
        }
        match engine
            .ports
            .upkeep
            .prune(&engine.options.retention, CHUNK)
            .await
        {
            Ok(count) => {
                backoff.reset();
                removed += count;
                if count < CHUNK {
                    if removed > 0 {
                        tracing::info!("{removed} workflows that ended long ago were removed");
                    }
                    return INTERVAL;
                }
            }
            Err(error) => {
                engine.complain(
                    "workflows that ended long ago are not removed",
                    &error,
                    backoff.failures(),
                );
                backoff.fail();
                return MORE_WAIT;
            }
        }
    }
    tracing::info!("{removed} workflows that ended long ago were removed; there are more");
    MORE_WAIT
}
