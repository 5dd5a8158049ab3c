//! Events as they happen: nothing is lost, nothing comes twice, and everything has an end.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderValue, Method};
use drover_domain::access::Role;
use drover_http_api::Options;
use drover_ports::WorkflowUpkeep as _;
use drover_testkit::engine::EngineSideDoor as _;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tower::ServiceExt as _;

use crate::workflows::{remote, started, waits};
use crate::world::{Answer, World};

const PATH: &str = "/api/v1/events/stream";
const PATIENCE: Duration = Duration::from_secs(10);

/// One server-sent event.
#[derive(Debug, Default, PartialEq)]
struct Told {
    id: Option<String>,
    name: Option<String>,
    data: Option<Value>,
    comment: Option<String>,
    retry: Option<String>,
}

/// A reader of a stream.
struct Reader {
    stream: BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(world: &World, query: &str, last: Option<&str>) -> Self {
        let mut request = world.request(Method::GET, &format!("{PATH}{query}"), Some(Role::Viewer));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("x-accel-buffering"), "no");
        assert_eq!(header("cache-control"), "no-store");
        Self {
            stream: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Option<Told> {
        while !self.text.contains("\n\n") {
            let frame = tokio::time::timeout(PATIENCE, self.stream.next()).await;
            let frame = frame.unwrap()?.unwrap();
            self.text.push_str(std::str::from_utf8(&frame).unwrap());
        }
        let text = std::mem::take(&mut self.text);
        let (block, rest) = text.split_once("\n\n").unwrap();
        let mut told = Told::default();
        for line in block.lines() {
            let (field, value) = line.split_once(": ").unwrap_or((line, ""));
            let value = value.to_owned();
            match field {
                "id" => told.id = Some(value),
                "event" => told.name = Some(value),
                "data" => told.data = Some(serde_json::from_str(&value).unwrap()),
                "retry" => told.retry = Some(value),
                "" => told.comment = Some(value),
                other => unreachable!("the field {other}"),
            }
        }
        self.text.push_str(rest);
        Some(told)
    }

    /// The next `count` events, without what only keeps the connection alive.
    async fn events(&mut self, count: usize) -> Vec<Told> {
        let mut events = Vec::new();
        while events.len() < count {
            let told = self.next().await.unwrap();
            if told.data.is_some() {
                events.push(told);
            }
        }
        events
    }
}

fn words(events: &[Told]) -> Vec<&str> {
    let data = events.iter().map(|told| told.data.as_ref().unwrap());
    data.map(|data| data["event"].as_str().unwrap()).collect()
}

/// Ends a workflow of one task that waits for a signal.
async fn finish(world: &World, address: &str) {
    world
        .post(&format!("{address}/signals/go"), Value::Null)
        .await
        .ok(200);
}

fn id_of(address: &str) -> &str {
    address.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_stream_tells_what_happens_in_its_order() {
    let world = World::new().await;
    let mut reader = Reader::open(&world, "", None).await;
    let first = reader.next().await.unwrap();
    assert_eq!(first.retry.as_deref(), Some("3000"));
    assert!(first.id.is_some() && first.data.is_none(), "{first:?}");

    let address = started(&world, json!([waits("a", &[])])).await;
    finish(&world, &address).await;
    let events = reader.events(6).await;
    assert_eq!(
        words(&events),
        [
            "workflow_created",
            "workflow_started",
            "task_waiting",
            "signal_received",
            "task_completed",
            "workflow_completed"
        ]
    );
    let data = events[2].data.clone().unwrap();
    let task = world.get(&format!("{address}/tasks")).await.json()["items"][0]["id"].clone();
    let expected = json!({
        "position": events[2].id, "at": data["at"], "event": "task_waiting", "workflow_id": id_of(&address),
        "task_id": task, "task_key": "a", "attempt": data["attempt"], "detail": null,
    });
    assert_eq!(data, expected);

    let history = world.get(&format!("{address}/history")).await.json();
    let positions: Vec<Value> = events.iter().map(|told| json!(told.id)).collect();
    let kept: Vec<Value> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["position"].clone())
        .collect();
    assert_eq!(positions, kept, "a history is continued by a stream");
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_and_sees_nothing_twice() {
    let world = World::new().await;
    let mut seen = Vec::new();
    let mut last: Option<String> = None;
    // Longer than a page, and cut off again and again while it grows.
    for round in 1..=40_usize {
        for _ in 0..3 {
            let address = started(&world, json!([waits("a", &[])])).await;
            finish(&world, &address).await;
        }
        let mut reader = Reader::open(&world, "?after=0-0", last.as_deref()).await;
        for told in reader.events(round % 7).await {
            last = told.id.clone();
            seen.push(told.id.unwrap());
        }
    }
    let mut reader = Reader::open(&world, "", last.as_deref()).await;
    let rest = 40 * 3 * 6 - seen.len();
    seen.extend(
        reader
            .events(rest)
            .await
            .into_iter()
            .map(|told| told.id.unwrap()),
    );

    let mut reader = Reader::open(&world, "?after=0-0", None).await;
    let all = reader.events(40 * 3 * 6).await.into_iter();
    let all: Vec<String> = all.map(|told| told.id.unwrap()).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn whoever_is_cut_off_before_the_first_event_comes_back_to_where_it_began() {
    let world = World::new().await;
    let address = started(&world, json!([waits("a", &[])])).await;
    let begun = Reader::open(&world, "", None).await.next().await.unwrap();
    finish(&world, &address).await;
    let mut reader = Reader::open(&world, "", begun.id.as_deref()).await;
    let events = reader.events(3).await;
    assert_eq!(
        words(&events),
        ["signal_received", "task_completed", "workflow_completed"]
    );
}

#[tokio::test]
async fn a_stream_can_be_about_one_workflow() {
    let world = World::new().await;
    let one = started(&world, json!([waits("a", &[])])).await;
    let other = started(&world, json!([waits("a", &[])])).await;
    let query = format!("?after=0-0&workflow_id={}", id_of(&other));
    let mut reader = Reader::open(&world, &query, None).await;
    finish(&world, &one).await;
    finish(&world, &other).await;
    for told in reader.events(6).await {
        assert_eq!(told.data.unwrap()["workflow_id"], id_of(&other));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_gives_signs_of_life() {
    let world = World::new().await;
    let mut reader = Reader::open(&world, "", None).await;
    let first = reader.next().await.unwrap();
    let begun = tokio::time::Instant::now();
    let frame = tokio::time::timeout(Duration::from_secs(20), reader.stream.next()).await;
    let text = frame.unwrap().unwrap().unwrap();
    assert!(text.starts_with(b": "), "{text:?}");
    assert_eq!(begun.elapsed().as_secs(), 15);
    reader.text = String::from_utf8(text.to_vec()).unwrap();
    let told = reader.next().await.unwrap();
    assert_eq!(told.id, first.id);
}

#[tokio::test]
async fn what_retention_has_removed_is_told_as_a_gap() {
    let world = World::new().await;
    let address = started(&world, json!([waits("a", &[])])).await;
    finish(&world, &address).await;
    let day = Duration::from_hours(24);
    let id = id_of(&address).parse().unwrap();
    world.store.end_earlier(id, day * 2).await;
    assert_eq!(world.store.prune(&day.into(), 10).await.unwrap(), 1);
    started(&world, json!([waits("a", &[])])).await;

    let mut reader = Reader::open(&world, "?after=0-1", None).await;
    let events = reader.events(2).await;
    assert_eq!(events[0].name.as_deref(), Some("gap"));
    assert_eq!(
        events[0].data,
        Some(json!({ "event": "gap", "after": "0-1" }))
    );
    assert_eq!(words(&events[1..]), ["workflow_created"]);
    let again = events[1].id.as_deref();
    let mut reader = Reader::open(&world, "", again).await;
    assert_eq!(words(&reader.events(1).await), ["workflow_started"]);
}

#[tokio::test]
async fn a_stream_that_cannot_begin_is_a_problem() {
    let world = World::new().await;
    for after in ["x", "1", "1-2-3", "-1-0", "99999999999999999999-0", ""] {
        for path in [PATH, "/api/ws/tasks/stream", "/ws/tasks/stream"] {
            world
                .get(&format!("{path}?after={after}"))
                .await
                .problem(400, "invalid_query_parameter");
        }
    }
    for path in [PATH, "/api/ws/tasks/stream", "/ws/tasks/stream"] {
        world
            .get(&format!("{path}?topic=x"))
            .await
            .problem(400, "unknown_query_parameter");
    }
    let request = world
        .request(Method::GET, PATH, Some(Role::Viewer))
        .header("last-event-id", "x");
    let answer: Answer = world.send(request.body(Body::empty()).unwrap()).await;
    answer.problem(400, "invalid_header");
    world
        .get("/ws/tasks/stream")
        .await
        .problem(400, "invalid_header");
}

#[tokio::test]
async fn streams_have_a_bound_of_their_own_and_no_timeout() {
    let world = World::with(|options| Options {
        lasting: 1,
        concurrency: 1,
        request_timeout: Duration::from_millis(20),
        ..options
    })
    .await;
    let mut reader = Reader::open(&world, "", None).await;
    reader.next().await.unwrap();
    world.get(PATH).await.problem(503, "overloaded");
    // Workers have places of their own.
    let claim = json!({ "worker": "w", "queues": ["default"] });
    world.post("/api/v1/workers/claim", claim).await.ok(200);
    tokio::time::timeout(Duration::from_millis(60), reader.stream.next())
        .await
        .unwrap_err();
    // Everybody else has room, and the reader still reads.
    started(&world, json!([remote("a", &[])])).await;
    assert_eq!(reader.events(3).await.len(), 3);
    drop(reader);
    Reader::open(&world, "", None).await.next().await.unwrap();
}

#[tokio::test]
async fn a_process_that_ends_ends_its_streams_and_waits() {
    let (stop, stopped) = watch::channel(false);
    let world = World::with(|options| Options {
        stop: Some(stopped),
        ..options
    })
    .await;
    let mut reader = Reader::open(&world, "", None).await;
    reader.next().await.unwrap();
    let claim = json!({ "worker": "w", "queues": ["default"], "wait_s": 30 });
    let waits = world.post("/api/v1/workers/claim", claim);
    let ends = async {
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>())
            .await
            .unwrap_err();
        stop.send(true).unwrap();
    };
    let (claimed, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(waits, ends) })
        .await
        .unwrap();
    assert_eq!(claimed.ok(200).json()["tasks"], json!([]));
    assert_eq!(reader.next().await, None);
}

struct Served {
    address: String,
    key: String,
    _server: JoinSet<()>,
}

async fn serve(world: &World) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = JoinSet::new();
    let router = world.router.clone();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served {
        address,
        key: world.key(Role::Viewer).to_owned(),
        _server: server,
    }
}

impl Served {
    async fn socket(
        &self,
        path: &str,
        key: Option<&str>,
    ) -> Result<WebSocketStream<TcpStream>, Error> {
        let mut request = format!("ws://{}{path}", self.address)
            .into_client_request()
            .unwrap();
        if let Some(key) = key {
            let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let stream = TcpStream::connect(&self.address).await.unwrap();
        client_async(request, stream)
            .await
            .map(|(socket, _)| socket)
    }

    async fn open(&self, path: &str) -> WebSocketStream<TcpStream> {
        self.socket(path, Some(&self.key)).await.unwrap()
    }
}

async fn heard(socket: &mut WebSocketStream<TcpStream>) -> Message {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await;
    message.unwrap().unwrap().unwrap()
}

async fn event(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = heard(socket).await {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn a_web_socket_tells_the_same_events() {
    let world = World::new().await;
    let served = serve(&world).await;
    let address = started(&world, json!([waits("a", &[])])).await;
    started(&world, json!([waits("a", &[])])).await;
    let id = id_of(&address);
    for prefix in ["/api/v1", "/api", ""] {
        let mut socket = served
            .open(&format!("{prefix}/ws/workflows/{id}?after=0-0"))
            .await;
        let mut position = String::new();
        for expected in ["workflow_created", "workflow_started", "task_waiting"] {
            let event = event(&mut socket).await;
            assert_eq!(
                (&event["event"], &event["workflow_id"]),
                (&json!(expected), &json!(id))
            );
            position = event["position"].as_str().unwrap().to_owned();
        }
        // Nothing a reader says is heard, but it may say it.
        socket.send(Message::text("hello")).await.unwrap();
        let mut later = served
            .open(&format!("{prefix}/ws/workflows/{id}?after={position}"))
            .await;
        world
            .post(&format!("{address}/signals/other"), Value::Null)
            .await
            .ok(200);
        for socket in [&mut socket, &mut later] {
            assert_eq!(event(socket).await["event"], "signal_received");
        }
        world
            .post(&format!("{address}/pause"), Value::Null)
            .await
            .ok(200);
        assert_eq!(event(&mut later).await["event"], "workflow_paused");
        world
            .post(&format!("{address}/resume"), Value::Null)
            .await
            .ok(200);
        if prefix == "/api/v1" {
            continue;
        }
        drop(socket);
    }
}

#[tokio::test]
async fn a_web_socket_of_tasks_tells_of_tasks_only() {
    let world = World::new().await;
    let served = serve(&world).await;
    let mut socket = served.open("/ws/tasks/stream").await;
    for _ in 0..2 {
        let address = started(&world, json!([waits("a", &[])])).await;
        finish(&world, &address).await;
        for expected in ["task_waiting", "task_completed"] {
            let event = event(&mut socket).await;
            assert_eq!(event["event"], expected);
            assert_eq!(event["task_key"], "a");
        }
    }
}

#[tokio::test]
async fn a_web_socket_asks_for_a_key() {
    let world = World::new().await;
    let served = serve(&world).await;
    for path in [
        "/ws/tasks/stream",
        "/api/ws/tasks/stream",
        "/api/v1/ws/tasks/stream",
    ] {
        for key in [None, Some("drv_nobody")] {
            match served.socket(path, key).await {
                Err(Error::Http(response)) => assert_eq!(response.status(), 401, "{path}"),
                other => unreachable!("{path}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_web_socket_pings_and_says_goodbye() {
    let (stop, stopped) = watch::channel(false);
    let world = World::with(|options| Options {
        stop: Some(stopped),
        stream_heartbeat: Duration::from_millis(50),
        ..options
    })
    .await;
    let served = serve(&world).await;
    let mut socket = served.open("/ws/tasks/stream").await;
    for _ in 0..2 {
        assert!(matches!(heard(&mut socket).await, Message::Ping(_)));
    }
    stop.send(true).unwrap();
    let mut last = heard(&mut socket).await;
    while matches!(last, Message::Ping(_)) {
        last = heard(&mut socket).await;
    }
    assert!(
        matches!(&last, Message::Close(Some(frame)) if u16::from(frame.code) == 1001),
        "{last:?}"
    );
}
