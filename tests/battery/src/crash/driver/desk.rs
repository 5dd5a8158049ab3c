//! Orders: what was asked for, what came of it, and what has to be asked for again.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::evidence::Acknowledged;
use super::super::order::{Answer, Order};
use super::super::plan::Plan;
use super::super::point::Place;
use super::super::watch::follow_up;

/// How long to wait before an order without an answer is repeated.
const AGAIN: Duration = Duration::from_millis(200);

/// An order with its number.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: u64,
    pub(super) order: Order,
}

/// Orders, as a client keeps them: until there is an answer, each is asked for again.
#[derive(Debug)]
pub(super) struct Desk {
    plan: Plan,
    next: u64,
    waiting: VecDeque<Asked>,
    later: VecDeque<(Instant, Asked)>,
    answered: HashSet<u64>,
    pub(super) acknowledged: Acknowledged,
    /// Orders that were refused and should not have been.
    pub(super) refusals: Vec<String>,
    /// How often an order had to be repeated.
    pub(super) repeated: usize,
    /// The number of the next workflow.
    first: u64,
    /// How many tasks were asked for.
    pub(super) tasks: usize,
}

impl Desk {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            next: 0,
            waiting: VecDeque::new(),
            later: VecDeque::new(),
            answered: HashSet::new(),
            acknowledged: Acknowledged::default(),
            refusals: Vec::new(),
            repeated: 0,
            first: 0,
            tasks: 0,
        }
    }

    pub(super) fn number(&mut self, order: Order) -> Asked {
        let id = self.next;
        self.next += 1;
        Asked { id, order }
    }

    pub(super) fn ask(&mut self, order: Order) {
        let asked = self.number(order);
        self.waiting.push_back(asked);
    }

    /// Asks unless the same order waits already.
    pub(super) fn ask_once(&mut self, order: Order) {
        let later = self.later.iter().map(|(_, asked)| asked);
        if !self
            .waiting
            .iter()
            .chain(later)
            .any(|asked| asked.order == order)
        {
            self.ask(order);
        }
    }

    /// Decides about a task, as far as that has not been asked for already.
    pub(super) fn decide(&mut self, order: Order) {
        if let Order::Decide { task, verdict } = &order {
            let verdicts = self.acknowledged.decided.entry(*task).or_default();
            verdicts.push(*verdict);
            self.ask_once(order);
        }
    }

    /// Asks for workflows until `tasks` tasks were asked for.
    pub(super) fn start_until(&mut self, tasks: usize, per_call: u64) {
        while self.tasks < tasks && self.waiting.len() < 6 {
            let (first, count) = (self.first, per_call);
            self.first += count;
            for number in first..self.first {
                let definition = self.plan.definition(number);
                self.tasks += definition.map_or(1, |definition| definition.tasks().len());
            }
            self.ask(Order::Start { first, count });
        }
    }

    /// Whether nothing waits to be handed out.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.later.is_empty()
    }

    /// Whether nothing can be handed out now.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next order, if possible one that comes down to `place`.
    pub(super) fn take(&mut self, place: Option<Place>) -> Option<Asked> {
        let wanted = self
            .waiting
            .iter()
            .position(|asked| Some(asked.order.place()) == place);
        self.waiting.remove(wanted.unwrap_or(0))
    }

    /// Puts back the orders of a process that is gone.
    pub(super) fn put_back(&mut self, orders: Vec<Asked>) {
        for asked in orders {
            if !self.answered.contains(&asked.id) {
                self.repeated += 1;
                self.waiting.push_front(asked);
            }
        }
    }

    /// Lets orders wait again whose time has come.
    pub(super) fn remind(&mut self) {
        while self
            .later
            .front()
            .is_some_and(|(at, _)| *at <= Instant::now())
        {
            self.waiting
                .extend(self.later.pop_front().map(|(_, asked)| asked));
        }
    }

    /// Takes an answer; the same order may have been given to two, and only the first answer counts.
    pub(super) fn answer(&mut self, asked: Asked, answer: Answer) {
        if self.answered.contains(&asked.id) {
            return;
        }
        match answer {
            Answer::Away(_) => {
                self.repeated += 1;
                self.later.push_back((Instant::now() + AGAIN, asked));
            }
            Answer::Done => {
                self.answered.insert(asked.id);
                self.done(&asked.order);
            }
            Answer::Refused(why) => {
                self.answered.insert(asked.id);
                self.refused(&asked.order, &why);
            }
        }
    }

    fn done(&mut self, order: &Order) {
        match *order {
            Order::Start { first, count } => {
                for number in first..first + count {
                    self.acknowledged.workflows.insert(number);
                    if let Some(order) = follow_up(self.plan, number) {
                        self.ask(order);
                    }
                }
            }
            Order::Pause { number } => self.ask(Order::Resume { number }),
            Order::Schedule { number, .. } => {
                self.acknowledged.schedules.insert(number);
            }
            Order::Signal { .. }
            | Order::Cancel { .. }
            | Order::Resume { .. }
            | Order::Decide { .. }
            | Order::Redrive
            | Order::Define { .. }
            | Order::Limit { .. }
            | Order::Unschedule { .. }
            | Order::Prune => {}
        }
    }

    // The same order may have been carried out before, with a lost answer; then the refusal is right.
    fn refused(&mut self, order: &Order, why: &str) {
        match *order {
            Order::Pause { number } => self.ask(Order::Resume { number }),
            Order::Resume { .. } | Order::Cancel { .. } | Order::Decide { .. } => {}
            Order::Start { .. }
            | Order::Signal { .. }
            | Order::Redrive
            | Order::Define { .. }
            | Order::Limit { .. }
            | Order::Schedule { .. }
            | Order::Unschedule { .. }
            | Order::Prune => self.refusals.push(format!("`{order}` was refused: {why}")),
        }
    }
}
