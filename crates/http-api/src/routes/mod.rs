//! The handlers: parse wire into domain, call one use case or view, map the answer back.

pub(crate) mod access;
pub(crate) mod applications;
pub(crate) mod catalog;
pub(crate) mod definitions;
pub(crate) mod groups;
pub(crate) mod haproxy;
pub(crate) mod haproxy_actions;
pub(crate) mod haproxy_mappings;
pub(crate) mod orchestrators;
pub(crate) mod queues;
pub(crate) mod rollouts;
pub(crate) mod schedules;
pub(crate) mod servers;
pub(crate) mod streams;
pub(crate) mod tasks;
pub(crate) mod webhooks;
pub(crate) mod workers;
pub(crate) mod workflow_tasks;
pub(crate) mod workflows;
