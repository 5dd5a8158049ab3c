//! Accepted connections: so many at a time, and none that only waits.

use std::future::{Future as _, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections at a time, and so, over HTTP/1, requests at a time. More wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;

/// Longest time between two requests, or from the first byte of a request to the end of its header.
const HEADER_DEADLINE: Duration = Duration::from_secs(15);

/// Longest time a peer may take no byte of an answer.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// A listener that accepts at most [`CONNECTIONS_MAX`] connections at a time.
///
/// `axum::serve` sets no deadline for a header: without one, a peer that sends a byte now and then keeps its
/// connection for ever, and a hundred such peers the whole agent.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
    header_deadline: Duration,
}

impl BoundedListener {
    pub(crate) fn new(inner: TcpListener) -> Self {
        Self {
            inner,
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            header_deadline: HEADER_DEADLINE,
        }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Nobody closes the semaphore; were it closed, nothing more would be accepted.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return pending().await;
        };
        let (stream, peer) = Listener::accept(&mut self.inner).await;
        let stream = BoundedStream {
            stream,
            request: OpenRequest {
                peer,
                answering: Arc::default(),
            },
            header_deadline: self.header_deadline,
            reading: None,
            writing: None,
            _slot: slot,
        };
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that ends by itself when its peer only waits.
#[derive(Debug)]
pub(crate) struct BoundedStream {
    stream: TcpStream,
    request: OpenRequest,
    header_deadline: Duration,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

/// What a connection and its request know of each other: while an answer is being made, the header's deadline rests.
#[derive(Debug, Clone)]
pub(crate) struct OpenRequest {
    peer: SocketAddr,
    answering: Arc<AtomicBool>,
}

impl OpenRequest {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// From now to the drop of the result an answer is being made.
    pub(crate) fn begin(&self) -> Answering {
        self.answering.store(true, Ordering::Release);
        Answering(Arc::clone(&self.answering))
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for OpenRequest {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().request.clone()
    }
}

/// See [`OpenRequest::begin`].
#[derive(Debug)]
pub(crate) struct Answering(Arc<AtomicBool>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
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
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            return Poll::Ready(read);
        }
        if this.request.answering.load(Ordering::Acquire) {
            this.reading = None;
            return Poll::Pending;
        }
        let deadline = this.header_deadline;
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
    /// It is polled here because nothing else need do so: hyper, when it was told before the answer that there is
    /// nothing to read, waits to be woken instead of asking again.
    fn expect_header(&mut self, context: &mut Context<'_>) {
        let end = Instant::now() + self.header_deadline;
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
            header_deadline,
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
}
