//! A peer that workflows call: it records its callers and answers on command.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// The path.
    pub(crate) path: String,
    /// The idempotency key: the task.
    pub(crate) key: String,
    /// The attempt.
    pub(crate) attempt: u32,
}

/// A peer. It ends with the test.
#[derive(Debug)]
pub(crate) struct Peer {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    answered: Arc<watch::Sender<BTreeSet<(String, u32)>>>,
    _connections: JoinSet<()>,
}

impl Peer {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let answered = Arc::new(watch::Sender::default());
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::clone(&calls), Arc::clone(&answered)));
        Self {
            port,
            calls,
            answered,
            _connections: connections,
        }
    }

    /// Answers requests to `path` in this attempt of their tasks, those that wait already and those to come.
    pub(crate) fn answer(&self, path: &str, attempt: u32) {
        let place = (path.to_owned(), attempt);
        self.answered
            .send_if_modified(|answered| answered.insert(place));
    }

    /// The requests to `path` in this attempt so far.
    pub(crate) fn calls(&self, path: &str, attempt: u32) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter(|call| call.path == path && call.attempt == attempt)
            .cloned()
            .collect()
    }

    /// `count` tasks that call `path`.
    pub(crate) fn tasks(&self, path: &str, count: usize) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        (0..count)
            .map(|number| {
                json!({
                    "key": format!("call{number}"),
                    "kind": "http.request",
                    "payload": {"method": "GET", "url": url},
                })
            })
            .collect()
    }
}

async fn accept(
    listener: TcpListener,
    calls: Arc<Mutex<Vec<Call>>>,
    answered: Arc<watch::Sender<BTreeSet<(String, u32)>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, Arc::clone(&calls), answered.subscribe()));
    }
}

async fn serve(
    mut stream: TcpStream,
    calls: Arc<Mutex<Vec<Call>>>,
    mut answered: watch::Receiver<BTreeSet<(String, u32)>>,
) {
    let Some(call) = hear(&mut stream).await else {
        return;
    };
    calls.lock().unwrap().push(call.clone());
    let place = (call.path, call.attempt);
    if answered
        .wait_for(|answered| answered.contains(&place))
        .await
        .is_err()
    {
        return;
    }
    let body = json!({"attempt": call.attempt}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // Who asked may be gone.
    drop(stream.write_all(answer.as_bytes()).await);
}

async fn hear(stream: &mut TcpStream) -> Option<Call> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next_line().await.ok()??;
    let mut call = Call {
        path: first.split(' ').nth(1)?.to_owned(),
        key: String::new(),
        attempt: 0,
    };
    loop {
        let line = lines.next_line().await.ok()??;
        let Some((name, value)) = line.split_once(':') else {
            return Some(call);
        };
        match name.to_lowercase().as_str() {
            "idempotency-key" => value.trim().clone_into(&mut call.key),
            "x-drover-attempt" => call.attempt = value.trim().parse().ok()?,
            _ => {}
        }
    }
}
