//! The states of tasks and workflows and the moves between them.

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Tasks it depends on are open.
    Pending,
    /// It may be claimed.
    Queued,
    /// A worker has claimed it.
    Running,
    /// An attempt failed; the next one is due later.
    Retrying,
    /// It waits for a signal, a timer or a child.
    Waiting,
    /// It did what it should.
    Succeeded,
    /// It did not, and no attempt is left.
    Failed,
    /// Its time ran out.
    TimedOut,
    /// It was called off.
    Cancelled,
    /// Something it depends on did not succeed.
    Skipped,
    /// Its effect is unknown; a person or a declared check decides.
    Unknown,
}

impl TaskStatus {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Skipped,
        Self::Unknown,
    ];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it is final. [`Self::Unknown`] is not terminal: it waits for a
    /// decision.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        self.next().is_empty()
    }

    /// Whether a task that depends on this one may start; `skipped_releases` is what the edge
    /// between them says about a skipped task.
    #[must_use]
    pub const fn releases_dependants(self, skipped_releases: bool) -> bool {
        match self {
            Self::Succeeded => true,
            Self::Skipped => skipped_releases,
            Self::Pending
            | Self::Queued
            | Self::Running
            | Self::Retrying
            | Self::Waiting
            | Self::Failed
            | Self::TimedOut
            | Self::Cancelled
            | Self::Unknown => false,
        }
    }

    /// The status after a move to `next`.
    ///
    /// # Errors
    ///
    /// [`IllegalMove`] if no such move exists; staying is no move.
    pub fn move_to(self, next: Self) -> Result<Self, IllegalMove> {
        if self.next().contains(&next) {
            Ok(next)
        } else {
            Err(IllegalMove {
                what: "task",
                from: self.as_str(),
                to: next.as_str(),
            })
        }
    }

    const fn next(self) -> &'static [Self] {
        match self {
            // Timers and waits for signals need no worker.
            Self::Pending => &[Self::Queued, Self::Waiting, Self::Skipped, Self::Cancelled],
            Self::Queued => &[
                Self::Running,
                Self::TimedOut,
                Self::Skipped,
                Self::Cancelled,
            ],
            Self::Running => &[
                Self::Succeeded,
                Self::Retrying,
                // Its worker went away or gave it back.
                Self::Queued,
                Self::Waiting,
                Self::Failed,
                Self::TimedOut,
                Self::Cancelled,
                Self::Unknown,
            ],
            // The deadline over all attempts can pass between two of them.
            Self::Retrying => &[Self::Queued, Self::TimedOut, Self::Skipped, Self::Cancelled],
            Self::Waiting => &[
                Self::Succeeded,
                Self::Failed,
                Self::TimedOut,
                Self::Skipped,
                Self::Cancelled,
            ],
            // What a person or a check may decide: it worked, it did not, do it again, drop it.
            Self::Unknown => &[
                Self::Succeeded,
                Self::Failed,
                Self::Queued,
                Self::Skipped,
                Self::Cancelled,
            ],
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Cancelled | Self::Skipped => {
                &[]
            }
        }
    }
}

/// Where a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkflowStatus {
    /// It is being written.
    Draft,
    /// It is complete and has not started.
    Pending,
    /// Its tasks run.
    Running,
    /// No task starts until it is resumed.
    Paused,
    /// Every task succeeded or was rightly skipped.
    Succeeded,
    /// A task did not succeed.
    Failed,
    /// It was called off and its running tasks are ending.
    Cancelling,
    /// It was called off.
    Cancelled,
    /// What it did is being undone.
    Compensating,
    /// What it did is undone.
    Compensated,
    /// Undoing it failed: a person must look.
    NeedsHuman,
}

impl WorkflowStatus {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::Draft,
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelling,
        Self::Cancelled,
        Self::Compensating,
        Self::Compensated,
        Self::NeedsHuman,
    ];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::NeedsHuman => "needs_human",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the engine has nothing more to do by itself. A failed workflow is terminal although
    /// it may still be compensated on request.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::Compensated
            | Self::NeedsHuman => true,
            Self::Draft
            | Self::Pending
            | Self::Running
            | Self::Paused
            | Self::Cancelling
            | Self::Compensating => false,
        }
    }

    /// The status after a move to `next`.
    ///
    /// # Errors
    ///
    /// [`IllegalMove`] if no such move exists; staying is no move.
    pub fn move_to(self, next: Self) -> Result<Self, IllegalMove> {
        if self.next().contains(&next) {
            Ok(next)
        } else {
            Err(IllegalMove {
                what: "workflow",
                from: self.as_str(),
                to: next.as_str(),
            })
        }
    }

    const fn next(self) -> &'static [Self] {
        match self {
            Self::Draft => &[Self::Pending, Self::Cancelled],
            Self::Pending => &[Self::Running, Self::Cancelled],
            Self::Running => &[
                Self::Succeeded,
                Self::Failed,
                Self::Paused,
                Self::Cancelling,
                Self::Cancelled,
            ],
            Self::Paused => &[Self::Running, Self::Cancelling, Self::Cancelled],
            Self::Failed => &[Self::Compensating],
            Self::Cancelling => &[Self::Cancelled, Self::Compensating],
            Self::Compensating => &[Self::Compensated, Self::NeedsHuman],
            Self::Succeeded | Self::Cancelled | Self::Compensated | Self::NeedsHuman => &[],
        }
    }
}

