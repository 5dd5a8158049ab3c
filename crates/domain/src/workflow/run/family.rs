//! How far workflows that start workflows may go.

use super::super::WorkflowStatus;
use super::super::mutant::{Mutant, is_on};
use super::Refusal;

/// How many workflows may stand above one.
pub const FAMILY_DEPTH_MAX: u32 = 16;
/// The most workflows below one that no task started, on all levels together.
pub const FAMILY_SIZE_MAX: u32 = 10_000;

/// The workflows above a new one. A chain of starts without a bound would grow faster than a cancellation reaches its
/// end, so each start looks at everything above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Family {
    /// How many they are; 0 for a workflow that no task started.
    pub depth: u32,
    /// How many workflows there are below the topmost one, without the new one.
    pub size: u32,
    /// The status of one of them that starts nothing, if there is one.
    pub closed: Option<WorkflowStatus>,
}

impl Family {
    /// The family of a workflow below others with these statuses.
    #[must_use]
    pub fn below(above: impl IntoIterator<Item = WorkflowStatus>, size: u32) -> Self {
        let mut family = Self {
            size,
            ..Self::default()
        };
        for status in above {
            family.depth = family.depth.saturating_add(1);
            if !matches!(status, WorkflowStatus::Running | WorkflowStatus::Paused) {
                family.closed = Some(status);
            }
        }
        family
    }

    /// Whether one more workflow may be started.
    pub(super) fn admits(self) -> Result<(), Refusal> {
        if self.depth > FAMILY_DEPTH_MAX && !is_on(Mutant::EndlessDepth) {
            return Err(Refusal::TooDeep);
        }
        if self.depth > 0 && self.size >= FAMILY_SIZE_MAX && !is_on(Mutant::EndlessFamily) {
            return Err(Refusal::FamilyTooLarge);
        }
        match self.closed {
            Some(status) if !is_on(Mutant::GrowsAfterCancel) => {
                Err(Refusal::FamilyClosed { status })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_a_bound_in_depth_and_in_number() {
        let running = |depth: u32, size| {
            Family::below((0..depth).map(|_| WorkflowStatus::Running), size).admits()
        };
        assert_eq!(running(0, 0), Ok(()));
        assert_eq!(running(FAMILY_DEPTH_MAX, 0), Ok(()));
        assert_eq!(running(FAMILY_DEPTH_MAX + 1, 0), Err(Refusal::TooDeep));
        assert_eq!(running(1, FAMILY_SIZE_MAX - 1), Ok(()));
        assert_eq!(running(1, FAMILY_SIZE_MAX), Err(Refusal::FamilyTooLarge));
        // Nothing is above it, so nothing counts it.
        assert_eq!(running(0, FAMILY_SIZE_MAX), Ok(()));
    }

    #[test]
    fn nothing_starts_below_a_workflow_that_ends_at_any_distance() {
        for status in WorkflowStatus::ALL {
            let opens = matches!(status, WorkflowStatus::Running | WorkflowStatus::Paused);
            for place in 0..3 {
                let mut above = [WorkflowStatus::Running; 3];
                above[place] = status;
                let admitted = Family::below(above, 3).admits();
                let expected = if opens {
                    Ok(())
                } else {
                    Err(Refusal::FamilyClosed { status })
                };
                assert_eq!(admitted, expected, "{status:?} at {place}");
            }
        }
    }

    #[test]
    fn refusals_name_the_bound() {
        assert_eq!(
            Refusal::TooDeep.to_string(),
            "16 workflows stand above the new one, each started by a task of the one before; more are not allowed. Look \
             whether a definition starts itself"
        );
        assert_eq!(
            Refusal::FamilyTooLarge.to_string(),
            "the tasks of one workflow have started 10000 workflows, directly and through each other; more are not \
             allowed. Look whether a definition starts itself"
        );
    }
}
