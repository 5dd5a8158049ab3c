//! Webhooks: who is notified, and the deliveries.

mod webhooks;

pub(crate) use webhooks::{DeliveryHandler, run};
pub use webhooks::{StartedDelivery, WebhookError, Webhooks};
