//! How much is done at once, and for how long.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::code::Code;
use crate::problem::ApiError;
use crate::state::Api;

/// Works on a bounded number of requests at once, each for a bounded time. What comes on top is
/// told so at once: a queue would only hide the overload.
pub(crate) async fn bound(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.permits.try_acquire() else {
        return ApiError::new(
            Code::Overloaded,
            "too many requests at once; try again in a moment",
        )
        .into_response();
    };
    tokio::time::timeout(api.options.request_timeout, next.run(request)).await.unwrap_or_else(|_| {
        let detail = "the request took too long and was given up; whether it had an effect can be looked up";
        ApiError::new(Code::TimedOut, detail).into_response()
    })
}
