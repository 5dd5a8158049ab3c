//! The page "Update your own application", typed as it stands: every command of its `console` blocks runs in order, on a
//! real HAProxy, agent, Ansible and SSH server, and each line of output that the page shows must be printed.
//!
//! [`Stage::substitutions`] is the whole list of what the page says otherwise than this host; [`Stage::run`] does what
//! needs root or systemd: `useradd`, `systemctl`, `systemd-run`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use drover_testkit::eventually::eventually;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::process::{Process, Turn, binary, free_port};

const PATIENCE: Duration = Duration::from_mins(1);

/// The longest that one command of the page may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(150);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One command of the page and the lines that the page shows after it.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    command: String,
    shown: Vec<String>,
}

/// The commands of all `console` blocks. One begins behind `# ` or `$ ` and goes on to the end of its here-document and of its loop.
fn typed(page: &str) -> Vec<Typed> {
    let mut found: Vec<Typed> = Vec::new();
    let mut lines = page.lines();
    while let Some(fence) = lines.next() {
        if fence != "```console" {
            continue;
        }
        let mut block = lines.by_ref().take_while(|line| *line != "```").peekable();
        while let Some(line) = block.next() {
            let Some(start) = line.strip_prefix("# ").or(line.strip_prefix("$ ")) else {
                found.last_mut().unwrap().shown.push(line.to_owned());
                continue;
            };
            let mut command = start.to_owned();
            let mut take = |command: &mut String, last: &str| {
                for line in block.by_ref() {
                    write!(command, "\n{line}").unwrap();
                    if line == last {
                        break;
                    }
                }
            };
            if start.ends_with("<<'END'") || start.ends_with("<<END") {
                take(&mut command, "END");
            }
            if start.starts_with("for ") {
                take(&mut command, "done");
            }
            command.push('\n');
            found.push(Typed {
                command,
                shown: Vec::new(),
            });
        }
    }
    found
}

/// Whether a printed line is the one that the page shows: the same words, but for words with a digit, which are numbers, times and
/// identifiers of one run; `…` stands for the rest of a line.
fn is_line(shown: &str, printed: &str) -> bool {
    let mut printed = printed.split_whitespace();
    for word in shown.split_whitespace() {
        if word == "…" {
            return true;
        }
        let has_digit = |word: &str| word.contains(|found: char| found.is_ascii_digit());
        match printed.next() {
            Some(other) if word == other || (has_digit(word) && has_digit(other)) => {}
            _ => return false,
        }
    }
    printed.next().is_none()
}

/// The first shown line that is not printed, in the order of the page.
fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines();
    shown
        .iter()
        .map(String::as_str)
        .filter(|line| *line != "…")
        .find(|line| !printed.by_ref().any(|other| is_line(line, other)))
}

#[test]
fn a_page_is_read_as_a_person_types_it() {
    let page = "text\n```console\n# for a in 1; do cat > x <<END\n$ b\nEND\ndone\n$ c\nOUT  7 x\n…\n```\n```yaml\n# no\n```\n";
    let read = typed(page);
    assert_eq!(read.len(), 2);
    assert_eq!(
        read[0].command,
        "for a in 1; do cat > x <<END\n$ b\nEND\ndone\n"
    );
    assert_eq!(read[1].shown, ["OUT  7 x", "…"]);
    assert_eq!(missing(&read[1].shown, "first\nOUT 123   x\n"), None);
    assert_eq!(missing(&read[1].shown, "OUT y x\n"), Some("OUT  7 x"));
    assert!(is_line("a …", "a b c") && !is_line("a", "a b"));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test types commands and stands in for systemd"
)]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A machine after the pages that this one builds on: Drover, an agent, HAProxy and SSH run, and `web1` is connected.
struct Stage {
    root: PathBuf,
    ports: BTreeMap<&'static str, u16>,
    /// The first digits of the ports of the application.
    application_ports: String,
    services: BTreeMap<String, Process>,
    instances: JoinSet<()>,
    key: String,
    _folder: TempDir,
}

