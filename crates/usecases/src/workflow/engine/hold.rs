//! The time of one lease: claim, run, report, give signs of life, and in the end hand over or lose it.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Executor, LeaseId};
use drover_ports::{
    Assignment, Beat, ClaimRequest, Fault, HeldAttempt, Report, ReportVerdict, StoreError, Topic,
};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::backoff::Backoff;
use super::hands::{Ended, Hands};
use super::lanes::{Lanes, Wish};
use super::outbox::{Failure, Group, Outbox};
use super::stats::Counters;
use crate::stop::{Stop, stopped};

/// How many claims may be under way: while the tasks of one are started, the store looks for the next ones.
const CLAIMS_MAX: usize = 2;
/// How often the engine steps back for handlers that are about to end, before it goes on with what it has.
const GATHER_MAX: usize = 16;

/// How the time of a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was time to stop, and everything is reported; of what was not, so many handlers were dropped.
    HandedOver { dropped: usize },
    /// Others may have taken over: nothing more may be done or said under it.
    Lost,
}

/// Everything under one lease. One task owns it and nothing in it is shared; handlers and calls of the
/// store run beside it, few of each sort at a time: what happens meanwhile makes the next one larger.
pub(super) struct Hold {
    engine: Arc<Shared>,
    lease: LeaseId,
    /// Until when no other worker can have taken over, by the monotonic clock: one term after the last renewal
    /// was sent. The store counts from its arrival, which is later.
    safe_until: Instant,
    /// When to give the next sign of life; `None` while one is under way.
    beat_at: Option<Instant>,
    beats: Backoff,
    lanes: Lanes,
    /// How many claims are under way.
    claiming: usize,
    /// Whether a claim with a lost answer may have taken tasks.
    is_in_doubt: bool,
    claim_at: Instant,
    claims: Backoff,
    /// When to look for work without a hint.
    poll_at: Instant,
    hint: Hint,
    hands: Hands,
    outbox: Outbox,
    is_reporting: bool,
    is_recounting: bool,
    /// What ended, and can never be reported: it must not go on as if it had not begun.
    given_up: HashSet<HeldAttempt>,
    calls: JoinSet<Answer>,
    /// When the store last answered anything.
    answered: Instant,
    /// Until when handlers may take their time, once it is time to stop.
    drain_until: Option<Instant>,
    dropped: usize,
}

/// Waits until there may be new work; the number of hints so far.
type Hint = Pin<Box<dyn Future<Output = u64> + Send>>;

/// What a call of the store brought.
enum Answer {
    Claimed(Wish, Result<Vec<Assignment>, StoreError>),
    Reported(Group, Result<Vec<ReportVerdict>, StoreError>),
    Recounted(Result<Vec<HeldAttempt>, StoreError>),
    Beaten(Instant, Result<Beat, StoreError>),
}

/// The lease is lost.
struct Lost;

impl Hold {
    /// The time of a lease that was asked for at `opened`.
    pub(super) fn new(engine: Arc<Shared>, lease: LeaseId, opened: Instant) -> Self {
        let options = &engine.options;
        let seen = engine.ports.wake_ups.seen(Topic::Work);
        Self {
            lease,
            safe_until: opened + options.lease,
            beat_at: Some(opened + options.lease / 3),
            beats: Backoff::default(),
            lanes: Lanes::new(&options.queues),
            claiming: 0,
            is_in_doubt: false,
            claim_at: opened,
            claims: Backoff::default(),
            poll_at: opened + options.poll,
            hint: hint(&engine, seen),
            hands: Hands::default(),
            outbox: Outbox::new(options.report_batch_max, options.report_bytes_max),
            is_reporting: false,
            is_recounting: false,
            given_up: HashSet::new(),
            calls: JoinSet::new(),
            answered: opened,
            drain_until: None,
            dropped: 0,
            engine,
        }
    }

    /// Works until it is time to stop or the lease is lost. When it returns, nothing is in hand.
    pub(super) async fn run(mut self, stop: &mut Stop) -> End {
        let end = match self.work(stop).await {
            Ok(()) => End::HandedOver {
                dropped: self.dropped,
            },
            Err(Lost) => End::Lost,
        };
        self.hands.drop_all().await;
        self.calls.shutdown().await;
        Counters::set(&self.engine.counters.in_hand, 0);
        Counters::set(&self.engine.counters.unreported, 0);
        end
    }

