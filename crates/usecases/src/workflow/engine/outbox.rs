//! Outcomes on their way into the store.

use std::collections::VecDeque;
use std::sync::Arc;

use drover_domain::workflow::run::Outcome;
use drover_ports::{HeldAttempt, Report};
use tokio::time::Instant;

use super::backoff::Backoff;

/// How many batches may wait before nothing more is claimed.
const BATCHES_MAX: usize = 4;
/// How many failures in a row a group is kept whole while the store answers other calls.
const TOGETHER_MAX: u32 = 3;
/// What a report takes besides its result.
const REPORT_BYTES: usize = 256;

/// Outcomes on their way into the store: group commit without a timer.
///
/// All that arrived while the last group was being written is the next group. A group that could not be
/// written is kept and tried again after a growing wait, and fresh ones wait behind it: the store is away.
/// But if the store answers everything else, something in the group itself cannot be written: it is taken
/// apart, half by half, and the halves no longer hinder the others.
#[derive(Debug)]
pub(super) struct Outbox {
    fresh: VecDeque<Report>,
    kept: VecDeque<Group>,
    count: usize,
    bytes: usize,
    batch_max: usize,
    bytes_max: usize,
}

/// Outcomes that are written together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) reports: Arc<Vec<Report>>,
    backoff: Backoff,
    failing_since: Option<Instant>,
    due: Instant,
    is_suspect: bool,
}

/// Why a group was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The store did not answer. When it last answered anything.
    Silence {
        /// When it last answered anything.
        answered: Instant,
    },
    /// The store cannot write it, now or later.
    Defect,
}

impl Outbox {
    pub(super) const fn new(batch_max: usize, bytes_max: usize) -> Self {
        Self {
            fresh: VecDeque::new(),
            kept: VecDeque::new(),
            count: 0,
            bytes: 0,
            batch_max,
            bytes_max,
        }
    }

    pub(super) fn push(&mut self, report: Report) {
        self.count += 1;
        self.bytes += size(&report);
        self.fresh.push_back(report);
    }

    /// How many outcomes are not written, those of a group that is under way included.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// What waits to be written; not what is under way.
    pub(super) fn attempts(&self) -> impl Iterator<Item = HeldAttempt> {
        let kept = self.kept.iter().flat_map(|group| group.reports.iter());
        self.fresh.iter().chain(kept).map(|report| HeldAttempt {
            task: report.task,
            attempt: report.attempt,
        })
    }

    /// Whether so much waits that nothing should be added.
    pub(super) const fn is_full(&self) -> bool {
        self.count >= self.batch_max * BATCHES_MAX || self.bytes >= self.bytes_max * BATCHES_MAX
    }

    /// The group to write now, if there is one.
    pub(super) fn next(&mut self, now: Instant) -> Option<Group> {
        let due = self.kept.iter().position(|group| group.due <= now);
        if let Some(at) = due {
            return self.kept.remove(at);
        }
        if self.fresh.is_empty() || self.is_held_up() {
            return None;
        }
        let (mut reports, mut bytes) =
            (Vec::with_capacity(self.fresh.len().min(self.batch_max)), 0);
        while let Some(report) = self.fresh.front()
            && reports.len() < self.batch_max
        {
            bytes += size(report);
            if bytes > self.bytes_max && !reports.is_empty() {
                break;
            }
            reports.extend(self.fresh.pop_front());
        }
        Some(Group {
            reports: Arc::new(reports),
            backoff: Backoff::default(),
            failing_since: None,
            due: now,
            is_suspect: false,
        })
    }

    /// When [`Self::next`] may have something again, if it has nothing now.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.kept.iter().map(|group| group.due).min()
    }

    /// Notes that a group was written.
    pub(super) fn written(&mut self, group: &Group) {
        self.count -= group.reports.len().min(self.count);
        let bytes: usize = group.reports.iter().map(size).sum();
        self.bytes -= bytes.min(self.bytes);
    }

    /// Notes that a group was not written. A single outcome that cannot be written, now or later, is given
    /// up and returned.
    pub(super) fn failed(
        &mut self,
        mut group: Group,
        why: Failure,
        now: Instant,
    ) -> Option<Report> {
        let since = *group.failing_since.get_or_insert(now);
        group.due = now + group.backoff.fail();
        let is_its_own_fault = match why {
            Failure::Defect => true,
            Failure::Silence { answered } => {
                group.backoff.failures() > TOGETHER_MAX && answered > since
            }
        };
        if !is_its_own_fault {
            self.kept.push_front(group);
            return None;
        }
        if group.reports.len() <= 1 {
            if why == Failure::Defect {
                self.written(&group);
                return group.reports.first().cloned();
            }
            group.is_suspect = true;
            self.kept.push_back(group);
            return None;
        }
        let (left, right) = group.reports.split_at(group.reports.len() / 2);
        for half in [left, right] {
            self.kept.push_back(Group {
                reports: Arc::new(half.to_vec()),
                is_suspect: true,
                ..group
            });
        }
        None
    }

    // Whether the store seems to be away.
    fn is_held_up(&self) -> bool {
        self.kept.iter().any(|group| !group.is_suspect)
    }
}

impl Group {
    /// How often it could not be written.
    pub(super) const fn failures(&self) -> u32 {
        self.backoff.failures()
    }
}