/// Digits `d` such that nothing listens on `d0`, `d1` and `d2`, and none of them is in `taken`.
fn three_ports(taken: &[u16]) -> String {
    (0..1000)
        .map(|_| (free_port() / 10).to_string())
        .find(|digits| {
            ["0", "1", "2"].iter().all(|last| {
                let port: u16 = format!("{digits}{last}").parse().unwrap();
                !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok()
            })
        })
        .unwrap()
}

impl Stage {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("d").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let ports =
            ["drover", "admin", "agent", "artifacts", "ssh"].map(|name| (name, free_port()));
        let mut stage = Self {
            root,
            ports: BTreeMap::from(ports),
            application_ports: three_ports(&ports.map(|(_, port)| port)),
            services: BTreeMap::new(),
            instances: JoinSet::new(),
            key: String::new(),
            _folder: folder,
        };
        for folder in [
            "bin",
            "etc/drover",
            "etc/drover-agent/apps",
            "etc/haproxy",
            "etc/systemd/system",
            "var/lib/drover",
            "run/haproxy",
            "srv",
            "home/deploy",
        ] {
            fs::create_dir_all(stage.root.join(folder)).unwrap();
        }
        for name in ["drover", "drover-agent"] {
            std::os::unix::fs::symlink(binary(name), stage.root.join("bin").join(name)).unwrap();
        }
        stage.install().await;
        stage
    }

    /// Values of this host in the place of those of the page; the page is otherwise typed to the letter.
    fn substitutions(&self) -> Vec<(&'static str, String)> {
        let root = self.root.display();
        let port = |name: &str| self.ports[name];
        vec![
            // Folders: the test owns no folder of the system.
            ("/etc/", format!("{root}/etc/")),
            ("/srv/", format!("{root}/srv/")),
            ("/var/lib/drover", format!("{root}/var/lib/drover")),
            ("/home/deploy", format!("{root}/home/deploy")),
            ("/run/haproxy/", format!("{root}/run/haproxy/")),
            // Ports: other tests run at the same time.
            ("127.0.0.1:8080", format!("127.0.0.1:{}", port("drover"))),
            ("127.0.0.1:9090", format!("127.0.0.1:{}", port("admin"))),
            ("127.0.0.1:11011", format!("127.0.0.1:{}", port("agent"))),
            ("9100", port("artifacts").to_string()),
            ("-p 22 ", format!("-p {} ", port("ssh"))),
            ("ansible_port: 22", format!("ansible_port: {}", port("ssh"))),
            ("810", self.application_ports.clone()),
            // Users: all are the one who runs the test.
            ("ansible_user: deploy", format!("ansible_user: {}", user())),
            ("runuser -u drover -- ", String::new()),
            (" -o drover -g drover", String::new()),
            (" -o deploy -g deploy", String::new()),
            ("chown -R deploy:deploy ", "test -d ".to_owned()),
        ]
    }

    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (there, here) in self.substitutions() {
            text = text.replace(there, &here);
        }
        text
    }

    /// What the pages before this one leave behind.
    async fn install(&mut self) {
        let deploy = repository().join("deploy");
        for (from, to) in [
            ("drover/drover.toml", "etc/drover/drover.toml"),
            ("agent/agent.yml", "etc/drover-agent/agent.yml"),
        ] {
            let text = self.here(&fs::read_to_string(deploy.join(from)).unwrap());
            fs::write(self.root.join(to), text).unwrap();
        }
        let copied = format!(
            "cp -r {}/ansible {}/etc/drover/ansible",
            deploy.display(),
            self.root.display()
        );
        self.bash(&copied).await;
        let playbook = self.root.join("etc/drover/ansible/update-app.yml");
        let text = self.here(&fs::read_to_string(&playbook).unwrap());
        fs::write(playbook, text).unwrap();
        let haproxy = "global\n    stats socket /run/haproxy/admin.sock mode 660 level admin\n\
                       defaults\n    timeout connect 1s\n    timeout client 10s\n    timeout server 10s\n\
                       frontend placeholder\n    mode http\n    bind unix@/run/haproxy/placeholder.sock\n";
        fs::write(
            self.root.join("etc/haproxy/haproxy.cfg"),
            self.here(haproxy),
        )
        .unwrap();
        let master = self.here("/run/haproxy/master.sock");
        let file = self.here("/etc/haproxy/haproxy.cfg");
        self.service(
            "haproxy",
            Path::new("/usr/sbin/haproxy"),
            &["-W", "-db", "-S", &master, "-f", &file],
        );
        let file = self.here("/etc/drover-agent/agent.yml");
        self.service(
            "drover-agent",
            &binary("drover-agent"),
            &["--config", &file],
        );
        self.sshd().await;
        self.drover();
        let log = self.root.join("drover.log");
        self.key = eventually(PATIENCE, || async {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let key = log
                .split("API key is ")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            key.map(str::to_owned).ok_or(log)
        })
        .await;
        let ready = self.here("curl -s --retry 9 --retry-connrefused http://127.0.0.1:9090/readyz");
        self.bash(&ready).await;
        let add = format!(
            "drover servers add web1 --address 127.0.0.1 --port {} --haproxy",
            self.ports["agent"]
        );
        self.bash(&add).await;
    }

    fn service(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let log = self.root.join(format!("{name}.log"));
        let process = Process::start(program, arguments, &[], &log);
        self.services.insert(name.to_owned(), process);
    }

    fn drover(&mut self) {
        let file = self.here("/etc/drover/drover.toml");
        self.service("drover", &binary("drover"), &["serve", "--config", &file]);
    }

    async fn sshd(&mut self) {
        let root = self.root.display().to_string();
        let port = self.ports["ssh"];
        self.bash(&format!("ssh-keygen -q -t ed25519 -N '' -f {root}/host"))
            .await;
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/home/deploy/.ssh/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
        );
        fs::write(self.root.join("sshd_config"), text).unwrap();
        if user() == "root" {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let file = format!("{root}/sshd_config");
        self.service(
            "sshd",
            Path::new("/usr/sbin/sshd"),
            &["-D", "-e", "-f", &file],
        );
        eventually(PATIENCE, || async {
            TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
    }

    /// Types one command; what needs root or systemd is done by the test itself.
    async fn run(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["useradd", ..] | ["systemctl", "daemon-reload"] => {}
            ["systemctl", "enable", "--now", units @ ..] => {
                for unit in units {
                    self.enable(unit);
                }
            }
            ["systemctl", "reload", "haproxy"] => self.services["haproxy"].signal("USR2"),
            ["systemctl", "restart", "drover"] => {
                let mut old = self.services.remove("drover").unwrap();
                old.signal("TERM");
                old.wait(PATIENCE);
                self.drover();
            }
            ["systemd-run", "--unit", name, program, arguments @ ..] => {
                let program = Path::new("/usr/bin").join(program);
                self.service(name, &program, arguments);
                eventually(PATIENCE, || async {
                    TcpStream::connect(("127.0.0.1", self.ports["artifacts"]))
                        .map(drop)
                        .map_err(|error| error.to_string())
                })
                .await;
            }
            _ => return self.bash(command).await,
        }
        String::new()
    }

    /// Runs an instance of a unit of the page as `Restart=always` does.
    fn enable(&mut self, unit: &str) {
        let (name, instance) = unit.split_once('@').unwrap();
        let file = self
            .root
            .join(format!("etc/systemd/system/{name}@.service"));
        let text = fs::read_to_string(file).unwrap().replace("%i", instance);
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().to_owned()
        };
        assert_eq!(value("Restart="), "always");
        let (start, folder) = (value("ExecStart="), value("WorkingDirectory="));
        self.instances.spawn(async move {
            let words: Vec<&str> = start.split_whitespace().collect();
            let mut pause = tokio::time::interval(Duration::from_millis(500));
            loop {
                pause.tick().await;
                let mut command = program(words[0]);
                command
                    .args(&words[1..])
                    .current_dir(&folder)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command.spawn().unwrap().wait().await.unwrap();
            }
        });
    }

    async fn bash(&self, command: &str) -> String {
        let url = format!("http://127.0.0.1:{}", self.ports["drover"]);
        let path = format!(
            "{}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            self.root.display()
        );
        let done = program("/bin/bash")
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", path)
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("DROVER_URL", url)
            .env("DROVER_API_KEY", &self.key)
            .output();
        let done = tokio::time::timeout(COMMAND_LIMIT, done)
            .await
            .unwrap()
            .unwrap();
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            done.status.success(),
            "{command}\nended with {}:\n{printed}\nlog of Drover:\n{}",
            done.status,
            self.log()
        );
        printed
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.join("drover.log")).unwrap_or_default()
    }
}

