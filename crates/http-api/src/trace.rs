//! What the log and the metrics learn of every request.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Span, field};

use crate::auth::Authenticated;
use crate::edge::Peer;
use crate::request_id::RequestId;

const REQUESTS: &str = "drover_http_requests_total";
const DURATION: &str = "drover_http_request_duration_seconds";

/// The route as it stands in the table; unknown routes share one value.
fn route_of(request: &Request) -> &str {
    request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
}

/// Strangers' methods are one bucket too.
const fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The span of a request. Neither query nor headers are in it: they may hold secrets.
pub(crate) fn span(request: &Request) -> Span {
    tracing::info_span!(
        "http.request",
        http.request.method = method_of(request.method()),
        http.route = route_of(request),
        url.path = request.uri().path(),
        request.id = request
            .extensions()
            .get::<RequestId>()
            .map_or("", RequestId::as_str),
        client.address = request
            .extensions()
            .get::<Peer>()
            .map(|Peer(address)| field::display(address.ip())),
        actor = field::Empty,
    )
}

/// The log line of an answer. Successes have the level debug: the use case that changes something
/// logs the change.
pub(crate) fn answered<B>(response: &axum::http::Response<B>, latency: Duration, _: &Span) {
    let status = response.status().as_u16();
    let elapsed_ms = latency.as_secs_f64() * 1_000.0;
    // Refused requests without a key are counted where they are refused.
    let is_stranger = response.extensions().get::<Authenticated>().is_none();
    if status < 400 || (is_stranger && status < 500) {
        tracing::debug!(
            http.response.status_code = status,
            elapsed_ms,
            "answered {status}"
        );
    } else {
        tracing::info!(
            http.response.status_code = status,
            elapsed_ms,
            "answered {status}"
        );
    }
}

/// Says what the metrics mean; before a recorder is installed this does nothing.
pub(crate) fn describe() {
    metrics::describe_counter!(
        REQUESTS,
        "HTTP requests answered, by method, route and status"
    );
    metrics::describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "Time until an HTTP answer begins, by method, route and status"
    );
}

/// Counts every request and how long it took.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let labels = [
        ("method", method_of(request.method()).to_owned()),
        ("route", route_of(&request).to_owned()),
    ];
    let begun = Instant::now();
    let response = next.run(request).await;
    let [method, route] = labels;
    let labels = [
        method,
        route,
        ("status", response.status().as_u16().to_string()),
    ];
    metrics::counter!(REQUESTS, &labels).increment(1);
    metrics::histogram!(DURATION, &labels).record(begun.elapsed().as_secs_f64());
    response
}
