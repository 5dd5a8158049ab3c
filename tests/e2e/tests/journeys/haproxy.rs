//! Actions on servers of two real HAProxy instances behind a real agent. What counts is what HAProxy itself says.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use drover_testkit::eventually::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{Answer, Api};
use crate::process::{Process, Turn, binary, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

/// The applications behind HAProxy: healthy or not, and slow until they are let go.
#[derive(Debug)]
struct Applications {
    port: u16,
    is_healthy: Arc<AtomicBool>,
    go: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Applications {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_healthy = Arc::new(AtomicBool::new(true));
        let go = watch::Sender::new(false);
        let (health, gone) = (Arc::clone(&is_healthy), go.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut requests = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                requests.spawn(answer(stream, Arc::clone(&health), gone.subscribe()));
            }
        });
        Self {
            port,
            is_healthy,
            go,
            _serving: serving,
        }
    }
}

async fn answer(mut stream: TcpStream, health: Arc<AtomicBool>, mut go: watch::Receiver<bool>) {
    let mut head = [0; 2048];
    let length = stream.read(&mut head).await.unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    if head.starts_with("GET /slow") {
        go.wait_for(|go| *go).await.unwrap();
    }
    let is_bad = head.starts_with("GET /health") && !health.load(Ordering::Relaxed);
    let status = if is_bad { "503 No" } else { "200 OK" };
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    // A client that is gone needs no answer.
    drop(stream.write_all(text.as_bytes()).await);
}

/// A running HAProxy: master and worker, so that it can be reloaded.
#[derive(Debug)]
struct Haproxy {
    socket: String,
    master: String,
    frontend: u16,
    process: Process,
}

impl Haproxy {
    async fn start(root: &Path, name: &str, port: u16) -> Self {
        let (frontend, dead) = (free_port(), free_port());
        let socket = root.join(format!("{name}.sock")).display().to_string();
        let master = root.join(format!("{name}-master.sock"));
        let master = master.display().to_string();
        let text = format!(
            "global\n  log stdout format raw local0\n  stats socket {socket} level admin\n\
             defaults\n  log global\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n  retries 0\n\
             frontend entry\n  bind 127.0.0.1:{frontend}\n  default_backend web\n\
             backend web\n  option httpchk GET /health\n  default-server check inter 100ms fall 3 rise 2\n\
             \x20 server app1 127.0.0.1:{port}\n  server app2 127.0.0.1:{port}\n\
             backend plain\n  server p1 127.0.0.1:{port}\n  server p2 127.0.0.1:{port}\n\
             backend half\n  server dead 127.0.0.1:{dead} check inter 100ms fall 1 rise 1\n  server alive 127.0.0.1:{port}\n\
             backend trusting\n  option httpchk GET /slow\n  timeout check 10m\n\
             \x20 server s1 127.0.0.1:{port} check inter 100ms fall 3 rise 2\n  server s2 127.0.0.1:{port}\n\
             backend tracking\n  server t1 127.0.0.1:{port} track web/app2\n  server t2 127.0.0.1:{port}\n"
        );
        let file = root.join(format!("{name}.cfg"));
        fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let program = Path::new("/usr/sbin/haproxy");
        let process = Process::start(
            program,
            &["-W", "-S", &master, "-db", "-f", &file],
            &[],
            &root.join(format!("{name}.log")),
        );
        let haproxy = Self {
            socket,
            master,
            frontend,
            process,
        };
        haproxy.until("web/app1", "UP").await;
        haproxy.until("half/dead", "DOWN").await;
        haproxy
    }

