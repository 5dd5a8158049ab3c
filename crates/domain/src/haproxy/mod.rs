//! HAProxy as Drover knows it: instances, backends, servers, their states and mappings.

pub mod action;
mod admin;
mod breaker;
mod capacity;
mod entity;
mod mapping;
mod pin;
mod summary;
pub mod sync;
mod word;

pub use admin::{AdminBits, AdminState};
pub use breaker::{Admission, Breaker, BreakerPolicy, BreakerRecord, BreakerState};
pub use capacity::{
    Capacity, Members, ServerRole, StandingServer, Tracker, followers, leaving_with_followers,
};
pub use entity::{
    BackendKey, FetchStatus, HaproxyBackend, HaproxyInstance, HaproxyInstanceKey, HaproxyServer,
    HaproxyServerKey, ObservedServer,
};
pub use mapping::{
    ActiveMapping, Exclusion, MappingAction, MappingBasis, MappingCandidate, ServerMapping,
    Unmappable, find_applications,
};
pub use pin::{HaproxyProcess, ObservedProcess, PIN_MAX, Pin, PinChange, pin_after};
pub use summary::{HaproxyCounts, InstanceBreaker, ServerCounts, ShortBackend};
pub use word::{Health, ServerWord, Shown};