    async fn work(&mut self, stop: &mut Stop) -> Result<(), Lost> {
        loop {
            let now = Instant::now();
            if now >= self.safe_until {
                return Err(Lost);
            }
            self.hands.drop_stubborn(now);
            if self.drain_until.is_some_and(|until| now >= until) {
                self.dropped += self.hands.drop_all().await;
            }
            if now >= self.poll_at {
                self.poll_at = now + self.engine.options.poll;
                self.lanes.look_everywhere();
            }
            self.beat(now);
            self.recount(now);
            self.report(now);
            self.claim(now);
            self.count();
            if self
                .drain_until
                .is_some_and(|until| self.is_done(now >= until))
            {
                return Ok(());
            }
            let moment = self.next_moment(now);
            tokio::select! {
                ended = self.hands.ended() => {
                    self.take_back(ended);
                    self.gather().await;
                }
                Some(answer) = self.calls.join_next() => {
                    self.hear(answer)?;
                    self.gather().await;
                }
                // All hints since the first look are waited for, whatever else goes on: none is missed.
                seen = &mut self.hint => {
                    self.hint = hint(&self.engine, seen);
                    self.lanes.look_everywhere();
                }
                () = sleep_until(moment) => {}
                () = stopped(stop), if self.drain_until.is_none() => self.drain(),
            }
        }
    }

    fn is_done(&self, is_late: bool) -> bool {
        self.hands.len() == 0
            && self.outbox.len() == 0
            && self.claiming == 0
            && (is_late || !self.is_in_doubt)
    }

    fn next_moment(&self, now: Instant) -> Instant {
        let claim_at = Some(self.claim_at).filter(|at| *at > now);
        let report_at = self.outbox.next_moment().filter(|_| !self.is_reporting);
        let drain_until = self.drain_until.filter(|until| *until > now);
        [
            Some(self.poll_at),
            self.beat_at,
            claim_at,
            self.lanes.next_moment(now),
            report_at,
            self.hands.next_moment(),
            drain_until,
        ]
        .into_iter()
        .flatten()
        .fold(self.safe_until, Instant::min)
    }

    /// Gives a sign of life when it is time to.
    fn beat(&mut self, now: Instant) {
        if self.beat_at.is_none_or(|at| at > now) {
            return;
        }
        self.beat_at = None;
        // What cannot be written until the lease runs out must not keep the process from ending.
        if self.drain_until.is_some_and(|until| now >= until) {
            return;
        }
        let (tasks, lease) = (Arc::clone(&self.engine.ports.tasks), self.lease);
        let term = self.engine.options.lease;
        self.calls.spawn(async move {
            let asked = Instant::now();
            Answer::Beaten(asked, tasks.heartbeat(lease, term).await)
        });
    }

    /// Reads what the lease holds after a claim whose answer was lost. Not while outcomes are
    /// being written: their tasks are no longer held and not yet known to be written.
    fn recount(&mut self, now: Instant) {
        let is_due = self.is_in_doubt && self.claim_at <= now;
        if !is_due || self.claiming > 0 || self.is_reporting || self.is_recounting {
            return;
        }
        self.is_recounting = true;
        let (tasks, lease) = (Arc::clone(&self.engine.ports.tasks), self.lease);
        self.calls
            .spawn(async move { Answer::Recounted(tasks.held(lease, Duration::ZERO).await) });
    }

    /// Writes what has ended since the last group was begun.
    fn report(&mut self, now: Instant) {
        if self.is_reporting || self.is_recounting {
            return;
        }
        let Some(group) = self.outbox.next(now) else {
            return;
        };
        self.is_reporting = true;
        let (tasks, lease) = (Arc::clone(&self.engine.ports.tasks), self.lease);
        self.calls.spawn(async move {
            let answer = tasks.report(lease, &group.reports).await;
            Answer::Reported(group, answer)
        });
    }

    /// Asks for as much work as there is room for.
    fn claim(&mut self, now: Instant) {
        let is_free = self.claim_at <= now && self.drain_until.is_none();
        if !is_free || self.is_in_doubt || self.outbox.is_full() {
            return;
        }
        while self.claiming < CLAIMS_MAX
            && let Some(wish) = self.lanes.wish(self.engine.options.claim_batch_max, now)
        {
            self.ask(wish);
        }
    }

    fn ask(&mut self, wish: Wish) {
        self.claiming += 1;
        let (tasks, lease) = (Arc::clone(&self.engine.ports.tasks), self.lease);
        let request = ClaimRequest {
            executor: Executor::Engine,
            queues: self.lanes.names(&wish),
            limit: wish.limit,
        };
        self.calls.spawn(async move {
            let answer = tasks.claim(lease, &request).await;
            Answer::Claimed(wish, answer)
        });
    }

    fn count(&self) {
        Counters::set(&self.engine.counters.in_hand, self.hands.len());
        Counters::set(&self.engine.counters.unreported, self.outbox.len());
    }

