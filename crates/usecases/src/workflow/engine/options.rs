//! How an engine behaves where there is a choice.

use std::collections::HashSet;
use std::time::Duration;

use drover_domain::text::{TextError, check_title};
use drover_domain::workflow::QueueName;
use drover_ports::ClaimRequest;
use drover_ports::RetentionAges;

/// A queue this process takes tasks from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueOptions {
    /// The queue.
    pub name: QueueName,
    /// The most handlers of its tasks that run at once in this process; at least 1. A limit of the queue
    /// itself, over all processes, holds besides.
    pub concurrency: u32,
}

impl QueueOptions {
    /// The usual concurrency.
    pub const CONCURRENCY_DEFAULT: u32 = 64;

    /// The queue with the usual concurrency.
    #[must_use]
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            concurrency: Self::CONCURRENCY_DEFAULT,
        }
    }
}

/// How an engine behaves where there is a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Who this process is, in events and for people; 1 to 255 printable characters.
    pub worker: String,
    /// The queues it takes from, each once. With none it executes nothing and only keeps house.
    pub queues: Vec<QueueOptions>,
    /// How long the store waits for a sign of life before others take over; renewed three times per
    /// term. At least [`Self::LEASE_MIN`].
    pub lease: Duration,
    /// How long an idle engine waits before it looks for work without a hint.
    pub poll: Duration,
    /// The most tasks of one claim, 1 to [`ClaimRequest::LIMIT_MAX`].
    pub claim_batch_max: u32,
    /// The most outcomes that are written together, at least 1. Four times as many may wait to be
    /// written; beyond that nothing is claimed.
    pub report_batch_max: usize,
    /// The most bytes of results that are written together; a single larger one goes alone.
    pub report_bytes_max: usize,
    /// How often due moments and lost leases are looked for if no earlier one is known.
    pub upkeep_interval: Duration,
    /// How much longer than its timeout an attempt may take before it is taken from a worker that did
    /// not stop it.
    pub overdue_grace: Duration,
    /// How long a handler that is asked to stop may take to do so; then it is dropped.
    pub drain_grace: Duration,
    /// How often schedules are looked at. The domain calls a run missed that is more than a minute late.
    pub schedule_interval: Duration,
    /// How long ended workflows are kept.
    pub retention: RetentionAges,
}

/// An option that makes no sense; durations are shown in seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineOptionsError {
    /// The worker's name.
    #[error(transparent)]
    Worker(#[from] TextError),
    /// A queue twice.
    #[error("the queue `{name}` is named twice")]
    QueueTwice {
        /// The queue.
        name: QueueName,
    },
    /// A queue nothing could be taken from.
    #[error("the concurrency of the queue `{name}` is 0; it must be at least 1")]
    Concurrency {
        /// The queue.
        name: QueueName,
    },
    /// The lease is too short to be renewed in time.
    #[error("the lease is {} s; it must be at least {} s", given.as_secs_f64(), EngineOptions::LEASE_MIN.as_secs())]
    Lease {
        /// What was given.
        given: Duration,
    },
    /// The size of a claim.
    #[error(
        "{given} tasks per claim are asked for; it must be 1 to {}",
        ClaimRequest::LIMIT_MAX
    )]
    ClaimBatch {
        /// What was given.
        given: u32,
    },
    /// No outcome could ever be written.
    #[error("the most outcomes that are written together is 0; it must be at least 1")]
    ReportBatch,
    /// An interval in which nothing else would happen.
    #[error("{what} is 0 s; it must be more")]
    Interval {
        /// Which one.
        what: &'static str,
    },
}

impl EngineOptions {
    /// The shortest lease.
    pub const LEASE_MIN: Duration = Duration::from_secs(1);

    /// The usual behaviour: a lease of 30 s, a poll and rounds of upkeep each second, at most 500 tasks per
    /// claim and 1,000 outcomes or 4 MiB per report, 10 s for handlers to stop, 30 days of retention.
    #[must_use]
    pub fn new(worker: String, queues: Vec<QueueOptions>) -> Self {
        Self {
            worker,
            queues,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            claim_batch_max: 500,
            report_batch_max: 1_000,
            report_bytes_max: 4 * 1024 * 1024,
            upkeep_interval: Duration::from_secs(1),
            overdue_grace: Duration::from_secs(10),
            drain_grace: Duration::from_secs(10),
            schedule_interval: Duration::from_secs(1),
            retention: Duration::from_hours(30 * 24).into(),
        }
    }

    pub(super) fn checked(self) -> Result<Self, EngineOptionsError> {
        check_title("the worker's name", &self.worker, 255)?;
        let mut seen = HashSet::new();
        for queue in &self.queues {
            if !seen.insert(&queue.name) {
                let name = queue.name.clone();
                return Err(EngineOptionsError::QueueTwice { name });
            }
            if queue.concurrency == 0 {
                let name = queue.name.clone();
                return Err(EngineOptionsError::Concurrency { name });
            }
        }
        if self.lease < Self::LEASE_MIN {
            return Err(EngineOptionsError::Lease { given: self.lease });
        }
        if !(1..=ClaimRequest::LIMIT_MAX).contains(&self.claim_batch_max) {
            let given = self.claim_batch_max;
            return Err(EngineOptionsError::ClaimBatch { given });
        }
        if self.report_batch_max == 0 {
            return Err(EngineOptionsError::ReportBatch);
        }
        for (what, interval) in [
            ("the poll interval", self.poll),
            ("the upkeep interval", self.upkeep_interval),
            ("the schedule interval", self.schedule_interval),
        ] {
            if interval.is_zero() {
                return Err(EngineOptionsError::Interval { what });
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> EngineOptions {
        let queue = QueueOptions::new(QueueName::parse("default").unwrap());
        EngineOptions::new("node-1".to_owned(), vec![queue])
    }

    #[test]
    fn the_usual_options_make_sense() {
        assert_eq!(options().checked(), Ok(options()));
        let none = EngineOptions::new("node-1".to_owned(), Vec::new());
        assert!(none.checked().is_ok());
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let mut twice = options();
        twice.queues.push(twice.queues[0].clone());
        let mut idle = options();
        idle.queues[0].concurrency = 0;
        let refusals = [
            twice,
            idle,
            EngineOptions {
                worker: String::new(),
                ..options()
            },
            EngineOptions {
                lease: Duration::from_millis(999),
                ..options()
            },
            EngineOptions {
                claim_batch_max: 2_001,
                ..options()
            },
            EngineOptions {
                report_batch_max: 0,
                ..options()
            },
            EngineOptions {
                poll: Duration::ZERO,
                ..options()
            },
        ]
        .map(|options| options.checked().unwrap_err().to_string());
        assert_eq!(
            refusals,
            [
                "the queue `default` is named twice",
                "the concurrency of the queue `default` is 0; it must be at least 1",
                "the worker's name must not be empty",
                "the lease is 0.999 s; it must be at least 1 s",
                "2001 tasks per claim are asked for; it must be 1 to 2000",
                "the most outcomes that are written together is 0; it must be at least 1",
                "the poll interval is 0 s; it must be more",
            ]
        );
    }
}
