//! Accepted connections: so many at a time, none that only waits, and a place for each caller who asks.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections at a time, and so, over HTTP/1, requests at a time.
const CONNECTIONS_MAX: usize = 128;

/// Longest time from the start of a connection to its first byte.
const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(3);

/// Longest time between two requests, or from the first byte of a request to the end of its header.
const HEADER_DEADLINE: Duration = Duration::from_secs(15);

/// Longest time a peer may take no byte of an answer.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// Pause after a connection that the system could not give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the log says that connections cannot be accepted.
const COMPLAINT_PERIOD: Duration = Duration::from_mins(1);

const WAITING: u8 = 0;
const ANSWERING: u8 = 1;
const EVICTED: u8 = 2;

/// A listener that accepts at most [`CONNECTIONS_MAX`] connections at a time.
///
/// `axum::serve` sets no deadline for a header: without one, a peer that sends a byte now and then keeps its
/// connection for ever. When all places are taken, the connection that has waited longest for a request gives its place
/// to the new one: peers that only connect never keep out a caller who asks.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
    open: Open,
    next: u64,
    deadlines: Deadlines,
    complained: Option<Instant>,
}

/// The open connections, the oldest first.
type Open = Arc<Mutex<BTreeMap<u64, Arc<Shared>>>>;

#[derive(Debug, Clone, Copy)]
struct Deadlines {
    first_byte: Duration,
    header: Duration,
}

impl BoundedListener {
    pub(crate) fn new(inner: TcpListener) -> Self {
        Self {
            inner,
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            open: Open::default(),
            next: 0,
            deadlines: Deadlines {
                first_byte: FIRST_BYTE_DEADLINE,
                header: HEADER_DEADLINE,
            },
            complained: None,
        }
    }

    /// A place for one more connection; waits until the one that gives way is closed. `None` when all are answered.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = || Arc::clone(&self.slots);
        match slots().try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) if self.evict() => slots().acquire_owned().await.ok(),
            Err(_) => None,
        }
    }

    /// Ends the connection that has waited longest; those that never asked come first.
    fn evict(&self) -> bool {
        let open = lock(&self.open);
        let waits = |shared: &&Arc<Shared>| shared.state.load(Ordering::Acquire) == WAITING;
        let never_asked = |shared: &&Arc<Shared>| !shared.has_asked.load(Ordering::Relaxed);
        let mut waiting = open.values().filter(waits);
        let first = waiting.clone().find(never_asked);
        let Some(shared) = first.or_else(|| waiting.next()) else {
            return false;
        };
        let is_ended = shared.turn(WAITING, EVICTED);
        shared.waker.wake();
        is_ended
    }

    fn cannot_accept(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_due = self
            .complained
            .is_none_or(|last| now.duration_since(last) >= COMPLAINT_PERIOD);
        if is_due {
            self.complained = Some(now);
            tracing::error!(
                "no connection can be accepted: {error}; raise the limit of open files (LimitNOFILE of the unit)"
            );
        }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = match self.inner.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_the_peer(&error) => continue,
                Err(error) => {
                    self.cannot_accept(&error);
                    self.evict();
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(slot) = self.slot().await else {
                tracing::warn!(%peer, "a connection was refused: {CONNECTIONS_MAX} requests are being answered");
                continue;
            };
            let shared = Arc::<Shared>::default();
            self.next += 1;
            lock(&self.open).insert(self.next, Arc::clone(&shared));
            let stream = BoundedStream {
                stream,
                request: OpenRequest { peer, shared },
                deadlines: self.deadlines,
                has_read: false,
                reading: None,
                writing: None,
                _place: Place {
                    open: Arc::clone(&self.open),
                    number: self.next,
                    _slot: slot,
                },
            };
            return (stream, peer);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
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

fn lock(open: &Open) -> MutexGuard<'_, BTreeMap<u64, Arc<Shared>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place among the open connections; free again when dropped.
#[derive(Debug)]
struct Place {
    open: Open,
    number: u64,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.number);
    }
}

