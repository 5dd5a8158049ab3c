//! Updating applications: asking for it ([`Updates`]) and doing it ([`UpdateWorker`]).

mod prepare;
mod request;
mod track;
mod worker;

pub use request::{Accepted, RequestError, Subject, UpdateOrder, Updates};
pub(crate) use worker::UpdateWorker;
