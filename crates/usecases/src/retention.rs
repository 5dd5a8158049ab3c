//! Forgetting what happened long ago.

use std::sync::Arc;
use std::time::Duration;

use drover_ports::{Clock, History, HistoryUpkeep, WorkflowUpkeep};

use crate::policy::HistoryAges;
use crate::stop::{Stop, pause};
use crate::workflow::engine::trusted;

/// How many records are removed in one transaction.
const CHUNK: u32 = 1_000;
/// How many transactions one round makes for a kind of records: others want to use the store, too.
const CHUNKS_MAX: u32 = 100;
/// How long after the start the first round is: starting is work enough.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_hours(1);
/// How soon a round follows that did not come to the end.
const MORE_WAIT: Duration = Duration::from_mins(1);

/// Once per hour, removes records that are older than they are kept; not while the clock may be wrong.
pub(crate) async fn run(
    store: Arc<dyn HistoryUpkeep>,
    upkeep: Arc<dyn WorkflowUpkeep>,
    clock: Arc<dyn Clock>,
    ages: HistoryAges,
    mut stop: Stop,
) {
    let mut wait = FIRST_WAIT;
    while !pause(&mut stop, wait).await {
        wait = INTERVAL;
        match trusted(&*upkeep).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "the clock is not looked at; no records are removed"
                );
                wait = MORE_WAIT;
                continue;
            }
        }
        for history in History::ALL {
            let before = clock.now().before(ages.of(history));
            let forgotten = async {
                let mut removed = 0;
                for _ in 0..CHUNKS_MAX {
                    let count = store.prune(history, before, CHUNK).await?;
                    removed += count;
                    if count < CHUNK {
                        return Ok((removed, true));
                    }
                }
                Ok::<_, drover_ports::StoreError>((removed, false))
            };
            let what = history.as_str();
            match forgotten.await {
                Ok((0, _)) => {}
                Ok((removed, true)) => tracing::info!("{removed} {what} of long ago were removed"),
                Ok((removed, false)) => {
                    tracing::info!("{removed} {what} of long ago were removed; there are more");
                    wait = MORE_WAIT;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "{what} of long ago are not removed"
                    );
                    wait = MORE_WAIT;
                }
            }
        }
    }
}
