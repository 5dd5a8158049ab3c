//! The ports of rollouts.

pub(crate) mod held;
pub(crate) mod orchestrators;
pub(crate) mod snapshot;
pub(crate) mod store;
pub(crate) mod view;