fn size(report: &Report) -> usize {
    let own = match &report.outcome {
        Outcome::Succeeded { result } => result.as_str().len(),
        Outcome::Failed { error, .. } | Outcome::Unknown { error } => error.message.len(),
        Outcome::TimedOut | Outcome::Waiting | Outcome::Cancelled | Outcome::Released => 0,
    };
    REPORT_BYTES + own
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use drover_domain::id::Uuid;
    use drover_domain::workflow::{Json, TaskNo, WorkflowId};

    use super::*;

    fn report(number: u16) -> Report {
        Report {
            task: WorkflowId::rooted(Uuid::from_u128(1 << 64)).task(TaskNo::new(number).unwrap()),
            attempt: 1,
            outcome: Outcome::TimedOut,
        }
    }

    fn numbers(group: &Group) -> Vec<u16> {
        let no = |report: &Report| report.task.no().unwrap().get();
        group.reports.iter().map(no).collect()
    }

    fn outbox(reports: u16) -> Outbox {
        let mut outbox = Outbox::new(10, 1_000_000);
        for number in 0..reports {
            outbox.push(report(number));
        }
        outbox
    }

    #[test]
    fn what_arrives_while_a_group_is_written_is_the_next_group() {
        let now = Instant::now();
        let mut outbox = outbox(1);
        let first = outbox.next(now).unwrap();
        for number in 1..5 {
            outbox.push(report(number));
        }
        assert_eq!(outbox.len(), 5);
        outbox.written(&first);
        let second = outbox.next(now).unwrap();
        assert_eq!(numbers(&second), [1, 2, 3, 4]);
        outbox.written(&second);
        assert_eq!((outbox.len(), outbox.bytes), (0, 0));
        assert!(outbox.next(now).is_none());
    }

    #[test]
    fn a_group_is_bounded_in_number_and_in_bytes() {
        let now = Instant::now();
        let mut many = outbox(25);
        assert_eq!(many.next(now).unwrap().reports.len(), 10);
        let mut large = Outbox::new(10, 2_000);
        for bytes in [5_000, 500, 500, 500] {
            large.push(Report {
                outcome: Outcome::Succeeded {
                    result: Json::from_parsed("the result", "1".repeat(bytes)).unwrap(),
                },
                ..report(0)
            });
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| large.next(now))
            .map(|group| group.reports.len())
            .collect();
        assert_eq!(sizes, [1, 2, 1]);
    }

    #[test]
    fn too_much_is_full() {
        assert!(!outbox(39).is_full());
        assert!(outbox(40).is_full());
    }

    #[test]
    fn while_the_store_is_away_a_group_stays_whole_and_the_others_wait_behind_it() {
        let mut now = Instant::now();
        let answered = now;
        let mut outbox = outbox(12);
        let mut waits = Vec::new();
        for _ in 0..10 {
            let group = outbox.next(now).unwrap();
            assert_eq!(group.reports.len(), 10);
            assert_eq!(
                outbox.failed(group, Failure::Silence { answered }, now),
                None
            );
            assert!(outbox.next(now).is_none());
            let due = outbox.next_moment().unwrap();
            waits.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(waits[..6], [100, 200, 400, 800, 1_600, 2_000]);
        let group = outbox.next(now).unwrap();
        outbox.written(&group);
        assert_eq!(numbers(&outbox.next(now).unwrap()), [10, 11]);
    }

    // Tries everything that is due; task 3 is what the store does not take.
    fn try_all(outbox: &mut Outbox, why: Failure, now: Instant) -> (Vec<u16>, Vec<Report>) {
        let (mut written, mut given_up) = (Vec::new(), Vec::new());
        while let Some(group) = outbox.next(now) {
            if numbers(&group).contains(&3) {
                given_up.extend(outbox.failed(group, why, now));
            } else {
                outbox.written(&group);
                written.extend(numbers(&group));
            }
        }
        (written, given_up)
    }

    #[test]
    fn one_outcome_that_cannot_be_written_hinders_no_other() {
        let mut now = Instant::now();
        let mut outbox = outbox(8);
        let (mut written, mut given_up) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let (more, lost) = try_all(&mut outbox, Failure::Defect, now);
            written.extend(more);
            given_up.extend(lost);
            now += Duration::from_secs(2);
        }
        written.sort_unstable();
        assert_eq!(written, [0, 1, 2, 4, 5, 6, 7]);
        assert_eq!(given_up, [report(3)]);
        assert_eq!((outbox.len(), outbox.bytes), (0, 0));
    }

    #[test]
    fn a_group_that_fails_while_the_store_answers_is_taken_apart_and_nothing_given_up() {
        let mut now = Instant::now();
        let mut outbox = outbox(8);
        let mut written = Vec::new();
        for _ in 0..100 {
            let answered = now;
            let (more, lost) = try_all(&mut outbox, Failure::Silence { answered }, now);
            assert_eq!(lost, []);
            written.extend(more);
            now += Duration::from_secs(2);
        }
        written.sort_unstable();
        assert_eq!(written, [0, 1, 2, 4, 5, 6, 7]);
        assert_eq!(outbox.len(), 1);
        // The one that is left is still tried, and what comes later passes by.
        outbox.push(report(9));
        let answered = now;
        let (more, _) = try_all(&mut outbox, Failure::Silence { answered }, now);
        assert_eq!(more, [9]);
    }
}
