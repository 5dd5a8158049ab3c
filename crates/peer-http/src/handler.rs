//! The handler of the kind `http.request`.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::Guarantee;
use drover_domain::workflow::run::Outcome;
use drover_egress::{
    AddressPolicy, ClientError, GuardedClient, GuardedOptions, Redacted, read_capped,
};
use drover_ports::{Assigned, Assignment, StopReason, TaskHandler};
use reqwest::RequestBuilder;
use reqwest::dns::Resolve;
use reqwest::header::HeaderValue;
use url::Url;

use crate::answer::{self, BODY_BYTES_MAX};
use crate::failure::Failure;
use crate::headers::{ATTEMPT, IDEMPOTENCY_KEY, TASK};
use crate::payload::{Expected, Payload};

/// The name of the kind.
pub const KIND: &str = "http.request";

/// What requests may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which addresses may be called.
    pub policy: AddressPolicy,
    /// The most time to get a connection, TLS included.
    pub connect_timeout: Duration,
    /// The most time for a whole request, from the look-up of the name to the last byte of the answer.
    /// A task with a shorter timeout has that.
    pub deadline_max: Duration,
}

/// Makes the requests of tasks of the kind [`KIND`].
///
/// Each attempt is one request; nothing is repeated and no redirect followed. The guarantee class is G3:
/// at least once, with a stable identifier in the header `Idempotency-Key`. A peer that honours it
/// makes that at most one effect; whether it does is known to the author only.
///
/// # Cancellation
///
/// Dropping the future closes the connection; whether the peer acted is not known. When the process
/// ends, a request that was sent goes on until the engine drops it: its answer shows what it did.
#[derive(Debug, Clone)]
pub struct PeerHttp {
    client: GuardedClient,
    deadline_max: Duration,
}

impl PeerHttp {
    /// A handler that looks names up as this machine does.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when no HTTP client can be made.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let deadline_max = options.deadline_max;
        let client = GuardedClient::new(guarded(options))?;
        Ok(Self {
            client,
            deadline_max,
        })
    }

    /// A handler that looks names up in `names`; their addresses are checked all the same.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_names(options: Options, names: Arc<dyn Resolve>) -> Result<Self, ClientError> {
        let deadline_max = options.deadline_max;
        let client = GuardedClient::with_names(guarded(options), names)?;
        Ok(Self {
            client,
            deadline_max,
        })
    }

    fn call(&self, task: &Assignment) -> Result<Call, Failure> {
        let payload = Payload::read(task.payload.as_str())?;
        let name = format!("{} {}", payload.method, Redacted(&payload.url));
        let mut request = self
            .client
            .request(payload.method, payload.url.clone())?
            .timeout(task.policy.timeout.min(self.deadline_max))
            .headers(payload.headers)
            .header(TASK, task.task.to_string())
            .header(ATTEMPT, HeaderValue::from(task.attempt));
        if payload.idempotency_header {
            request = request.header(IDEMPOTENCY_KEY, task.idempotency_key());
        }
        if let Some(body) = payload.body {
            request = request.body(body);
        }
        Ok(Call {
            name,
            url: payload.url,
            request,
            expected: payload.expected,
        })
    }
}

fn guarded(options: Options) -> GuardedOptions {
    GuardedOptions {
        policy: options.policy,
        connect_timeout: options.connect_timeout,
        // Each request has its own, shorter deadline; this one holds if that is ever forgotten.
        total_timeout: options.deadline_max,
    }
}

#[async_trait]
impl TaskHandler for PeerHttp {
    fn guarantee(&self) -> Guarantee {
        Guarantee::G3
    }

    #[tracing::instrument(name = "peer.request", level = "debug", skip_all, fields(task.id = %assigned.task.task, task.attempt = assigned.task.attempt))]
    async fn run(&self, assigned: Assigned<'_>) -> Outcome {
        let call = match self.call(assigned.task) {
            Ok(call) => call,
            Err(failure) => return failure.into(),
        };
        let mut stopped = assigned.progress.stopped();
        let before = tokio::select! {
            biased;
            reason = &mut stopped => Some(reason),
            () = ready(()) => None,
        };
        match before {
            Some(StopReason::Cancelled) => return Outcome::Cancelled,
            // Nothing was sent: any other worker may.
            Some(StopReason::HandOver) => return Outcome::Released,
            None => {}
        }
        let mut outcome = pin!(call.outcome());
        tokio::select! {
            biased;
            outcome = &mut outcome => outcome,
            reason = stopped => match reason {
                StopReason::Cancelled => Outcome::Cancelled,
                StopReason::HandOver => outcome.await,
            },
        }
    }
}

/// A request that is ready to be sent.
struct Call {
    /// Method and URL, without what may be secret.
    name: String,
    url: Url,
    request: RequestBuilder,
    expected: Expected,
}

impl Call {
    async fn outcome(self) -> Outcome {
        let name = &self.name;
        let response = match self.request.send().await {
            Ok(response) => response,
            Err(error) => return Failure::no_answer(name, error).into(),
        };
        let status = response.status();
        if !self.expected.includes(status) {
            return Failure::status(name, &self.url, status, response.headers()).into();
        }
        let headers = response.headers().clone();
        let body = match read_capped(response, BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(error) => return Failure::no_body(name, &error).into(),
        };
        match answer::result(status, &headers, &body) {
            Some(result) => Outcome::Succeeded { result },
            None => Failure::too_large(name, BODY_BYTES_MAX).into(),
        }
    }
}
