//! Servers, applications and their settings: reading them, changing them, polling their agents.

pub(crate) mod agents;
mod applications;
pub(crate) mod polling;
mod servers;
mod settings;

pub use applications::{ApplicationDetail, Fleet};
pub use polling::{PollOutcome, Refreshed};
pub use servers::{HaproxyNode, Servers};
pub use settings::Settings;
