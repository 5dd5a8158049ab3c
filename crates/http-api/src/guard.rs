//! How much is done at once, and for how long.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_usecases::RemoteWorkers;
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::ApiKeyText;
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
    within(api.options.request_timeout, request, next).await
}

/// A place among the requests that may last. It is taken until the last copy is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
    key: Option<ApiKeyText>,
}

impl Place {
    /// The key that the request was let in with; it may be revoked while the request lasts.
    pub(crate) const fn key(&self) -> Option<&ApiKeyText> {
        self.key.as_ref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let place = parts.extensions.get::<Self>().cloned();
        let place = place.map(|place| Self {
            key: parts.extensions.get::<ApiKeyText>().cloned(),
            ..place
        });
        place.ok_or_else(|| ApiError::defect("a stream has no place"))
    }
}

/// Like [`bound`], for requests that may last: streams, and waiting for tasks. They have a bound of
/// their own, so that readers who stay leave room for everybody else. What follows the head of an
/// answer may take as long as it likes.
pub(crate) async fn bound_lasting(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(permit) = Arc::clone(&api.lasting).try_acquire_owned() else {
        return ApiError::new(
            Code::Overloaded,
            "too many streams and waiting workers at once; try again in a moment",
        )
        .into_response();
    };
    let place = Place {
        _permit: Arc::new(permit),
        key: None,
    };
    request.extensions_mut().insert(place.clone());
    let response = within(
        api.options.request_timeout + RemoteWorkers::WAIT_MAX,
        request,
        next,
    )
    .await;
    drop(place);
    response
}

async fn within(most: Duration, request: Request, next: Next) -> Response {
    tokio::time::timeout(most, next.run(request)).await.unwrap_or_else(|_| {
        let detail = "the request took too long and was given up; whether it had an effect can be looked up";
        ApiError::new(Code::TimedOut, detail).into_response()
    })
}
