//! Workers: they forget everything when they die, and may go on when they should not.

use std::collections::BTreeSet;

use drover_domain::Timestamp;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_domain::workflow::{Json, TaskId, WorkflowStatus};

use super::calls::{Answer, Assignment, Call, Report};
use super::invariant::{Broken, Invariant};
use super::network::Party;
use super::sim::World;
use super::store::LeaseNo;
use super::tally::Fault;

/// The most tasks a worker has in hand.
const HANDS_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Worker {
    /// Which of its lives this is; answers to an earlier one are dropped.
    pub(super) life: u32,
    pub(super) hands: Vec<Hand>,
    pub(super) stalled_until: Option<Timestamp>,
    /// Its lease, and whether the answer with it arrived.
    lease: Option<(LeaseNo, bool)>,
    /// The calls whose answers it has taken.
    answered: BTreeSet<u64>,
}

/// A task in hand.
#[derive(Debug)]
pub(super) struct Hand {
    task: TaskId,
    attempt: u32,
    child: Option<usize>,
    lease: LeaseNo,
    shall_stop: bool,
    reported: u32,
    stage: Stage,
}

impl Hand {
    const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done(_))
    }
}

#[derive(Debug)]
enum Stage {
    Taken,
    Begun,
    Hung,
    Done(Outcome),
}

fn failed(code: &str, retryable: bool) -> Outcome {
    let error = TaskError::new(code, "it was drawn");
    Outcome::Failed { error, retryable }
}

fn succeeded() -> Outcome {
    let result = Json::null();
    Outcome::Succeeded { result }
}

impl World {
    /// A worker does the next thing, whatever that is.
    pub(super) fn act(&mut self, at: usize) -> Result<(), Broken> {
        let worker = &mut self.workers[at];
        if worker.stalled_until.is_some_and(|until| until > self.now) {
            return Ok(());
        }
        worker.stalled_until = None;
        let Some((lease, true)) = worker.lease else {
            self.open_lease(at);
            return Ok(());
        };
        let hands = &self.workers[at].hands;
        let has_done = hands.iter().any(Hand::is_done);
        let has_work = hands.iter().any(|hand| !hand.is_done());
        match self.chance.below(20) {
            0..=2 => self.ask(at, Call::Heartbeat { lease }),
            3..=5 => self.claim_more(at, lease),
            6..=11 if has_done => self.report_some(at),
            _ if has_work => return self.work(at),
            _ if has_done => self.report_some(at),
            // Hints make idle workers look for work.
            _ if self.store.queue.values().any(|row| row.lease.is_none()) => {
                self.claim_more(at, lease);
            }
            _ => {}
        }
        Ok(())
    }

    /// A worker does everything it can at once.
    pub(super) fn act_fully(&mut self, at: usize) -> Result<(), Broken> {
        let worker = &mut self.workers[at];
        worker.stalled_until = None;
        let Some((lease, true)) = worker.lease else {
            self.open_lease(at);
            return Ok(());
        };
        self.ask(at, Call::Heartbeat { lease });
        self.claim_more(at, lease);
        for hand in 0..self.workers[at].hands.len() {
            self.work_on(at, hand)?;
        }
        self.report_some(at);
        Ok(())
    }

    fn ask(&mut self, at: usize, call: Call) {
        let life = self.workers[at].life;
        self.call(Party::Worker { at, life }, call);
    }

    fn open_lease(&mut self, at: usize) {
        let lease = self.store.draw();
        self.workers[at].lease = Some((lease, false));
        self.ask(at, Call::OpenLease { lease });
    }

    fn claim_more(&mut self, at: usize, lease: LeaseNo) {
        let free = HANDS_MAX.saturating_sub(self.workers[at].hands.len());
        if free > 0 {
            let limit = 1 + self.chance.below(free);
            self.ask(at, Call::Claim { lease, limit });
        }
    }

    fn work(&mut self, at: usize) -> Result<(), Broken> {
        let hands = self.workers[at].hands.iter().enumerate();
        let open: Vec<usize> = hands
            .filter(|(_, hand)| !hand.is_done())
            .map(|(which, _)| which)
            .collect();
        match self.chance.among(&open).copied() {
            Some(which) => self.work_on(at, which),
            None => Ok(()),
        }
    }

