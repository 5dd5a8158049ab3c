//! Starting workflows at the moments their schedules name.

use std::sync::Arc;

use drover_domain::Timestamp;
use drover_domain::workflow::{Schedule, WorkflowId};
use drover_ports::{Fault, NewWorkflow, StoreError};
use tokio::time::Duration;

use super::Shared;
use super::backoff::Backoff;
use super::child::by_itself;
use crate::stop::{Stop, pause};
use crate::workflow::reserved_queue;

/// How many schedules are looked at together.
const LIMIT: u32 = 100;
const SCOPE: &str = "engine:schedule";

/// Starts what is due, every [`schedule_interval`](super::EngineOptions::schedule_interval).
pub(super) async fn run(engine: Arc<Shared>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    let mut wait = Duration::ZERO;
    while !pause(&mut stop, wait).await {
        let before = backoff.failures();
        wait = match round(&engine, before).await {
            Ok(Round::Calm) => {
                backoff.reset();
                engine.options.schedule_interval
            }
            Ok(Round::Busy) => Duration::ZERO,
            Ok(Round::Troubled) => {
                backoff.fail();
                engine.options.schedule_interval
            }
            Err(error) => {
                engine.complain("schedules are not seen to", &error, before);
                backoff.fail()
            }
        };
    }
}

enum Round {
    /// Everything that was due is seen to.
    Calm,
    /// There may be more.
    Busy,
    /// Something could not be started and is due still.
    Troubled,
}

async fn round(engine: &Shared, before: u32) -> Result<Round, StoreError> {
    let now = engine.clock.now();
    let due = engine.ports.schedules.due(now, LIMIT).await?;
    let mut has_failed = false;
    for error in &due.unreadable {
        has_failed = true;
        engine.complain(
            "a schedule cannot be read and starts nothing",
            error,
            before,
        );
    }
    for schedule in &due.schedules {
        let fired = match fire(engine, schedule, now).await {
            // Tried again it would fail again, at each look and for ever.
            Err(error) if error.fault() != Fault::Transient => {
                engine.complain(
                    "a run of a schedule cannot be started and is left out",
                    &error,
                    0,
                );
                move_on(engine, schedule, now).await
            }
            fired => fired,
        };
        if let Err(error) = fired {
            has_failed = true;
            engine.complain("a schedule cannot be seen to", &error, before);
        }
    }
    let is_full = u32::try_from(due.schedules.len()).is_ok_and(|count| count >= LIMIT);
    Ok(match (has_failed, is_full) {
        (true, _) => Round::Troubled,
        (false, true) => Round::Busy,
        (false, false) => Round::Calm,
    })
}

async fn move_on(engine: &Shared, schedule: &Schedule, now: Timestamp) -> Result<(), StoreError> {
    let (_, next) = schedule.fire(now);
    let schedules = &engine.ports.schedules;
    schedules.fire(schedule, next, None).await.map(|_| ())
}

async fn fire(engine: &Shared, schedule: &Schedule, now: Timestamp) -> Result<(), StoreError> {
    let (starts, next) = schedule.fire(now);
    let workflow = run_of(engine, schedule, starts).await?;
    let schedules = &engine.ports.schedules;
    let is_first = schedules.fire(schedule, next, workflow.as_ref()).await?;
    if is_first && next.is_none() {
        let name = &schedule.name;
        tracing::warn!(
            schedule.name = %name,
            "the schedule `{name}` has no further moment and is paused"
        );
    }
    Ok(())
}

// What to start at the schedule's moment. Nothing where that was missed, or where the definition is gone:
// the schedule moves on all the same.
async fn run_of(
    engine: &Shared,
    schedule: &Schedule,
    starts: bool,
) -> Result<Option<NewWorkflow>, StoreError> {
    let (name, moment, definition) = (&schedule.name, schedule.next_at, &schedule.definition);
    if !starts {
        tracing::info!(
            schedule.name = %name,
            "the run of {moment} of the schedule `{name}` was missed and is left out"
        );
        return Ok(None);
    }
    let definitions = &engine.ports.definitions;
    let Some(record) = definitions.find(definition, schedule.version).await? else {
        tracing::warn!(
            schedule.name = %name,
            "the schedule `{name}` starts `{definition}`, which is not there; its run of {moment} is left out"
        );
        return Ok(None);
    };
    if let Some(queue) = reserved_queue(&record.definition) {
        tracing::warn!(
            schedule.name = %name,
            "the schedule `{name}` starts `{definition}`, which names Drover's own queue `{queue}`; its run of {moment} is \
             left out"
        );
        return Ok(None);
    }
    let id = WorkflowId::rooted(engine.ids.draw());
    let key = format!("{name}@{moment}");
    Ok(Some(by_itself(id, &record, &schedule.input, SCOPE, key)))
}
