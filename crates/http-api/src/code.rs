//! What can go wrong with a request, in stable words.

use axum::http::StatusCode;

/// What went wrong. Its word, title and status are promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    MalformedBody,
    InvalidQuery,
    UnknownQueryParameter,
    InvalidPath,
    InvalidHeader,
    InvalidCursor,
    CursorMismatch,
    Unauthenticated,
    Forbidden,
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    BodyTimeout,
    AlreadyExists,
    Conflict,
    BelowMinReady,
    PlanStale,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidBody,
    Refused,
    IdempotencyKeyReused,
    Internal,
    DatabaseSetup,
    Unavailable,
    Overloaded,
    TimedOut,
}

impl Code {
    /// The word in `code` and at the end of `type`.
    pub(crate) const fn word(self) -> &'static str {
        self.texts().0
    }

    /// A few words for people.
    pub(crate) const fn title(self) -> &'static str {
        self.texts().1
    }

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::MalformedBody
            | Self::InvalidQuery
            | Self::UnknownQueryParameter
            | Self::InvalidPath
            | Self::InvalidHeader
            | Self::InvalidCursor
            | Self::CursorMismatch => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::AlreadyExists | Self::Conflict | Self::BelowMinReady | Self::PlanStale => {
                StatusCode::CONFLICT
            }
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidBody | Self::Refused | Self::IdempotencyKeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Internal | Self::DatabaseSetup => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Overloaded | Self::TimedOut => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Whether the same request may work later.
    pub(crate) const fn is_retryable(self) -> bool {
        matches!(
            self.status(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT
        )
    }

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::MalformedBody => ("malformed_body", "The body is not JSON"),
            Self::InvalidQuery => ("invalid_query_parameter", "A query parameter is wrong"),
            Self::UnknownQueryParameter => {
                ("unknown_query_parameter", "A query parameter is not known")
            }
            Self::InvalidPath => ("invalid_path_parameter", "The path is wrong"),
            Self::InvalidHeader => ("invalid_header", "A header is wrong"),
            Self::InvalidCursor => ("invalid_cursor", "The cursor is not valid"),
            Self::CursorMismatch => ("cursor_mismatch", "The cursor is of another list"),
            Self::Unauthenticated => ("unauthenticated", "A valid API key is needed"),
            Self::Forbidden => ("forbidden", "The API key's role is too weak"),
            Self::NotFound => ("not_found", "The resource does not exist"),
            Self::NoSuchRoute => ("no_such_route", "There is no such route"),
            Self::MethodNotAllowed => ("method_not_allowed", "The route has no such method"),
            Self::BodyTimeout => ("body_timeout", "The body took too long to arrive"),
            Self::AlreadyExists => ("already_exists", "It already exists"),
            Self::Conflict => ("conflict", "The state of the resource does not allow it"),
            Self::BelowMinReady => (
                "below_min_ready",
                "Too few servers would be left that take requests",
            ),
            Self::PlanStale => ("plan_stale", "What was planned has changed"),
            Self::PreconditionFailed => (
                "precondition_failed",
                "The resource was changed by someone else",
            ),
            Self::BodyTooLarge => ("body_too_large", "The body is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", "The body is of another type"),
            Self::InvalidBody => ("invalid_body", "The body is not valid"),
            Self::Refused => ("refused", "The request cannot be carried out"),
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
            ),
            Self::Internal => ("internal", "Drover has a defect"),
            Self::DatabaseSetup => (
                "database_setup",
                "The database has to be changed by its administrator",
            ),
            Self::Unavailable => ("unavailable", "A dependency is unavailable"),
            Self::Overloaded => ("overloaded", "Too many requests at once"),
            Self::TimedOut => ("timed_out", "The request took too long"),
        }
    }
}
