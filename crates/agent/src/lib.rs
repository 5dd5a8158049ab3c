//! The agent beside the applications of one server: FAgent's HTTP contract, plus what a safe drain needs to know.
//!
//! The binary `drover-agent` is [`Choices`] (file and flags) settled into [`Settings`] and served by an [`Agent`];
//! tests start the same [`Agent`] in their own process.
//!
//! What this crate holds to:
//!
//! * A command to HAProxy succeeded only if the answer was empty **and** the state read back says so.
//! * A name reaches HAProxy's socket, or systemd's bus, only if it is of the alphabet HAProxy or systemd allows for names.
//! * Every wait, answer, list and file has a bound; the constants ending in `_MAX` and `_DEADLINE` name them.
//! * What could not be looked at is never reported as absent: the inventory answers 503 instead.

mod agent;
mod bus_address;
mod chain;
mod connection;
mod haproxy;
mod http;
mod inventory;
mod settings;
mod token;

pub use agent::{Agent, StartError};
pub use bus_address::{BusAddress, BusAddressError};
pub use haproxy::{Address, AddressError};
pub use settings::{Choices, Settings, SettingsError};
pub use token::{Token, TokenError};
