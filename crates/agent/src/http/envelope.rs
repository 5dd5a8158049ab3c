//! The shapes of an answer.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// A status and a JSON body. The status in an envelope is always the HTTP status.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    status: StatusCode,
    body: Value,
}

impl Reply {
    /// 200 with a document that has no envelope.
    pub(super) fn bare(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body,
        }
    }

    /// A controller's success.
    pub(super) fn success(data: Value) -> Self {
        Self::of(
            StatusCode::OK,
            [
                ("success", true.into()),
                ("status_code", 200.into()),
                ("data", data),
            ],
        )
    }

    /// A controller's success with a sentence about it.
    pub(super) fn told(data: Value, message: String) -> Self {
        let members = [
            ("success", true.into()),
            ("status_code", 200.into()),
            ("data", data),
            ("message", message.into()),
        ];
        Self::of(StatusCode::OK, members)
    }

    /// A controller's failure.
    pub(super) fn failure(status: StatusCode, error: String) -> Self {
        let code = status.as_u16().into();
        Self::of(
            status,
            [
                ("success", false.into()),
                ("status_code", code),
                ("error", error.into()),
            ],
        )
    }

    /// A failure before any controller was reached.
    pub(super) fn router(status: StatusCode, error: String) -> Self {
        Self::of(status, [("error", error.into())])
    }

    fn of(status: StatusCode, members: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let body = members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Self {
            status,
            body: Value::Object(body),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
