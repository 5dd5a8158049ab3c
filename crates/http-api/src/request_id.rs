//! The identifier that ties an answer to the log.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::state::Api;

/// The header that brings and returns it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LENGTH_MAX: usize = 64;

/// The identifier of the request at hand.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the caller's identifier if it is 1 to 64 of `A-Z a-z 0-9 . _ -`: anything else could
    /// forge a line of the log.
    fn accept(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let fits = (1..=LENGTH_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }
}

/// Gives every request an identifier and every answer the headers all answers have.
pub(crate) async fn identify(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .and_then(RequestId::accept)
        .unwrap_or_else(|| RequestId((api.options.request_ids)().to_string()));
    let may_be_stored = request.uri().path().starts_with("/docs");
    let echo = HeaderValue::from_str(id.as_str());
    request.extensions_mut().insert(id);

    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(echo) = echo {
        headers.insert(REQUEST_ID, echo);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if !may_be_stored {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_identifiers_are_accepted() {
        for text in ["a", "Build-7_1.2", &"x".repeat(64)] {
            let accepted = RequestId::accept(&HeaderValue::from_str(text).unwrap()).unwrap();
            assert_eq!(accepted.as_str(), text);
        }
        for text in ["", "a b", "a\"b", "a/b", &"x".repeat(65)] {
            assert!(
                RequestId::accept(&HeaderValue::from_str(text).unwrap()).is_none(),
                "{text}"
            );
        }
        assert!(RequestId::accept(&HeaderValue::from_bytes(b"\xff").unwrap()).is_none());
    }
}
