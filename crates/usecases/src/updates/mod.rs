//! Updating applications: asking for it ([`Updates`]) and doing it (`UpdateHandler`).

mod called_off;
mod drains;
mod end;
mod evidence;
mod handler;
mod prepare;
mod request;
mod run;
mod track;

pub(crate) use handler::UpdateHandler;
pub(crate) use prepare::playbook_of;
pub use request::{Accepted, RequestError, Subject, UpdateOrder, Updates};
