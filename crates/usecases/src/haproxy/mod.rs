//! HAProxy: reading it, mapping its servers to applications, and actions on its servers.

pub(crate) mod actions;
pub(crate) mod mappings;
pub(crate) mod sync;

pub use actions::{AcceptedAction, ActionError, ActionOrder, Actions};
pub use mappings::{HaproxySummary, MapError, Mappings, Remapped};
