//! The port of webhooks.

pub(crate) mod webhooks;
