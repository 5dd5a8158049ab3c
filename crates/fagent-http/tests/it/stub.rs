//! A stub agent: a listener whose answers are bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover_fagent_http::{FagentHttp, Options};
use drover_ports::AgentAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The deadline of gateways under test: long enough for an honest answer on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_millis(1_500);

pub(crate) fn gateway() -> FagentHttp {
    FagentHttp::new(Options {
        inventory_deadline: DEADLINE,
        haproxy_deadline: DEADLINE,
    })
    .unwrap()
}

/// What a stub sends for a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then nothing more, and the connection stays.
    Stall(Vec<u8>),
    /// These bytes, then one byte a second.
    Drip(Vec<u8>),
    /// These bytes again and again after a header.
    Forever(Vec<u8>, Vec<u8>),
    /// These bytes, then the connection is reset.
    Reset(Vec<u8>),
}

impl Answer {
    /// A complete answer with a JSON body.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Bytes(
            format!(
                "HTTP/1.0 {status} Stub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
}

/// Stubs that end with the test, and the request lines they saw.
#[derive(Debug, Default)]
pub(crate) struct Stubs {
    tasks: Mutex<JoinSet<()>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stubs {
    /// A stub that answers `answer(path)`.
    pub(crate) async fn start(
        &self,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> AgentAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::clone(&self.seen);
        self.tasks.lock().unwrap().spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that hung up in the middle is what some tests are about.
                if let Some((stream, line)) = request(stream).await {
                    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    seen.lock().unwrap().push(line);
                    connections.spawn(send(stream, answer(&path)));
                }
            }
        });
        at(address)
    }

    /// The request lines so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// An address without a listener.
pub(crate) async fn nobody() -> AgentAddress {
    at(TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap())
}

fn at(address: SocketAddr) -> AgentAddress {
    AgentAddress {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

async fn request(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(length) if length > 0 => head.extend_from_slice(&piece[..length]),
            Ok(_) | Err(_) => return None,
        }
    }
    let text = String::from_utf8(head).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let line = head.lines().next().unwrap_or_default();
    let token = head
        .lines()
        .find_map(|line| line.strip_prefix("authorization: "))
        .map(|token| format!(" {token}"))
        .unwrap_or_default();
    let line = format!("{line}{token}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().unwrap())
    });
    let Some(length) = length.filter(|length| *length > 0) else {
        return Some((stream, line));
    };
    let mut body = body.as_bytes().to_vec();
    while body.len() < length {
        match stream.read(&mut piece).await {
            Ok(length) if length > 0 => body.extend_from_slice(&piece[..length]),
            Ok(_) | Err(_) => return None,
        }
    }
    let body = String::from_utf8(body).unwrap();
    Some((stream, format!("{line} {body}")))
}

async fn send(mut stream: TcpStream, answer: Answer) {
    let (head, tail) = match answer {
        Answer::Bytes(bytes) => (bytes, Tail::Close),
        Answer::Stall(bytes) => (bytes, Tail::Stall),
        Answer::Drip(bytes) => (bytes, Tail::Drip),
        Answer::Forever(bytes, again) => (bytes, Tail::Forever(again)),
        Answer::Reset(bytes) => (bytes, Tail::Reset),
    };
    if stream.write_all(&head).await.is_err() {
        return;
    }
    match tail {
        Tail::Close => {}
        Tail::Stall => std::future::pending().await,
        Tail::Drip => {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            while stream.write_all(b" ").await.is_ok() {
                ticks.tick().await;
            }
        }
        Tail::Forever(again) => while stream.write_all(&again).await.is_ok() {},
        Tail::Reset => stream.set_zero_linger().unwrap(),
    }
}

enum Tail {
    Close,
    Stall,
    Drip,
    Forever(Vec<u8>),
    Reset,
}