    /// Steps back while handlers are about to end, so that their outcomes are in one group and their places
    /// in one claim. Without it the first one to end would wake this task, and be reported alone.
    async fn gather(&mut self) {
        for _ in 0..GATHER_MAX {
            let before = self.hands.len();
            step_back().await;
            while let Some(ended) = self.hands.try_ended() {
                self.take_back(ended);
            }
            if self.hands.len() == before {
                return;
            }
        }
    }

    /// Takes the outcome of an attempt that ended; its place is free from now on.
    fn take_back(&mut self, ended: Ended) {
        self.engine.counters.ended(&ended.report.outcome);
        self.lanes.leave(ended.lane);
        if ended.is_stranger {
            self.lanes.rest(ended.lane, Instant::now());
        }
        self.outbox.push(ended.report);
    }

    fn hear(&mut self, answer: Result<Answer, JoinError>) -> Result<(), Lost> {
        let answer = answer.map_err(|error| {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::error!(
                error,
                "a call of the store broke off; the lease is given up"
            );
            Lost
        })?;
        match answer {
            Answer::Claimed(wish, answer) => self.claimed(&wish, answer),
            Answer::Reported(group, answer) => self.reported(group, answer),
            Answer::Recounted(answer) => self.recounted(answer),
            Answer::Beaten(asked, answer) => self.beaten(asked, answer),
        }
    }

    fn claimed(
        &mut self,
        wish: &Wish,
        answer: Result<Vec<Assignment>, StoreError>,
    ) -> Result<(), Lost> {
        self.claiming -= 1;
        let now = Instant::now();
        match answer {
            Ok(tasks) => {
                self.answered = now;
                self.claims.reset();
                self.poll_at = now + self.engine.options.poll;
                self.lanes.granted(wish, tasks.len());
                Counters::add(&self.engine.counters.claims, 1);
                Counters::add(&self.engine.counters.claimed, tasks.len());
                for task in tasks {
                    self.start(wish, task);
                }
                Ok(())
            }
            Err(StoreError::Stale { .. }) => Err(Lost),
            Err(error) => {
                let before = self.claims.failures();
                self.engine
                    .complain("no task can be claimed", &error, before);
                self.lanes.refused(wish);
                self.is_in_doubt = true;
                self.claim_at = now + self.claims.fail();
                Ok(())
            }
        }
    }

    /// Gives back what was taken and never heard of: it has not begun.
    fn recounted(&mut self, answer: Result<Vec<HeldAttempt>, StoreError>) -> Result<(), Lost> {
        self.is_recounting = false;
        let now = Instant::now();
        match answer {
            Ok(held) => {
                self.answered = now;
                self.is_in_doubt = false;
                let mut known: HashSet<HeldAttempt> = self.hands.attempts().collect();
                known.extend(self.outbox.attempts());
                known.extend(&self.given_up);
                for HeldAttempt { task, attempt } in held {
                    if !known.contains(&HeldAttempt { task, attempt }) {
                        self.engine.counters.ended(&Outcome::Released);
                        self.outbox.push(Report {
                            task,
                            attempt,
                            outcome: Outcome::Released,
                        });
                    }
                }
                Ok(())
            }
            Err(StoreError::Stale { .. }) => Err(Lost),
            Err(error) => {
                let before = self.claims.failures();
                self.engine
                    .complain("what the lease holds cannot be read", &error, before);
                self.claim_at = now + self.claims.fail();
                Ok(())
            }
        }
    }

    fn start(&mut self, wish: &Wish, task: Assignment) {
        // It came while everything is being handed over.
        if self.drain_until.is_some() {
            self.engine.counters.ended(&Outcome::Released);
            self.outbox.push(Report {
                task: task.task,
                attempt: task.attempt,
                outcome: Outcome::Released,
            });
            return;
        }
        let lane = self.lanes.find(&task.queue).or(wish.lanes.first().copied());
        let lane = lane.unwrap_or_default();
        self.lanes.enter(lane);
        self.hands.take(&self.engine, lane, task);
    }

