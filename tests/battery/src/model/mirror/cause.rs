//! Why and when something happened to a workflow.

use drover_domain::Timestamp;
use drover_domain::workflow::TaskNo;
use drover_domain::workflow::run::{Control, Decision, Input, Outcome, WakeKind};

/// Why and when something happened to a workflow.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Cause<'a> {
    /// What came; nothing if it was born.
    pub(in super::super) input: Option<&'a Input>,
    pub(in super::super) now: Timestamp,
}

impl<'a> Cause<'a> {
    pub(super) const fn is_birth(self) -> bool {
        self.input.is_none()
    }

    pub(super) const fn is_decision(self) -> bool {
        matches!(self.input, Some(Input::Decide { .. }))
    }

    pub(super) fn is_skip_of(self, no: TaskNo) -> bool {
        let decision = Decision::Skip;
        self.input == Some(&Input::Decide { no, decision })
    }

    /// What a worker said.
    pub(super) const fn outcome(self) -> Option<&'a Outcome> {
        match self.input {
            Some(Input::Ended { outcome, .. }) => Some(outcome),
            Some(_) | None => None,
        }
    }

    /// The moment that came.
    pub(super) const fn due(self) -> Option<WakeKind> {
        match self.input {
            Some(Input::Due { kind }) => Some(*kind),
            Some(_) | None => None,
        }
    }

    pub(super) const fn is_loss(self) -> bool {
        matches!(self.input, Some(Input::Lost { .. }))
    }

    pub(super) fn calls_off(self) -> bool {
        matches!(self.input, Some(Input::Control(Control::Cancel { .. })))
            || self.due() == Some(WakeKind::WorkflowDeadline)
    }
}
