//! Removing what ended long ago.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::backoff::Backoff;
use crate::background::{Stop, pause};

/// How many workflows are removed in one transaction.
const CHUNK: u32 = 500;
/// How many transactions one round makes at most: others want to use the store, too.
const CHUNKS_MAX: u32 = 100;
/// How long after the start the first round is: starting is work enough.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_hours(1);
/// How soon a round follows that did not come to the end.
const MORE_WAIT: Duration = Duration::from_mins(1);

/// Once per hour, removes workflows that ended longer ago than they are kept.
pub(super) async fn run(engine: Arc<Shared>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    let mut wait = FIRST_WAIT;
    while !pause(&mut stop, wait).await {
        wait = round(&engine, &stop, &mut backoff).await;
    }
}

async fn round(engine: &Shared, stop: &Stop, backoff: &mut Backoff) -> Duration {
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
