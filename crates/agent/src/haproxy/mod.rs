//! HAProxy's runtime API: sockets, commands and the two tables an answer is made of.

mod address;
mod instance;
mod name;
mod servers;
mod socket;
mod stat;
mod state;
mod workers;

pub use address::{Address, AddressError};
pub(crate) use instance::{AdminAction, HaproxyError, Instance};
pub(crate) use name::Name;