    fn work_on(&mut self, at: usize, which: usize) -> Result<(), Broken> {
        let hand = &self.workers[at].hands[which];
        let (task, attempt) = (hand.task, hand.attempt);
        let next = match &hand.stage {
            Stage::Taken if hand.shall_stop => Some(Stage::Done(Outcome::Cancelled)),
            Stage::Taken if self.is_hostile && self.chance.percent(6) => {
                Some(Stage::Done(Outcome::Released))
            }
            Stage::Taken => {
                if let Some(definition) = hand.child {
                    let parent = task;
                    self.ask(at, Call::StartChild { parent, definition });
                    None
                } else {
                    self.begin(task, attempt)?;
                    Some(Stage::Begun)
                }
            }
            Stage::Begun if hand.shall_stop && self.chance.percent(70) => {
                Some(Stage::Done(Outcome::Cancelled))
            }
            Stage::Begun => self.outcome(task).map(Stage::Done).or_else(|| {
                self.tally.fault(Fault::AttemptHung);
                Some(Stage::Hung)
            }),
            Stage::Hung if self.is_hostile => None,
            // What hangs is stopped by its worker in the end.
            Stage::Hung => Some(Stage::Done(Outcome::TimedOut)),
            Stage::Done(_) => None,
        };
        if let Some(next) = next {
            self.trace.mix(u64::from(attempt));
            self.trace
                .note(|| format!("    worker {at}: {task}/{attempt} is {next:?}"));
            self.workers[at].hands[which].stage = next;
        }
        Ok(())
    }

    /// An effect begins.
    fn begin(&mut self, task: TaskId, attempt: u32) -> Result<(), Broken> {
        let mirror = self.mirrors.get(&task.workflow()).zip(task.no());
        let Some((mirror, no)) = mirror else {
            return Err(Invariant::Acknowledged.broken(format!("{task} is unknown")));
        };
        let begins = self.ledger.begin(task, attempt, mirror.task(no))?;
        self.tally.effects += u64::from(begins);
        Ok(())
    }

    /// How an attempt ends; `None` if it hangs.
    fn outcome(&mut self, task: TaskId) -> Option<Outcome> {
        if !self.is_hostile {
            let may_fail = self.chance.percent(10);
            return Some(if may_fail {
                failed("boom", true)
            } else {
                succeeded()
            });
        }
        let seen = self.mirrors.get(&task.workflow()).zip(task.no());
        let is_adopted = seen.is_some_and(|(mirror, no)| mirror.task(no).is_adopted());
        Some(match self.chance.below(100) {
            // Its effect goes on, and the next worker takes it up.
            0..=3 if is_adopted => Outcome::Released,
            0..=63 => succeeded(),
            64..=77 => failed("boom", true),
            78..=81 => failed("final", true),
            82..=84 => failed("boom", false),
            85..=89 => Outcome::TimedOut,
            90..=92 => Outcome::Unknown {
                error: TaskError::new("no_answer", "it was drawn"),
            },
            93 => Outcome::Cancelled,
            // It has no child to wait for.
            94 => Outcome::Waiting,
            _ => return None,
        })
    }

    fn report_some(&mut self, at: usize) {
        let most = 1 + self.chance.below(3);
        let worker = &mut self.workers[at];
        let mut done = worker.hands.iter().filter(|hand| hand.is_done());
        let Some(lease) = done.next().map(|hand| hand.lease) else {
            return;
        };
        let mut reports = Vec::new();
        for hand in worker.hands.iter_mut().filter(|hand| hand.lease == lease) {
            if let Stage::Done(outcome) = &hand.stage
                && reports.len() < most
            {
                if hand.reported > 0 {
                    self.tally.fault(Fault::ReportRepeated);
                }
                hand.reported += 1;
                reports.push(Report {
                    task: hand.task,
                    attempt: hand.attempt,
                    outcome: outcome.clone(),
                });
            }
        }
        self.ask(at, Call::Report { lease, reports });
    }

    /// A worker dies, and another one starts in its place.
    pub(super) fn crash(&mut self, at: usize) {
        self.trace.note(|| format!("    worker {at} dies"));
        let worker = &mut self.workers[at];
        let life = worker.life + 1;
        *worker = Worker {
            life,
            ..Worker::default()
        };
    }

