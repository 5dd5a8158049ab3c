//! Identifiers of workflows and of their tasks, each computable from the other.

use std::fmt;

use crate::Id;
use crate::id::Uuid;

/// Marks workflow identifiers.
#[derive(Debug)]
pub enum WorkflowMark {}
/// Identifies a workflow: a `UUIDv7` whose last twelve bits are zero; they number its tasks.
pub type WorkflowId = Id<WorkflowMark>;

/// Marks task identifiers.
#[derive(Debug)]
pub enum TaskMark {}
/// Identifies a task: its workflow's identifier, with the task's number plus one in the last twelve
/// bits. Nothing has to be stored to find one from the other.
pub type TaskId = Id<TaskMark>;

/// Marks lease identifiers.
#[derive(Debug)]
pub enum LeaseMark {}
/// Identifies a lease: one worker's hold on everything it claimed under it.
pub type LeaseId = Id<LeaseMark>;

const TASK_BITS: u128 = 0xfff;

/// The place of a task in its workflow, from 0; compensations come after the last task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskNo(u16);

impl TaskNo {
    /// The largest number.
    pub const MAX: u16 = 0xffe;
    /// The first task.
    pub const FIRST: Self = Self(0);

    /// The task with this number; `None` above [`Self::MAX`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for TaskNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl WorkflowId {
    /// The workflow identifier within a freshly drawn one.
    #[must_use]
    pub const fn rooted(drawn: Uuid) -> Self {
        Self::from_uuid(Uuid::from_u128(drawn.as_u128() & !TASK_BITS))
    }

    /// The task of this workflow with this number.
    #[must_use]
    pub const fn task(self, no: TaskNo) -> TaskId {
        let number = no.get() as u128 + 1;
        TaskId::from_uuid(Uuid::from_u128(
            (self.as_uuid().as_u128() & !TASK_BITS) | number,
        ))
    }
}

impl TaskId {
    /// The workflow this task belongs to.
    #[must_use]
    pub const fn workflow(self) -> WorkflowId {
        WorkflowId::rooted(self.as_uuid())
    }

    /// The task's number; `None` for an identifier that is no task's.
    #[must_use]
    pub const fn no(self) -> Option<TaskNo> {
        // Twelve bits always fit.
        let number = (self.as_uuid().as_u128() & TASK_BITS) as u16;
        match number.checked_sub(1) {
            Some(number) => TaskNo::new(number),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_task_knows_its_workflow_and_its_number(drawn: u128, number in 0..=TaskNo::MAX) {
            let workflow = WorkflowId::rooted(Uuid::from_u128(drawn));
            let no = TaskNo::new(number).unwrap();
            let task = workflow.task(no);
            prop_assert_eq!(task.workflow(), workflow);
            prop_assert_eq!(task.no(), Some(no));
            prop_assert!(workflow.as_uuid() < task.as_uuid());
        }
    }

    #[test]
    fn a_workflow_is_no_task() {
        let workflow = WorkflowId::rooted(Uuid::from_u128(u128::MAX));
        assert_eq!(TaskId::from_uuid(workflow.as_uuid()).no(), None);
        assert_eq!(TaskNo::new(0xfff), None);
    }
}
