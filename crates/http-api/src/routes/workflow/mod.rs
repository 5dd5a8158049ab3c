//! Workflows, definitions, queues, schedules and workers.

pub(crate) mod definitions;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod streams;
pub(crate) mod tasks;
pub(crate) mod workers;
pub(crate) mod workflows;