    fn ask(&self, command: &str) -> Result<String, String> {
        let ask = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        };
        ask().map_err(|error: std::io::Error| error.to_string())
    }

    /// The status word of a server, and its administrative bits.
    fn state(&self, server: &str) -> Result<(String, String), String> {
        let (backend, name) = server.split_once('/').unwrap();
        let stat = self.ask(&format!("show stat {backend} 4 -1"))?;
        let mut lines = stat.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let status = header.iter().position(|column| *column == "status");
        let status = status.ok_or_else(|| stat.clone())?;
        let row = lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .find(|row| row.get(1) == Some(&name))
            .ok_or_else(|| stat.clone())?;
        let dump = self.ask(&format!("show servers state {backend}"))?;
        let admin = dump.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields.get(3) == Some(&name)).then(|| fields[6].to_owned())
        });
        Ok((row[status].to_owned(), admin.unwrap_or_default()))
    }

    /// Waits until HAProxy itself says so.
    async fn until(&self, server: &str, word: &str) {
        eventually(PATIENCE, || async {
            match self.state(server) {
                Ok((found, _)) if found == word => Ok(()),
                other => Err(format!("{other:?}; log:\n{}", self.process.log())),
            }
        })
        .await;
    }

    /// A request that does not end before the applications are let go.
    async fn slow_request(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.frontend))
            .await
            .unwrap();
        let request = b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    }

    /// How often HAProxy logged a line that begins like this. What it also warns of on its terminal has more before it.
    fn logged(&self, what: &str) -> usize {
        let log = self.process.log();
        log.lines().filter(|line| line.starts_with(what)).count()
    }
}

struct World {
    applications: Applications,
    first: Haproxy,
    second: Haproxy,
    api: Api,
    service: Process,
    _agent: Process,
    _folder: TempDir,
    _turn: Turn,
}

impl World {
    async fn start() -> Self {
        Self::start_with(false).await
    }

    /// As [`World::start`], with an agent that may see HAProxy's old workers.
    async fn start_with(sees_old_workers: bool) -> Self {
        let turn = Turn::take();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let applications = Applications::start().await;
        let first = Haproxy::start(root, "first", applications.port).await;
        let second = Haproxy::start(root, "second", applications.port).await;
        let agent_port = free_port();
        let listen = format!("127.0.0.1:{agent_port}");
        let (one, two) = (
            format!("default={}", first.socket),
            format!("second={}", second.socket),
        );
        let token = root.join("token");
        fs::write(&token, "a-token-of-the-fleet\n").unwrap();
        let token = token.display().to_string();
        let mut arguments = vec![
            "--listen",
            &listen,
            "--haproxy",
            &one,
            "--haproxy",
            &two,
            "--token-file",
            &token,
        ];
        let master = format!("default={}", first.master);
        if sees_old_workers {
            arguments.extend(["--haproxy-master", &master]);
        }
        let agent = Process::start(
            &binary("drover-agent"),
            &arguments,
            &[],
            &root.join("agent.log"),
        );
        let key = format!("drv_{}_{}", "0123456789abcdef", "A".repeat(43));
        let port = free_port();
        let path = |name: &str| root.join(name).display().to_string();
        let variables = [
            ("DROVER_SERVER__LISTEN", format!("127.0.0.1:{port}")),
            (
                "DROVER_SERVER__ADMIN_LISTEN",
                format!("127.0.0.1:{}", free_port()),
            ),
            (
                "DROVER_DATABASE__URL",
                format!("sqlite://{}?mode=rwc", path("drover.sqlite")),
            ),
            ("DROVER_HAPROXY__SYNC_INTERVAL_MS", "1000".to_owned()),
            ("DROVER_FLEET__AGENT_TOKEN_FILE", token),
            ("DROVER_ANSIBLE__PLAYBOOKS", root.display().to_string()),
            ("DROVER_ANSIBLE__SPOOL", path("spool")),
            ("DROVER_ACCESS__ADMIN_KEY", key.clone()),
        ];
        let variables: Vec<(String, String)> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let log = root.join("drover.log");
        let service = Process::start(&binary("drover"), &["serve"], &variables, &log);
        let world = Self {
            applications,
            first,
            second,
            api: Api::new(&format!("http://127.0.0.1:{port}"), &key),
            service,
            _agent: agent,
            _folder: folder,
            _turn: turn,
        };
        world.connect(agent_port).await;
        world
    }

