//! What the log says of failed and refused requests.
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
#[path = "http/meddler.rs"]
mod meddler;
#[path = "http/world.rs"]
mod world;

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use tracing_subscriber::fmt::MakeWriter;

use crate::faulty::{DRIVER, Mood};
use crate::world::World;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn failures_are_in_the_log_once_and_strangers_do_not_fill_it() {
    a_failing_database_is_in_the_log_once_and_never_in_the_body().await;
    requests_without_a_key_do_not_fill_the_log().await;
}

async fn requests_without_a_key_do_not_fill_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(log.clone());
    let _guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let world = World::new().await;
    for number in 0..300 {
        let path = ["/nowhere", "/api/servers", "/api/nowhere"][number % 3];
        let request = world.request(Method::GET, path, None);
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    let text = log.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    // The holder of a key is in it with each request.
    let request = world.request(Method::GET, "/api/servers?limit=x", Some(Role::Viewer));
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    answer.problem(400, "invalid_query_parameter");
    assert!(log.text().contains("request refused"), "{}", log.text());
}

async fn a_failing_database_is_in_the_log_once_and_never_in_the_body() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone());
    let _guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let world = World::new().await;
    world.keys_mood.be(Mood::Fails);
    let request = world
        .request(Method::GET, "/api/servers?limit=7", Some(Role::Admin))
        .header("x-request-id", "look-here");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    answer.problem(503, "unavailable");

    let text = log.text();
    assert_eq!(text.matches("request failed for now").count(), 1, "{text}");
    assert!(
        text.contains(DRIVER) && text.contains("look-here") && text.contains("/api/servers"),
        "{text}"
    );
    assert!(!text.contains("limit=7"), "the query is in the log: {text}");
    assert!(!text.contains("drv_"), "a key is in the log: {text}");
}
