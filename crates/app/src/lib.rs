//! The `drover` binary and library: wires adapters to ports, serves, migrates, and speaks as a
//! client.
//!
//! It decides nothing but which adapter serves which port. Start reading at
//! [`Application::build`], a parts list; [`Application::with_ports`] gives the same service over any ports.

mod application;
mod check;
mod client;
mod clock;
mod command;
mod descriptors;
pub mod embedded;
mod engine;
mod exit;
mod keys;
mod meter;
mod print;
mod serve;
mod telemetry;

pub use application::{Application, StartError};
pub use command::run;
