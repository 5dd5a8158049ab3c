//! Units of systemd: a real bus in a folder of its own, and on it a systemd that the test pretends to be.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drover_agent::Choices;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use zbus::connection::Builder;
use zbus::message::{Message, Type};
use zbus::zvariant::{ObjectPath, OwnedObjectPath, Value as Variant};
use zbus::{Connection, MessageStream};

use crate::support::{PATIENCE, Process, Served, eventually};

/// What systemd says of one unit, and by what path it is called.
#[derive(Debug, Clone, Copy)]
struct Unit {
    name: &'static str,
    load: &'static str,
    active: &'static str,
    pid: u32,
    since: u64,
}

const UNITS: [Unit; 8] = [
    unit("runs.service", "loaded", "active", 4711),
    unit("rests.service", "loaded", "inactive", 0),
    unit("broke.service", "loaded", "failed", 0),
    unit("comes.service", "loaded", "activating", 4712),
    unit("goes.service", "loaded", "deactivating", 4713),
    unit("reads@1.service", "loaded", "reloading", 4714),
    unit("hidden.service", "masked", "inactive", 0),
    unit("done.service", "loaded", "active", 0),
];

const fn unit(name: &'static str, load: &'static str, active: &'static str, pid: u32) -> Unit {
    Unit {
        name,
        load,
        active,
        pid,
        since: 1_700_009_876_540_000,
    }
}

/// How the pretended systemd behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    NeverAnswers,
    NeverTellsProcesses,
    LeavesTheLastOut,
    AnswersSomethingElse,
    /// Every name is that of a unit; those that end with `0.service` run.
    KnowsAll,
}

/// How often the pretended systemd was asked what.
#[derive(Debug, Default)]
struct Asked {
    lists: AtomicUsize,
    names: AtomicUsize,
    properties: AtomicUsize,
}

/// A bus that ends with the test.
struct Bus {
    folder: TempDir,
    policy: String,
    process: Option<Process>,
    tasks: JoinSet<()>,
    asked: Arc<Asked>,
}

impl Bus {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// A bus with one more line of policy.
    async fn start_with(policy: &str) -> Self {
        let mut bus = Self {
            folder: tempfile::tempdir().unwrap(),
            policy: policy.to_owned(),
            process: None,
            tasks: JoinSet::new(),
            asked: Arc::default(),
        };
        bus.launch().await;
        bus
    }

    async fn with_systemd(manner: Manner) -> Self {
        let mut bus = Self::start().await;
        bus.pretend(manner).await;
        bus
    }

