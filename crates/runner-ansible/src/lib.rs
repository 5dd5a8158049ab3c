//! Playbooks as durable jobs on a control host; the only crate that starts processes for users.
//!
//! Everything on the control host is done by one Python file (`control_host/drover_job.py`) with
//! requests and answers in JSON, so that this host and one over SSH are the same thing.
//! That file describes what a job is and why it outlives its caller.
//!
//! Start reading at [`AnsibleRunner`].

mod events;
mod job;
mod mailbox;
mod options;
mod protocol;
mod runner;
mod transport;

pub use options::{Options, OptionsError, Transport};
pub use runner::AnsibleRunner;
