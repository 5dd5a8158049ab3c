//! Messages under way: late, lost, twice, in any order.

use super::calls::{Answer, Call, Report};
use super::invariant::{Broken, Invariant, require, require_that};
use super::sim::{Receipt, World};
use super::store::Request;
use super::tally::Fault;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Worker { at: usize, life: u32 },
    Client,
    Person,
    Reader,
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    party: Party,
    /// The number of the call; its repetitions have the same.
    number: u64,
    call: Call,
    /// What came of the call, on the way back.
    answer: Option<Answer>,
}

impl World {
    /// Sends a call.
    pub(super) fn call(&mut self, party: Party, call: Call) {
        self.calls += 1;
        self.network.push(Message {
            party,
            number: self.calls,
            call,
            answer: None,
        });
    }

    /// A message arrives; with faults, which one and whether are open.
    pub(super) fn deliver_one(&mut self) -> Result<(), Broken> {
        if self.network.is_empty() {
            return Ok(());
        }
        // Most come early on, and some wait for long.
        let length = self.network.len();
        let at = self.chance.below(length).min(self.chance.below(length));
        if at > 0 {
            self.tally.fault(Fault::MessageReordered);
        }
        let message = self.network.remove(at);
        match self.chance.below(100) {
            0..=2 => {
                self.tally.fault(Fault::MessageLost);
                self.trace.note(|| format!("  lost: {message:?}"));
                return Ok(());
            }
            3..=6 => {
                self.tally.fault(Fault::MessageDuplicated);
                self.network.push(message.clone());
            }
            _ => {}
        }
        self.deliver(message)
    }

    /// Everything arrives, in order.
    pub(super) fn deliver_all(&mut self) -> Result<(), Broken> {
        while !self.network.is_empty() {
            let message = self.network.remove(0);
            self.deliver(message)?;
        }
        Ok(())
    }

    fn deliver(&mut self, message: Message) -> Result<(), Broken> {
        self.trace
            .mix(message.number << 1 | u64::from(message.answer.is_some()));
        if let Some(answer) = &message.answer {
            self.trace.note(|| {
                format!(
                    "  answer to {:?}: {:?}: {answer:?}",
                    message.party, message.call
                )
            });
            return self.answered(&message, answer);
        }
        self.trace
            .note(|| format!("  call of {:?}: {:?}", message.party, message.call));
        if self.is_hostile && self.chance.percent(1) {
            self.tally.fault(Fault::CrashBeforeCommit);
            self.node_dies(message.party);
            return Ok(());
        }
        let answer = self.execute(message.number, &message.call)?;
        if self.is_hostile && self.chance.percent(1) {
            self.tally.fault(Fault::CrashAfterCommit);
            self.node_dies(message.party);
            return Ok(());
        }
        self.network.push(Message {
            answer: Some(answer),
            ..message
        });
        Ok(())
    }

    // People and clients ask whichever node is left.
    fn node_dies(&mut self, party: Party) {
        if let Party::Worker { at, life } = party
            && self.workers[at].life == life
        {
            self.crash(at);
        }
    }

    fn answered(&mut self, message: &Message, answer: &Answer) -> Result<(), Broken> {
        if matches!(answer, Answer::Done | Answer::Started { .. }) && message.call.is_wish() {
            let receipt = Receipt::Call(message.number);
            let is_kept = self.receipts.contains(&receipt) || self.is_kept(&message.call);
            let why = || format!("{:?} was acknowledged and is not there", message.call);
            require_that(is_kept, Invariant::Acknowledged, why)?;
        }
        match message.party {
            Party::Worker { at, life } if self.workers[at].life == life => {
                self.hear(at, message.number, &message.call, answer)
            }
            Party::Client => {
                if let (Call::Start { order }, Answer::Started { workflow, .. }) =
                    (&message.call, answer)
                {
                    self.orders[*order].acknowledged = Some(*workflow);
                }
                Ok(())
            }
            Party::Reader => self.read(answer),
            Party::Worker { .. } | Party::Person => Ok(()),
        }
    }

    /// A worker gets the verdicts on its reports.
    pub(super) fn acknowledged(&self, reports: &[Report], verdicts: &[bool]) -> Result<(), Broken> {
        let accepted = reports.iter().zip(verdicts).filter(|(_, yes)| **yes);
        for (report, _) in accepted {
            let receipt = Receipt::Report(report.task, report.attempt);
            let is_kept = self.receipts.contains(&receipt);
            let why = "a report was acknowledged and is not there";
            require(is_kept, Invariant::Acknowledged, why)?;
        }
        Ok(())
    }

    // A repetition may have another number than what was executed first.
    fn is_kept(&self, call: &Call) -> bool {
        let request = match call {
            Call::Start { order } => Request::Order(*order),
            Call::StartChild { parent, .. } => Request::Child(*parent),
            _ => return false,
        };
        self.store.requests.contains_key(&request)
    }
}

impl Call {
    /// Whether a good answer is a promise that something was written.
    const fn is_wish(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::StartChild { .. }
            | Self::Control { .. }
            | Self::Decide { .. }
            | Self::Signal { .. } => true,
            Self::Limit { .. }
            | Self::OpenLease { .. }
            | Self::Heartbeat { .. }
            | Self::Claim { .. }
            | Self::Report { .. }
            | Self::CloseLease { .. }
            | Self::Read { .. } => false,
        }
    }
}
