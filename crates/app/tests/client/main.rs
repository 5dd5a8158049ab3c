//! The client verbs as users type them: the built binary against a stub service.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test setup should stop the test"
)]

mod errors;
mod haproxy;
mod haproxy_mapping;
mod lists;
mod names;
mod output;
mod queues;
mod service;
mod settings;
mod stub;
mod update;
mod verbs;
mod watch;
mod webhooks;
mod workflows;
