//! One lease after the other.

use std::sync::Arc;
use std::time::Duration;

use drover_domain::workflow::LeaseId;
use drover_ports::StoreError;
use tokio::time::Instant;

use super::Shared;
use super::backoff::Backoff;
use super::hold::{End, Hold};
use super::stats::Counters;
use super::upkeep::LIMIT;
use crate::stop::{Stop, pause};

/// How long to wait after a lease that was lost, before the next one.
const LOST_WAIT: Duration = Duration::from_millis(500);

/// Works under one lease after the other until it is time to stop.
pub(super) async fn run(engine: Arc<Shared>, mut stop: Stop) {
    if engine.options.queues.is_empty() {
        return;
    }
    while let Some((lease, opened)) = open(&engine, &mut stop).await {
        let hold = Hold::new(Arc::clone(&engine), lease, opened);
        match hold.run(&mut stop).await {
            End::HandedOver { dropped } => return close(&engine, lease, dropped).await,
            End::Lost => {
                Counters::add(&engine.counters.leases_lost, 1);
                tracing::warn!(
                    lease.id = %lease,
                    "the engine lost its lease; what it had in hand belongs to others now"
                );
                if pause(&mut stop, LOST_WAIT).await {
                    return;
                }
            }
        }
    }
}

// Nothing when it is time to stop.
async fn open(engine: &Shared, stop: &mut Stop) -> Option<(LeaseId, Instant)> {
    let mut backoff = Backoff::default();
    let mut wait = Duration::ZERO;
    while !pause(stop, wait).await {
        let lease = engine.ids.next();
        let asked = Instant::now();
        let options = &engine.options;
        let tasks = &engine.ports.tasks;
        match tasks
            .open_lease(lease, &options.worker, options.lease)
            .await
        {
            Ok(()) => return Some((lease, asked)),
            Err(error) => {
                engine.complain("the engine gets no lease", &error, backoff.failures());
                wait = backoff.fail();
            }
        }
    }
    None
}

async fn close(engine: &Shared, lease: LeaseId, dropped: usize) {
    let closed = async {
        engine.ports.tasks.close_lease(lease).await?;
        // No other node can know earlier that these are free.
        if dropped > 0 {
            let grace = engine.options.overdue_grace;
            engine.ports.upkeep.take_over(grace, LIMIT).await?;
        }
        Ok::<(), StoreError>(())
    };
    match closed.await {
        Ok(()) if dropped > 0 => tracing::info!(
            "the engine stopped; {dropped} tasks did not end in time and go on elsewhere"
        ),
        Ok(()) => tracing::info!("the engine stopped and has handed everything over"),
        Err(error) => tracing::warn!(
            error = &error as &(dyn std::error::Error + 'static),
            "the engine stopped without closing its lease; it runs out by itself"
        ),
    }
}
