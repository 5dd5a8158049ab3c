//! Updating applications: asking for it ([`Updates`]) and doing it (`UpdateWorker`).

mod end;
mod patience;
mod prepare;
mod request;
mod run;
mod track;
mod worker;

pub(crate) use prepare::playbook_of;
pub use request::{Accepted, RequestError, Subject, UpdateOrder, Updates};
pub(crate) use worker::UpdateWorker;
