//! An agent in this process, an HAProxy beside it, and waiting without sleeping.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use drover_agent::{Agent, Choices};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

/// Longest wait for anything that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks again and again until `look` gives a value; fails with the last reason why not.
pub(crate) async fn eventually<T, F>(mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(20));
    loop {
        match look().await {
            Ok(value) => return value,
            Err(reason) => assert!(Instant::now() < deadline, "still not true: {reason}"),
        }
        ticks.tick().await;
    }
}

/// An agent served by this test; gone with it.
pub(crate) struct Served {
    base: String,
    client: Client,
    _tasks: JoinSet<()>,
}

impl Served {
    pub(crate) async fn with(choices: Choices) -> Self {
        let choices = Choices {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            server_name: Some("web1".to_owned()),
            ..choices
        };
        let agent = Agent::bind(choices.settle().unwrap()).await.unwrap();
        let base = format!("http://{}", agent.address());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { agent.serve(std::future::pending()).await.unwrap() });
        let client = Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            base,
            client,
            _tasks: tasks,
        }
    }

    pub(crate) async fn with_haproxy(instances: &[(&str, &str)]) -> Self {
        let haproxy: BTreeMap<String, String> = instances
            .iter()
            .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()))
            .collect();
        Self::with(Choices {
            haproxy,
            ..Choices::default()
        })
        .await
    }

    /// An agent beside the HAProxy called `default` that sees its old workers.
    pub(crate) async fn with_master(socket: &str, master: &str) -> Self {
        let one = |address: &str| BTreeMap::from([("default".to_owned(), address.to_owned())]);
        Self::with(Choices {
            haproxy: one(socket),
            haproxy_master: one(master),
            ..Choices::default()
        })
        .await
    }

    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        answer(self.request(Method::POST, path).body(body.to_owned())).await
    }

    /// The one server of a list, by name.
    pub(crate) async fn server(&self, backend: &str, name: &str) -> Value {
        let (status, body) = self
            .get(&format!("/api/v1/haproxy/backends/{backend}/servers"))
            .await;
        assert_eq!(status, 200, "{body}");
        let servers = body["data"]["servers"].as_array().unwrap();
        servers
            .iter()
            .find(|server| server["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {body}"))
            .clone()
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}")),
    )
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A real HAProxy with its sockets in a folder of its own.
pub(crate) struct Haproxy {
    folder: TempDir,
    process: Process,
}

impl Haproxy {
    /// Starts HAProxy with `proxies` after a `global` section that opens `admin.sock` and `operator.sock`.
    pub(crate) async fn start(proxies: &str) -> Self {
        Self::start_with("", proxies).await
    }

    /// As [`Haproxy::start`] with more lines for the `global` section; `{folder}` stands for the folder.
    pub(crate) async fn start_with(global: &str, proxies: &str) -> Self {
        Self::launch(global, proxies, false).await
    }

    /// As [`Haproxy::start`], as a master with a worker and the master's socket `master.sock`.
    pub(crate) async fn start_with_master(proxies: &str) -> Self {
        Self::launch("", proxies, true).await
    }

    /// Lets the master start another worker; the old one serves on what it has.
    pub(crate) fn reload(&self) {
        let master = rustix::process::Pid::from_child(&self.process.0);
        rustix::process::kill_process(master, rustix::process::Signal::USR2).unwrap();
    }

    async fn launch(global: &str, proxies: &str, has_master: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let configuration = format!(
            "global\n  stats socket {path}/admin.sock level admin\n  stats socket {path}/operator.sock level operator\n\
             {global}\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n{proxies}\n"
        )
        .replace("{folder}", &path);
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, configuration).unwrap();
        let master = has_master.then(|| format!("{path}/master.sock,mode,660,level,operator"));
        let mut process = Process(spawn(&file, master.as_deref()));
        let socket = folder.path().join("admin.sock");
        eventually(|| {
            if let Some(status) = process.0.try_wait().unwrap() {
                let mut said = String::new();
                process
                    .0
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut said)
                    .unwrap();
                panic!("haproxy ended with {status}: {said}");
            }
            let connecting = UnixStream::connect(socket.clone());
            async {
                connecting
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        })
        .await;
        Self { folder, process }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

#[expect(clippy::disallowed_methods, reason = "this test runs a real HAProxy")]
fn spawn(configuration: &Path, master: Option<&str>) -> Child {
    // Another version than the installed one; docs/testing.md says how to get some.
    let program = std::env::var_os("DROVER_TEST_HAPROXY").unwrap_or_else(|| "haproxy".into());
    std::process::Command::new(program)
        .arg("-db")
        .args(master.into_iter().flat_map(|socket| ["-W", "-S", socket]))
        .arg("-f")
        .arg(configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("haproxy does not start ({error}); install it: apt-get install haproxy")
        })
}
