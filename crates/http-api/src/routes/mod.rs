//! The handlers: parse wire into domain, call one use case or view, map the answer back.

pub(crate) mod applications;
pub(crate) mod haproxy;
pub(crate) mod orchestrators;
pub(crate) mod servers;
pub(crate) mod tasks;
