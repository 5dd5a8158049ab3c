//! The listener for operators: metrics and health.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use drover_usecases::Service;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::Options;
use crate::health::{livez, readyz};
use crate::router::surround;
use crate::state::Api;

/// `/metrics` in Prometheus' text format, `/livez` and `/readyz`, all without a key: this router
/// belongs on a listener that only operators reach.
pub fn admin_router(metrics: PrometheusHandle, service: Service, options: Options) -> Router {
    let api = Api::new(service, options);
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(api.clone())
        .merge(
            Router::new()
                .route("/metrics", get(render))
                .with_state(metrics),
        );
    surround(routes, &api)
}

async fn render(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    // Histograms are drained on rendering anyway; this also drops metrics that went idle.
    metrics.run_upkeep();
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render(),
    )
}
