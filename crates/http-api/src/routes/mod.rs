//! The handlers: parse wire into domain, call one use case or view, map the answer back.

pub(crate) mod access;
pub(crate) mod fleet;
pub(crate) mod haproxy;
pub(crate) mod rollout;
pub(crate) mod webhook;
pub(crate) mod workflow;
