//! What one may ask of the store, and what it does then: each call is one transaction.

use std::time::Duration;

use drover_domain::workflow::queue::{Candidate, QueueLimits, QueueState, admit};
use drover_domain::workflow::run::{Control, Decision, Input, Outcome, Run};
use drover_domain::workflow::{
    Json, NewWorkflowEvent, QueueName, SignalName, TaskId, TaskStatus, WorkflowId, WorkflowStatus,
};

use super::defect::StoreDefect;
use super::invariant::{Broken, Invariant, require};
use super::sim::{Receipt, World};
use super::store::{LeaseNo, Request, Store};

/// How long a lease lasts without a sign of life.
pub(super) const TERM: Duration = Duration::from_secs(20);

/// How an attempt ended, as its worker says.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    pub(super) outcome: Outcome,
}

/// A task in a worker's hands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assignment {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    /// Which definition it starts, if it starts a child.
    pub(super) child: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Call {
    Start {
        order: usize,
    },
    StartChild {
        parent: TaskId,
        definition: usize,
    },
    Control {
        workflow: WorkflowId,
        control: Control,
    },
    Decide {
        task: TaskId,
        decision: Decision,
    },
    Signal {
        workflow: WorkflowId,
        name: SignalName,
    },
    Limit {
        queue: QueueName,
        limits: QueueLimits,
    },
    OpenLease {
        lease: LeaseNo,
    },
    Heartbeat {
        lease: LeaseNo,
    },
    Claim {
        lease: LeaseNo,
        limit: usize,
    },
    Report {
        lease: LeaseNo,
        reports: Vec<Report>,
    },
    CloseLease {
        lease: LeaseNo,
    },
    Read {
        from: usize,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Done,
    Refused,
    Started {
        workflow: WorkflowId,
        status: WorkflowStatus,
    },
    Stop(Vec<TaskId>),
    Assigned(Vec<Assignment>),
    /// Whether each report was accepted.
    Verdicts(Vec<bool>),
    Events {
        from: usize,
        events: Vec<(WorkflowId, NewWorkflowEvent)>,
    },
}

impl World {
    /// Executes a call; `number` is the same for its repetitions.
    pub(super) fn execute(&mut self, number: u64, call: &Call) -> Result<Answer, Broken> {
        if let Some(lie) = self.lie(call) {
            return Ok(lie);
        }
        match call {
            Call::Start { order } => self.start(number, *order),
            Call::StartChild { parent, definition } => {
                self.start_child(number, *parent, *definition)
            }
            Call::Control { workflow, control } => {
                let input = Input::Control(control.clone());
                self.steer(number, *workflow, &input)
            }
            Call::Decide { task, decision } => {
                let Some(no) = task.no() else {
                    return Ok(Answer::Refused);
                };
                let decision = decision.clone();
                self.steer(number, task.workflow(), &Input::Decide { no, decision })
            }
            Call::Signal { workflow, name } => self.signal(number, *workflow, name),
            Call::Limit { queue, limits } => {
                let tokens = None;
                self.store.limits.insert(queue.clone(), (*limits, tokens));
                Ok(Answer::Done)
            }
            Call::OpenLease { lease } => {
                let until = self.now.after(TERM);
                self.store.leases.entry(*lease).or_insert(until);
                Ok(Answer::Done)
            }
            Call::Heartbeat { lease } => Ok(self.beat(*lease)),
            Call::Claim { lease, limit } => self.claim(*lease, *limit),
            Call::Report { lease, reports } => self.report(*lease, reports),
            Call::CloseLease { lease } => {
                for task in self.store.held_by(*lease) {
                    self.lose(task)?;
                }
                self.store.leases.remove(lease);
                Ok(Answer::Done)
            }
            Call::Read { from } => {
                let most = 1 + self.chance.below(20);
                let events = self.store.events.iter().skip(*from).take(most);
                Ok(Answer::Events {
                    from: *from,
                    events: events.cloned().collect(),
                })
            }
        }
    }

    /// The answer of a store that says yes before it has done anything.
    fn lie(&mut self, call: &Call) -> Option<Answer> {
        let answer = match call {
            Call::Report { reports, .. } => Answer::Verdicts(vec![true; reports.len()]),
            Call::Control { .. } | Call::Decide { .. } | Call::Signal { .. } => Answer::Done,
            Call::Start { .. }
            | Call::StartChild { .. }
            | Call::Limit { .. }
            | Call::OpenLease { .. }
            | Call::Heartbeat { .. }
            | Call::Claim { .. }
            | Call::CloseLease { .. }
            | Call::Read { .. } => return None,
        };
        self.is_broken(StoreDefect::AcksBeforeCommit, 20)
            .then_some(answer)
    }

    /// What came of this request before.
    fn repeated(&self, request: Request) -> Option<WorkflowId> {
        if self.defect == Some(StoreDefect::ForgetsKeys) {
            return None;
        }
        self.store.requests.get(&request).copied()
    }

    fn started(&self, workflow: WorkflowId) -> Answer {
        let status = self.store.status(workflow);
        status.map_or(Answer::Refused, |status| Answer::Started {
            workflow,
            status,
        })
    }

    fn start(&mut self, number: u64, at: usize) -> Result<Answer, Broken> {
        let request = Request::Order(at);
        if let Some(first) = self.repeated(request) {
            return Ok(self.started(first));
        }
        let order = &self.orders[at];
        let (definition, after) = (order.definition.clone(), order.start_after);
        let born = self.give_birth(&definition, None, after, order.deadline)?;
        let id = born.ok_or_else(|| Invariant::Acknowledged.broken("an order was refused"))?;
        self.remember(number, request, id)?;
        Ok(self.started(id))
    }

    fn start_child(&mut self, number: u64, parent: TaskId, at: usize) -> Result<Answer, Broken> {
        let request = Request::Child(parent);
        if let Some(first) = self.repeated(request) {
            return Ok(self.started(first));
        }
        let definition = self.children[at].clone();
        let at_once = Some(Duration::ZERO);
        let born = self.give_birth(&definition, Some(parent), at_once, None)?;
        let Some(id) = born else {
            return Ok(Answer::Refused);
        };
        self.remember(number, request, id)?;
        Ok(self.started(id))
    }

    fn remember(
        &mut self,
        number: u64,
        request: Request,
        workflow: WorkflowId,
    ) -> Result<(), Broken> {
        self.receipts.insert(Receipt::Call(number));
        let first = self.store.requests.insert(request, workflow);
        let why = "a request was executed twice";
        require(first.is_none(), Invariant::Once, why)
    }

    fn steer(&mut self, number: u64, id: WorkflowId, input: &Input) -> Result<Answer, Broken> {
        if !self.step(id, input)? {
            return Ok(Answer::Refused);
        }
        self.receipts.insert(Receipt::Call(number));
        Ok(Answer::Done)
    }

    fn signal(&mut self, number: u64, id: WorkflowId, name: &SignalName) -> Result<Answer, Broken> {
        let request = Request::Signal(number);
        if self.repeated(request).is_some() {
            return Ok(Answer::Done);
        }
        let (name, payload) = (name.clone(), Json::null());
        if !self.step(id, &Input::Signal { name, payload })? {
            return Ok(Answer::Refused);
        }
        self.remember(number, request, id)?;
        Ok(Answer::Done)
    }

    fn is_live(&self, lease: LeaseNo) -> bool {
        let until = self.store.leases.get(&lease);
        until.is_some_and(|until| *until > self.now)
    }

    fn beat(&mut self, lease: LeaseNo) -> Answer {
        if !self.is_live(lease) {
            return Answer::Refused;
        }
        self.store.leases.insert(lease, self.now.after(TERM));
        let mut stop = self.store.held_by(lease);
        stop.retain(|task| self.store.queue.get(task).is_some_and(|row| row.shall_stop));
        Answer::Stop(stop)
    }

    fn claim(&mut self, lease: LeaseNo, limit: usize) -> Result<Answer, Broken> {
        if !self.is_live(lease) {
            return Ok(Answer::Refused);
        }
        let mut assigned = Vec::new();
        for task in self.admitted(limit) {
            let Some(no) = task.no() else { continue };
            let worker = format!("worker-{lease}");
            if !self.step(task.workflow(), &Input::Claimed { no, worker })? {
                continue;
            }
            if let Some(row) = self.store.queue.get_mut(&task) {
                (row.lease, row.claimed_at) = (Some(lease), self.now);
            }
            assigned.extend(self.assignment(task));
        }
        if self.is_broken(StoreDefect::ClaimsWithoutLock, 3) {
            assigned.extend(self.stolen(lease));
        }
        self.check_limits(&assigned)?;
        Ok(Answer::Assigned(assigned))
    }

    fn assignment(&self, task: TaskId) -> Option<Assignment> {
        let state = self.store.task(task)?;
        let child = match &state.action {
            drover_domain::workflow::Action::Child { definition, .. } => self
                .names
                .children
                .iter()
                .position(|name| name == definition),
            _ => None,
        };
        Some(Assignment {
            task,
            attempt: state.attempt,
            child,
        })
    }

    /// A task that another worker has just taken.
    fn stolen(&mut self, lease: LeaseNo) -> Option<Assignment> {
        let mut rows = self.store.queue.iter_mut();
        let (task, row) = rows.find(|(_, row)| row.lease.is_some_and(|holder| holder != lease))?;
        row.lease = Some(lease);
        let task = *task;
        self.assignment(task)
    }

    /// Which tasks may be taken now.
    fn admitted(&mut self, limit: usize) -> Vec<TaskId> {
        let ignores_keys = self.defect == Some(StoreDefect::IgnoresConcurrencyKeys);
        let store = &self.store;
        let mut waiting: Vec<(i32, u64, Candidate)> = Vec::new();
        let mut taken = Vec::new();
        for (task, row) in &store.queue {
            let Some(state) = store.task(*task) else {
                continue;
            };
            let keys = if ignores_keys {
                Vec::new()
            } else {
                state.concurrency_keys.clone()
            };
            if row.lease.is_some() || row.holds_keys {
                taken.push((*task, keys.clone()));
            }
            if row.lease.is_none() && !row.is_parked {
                let candidate = Candidate {
                    task: *task,
                    queue: state.queue.clone(),
                    keys,
                };
                waiting.push((-i32::from(state.priority), row.position, candidate));
            }
        }
        waiting.sort_unstable_by_key(|(priority, position, _)| (*priority, *position));
        let candidates: Vec<Candidate> = waiting.into_iter().map(|(.., one)| one).collect();
        if candidates.is_empty() {
            return Vec::new();
        }
        let mut queues = store
            .limits
            .iter()
            .map(|(name, (limits, tokens))| {
                let running = store.running_in(name);
                let state = QueueState {
                    limits: *limits,
                    running,
                    tokens: *tokens,
                };
                (name.clone(), state)
            })
            .collect();
        let admitted = admit(&candidates, &mut queues, &taken, limit, self.now);
        for (name, state) in queues {
            self.store.limits.insert(name, (state.limits, state.tokens));
        }
        admitted
    }

    // The store looks only at the lease: whether the attempt is the current one is the core's to say.
    fn report(&mut self, lease: LeaseNo, reports: &[Report]) -> Result<Answer, Broken> {
        let mut verdicts = Vec::with_capacity(reports.len());
        for report in reports {
            let input = match report.task.no() {
                Some(no) => Input::Ended {
                    no,
                    attempt: report.attempt,
                    outcome: report.outcome.clone(),
                },
                None => return Ok(Answer::Refused),
            };
            let receipt = Receipt::Report(report.task, report.attempt);
            let row = self.store.queue.get(&report.task);
            let is_held = row.is_some_and(|row| row.lease == Some(lease));
            let is_accepted = if is_held {
                self.step(report.task.workflow(), &input)?
            } else if self.receipts.contains(&receipt) {
                self.apply_again(report, &input)?
            } else {
                false
            };
            if is_accepted {
                self.receipts.insert(receipt);
            }
            // A later verdict does not change that it was accepted before.
            verdicts.push(is_accepted);
        }
        Ok(Answer::Verdicts(verdicts))
    }

    /// A store without fencing writes an end down again.
    fn apply_again(&mut self, report: &Report, input: &Input) -> Result<bool, Broken> {
        if self.defect != Some(StoreDefect::AppliesTwice) {
            return Ok(false);
        }
        let Some(run) = self.store.runs.get(&report.task.workflow()) else {
            return Ok(false);
        };
        let mut run: Run = run.clone();
        let task = report.task.no().and_then(|no| run.tasks.get_mut(&no));
        if let Some(task) = task {
            task.status = TaskStatus::Running;
            task.attempt = report.attempt;
        }
        self.step_on(run, input)
    }
}

impl Store {
    pub(super) fn running_in(&self, queue: &QueueName) -> u32 {
        let running = self.queue.iter().filter(|(task, row)| {
            row.lease.is_some() && self.task(**task).is_some_and(|state| state.queue == *queue)
        });
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }
}
