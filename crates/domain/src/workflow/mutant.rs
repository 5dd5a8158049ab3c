//! Deliberate defects, to show that the tests would find them. Only with the feature `mutants`,
//! which nothing that ships switches on.

/// A defect of the step function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A report of an old attempt counts.
    NoFencing,
    /// Taking a task does not make a new attempt.
    AttemptNotCounted,
    /// A task that failed lets its dependants run.
    FailureReleases,
    /// A task runs as soon as one of its dependencies succeeded.
    FirstDependencyReleases,
    /// The next attempt is never woken up.
    LostWakeUp,
    /// A task that cannot be repeated is queued again when its worker is lost.
    RepeatsTheUnrepeatable,
    /// Compensations run in the order of the tasks.
    UndoesInForwardOrder,
    /// Compensations of tasks that did not run are run.
    UndoesWhatNeverRan,
    /// The possible effect of an attempt with an unknown result is not undone.
    ForgetsUncertainty,
    /// The time of a workflow is never up.
    NeverLate,
    /// Workflows start workflows below each other without a bound.
    EndlessDepth,
    /// Workflows start as many others as their tasks name.
    EndlessFamily,
    /// Workflows are started below one that is cancelled.
    GrowsAfterCancel,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Self; 13] = [
        Self::NoFencing,
        Self::AttemptNotCounted,
        Self::FailureReleases,
        Self::FirstDependencyReleases,
        Self::LostWakeUp,
        Self::RepeatsTheUnrepeatable,
        Self::UndoesInForwardOrder,
        Self::UndoesWhatNeverRan,
        Self::ForgetsUncertainty,
        Self::NeverLate,
        Self::EndlessDepth,
        Self::EndlessFamily,
        Self::GrowsAfterCancel,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches a mutant on for this thread, or all of them off.
    pub fn switch(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    pub(crate) fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use switch::is_on;
#[cfg(feature = "mutants")]
pub use switch::switch;

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_on(_: Mutant) -> bool {
    false
}
