//! Why a request did not do what it should: a stable code, a sentence, and whether to try again.

use std::error::Error;

use drover_domain::text::visible;
use drover_domain::workflow::run::{Outcome, TaskError};
use drover_egress::{AddressRefused, BodyError, Redacted, refusal};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use crate::payload::PayloadError;

/// The most characters of foreign text or URLs in a sentence.
const WORDS_MAX: usize = 500;

/// Why a request did not do what it should.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
    retryable: bool,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            error: TaskError::new(failure.code, &failure.message),
            retryable: failure.retryable,
        }
    }
}

impl From<PayloadError> for Failure {
    fn from(error: PayloadError) -> Self {
        let PayloadError { pointer, detail } = error;
        let place = if pointer.is_empty() {
            String::new()
        } else {
            format!(" at `{}`", visible(&pointer, WORDS_MAX))
        };
        Self::lasting("bad_payload", format!("the payload{place} {detail}"))
    }
}

impl From<AddressRefused> for Failure {
    fn from(error: AddressRefused) -> Self {
        Self::lasting("address_refused", error.to_string())
    }
}

impl Failure {
    const fn lasting(code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            retryable: false,
        }
    }

    const fn passing(code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            retryable: true,
        }
    }

    /// No answer came. `request` names the request.
    pub(crate) fn no_answer(request: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        if let Some(refused) = refusal(&error) {
            return refused.clone().into();
        }
        if error.is_builder() {
            return Self::lasting("bad_payload", format!("{request} cannot be sent"));
        }
        if error.is_connect() {
            let cause = cause(&error);
            let message = format!("{request} did not reach anybody: {cause}");
            return Self::passing("unreachable", message);
        }
        if error.is_timeout() {
            let message = format!("{request} was not answered in time");
            return Self::passing("timed_out", message);
        }
        let cause = cause(&error);
        let message = format!("{request} was sent, and no answer came: {cause}");
        Self::passing("unreachable", message)
    }

    /// The answer came and its body did not.
    pub(crate) fn no_body(request: &str, error: &BodyError) -> Self {
        match error {
            BodyError::TooLarge { most } => Self::too_large(request, *most),
            BodyError::Encoded => Self::lasting(
                "response_encoded",
                format!("{request} was answered with a compressed body, which was not asked for"),
            ),
            BodyError::Late { received } => Self::passing(
                "timed_out",
                format!(
                    "{request} was answered, and the body did not end in time; {received} bytes came"
                ),
            ),
            BodyError::BrokenOff { received, .. } => Self::passing(
                "unreachable",
                format!("{request} was answered, and the body broke off after {received} bytes"),
            ),
        }
    }

    pub(crate) fn too_large(request: &str, most: usize) -> Self {
        Self::lasting(
            "response_too_large",
            format!("{request} was answered with more than {most} bytes, which are not kept"),
        )
    }

    /// The status is not an expected one.
    pub(crate) fn status(
        request: &str,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Self {
        let number = status.as_u16();
        if [301, 302, 303, 307, 308].contains(&number) {
            let to = target(url, headers);
            let message =
                format!("{request} was redirected{to} (status {number}), which is not followed");
            return Self::lasting("redirected", message);
        }
        let reason = status.canonical_reason().unwrap_or("no standard status");
        let message = format!(
            "{request} was answered with status {number} ({reason}), which is not expected"
        );
        match number {
            500..=599 => Self::passing("status_5xx", message),
            408 | 425 | 429 => Self::passing("status_4xx", message),
            400..=499 => Self::lasting("status_4xx", message),
            300..=399 => Self::lasting("status_3xx", message),
            200..=299 => Self::lasting("status_2xx", message),
            _ => Self::lasting("status_odd", message),
        }
    }
}

/// ` to …`, if the answer says where in a way that can be read.
fn target(url: &Url, headers: &HeaderMap) -> String {
    headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url.join(location).ok())
        .map(|to| format!(" to {}", visible(&Redacted(&to).to_string(), WORDS_MAX)))
        .unwrap_or_default()
}

/// The innermost cause: the one that says what happened.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    visible(&innermost.to_string(), WORDS_MAX)
}
