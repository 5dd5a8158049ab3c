//! The one error of this crate and the one place where it becomes an RFC 9457 problem.

use std::any::Any;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_domain::text::visible;
use drover_usecases::{
    AccessError, ActionError, Fault, MapError, Rejection, RequestError, ScanError, ScheduleError,
    StartError, StoreError, Subject, WebhookError,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Authenticated;
use crate::code::Code;
use crate::request_id::RequestId;
use crate::throttle::Throttle;

/// The media type of every error.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The most complaints one problem lists.
pub(crate) const ERRORS_MAX: usize = 20;

/// The default time after which a request may work again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// One thing that is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Where: a JSON pointer into the body; empty for the body as a whole.
    pub(crate) pointer: String,
    /// What, as a stable word.
    pub(crate) code: &'static str,
    /// What, as a sentence.
    pub(crate) detail: String,
}

/// An error as RFC 9457 describes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A name for this type of problem.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    /// The type of problem in a few words, always the same.
    title: &'static str,
    /// The HTTP status again.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, to what, and what to do.
    detail: String,
    /// The path that was asked for.
    instance: String,
    /// The type of problem as a stable word.
    code: &'static str,
    /// The request's identifier, as in the log.
    request_id: String,
    /// Whether the same request may work later.
    retryable: bool,
    /// What exactly is wrong with the body, at most 20 entries.
    errors: Vec<FieldError>,
}

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    challenge: Option<&'static str>,
    retry_after: Duration,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a request is not answered as asked. It travels in the response's extensions up to
/// [`render`], which alone knows the request's identifier.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Arc<Inner>);

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::build(code, detail.into(), Vec::new(), None, None)
    }

    /// A body that is JSON but not what is expected.
    pub(crate) fn invalid_body(mut errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            [first, ..] => format!(
                "{} ({} more complaints in `errors`)",
                first.detail,
                count - 1
            ),
            [] => "the body is not valid".to_owned(),
        };
        errors.truncate(ERRORS_MAX);
        Self::build(Code::InvalidBody, detail, errors, None, None)
    }

    /// A value of the body that the fleet or the playbooks do not allow.
    pub(crate) fn refused(pointer: &str, detail: String) -> Self {
        let error = FieldError {
            pointer: pointer.to_owned(),
            code: Code::Refused.word(),
            detail: detail.clone(),
        };
        Self::build(Code::Refused, detail, vec![error], None, None)
    }

    /// No, or no valid, API key; `challenge` goes into `WWW-Authenticate`.
    pub(crate) fn unauthenticated(challenge: &'static str, detail: &str) -> Self {
        Self::build(
            Code::Unauthenticated,
            detail.to_owned(),
            Vec::new(),
            Some(challenge),
            None,
        )
    }

    /// Nothing of this kind has this name.
    pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} {name}"))
    }

    /// The problem for a failure, by its fault. Only the text of a permanent one is shown: it is written for users, the others
    /// for operators.
    fn from_fault(fault: Fault, error: impl Error + Send + Sync + 'static) -> Self {
        let (code, detail) = match fault {
            Fault::Transient => (
                Code::Unavailable,
                "something Drover depends on does not answer right now; try again in a moment"
                    .to_owned(),
            ),
            Fault::Permanent => (Code::Conflict, error.to_string()),
            Fault::Defect => (Code::Internal, DEFECT.to_owned()),
        };
        Self::build(code, detail, Vec::new(), None, Some(Box::new(error)))
    }

    /// A promise inside this crate was broken.
    pub(crate) fn defect(what: &'static str) -> Self {
        Self::build(
            Code::Internal,
            DEFECT.to_owned(),
            Vec::new(),
            None,
            Some(what.into()),
        )
    }

    /// Why Drover is not ready, in Drover's own sentence, for operators.
    pub(crate) fn not_ready(error: StoreError) -> Self {
        let detail = error.to_string();
        Self::build(
            Code::Unavailable,
            detail,
            Vec::new(),
            None,
            Some(Box::new(error)),
        )
    }

    fn build(
        code: Code,
        detail: String,
        errors: Vec<FieldError>,
        challenge: Option<&'static str>,
        cause: Option<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            code,
            detail,
            errors,
            challenge,
            retry_after: RETRY_AFTER,
            cause,
        }))
    }

    /// Something that is known to be away, and for how long it will not be asked.
    fn away(detail: String, retry_after: Duration) -> Self {
        Self(Arc::new(Inner {
            code: Code::Unavailable,
            detail,
            errors: Vec::new(),
            challenge: None,
            retry_after,
            cause: None,
        }))
    }

    /// The code and the detail, for an answer about several items. It is logged here.
    pub(crate) fn told(&self) -> (&'static str, String) {
        self.log();
        (self.0.code.word(), self.0.detail.clone())
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    #[cfg(test)]
    pub(crate) fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// Says it once, with all its causes: warn for what passes, error for what must be looked at.
    fn log(&self) {
        let Inner {
            code,
            detail,
            cause,
            ..
        } = &*self.0;
        let chain = cause.as_deref().map(chain_of).unwrap_or_default();
        match (code.status(), code.is_retryable()) {
            (StatusCode::INTERNAL_SERVER_ERROR, _) => {
                tracing::error!(problem.code = code.word(), error.chain = %chain, "request failed: {chain}");
            }
            (_, true) => {
                tracing::warn!(problem.code = code.word(), error.chain = %chain, "request failed for now: {detail}");
            }
            (_, false) => {
                tracing::info!(problem.code = code.word(), error.chain = %chain, "request refused: {detail}");
            }
        }
    }

    /// Counts a refused request without a key; the log has one such line a minute.
    fn count_stranger(&self) {
        static REFUSED: Mutex<Throttle> = Mutex::new(Throttle::new());
        let (code, detail) = (self.0.code.word(), &self.0.detail);
        tracing::debug!(problem.code = code, "request refused: {detail}");
        let due = REFUSED.lock().unwrap_or_else(PoisonError::into_inner).due();
        if let Some(times) = due {
            tracing::info!(
                problem.code = code,
                times,
                "requests without a valid key are refused, {times} since the last such line; the latest: {detail}"
            );
        }
    }

    fn problem(&self, instance: &str, request_id: &str) -> Problem {
        let Inner {
            code,
            detail,
            errors,
            ..
        } = &*self.0;
        Problem {
            kind: format!("urn:drover:problem:{}", code.word()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: detail.clone(),
            instance: instance.to_owned(),
            code: code.word(),
            request_id: request_id.to_owned(),
            retryable: code.is_retryable(),
            errors: errors.clone(),
        }
    }
}

const DEFECT: &str =
    "Drover met something that must not happen; its log tells more under this request id";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::AlreadyExists { .. } => Code::AlreadyExists,
            StoreError::KeyReused { .. } => Code::IdempotencyKeyReused,
            StoreError::Refused { .. } => Code::Conflict,
            StoreError::PositionGone => Code::InvalidCursor,
            // The rest is for operators; a user can change the value, and nothing else.
            StoreError::Rejected {
                why: Rejection::Value(_),
                ..
            } => Code::Refused,
            StoreError::Rejected {
                why: Rejection::Setup(sentence),
                ..
            } => {
                let detail = format!("the database cannot be used for this: {sentence}");
                return Self::build(
                    Code::DatabaseSetup,
                    detail,
                    Vec::new(),
                    None,
                    Some(Box::new(error)),
                );
            }
            StoreError::Stale { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Rejected { .. }
            | StoreError::Unavailable { .. } => {
                return Self::from_fault(error.fault(), error);
            }
        };
        Self::new(code, error.to_string())
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let code = match error {
            ActionError::UnknownServer { server } => {
                return Self::not_found("HAProxy server", server);
            }
            ActionError::BreakerOpen { retry_after, .. } => {
                return Self::away(error.to_string(), retry_after);
            }
            ActionError::Store(source) => return source.into(),
            ActionError::Removed { .. } => Code::Conflict,
            ActionError::Capacity(_) => Code::BelowMinReady,
            ActionError::TransactionReused { .. } => Code::IdempotencyKeyReused,
        };
        Self::new(code, error.to_string())
    }
}

