//! Actions on servers in HAProxy: asking for them, and doing them.

mod handler;
mod request;

pub(crate) use handler::{ActionHandler, Course, Sight, pause};
pub use request::{AcceptedAction, ActionError, ActionOrder, Actions};
