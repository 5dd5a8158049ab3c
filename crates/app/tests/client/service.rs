//! The client against the real service: a started workflow runs, and its events are printed.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use drover_app::Application;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::stub::{Done, KEY, Stub, drover, spawn};

/// A service on SQLite in a folder of its own.
struct Service {
    url: String,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<std::io::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let variables = [
            ("DROVER_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("DROVER_SERVER__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            (
                "DROVER_DATABASE__URL",
                format!("sqlite://{root}/d.sqlite?mode=rwc"),
            ),
            ("DROVER_ANSIBLE__PLAYBOOKS", root.to_string()),
            ("DROVER_ANSIBLE__SPOOL", format!("{root}/spool")),
            ("DROVER_HTTP_REQUEST__ALLOW", "127.0.0.0/8".to_owned()),
            ("DROVER_ACCESS__ADMIN_KEY", KEY.to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let settings = drover_config::load(None, variables).unwrap();
        let application = Application::build(&settings).await.unwrap();
        let url = format!("http://{}", application.address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(application.serve(async move {
            let _stopped = stopped.await.is_err();
        }));
        Self {
            url,
            stop,
            tasks,
            _folder: folder,
        }
    }

    fn drover(&self, arguments: &[&str]) -> Done {
        let variables = [("DROVER_URL", self.url.as_str()), ("DROVER_API_KEY", KEY)];
        drover(&variables, arguments)
    }

    /// Starts a workflow of these tasks; its identifier.
    fn workflow(&self, tasks: &Value) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.json");
        std::fs::write(&path, json!({"name": "w", "tasks": tasks}).to_string()).unwrap();
        let done = self.drover(&["workflows", "start", path.to_str().unwrap()]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.out.trim().to_owned()
    }

    async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_worked_on_and_followed_to_its_end() {
    let peer = Stub::start(|asked| match asked.line.as_str() {
        "POST /down" => (503, json!({})),
        _ => (200, json!({"built": true})),
    })
    .await;
    let service = Service::start().await;
    let request = |path: &str| json!({"method": "POST", "url": format!("{}{path}", peer.url())});
    let id = service.workflow(&json!([
        {"key": "build", "kind": "http.request", "payload": request("/build"),
         "compensation": {"kind": "http.request", "payload": request("/undo")}},
        {"key": "wait", "kind": "timer", "payload": {"seconds": 0.05}, "depends_on": ["build"]},
        {"key": "ask", "kind": "signal.wait", "payload": {"signal": "go"}, "depends_on": ["wait"]},
        {"key": "publish", "kind": "http.request", "payload": request("/down"), "depends_on": ["ask"]},
    ]));
    let sent = service.drover(&["workflows", "signal", &id, "go", "{\"by\": 1}"]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    let done = service.drover(&["workflows", "watch", &id, "--timeout", "60"]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.out.contains("↶ compensated"), "{}", done.out);
    for event in [
        "workflow_created",
        "task_completed      ask",
        "task_failed         publish",
        "workflow_compensated",
    ] {
        assert_eq!(
            done.err.matches(event).count(),
            1,
            "{event} in\n{}",
            done.err
        );
    }
    let asked: Vec<String> = peer.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(asked, ["POST /build", "POST /down", "POST /undo"]);
    let letters = service.drover(&["dead-letters", "list", "-o", "json"]);
    assert_eq!(letters.json()["items"][0]["task"]["key"], "publish");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_does_not_wait_for_its_streams() {
    let service = Service::start().await;
    let id = service.workflow(&json!([
        {"key": "ask", "kind": "signal.wait", "payload": {"signal": "never"}},
    ]));
    let variables = [
        ("DROVER_URL", service.url.as_str()),
        ("DROVER_API_KEY", KEY),
    ];
    let mut watching = spawn(&variables, &["workflows", "watch", &id, "--timeout", "10"]);
    let mut said = BufReader::new(watching.stderr.take().unwrap()).lines();
    let mut until = |words: &str| {
        said.by_ref()
            .find(|line| line.as_ref().unwrap().contains(words))
    };
    assert!(until("task_waiting").is_some());
    // What happens only now comes over the stream.
    let sent = service.drover(&["workflows", "signal", &id, "other"]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    assert!(until("signal_received").is_some());
    let begun = Instant::now();
    service.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(until("the workflow goes on").is_some());
    assert_eq!(watching.wait().unwrap().code(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_workflow_is_refused_with_its_place() {
    let service = Service::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.yml");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let done = service.drover(&["workflows", "start", path.to_str().unwrap()]);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(64), ""),
            "{}",
            done.err
        );
        done.err
    };
    let circle = "tasks:\n- {key: a, kind: remote, depends_on: [b]}\n- {key: b, kind: remote, depends_on: [a]}\n";
    assert!(
        refused(circle).contains("/depends_on"),
        "{}",
        refused(circle)
    );
    let request = "tasks:\n- {key: a, kind: http.request, payload: {method: GET, url: 7}}\n";
    assert!(
        refused(request).contains("/tasks/0/payload/url"),
        "{}",
        refused(request)
    );
    let update = "tasks:\n- {key: a, kind: rollout.update}\n";
    assert!(
        refused(update).contains("/tasks/0/kind"),
        "{}",
        refused(update)
    );
    let queue = service.drover(&["queues", "limit", "http", "--at-once", "2"]);
    assert_eq!(queue.lines()[1], "http no 2 - -", "{}", queue.err);
    service.stop().await;
}
