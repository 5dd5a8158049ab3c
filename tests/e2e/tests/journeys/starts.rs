//! How the service starts, or does not: keys of the settings, disks, folders, databases; and its exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use drover_testkit::eventually::eventually;
use drover_testkit::store::postgres::{Cluster, Durability};
use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::process::{Process, binary, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with what services leave behind.
struct Ground {
    folder: TempDir,
    port: u16,
    admin: u16,
}

fn key(digit: char) -> String {
    format!("drv_{}_{}", digit.to_string().repeat(16), "A".repeat(43))
}

impl Ground {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            admin: free_port(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sqlite(&self) -> String {
        format!("sqlite://{}", self.path().join("drover.sqlite").display())
    }

    fn start(&self, url: &str, admin_key: Option<&str>) -> Process {
        self.start_with(url, admin_key, &[])
    }

    fn start_with(&self, url: &str, admin_key: Option<&str>, more: &[(&str, &str)]) -> Process {
        let root = self.path();
        let mut variables = vec![
            ("DROVER_SERVER__LISTEN", format!("127.0.0.1:{}", self.port)),
            (
                "DROVER_SERVER__ADMIN_LISTEN",
                format!("127.0.0.1:{}", self.admin),
            ),
            ("DROVER_DATABASE__URL", url.to_owned()),
            ("DROVER_DATABASE__START_TIMEOUT_MS", "2000".to_owned()),
            ("DROVER_ANSIBLE__PLAYBOOKS", root.display().to_string()),
            (
                "DROVER_ANSIBLE__SPOOL",
                root.join("spool").display().to_string(),
            ),
        ];
        if let Some(key) = admin_key {
            variables.push(("DROVER_ACCESS__ADMIN_KEY", key.to_owned()));
        }
        variables.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let variables: Vec<(String, String)> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Process::start(&binary("drover"), &["serve"], &variables, &root.join("log"))
    }

    fn api(&self, key: &str) -> Api {
        Api::new(&format!("http://127.0.0.1:{}", self.port), key)
    }

    async fn until_ready(&self, service: &Process) {
        let api = self.api("");
        eventually(PATIENCE, async || match api.try_get("/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}; {}", service.log())),
        })
        .await;
    }

    async fn status(&self, key: &str) -> u16 {
        self.api(key).get("/api/v1/access/keys").await.status
    }

    fn drover(&self, key: &str, arguments: &[&str]) -> Output {
        run(
            Path::new(&binary("drover")),
            arguments,
            &[
                ("DROVER_URL", format!("http://127.0.0.1:{}", self.port)),
                ("DROVER_API_KEY", key.to_owned()),
            ],
        )
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "journeys start the real binaries"
)]
fn run(program: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in variables {
        command.env(name, value);
    }
    command.output().unwrap()
}

