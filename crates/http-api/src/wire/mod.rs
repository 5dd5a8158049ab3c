//! The shapes of requests and answers, and how they come from the domain.
//!
//! Shapes are promises to strangers; the domain makes none. Doc comments here become the
//! descriptions of the OpenAPI document.

mod access;
mod application;
mod application_settings;
mod definition;
mod document;
mod group;
mod haproxy;
mod haproxy_action;
mod haproxy_summary;
mod mapping;
mod new_rollout;
mod orchestrator;
mod plan;
mod queue;
mod rollout;
mod schedule;
pub(crate) mod schema;
mod server;
mod task;
mod webhook;
mod word;
mod work;
mod worker;
mod workflow;
mod workflow_event;
mod workflow_task;

pub(crate) use access::{AccessKeyList, IssuedAccessKey, NewAccessKey, NewAccessKeyShape};
pub(crate) use application::{
    Application, ApplicationParams, FleetEvent, FleetEventParams, VersionChange,
};
pub(crate) use application_settings::{
    ApplicationEventParams, ApplicationEvents, ApplicationSettings, NewApplicationSettings,
    NewApplicationSettingsShape, application_tag,
};
pub(crate) use definition::{
    DefinitionKept, NewDefinition, NewDefinitionShape, Version, VersionParams, WorkflowDefinition,
    WorkflowDefinitionDetail,
};
pub(crate) use group::{
    ApplicationGroup, CatalogEntry, CatalogParams, ChangeCatalogEntry, ChangeCatalogEntryShape,
    GroupParams, NewApplicationGroup, NewApplicationGroupShape, NewCatalogEntry,
    NewCatalogEntryShape, entry_tag, group_tag,
};
pub(crate) use haproxy::{
    HaproxyBackend, HaproxyBackendParams, HaproxyInstance, HaproxyInstanceParams, HaproxyServer,
    HaproxyServerParams, UnmappedParams,
};
pub(crate) use haproxy_action::{
    BatchTransactionParams, HaproxyAction, HaproxyActionParams, HaproxyActionResults,
    HaproxyStatusChange, NewHaproxyAction, NewHaproxyActionShape, NewHaproxyActions,
    NewHaproxyActionsShape, TransactionParams,
};
pub(crate) use haproxy_summary::{HaproxySummary, ServerHaproxy, SetHaproxyNode};
pub(crate) use mapping::{
    EndHaproxyMapping, HaproxyMapping, HaproxyMappingChange, HaproxyRemapped, NewHaproxyMapping,
    UnmappedHaproxyServer,
};
pub(crate) use new_rollout::{NewRollout, RolloutsAccepted};
pub(crate) use orchestrator::{Orchestrator, ScanReport};
pub(crate) use plan::RolloutPlan;
pub(crate) use queue::{NewLimits, NewLimitsShape, Queue, QueueLimits};
pub(crate) use rollout::{Rollout, RolloutDetail, RolloutEvent, RolloutParams};
pub(crate) use schedule::{NewSchedule, NewScheduleShape, Schedule, schedule_tag};
pub(crate) use server::{
    ChangeServer, NewServer, PatchServer, RefreshReport, Server, ServerParams, server_tag,
};
pub(crate) use task::{BatchAccepted, Task, TaskDetail};
pub(crate) use webhook::{
    ChangeWebhook, ChangeWebhookShape, DeliveryParams, DeliveryStarted, NewSecret, NewWebhook,
    NewWebhookShape, RotateSecret, RotateSecretShape, Webhook, WebhookDelivery, WebhookList,
    WebhookWithSecret, webhook_tag,
};
pub(crate) use work::refused;
pub(crate) use worker::{
    AttemptEnd, ClaimTasks, ClaimTasksShape, ClaimedTasks, CompleteTask, CompleteTaskShape,
    FailTask, FailTaskShape, Heartbeat, HeartbeatAnswer, HeartbeatShape, ReportAccepted,
};
pub(crate) use workflow::{
    CancelWorkflow, NewWorkflow, NewWorkflowShape, SendSignal, Workflow, WorkflowAccepted,
    WorkflowDetail, WorkflowParams, WorkflowState,
};
pub(crate) use workflow_event::{
    AfterParams, EventGap, HistoryEvent, LastEventParams, StreamParams, WorkflowEvent,
};
pub(crate) use workflow_task::{
    DeadLetterParams, DeadTask, Redrive, RedriveShape, RedrivenTasks, ResolveTask,
    ResolveTaskShape, WorkflowTask, WorkflowTaskDetail,
};

/// The greatest id: the greatest whole number that every JSON reader keeps exactly.
pub(crate) const ID_MAX: i64 = 9_007_199_254_740_991;