    fn reported(
        &mut self,
        group: Group,
        answer: Result<Vec<ReportVerdict>, StoreError>,
    ) -> Result<(), Lost> {
        self.is_reporting = false;
        let now = Instant::now();
        match answer {
            Ok(verdicts) => {
                self.answered = now;
                self.judge(&group.reports, &verdicts);
                self.outbox.written(&group);
                // Limits and concurrency keys that these tasks held are free now.
                self.lanes.look_everywhere();
                Ok(())
            }
            Err(StoreError::Stale { .. }) => Err(Lost),
            Err(error) => {
                self.engine.complain(
                    "outcomes of tasks cannot be written; they are kept",
                    &error,
                    group.failures(),
                );
                let why = match error.fault() {
                    Fault::Transient => Failure::Silence {
                        answered: self.answered,
                    },
                    Fault::Permanent | Fault::Defect => Failure::Defect,
                };
                if let Some(report) = self.outbox.failed(group, why, now) {
                    let error = &error as &(dyn std::error::Error + 'static);
                    let (task, attempt) = (report.task, report.attempt);
                    tracing::error!(
                        error,
                        task.id = %task,
                        task.attempt = attempt,
                        "the outcome of task {task} cannot be written and is given up"
                    );
                    match without_words(&report.outcome) {
                        Some(outcome) => self.outbox.push(Report { outcome, ..report }),
                        None => {
                            self.given_up.insert(HeldAttempt { task, attempt });
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn judge(&self, reports: &[Report], verdicts: &[ReportVerdict]) {
        let counters = &self.engine.counters;
        Counters::add(&counters.reports, 1);
        let mut accepted = 0;
        for (report, verdict) in reports.iter().zip(verdicts) {
            let (task, attempt) = (report.task, report.attempt);
            match verdict {
                ReportVerdict::Accepted => accepted += 1,
                ReportVerdict::Refused(refusal) => {
                    let refusal = refusal as &(dyn std::error::Error + 'static);
                    tracing::info!(
                        refusal,
                        task.id = %task,
                        task.attempt = attempt,
                        "the end of task {task} came too late"
                    );
                }
                ReportVerdict::NoSuchTask => tracing::warn!(
                    task.id = %task,
                    task.attempt = attempt,
                    "task {task} ended and is not in the store"
                ),
            }
        }
        Counters::add(&counters.reported, accepted);
        Counters::add(&counters.refused, reports.len() - accepted);
    }

    fn beaten(&mut self, asked: Instant, answer: Result<Beat, StoreError>) -> Result<(), Lost> {
        let (now, options) = (Instant::now(), &self.engine.options);
        match answer {
            Ok(beat) => {
                self.answered = now;
                self.beats.reset();
                self.safe_until = asked + options.lease;
                self.beat_at = Some(asked + options.lease / 3);
                if !beat.stop.is_empty() {
                    self.hands.stop(&beat.stop, options.drain_grace, now);
                }
                Ok(())
            }
            Err(StoreError::Stale { .. }) => Err(Lost),
            Err(error) => {
                let before = self.beats.failures();
                self.engine
                    .complain("the engine's lease was not renewed", &error, before);
                let wait = self.beats.fail().min(options.lease / 3);
                self.beat_at = Some(now + wait);
                Ok(())
            }
        }
    }

    /// Takes nothing more and asks every handler to come to its end.
    fn drain(&mut self) {
        self.drain_until = Some(Instant::now() + self.engine.options.drain_grace);
        self.hands.hand_over();
    }
}

fn hint(engine: &Shared, seen: u64) -> Hint {
    let wake_ups = Arc::clone(&engine.ports.wake_ups);
    Box::pin(async move { wake_ups.changed(Topic::Work, seen).await })
}

/// Goes to the end of the line of tasks that are ready. Not tokio's `yield_now`: what that puts off stays with
/// its thread, and a handler that blocks the thread would keep the lease from being renewed.
async fn step_back() {
    let mut was_polled = false;
    poll_fn(|context| {
        if was_polled {
            return Poll::Ready(());
        }
        was_polled = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What is reported in place of an outcome that the store refuses: the same without the texts that it may refuse. `None` where
/// nothing can be left out.
fn without_words(outcome: &Outcome) -> Option<Outcome> {
    const CODE: &str = "outcome_refused";
    match outcome {
        Outcome::Succeeded { .. } => Some(Outcome::Unknown {
            error: TaskError::new(
                CODE,
                "the task succeeded, and the database refuses its result; the log of its worker has the reason",
            ),
        }),
        Outcome::Failed { error, retryable } if error.code != CODE => Some(Outcome::Failed {
            error: TaskError::new(
                CODE,
                "the task failed, and the database refuses its message; the log of its worker has the reason",
            ),
            retryable: *retryable,
        }),
        Outcome::Unknown { error } if error.code != CODE => Some(Outcome::Unknown {
            error: TaskError::new(
                CODE,
                "what the task did is unknown, and the database refuses its message; the log of its worker has the reason",
            ),
        }),
        Outcome::Failed { .. }
        | Outcome::Unknown { .. }
        | Outcome::TimedOut
        | Outcome::Waiting
        | Outcome::Cancelled
        | Outcome::Released => None,
    }
}