    async fn connect(&self, agent_port: u16) {
        eventually(PATIENCE, || async {
            match self.api.try_get("/readyz").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}; log:\n{}", self.service.log())),
            }
        })
        .await;
        let body = json!({"name": "lb01", "address": "127.0.0.1", "port": agent_port, "is_haproxy_node": true});
        let answer = self.api.post("/api/servers", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        eventually(PATIENCE, || async {
            let found = self.items("/api/haproxy/instances").await;
            let are_synced = found.iter().filter(|one| one["backends"] == 5).count() == 2;
            if are_synced {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.api.get(path).await;
        answer.body["items"].as_array().cloned().unwrap_or_default()
    }

    /// The identifier of a server.
    async fn server(&self, instance: &str, server: &str) -> i64 {
        let (backend, name) = server.split_once('/').unwrap();
        let find = |items: Vec<Value>, name: &str| {
            let found = items.into_iter().find(|item| item["name"] == name);
            found.unwrap_or_else(|| panic!("no {name}"))["id"]
                .as_i64()
                .unwrap()
        };
        let instance = find(self.items("/api/haproxy/instances").await, instance);
        let path = format!("/api/haproxy/instances/{instance}/backends");
        let backend = find(self.items(&path).await, backend);
        let path = format!("/api/haproxy/backends/{backend}/servers");
        find(self.items(&path).await, name)
    }

    async fn act(&self, server: i64, body: &Value) -> Answer {
        self.api
            .post(&format!("/api/haproxy/servers/{server}/action"), body)
            .await
    }

    async fn until_over(&self, id: &str) -> Value {
        eventually(PATIENCE, || async {
            let answer = self.api.get(&format!("/api/haproxy/actions/{id}")).await;
            match answer.body["status"].as_str() {
                Some("success" | "failed") => Ok(answer.body),
                _ => Err(format!("{answer:?}; log:\n{}", self.service.log())),
            }
        })
        .await
    }

    /// Asks for an action and waits for its end.
    async fn carry_out(&self, server: &str, body: &Value) -> Value {
        let id = self.server("default", server).await;
        let answer = self.act(id, body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        self.until_over(answer.body["id"].as_str().unwrap()).await
    }
}

fn looks(action: &Value, member: &str) -> Vec<Value> {
    let looks = action["evidence"]["looks"].as_array().unwrap();
    looks.iter().map(|look| look[member].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_drained_and_returned_as_haproxy_itself_says() {
    let world = World::start().await;
    let (first, second) = (&world.first, &world.second);

    // A request in flight: the drain waits for it, and the evidence shows it end.
    let mut requests = Vec::new();
    for _ in 0..2 {
        requests.push(first.slow_request().await);
    }
    eventually(PATIENCE, || async {
        let stat = first.ask("show stat web 4 -1").unwrap();
        let busy = stat
            .lines()
            .skip(1)
            .filter(|line| line.split(',').nth(4) == Some("1"));
        if busy.count() == 2 { Ok(()) } else { Err(stat) }
    })
    .await;
    let app1 = world.server("default", "web/app1").await;
    let order = json!({"action": "drain", "wait_s": 25, "transaction_id": "drain-app1"});
    let asked = world.act(app1, &order).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    first.until("web/app1", "DRAIN").await;
    let id = asked.body["id"].as_str().unwrap().to_owned();
    let running = world
        .api
        .get(&format!("/api/haproxy/actions/{id}"))
        .await
        .body;
    assert_eq!(running["status"], "running", "{running}");
    world.applications.go.send_replace(true);
    let drained = world.until_over(&id).await;
    assert_eq!(drained["status"], "success", "{drained}");
    let sessions = looks(&drained, "sessions");
    assert_eq!(
        (sessions.first(), sessions.last()),
        (Some(&json!(1)), Some(&json!(0))),
        "{drained}"
    );
    for mut request in requests {
        let mut answer = String::new();
        request.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    // The same transaction is the same action, and HAProxy heard of it once.
    let again = world.act(app1, &order).await;
    assert_eq!(
        (again.body["id"].as_str(), &again.body["status"]),
        (Some(id.as_str()), &json!("success"))
    );
    assert_eq!(world.items("/api/haproxy/actions").await.len(), 1);
    assert_eq!(
        first.logged("Server web/app1 enters drain state"),
        1,
        "{}",
        first.process.log()
    );
    // The other one has a server of the same name and knows nothing of this.
    assert_eq!(second.state("web/app1").unwrap().0, "UP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_server_goes_out_and_comes_back() {
    let world = World::start().await;
    let first = &world.first;

    // Maintenance, and back by way of drain and a passing check.
    let maint = world
        .carry_out("web/app1", &json!({"action": "maint"}))
        .await;
    assert_eq!(
        (
            &maint["status"],
            first.state("web/app1").unwrap().0.as_str()
        ),
        (&json!("success"), "MAINT")
    );
    let ready = world
        .carry_out("web/app1", &json!({"action": "ready"}))
        .await;
    assert_eq!(ready["status"], "success", "{ready}");
    let words = looks(&ready, "status");
    let at = |word: &str| words.iter().position(|found| found == word);
    assert!(
        at("MAINT") < at("DRAIN") && at("DRAIN") < at("UP") && at("UP").is_some(),
        "{words:?}"
    );
    assert_eq!(
        first.state("web/app1").unwrap(),
        ("UP".to_owned(), "0".to_owned())
    );

    // What is down is drained all the same; only the bits show it.
    let dead = world
        .carry_out("half/dead", &json!({"action": "drain"}))
        .await;
    assert_eq!(dead["status"], "success", "{dead}");
    assert_eq!(
        first.state("half/dead").unwrap(),
        ("DOWN".to_owned(), "8".to_owned())
    );
    let dead = world
        .carry_out("half/dead", &json!({"action": "ready", "wait_s": 1}))
        .await;
    assert_eq!(dead["error"]["code"], "not_healthy", "{dead}");
    assert_eq!(
        first.state("half/dead").unwrap().1,
        "8",
        "it must not be released"
    );

    // It has no health check.
    for (action, word) in [("drain", "DRAIN"), ("ready", "no check")] {
        let done = world
            .carry_out("plain/p1", &json!({"action": action}))
            .await;
        assert_eq!(
            (&done["status"], first.state("plain/p1").unwrap().0.as_str()),
            (&json!("success"), word)
        );
    }

    // It follows another one, whose state has to be changed instead.
    let app2 = world
        .carry_out("web/app2", &json!({"action": "drain"}))
        .await;
    assert_eq!(app2["status"], "success", "{app2}");
    let tracking = world
        .carry_out("tracking/t1", &json!({"action": "ready", "wait_s": 1}))
        .await;
    assert_eq!(tracking["error"]["code"], "tracked", "{tracking}");
    let app2 = world
        .carry_out("web/app2", &json!({"action": "ready"}))
        .await;
    assert_eq!(app2["status"], "success", "{app2}");
}

/// A server before its first check is `UP 1/3`: it takes requests without a proof. Drover shows it as it is and does not call
/// it ready before a check has passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_up_on_trust_is_not_ready() {
    let world = World::start().await;
    let (first, server) = (&world.first, "trusting/s1");
    first.until(server, "UP 1/3").await;
    let ready = json!({"action": "ready", "wait_s": 1});
    let unproven = world.carry_out(server, &ready).await;
    assert_eq!(unproven["error"]["code"], "not_healthy", "{unproven}");
    let words = looks(&unproven, "status");
    assert!(words.iter().all(|word| word == "UP 1/3"), "{words:?}");
    let drained = world.carry_out(server, &json!({"action": "drain"})).await;
    assert_eq!(drained["status"], "success", "{drained}");
    assert_eq!(
        first.state(server).unwrap(),
        ("DRAIN 1/3".to_owned(), "8".to_owned())
    );
    let s1 = world.server("default", server).await;
    let path = format!("/api/haproxy/servers/{s1}/history");
    let history = world.items(&path).await;
    assert_eq!(
        (&history[0]["old_status"], &history[0]["new_status"]),
        (&json!("UP 1/3"), &json!("DRAIN 1/3")),
        "{history:?}"
    );

    let unproven = world.carry_out(server, &ready).await;
    assert_eq!(unproven["error"]["code"], "not_healthy", "{unproven}");
    assert_eq!(first.state(server).unwrap().1, "8", "it stays drained");
    world.applications.go.send_replace(true);
    let proven = world.carry_out(server, &json!({"action": "ready"})).await;
    assert_eq!(proven["status"], "success", "{proven}");
    assert_eq!(
        first.state(server).unwrap(),
        ("UP".to_owned(), "0".to_owned())
    );
}

/// HAProxy forgets the state of a past action; Drover re-applies it once, in the name of its author.
async fn a_later_reload_is_made_up_for(world: &World, app1: i64) {
    let first = &world.first;
    let told = first.logged("Server web/app1 enters drain state");
    first.process.signal("USR2");
    let restored = eventually(PATIENCE, || async {
        let actions = world
            .items(&format!("/api/haproxy/actions?server={app1}"))
            .await;
        match &actions[0] {
            done if done["restores"] == true && done["status"] == "success" => Ok(done.clone()),
            other => Err(format!("{other}; log:\n{}", world.service.log())),
        }
    })
    .await;
    assert_eq!(restored["actor"], "drover", "{restored}");
    assert_eq!(first.state("web/app1").unwrap().1, "8");
    let again = first.logged("Server web/app1 enters drain state");
    assert_eq!(again, told + 1, "{}", first.process.log());
    let instances = world.items("/api/haproxy/instances").await;
    let instance = &instances[0];
    assert!(instance["started_at"].is_string(), "{instance}");
    let path = format!("/api/haproxy/instances/{}/backends", instance["id"]);
    let backends = world.items(&path).await;
    let web = backends.iter().find(|backend| backend["name"] == "web");
    let path = format!("/api/haproxy/backends/{}/servers", web.unwrap()["id"]);
    let servers = world.items(&path).await;
    let pinned = servers.iter().find(|server| server["id"] == app1).unwrap();
    let admin = &asked_by(world, app1).await;
    assert_eq!(
        (
            &pinned["pin"]["state"],
            &pinned["pin"]["owner"],
            &pinned["drift"]
        ),
        (&json!("drain"), admin, &json!(false)),
        "{pinned}"
    );
}

/// Who asked for the first action on a server.
async fn asked_by(world: &World, server: i64) -> Value {
    let actions = world
        .items(&format!("/api/haproxy/actions?server={server}"))
        .await;
    actions.last().unwrap()["actor"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_the_middle_is_noticed_and_no_backend_is_emptied() {
    let world = World::start().await;
    let (first, second) = (&world.first, &world.second);

    // A reload forgets every drain; the action that still waits for sessions applies it again. The old worker goes on with
    // what it has, and this agent does not see it: its end is unknown.
    let _request = first.slow_request().await;
    let _other = first.slow_request().await;
    let app1 = world.server("default", "web/app1").await;
    let asked = world
        .act(app1, &json!({"action": "drain", "wait_s": 4}))
        .await;
    first.until("web/app1", "DRAIN").await;
    first.process.signal("USR2");
    let action = world.until_over(asked.body["id"].as_str().unwrap()).await;
    assert_eq!(action["error"]["code"], "still_busy", "{action}");
    let detail = action["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("old worker"), "{detail}");
    assert_eq!(action["evidence"]["sends"], 2, "{action}");
    assert_eq!(first.state("web/app1").unwrap().1, "8");
    a_later_reload_is_made_up_for(&world, app1).await;

    // One batch over both HAProxies: each item has its own answer, and the last server of a backend stays.
    let servers = [
        world.server("second", "web/app1").await,
        world.server("second", "plain/p1").await,
        world.server("second", "plain/p2").await,
        world.server("default", "web/app2").await,
    ];
    let batch = json!({"servers": servers, "action": "drain"});
    let answer = world.api.post("/api/haproxy/batch/action", &batch).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.body["results"].as_array().unwrap();
    let codes: Vec<&Value> = results
        .iter()
        .map(|result| &result["error"]["code"])
        .collect();
    let short = json!("below_min_ready");
    assert_eq!(codes, [&Value::Null, &short, &short, &short], "{answer:?}");
    world
        .until_over(results[0]["action"]["id"].as_str().unwrap())
        .await;
    assert_eq!(second.state("web/app1").unwrap().0, "DRAIN");
    assert_eq!(
        (
            second.state("plain/p1").unwrap().1,
            second.state("plain/p2").unwrap().1
        ),
        ("0".to_owned(), "0".to_owned())
    );
    assert_eq!(first.state("web/app2").unwrap().1, "0");

    // Its stored history shows what happened and who requested it.
    let history = world
        .items(&format!("/api/haproxy/servers/{}/history", servers[0]))
        .await;
    assert_eq!(history[0]["new_status"], "DRAIN", "{history:?}");
    assert_eq!(history[0]["reason"], "command", "{history:?}");
    world
        .applications
        .is_healthy
        .store(false, Ordering::Relaxed);
    second.until("web/app2", "DOWN").await;
    let app2 = world.server("second", "web/app2").await;
    let synced = world.items("/api/haproxy/instances").await;
    for instance in synced {
        let path = format!("/api/haproxy/instances/{}/sync", instance["id"]);
        assert_eq!(world.api.post(&path, &json!({})).await.status, 200);
    }
    let servers = world
        .items(&format!("/api/haproxy/servers/{app2}/history"))
        .await;
    assert_eq!(servers[0]["new_status"], "DOWN", "{servers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_not_over_while_an_old_worker_serves() {
    let world = World::start_with(true).await;
    let first = &world.first;
    let mut requests = vec![first.slow_request().await, first.slow_request().await];
    let app1 = world.server("default", "web/app1").await;
    let asked = world
        .act(app1, &json!({"action": "drain", "wait_s": 60}))
        .await;
    first.until("web/app1", "DRAIN").await;
    first.process.signal("USR2");
    let told = || first.logged("Server web/app1 enters drain state");
    eventually(PATIENCE, || async {
        match told() {
            2 => Ok(()),
            other => Err(format!("{other}; log:\n{}", first.process.log())),
        }
    })
    .await;
    first.until("web/app1", "DRAIN").await;

    // The new worker has no session at all; a drain that looked at nothing else would be over after a few looks, which
    // take no longer than these syncs.
    let id = asked.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/haproxy/actions/{id}");
    let mut syncs = BTreeSet::new();
    while syncs.len() < 6 {
        let instances = world.items("/api/haproxy/instances").await;
        syncs.insert(instances[0]["last_sync"].to_string());
        let stat = first.ask("show stat web 4 -1").unwrap();
        let row = stat.lines().nth(1).unwrap();
        assert!(row.starts_with("web,app1,0,0,0,"), "{stat}");
        let action = world.api.get(&path).await.body;
        assert_eq!(action["status"], "running", "{action}");
    }

    world.applications.go.send_replace(true);
    let drained = world.until_over(&id).await;
    assert_eq!(drained["status"], "success", "{drained}");
    let old = looks(&drained, "old_sessions");
    assert!(old.contains(&json!(1)), "{drained}");
    assert_eq!(
        (old.first(), old.last()),
        (Some(&json!(0)), Some(&json!(0))),
        "{drained}"
    );
    assert_eq!(first.state("web/app1").unwrap().1, "8");
    for request in &mut requests {
        let mut answer = String::new();
        request.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
