//! The shapes of requests and answers, and how they come from the domain.
//!
//! Shapes are promises to strangers; the domain makes none. Doc comments here become the
//! descriptions of the OpenAPI document.

mod application;
mod balancer;
mod orchestrator;
pub(crate) mod schema;
mod server;
mod task;
mod update;
mod word;

pub(crate) use application::{
    Application, ApplicationGroup, ApplicationParams, FleetEvent, ServerParams, VersionChange,
};
pub(crate) use balancer::{HaproxyBackend, HaproxyInstance, HaproxyServer};
pub(crate) use orchestrator::{Orchestrator, ScanReport};
pub(crate) use server::{NewServer, RefreshReport, Server};
pub(crate) use task::{Task, TaskDetail, TaskEvent, TaskParams};
pub(crate) use update::{BatchUpdate, UpdateAccepted};

/// The greatest id: the greatest whole number that every JSON reader keeps exactly.
pub(crate) const ID_MAX: i64 = 9_007_199_254_740_991;
