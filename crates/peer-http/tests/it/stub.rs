//! A peer whose answers are bytes, scripted names, and a task to hand out.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::id::Uuid;
use drover_domain::workflow::run::Outcome;
use drover_domain::workflow::{
    Action, Guarantee, Json, Kind, QueueName, TaskKey, TaskNo, TaskPolicy, WorkflowId,
};
use drover_egress::{AddressPolicy, Cidr};
use drover_peer_http::{KIND, Options, PeerHttp};
use drover_ports::{Assigned, Assignment, Progress, StopReason, TaskHandler as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What a stub sends for a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then nothing more, and the connection stays.
    Stall(Vec<u8>),
    /// The first bytes, then the others again and again as fast as they are taken.
    Forever(Vec<u8>, Vec<u8>),
    /// The first bytes, then a byte of the body in each of these pauses.
    Drip(Vec<u8>, Duration),
    /// These bytes once the test says so, then the connection is closed.
    Later(Arc<Notify>, Vec<u8>),
}

impl Answer {
    /// A complete answer: status, further header lines with their ends, body.
    pub(crate) fn whole(status: u16, lines: &[&str], body: &str) -> Self {
        Self::Bytes(whole(status, lines, body))
    }
}

/// The bytes of a complete answer.
pub(crate) fn whole(status: u16, lines: &[&str], body: &str) -> Vec<u8> {
    let lines = lines.concat();
    let length = body.len();
    format!("HTTP/1.1 {status} Stub\r\nContent-Length: {length}\r\n{lines}Connection: close\r\n\r\n{body}")
        .into_bytes()
}

/// A peer on every address of this machine, and the requests it saw.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    arrived: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// A peer that gives every request this answer.
    pub(crate) async fn says(answer: Answer) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let (list, bell) = (Arc::clone(&seen), Arc::clone(&arrived));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // A client that hung up in the middle is what some tests are about.
                if let Some(request) = request(&mut stream).await {
                    list.lock().unwrap().push(request);
                    bell.notify_one();
                    connections.spawn(send(stream, answer.clone()));
                }
            }
        });
        Self {
            port,
            seen,
            arrived,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://127.0.0.1:{}{rest}", self.port)
    }

    /// The requests so far, as they came.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for the next request.
    pub(crate) async fn arrival(&self) {
        self.arrived.notified().await;
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece).await {
            Ok(length) if length > 0 => bytes.extend_from_slice(&piece[..length]),
            Ok(_) | Err(_) => return None,
        }
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap_or("0").parse().unwrap() {
                return Some(text);
            }
        }
    }
}

async fn send(mut stream: TcpStream, answer: Answer) {
    match answer {
        Answer::Bytes(bytes) => {
            let _gone = stream.write_all(&bytes).await;
        }
        Answer::Stall(bytes) => {
            let _gone = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        Answer::Forever(bytes, again) => {
            let _gone = stream.write_all(&bytes).await;
            while stream.write_all(&again).await.is_ok() {}
        }
        Answer::Drip(bytes, pause) => {
            let _gone = stream.write_all(&bytes).await;
            let mut ticks = tokio::time::interval(pause);
            while stream.write_all(b"x").await.is_ok() {
                ticks.tick().await;
            }
        }
        Answer::Later(notify, bytes) => {
            notify.notified().await;
            let _gone = stream.write_all(&bytes).await;
        }
    }
}

/// A port of this machine without a listener.
pub(crate) async fn nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Names whose answers are scripted: the next look-up gets the next answer, `None` is a failure.
#[derive(Debug)]
pub(crate) struct ScriptedNames(Mutex<VecDeque<Option<Vec<&'static str>>>>);

impl ScriptedNames {
    pub(crate) fn new(answers: &[Option<&[&'static str]>]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.map(<[_]>::to_vec));
        Arc::new(Self(Mutex::new(answers.collect())))
    }
}

impl Resolve for ScriptedNames {
    fn resolve(&self, _: Name) -> Resolving {
        let answer = self.0.lock().unwrap().pop_front().unwrap();
        Box::pin(async move {
            let addresses = answer.ok_or_else(|| io::Error::other("SERVFAIL"))?;
            let addresses = addresses
                .into_iter()
                .map(|address| SocketAddr::new(address.parse().unwrap(), 0));
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Options that open 127.0.0.1 and have short deadlines, long enough for an honest answer on a busy
/// machine.
pub(crate) fn options() -> Options {
    Options {
        policy: AddressPolicy {
            allow: vec![Cidr::parse("127.0.0.1").unwrap()],
            ..AddressPolicy::default()
        },
        connect_timeout: Duration::from_secs(1),
        deadline_max: Duration::from_secs(5),
    }
}

/// Never stops a task, or stops it when the test says so.
#[derive(Debug)]
pub(crate) enum Stop {
    Never,
    AtOnce(StopReason),
    When(Arc<Notify>, StopReason),
}

#[async_trait]
impl Progress for Stop {
    async fn stopped(&self) -> StopReason {
        match self {
            Self::Never => std::future::pending().await,
            Self::AtOnce(reason) => *reason,
            Self::When(notify, reason) => {
                notify.notified().await;
                *reason
            }
        }
    }
}

/// The third attempt of a task with this payload.
pub(crate) fn task(payload: &str) -> Assignment {
    let workflow = WorkflowId::rooted(Uuid::from_u128(0x0190_b3a4_7c00_7000_8000_0000_0000_0000));
    let kind = Kind::parse(KIND).unwrap();
    Assignment {
        task: workflow.task(TaskNo::new(4).unwrap()),
        attempt: 3,
        key: TaskKey::parse("call").unwrap(),
        action: Action::Run,
        kind,
        queue: QueueName::parse("default").unwrap(),
        payload: Json::from_parsed("the payload", payload).unwrap(),
        policy: TaskPolicy::once(Guarantee::G3),
        undoes: None,
        queued_at: Timestamp::from_micros(0),
    }
}

/// How one attempt with this payload ends.
pub(crate) async fn run(handler: &PeerHttp, payload: &str) -> Outcome {
    run_until(handler, payload, &Stop::Never).await
}

/// How one attempt ends that is stopped like this.
pub(crate) async fn run_until(handler: &PeerHttp, payload: &str, stop: &Stop) -> Outcome {
    let task = task(payload);
    let assigned = Assigned {
        task: &task,
        progress: stop,
    };
    handler.run(assigned).await
}

/// How a GET of this URL ends.
pub(crate) async fn get(handler: &PeerHttp, url: &str) -> Outcome {
    run(handler, &format!(r#"{{"method":"GET","url":"{url}"}}"#)).await
}

/// The result of an attempt that has to succeed.
#[track_caller]
pub(crate) fn result(outcome: Outcome) -> String {
    let Outcome::Succeeded { result } = outcome else {
        panic!("no success: {outcome:?}");
    };
    result.as_str().to_owned()
}

/// Code, message and whether to try again of an attempt that has to fail.
#[track_caller]
pub(crate) fn failure(outcome: Outcome) -> (String, String, bool) {
    let Outcome::Failed { error, retryable } = outcome else {
        panic!("no failure: {outcome:?}");
    };
    (error.code, error.message, retryable)
}
