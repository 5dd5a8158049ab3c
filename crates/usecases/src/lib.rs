//! What the service does: one method per wish; the background loops that keep it true.
//!
//! It knows the domain and the ports, never an adapter, HTTP or SQL. The domain decides; here is the order of steps.
//!
//! Start reading at [`Service`] (what can be asked), then [`Background`] (what goes on by itself).

mod access;
mod actions;
mod background;
mod engine;
mod engine_ports;
mod fleet;
mod haproxy;
mod mappings;
mod orchestrators;
mod patience;
mod polling;
mod retention;
mod rollout;
mod servers;
mod service;
mod settings;
mod webhooks;
mod workflows;

pub use access::{Access, AccessError, NewKey, Presented};
pub use actions::{AcceptedAction, ActionError, ActionOrder, Actions};
pub use background::{Background, Stop};
pub use drover_ports::{
    ActionFilter, ActionView, ApplicationColumn, ApplicationFilter, Assignment, BackendFilter,
    Beat, BrokenSchedule, CatalogColumn, CatalogFilter, CatalogRegistry, DeadLetter,
    DeadLetterFilter, DefinitionRecord, DefinitionRef, DeliveryFilter, EventFilter, EventPage,
    Fault, FleetEventFilter, FleetView, GroupColumn, GroupFilter, GroupRegistry,
    HaproxyInstanceFilter, HaproxyMappings, HaproxyServerFilter, HaproxyView, HeldAttempt,
    Idempotency, ListedSchedule, MappingCause, MappingChange, NamedGroup, OrchestratorStore,
    QueueStats, Rejection, Release, Removal, ReportVerdict, RolloutView, ServerColumn,
    ServerFilter, ServerRegistry, Settled, StartedWorkflow, StatusChange, StoreError, StoreHealth,
    TaskRecord, UnmappedFilter, UnmappedServer, WorkflowFilter, WorkflowRecord, WorkflowView,
};
pub use engine::{
    Engine, EngineOptions, EngineOptionsError, EngineStats, Handlers, KindTaken, LastError,
    QueueOptions,
};
pub use engine_ports::EnginePorts;
pub use fleet::{ApplicationDetail, Fleet};
pub use mappings::{HaproxySummary, MapError, Mappings, Remapped};
pub use orchestrators::{Orchestrators, Scan, ScanError};
pub use polling::{PollOutcome, Refreshed};
pub use retention::HistoryAges;
pub use rollout::{Accepted, Plan, RequestError, RolloutOrder, Rollouts, Subject};
pub use servers::{HaproxyNode, Servers};
pub use service::{Policy, Ports, Service, Views};
pub use settings::Settings;
pub use webhooks::{StartedDelivery, WebhookError, Webhooks};
pub use workflows::{
    ClaimOrder, Claimed, DefineError, Defined, Definitions, EventFeed, KindList, KindSpec, Kinds,
    OrderError, OrderPlace, PayloadCheck, PayloadProblem, Performer, Queues, Redriven,
    RemoteWorkers, ScheduleError, ScheduleOrder, Schedules, StartError, StartWhen, TaskOrder,
    WorkOrder, WorkflowDetail, WorkflowOrder, WorkflowSource, Workflows,
};