impl From<MapError> for ApiError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::UnknownServer { server } => Self::not_found("HAProxy server", server),
            MapError::UnknownApplication { application } => {
                Self::not_found("application", application)
            }
            MapError::Removed { .. } => Self::new(Code::Conflict, error.to_string()),
            MapError::Store(source) => source.into(),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Unusable { member, reason } => {
                Self::refused(&format!("/{member}"), format!("`{member}` {reason}"))
            }
            AccessError::NoSuchKey { id } => Self::not_found("API key", id),
            AccessError::Store(source) => source.into(),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::UnknownWebhook { webhook } => Self::not_found("webhook", webhook),
            WebhookError::UnknownDelivery { delivery } => Self::not_found("delivery", delivery),
            WebhookError::SwitchedOff { .. } => Self::new(Code::Conflict, error.to_string()),
            WebhookError::Unusable(failure) => Self::new(Code::Refused, failure.reason),
            WebhookError::NoSecret(_) => Self::defect("no secret can be made"),
            WebhookError::Store(source) => source.into(),
        }
    }
}

impl From<ScanError> for ApiError {
    fn from(error: ScanError) -> Self {
        Self::from_fault(error.fault(), error)
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::UnknownApplications { .. } => {
                Self::new(Code::NotFound, error.to_string())
            }
            RequestError::UnknownOrchestrator { .. }
            | RequestError::InactiveOrchestrator { .. } => {
                Self::refused("/orchestrator_playbook", error.to_string())
            }
            RequestError::Refused {
                reason,
                subject: Subject::Applications,
            } => Self::refused("/app_ids", reason),
            RequestError::Refused {
                reason,
                subject: Subject::Orchestrator,
            } => Self::refused("/orchestrator_playbook", reason),
            RequestError::Refused {
                reason,
                subject: Subject::Artifact,
            } => Self::refused("/distr_url", reason),
            RequestError::Stale { .. } => Self::new(Code::PlanStale, error.to_string()),
            RequestError::Unavailable { .. } => Self::from_fault(error.fault(), error),
            RequestError::Store { source } => source.into(),
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(source) => source.into(),
            StartError::Order(_)
            | StartError::UnknownDefinition { .. }
            | StartError::KindGone { .. }
            | StartError::ReservedQueue { .. } => Self::from_fault(error.fault(), error),
        }
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::UnknownDefinition { .. } => {
                Self::refused("/definition", error.to_string())
            }
            ScheduleError::Over { .. } => Self::refused("/cron", error.to_string()),
            ScheduleError::Broken { .. } => Self::new(Code::Conflict, error.to_string()),
            ScheduleError::Store(source) => source.into(),
        }
    }
}