fn user() -> String {
    let id = rustix_uid();
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let account = accounts
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&id));
    account.unwrap().split(':').next().unwrap().to_owned()
}

fn rustix_uid() -> String {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid().to_string()
}

/// Requests through HAProxy, one after the other, for as long as it lives.
struct Load {
    answered: Arc<AtomicU32>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    asking: JoinSet<()>,
}

impl Load {
    fn start(port: u16) -> Self {
        let mut load = Self {
            answered: Arc::default(),
            failures: Arc::default(),
            stop: Arc::default(),
            asking: JoinSet::new(),
        };
        for _ in 0..2 {
            let (answered, failures, stop) = (
                Arc::clone(&load.answered),
                Arc::clone(&load.failures),
                Arc::clone(&load.stop),
            );
            load.asking.spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(10));
                while !stop.load(Ordering::Relaxed) {
                    match ask(port).await {
                        Ok(answer) if answer.starts_with("HTTP/1.0 200") => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failures.lock().unwrap().push(format!("{other:?}")),
                    }
                    pace.tick().await;
                }
            });
        }
        load
    }

    /// How many requests were answered; what was not answered otherwise than with success ends the test.
    async fn end(mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.asking.join_next().await {
            ended.unwrap();
        }
        let failures = self.failures.lock().unwrap();
        assert_eq!(*failures, Vec::<String>::new());
        self.answered.load(Ordering::Relaxed)
    }
}