// The secret may have the separator in it.
fn secret_of(key: &str) -> &str {
    key.split_at("drv_0123456789abcdef_".len()).1
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_key_of_the_settings_is_the_truth_at_each_start() {
    let ground = Ground::new();
    let url = ground.sqlite();
    let (a, b) = (key('a'), key('b'));
    for (configured, valid, dead) in [
        (Some(&a), vec![&a], vec![&b]),
        (Some(&b), vec![&b], vec![&a]),
        (None, vec![], vec![&a, &b]),
        (Some(&a), vec![&a], vec![&b]),
    ] {
        let mut service = ground.start(&url, configured.map(String::as_str));
        ground.until_ready(&service).await;
        for key in valid {
            assert_eq!(ground.status(key).await, 200, "{}", service.log());
        }
        for key in dead {
            assert_eq!(ground.status(key).await, 401, "{}", service.log());
        }
        service.signal("TERM");
        service.wait(PATIENCE);
    }
    // Without a key in the settings there has to be another one: it was made, and is in the log.
    let log = std::fs::read_to_string(ground.path().join("log")).unwrap();
    assert_eq!(log.matches("this is the first start").count(), 1, "{log}");
}

#[tokio::test]
async fn the_first_key_is_shown_whatever_is_logged() {
    for filter in ["error", "loud"] {
        let ground = Ground::new();
        let filter = [("DROVER_LOG__FILTER", filter)];
        let service = ground.start_with(&ground.sqlite(), None, &filter);
        ground.until_ready(&service).await;
        let log = service.log();
        let key = log.split("API key is ").nth(1).unwrap_or_default();
        let key = key.split(' ').next().unwrap_or_default();
        assert_eq!(ground.status(key).await, 200, "{log}");
    }
}

#[tokio::test]
async fn keys_are_managed_by_the_command_line() {
    let ground = Ground::new();
    let admin = key('a');
    let service = ground.start(&ground.sqlite(), Some(&admin));
    ground.until_ready(&service).await;

    let added = ground.drover(
        &admin,
        &[
            "keys",
            "add",
            "text worker",
            "--role",
            "operator",
            "--expires-in",
            "90d",
        ],
    );
    assert!(added.status.success(), "{}", text(&added.stderr));
    let worker = text(&added.stdout).trim_end().to_owned();
    assert!(
        worker.starts_with("drv_") && worker.lines().count() == 1,
        "{worker}"
    );
    assert!(
        !text(&added.stderr).contains("drv_"),
        "the secret goes to one place"
    );
    assert_eq!(
        ground.api(&worker).get("/api/v1/workflows").await.status,
        200
    );
    assert_eq!(ground.status(&worker).await, 403);

    let listed = ground.drover(&admin, &["keys", "list"]);
    let shown = text(&listed.stdout);
    assert!(
        shown.contains("text worker") && shown.contains("operator"),
        "{shown}"
    );
    assert!(!shown.contains(secret_of(&worker)), "{shown}");

    let refused = ground.drover(&worker, &["keys", "list"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    let refused = ground.drover(&admin, &["keys", "revoke", "configured admin"]);
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("`access.admin_key`"));
    let unknown = ground.drover(&admin, &["keys", "revoke", "nothing"]);
    assert_eq!(unknown.status.code(), Some(5), "{}", text(&unknown.stderr));

    let revoked = ground.drover(&admin, &["keys", "revoke", "text worker"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert_eq!(
        ground.api(&worker).get("/api/v1/workflows").await.status,
        401
    );
    let secret = secret_of(&worker);
    assert!(!service.log().contains(secret), "no secret is logged");
}

#[tokio::test]
async fn a_key_holds_on_every_node_at_once() {
    let (one, two) = (Ground::new(), Ground::new());
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("drover");
    let admin = key('a');
    let services = [
        one.start(&database.url(), Some(&admin)),
        two.start(&database.url(), Some(&admin)),
    ];
    one.until_ready(&services[0]).await;
    two.until_ready(&services[1]).await;
    let body = json!({ "name": "both", "role": "viewer" });
    let issued = one.api(&admin).post("/api/v1/access/keys", &body).await;
    let key = issued.body["key"].as_str().unwrap();
    assert_eq!(two.api(key).get("/api/v1/servers").await.status, 200);
    let revoked = two.drover(&admin, &["keys", "revoke", "both"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert_eq!(one.api(key).get("/api/v1/servers").await.status, 401);
}

fn ends_with(ground: &Ground, url: &str, code: i32, sentence: &str) {
    let mut service = ground.start(url, Some(&key('a')));
    let status = service.wait(PATIENCE);
    let log = service.log();
    assert_eq!(status.code(), Some(code), "{url}: {log}");
    assert!(log.contains(sentence), "{url}: {log}");
    assert!(!log.contains("hunter2"), "{url}: {log}");
}

#[tokio::test]
async fn what_cannot_pass_ends_with_78_and_what_may_with_69() {
    let ground = Ground::new();
    let missing = ground.path().join("no/such");
    let cluster = Cluster::private(Durability::Fast);
    let database = cluster.database("drover");
    let sql = |statement: &str| drop(database.ask(statement));
    sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
    sql("CREATE DATABASE standby");
    sql("ALTER DATABASE standby SET default_transaction_read_only = on");
    sql("CREATE DATABASE closed");
    sql("CREATE ROLE weak LOGIN");
    let at = |name: &str| database.url().replace("/drover?", &format!("/{name}?"));
    for (url, code, sentence) in [
        (
            format!("sqlite://{}/drover.sqlite", missing.display()),
            69,
            "create it",
        ),
        (
            "postgres://drover:hunter2@127.0.0.1:1/drover".to_owned(),
            69,
            "Connection refused",
        ),
        (
            "postgres://drover:hun#ter2@127.0.0.1/drover".to_owned(),
            78,
            "raw `#`",
        ),
        (at("latin"), 78, "UTF8"),
        (at("standby"), 69, "read-only"),
        (at("nowhere"), 69, "does not exist"),
        (
            at("closed").replace("postgres@", "weak@"),
            69,
            "lacks a right",
        ),
    ] {
        ends_with(&ground, &url, code, sentence);
    }
}

#[tokio::test]
async fn the_start_window_is_kept() {
    let ground = Ground::new();
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for url in [
        format!("postgres://drover@127.0.0.1:{port}/drover"),
        "postgres://drover@127.0.0.1:1/drover".to_owned(),
    ] {
        let begun = Instant::now();
        ends_with(&ground, &url, 69, "within 2 s");
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(3_500), "{url}: {took:?}");
    }
}

/// A small file system of its own, or `None` where nothing can be mounted.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path) -> Option<Self> {
        let at = folder.display().to_string();
        let options = ["-t", "tmpfs", "-o", "size=4m", "drover-disk", &at];
        let mounted = run(Path::new("mount"), &options, &[]);
        mounted.status.success().then(|| Self(folder.to_owned()))
    }

    fn remount(&self, how: &str) {
        let at = self.0.display().to_string();
        let done = run(
            Path::new("mount"),
            &["-o", &format!("remount,{how}"), &at],
            &[],
        );
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    fn fill(&self) {
        let ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        let mut ballast = std::io::BufWriter::new(ballast);
        while std::io::Write::write_all(&mut ballast, &[7; 4096]).is_ok() {}
        drop(ballast.into_inner());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run(
            Path::new("umount"),
            &["--lazy", &self.0.display().to_string()],
            &[],
        ));
    }
}

#[tokio::test]
async fn a_full_or_read_only_disk_at_the_start_may_pass() {
    let ground = Ground::new();
    let folder = ground.path().join("disk");
    std::fs::create_dir(&folder).unwrap();
    let Some(disk) = Disk::mount(&folder) else {
        // The exit codes of the causes are held by the tests of the program; here is no right to mount.
        assert!(!folder.join("ballast").exists());
        return;
    };
    let url = format!("sqlite://{}", folder.join("drover.sqlite").display());
    disk.fill();
    ends_with(&ground, &url, 69, "full");
    std::fs::remove_file(folder.join("ballast")).unwrap();
    disk.remount("ro");
    ends_with(&ground, &url, 69, "drover.sqlite");
    disk.remount("rw");
    let mut service = ground.start(&url, Some(&key('a')));
    ground.until_ready(&service).await;
    // A clean stop removes SQLite's log and its index, and a start needs 32 KiB for them again.
    service.kill();

    // With everything in place, a full disk is no reason not to start and to be read.
    disk.fill();
    let service = ground.start(&url, Some(&key('a')));
    let api = ground.api(&key('a'));
    let refusal = eventually(PATIENCE, async || match api.try_get("/readyz").await {
        Ok(answer) if answer.status == 503 => Ok(answer),
        other => Err(format!("{other:?}; {}", service.log())),
    })
    .await;
    assert_eq!(
        refusal.body["detail"],
        "the database cannot be written: its disk is full"
    );
    assert_eq!(
        api.get("/api/v1/servers").await.status,
        200,
        "{}",
        service.log()
    );
    std::fs::remove_file(folder.join("ballast")).unwrap();
    let back = Instant::now();
    ground.until_ready(&service).await;
    assert!(back.elapsed() < Duration::from_secs(5));
    let body = json!({"name": "web01", "address": "127.0.0.1", "port": 9});
    assert_eq!(
        api.post("/api/v1/servers", &body).await.status,
        201,
        "{}",
        service.log()
    );
}
