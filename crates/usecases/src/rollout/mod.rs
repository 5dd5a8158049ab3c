//! Updating applications: asking for it ([`Rollouts`]) and doing it (`RolloutHandler`).

mod called_off;
mod drains;
mod end;
mod evidence;
mod handler;
mod orchestrators;
mod plan;
mod prepare;
mod request;
mod run;
mod track;

pub(crate) use handler::RolloutHandler;
pub use orchestrators::{Orchestrators, Scan, ScanError};
pub use plan::Plan;
pub use request::{Accepted, RequestError, RolloutOrder, Rollouts, Subject};