    async fn launch(&mut self) {
        let configuration = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig>\n<listen>{}</listen>\n<auth>EXTERNAL</auth>\n<policy context=\"default\">\n\
             <allow send_destination=\"*\"/>\n<allow receive_sender=\"*\"/>\n<allow own=\"*\"/>\n{}\n</policy>\n</busconfig>\n",
            self.address(),
            self.policy
        );
        let file = self.folder.path().join("bus.conf");
        std::fs::write(&file, configuration).unwrap();
        self.process = Some(Process(spawn(&file)));
        let socket = self.socket();
        eventually(|| {
            let connecting = UnixStream::connect(socket.clone());
            async {
                connecting
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        })
        .await;
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("bus")
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    async fn connect(&self) -> Connection {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let connecting = Builder::unix_stream(stream).build();
        timeout(PATIENCE, connecting).await.unwrap().unwrap()
    }

    /// Puts a systemd on the bus.
    async fn pretend(&mut self, manner: Manner) {
        let connection = self.connect().await;
        let mut calls = MessageStream::from(&connection);
        connection
            .request_name("org.freedesktop.systemd1")
            .await
            .unwrap();
        let asked = Arc::clone(&self.asked);
        self.tasks.spawn(async move {
            while let Some(Ok(call)) = calls.next().await {
                if call.message_type() == Type::MethodCall {
                    reply(&connection, &call, manner, &asked).await;
                }
            }
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this test runs a real bus")]
fn spawn(configuration: &Path) -> Child {
    std::process::Command::new("dbus-daemon")
        .args(["--nofork", "--nopidfile", "--nosyslog", "--config-file"])
        .arg(configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("dbus-daemon does not start ({error}); install it: apt-get install dbus")
        })
}

/// Answers as systemd 252 does, as far as the agent asks.
async fn reply(connection: &Connection, call: &Message, manner: Manner, asked: &Asked) {
    let header = call.header();
    let member = header.member().unwrap().as_str();
    let body = call.body();
    match (member, manner) {
        ("ListUnitsByNames", _) => {
            let (names,): (Vec<String>,) = body.deserialize().unwrap();
            asked.lists.fetch_add(1, Ordering::Relaxed);
            asked.names.fetch_add(names.len(), Ordering::Relaxed);
            if manner == Manner::NeverAnswers {
                return;
            }
            if manner == Manner::AnswersSomethingElse {
                connection.reply(&header, &"all is well").await.unwrap();
                return;
            }
            let left_out = usize::from(manner == Manner::LeavesTheLastOut);
            let told = names.len() - left_out;
            let rows: Vec<_> = names
                .iter()
                .take(told)
                .map(|name| row(name, manner))
                .collect();
            connection.reply(&header, &rows).await.unwrap();
        }
        ("Get", Manner::NeverTellsProcesses) => {}
        ("Get", _) => {
            asked.properties.fetch_add(1, Ordering::Relaxed);
            let (interface, name): (String, String) = body.deserialize().unwrap();
            let place = header.path().unwrap().rsplit_once("/u").unwrap().1;
            let unit = UNITS[place.parse::<usize>().unwrap()];
            let value = match (interface.as_str(), name.as_str()) {
                ("org.freedesktop.systemd1.Service", "MainPID") => Variant::from(unit.pid),
                ("org.freedesktop.systemd1.Unit", "ActiveEnterTimestamp") => {
                    Variant::from(unit.since)
                }
                other => panic!("{other:?} is not of systemd"),
            };
            connection.reply(&header, &value).await.unwrap();
        }
        other => panic!("the agent should not ask {other:?}"),
    }
}

type Row = (
    String,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    OwnedObjectPath,
    u32,
    &'static str,
    OwnedObjectPath,
);

fn row(name: &str, manner: Manner) -> Row {
    let known = UNITS
        .iter()
        .position(|unit| unit.name == name)
        .or((manner == Manner::KnowsAll).then_some(usize::from(!name.ends_with("0.service"))));
    let (load, active) = known.map_or(("not-found", "inactive"), |place| {
        (UNITS[place].load, UNITS[place].active)
    });
    let path = format!(
        "/org/freedesktop/systemd1/unit/u{}",
        known.unwrap_or(UNITS.len())
    );
    let path = ObjectPath::try_from(path).unwrap().into();
    let none = ObjectPath::try_from("/").unwrap().into();
    // A unit is called by its own name even when an alias was asked for.
    let own_name = format!("own-{name}");
    (own_name, "", load, active, "", "", path, 0, "", none)
}

/// How many names there are on the bus; every connection has one.
async fn names_on(bus: &Connection) -> usize {
    let name = "org.freedesktop.DBus";
    let reply = bus
        .call_method(
            Some(name),
            "/org/freedesktop/DBus",
            Some(name),
            "ListNames",
            &(),
        )
        .await
        .unwrap();
    reply.body().deserialize::<Vec<String>>().unwrap().len()
}

async fn are_names_again(bus: &Connection, before: usize) {
    eventually(|| async {
        let now = names_on(bus).await;
        if now == before {
            Ok(())
        } else {
            Err(format!("{now} names, {before} before"))
        }
    })
    .await;
}

/// A folder with a description of a service for each of `units`, named `0000` and so on.
fn described(units: impl IntoIterator<Item = String>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, unit) in units.into_iter().enumerate() {
        let text = format!("name: '{number:04}'\ntype: service\nunit: {unit}\n");
        std::fs::write(folder.path().join(format!("{number:04}.yml")), text).unwrap();
    }
    folder
}

fn one(unit: &str) -> TempDir {
    described([unit.to_owned()])
}

async fn agent(apps: &TempDir, bus: &str) -> Served {
    Served::with(Choices {
        apps_dir: Some(apps.path().to_owned()),
        system_bus: Some(bus.to_owned()),
        ..Choices::default()
    })
    .await
}

async fn services(agent: &Served) -> Vec<Value> {
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(status, 200, "{body}");
    let services = body["server"]["service-app"]["applications"].as_array();
    services.unwrap().clone()
}

/// The reason there is no inventory.
async fn refusal(agent: &Served) -> String {
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(status, 503, "{body}");
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_state_of_a_unit_is_told_in_words_of_fagent() {
    let bus = Bus::with_systemd(Manner::Answers).await;
    let names = UNITS.iter().map(|unit| unit.name.to_owned());
    let apps = described(names.chain(["gone.service".to_owned(), "runs.service".to_owned()]));
    let agent = agent(&apps, &bus.address()).await;
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(status, 200, "{body}");
    let start = "2023-11-15T00:57:56Z";
    assert_eq!(
        body["server"]["service-app"]["applications"],
        json!([
            {"name": "0000", "status": "online", "pid": 4711, "start_time": start},
            {"name": "0001", "status": "offline"},
            {"name": "0002", "status": "offline"},
            {"name": "0003", "status": "starting", "pid": 4712},
            {"name": "0004", "status": "stopping", "pid": 4713, "start_time": start},
            {"name": "0005", "status": "online", "pid": 4714, "start_time": start},
            {"name": "0006", "status": "offline"},
            {"name": "0007", "status": "online", "start_time": start},
            {"name": "0008", "status": "offline"},
            {"name": "0009", "status": "online", "pid": 4711, "start_time": start},
        ])
    );
    assert_eq!(
        body["meta"]["cache"]["error"],
        "`0006`: systemd says `masked` of the file of unit `hidden.service`; \
         `0008`: systemd finds no file of unit `gone.service`"
    );
    // Two applications of one unit are one question.
    assert_eq!(bus.asked.names.load(Ordering::Relaxed), 9);
}

#[tokio::test]
async fn a_unit_decides_even_where_nothing_listens() {
    let bus = Bus::with_systemd(Manner::Answers).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let apps = tempfile::tempdir().unwrap();
    let text = format!("name: a\ntype: site\nunit: runs.service\nip: 127.0.0.1\nport: {port}\n");
    std::fs::write(apps.path().join("a.yml"), text).unwrap();
    let agent = agent(&apps, &bus.address()).await;
    let (_, body) = agent.get("/api/v1/apps").await;
    let site = &body["server"]["site-app"]["applications"][0];
    assert_eq!(
        (&site["status"], &site["port"]),
        (&json!("online"), &json!(port))
    );
}

#[tokio::test]
async fn names_that_are_none_of_services_never_reach_the_bus() {
    let bus = Bus::with_systemd(Manner::Answers).await;
    let hostile = [
        "runs.service",
        "a.socket",
        "'../runs.service'",
        "\"runs.service\\n\"",
        "\"a\\0.service\"",
        "'$(reboot).service'",
        "runs@.service",
    ];
    let apps = described(hostile.map(str::to_owned));
    let agent = agent(&apps, &bus.address()).await;
    let (status, body) = agent.get("/api/v1/apps").await;
    assert_eq!(
        (status, &body["server"]["service-app"]["count"]),
        (200, &json!(1)),
        "{body}"
    );
    let problems = body["meta"]["cache"]["error"].as_str().unwrap();
    assert_eq!(problems.matches("is left out: it names no unit").count(), 6);
    assert_eq!(bus.asked.names.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_bus_that_is_gone_is_an_error_until_it_is_back() {
    let mut bus = Bus::with_systemd(Manner::Answers).await;
    let apps = one("runs.service");
    let agent = agent(&apps, &bus.address()).await;
    assert_eq!(services(&agent).await[0]["status"], "online");
    bus.stop();
    let refused = refusal(&agent).await;
    assert!(
        refused.contains(&bus.address()) && refused.contains("is D-Bus running?"),
        "{refused}"
    );
    std::fs::remove_file(bus.socket()).unwrap();
    let missing = refusal(&agent).await;
    assert!(missing.contains("No such file"), "{missing}");
    bus.launch().await;
    let nobody = refusal(&agent).await;
    assert!(
        nobody.contains("systemd did not list the units"),
        "{nobody}"
    );
    bus.pretend(Manner::Answers).await;
    assert_eq!(services(&agent).await[0]["status"], "online");
}

#[tokio::test]
async fn a_bus_nobody_needs_may_be_missing() {
    let apps = tempfile::tempdir().unwrap();
    std::fs::write(apps.path().join("a.yml"), "name: a\ntype: service\n").unwrap();
    let agent = agent(&apps, "unix:path=/nonexistent/bus").await;
    assert_eq!(services(&agent).await[0]["status"], "unknown");
}

/// The refusal, which must come within the time a client of FAgent waits.
async fn timely_refusal(apps: &TempDir, bus: &str) -> String {
    let agent = agent(apps, bus).await;
    let began = Instant::now();
    let refused = refusal(&agent).await;
    assert!(
        began.elapsed() < Duration::from_millis(4500),
        "{:?}",
        began.elapsed()
    );
    refused
}

#[tokio::test]
async fn a_systemd_that_never_answers_is_an_error_in_time() {
    let apps = one("runs.service");
    for manner in [Manner::NeverAnswers, Manner::NeverTellsProcesses] {
        let bus = Bus::with_systemd(manner).await;
        let watcher = bus.connect().await;
        let before = names_on(&watcher).await;
        let refused = timely_refusal(&apps, &bus.address()).await;
        are_names_again(&watcher, before).await;
        assert!(refused.contains("within 3 seconds"), "{refused}");
        assert_eq!(bus.asked.lists.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_bus_that_never_answers_is_an_error_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let address = format!("unix:path={}", socket.display());
    let refused = timely_refusal(&one("runs.service"), &address).await;
    assert!(refused.contains("within 3 seconds"), "{refused}");
}

#[tokio::test]
async fn a_policy_that_forbids_a_question_is_an_error() {
    let apps = one("runs.service");
    for (interface, words) in [
        ("org.freedesktop.systemd1.Manager", "did not list the units"),
        (
            "org.freedesktop.DBus.Properties",
            "did not tell the process of unit `runs.service`",
        ),
    ] {
        let policy = format!("<deny send_interface=\"{interface}\"/>");
        let mut bus = Bus::start_with(&policy).await;
        bus.pretend(Manner::Answers).await;
        let refused = refusal(&agent(&apps, &bus.address()).await).await;
        assert!(
            refused.contains(words) && refused.contains("AccessDenied"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error() {
    let apps = described(["rests.service".to_owned(), "runs.service".to_owned()]);
    for (manner, words) in [
        (Manner::LeavesTheLastOut, "about 2 units and told of 1"),
        (Manner::AnswersSomethingElse, "did not list the units"),
    ] {
        let bus = Bus::with_systemd(manner).await;
        let refused = refusal(&agent(&apps, &bus.address()).await).await;
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn a_thousand_units_are_told_and_one_more_is_an_error() {
    let bus = Bus::with_systemd(Manner::KnowsAll).await;
    let apps = described((0..1000).map(|number| format!("a@{number}.service")));
    let agent = agent(&apps, &bus.address()).await;
    let told = services(&agent).await;
    assert_eq!(told.len(), 1000);
    let count = |status: &str, pid: &Value| {
        let same = |entry: &&Value| entry["status"] == status && entry["pid"] == *pid;
        told.iter().filter(same).count()
    };
    assert_eq!(
        (
            count("online", &json!(4711)),
            count("offline", &Value::Null)
        ),
        (100, 900)
    );
    let asked = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!(
        (asked(&bus.asked.lists), asked(&bus.asked.properties)),
        (1, 200)
    );
    let text = "name: more\ntype: service\nunit: more.service\n";
    std::fs::write(apps.path().join("more.yml"), text).unwrap();
    let refused = refusal(&agent).await;
    assert!(refused.contains("1001, and at most 1000"), "{refused}");
    assert_eq!(asked(&bus.asked.lists), 1);
}

#[tokio::test]
async fn no_inventory_leaves_a_connection_behind() {
    let bus = Bus::with_systemd(Manner::Answers).await;
    let watcher = bus.connect().await;
    let before = names_on(&watcher).await;
    let apps = one("runs.service");
    let agent = agent(&apps, &bus.address()).await;
    for _ in 0..20 {
        services(&agent).await;
    }
    assert_eq!(bus.asked.lists.load(Ordering::Relaxed), 20);
    are_names_again(&watcher, before).await;
}
