//! What the service does: one method per request, and the background loops.
//!
//! It knows the domain and the ports, never an adapter, HTTP or SQL. The domain decides; here is the order of steps.
//!
//! Start reading at [`Service`] (what can be asked), then [`Background`] (what goes on by itself).

mod access;
mod background;
mod fleet;
mod haproxy;
mod patience;
mod policy;
mod ports;
mod retention;
mod rollout;
mod service;
mod stop;
mod webhook;
mod workflow;

pub use access::{Access, AccessError, NewKey, Presented};
pub use background::Background;
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
pub use fleet::{ApplicationDetail, Fleet, HaproxyNode, PollOutcome, Refreshed, Servers, Settings};
pub use haproxy::{
    AcceptedAction, ActionError, ActionOrder, Actions, HaproxySummary, MapError, Mappings, Remapped,
};
pub use policy::{HistoryAges, Policy};
pub use ports::Ports;
pub use rollout::{
    Accepted, Orchestrators, Plan, RequestError, RolloutOrder, Rollouts, Scan, ScanError, Subject,
};
pub use service::{Service, Views};
pub use stop::Stop;
pub use webhook::{StartedDelivery, WebhookError, Webhooks};
pub use workflow::{
    ClaimOrder, Claimed, DefineError, Defined, Definitions, Engine, EngineOptions,
    EngineOptionsError, EnginePorts, EngineStats, EventFeed, Handlers, KindList, KindSpec,
    KindTaken, Kinds, LastError, OrderError, OrderPlace, PayloadCheck, PayloadProblem, Performer,
    QueueOptions, Queues, Redriven, RemoteWorkers, ScheduleError, ScheduleOrder, Schedules,
    StartError, StartWhen, TaskOrder, WorkOrder, WorkflowDetail, WorkflowOrder, WorkflowSource,
    Workflows,
};
