//! HAProxy as Drover knows it: instances, backends, servers, their states and mappings.

pub mod action;
mod admin;
mod breaker;
mod capacity;
mod desired;
mod entity;
mod mapping;
mod summary;
pub mod sync;
mod word;

pub use admin::{AdminBits, AdminState};
pub use breaker::{Admission, Breaker, BreakerPolicy, BreakerRecord, BreakerState};
pub use capacity::{Capacity, ServerRole, Tracker, followers};
pub use desired::{
    DesiredChange, DesiredState, HOLD_MAX, HaproxyProcess, ObservedProcess, desired_after,
};
pub use entity::{
    BackendKey, FetchStatus, HaproxyBackend, HaproxyInstance, HaproxyInstanceKey, HaproxyServer,
    HaproxyServerKey, ObservedServer,
};
pub use mapping::{
    ActiveMapping, MappingAction, MappingBasis, MappingCandidate, MappingHold, ServerMapping,
    Unmappable, find_applications,
};
pub use summary::{HaproxyCounts, InstanceBreaker, ServerCounts, ShortBackend};
pub use word::{Health, ServerWord, Shown};
