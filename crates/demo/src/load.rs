//! The load: requests through HAProxy at a steady pace, each counted, none repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{Connection, Request, Response};

/// Requests per second that are aimed at.
pub const RATE_PER_S: u32 = 400;

/// Longest time for one request, its connection included.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Every so many requests one comes over a new connection that is closed afterwards.
const NEW_CONNECTION_EVERY: u64 = 10;

/// An idle connection older than this is not used again: HAProxy closes idle ones after 10 seconds, and a request that
/// crosses with the close would look lost.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// Most connections kept open between requests.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// Most requests under way at one time.
const UNDER_WAY_MAX: usize = 512;

/// How many reasons of failed requests are kept.
pub const REASONS_MAX: usize = 10;

/// What became of the requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Requests sent, or tried to be sent.
    pub total: u64,
    /// Requests that did not get the answer of the application within 5 seconds.
    pub failed: u64,
    /// The first reasons, with the milliseconds since the start of the load.
    pub reasons: Vec<String>,
    /// Answers by the version that gave them.
    pub versions: BTreeMap<String, u64>,
}

/// What an answer must be one of.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Names of applications.
    pub names: BTreeSet<String>,
    /// Versions.
    pub versions: BTreeSet<String>,
}

impl Expected {
    /// The version in the answer of the demo application.
    fn check(&self, answer: &Response) -> anyhow::Result<String> {
        let body = answer.body.trim_end();
        anyhow::ensure!(answer.status == 200, "status {} ({body})", answer.status);
        let (name, version) = body
            .split_once(' ')
            .with_context(|| format!("the body is `{body}`"))?;
        let known = self.names.contains(name) && self.versions.contains(version);
        anyhow::ensure!(known, "the body is `{body}`");
        let header = answer.header("x-version").unwrap_or_default();
        anyhow::ensure!(
            header == version,
            "the body is `{body}` but X-Version is `{header}`"
        );
        Ok(version.to_owned())
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tracker: TaskTracker,
    began: Instant,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    expected: Expected,
    began: Instant,
    idle: Mutex<Vec<Connection>>,
    tally: Mutex<Tally>,
}

impl Load {
    /// Begins to send [`RATE_PER_S`] requests each second to `target`, whether or not earlier ones have been answered.
    #[must_use]
    pub fn start(target: SocketAddr, expected: Expected) -> Self {
        let began = Instant::now();
        let load = Self {
            shared: Arc::new(Shared {
                target,
                expected,
                began,
                idle: Mutex::default(),
                tally: Mutex::default(),
            }),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            began,
        };
        let sending = send(
            Arc::clone(&load.shared),
            load.stop.clone(),
            load.tracker.clone(),
        );
        load.tracker.spawn(sending);
        load
    }

    /// How many requests have been answered or have failed by now.
    #[must_use]
    pub fn total(&self) -> u64 {
        lock(&self.shared.tally).total
    }

    /// Stops sending, waits for the answers under way, and returns the outcome of all requests and how long they were
    /// sent for.
    pub async fn finish(self) -> (Tally, Duration) {
        self.stop.cancel();
        let sent_for = self.began.elapsed();
        self.tracker.close();
        self.tracker.wait().await;
        (lock(&self.shared.tally).clone(), sent_for)
    }
}

/// Requests that take long, some under way at any time.
#[derive(Debug)]
pub struct LongLoad {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl LongLoad {
    /// Keeps `count` requests to `target` under way whose answers take `work` each.
    #[must_use]
    pub fn start(target: SocketAddr, expected: Expected, count: usize, work: Duration) -> Self {
        let load = Self {
            shared: Arc::new(Shared {
                target,
                expected,
                began: Instant::now(),
                idle: Mutex::default(),
                tally: Mutex::default(),
            }),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        for place in 0..count {
            let (shared, stop) = (Arc::clone(&load.shared), load.stop.clone());
            load.tracker.spawn(async move {
                // Their ends are spread, so that some have just begun whenever HAProxy is reloaded.
                let spread = work / u32::try_from(count).unwrap_or(1).max(1);
                let mut rest = spread * u32::try_from(place + 1).unwrap_or(1);
                while !stop.is_cancelled() {
                    let at = shared.began.elapsed();
                    let outcome = timeout(rest + REQUEST_LIMIT, shared.long_request(rest)).await;
                    let outcome =
                        outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
                    let outcome =
                        outcome.with_context(|| format!("a request of {} ms", rest.as_millis()));
                    shared.count(at, outcome);
                    rest = work;
                }
            });
        }
        load
    }

    /// Starts no further requests, waits for the answers under way, and returns the outcome of all.
    pub async fn finish(self) -> Tally {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        lock(&self.shared.tally).clone()
    }
}

impl Drop for LongLoad {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn send(shared: Arc<Shared>, stop: CancellationToken, tracker: TaskTracker) {
    let mut ticks = interval(Duration::from_secs(1) / RATE_PER_S);
    // A late tick is made up for: the pace does not depend on how fast the answers come.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    for number in 1_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let shared = Arc::clone(&shared);
        tracker.spawn(async move {
            let at = shared.began.elapsed();
            let outcome = timeout(REQUEST_LIMIT, shared.request(number)).await;
            let outcome = outcome.unwrap_or_else(|_| {
                Err(anyhow::anyhow!(
                    "no answer within {} s",
                    REQUEST_LIMIT.as_secs()
                ))
            });
            shared.count(at, outcome);
            drop(slot);
        });
    }
}

impl Shared {
    /// Sends one request and checks its answer.
    async fn request(&self, number: u64) -> anyhow::Result<String> {
        let close = number.is_multiple_of(NEW_CONNECTION_EVERY);
        let idle = if close { None } else { self.idle_connection() };
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.target).await?,
        };
        let answer = connection
            .exchange(Request {
                close,
                ..Request::get("/")
            })
            .await?;
        let version = self.expected.check(&answer)?;
        if connection.is_reusable() {
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(connection);
            }
        }
        Ok(version)
    }

