//! What can be chosen about the HTTP side.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_usecases::Stop;
use uuid::Uuid;

/// Bounds of the HTTP side, and where request identifiers come from.
#[derive(Clone)]
pub struct Options {
    /// The largest request body, bytes; a larger one is answered 413.
    pub body_limit: usize,
    /// How long a request body may take to arrive; then 408.
    pub body_timeout: Duration,
    /// How long a request may take altogether; then 503.
    pub request_timeout: Duration,
    /// How many API requests are worked on at once; the next one is answered 503 at once. One key gets three quarters of
    /// them, and a quarter as many bodies that are still arriving.
    pub concurrency: usize,
    /// How many streams are open at once, and how many workers wait for tasks; the next one is answered 503 at once. One
    /// key gets a quarter of the streams and three quarters of the waits.
    pub lasting: usize,
    /// How long a stream is silent before it gives a sign of life.
    pub stream_heartbeat: Duration,
    /// Signals that the process is about to end: streams and waiting claims then end.
    pub stop: Option<Stop>,
    /// How long `/readyz` waits for the database; then 503.
    pub readiness_timeout: Duration,
    /// Draws the identifier of a request that brings none.
    pub request_ids: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl Options {
    /// The default bounds: bodies of 1 MiB within 10 s, 30 s a request, 256 requests at once,
    /// 1,024 streams and as many waiting workers, a sign of life every 15 s, 2 s for readiness.
    #[must_use]
    pub fn new(request_ids: Arc<dyn Fn() -> Uuid + Send + Sync>) -> Self {
        Self {
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            concurrency: 256,
            lasting: 1_024,
            stream_heartbeat: Duration::from_secs(15),
            stop: None,
            readiness_timeout: Duration::from_secs(2),
            request_ids,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("body_limit", &self.body_limit)
            .field("body_timeout", &self.body_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("concurrency", &self.concurrency)
            .field("lasting", &self.lasting)
            .field("stream_heartbeat", &self.stream_heartbeat)
            .field("readiness_timeout", &self.readiness_timeout)
            .finish_non_exhaustive()
    }
}
