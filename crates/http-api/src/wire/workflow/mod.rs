//! Workflows, definitions, queues, schedules and workers.

pub(crate) mod definition;
pub(crate) mod event;
pub(crate) mod queue;
pub(crate) mod schedule;
pub(crate) mod task;
pub(crate) mod work;
pub(crate) mod worker;
pub(crate) mod workflows;
