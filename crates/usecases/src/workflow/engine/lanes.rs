//! How much room each queue has, and what to ask the store for next.

use std::time::Duration;

use drover_domain::workflow::QueueName;
use tokio::time::Instant;

use super::options::QueueOptions;

/// How long a lane is left to other processes after a task was given back that nothing here executes. This
/// process knows first that it waits again, and would always be the quickest to take it.
const HEAD_START: Duration = Duration::from_millis(200);
/// How long a lane is worked on at least between two such rests.
const REST_PAUSE: Duration = Duration::from_secs(2);

/// The queues of this process, each with its room.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug)]
struct Lane {
    name: QueueName,
    concurrency: u32,
    busy: u32,
    /// How many tasks were asked for and not answered yet.
    asked: u32,
    /// Whether there may be unclaimed tasks.
    may_have_work: bool,
    /// Whether the last answer was as many as asked for, so that there may be more.
    flows: bool,
    /// Whether it had its turn since every lane had one.
    was_asked: bool,
    rests_until: Option<Instant>,
}

/// What to ask the store for: at most `limit` tasks of these lanes together. Each of them has room for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) lanes: Vec<usize>,
    pub(super) limit: u32,
}

impl Lanes {
    pub(super) fn new(queues: &[QueueOptions]) -> Self {
        let lane = |queue: &QueueOptions| Lane {
            name: queue.name.clone(),
            concurrency: queue.concurrency,
            busy: 0,
            asked: 0,
            may_have_work: true,
            flows: false,
            was_asked: false,
            rests_until: None,
        };
        Self(queues.iter().map(lane).collect())
    }

    /// What to ask for next, at most `most` tasks; `None` where there is no room or nothing to expect.
    ///
    /// A claim's limit holds for all of its queues together, so it must fit into the fullest of them. Lanes
    /// with about as much room as the emptiest (at least half) share a claim, others get a claim of
    /// their own; and no lane gets a second claim before all had one. A lane whose answer is still to come gets
    /// another claim only for a whole `most`, and only while its answers are full: smaller claims would cost more
    /// than they save.
    pub(super) fn wish(&mut self, most: u32, now: Instant) -> Option<Wish> {
        self.wish_of_round(most, now).or_else(|| {
            for lane in &mut self.0 {
                lane.was_asked = false;
            }
            self.wish_of_round(most, now)
        })
    }

    fn wish_of_round(&mut self, most: u32, now: Instant) -> Option<Wish> {
        let wanted = |lane: &Lane| lane.is_wanted(most) && !lane.was_asked && !lane.rests(now);
        let emptiest = self
            .0
            .iter()
            .filter(|lane| wanted(lane))
            .map(Lane::room)
            .max()?
            .min(most);
        let (mut lanes, mut limit) = (Vec::new(), emptiest);
        for (at, lane) in self.0.iter_mut().enumerate() {
            if wanted(lane) && lane.room() >= emptiest.div_ceil(2) {
                // Before the answer: what is heard of meanwhile leads to another look.
                lane.may_have_work = false;
                lane.was_asked = true;
                limit = limit.min(lane.room());
                lanes.push(at);
            }
        }
        for at in &lanes {
            if let Some(lane) = self.0.get_mut(*at) {
                lane.asked += limit;
            }
        }
        Some(Wish { lanes, limit })
    }

    /// The names of a claim's queues.
    pub(super) fn names(&self, wish: &Wish) -> Vec<QueueName> {
        wish.lanes
            .iter()
            .filter_map(|at| Some(self.0.get(*at)?.name.clone()))
            .collect()
    }

    /// Records that a claim got `got` tasks; there may be more if that is the requested number.
    pub(super) fn granted(&mut self, wish: &Wish, got: usize) {
        let is_full = usize::try_from(wish.limit).is_ok_and(|limit| got >= limit);
        for lane in self.answered(wish) {
            lane.flows = is_full;
        }
    }

    /// Records that a claim failed; it stays due.
    pub(super) fn refused(&mut self, wish: &Wish) {
        for lane in self.answered(wish) {
            lane.may_have_work = true;
        }
    }

    fn answered<'a>(&'a mut self, wish: &'a Wish) -> impl Iterator<Item = &'a mut Lane> {
        let lanes = self.0.iter_mut().enumerate();
        lanes
            .filter(|(at, _)| wish.lanes.contains(at))
            .map(|(_, lane)| {
                lane.asked = lane.asked.saturating_sub(wish.limit);
                lane
            })
    }

    /// Notes that there may be work anywhere.
    pub(super) fn look_everywhere(&mut self) {
        for lane in &mut self.0 {
            lane.may_have_work = true;
        }
    }

    /// When the next claim may have more room than now.
    pub(super) fn next_moment(&self, now: Instant) -> Option<Instant> {
        let resting = self.0.iter().filter(|lane| lane.is_wanted(u32::MAX));
        let ends = resting.filter_map(|lane| lane.rests_until);
        ends.filter(|until| *until > now).min()
    }

    /// Leaves a lane to other processes for a moment, unless that was done just before.
    pub(super) fn rest(&mut self, lane: usize, now: Instant) {
        if let Some(lane) = self.0.get_mut(lane)
            && lane
                .rests_until
                .is_none_or(|until| until + REST_PAUSE <= now)
        {
            lane.rests_until = Some(now + HEAD_START);
        }
    }

    /// The lane of a queue.
    pub(super) fn find(&self, name: &QueueName) -> Option<usize> {
        self.0.iter().position(|lane| lane.name == *name)
    }

    /// A handler of the lane starts.
    pub(super) fn enter(&mut self, lane: usize) {
        if let Some(lane) = self.0.get_mut(lane) {
            lane.busy += 1;
        }
    }

