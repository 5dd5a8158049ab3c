//! What the log says of requests without a key.
//!
//! A program of its own with one test: a subscriber belongs to one thread, but `tracing` remembers for the whole process
//! whether anything listens to a place in the code. Beside tests without a subscriber the lines are missing at random.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests stop the test when the setup is broken"
)]
#![expect(
    dead_code,
    reason = "the world is that of the other tests and can do more than this one needs"
)]

#[path = "http/faulty.rs"]
mod faulty;
#[path = "http/world.rs"]
mod world;
#[path = "http/written.rs"]
mod written;

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;

use crate::world::World;
use crate::written::Log;

#[tokio::test]
async fn strangers_do_not_fill_the_log_and_holders_of_keys_are_in_it() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(log.clone());
    let _guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let world = World::new().await;
    for number in 0..300 {
        let path = ["/nowhere", "/api/servers", "/api/nowhere", "/livez?x=1"][number % 4];
        let request = world.request(Method::GET, path, None);
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert!(
            answer.status.is_client_error() || path.starts_with("/livez"),
            "{answer:?}"
        );
    }
    let text = log.text();
    assert!(text.lines().count() <= 1, "{text}");
    let request = world.request(Method::GET, "/api/servers?limit=x", Some(Role::Viewer));
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    answer.problem(400, "invalid_query_parameter");
    assert!(log.text().contains("request refused"), "{}", log.text());
}
