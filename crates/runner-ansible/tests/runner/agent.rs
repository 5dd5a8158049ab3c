//! A stand-in for the agent beside HAProxy and for the server of the artifacts, in one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// SHA-256 of [`ARTIFACT`].
const DIGEST: &str = "742dc7671c1a59a4f32ed1022b13edbc6d61530cf065c5b86d0fb0efed41a374";
const ARTIFACT: &str = "artifact 1.1.0\n";

/// What is different from a good world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    /// The artifact is broken for this instance, `server/application`.
    pub(crate) broken_for: Option<&'static str>,
    /// This HAProxy server is down after the artifact was fetched for the instance.
    pub(crate) down_after: Option<(&'static str, &'static str)>,
    /// The agent says yes to every command and does nothing, as FAgent does for what HAProxy refuses.
    pub(crate) lies: bool,
    /// The agent is FAgent: it reports neither sessions nor administrative states.
    pub(crate) is_plain: bool,
}

/// The agent, running; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) address: String,
    world: Arc<Mutex<World>>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct World {
    /// Administrative state (`ready`, `drain`, `maint`) by server.
    admin: BTreeMap<String, String>,
    down: Option<&'static str>,
    log: Vec<String>,
    trouble: Trouble,
}

impl Agent {
    #[expect(
        clippy::disallowed_methods,
        reason = "the stub serves until the test drops it"
    )]
    pub(crate) async fn start(servers: &[&str], trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let admin = servers
            .iter()
            .map(|name| ((*name).to_owned(), "ready".to_owned()))
            .collect();
        let world = Arc::new(Mutex::new(World {
            admin,
            down: None,
            log: Vec::new(),
            trouble,
        }));
        let seen = Arc::clone(&world);
        let serving = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                serve(connection, &seen).await;
            }
        });
        Self {
            address,
            world,
            serving,
        }
    }

    /// What was done, in order: `drain a`, `ready a`, `fetch server/application`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.world.lock().unwrap().log.clone()
    }

    /// The administrative state of a server.
    pub(crate) fn admin(&self, server: &str) -> String {
        self.world.lock().unwrap().admin[server].clone()
    }

    pub(crate) fn set_admin(&self, server: &str, state: &str) {
        self.world
            .lock()
            .unwrap()
            .admin
            .insert(server.to_owned(), state.to_owned());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut connection: TcpStream, world: &Mutex<World>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let (code, body) = world
        .lock()
        .unwrap()
        .answer(&String::from_utf8_lossy(&request));
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client that left does not want the answer.
    drop(
        connection
            .write_all(format!("{head}{body}").as_bytes())
            .await,
    );
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    body.len() >= header(head, "content-length").map_or(0, |length| length.parse().unwrap())
}

fn header(head: &str, name: &str) -> Option<String> {
    let found = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned())
}

impl World {
    fn answer(&mut self, request: &str) -> (u16, String) {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let parts: Vec<&str> = path.split('/').collect();
        match (method, parts.as_slice()) {
            (
                "GET",
                [
                    "",
                    "api",
                    "v1",
                    "haproxy",
                    "default",
                    "backends",
                    "web",
                    "servers",
                ],
            ) => (200, self.servers()),
            (
                "POST",
                [
                    "",
                    "api",
                    "v1",
                    "haproxy",
                    "default",
                    "backends",
                    "web",
                    "servers",
                    name,
                    "action",
                ],
            ) => {
                let state = ["ready", "drain", "maint"]
                    .into_iter()
                    .find(|state| request.contains(&format!("\"{state}\"")))
                    .unwrap();
                self.log.push(format!("{state} {name}"));
                if !self.trouble.lies && self.admin.contains_key(*name) {
                    self.admin.insert((*name).to_owned(), state.to_owned());
                }
                (
                    200,
                    r#"{"success":true,"status_code":200,"data":{"status":"completed"}}"#
                        .to_owned(),
                )
            }
            ("GET", ["", "artifacts", ..]) => self.artifact(
                path,
                &header(request, "x-drover-instance").unwrap_or_default(),
            ),
            ("GET", ["", "health", version]) => (200, format!(r#"{{"version": "{version}"}}"#)),
            _ => (404, r#"{"error":"not found"}"#.to_owned()),
        }
    }

    fn artifact(&mut self, path: &str, instance: &str) -> (u16, String) {
        let is_broken = self.trouble.broken_for == Some(instance);
        if path.split('?').next().unwrap().ends_with(".sha256") {
            let digest = if is_broken {
                "0".repeat(64)
            } else {
                DIGEST.to_owned()
            };
            return (200, format!("{digest}  file\n"));
        }
        if let Some((cause, server)) = self.trouble.down_after
            && cause == instance
        {
            self.down = Some(server);
        }
        self.log.push(format!("fetch {instance}"));
        (200, ARTIFACT.to_owned())
    }

    fn servers(&self) -> String {
        let rows: Vec<String> = self
            .admin
            .iter()
            .map(|(name, admin)| self.server(name, admin))
            .collect();
        let count = rows.len();
        let rows = rows.join(",");
        format!(
            r#"{{"success":true,"status_code":200,"data":{{"servers":[{rows}],"count":{count}}}}}"#
        )
    }

    fn server(&self, name: &str, admin: &str) -> String {
        let is_down = self.down == Some(name);
        let (status, mask) = match admin {
            "maint" => ("MAINT", 1),
            "drain" if is_down => ("DOWN", 8),
            "drain" => ("DRAIN", 8),
            _ if is_down => ("DOWN", 0),
            _ => ("UP", 0),
        };
        let (check, result, health) = if is_down {
            ("L4CON", 2, 0)
        } else {
            ("L7OK", 3, 4)
        };
        let columns = [
            ("name", name.to_owned()),
            ("status", status.to_owned()),
            ("weight", "1".to_owned()),
            ("check_status", check.to_owned()),
            ("last_chg", String::new()),
            ("addr", "127.0.0.1:1".to_owned()),
        ];
        let additions = [
            ("scur", "0".to_owned()),
            ("qcur", "0".to_owned()),
            ("admin_state", mask.to_string()),
            ("check_result", result.to_string()),
            ("check_health", health.to_string()),
            ("check_rise", "2".to_owned()),
            ("check_fall", "3".to_owned()),
        ];
        let told = columns.iter().chain(if self.trouble.is_plain {
            &[][..]
        } else {
            &additions[..]
        });
        let texts: Vec<String> = told
            .map(|(key, value)| format!(r#""{key}":"{value}""#))
            .collect();
        format!("{{{}}}", texts.join(","))
    }
}
