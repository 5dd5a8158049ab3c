//! How much is done at once, for how long, and how much of it one API key gets.
//!
//! The order is: who asks ([`authorize`](crate::auth::authorize)), then the whole body ([`receive`]), then a place to work
//! ([`bound`], [`bound_lasting`]). A body that does not come takes a place among the bodies of its own key and no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest as _, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_usecases::RemoteWorkers;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::{ApiKeyText, Principal};
use crate::code::Code;
use crate::problem::ApiError;
use crate::role;
use crate::state::Api;

/// Places of one kind, of which one API key gets only a part.
#[derive(Debug)]
pub(crate) struct Shares {
    all: Arc<Semaphore>,
    most_each: usize,
    held: Mutex<HashMap<String, usize>>,
}

/// A place of one key. It is free again when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    principal: String,
    _permit: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// All places are taken.
    All,
    /// The key has its share already.
    Own,
}

impl Shares {
    /// `most` places, of which one key gets `numerator / denominator`, and one at least.
    pub(crate) fn new(most: usize, (numerator, denominator): (usize, usize)) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            all: Arc::new(Semaphore::new(most)),
            most_each: (most.min(1 << 20) * numerator / denominator).max(1),
            held: Mutex::default(),
        })
    }

    fn take(self: &Arc<Self>, principal: &Principal) -> Result<Share, Full> {
        let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() else {
            return Err(Full::All);
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(principal.0.clone()).or_default();
        if *count >= self.most_each {
            return Err(Full::Own);
        }
        *count += 1;
        Ok(Share {
            shares: Arc::clone(self),
            principal: principal.0.clone(),
            _permit: permit,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let shares = &self.shares;
        let mut held = shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.principal);
            }
        }
    }
}

impl Full {
    fn refusal(self, what: &str) -> ApiError {
        let detail = match self {
            Self::All => format!("too many {what} at once; try again in a moment"),
            Self::Own => {
                format!("this API key has its share of {what} already; wait for one of them to end")
            }
        };
        ApiError::new(Code::Overloaded, detail)
    }
}

/// Waits for the whole body, so that what follows never waits for the caller.
pub(crate) async fn receive(
    State(api): State<Api>,
    principal: Principal,
    request: Request,
    next: Next,
) -> Response {
    let brings_one = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    if !brings_one || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let most = api.options.body_limit;
    let too_large = || {
        ApiError::new(
            Code::BodyTooLarge,
            format!("the body may have at most {most} bytes"),
        )
    };
    if request.body().size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return too_large().into_response();
    }
    let share = match place_for(&request, &api, &api.bodies, &principal) {
        Ok(share) => share,
        Err(full) => return full.refusal("bodies under way").into_response(),
    };
    let (parts, body) = request.into_parts();
    let arriving = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let bytes = match tokio::time::timeout(api.options.body_timeout, arriving).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(rejection)) => {
            let is_large = rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE;
            let refusal = if is_large {
                too_large()
            } else {
                ApiError::new(Code::MalformedBody, "the body did not arrive whole")
            };
            return refusal.into_response();
        }
        Err(_) => {
            let detail = "the body did not arrive in time; send it again";
            return ApiError::new(Code::BodyTimeout, detail).into_response();
        }
    };
    drop(share);
    next.run(Request::from_parts(parts, Body::from(bytes)))
        .await
}

/// Works on a bounded number of requests at once, each for a bounded time. A request beyond the bound is refused at
/// once: a queue would only hide the overload. Requests that steer have a reserve.
pub(crate) async fn bound(
    State(api): State<Api>,
    principal: Principal,
    request: Request,
    next: Next,
) -> Response {
    let _share = match place_for(&request, &api, &api.permits, &principal) {
        Ok(share) => share,
        Err(full) => return full.refusal("requests").into_response(),
    };
    within(api.options.request_timeout, request, next).await
}

/// A place among `shares`; a request that steers has a reserve besides.
fn place_for(
    request: &Request,
    api: &Api,
    shares: &Arc<Shares>,
    principal: &Principal,
) -> Result<Share, Full> {
    shares.take(principal).or_else(|full| {
        let path = request.extensions().get::<MatchedPath>();
        if path.is_some_and(|path| role::steers(request.method(), path.as_str())) {
            api.steering.take(principal)
        } else {
            Err(full)
        }
    })
}

/// A place among the requests that may last. It is taken until the last copy is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    _share: Arc<Share>,
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

/// Like [`bound`], for requests that may last: streams, and workers that wait for tasks, each with bounds of their own.
/// What follows the head of an answer may take as long as it likes.
pub(crate) async fn bound_lasting(
    State(api): State<Api>,
    principal: Principal,
    mut request: Request,
    next: Next,
) -> Response {
    let (shares, what) = if request.method() == Method::POST {
        (&api.claims, "waiting workers")
    } else {
        (&api.streams, "streams")
    };
    let share = match shares.take(&principal) {
        Ok(share) => share,
        Err(full) => return full.refusal(what).into_response(),
    };
    let place = Place {
        _share: Arc::new(share),
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
    tokio::time::timeout(most, next.run(request))
        .await
        .unwrap_or_else(|_| too_long().into_response())
}

/// The answer to a request whose time is over.
pub(crate) fn too_long() -> ApiError {
    let detail =
        "the request took too long and was given up; whether it had an effect can be looked up";
    ApiError::new(Code::TimedOut, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_gets_its_share_and_others_the_rest() {
        let shares = Shares::new(4, (3, 4));
        let (greedy, other) = (Principal("a".into()), Principal("b".into()));
        let mut held: Vec<Share> = (0..3).map(|_| shares.take(&greedy).unwrap()).collect();
        assert_eq!(shares.take(&greedy).unwrap_err(), Full::Own);
        held.push(shares.take(&other).unwrap());
        assert_eq!(shares.take(&other).unwrap_err(), Full::All);
        held.clear();
        assert!(shares.take(&greedy).is_ok());
        assert!(shares.held.lock().unwrap().is_empty());
    }
}
