//! What things are and the rules between them: fleet, haproxy, rollout, workflow.
//!
//! Pure: no I/O, no async, no clock, no framework, no serialization. Time and identifiers are
//! arguments. It must not know that HTTP, SQL, SSH, Ansible's output or JSON exist.
//!
//! Start reading at [`rollout::executor`] (how an update is prepared), [`fleet::inventory`]
//! (how an agent's report becomes changes) and [`haproxy::sync`] (how HAProxy's word does).

pub mod access;
pub mod fleet;
pub mod haproxy;
pub mod id;
pub mod page;
pub mod rollout;
pub mod secret;
pub mod text;
pub mod time;
pub mod webhook;
pub mod workflow;

pub use id::{Id, Key, ParseIdError};
pub use time::Timestamp;