/// A connection that ends by itself when its peer only waits.
#[derive(Debug)]
pub(crate) struct BoundedStream {
    stream: TcpStream,
    request: OpenRequest,
    deadlines: Deadlines,
    has_read: bool,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

/// What the listener, a connection and its request know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// [`WAITING`] for a request, [`ANSWERING`] one, or [`EVICTED`].
    state: AtomicU8,
    has_asked: AtomicBool,
    waker: AtomicWaker,
}

impl Shared {
    fn turn(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// The request of a connection: while it is answered, the header's deadline rests.
#[derive(Debug, Clone)]
pub(crate) struct OpenRequest {
    peer: SocketAddr,
    shared: Arc<Shared>,
}

impl OpenRequest {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// From now to the drop of the result an answer is being made. `None` when the connection has just lost its place:
    /// then the request must have no effect.
    pub(crate) fn begin(&self) -> Option<Answering> {
        self.shared.has_asked.store(true, Ordering::Relaxed);
        self.shared
            .turn(WAITING, ANSWERING)
            .then(|| Answering(Arc::clone(&self.shared)))
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for OpenRequest {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().request.clone()
    }
}

/// See [`OpenRequest::begin`].
#[derive(Debug)]
pub(crate) struct Answering(Arc<Shared>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.turn(ANSWERING, WAITING);
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shared = &this.request.shared;
        // Before the state is looked at, so that a change in between wakes this task.
        shared.waker.register(context.waker());
        let state = shared.state.load(Ordering::Acquire);
        if state == EVICTED {
            return Poll::Ready(Err(timed_out("the connection gave way to another one")));
        }
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            if !this.has_read {
                this.has_read = true;
                this.reading = None;
            }
            return Poll::Ready(read);
        }
        if state == ANSWERING {
            this.reading = None;
            return Poll::Pending;
        }
        let deadline = if this.has_read {
            this.deadlines.header
        } else {
            this.deadlines.first_byte
        };
        let sleeping = this
            .reading
            .get_or_insert_with(|| Box::pin(sleep(deadline)));
        ready!(sleeping.as_mut().poll(context));
        Poll::Ready(Err(timed_out("no whole request header came in time")))
    }
}

impl BoundedStream {
    /// Lets a write wait for its deadline only, and starts the deadline of the next header once it went through.
    fn bounded_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            self.expect_header(context);
            return written;
        }
        let shared = &self.request.shared;
        shared.waker.register(context.waker());
        if shared.state.load(Ordering::Acquire) == EVICTED {
            return Poll::Ready(Err(timed_out("the connection gave way to another one")));
        }
        let sleeping = self
            .writing
            .get_or_insert_with(|| Box::pin(sleep(WRITE_DEADLINE)));
        ready!(sleeping.as_mut().poll(context));
        Poll::Ready(Err(timed_out(
            "the peer took no byte of the answer in time",
        )))
    }

    /// Starts the deadline of the next header anew.
    ///
    /// It is polled here because nothing else may do so: if hyper got no bytes before the answer, it waits for a wake-up
    /// instead of polling again.
    fn expect_header(&mut self, context: &mut Context<'_>) {
        let end = Instant::now() + self.deadlines.header;
        let sleeping = self
            .reading
            .get_or_insert_with(|| Box::pin(sleep_until(end)));
        sleeping.as_mut().reset(end);
        if sleeping.as_mut().poll(context).is_ready() {
            self.reading = None;
        }
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded_write(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.bounded_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::Router;
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    /// A service with a short header deadline, whose `/slow` takes three times as long.
    async fn serve(header_deadline: Duration, tasks: &mut JoinSet<()>) -> SocketAddr {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let listener = BoundedListener {
            deadlines: Deadlines {
                first_byte: header_deadline / 2,
                header: header_deadline,
            },
            ..BoundedListener::new(inner)
        };
        let slow = move |ConnectInfo(request): ConnectInfo<OpenRequest>| async move {
            let _answering = request.begin();
            timeout(header_deadline * 3, pending::<()>())
                .await
                .unwrap_err()
                .to_string()
        };
        let router = Router::new()
            .route("/slow", get(slow))
            .route("/", get(async || "fast"));
        tasks.spawn(async move {
            axum::serve(
                listener,
                router.into_make_service_with_connect_info::<OpenRequest>(),
            )
            .await
            .unwrap();
        });
        address
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }

    #[tokio::test]
    async fn a_header_that_only_trickles_ends_the_connection() {
        let mut tasks = JoinSet::new();
        let address = serve(Duration::from_millis(300), &mut tasks).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let began = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let trickle = async {
            writer.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            loop {
                ticks.tick().await;
                if writer.write_all(b"x").await.is_err() {
                    pending::<()>().await;
                }
            }
        };
        let mut answer = Vec::new();
        let ended = async {
            reader
                .read_to_end(&mut answer)
                .await
                .map_or(0, |bytes| bytes)
        };
        tokio::select! {
            () = trickle => {}
            bytes = timeout(Duration::from_secs(10), ended) => assert_eq!(bytes.unwrap(), 0),
        }
        assert!(
            began.elapsed() >= Duration::from_millis(300),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test]
    async fn making_an_answer_may_take_longer_than_sending_a_header() {
        let mut tasks = JoinSet::new();
        let address = serve(Duration::from_millis(200), &mut tasks).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("deadline has elapsed"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn an_idle_connection_serves_several_requests_and_then_ends() {
        let mut tasks = JoinSet::new();
        let address = serve(Duration::from_millis(300), &mut tasks).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answers = String::new();
        for number in 1..=3 {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            while answers.matches("fast").count() < number {
                let mut piece = [0; 1024];
                let bytes = timeout(Duration::from_secs(10), stream.read(&mut piece))
                    .await
                    .unwrap()
                    .unwrap();
                answers.push_str(std::str::from_utf8(&piece[..bytes]).unwrap());
            }
        }
        assert_eq!(read_to_end(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_connection_without_a_byte_ends_sooner_than_a_slow_header() {
        let mut tasks = JoinSet::new();
        let deadline = Duration::from_mins(10);
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let listener = BoundedListener {
            deadlines: Deadlines {
                first_byte: Duration::from_millis(200),
                header: deadline,
            },
            ..BoundedListener::new(inner)
        };
        let router = Router::new().route("/", get(async || "fast"));
        let service = router.into_make_service_with_connect_info::<OpenRequest>();
        tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut begun = TcpStream::connect(address).await.unwrap();
        begun.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        assert_eq!(read_to_end(&mut silent).await, "");
        begun
            .write_all(b"a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(&mut begun).await;
        assert!(answer.ends_with("fast"), "{answer}");
    }

    #[tokio::test]
    async fn silent_and_half_begun_connections_keep_no_caller_out() {
        let mut tasks = JoinSet::new();
        let address = serve(Duration::from_mins(10), &mut tasks).await;
        let mut held = Vec::new();
        for number in 0..3 * CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                // An evicted peer may be reset while it writes.
                stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.ok();
            }
            held.push(stream);
            if number % 32 == 31 {
                let mut caller = TcpStream::connect(address).await.unwrap();
                let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                caller.write_all(request).await.unwrap();
                let answer = read_to_end(&mut caller).await;
                assert!(answer.ends_with("fast"), "after {number}: {answer}");
            }
        }
    }

    #[tokio::test]
    async fn a_request_in_hand_keeps_its_place() {
        let mut tasks = JoinSet::new();
        let address = serve(Duration::from_millis(500), &mut tasks).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let request = b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        slow.write_all(request).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = read_to_end(&mut slow).await;
        assert!(answer.ends_with("deadline has elapsed"), "{answer}");
    }
}