    /// Sends one request whose answer takes `work`, over a connection of its own.
    async fn long_request(&self, work: Duration) -> anyhow::Result<String> {
        let path = format!("/?work_ms={}", work.as_millis());
        let answer = Connection::open(self.target)
            .await?
            .exchange(Request {
                close: true,
                ..Request::get(&path)
            })
            .await?;
        self.expected.check(&answer)
    }

    /// The connection that was used last, if that is not long ago.
    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|connection| connection.idle_since().elapsed() < IDLE_MAX);
        idle.pop()
    }

    fn count(&self, at: Duration, outcome: anyhow::Result<String>) {
        let mut tally = lock(&self.tally);
        tally.total += 1;
        match outcome {
            Ok(version) => *tally.versions.entry(version).or_default() += 1,
            Err(error) => {
                tally.failed += 1;
                if tally.reasons.len() < REASONS_MAX {
                    tally
                        .reasons
                        .push(format!("at {} ms: {error:#}", at.as_millis()));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;
    use crate::wait::until;

    fn expected() -> Expected {
        Expected {
            names: ["jurws_1".to_owned()].into(),
            versions: ["1.0.0".to_owned(), "1.1.0".to_owned()].into(),
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn load_of(target: SocketAddr, total: u64) -> Tally {
        let load = Load::start(target, expected());
        until(
            "enough requests",
            Duration::from_secs(10),
            Duration::from_millis(5),
            async || {
                anyhow::ensure!(load.total() >= total, "{} requests", load.total());
                Ok(())
            },
        )
        .await
        .unwrap();
        load.finish().await.0
    }

    #[tokio::test]
    async fn good_answers_are_counted_by_version() {
        let (listener, address) = listener().await;
        let router = Router::new().route(
            "/",
            get(|| async { ([("x-version", "1.0.0")], "jurws_1 1.0.0\n") }),
        );
        let tasks = TaskTracker::new();
        let server = tasks.spawn(async move { axum::serve(listener, router).await });
        let tally = load_of(address, 50).await;
        assert_eq!((tally.failed, tally.reasons), (0, Vec::new()));
        assert_eq!(
            tally.versions,
            BTreeMap::from([("1.0.0".to_owned(), tally.total)])
        );
        server.abort();
    }

    #[tokio::test]
    async fn every_bad_answer_is_a_failure_with_its_reason() {
        let (listener, address) = listener().await;
        let router = Router::new().route(
            "/",
            get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "no server") }),
        );
        let tasks = TaskTracker::new();
        let server = tasks.spawn(async move { axum::serve(listener, router).await });
        let tally = load_of(address, 30).await;
        assert_eq!(tally.failed, tally.total);
        assert_eq!(tally.reasons.len(), REASONS_MAX);
        assert!(
            tally.reasons[0].contains("status 503 (no server)"),
            "{:?}",
            tally.reasons
        );
        server.abort();
    }

    #[tokio::test]
    async fn nobody_listening_is_a_failure() {
        let (listener, address) = listener().await;
        drop(listener);
        let tally = load_of(address, 5).await;
        assert_eq!(tally.failed, tally.total);
        assert!(
            tally.reasons[0].contains("cannot connect"),
            "{:?}",
            tally.reasons
        );
    }

    #[test]
    fn an_answer_of_somebody_else_is_not_the_applications() {
        let answer = |status, body: &str, version: &str| Response {
            status,
            headers: vec![("x-version".to_owned(), version.to_owned())],
            body: body.to_owned(),
        };
        assert_eq!(
            expected()
                .check(&answer(200, "jurws_1 1.1.0\n", "1.1.0"))
                .unwrap(),
            "1.1.0"
        );
        for wrong in [
            answer(200, "jurws_1 9.9.9\n", "9.9.9"),
            answer(200, "other 1.0.0\n", "1.0.0"),
            answer(200, "jurws_1 1.0.0\n", "1.1.0"),
            answer(200, "", "1.0.0"),
            answer(404, "jurws_1 1.0.0\n", "1.0.0"),
        ] {
            assert!(expected().check(&wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
