//! What callers of each role see of secrets: one rule for every answer and every stream.
//!
//! An admin sees everything. An operator sees documents (payloads, inputs, results) without the values of headers, of
//! members whose names mean a secret, and of what a URL should not show. A viewer sees no documents. What is stored,
//! executed and claimed by workers is never masked.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_domain::access::{Actor, Role};
use drover_domain::secret::{MASK, is_secret_name, without_secrets};

use crate::json::{Map, Value};
use crate::problem::ApiError;

/// Members that hold documents of users.
const DOCUMENTS: [&str; 4] = ["payload", "input", "result", "output"];

/// Headers that describe a message and hold no secret by their nature; of all others the values are hidden.
const PLAIN_HEADERS: [&str; 9] = [
    "accept",
    "content-location",
    "content-type",
    "etag",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "x-request-id",
];

/// How much of secrets a caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Everything.
    Whole,
    /// Documents without the values that look like secrets.
    Named,
    /// No documents, and nothing that looks like a secret.
    Least,
}

impl From<Role> for Sight {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Whole,
            Role::Operator => Self::Named,
            Role::Viewer => Self::Least,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Sight {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Actor>();
        let actor = actor.ok_or_else(|| ApiError::defect("an answer is masked for nobody"))?;
        Ok(actor.role.into())
    }
}

impl Sight {
    /// The JSON `text` as this caller sees it; `None` if it is not JSON.
    pub(crate) fn of(self, text: &str) -> Option<String> {
        if self == Self::Whole {
            return Some(text.to_owned());
        }
        let value = Value::parse_any_depth(text.as_bytes()).ok()?;
        Some(self.shown(value).to_string())
    }

    fn shown(self, value: Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
            Value::String(text) => Value::String(without_secrets(&text).into_owned()),
            Value::Array(values) => {
                Value::Array(values.into_iter().map(|value| self.shown(value)).collect())
            }
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .map(|(name, value)| {
                        let value = self.member(&name, value);
                        (name, value)
                    })
                    .collect::<Map>(),
            ),
        }
    }

    fn member(self, name: &str, value: Value) -> Value {
        if self == Self::Least && DOCUMENTS.contains(&name) && !matches!(value, Value::Null) {
            // The end of an update is a sentence and no document.
            return match value {
                Value::String(text) if name == "result" => self.shown(Value::String(text)),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_) => Value::String(MASK.to_owned()),
            };
        }
        if is_secret_name(name) {
            return hidden(value);
        }
        match value {
            Value::Object(headers) if name.eq_ignore_ascii_case("headers") => Value::Object(
                headers
                    .into_iter()
                    .map(|(name, value)| {
                        let is_plain = PLAIN_HEADERS
                            .iter()
                            .any(|plain| name.eq_ignore_ascii_case(plain));
                        let value = if is_plain {
                            self.shown(value)
                        } else {
                            hidden(value)
                        };
                        (name, value)
                    })
                    .collect::<Map>(),
            ),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => self.shown(value),
        }
    }
}

/// The value with a mask in place of every text and number.
fn hidden(value: Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value,
        Value::Number(_) | Value::String(_) => Value::String(MASK.to_owned()),
        Value::Array(values) => Value::Array(values.into_iter().map(hidden).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(name, value)| (name, hidden(value)))
                .collect::<Map>(),
        ),
    }
}

/// Masks the answer of a route for its caller.
pub(crate) async fn mask(sight: Sight, request: Request, next: Next) -> Response {
    // A worker executes what it claims.
    let path = request.extensions().get::<MatchedPath>();
    let is_claim = path.is_some_and(|path| path.as_str().ends_with("/workers/claim"));
    let response = next.run(request).await;
    let media_type = response.headers().get(header::CONTENT_TYPE);
    let is_json = media_type.is_some_and(|media_type| media_type == "application/json");
    if sight == Sight::Whole || is_claim || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return ApiError::defect("an answer broke off").into_response();
    };
    if bytes.is_empty() {
        return Response::from_parts(parts, Body::empty());
    }
    let shown = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| sight.of(text));
    let Some(shown) = shown else {
        return ApiError::defect("an answer cannot be masked").into_response();
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = r#"{"id":"1","key":"call","kind":"http.request","payload":{"method":"POST","url":"https://u:p@h/a?t=1","headers":{"X-Anything":"h"},"body":{"n":12345678901234567890.10,"password":"p","note":"seen"}},"result":null,"error":{"code":"x","message":"https://h/?sig=1 failed"},"api_token":7}"#;

    #[test]
    fn each_role_sees_its_part() {
        assert_eq!(Sight::Whole.of(TASK).unwrap(), TASK);
        assert_eq!(
            Sight::Named.of(TASK).unwrap(),
            r#"{"id":"1","key":"call","kind":"http.request","payload":{"method":"POST","url":"https://***@h/a?***","headers":{"X-Anything":"***"},"body":{"n":12345678901234567890.10,"password":"***","note":"seen"}},"result":null,"error":{"code":"x","message":"https://h/?*** failed"},"api_token":"***"}"#
        );
        assert_eq!(
            Sight::Least.of(TASK).unwrap(),
            r#"{"id":"1","key":"call","kind":"http.request","payload":"***","result":null,"error":{"code":"x","message":"https://h/?*** failed"},"api_token":"***"}"#
        );
        let update = r#"{"result":"4 done of 4 from https://u:p@h/a"}"#;
        let shown = r#"{"result":"4 done of 4 from https://***@h/a"}"#;
        assert_eq!(Sight::Least.of(update).unwrap(), shown);
        assert_eq!(Sight::Named.of("{"), None);
    }
}