    /// A worker ends in good order: it gives back what it has not begun, and its lease.
    pub(super) fn retire(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let Some((lease, _)) = worker.lease else {
            return;
        };
        let given_back = worker.hands.iter().filter(|hand| {
            hand.lease == lease && matches!(hand.stage, Stage::Taken) && hand.child.is_none()
        });
        let reports: Vec<Report> = given_back
            .map(|hand| Report {
                task: hand.task,
                attempt: hand.attempt,
                outcome: Outcome::Released,
            })
            .collect();
        if !reports.is_empty() {
            self.ask(at, Call::Report { lease, reports });
        }
        self.ask(at, Call::CloseLease { lease });
        self.crash(at);
    }

    /// A worker gets the answer to a call.
    pub(super) fn hear(
        &mut self,
        at: usize,
        number: u64,
        call: &Call,
        answer: &Answer,
    ) -> Result<(), Broken> {
        if !self.workers[at].answered.insert(number) {
            return Ok(());
        }
        match (call, answer) {
            (Call::OpenLease { lease }, _) => {
                let worker = &mut self.workers[at];
                if worker.lease == Some((*lease, false)) {
                    worker.lease = Some((*lease, true));
                }
            }
            (Call::Heartbeat { lease } | Call::Claim { lease, .. }, Answer::Refused) => {
                self.lease_is_over(at, *lease);
            }
            (Call::Heartbeat { .. }, Answer::Stop(stop)) => {
                for hand in &mut self.workers[at].hands {
                    hand.shall_stop |= stop.contains(&hand.task);
                }
            }
            (Call::Claim { lease, .. }, Answer::Assigned(assigned)) => {
                self.take_in_hand(at, *lease, assigned);
            }
            (Call::Report { reports, .. }, Answer::Verdicts(verdicts)) => {
                self.acknowledged(reports, verdicts)?;
                let is_told = |hand: &Hand| {
                    let mut reports = reports.iter();
                    reports.any(|report| (report.task, report.attempt) == (hand.task, hand.attempt))
                };
                self.workers[at].hands.retain(|hand| !is_told(hand));
            }
            (Call::StartChild { parent, .. }, Answer::Started { status, .. }) => {
                self.child_started(at, *parent, *status);
            }
            (Call::StartChild { parent, .. }, Answer::Refused) => {
                self.child_is(at, *parent, &failed("child_refused", false));
            }
            _ => {}
        }
        Ok(())
    }

    fn lease_is_over(&mut self, at: usize, lease: LeaseNo) {
        let goes_on = self.is_hostile && self.chance.one_in(2);
        let worker = &mut self.workers[at];
        if worker.lease.is_none_or(|(current, _)| current != lease) {
            return;
        }
        worker.lease = None;
        if worker.hands.is_empty() {
            return;
        }
        if goes_on {
            self.tally.fault(Fault::WentOnWithoutLease);
        } else {
            worker.hands.clear();
        }
    }

    fn take_in_hand(&mut self, at: usize, lease: LeaseNo, assigned: &[Assignment]) {
        let worker = &mut self.workers[at];
        // What comes for a lease that is over belongs to others by now, or soon.
        if worker.lease != Some((lease, true)) {
            return;
        }
        worker.hands.extend(assigned.iter().map(|assignment| Hand {
            task: assignment.task,
            attempt: assignment.attempt,
            child: assignment.child,
            lease,
            shall_stop: false,
            reported: 0,
            stage: Stage::Taken,
        }));
    }

    // A child from an earlier attempt may have ended before: its parent did not listen then.
    fn child_started(&mut self, at: usize, parent: TaskId, status: WorkflowStatus) {
        let outcome = match status {
            WorkflowStatus::Succeeded => succeeded(),
            WorkflowStatus::Failed
            | WorkflowStatus::Cancelled
            | WorkflowStatus::Compensated
            | WorkflowStatus::NeedsHuman => failed("child_not_succeeded", false),
            WorkflowStatus::Draft
            | WorkflowStatus::Pending
            | WorkflowStatus::Running
            | WorkflowStatus::Paused
            | WorkflowStatus::Cancelling
            | WorkflowStatus::Compensating => Outcome::Waiting,
        };
        self.child_is(at, parent, &outcome);
    }

    fn child_is(&mut self, at: usize, parent: TaskId, outcome: &Outcome) {
        let hands = self.workers[at].hands.iter_mut();
        for hand in hands.filter(|hand| hand.task == parent && matches!(hand.stage, Stage::Taken)) {
            hand.stage = Stage::Done(outcome.clone());
        }
    }
}