/// Turns every [`ApiError`] on its way out into a problem, and logs it.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    // Only the holder of a key may fill the log.
    let is_stranger = response.extensions().get::<Authenticated>().is_none();
    if is_stranger && error.0.code.status().is_client_error() {
        error.count_stranger();
    } else {
        error.log();
    }

    let problem = error.problem(&instance, id.as_ref().map_or("", RequestId::as_str));
    *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(challenge) = error.0.challenge {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    if error.0.code.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(whole_seconds(error.0.retry_after)),
        );
    }
    response
}

/// At least this long, in whole seconds.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// A panic in one request affects no other request.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that tower-http asks for"
)]
pub(crate) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&'static str>().copied())
        .unwrap_or("no message");
    let cause = format!("panicked: {}", visible(message, 500));
    ApiError::build(
        Code::Internal,
        DEFECT.to_owned(),
        Vec::new(),
        None,
        Some(cause.into()),
    )
    .into_response()
}

/// Every path without a route.
pub(crate) async fn no_such_route() -> ApiError {
    ApiError::new(
        Code::NoSuchRoute,
        "there is no such route; /openapi.json lists all of them, /docs shows them",
    )
}

/// Every route's missing methods; axum adds `Allow`.
pub(crate) async fn method_not_allowed(request: Request) -> ApiError {
    let method = visible(request.method().as_str(), 32);
    ApiError::new(
        Code::MethodNotAllowed,
        format!("this route has no method {method}; the header Allow lists its methods"),
    )
}

fn chain_of(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Writing to a String cannot fail.
        let _infallible = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> StoreError {
        StoreError::Unavailable {
            action: "list servers",
            source: "SELECT * FROM secret at /var/lib/x.db".into(),
        }
    }

    #[test]
    fn a_driver_message_never_reaches_the_body() {
        for error in [
            unavailable(),
            StoreError::Corrupt {
                what: "server",
                name: "7".into(),
                reason: "column secret at /var/lib/x.db".into(),
            },
        ] {
            let problem = ApiError::from(error).problem("/api/servers", "r1");
            let body = serde_json::to_string(&problem).unwrap();
            assert!(
                !body.contains("secret") && !body.contains("/var/lib"),
                "{body}"
            );
        }
    }

    #[test]
    fn the_log_has_the_whole_chain() {
        let error = ScanError::Store {
            source: unavailable(),
        };
        assert_eq!(
            chain_of(&error),
            "the playbooks cannot be stored: the database cannot list servers: SELECT * FROM secret at /var/lib/x.db"
        );
    }

    #[test]
    fn faults_have_their_status() {
        let taken = StoreError::AlreadyExists {
            what: "server",
            name: "web01".into(),
        };
        for (error, status, retryable) in [
            (ApiError::from(unavailable()), 503, true),
            (ApiError::from(taken), 409, false),
            (
                ApiError::from(StoreError::KeyReused { key: "k".into() }),
                422,
                false,
            ),
            (
                ApiError::from(StoreError::Stale {
                    what: "task",
                    name: "t".into(),
                    attempt: 1,
                }),
                409,
                false,
            ),
            (ApiError::defect("x"), 500, false),
        ] {
            let problem = error.problem("/", "r");
            assert_eq!(
                (problem.status, problem.retryable),
                (status, retryable),
                "{}",
                problem.code
            );
        }
    }

    #[test]
    fn a_wait_is_never_told_shorter_than_it_is() {
        for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[test]
    fn many_complaints_are_cut_and_counted() {
        let error = FieldError {
            pointer: "/a".into(),
            code: "unknown_field",
            detail: "no".into(),
        };
        let problem = ApiError::invalid_body(vec![error; 30]).problem("/", "r");
        assert_eq!(problem.errors.len(), ERRORS_MAX);
        assert_eq!(problem.detail, "no (29 more complaints in `errors`)");
    }
}
