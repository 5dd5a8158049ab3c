//! Over real sockets: no wait without an end, no silent peer that keeps others out, no request without a host.

use std::net::SocketAddr;
use std::time::Duration;

use drover_http_api::{EdgeLimits, serve_connections};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// The routes on a real listener; it ends with the test.
struct Edge {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Edge {
    async fn with(limits: EdgeLimits) -> Self {
        let world = World::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_connections(
            listener,
            world.router,
            limits,
            stopped,
            SHORT,
        ));
        Self {
            address,
            _stop: stop,
            _tasks: tasks,
        }
    }

    async fn impatient() -> Self {
        Self::with(EdgeLimits {
            header_timeout: SHORT,
            write_timeout: SHORT,
            ..EdgeLimits::new(16)
        })
        .await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What is answered to these bytes, until the connection is closed.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A connection that is reset is closed, too.
    assert!(read.is_ok(), "the connection is still open");
    String::from_utf8_lossy(&answer).into_owned()
}

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn every_wait_for_a_request_ends() {
    let edge = Edge::impatient().await;
    for begun in [
        &b""[..],
        b"G",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ",
        b"\r\n",
    ] {
        let began = Instant::now();
        let answer = edge.say(begun).await;
        assert!(!answer.contains("200"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(5), "{begun:?}");
    }
    // A kept connection is closed as well.
    let answer = edge.say(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_the_connection() {
    let edge = Edge::impatient().await;
    let mut stream = edge.connect().await;
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n";
    // More answers than the kernel buffers; writing ends when the other side is gone.
    let asked = timeout(PATIENCE, async {
        while stream.write_all(request).await.is_ok() {}
    });
    asked.await.expect("the connection is still open");
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let edge = Edge::with(EdgeLimits::new(16)).await;
    let mut held = Vec::new();
    for number in 0..100 {
        let mut silent = edge.connect().await;
        if number % 3 == 0 {
            // It may have been displaced already.
            silent.write_all(b"GET / HTTP/1.1\r\n").await.ok();
        }
        held.push(silent);
        if number % 10 == 9 {
            let answer = timeout(Duration::from_secs(1), edge.say(LIVEZ)).await;
            let answer = answer.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "after {number}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let edge = Edge::impatient().await;
    for (request, status) in [
        ("GET /livez HTTP/1.1\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: user@a\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a?b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost:\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET /livez HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
    ] {
        let answer = edge.say(request.as_bytes()).await;
        assert_eq!(answer.get(9..12), Some(status), "{request}: {answer}");
        if status == "400" {
            assert!(answer.contains("\"code\":\"invalid_header\""), "{answer}");
        }
    }
}

#[tokio::test]
async fn headers_have_a_size() {
    let edge = Edge::impatient().await;
    let long = "x".repeat(40 * 1024);
    let many = "x: y\r\n".repeat(200);
    for request in [
        format!("GET /livez HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
    ] {
        let answer = edge.say(request.as_bytes()).await;
        assert_eq!(answer.get(9..12), Some("431"), "{answer}");
    }
}
