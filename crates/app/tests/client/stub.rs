//! A service whose answers a test decides, and the binary that asks it.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A key of the right form.
pub(crate) const KEY: &str = "drv_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The tag of everything that the stub shows.
pub(crate) const TAG: &str = "\"seen\"";

/// What the stub was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// Method and path with its query.
    pub(crate) line: String,
    pub(crate) authorization: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) last_event_id: Option<String>,
    pub(crate) if_match: Option<String>,
    pub(crate) body: Value,
}

/// What a test answers; a text is a stream of events that breaks off after it.
type Answers = dyn Fn(&Asked) -> (u16, Value) + Send + Sync;

#[derive(Clone)]
struct World {
    answers: Arc<Answers>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A stub service that ends with the test.
pub(crate) struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    pub(crate) async fn start(
        answers: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::default();
        let world = World {
            answers: Arc::new(answers),
            asked: Arc::clone(&asked),
        };
        let router = axum::Router::new().fallback(answer).with_state(world);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            asked,
            _tasks: tasks,
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs `drover` with these arguments against this stub, to its end.
    pub(crate) fn drover(&self, arguments: &[&str]) -> Done {
        drover(
            &[("DROVER_URL", &self.url), ("DROVER_API_KEY", KEY)],
            arguments,
        )
    }

    /// The same, with something to read on standard input.
    pub(crate) fn drover_reading(&self, arguments: &[&str], input: &str) -> Done {
        let variables = [("DROVER_URL", self.url.as_str()), ("DROVER_API_KEY", KEY)];
        let mut child = command(&variables, arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap().into()
    }

    /// The same, with this file as standard output.
    pub(crate) fn drover_into(&self, out: File, arguments: &[&str]) -> Done {
        let variables = [("DROVER_URL", self.url.as_str()), ("DROVER_API_KEY", KEY)];
        let mut command = command(&variables, arguments);
        command.stdout(out).output().unwrap().into()
    }

    /// Starts `drover` with these arguments against this stub.
    pub(crate) fn start_drover(&self, arguments: &[&str]) -> Child {
        spawn(
            &[("DROVER_URL", &self.url), ("DROVER_API_KEY", KEY)],
            arguments,
        )
    }
}

async fn answer(
    State(world): State<World>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let asked = Asked {
        line: format!("{method} {uri}"),
        authorization: header("authorization").unwrap_or_default(),
        idempotency_key: header("idempotency-key"),
        last_event_id: header("last-event-id"),
        if_match: header("if-match"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    world.asked.lock().unwrap().push(asked.clone());
    let (status, body) = (world.answers)(&asked);
    let status = StatusCode::from_u16(status).unwrap();
    if let Value::String(events) = body {
        let kind = [(CONTENT_TYPE, "text/event-stream")];
        return (status, kind, events).into_response();
    }
    (status, [(ETAG, TAG)], Json(body)).into_response()
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }

    /// Standard output line by line, blanks made one.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.out
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }
}

/// Starts `drover` with nothing but these variables.
pub(crate) fn spawn(variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    command(variables, arguments).spawn().unwrap()
}

/// Runs `drover` with nothing but these variables, to its end.
pub(crate) fn drover(variables: &[(&str, &str)], arguments: &[&str]) -> Done {
    command(variables, arguments).output().unwrap().into()
}

fn command(variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "these tests are about the binary"
    )]
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
