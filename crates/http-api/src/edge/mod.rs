//! The listener's edge: how many connections there are, and how long one may wait for its peer.
//!
//! HTTP/1.1 only. Every wait of a connection has a deadline: for a whole header (the first byte included), for a body
//! (see `body`), and for the peer to take bytes of an answer. When all places are taken, the connection that has been
//! waiting longest for a request gives its place to the new one, so silent peers never lock anybody out.

mod connections;
mod served;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_usecases::Stop;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::code::Code;
use crate::problem::ApiError;
use crate::throttle::Throttle;
use connections::{Connections, Place};
use served::Served;
use stream::Bounded;

/// The longest wait for a whole header, counted from the connection's start or from the end of the answer before.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time in which a peer takes no byte of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the kernel repeats unacknowledged bytes before it declares the peer gone.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of a request line with its headers.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// The most bytes that are buffered of one connection in each direction.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long accepting rests when the system has no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeLimits {
    /// The most connections at a time.
    pub connections: usize,
    /// The most connections at a time from one address; of IPv6, from one /64 network. Reverse proxies are one address,
    /// so this is a large share of `connections`.
    pub per_address: usize,
    /// The longest wait for a whole header, the first byte included.
    pub header_timeout: Duration,
    /// The longest time in which a peer takes no byte of an answer.
    pub write_timeout: Duration,
}

impl EdgeLimits {
    /// These many connections, half of them from one address, with the default deadlines of 10 s and 20 s.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let connections = connections.max(2);
        Self {
            connections,
            per_address: connections / 2,
            header_timeout: HEADER_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

/// The peer of the connection that brought a request; only requests from a socket have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves `routes` on `listener` until `stop`, then lets open requests end within `grace`.
///
/// A listener that cannot accept is logged once a minute and tried again.
///
/// # Cancellation
///
/// Dropping the future accepts nothing more; requests in hand go on.
pub async fn serve_connections(
    listener: TcpListener,
    routes: Router,
    limits: EdgeLimits,
    mut stop: Stop,
    grace: Duration,
) {
    let connections = Connections::new(limits);
    let tasks = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    let (mut accepting, mut places) = (Throttle::new(), Throttle::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The peer gave up while it waited in the kernel's queue.
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                cannot_accept(&mut accepting, &error);
                // A descriptor of a silent peer becomes free, and the next round takes it.
                connections.evict_oldest();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = connections.place(peer.ip()).await else {
            full(&mut places, limits.connections);
            refuse(&stream);
            continue;
        };
        settle(&stream);
        let stream = Bounded::new(stream, place.clone(), limits.write_timeout);
        let served = Served::new(routes.clone(), peer, place.clone());
        let connection = http
            .serve_connection(TokioIo::new(stream), served)
            .with_upgrades();
        let stop = stop.clone();
        tasks.spawn(drive(connection, place, stop, grace));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Refuses what HTTP/1.1 does not allow: a request without a host, or with several. RFC 9112, 3.2.
pub(crate) async fn one_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let is_allowed = match request.version() {
        Version::HTTP_09 | Version::HTTP_10 => hosts <= 1,
        _ => hosts == 1,
    };
    // Tests call the routes without a connection, and so without a host.
    if request.extensions().get::<Peer>().is_none() {
        return next.run(request).await;
    }
    if is_allowed {
        let host = request.headers().get(header::HOST);
        let host = host.map(|host| host.to_str().unwrap_or("/"));
        if host.is_none_or(is_host) {
            return next.run(request).await;
        }
        let detail = "the header Host is no host name or address with an optional port";
        return ApiError::new(Code::InvalidHeader, detail).into_response();
    }
    let detail = format!("the header Host is given {hosts} times; HTTP/1.1 needs it exactly once");
    ApiError::new(Code::InvalidHeader, detail).into_response()
}

/// Whether a text is a host with an optional port, or empty, which RFC 9110, 7.2 allows.
fn is_host(text: &str) -> bool {
    text.is_empty()
        || Authority::try_from(text)
            .is_ok_and(|found| !found.host().is_empty() && !text.contains('@'))
}

/// Drives one connection to its end, to the loss of its place, or to the end of the service.
async fn drive(
    connection: http1::UpgradeableConnection<TokioIo<Bounded>, Served>,
    place: Place,
    mut stop: Stop,
    grace: Duration,
) {
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = place.lost() => return,
        () = until(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            match timeout(grace, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(
            error = &error as &(dyn std::error::Error + 'static),
            "a connection ended early"
        );
    }
}

fn settle(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(ACKNOWLEDGE_TIMEOUT)));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection keeps the system's own settings");
    }
}

/// Answers that there is no place, as far as the socket takes it at once.
fn refuse(stream: &TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    // Whether it arrives or not, the connection ends.
    socket2::SockRef::from(stream).send(ANSWER).ok();
}

async fn until(stop: &mut Stop) {
    let _sender_is_gone = stop.wait_for(|stop| *stop).await.is_err();
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn cannot_accept(complaint: &mut Throttle, error: &io::Error) {
    if let Some(times) = complaint.due() {
        tracing::error!(
            times,
            "no connection can be accepted ({error}), {times} times since the last such line; raise the limit of open \
             files of the service (LimitNOFILE of its unit)"
        );
    }
}

fn full(complaint: &mut Throttle, most: usize) {
    if let Some(times) = complaint.due() {
        tracing::warn!(
            times,
            "all {most} connections, or those of one address, are in use: {times} were refused since the last such line"
        );
    }
}
