//! What the engine did, for the machines that watch. Every label has few values: kinds with a handler,
//! queues of the settings, words of ours.
//!
//! `deploy/monitoring` is written against these names; `tests/monitoring.rs` reads them here, one `const` a line.

mod agents;
mod fleet;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Guarantee, QueueName};
use drover_ports::{Assigned, Clock, TaskHandler};
use drover_usecases::{Engine, EngineStats, QueueStats, Queues, Service};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use self::agents::MeteredAgents;
use self::fleet::Fleet;
use crate::clock::SystemClock;

/// How often the counts of the engine are exported.
const INTERVAL: Duration = Duration::from_secs(5);

/// Of these, how many pass until the store is asked how full the queues are.
const QUEUES_EVERY: u32 = 3;

/// Of those, how many pass until the whole fleet is looked through.
const FLEET_EVERY: u32 = 2;

const RUNS: &str = "drover_handler_runs_total";
const DURATION: &str = "drover_handler_duration_seconds";
const FAILURES: &str = "drover_handler_failures_total";
const ATTEMPTS: &str = "drover_task_attempts_total";
const CLAIMED: &str = "drover_tasks_claimed_total";
const CLAIMS: &str = "drover_task_claims_total";
const REPORTED: &str = "drover_task_outcomes_reported_total";
const REPORTS: &str = "drover_task_reports_total";
const REFUSED: &str = "drover_task_outcomes_refused_total";
const LEASES_LOST: &str = "drover_leases_lost_total";
const RETENTION_HELD: &str = "drover_retention_held";
const IN_HAND: &str = "drover_tasks_in_hand";
const UNREPORTED: &str = "drover_task_outcomes_unreported";
const STORE_ANSWERS: &str = "drover_store_answers";
const QUEUE: &str = "drover_queue_tasks";
const QUEUE_OLDEST: &str = "drover_queue_oldest_seconds";
const QUEUE_PAUSED: &str = "drover_queue_paused";

/// The most characters of a code that may be a label; our handlers' codes are words of ours and shorter.
const CODE_MAX: usize = 32;

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
        if let Outcome::Failed { error, .. } | Outcome::Unknown { error } = &outcome {
            counter!(FAILURES, "kind" => self.kind.clone(), "code" => code(error)).increment(1);
        }
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

/// The code of an error as a label: any code that is no known word is one value, so that foreign text never becomes
/// a label.
fn code(error: &TaskError) -> String {
    let is_word = |code: &str| {
        let is_of_words =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=CODE_MAX).contains(&code.len()) && code.bytes().all(is_of_words)
    };
    if is_word(&error.code) {
        error.code.clone()
    } else {
        "other".to_owned()
    }
}

/// Exports the counts of the engine and the state of the service until it is dropped.
pub(crate) async fn tell(engine: Engine, service: Service, own: Vec<QueueName>) {
    describe();
    let clock = SystemClock::default();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fleet = Fleet::new(service.clone());
    for round in (0..QUEUES_EVERY * FLEET_EVERY).cycle() {
        ticks.tick().await;
        counted(&engine.stats());
        if round % QUEUES_EVERY == 0 {
            fullness(&service.queues, &own, clock.now()).await;
        }
        if round == 0 {
            fleet.tell(clock.now()).await;
        }
    }
}

/// Says what the metrics mean; before a recorder is installed this does nothing.
fn describe() {
    agents::describe();
    fleet::describe();
    describe_counter!(
        RUNS,
        "Runs of handlers, by kind, queue and outcome; `dropped`: panicked or took too long"
    );
    describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "How long handlers run, by kind and queue"
    );
    describe_counter!(
        FAILURES,
        "Runs of handlers that failed or whose effect is unknown, by kind and code; each attempt counts"
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
        STORE_ANSWERS,
        "1 when the database told last time how full the queues are, else 0; the other gauges of queues are then old"
    );
    describe_gauge!(
        QUEUE_OLDEST,
        metrics::Unit::Seconds,
        "How long the task has waited that has waited longest, by queue; 0 when none waits"
    );
    describe_gauge!(QUEUE_PAUSED, "1 when somebody has paused the queue, else 0");
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
    gauge!(RETENTION_HELD).set(rounded(stats.retention_held));
}

async fn fullness(queues: &Queues, own: &[QueueName], now: Timestamp) {
    let stats = queues.stats().await;
    gauge!(STORE_ANSWERS).set(if stats.is_ok() { 1.0 } else { 0.0 });
    match stats {
        Ok(stats) => filled(&stats, own, now),
        Err(error) => tracing::debug!(
            error = &error as &(dyn std::error::Error + 'static),
            "how full the queues are cannot be told"
        ),
    }
}

fn filled(stats: &[QueueStats], own: &[QueueName], now: Timestamp) {
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
        let oldest = found.and_then(|stats| stats.oldest);
        let waited = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        gauge!(QUEUE_OLDEST, "queue" => name.to_string()).set(waited.as_secs_f64());
        let is_paused = found.is_some_and(|stats| stats.limits.is_paused);
        gauge!(QUEUE_PAUSED, "queue" => name.to_string()).set(if is_paused { 1.0 } else { 0.0 });
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
    use drover_domain::workflow::queue::QueueLimits;
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

    #[test]
    fn a_queue_is_told_with_how_long_its_oldest_task_waits() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let [http, haproxy] = ["http", "haproxy"].map(|name| QueueName::parse(name).unwrap());
        metrics::with_local_recorder(&recorder, || {
            let stats = QueueStats {
                name: http.clone(),
                limits: QueueLimits {
                    is_paused: true,
                    ..QueueLimits::default()
                },
                waiting: 3,
                parked: 1,
                running: 2,
                oldest: Some(Timestamp::from_micros(1_000_000)),
            };
            let now = Timestamp::from_micros(91_000_000);
            filled(&[stats], &[http, haproxy], now);
        });
        let told = handle.render();
        for line in [
            "drover_queue_tasks{queue=\"http\",state=\"waiting\"} 3",
            "drover_queue_oldest_seconds{queue=\"http\"} 90",
            "drover_queue_paused{queue=\"http\"} 1",
            "drover_queue_tasks{queue=\"haproxy\",state=\"waiting\"} 0",
            "drover_queue_oldest_seconds{queue=\"haproxy\"} 0",
            "drover_queue_paused{queue=\"haproxy\"} 0",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn a_code_that_is_no_word_of_ours_does_not_become_a_label() {
        for (said, label) in [
            ("still_busy", "still_busy"),
            ("status_5xx", "status_5xx"),
            ("", "other"),
            ("web1.example.org", "other"),
            ("01a21549-4eb1-7132-9922-4428a6f0a001", "other"),
        ] {
            assert_eq!(code(&TaskError::new(said, "")), label, "{said}");
        }
    }
}
