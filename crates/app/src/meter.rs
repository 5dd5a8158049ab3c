//! What the engine did, for the machines that watch. Every label has few values: kinds with a handler,
//! queues of the settings, words of ours.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{Guarantee, QueueName};
use drover_ports::{Assigned, TaskHandler};
use drover_usecases::{Engine, EngineStats, Queues};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often what the engine counts is told.
const INTERVAL: Duration = Duration::from_secs(5);

/// Of these, how many pass until the store is asked how full the queues are.
const QUEUES_EVERY: u32 = 3;

const RUNS: &str = "drover_handler_runs_total";
const DURATION: &str = "drover_handler_duration_seconds";
const ATTEMPTS: &str = "drover_task_attempts_total";
const CLAIMED: &str = "drover_tasks_claimed_total";
const CLAIMS: &str = "drover_task_claims_total";
const REPORTED: &str = "drover_task_outcomes_reported_total";
const REPORTS: &str = "drover_task_reports_total";
const REFUSED: &str = "drover_task_outcomes_refused_total";
const LEASES_LOST: &str = "drover_leases_lost_total";
const IN_HAND: &str = "drover_tasks_in_hand";
const UNREPORTED: &str = "drover_task_outcomes_unreported";
const QUEUE: &str = "drover_queue_tasks";

/// A handler whose runs are counted.
pub(crate) struct Metered {
    kind: String,
    inner: Arc<dyn TaskHandler>,
}

impl Metered {
    pub(crate) fn new(kind: &str, inner: Arc<dyn TaskHandler>) -> Self {
        let kind = kind.to_owned();
        Self { kind, inner }
    }
}

#[async_trait]
impl TaskHandler for Metered {
    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let mut run = Run {
            kind: &self.kind,
            queue: &assigned.task.queue,
            begun: Instant::now(),
            // What a handler that panics or takes too long leaves here.
            outcome: "dropped",
        };
        let outcome = self.inner.run(assigned).await;
        run.outcome = match &outcome {
            Outcome::Succeeded { .. } => "succeeded",
            Outcome::Failed { .. } => "failed",
            Outcome::TimedOut => "timed_out",
            Outcome::Unknown { .. } => "unknown",
            Outcome::Waiting => "waiting",
            Outcome::Cancelled => "cancelled",
            Outcome::Released => "released",
        };
        outcome
    }
}

/// A run of a handler; counted when it ends, however it ends.
struct Run<'a> {
    kind: &'a str,
    queue: &'a QueueName,
    begun: Instant,
    outcome: &'static str,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let labels = [
            ("kind", self.kind.to_owned()),
            ("queue", self.queue.to_string()),
        ];
        histogram!(DURATION, &labels).record(self.begun.elapsed().as_secs_f64());
        let [kind, queue] = labels;
        let labels = [kind, queue, ("outcome", self.outcome.to_owned())];
        counter!(RUNS, &labels).increment(1);
    }
}

/// Tells what the engine counts, for ever.
pub(crate) async fn tell(engine: Engine, queues: Queues, own: Vec<QueueName>) {
    describe();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in (0..QUEUES_EVERY).cycle() {
        ticks.tick().await;
        counted(&engine.stats());
        if round == 0 {
            fullness(&queues, &own).await;
        }
    }
}

/// Says what the metrics mean; before a recorder is installed this does nothing.
fn describe() {
    describe_counter!(
        RUNS,
        "Runs of handlers, by kind, queue and outcome; `dropped`: panicked or took too long"
    );
    describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "How long handlers run, by kind and queue"
    );
    describe_counter!(ATTEMPTS, "Attempts at tasks that ended here, by outcome");
    describe_counter!(CLAIMED, "Tasks that this node took");
    describe_counter!(CLAIMS, "Claims that this node made");
    describe_counter!(REPORTED, "Outcomes that were written");
    describe_counter!(REPORTS, "Groups of outcomes that were written");
    describe_counter!(
        REFUSED,
        "Outcomes that came too late: the task was not this node's any more"
    );
    describe_counter!(LEASES_LOST, "Leases that this node lost");
    describe_gauge!(IN_HAND, "Handlers that run now");
    describe_gauge!(UNREPORTED, "Outcomes that are not written yet");
    describe_gauge!(
        QUEUE,
        "Tasks in the queues this node takes from, on all nodes, by queue and state"
    );
}

fn counted(stats: &EngineStats) {
    for (outcome, count) in [
        ("succeeded", stats.succeeded),
        ("failed", stats.failed),
        ("timed_out", stats.timed_out),
        ("unknown", stats.unknown),
        ("waiting", stats.waiting),
        ("cancelled", stats.cancelled),
        ("released", stats.released),
    ] {
        counter!(ATTEMPTS, "outcome" => outcome).absolute(count);
    }
    counter!(CLAIMED).absolute(stats.claimed);
    counter!(CLAIMS).absolute(stats.claims);
    counter!(REPORTED).absolute(stats.reported);
    counter!(REPORTS).absolute(stats.reports);
    counter!(REFUSED).absolute(stats.refused);
    counter!(LEASES_LOST).absolute(stats.leases_lost);
    gauge!(IN_HAND).set(rounded(stats.in_hand));
    gauge!(UNREPORTED).set(rounded(stats.unreported));
}

async fn fullness(queues: &Queues, own: &[QueueName]) {
    let stats = match queues.stats().await {
        Ok(stats) => stats,
        Err(error) => {
            tracing::debug!(
                error = &error as &(dyn std::error::Error + 'static),
                "how full the queues are cannot be told"
            );
            return;
        }
    };
    // An empty queue is not among them.
    for name in own {
        let found = stats.iter().find(|stats| stats.name == *name);
        for (state, count) in [
            ("waiting", found.map(|stats| stats.waiting)),
            ("parked", found.map(|stats| stats.parked)),
            ("running", found.map(|stats| stats.running)),
        ] {
            gauge!(QUEUE, "queue" => name.to_string(), "state" => state)
                .set(rounded(count.unwrap_or(0)));
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, and no count of ours is that large"
)]
const fn rounded(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_the_engine_counts_is_told_in_prometheus_words() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            counted(&EngineStats {
                succeeded: 7,
                claimed: 9,
                in_hand: 2,
                ..EngineStats::default()
            });
            let queue = QueueName::parse("http").unwrap();
            drop(Run {
                kind: "http.request",
                queue: &queue,
                begun: Instant::now(),
                outcome: "dropped",
            });
        });
        let told = handle.render();
        for line in [
            "drover_task_attempts_total{outcome=\"succeeded\"} 7",
            "drover_task_attempts_total{outcome=\"failed\"} 0",
            "drover_tasks_claimed_total 9",
            "drover_tasks_in_hand 2",
            "drover_handler_runs_total{kind=\"http.request\",queue=\"http\",outcome=\"dropped\"} 1",
            "drover_handler_duration_seconds_count{kind=\"http.request\",queue=\"http\"} 1",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
    }
}
