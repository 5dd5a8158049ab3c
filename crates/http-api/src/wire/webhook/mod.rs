//! Webhooks and their deliveries.

pub(crate) mod webhooks;
