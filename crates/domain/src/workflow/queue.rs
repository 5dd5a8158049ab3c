//! Limits of queues, and which tasks may be taken under them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{QueueName, TaskId};
use crate::Timestamp;

/// The limits of a queue. By default a queue has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueueLimits {
    /// Whether nothing is taken from it.
    pub is_paused: bool,
    /// The most tasks of it that run at once, on all nodes together; at least 1.
    pub concurrency: Option<u32>,
    /// How often tasks of it start.
    pub rate: Option<RateLimit>,
}

impl QueueLimits {
    /// Whether tasks have to be counted before they are taken.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }
}

/// At most `count` starts in any `per`, after a burst of as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    count: u32,
    per: Duration,
}

/// A rate that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rate limit is 1 to {} starts in 1 to {} s", RateLimit::COUNT_MAX, RateLimit::PER_MAX.as_secs())]
pub struct RateLimitError;

impl RateLimit {
    /// The most starts of one span.
    pub const COUNT_MAX: u32 = 1_000_000;
    /// The longest span.
    pub const PER_MAX: Duration = Duration::from_hours(24);

    /// At most `count` starts in any `per`.
    ///
    /// # Errors
    ///
    /// [`RateLimitError`].
    pub fn new(count: u32, per: Duration) -> Result<Self, RateLimitError> {
        let fits = (1..=Self::COUNT_MAX).contains(&count)
            && per >= Duration::from_secs(1)
            && per <= Self::PER_MAX;
        if fits {
            Ok(Self { count, per })
        } else {
            Err(RateLimitError)
        }
    }

    /// How many starts.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// In which span.
    #[must_use]
    pub const fn per(self) -> Duration {
        self.per
    }
}

/// What is left of a rate: a bucket of tokens that fills evenly and holds one span's worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tokens {
    /// How many are there.
    pub left: f64,
    /// When they were counted.
    pub at: Timestamp,
}

impl Tokens {
    /// The bucket as it is now.
    #[must_use]
    pub fn refilled(self, limit: RateLimit, now: Timestamp) -> Self {
        let most = f64::from(limit.count);
        let gained = now.since(self.at).as_secs_f64() / limit.per.as_secs_f64() * most;
        Self {
            left: (self.left + gained).clamp(0.0, most),
            at: now.max(self.at),
        }
    }
}

/// A queue as it is when tasks are taken from it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueState {
    /// Its limits.
    pub limits: QueueLimits,
    /// How many of its tasks run.
    pub running: u32,
    /// Its tokens, if it has a rate and tasks were taken before.
    pub tokens: Option<Tokens>,
}

/// A task that waits and may not be taken just so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its concurrency keys.
    pub keys: Vec<String>,
}

/// Which of `candidates` may be taken, in their order: at most `limit`, none from a paused queue, no
/// more of a queue than its limits allow, and none that shares a key with `taken` (the keys of tasks
/// that have them already, by task) or with an earlier one. The tokens of `queues` are used up.
pub fn admit(
    candidates: &[Candidate],
    queues: &mut BTreeMap<QueueName, QueueState>,
    taken: &[(TaskId, Vec<String>)],
    limit: usize,
    now: Timestamp,
) -> Vec<TaskId> {
    let mut keys: BTreeMap<&str, TaskId> = BTreeMap::new();
    for (task, held) in taken {
        keys.extend(held.iter().map(|key| (key.as_str(), *task)));
    }
    let mut admitted = Vec::new();
    let mut full: BTreeSet<&QueueName> = BTreeSet::new();
    for candidate in candidates {
        if admitted.len() >= limit {
            break;
        }
        let is_free = candidate.keys.iter().all(|key| {
            keys.get(key.as_str())
                .is_none_or(|holder| *holder == candidate.task)
        });
        if !is_free || full.contains(&candidate.queue) {
            continue;
        }
        if let Some(queue) = queues.get_mut(&candidate.queue)
            && !take_place(queue, now)
        {
            full.insert(&candidate.queue);
            continue;
        }
        keys.extend(
            candidate
                .keys
                .iter()
                .map(|key| (key.as_str(), candidate.task)),
        );
        admitted.push(candidate.task);
    }
    admitted
}

