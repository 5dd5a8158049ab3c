//! Deliberate defects: of the engine's core, and of the store around it.

use drover_domain::workflow::mutant::Mutant;

/// A defect of the simulated store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreDefect {
    /// It says yes before the commit, and the commit does not always follow.
    AcksBeforeCommit,
    /// Two workers that claim at the same time get the same task.
    ClaimsWithoutLock,
    /// A lease that ran out is removed and its tasks are not looked at.
    ForgetsTakeOver,
    /// A wake is taken out in one transaction and acted on in the next, which may not come.
    ForgetsWakeUp,
    /// A report that was written down already is written down again.
    AppliesTwice,
    /// A repeated request with the same idempotency key is another request.
    ForgetsKeys,
    /// Tasks that share a concurrency key run at the same time.
    IgnoresConcurrencyKeys,
    /// A paused workflow's tasks stay in reach of workers.
    ServesPaused,
    /// Events are written after the commit, and not always.
    EventsApart,
    /// The parent of a workflow that has ended gets no notice.
    ForgetsParent,
    /// A signal that no task waits for yet is not kept.
    ForgetsSignal,
}

impl StoreDefect {
    /// Every defect of the store.
    pub const ALL: [Self; 11] = [
        Self::AcksBeforeCommit,
        Self::ClaimsWithoutLock,
        Self::ForgetsTakeOver,
        Self::ForgetsWakeUp,
        Self::AppliesTwice,
        Self::ForgetsKeys,
        Self::IgnoresConcurrencyKeys,
        Self::ServesPaused,
        Self::EventsApart,
        Self::ForgetsParent,
        Self::ForgetsSignal,
    ];
}

/// Something that is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// In the engine's core. Without the feature `mutants` it does nothing.
    Core(Mutant),
    /// In the store.
    Store(StoreDefect),
}

impl Defect {
    /// Every defect this build has: those of the core only with the feature `mutants`.
    pub fn all() -> impl Iterator<Item = Self> {
        let core: &[Mutant] = if cfg!(feature = "mutants") {
            &Mutant::ALL
        } else {
            &[]
        };
        let core = core.iter().copied().map(Self::Core);
        core.chain(StoreDefect::ALL.map(Self::Store))
    }

    pub(super) const fn of_store(self) -> Option<StoreDefect> {
        match self {
            Self::Store(defect) => Some(defect),
            Self::Core(_) => None,
        }
    }
}

/// A defect of the core, until this is dropped.
#[derive(Debug)]
pub(super) struct Switched;

impl Switched {
    pub(super) fn on(defect: Option<Defect>) -> Self {
        let core = match defect {
            Some(Defect::Core(mutant)) => Some(mutant),
            Some(Defect::Store(_)) | None => None,
        };
        switch(core);
        Self
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        switch(None);
    }
}

#[cfg(feature = "mutants")]
fn switch(mutant: Option<Mutant>) {
    drover_domain::workflow::mutant::switch(mutant);
}

#[cfg(not(feature = "mutants"))]
const fn switch(_: Option<Mutant>) {}
