//! What Drover needs from outside: one small trait and one error enum per need. It must not know any adapter.
//!
//! Traits speak the words of the domain; the contract suites of `drover-testkit` hold every implementation to their promises.
//! Start reading at [`TaskQueue`] (what is to be done) and [`PlaybookRunner`] (what does the work).

mod access;
mod actions;
mod agent;
mod clock;
mod fault;
mod fleet;
mod haproxy;
mod history;
mod orchestrators;
mod rollouts;
mod runner;
mod settings;
mod store;
mod webhooks;
mod workflow;

pub use access::AccessKeys;
pub use actions::{ActionFilter, ActionView, HaproxyActions, NewAction, StatusChange};
pub use agent::{AgentAddress, AgentError, AgentGateway, BackendAnswer, NameAnswer};
pub use clock::{Clock, IdSource};
pub use fault::{BoxError, Fault};
pub use fleet::{
    ApplicationColumn, ApplicationFilter, CatalogColumn, FleetEventFilter, FleetSnapshots,
    FleetView, GroupColumn, GroupFilter, InventoryStore, Removal, ServerColumn, ServerFilter,
    ServerRegistry,
};
pub use haproxy::{
    BackendFilter, DoubtfulMapping, HaproxyInstanceFilter, HaproxyMappings, HaproxyServerFilter,
    HaproxyStore, HaproxyView, ManualMapping, MapOutcome, MappingCause, MappingChange, NewMapping,
    UnmappedFilter, UnmappedServer, Unmapping,
};
pub use history::{History, HistoryUpkeep};
pub use orchestrators::{OrchestratorStore, ScanOutcome};
pub use rollouts::{
    Claim, Idempotency, NewRollout, NewRollouts, RolloutStore, RolloutView, RolloutWork, Started,
};
pub use runner::{ArtifactProbe, EventBatch, Place, PlaybookRunner, RunnerError};
pub use settings::{
    ApplicationRegistry, CatalogFilter, CatalogRegistry, GroupRegistry, NamedGroup, Release,
    Settled,
};
pub use store::{Rejection, StoreError, StoreHealth};
pub use webhooks::{
    AddedWebhook, DeliveryFilter, NewDelivery, NoticeSource, Outgoing, Receipt, RotatedSecret,
    SendFailure, Unpublished, WebhookSender, WebhookStore,
};
pub use workflow::{
    Assigned, Assignment, Beat, BrokenSchedule, ClaimRequest, DeadLetter, DeadLetterFilter,
    DefinitionRecord, DefinitionRef, DefinitionStore, DueSchedules, EventFilter, EventLog,
    EventPage, HeldAttempt, ListedSchedule, NewWorkflow, Progress, QueueStats, QueueStore, Report,
    ReportVerdict, RetentionAges, ScheduleStore, StartedWorkflow, StopReason, TaskHandler,
    TaskQueue, TaskRecord, Topic, Upkeep, WakeUps, WatchedClock, WorkflowFilter, WorkflowRecord,
    WorkflowStore, WorkflowUpkeep, WorkflowView,
};