async fn ask(port: u16) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_page_update_your_own_application_works_as_typed() {
    let _turn = Turn::take();
    let mut stage = Stage::start().await;
    let page = fs::read_to_string(repository().join("docs/how-to/update-your-own-application.md"))
        .unwrap();
    let frontend: u16 = format!("{}0", stage.application_ports).parse().unwrap();
    let mut load = None;
    let mut story = String::new();
    // Everything that was typed and printed, to bring the page up to date.
    let told = std::env::temp_dir().join("drover-guide-story");
    let mut complaints = Vec::new();
    for Typed { command, shown } in typed(&page) {
        if command.starts_with("drover rollout start") && load.is_none() {
            load = Some(Load::start(frontend));
        }
        let shown: Vec<String> = shown.iter().map(|line| stage.here(line)).collect();
        let command = stage.here(&command);
        let printed = stage.run(&command).await;
        write!(story, "$ {command}{printed}").unwrap();
        fs::write(&told, &story).unwrap();
        if let Some(line) = missing(&shown, &printed) {
            complaints.push(format!("{command}does not print: {line}\nbut:\n{printed}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let answered = load.unwrap().end().await;
    assert!(answered > 200, "{answered} requests");

    // Variables beside the playbooks that lead to another machine end an update before it drains anything.
    let aside = stage.root.join("etc/drover/ansible/host_vars");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("web1.yml"), "ansible_host: 192.0.2.9\n").unwrap();
    let update = "drover rollout start --group shop --distr-url http://127.0.0.1:9100/shop-1.2.0.py --watch || true";
    let refused = stage.run(&stage.here(update)).await;
    let words = "its address is `127.0.0.1` in Drover, and `ansible_host: 192.0.2.9` for Ansible";
    assert!(
        refused.contains(words) && !refused.contains("drained"),
        "{refused}"
    );

    // Evidence that does not come from the page.
    let api = Api::new(
        &format!("http://127.0.0.1:{}", stage.ports["drover"]),
        &stage.key,
    );
    let rollouts = api.get("/api/v1/rollouts").await.body;
    let statuses: Vec<&Value> = rollouts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rollout| &rollout["status"])
        .collect();
    assert_eq!(
        statuses,
        ["failed", "completed", "failed", "completed"],
        "{rollouts}"
    );
    for folder in ["shop_1", "shop_2"] {
        let folder = stage.root.join("srv").join(folder);
        assert_eq!(
            fs::read_to_string(folder.join("VERSION")).unwrap(),
            "1.1.0\n"
        );
        assert_eq!(
            fs::read_link(folder.join("current")).unwrap(),
            Path::new("releases/shop-1.1.0.py")
        );
    }
}
