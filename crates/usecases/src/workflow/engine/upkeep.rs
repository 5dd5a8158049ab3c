//! What happens because time passes: due moments, lost leases, attempts that take too long.

use std::sync::Arc;
use std::time::Duration;

use drover_ports::{StoreError, Topic, Upkeep};
use tokio::time::sleep;

use super::Shared;
use super::backoff::Backoff;
use crate::stop::{Stop, pause, stopped};

/// How much one round sees to.
pub(super) const LIMIT: u32 = 500;
/// The shortest time between two rounds, unless one round could not handle everything. What is due
/// sooner is a little late; and rows that another node handles are not read without pause.
const SHORTEST: Duration = Duration::from_millis(5);
/// How long events are gathered before they lead to another look at what they may have made due.
const GATHER: Duration = Duration::from_millis(20);

/// Lets due moments happen.
///
/// When the next one is due is known after each look, but a retry that is written meanwhile may be due
/// sooner. Everything that makes a moment due writes an event, so events lead to another look.
pub(super) async fn wake(engine: Arc<Shared>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    loop {
        let seen = engine.ports.wake_ups.seen(Topic::Events);
        let answer = engine.ports.upkeep.wake_due(LIMIT).await;
        let wait = wait(&engine, answer, &mut backoff, "due moments are not seen to");
        let events = async {
            sleep(GATHER).await;
            if backoff.failures() > 0 {
                std::future::pending::<()>().await;
            }
            engine.ports.wake_ups.changed(Topic::Events, seen).await;
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = sleep(wait) => {}
            () = events => {}
        }
    }
}

/// Takes tasks away from workers that are gone or do not stop them.
pub(super) async fn take_over(engine: Arc<Shared>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    loop {
        let grace = engine.options.overdue_grace;
        let answer = engine.ports.upkeep.take_over(grace, LIMIT).await;
        let wait = wait(
            &engine,
            answer,
            &mut backoff,
            "lost tasks are not taken over",
        );
        if pause(&mut stop, wait).await {
            return;
        }
    }
}

fn wait(
    engine: &Shared,
    answer: Result<Upkeep, StoreError>,
    backoff: &mut Backoff,
    what: &'static str,
) -> Duration {
    match answer {
        Ok(round) => {
            backoff.reset();
            if round.handled >= LIMIT {
                return Duration::ZERO;
            }
            let interval = engine.options.upkeep_interval;
            round
                .next
                .map_or(interval, |next| next.max(SHORTEST).min(interval))
        }
        Err(error) => {
            engine.complain(what, &error, backoff.failures());
            backoff.fail()
        }
    }
}