/// A move between states that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} that is {from} cannot become {to}")]
pub struct IllegalMove {
    what: &'static str,
    from: &'static str,
    to: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn words_read_back() {
        for status in TaskStatus::ALL {
            assert_eq!(TaskStatus::parse(status.as_str()), Some(status));
        }
        for status in WorkflowStatus::ALL {
            assert_eq!(WorkflowStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(TaskStatus::parse("Queued"), None);
        assert_eq!(WorkflowStatus::parse(""), None);
    }

    #[test]
    fn a_task_walks_the_designed_paths() {
        use TaskStatus::{Pending, Queued, Retrying, Running, Succeeded, Unknown, Waiting};

        for path in [
            &[Pending, Queued, Running, Succeeded][..],
            &[Running, Retrying, Queued, Running, TaskStatus::Failed],
            &[Running, Waiting, Succeeded],
            &[Running, Unknown, Queued],
            &[Running, TaskStatus::TimedOut],
        ] {
            for (from, to) in path.iter().zip(path.iter().skip(1)) {
                assert_eq!(from.move_to(*to), Ok(*to));
            }
        }
    }

    #[test]
    fn a_workflow_walks_the_designed_paths() {
        use WorkflowStatus::{
            Cancelled, Cancelling, Compensated, Compensating, Draft, Failed, NeedsHuman, Paused,
            Pending, Running, Succeeded,
        };

        for path in [
            &[Draft, Pending, Running, Paused, Running, Succeeded][..],
            &[Running, Failed, Compensating, Compensated],
            &[Running, Cancelling, Compensating, NeedsHuman],
            &[Cancelling, Cancelled],
        ] {
            for (from, to) in path.iter().zip(path.iter().skip(1)) {
                assert_eq!(from.move_to(*to), Ok(*to));
            }
        }
    }

    #[test]
    fn an_illegal_move_names_both_states() {
        let refused = TaskStatus::Unknown
            .move_to(TaskStatus::Retrying)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a task that is unknown cannot become retrying"
        );
        let refused = WorkflowStatus::Succeeded
            .move_to(WorkflowStatus::Running)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a workflow that is succeeded cannot become running"
        );
    }

    #[test]
    fn only_success_releases_unless_the_edge_accepts_a_skip() {
        for status in TaskStatus::ALL {
            assert_eq!(
                status.releases_dependants(false),
                status == TaskStatus::Succeeded,
                "{status:?}"
            );
            let accepted = matches!(status, TaskStatus::Succeeded | TaskStatus::Skipped);
            assert_eq!(status.releases_dependants(true), accepted, "{status:?}");
        }
    }

    #[test]
    fn terminal_tasks_are_those_of_the_design() {
        let terminal: Vec<_> = TaskStatus::ALL
            .into_iter()
            .filter(|status| status.is_terminal())
            .map(TaskStatus::as_str)
            .collect();
        assert_eq!(
            terminal,
            ["succeeded", "failed", "timed_out", "cancelled", "skipped"]
        );
    }

    proptest! {
        #[test]
        fn nothing_leaves_a_terminal_task_and_nothing_stays(
            from in select(&TaskStatus::ALL[..]),
            to in select(&TaskStatus::ALL[..]),
        ) {
            let moved = from.move_to(to);
            prop_assert!(moved.is_err() || (!from.is_terminal() && from != to && to != TaskStatus::Pending));
        }

        #[test]
        fn a_finished_workflow_is_left_only_to_undo_a_failure(
            from in select(&WorkflowStatus::ALL[..]),
            to in select(&WorkflowStatus::ALL[..]),
        ) {
            if from.is_terminal() && from.move_to(to).is_ok() {
                prop_assert_eq!((from, to), (WorkflowStatus::Failed, WorkflowStatus::Compensating));
            }
        }
    }
}
