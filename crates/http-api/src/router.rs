//! The tree of routes and what surrounds every one of them.

use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::{Router, middleware};
use drover_usecases::Service;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth::{API_KEY, authorize};
use crate::document;
use crate::edge::one_host;
use crate::guard::{bound, bound_lasting, receive};
use crate::mask::mask;
use crate::problem::{method_not_allowed, no_such_route, panicked, render};
use crate::request_id::identify;
use crate::role::PREFIXES;
use crate::state::Api;
use crate::{Options, trace};

/// Everything Drover answers over HTTP but its metrics: the API under `/api/v1` and `/api`,
/// `/livez`, `/readyz`, `/openapi.json` and `/docs`.
pub fn router(service: Service, options: Options) -> Router {
    let api = Api::new(service, options);
    // The last layer is the outermost: first who asks, then the body, then the bound, then the handler.
    let lasting = |routes: OpenApiRouter<Api>| {
        Router::<Api>::from(routes)
            .route_layer(middleware::from_fn_with_state(api.clone(), bound_lasting))
            .route_layer(middleware::from_fn_with_state(api.clone(), receive))
            .route_layer(middleware::from_fn(mask))
            .route_layer(middleware::from_fn_with_state(api.clone(), authorize))
            .layer(DefaultBodyLimit::max(api.options.body_limit))
    };
    let routes = Router::<Api>::from(document::api_routes())
        .route_layer(middleware::from_fn_with_state(api.clone(), bound))
        .route_layer(middleware::from_fn_with_state(api.clone(), receive))
        .route_layer(middleware::from_fn(mask))
        .route_layer(middleware::from_fn_with_state(api.clone(), authorize))
        .layer(DefaultBodyLimit::max(api.options.body_limit))
        .merge(lasting(document::lasting_routes()))
        .merge(lasting(document::socket_routes()));

    let tree = Router::<Api>::from(document::open_routes());
    // The seed has its WebSockets at the root.
    let mut tree = tree.merge(lasting(document::socket_routes()));
    for prefix in PREFIXES {
        tree = tree.nest(prefix, routes.clone());
    }
    let tree = tree
        .merge(SwaggerUi::new("/docs").config(Config::from(document::PATH)))
        .with_state(api.clone());
    surround(tree, &api)
}

/// What every route gets, matched or not. The last layer is the outermost.
pub(crate) fn surround(routes: Router, api: &Api) -> Router {
    trace::describe();
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(one_host))
        .layer(middleware::from_fn(render))
        .layer(middleware::from_fn(trace::measure))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(trace::span)
                .on_request(())
                .on_response(trace::answered)
                .on_failure(()),
        )
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
            API_KEY,
            header::COOKIE,
        ]))
        .layer(middleware::from_fn_with_state(api.clone(), identify))
}
