//! The shapes of requests and answers, and how they come from the domain.
//!
//! Shapes are promises to strangers; the domain makes none. Doc comments here become the
//! descriptions of the OpenAPI document.

mod access;
mod document;
mod fleet;
mod haproxy;
mod rollout;
pub(crate) mod schema;
mod webhook;
mod word;
mod workflow;

pub(crate) use access::keys::{AccessKeyList, IssuedAccessKey, NewAccessKey, NewAccessKeyShape};
pub(crate) use fleet::application::{
    Application, ApplicationParams, FleetEvent, FleetEventParams, VersionChange,
};
pub(crate) use fleet::application_settings::{
    ApplicationEventParams, ApplicationEvents, ApplicationSettings, NewApplicationSettings,
    NewApplicationSettingsShape, application_tag,
};
pub(crate) use fleet::group::{
    ApplicationGroup, CatalogEntry, CatalogParams, ChangeCatalogEntry, ChangeCatalogEntryShape,
    GroupParams, NewApplicationGroup, NewApplicationGroupShape, NewCatalogEntry,
    NewCatalogEntryShape, entry_tag, group_tag,
};
pub(crate) use fleet::server::{
    ChangeServer, NewServer, PatchServer, RefreshReport, Server, ServerParams, server_tag,
};
pub(crate) use haproxy::action::{
    BatchTransactionParams, HaproxyAction, HaproxyActionParams, HaproxyActionResults,
    HaproxyStatusChange, NewHaproxyAction, NewHaproxyActionShape, NewHaproxyActions,
    NewHaproxyActionsShape, TransactionParams,
};
pub(crate) use haproxy::instance::{
    HaproxyBackend, HaproxyBackendParams, HaproxyInstance, HaproxyInstanceParams, HaproxyServer,
    HaproxyServerParams, UnmappedParams,
};
pub(crate) use haproxy::mapping::{
    EndHaproxyMapping, HaproxyMapping, HaproxyMappingChange, HaproxyRemapped, NewHaproxyMapping,
    UnmappedHaproxyServer,
};
pub(crate) use haproxy::summary::{HaproxySummary, ServerHaproxy, SetHaproxyNode};
pub(crate) use rollout::orchestrator::{Orchestrator, ScanReport};
pub(crate) use rollout::order::{NewRollout, RolloutsAccepted};
pub(crate) use rollout::plan::RolloutPlan;
pub(crate) use rollout::rollouts::{Rollout, RolloutDetail, RolloutEvent, RolloutParams};
pub(crate) use rollout::task::{BatchAccepted, Task, TaskDetail};
pub(crate) use webhook::webhooks::{
    ChangeWebhook, ChangeWebhookShape, DeliveryParams, DeliveryStarted, NewSecret, NewWebhook,
    NewWebhookShape, RotateSecret, RotateSecretShape, Webhook, WebhookDelivery, WebhookList,
    WebhookWithSecret, webhook_tag,
};
pub(crate) use workflow::definition::{
    DefinitionKept, NewDefinition, NewDefinitionShape, Version, VersionParams, WorkflowDefinition,
    WorkflowDefinitionDetail,
};
pub(crate) use workflow::event::{
    AfterParams, EventGap, HistoryEvent, LastEventParams, StreamParams, WorkflowEvent,
};
pub(crate) use workflow::queue::{NewLimits, NewLimitsShape, Queue, QueueLimits};
pub(crate) use workflow::schedule::{NewSchedule, NewScheduleShape, Schedule, schedule_tag};
pub(crate) use workflow::task::{
    DeadLetterParams, DeadTask, Redrive, RedriveShape, RedrivenTasks, ResolveTask,
    ResolveTaskShape, WorkflowTask, WorkflowTaskDetail,
};
pub(crate) use workflow::work::refused;
pub(crate) use workflow::worker::{
    AttemptEnd, ClaimTasks, ClaimTasksShape, ClaimedTasks, CompleteTask, CompleteTaskShape,
    FailTask, FailTaskShape, Heartbeat, HeartbeatAnswer, HeartbeatShape, ReportAccepted,
};
pub(crate) use workflow::workflows::{
    CancelWorkflow, NewWorkflow, NewWorkflowShape, SendSignal, Workflow, WorkflowAccepted,
    WorkflowDetail, WorkflowParams, WorkflowState,
};

/// The greatest id: the greatest whole number that every JSON reader keeps exactly.
pub(crate) const ID_MAX: i64 = 9_007_199_254_740_991;

/// The most characters of a name in the fleet.
pub(crate) const NAME_MAX: usize = 255;
