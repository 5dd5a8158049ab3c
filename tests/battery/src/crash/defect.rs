//! Deliberate defects, each of which the checker must find.

macro_rules! defects {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// A deliberate defect of a handler, a store or what is read of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Defect {
            $($(#[doc = $doc])* $name,)+
        }

        impl Defect {
            /// Every defect.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

defects! {
    /// A handler says that it succeeded and had no effect.
    DoesNothing,
    /// A handler has its effect twice.
    ActsTwice,
    /// A handler says that it succeeded where it failed.
    SucceedsFalsely,
    /// A handler gives a task back that it has begun.
    GivesBackTooLate,
    /// A handler uses another idempotency key for each attempt.
    ChangesItsKey,
    /// The store acknowledges reports that it does not write.
    DropsReports,
    /// The store hands a task out twice.
    GivesTwice,
    /// The store acknowledges workflows that it does not write.
    DropsStarts,
    /// The store hands tasks out that share a concurrency key.
    IgnoresKeys,
    /// An event is missing.
    ForgetsEvent,
    /// An event appears twice.
    RepeatsEvent,
    /// Two events of a workflow have changed their places.
    SwapsEvents,
    /// A workflow is missing.
    ForgetsWorkflow,
    /// A task is stored in another state than its events say.
    StoresOtherState,
    /// A lease of a dead worker is left.
    LeavesLease,
}