fn take_place(queue: &mut QueueState, now: Timestamp) -> bool {
    let limits = queue.limits;
    if limits.is_paused || limits.concurrency.is_some_and(|most| queue.running >= most) {
        return false;
    }
    if let Some(rate) = limits.rate {
        let full = Tokens {
            left: f64::from(rate.count),
            at: now,
        };
        let tokens = queue.tokens.unwrap_or(full).refilled(rate, now);
        queue.tokens = Some(tokens);
        if tokens.left < 1.0 {
            return false;
        }
        queue.tokens = Some(Tokens {
            left: tokens.left - 1.0,
            ..tokens
        });
    }
    queue.running += 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Uuid;
    use crate::workflow::{TaskNo, WorkflowId};

    fn task(number: u16) -> TaskId {
        WorkflowId::rooted(Uuid::from_u128(1 << 64)).task(TaskNo::new(number).unwrap())
    }

    fn queue(name: &str) -> QueueName {
        QueueName::parse(name).unwrap()
    }

    fn candidate(number: u16, name: &str, keys: &[&str]) -> Candidate {
        Candidate {
            task: task(number),
            queue: queue(name),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    fn limited(limits: QueueLimits, running: u32) -> BTreeMap<QueueName, QueueState> {
        let tokens = None;
        [(
            queue("q"),
            QueueState {
                limits,
                running,
                tokens,
            },
        )]
        .into()
    }

    #[test]
    fn tasks_that_share_a_key_are_taken_one_at_a_time() {
        let candidates = [
            candidate(0, "q", &["group-a", "backend-1"]),
            candidate(1, "q", &["backend-1"]),
            candidate(2, "q", &["group-b"]),
        ];
        let none = &mut BTreeMap::new();
        assert_eq!(
            admit(&candidates, none, &[], 10, Timestamp::EPOCH),
            [task(0), task(2)]
        );
        let held = [(task(9), vec!["group-b".to_owned()])];
        assert_eq!(
            admit(&candidates, none, &held, 10, Timestamp::EPOCH),
            [task(0)]
        );
        // What it holds itself does not stand in its own way.
        let own = [(task(2), vec!["group-b".to_owned()])];
        assert_eq!(
            admit(&candidates, none, &own, 1, Timestamp::EPOCH),
            [task(0)]
        );
        assert!(admit(&candidates, none, &own, 10, Timestamp::EPOCH).contains(&task(2)));
    }

    #[test]
    fn a_queue_gives_no_more_than_its_limits() {
        let candidates: Vec<Candidate> = (0..5).map(|n| candidate(n, "q", &[])).collect();
        let two = QueueLimits {
            concurrency: Some(2),
            ..QueueLimits::default()
        };
        let taken = admit(&candidates, &mut limited(two, 1), &[], 10, Timestamp::EPOCH);
        assert_eq!(taken, [task(0)]);
        let paused = QueueLimits {
            is_paused: true,
            ..QueueLimits::default()
        };
        assert!(
            admit(
                &candidates,
                &mut limited(paused, 0),
                &[],
                10,
                Timestamp::EPOCH
            )
            .is_empty()
        );
    }

    #[test]
    fn a_rate_lets_a_burst_through_and_then_one_at_a_time() {
        let rate = RateLimit::new(2, Duration::from_secs(10)).unwrap();
        let mut queues = limited(
            QueueLimits {
                rate: Some(rate),
                ..QueueLimits::default()
            },
            0,
        );
        let candidates: Vec<Candidate> = (0..9).map(|n| candidate(n, "q", &[])).collect();
        let mut at = |seconds: u64| {
            let now = Timestamp::EPOCH.after(Duration::from_secs(seconds));
            admit(&candidates, &mut queues, &[], 10, now).len()
        };
        assert_eq!(
            [at(0), at(0), at(4), at(5), at(5), at(100)],
            [2, 0, 0, 1, 0, 2]
        );
    }

    #[test]
    fn a_rate_has_bounds() {
        assert_eq!(
            RateLimit::new(0, Duration::from_secs(1)),
            Err(RateLimitError)
        );
        assert_eq!(
            RateLimit::new(1, Duration::from_millis(999)),
            Err(RateLimitError)
        );
        assert_eq!(
            RateLimitError.to_string(),
            "a rate limit is 1 to 1000000 starts in 1 to 86400 s"
        );
    }
}
