//! What the service does: one method per wish; the background loops that keep it true.
//!
//! It knows the domain and the ports, never an adapter, HTTP or SQL. Decisions are the domain's;
//! here is the order of things: read, decide, write, and what happens when a step fails.
//!
//! Start reading at [`Service`] (what can be asked), then [`Background`] (what goes on by itself).

mod access;
mod background;
mod balancer;
mod engine_ports;
mod fleet;
mod orchestrators;
mod polling;
mod servers;
mod service;
mod updates;

pub use access::Access;
pub use background::{Background, Stop};
pub use drover_ports::{
    ApplicationFilter, BalancerView, Fault, FleetView, Idempotency, OrchestratorStore,
    ServerRegistry, StoreError, StoreHealth, TaskView,
};
pub use engine_ports::EnginePorts;
pub use fleet::{ApplicationDetail, Fleet};
pub use orchestrators::{Orchestrators, Scan, ScanError};
pub use polling::{PollOutcome, Refreshed};
pub use servers::Servers;
pub use service::{Policy, Ports, Service, Views};
pub use updates::{Accepted, RequestError, Subject, UpdateOrder, Updates};
