//! Queues: how full they are, and what holds them back.

use drover_domain::workflow::QueueName;
use drover_domain::workflow::queue::{self, RateLimit};
use drover_usecases::QueueStats;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{Fields, Flaw, ReadBody, object, seconds, whole};
use crate::wire::schema::Instant;

/// Limits to set; what is left out is not limited.
#[derive(Debug)]
pub(crate) struct NewLimits {
    pub(crate) concurrency: Option<u32>,
    pub(crate) rate: Option<RateLimit>,
}

impl ReadBody for NewLimits {
    fn read(fields: &mut Fields) -> Option<Self> {
        let concurrency = fields.optional("concurrency", whole(1, i64::from(i32::MAX)));
        let rate = fields.optional("rate", object::<NewRate>);
        Some(Self {
            // The bounds fit.
            concurrency: concurrency?.and_then(|most| u32::try_from(most).ok()),
            rate: rate?.map(|rate| rate.0),
        })
    }
}

struct NewRate(RateLimit);

impl ReadBody for NewRate {
    fn read(fields: &mut Fields) -> Option<Self> {
        let count = fields.required("count", whole(1, i64::from(RateLimit::COUNT_MAX)));
        let per = fields.required("per_s", seconds);
        match RateLimit::new(u32::try_from(count?).ok()?, per?) {
            Ok(rate) => Some(Self(rate)),
            Err(error) => {
                fields.complain("per_s", Flaw::new("out_of_range", error.to_string()));
                None
            }
        }
    }
}

/// Limits to set; what is left out is not limited.
#[derive(ToSchema)]
#[schema(as = NewQueueLimits)]
#[expect(dead_code, reason = "describes what `NewLimits` reads")]
pub(crate) struct NewLimitsShape {
    /// The most tasks of the queue that run at once, on all nodes together.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    concurrency: Option<u32>,
    rate: Option<NewRateShape>,
}

/// How often tasks start.
#[derive(ToSchema)]
#[schema(as = NewRate)]
#[expect(dead_code, reason = "describes what `NewRate` reads")]
pub(crate) struct NewRateShape {
    /// At most this many starts,
    #[schema(minimum = 1, maximum = 1_000_000)]
    count: u32,
    /// in any span of this many seconds.
    #[schema(minimum = 1, maximum = 86400)]
    per_s: f64,
}

/// How often tasks start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rate {
    /// At most this many starts,
    count: u32,
    /// in any span of this many seconds.
    per_s: f64,
}

impl From<RateLimit> for Rate {
    fn from(rate: RateLimit) -> Self {
        Self {
            count: rate.count(),
            per_s: rate.per().as_secs_f64(),
        }
    }
}

/// What holds a queue back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueLimits {
    /// Its name.
    name: String,
    /// Whether nothing is taken from it.
    paused: bool,
    /// The most tasks of it that run at once; null is no limit.
    concurrency: Option<u32>,
    /// How often tasks of it start; null is no limit.
    rate: Option<Rate>,
}

impl QueueLimits {
    pub(crate) fn new(name: &QueueName, limits: queue::QueueLimits) -> Self {
        Self {
            name: name.to_string(),
            paused: limits.is_paused,
            concurrency: limits.concurrency,
            rate: limits.rate.map(Into::into),
        }
    }
}

/// A line in which tasks wait for a worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queue {
    #[serde(flatten)]
    limits: QueueLimits,
    /// How many tasks wait for a worker.
    waiting: u64,
    /// How many of these belong to paused workflows.
    parked: u64,
    /// How many tasks workers hold.
    running: u64,
    /// Since when the one waits that has waited longest.
    oldest: Option<Instant>,
}

impl From<QueueStats> for Queue {
    fn from(stats: QueueStats) -> Self {
        Self {
            limits: QueueLimits::new(&stats.name, stats.limits),
            waiting: stats.waiting,
            parked: stats.parked,
            running: stats.running,
            oldest: stats.oldest.map(Into::into),
        }
    }
}
