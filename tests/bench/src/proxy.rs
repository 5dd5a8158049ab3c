//! A PostgreSQL server further away: a TCP proxy that holds back what clients send, and counts it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Larger than any request of the measurement, so that a request is held back once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What clients asked for so far, read off the wire: nothing a driver does on the side is missed.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    statements: AtomicU64,
}

impl Traffic {
    /// How many statements were executed, `BEGIN` and the like included.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

/// A running proxy; it ends with the process.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What went through it.
    pub(crate) traffic: Arc<Traffic>,
}

/// Starts a proxy on loopback for the server behind `socket`. It holds each chunk from a client for
/// `delay`, so that a round trip takes that much longer; answers pass at once.
///
/// Threads, because the timers of an async runtime are a millisecond coarse.
pub(crate) fn start(socket: &Path, delay: Duration) -> Result<Proxy> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for the proxy")?;
    let address = listener.local_addr().context("the proxy has no address")?;
    let traffic = Arc::new(Traffic::default());
    let counted = Arc::clone(&traffic);
    let socket = socket.to_path_buf();
    thread::spawn(move || {
        for client in listener.incoming().filter_map(Result::ok) {
            let (socket, traffic) = (socket.clone(), Arc::clone(&counted));
            // A connection that breaks shows itself at the client.
            thread::spawn(move || relay(client, &socket, delay, &traffic).is_ok());
        }
    });
    Ok(Proxy { address, traffic })
}

fn relay(
    client: TcpStream,
    socket: &PathBuf,
    delay: Duration,
    traffic: &Traffic,
) -> std::io::Result<()> {
    let server = UnixStream::connect(socket)?;
    client.set_nodelay(true)?;
    let (mut answers, mut asker) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let copied = std::io::copy(&mut answers, &mut asker).is_ok();
        asker.shutdown(Shutdown::Both).is_ok() && copied
    });

    // A line of chunks, each with the time at which it may leave: one does not wait for another.
    let (line, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    let mut to_server = server.try_clone()?;
    thread::spawn(move || {
        for (leaves, chunk) in due {
            thread::sleep(leaves.saturating_duration_since(Instant::now()));
            if to_server.write_all(&chunk).is_err() {
                return;
            }
        }
        // The client is done, and everything it said has arrived.
        let _closed = to_server.shutdown(Shutdown::Write).is_ok();
    });

    let mut messages = Messages::default();
    let mut client = client;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = client.read(&mut buffer)?;
        let chunk = buffer.get(..length).unwrap_or_default().to_vec();
        if chunk.is_empty() {
            return Ok(());
        }
        traffic
            .statements
            .fetch_add(messages.statements_in(&chunk), Ordering::Relaxed);
        if line.send((Instant::now() + delay, chunk)).is_err() {
            return Ok(());
        }
    }
}

/// The messages of one client, cut out of the stream. Protocol 3.0: a type byte and a length that
/// counts itself; the messages before the session begins have no type byte.
#[derive(Debug, Default)]
struct Messages {
    rest: Vec<u8>,
    in_session: bool,
}

impl Messages {
    const PROTOCOL_3: u32 = 196_608;

    /// How many statements the messages that end in this chunk execute.
    fn statements_in(&mut self, chunk: &[u8]) -> u64 {
        self.rest.extend_from_slice(chunk);
        let mut statements = 0;
        while let Some((kind, end)) = self.next_message() {
            statements += u64::from(matches!(kind, Some(b'E' | b'Q')));
            self.rest.drain(..end);
        }
        statements
    }

    /// The kind of the first complete message and where it ends.
    fn next_message(&mut self) -> Option<(Option<u8>, usize)> {
        let start = usize::from(self.in_session);
        let length = usize::try_from(self.number_at(start)?).ok()?;
        let end = start + length.max(4);
        if self.rest.len() < end {
            return None;
        }
        if self.in_session {
            return Some((self.rest.first().copied(), end));
        }
        // Encryption is asked for first and declined; then the session begins.
        self.in_session = self.number_at(4) == Some(Self::PROTOCOL_3);
        Some((None, end))
    }

    fn number_at(&self, at: usize) -> Option<u32> {
        let bytes = self.rest.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn statements_are_counted_across_chunks() {
        let encryption = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
        let startup = [
            12_u32.to_be_bytes(),
            Messages::PROTOCOL_3.to_be_bytes(),
            [0; 4],
        ]
        .concat();
        let asked = [
            message(b'P', b"SELECT"),
            message(b'E', b"portal"),
            message(b'S', b""),
            message(b'Q', b"BEGIN\0"),
        ];
        let stream = [encryption, startup, asked.concat()].concat();
        for size in [1, 3, 7, stream.len()] {
            let mut messages = Messages::default();
            let counted: u64 = stream
                .chunks(size)
                .map(|chunk| messages.statements_in(chunk))
                .sum();
            assert_eq!(counted, 2, "in chunks of {size}");
        }
    }

    #[test]
    fn what_is_sent_arrives_after_the_delay() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server");
        let echo = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (mut client, _) = echo.accept().unwrap();
            let mut other = client.try_clone().unwrap();
            std::io::copy(&mut client, &mut other).unwrap();
        });
        let delay = Duration::from_millis(20);
        let proxy = start(&socket, delay).unwrap();
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let sent = Instant::now();
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        assert!(sent.elapsed() >= delay, "{:?}", sent.elapsed());
    }
}