    /// A handler of the lane has ended.
    pub(super) fn leave(&mut self, lane: usize) {
        if let Some(lane) = self.0.get_mut(lane) {
            lane.busy = lane.busy.saturating_sub(1);
        }
    }
}

impl Lane {
    const fn room(&self) -> u32 {
        self.concurrency
            .saturating_sub(self.busy)
            .saturating_sub(self.asked)
    }

    const fn is_wanted(&self, most: u32) -> bool {
        if self.asked > 0 {
            self.flows && self.room() >= most
        } else {
            (self.may_have_work || self.flows) && self.room() > 0
        }
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(concurrencies: &[u32]) -> Lanes {
        let queues: Vec<QueueOptions> = concurrencies
            .iter()
            .enumerate()
            .map(|(at, concurrency)| QueueOptions {
                name: QueueName::parse(&format!("q{at}")).unwrap(),
                concurrency: *concurrency,
            })
            .collect();
        Lanes::new(&queues)
    }

    fn now() -> Instant {
        Instant::now()
    }

    fn wish(lanes: &[usize], limit: u32) -> Wish {
        Wish {
            lanes: lanes.to_vec(),
            limit,
        }
    }

    #[test]
    fn lanes_with_about_the_same_room_share_a_call_that_fits_into_each() {
        let mut lanes = lanes(&[64, 40, 3, 64]);
        let first = wish(&[0, 1, 3], 40);
        assert_eq!(lanes.wish(500, now()), Some(first.clone()));
        lanes.look_everywhere();
        assert_eq!(lanes.wish(500, now()), Some(wish(&[2], 3)));
        assert_eq!(lanes.wish(500, now()), None);
        lanes.granted(&first, 0);
        // The next round.
        assert_eq!(lanes.wish(500, now()), Some(first));
    }

    #[test]
    fn a_lane_that_always_has_work_does_not_starve_another_one() {
        let mut lanes = lanes(&[1_000, 1]);
        for _ in 0..3 {
            let big = lanes.wish(500, now()).unwrap();
            assert_eq!(big.lanes, [0]);
            lanes.granted(&big, 500);
            let small = lanes.wish(500, now()).unwrap();
            assert_eq!(small, wish(&[1], 1));
            lanes.granted(&small, 1);
        }
    }

    #[test]
    fn a_bounded_claim_takes_in_whoever_has_room_for_half_of_it() {
        assert_eq!(
            lanes(&[1_000, 100]).wish(100, now()),
            Some(wish(&[0, 1], 100))
        );
        assert_eq!(
            lanes(&[1_000, 50]).wish(100, now()),
            Some(wish(&[0, 1], 50))
        );
        assert_eq!(lanes(&[1_000, 49]).wish(100, now()), Some(wish(&[0], 100)));
    }

    #[test]
    fn nothing_is_asked_for_without_room_or_expectation() {
        let mut lanes = lanes(&[2]);
        let two = lanes.wish(500, now()).unwrap();
        lanes.granted(&two, 2);
        lanes.enter(0);
        lanes.enter(0);
        assert_eq!(lanes.wish(500, now()), None);
        lanes.leave(0);
        let one = lanes.wish(500, now()).unwrap();
        assert_eq!(one.limit, 1);
        lanes.granted(&one, 0);
        assert_eq!(lanes.wish(500, now()), None);
        lanes.look_everywhere();
        assert_eq!(lanes.wish(500, now()), Some(one.clone()));
        lanes.refused(&one);
        assert_eq!(lanes.wish(500, now()), Some(one));
    }

    #[test]
    fn a_lane_that_flows_is_asked_again_before_it_has_answered() {
        let mut lanes = lanes(&[1_200]);
        let whole = wish(&[0], 500);
        assert_eq!(lanes.wish(500, now()), Some(whole.clone()));
        lanes.look_everywhere();
        assert_eq!(lanes.wish(500, now()), None);
        lanes.granted(&whole, 500);
        assert_eq!(lanes.wish(500, now()), Some(whole.clone()));
        assert_eq!(lanes.wish(500, now()), Some(whole.clone()));
        // There is room for 200 more, which is worth no call while others are under way.
        assert_eq!(lanes.wish(500, now()), None);
        lanes.granted(&whole, 3);
        assert_eq!(lanes.wish(500, now()), None);
        lanes.granted(&whole, 0);
        assert_eq!(lanes.wish(500, now()), None);
    }

    #[test]
    fn what_is_heard_of_during_a_claim_is_not_forgotten_with_its_answer() {
        let mut lanes = lanes(&[2]);
        let two = lanes.wish(500, now()).unwrap();
        lanes.look_everywhere();
        lanes.granted(&two, 0);
        assert_eq!(lanes.wish(500, now()), Some(two));
    }

    #[test]
    fn a_lane_rests_for_a_moment_and_not_all_the_time() {
        let mut lanes = lanes(&[1, 1]);
        let now = now();
        lanes.rest(0, now);
        assert_eq!(lanes.wish(500, now), Some(wish(&[1], 1)));
        lanes.granted(&wish(&[1], 1), 0);
        let end = lanes.next_moment(now).unwrap();
        assert_eq!(end - now, HEAD_START);
        lanes.rest(0, end);
        assert_eq!(lanes.wish(500, end), Some(wish(&[0], 1)));
        assert_eq!(lanes.next_moment(end), None);
        lanes.rest(0, end + REST_PAUSE);
        lanes.look_everywhere();
        assert_eq!(lanes.wish(500, end + REST_PAUSE), Some(wish(&[1], 1)));
    }
}
