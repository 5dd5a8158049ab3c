//! Several `drover serve` on one PostgreSQL, and what workflows they have.

use std::process::Command;
use std::time::Duration;

use drover_testkit::eventually::eventually;
use drover_testkit::store::postgres::{self, Cluster, Durability};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::process::{Process, Turn, binary, free_port};

/// Longer than anything takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A database that nodes share.
#[derive(Debug)]
pub(crate) struct Nodes {
    settings: Vec<(String, String)>,
    key: String,
    folder: TempDir,
    database: postgres::Database,
    _cluster: Cluster,
    _turn: Turn,
}

/// A `drover serve`.
#[derive(Debug)]
pub(crate) struct Node {
    /// The process.
    pub(crate) process: Process,
    /// A client with the admin key.
    pub(crate) api: Api,
    /// Where it listens.
    pub(crate) url: String,
}

impl Nodes {
    /// A database of their own, and what is set besides: variables without `DROVER_`.
    #[must_use]
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let turn = Turn::take();
        let cluster = Cluster::private(Durability::Fast);
        let settings = settings
            .iter()
            .map(|(name, value)| (format!("DROVER_{name}"), (*value).to_owned()));
        Self {
            settings: settings.collect(),
            key: format!("drv_{}_{}", "0123456789abcdef", "A".repeat(43)),
            folder: tempfile::tempdir().unwrap(),
            database: cluster.database("drover"),
            _cluster: cluster,
            _turn: turn,
        }
    }

    /// The admin key.
    #[must_use]
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether some node has a transaction open that has locked or written something, and does nothing in it.
    pub(crate) fn is_within_a_transaction(&self) -> bool {
        let question = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND backend_xid IS NOT NULL";
        #[expect(
            clippy::disallowed_methods,
            reason = "a look at what no interface of ours shows"
        )]
        let mut psql = Command::new("psql");
        let answer = psql
            .args([&self.database.url(), "-X", "-A", "-t", "-c", question])
            .output()
            .unwrap();
        assert!(answer.status.success(), "{answer:?}");
        answer.stdout.trim_ascii() != b"0"
    }

    /// Starts one more node and waits until it is ready.
    pub(crate) async fn start(&self) -> Node {
        self.start_on(free_port()).await
    }

    /// Starts a node that listens on this port, and waits until it is ready.
    pub(crate) async fn start_on(&self, port: u16) -> Node {
        let folder = self.folder.path();
        let admin = free_port();
        let own = [
            ("DROVER_SERVER__LISTEN", format!("127.0.0.1:{port}")),
            ("DROVER_SERVER__ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
            ("DROVER_DATABASE__URL", self.database.url()),
            ("DROVER_ANSIBLE__PLAYBOOKS", folder.display().to_string()),
            (
                "DROVER_ANSIBLE__SPOOL",
                folder.join("spool").display().to_string(),
            ),
            ("DROVER_ACCESS__ADMIN_KEY", self.key.clone()),
            ("DROVER_HTTP_REQUEST__ALLOW", "127.0.0.1/32".to_owned()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let variables: Vec<_> = own.into_iter().chain(self.settings.clone()).collect();
        let log = folder.join(format!("drover-{port}.log"));
        let url = format!("http://127.0.0.1:{port}");
        let node = Node {
            process: Process::start(&binary("drover"), &["serve"], &variables, &log),
            api: Api::new(&url, &self.key),
            url,
        };
        node.until_ready().await;
        node
    }
}

impl Node {
    /// Waits until it is ready.
    pub(crate) async fn until_ready(&self) {
        eventually(PATIENCE, || async {
            match self.api.try_get("/readyz").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}; log:\n{}", self.process.log())),
            }
        })
        .await;
    }

    /// What its worker is called.
    #[must_use]
    pub(crate) fn worker(&self) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        format!("{}-{}", host.trim(), self.process.id())
    }

    /// Starts a workflow of tasks that wait for nothing.
    pub(crate) async fn begin(&self, tasks: &[Value]) -> String {
        let body = json!({"name": "journey", "execution_mode": "parallel", "tasks": tasks});
        let answer = self.api.post("/api/v1/workflows", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// The workflow.
    pub(crate) async fn workflow(&self, id: &str) -> Value {
        self.api.get(&format!("/api/v1/workflows/{id}")).await.body
    }

    /// Waits until the workflow has succeeded.
    pub(crate) async fn until_succeeded(&self, id: &str) {
        eventually(PATIENCE, || async {
            let workflow = self.workflow(id).await;
            match workflow["status"].as_str() {
                Some("succeeded") => Ok(()),
                _ => Err(format!("{workflow}; log:\n{}", self.process.log())),
            }
        })
        .await;
    }

    /// Every task of the workflow.
    pub(crate) async fn tasks(&self, id: &str) -> Vec<Value> {
        self.all(&format!("/api/v1/workflows/{id}/tasks")).await
    }

    /// What happened to the workflow.
    pub(crate) async fn history(&self, id: &str) -> Vec<Value> {
        self.all(&format!("/api/v1/workflows/{id}/history")).await
    }

    /// What came of a task.
    pub(crate) async fn result(&self, task: &Value) -> Value {
        let (workflow, id) = (text(&task["workflow_id"]), text(&task["id"]));
        let path = format!("/api/v1/workflows/{workflow}/tasks/{id}");
        self.api.get(&path).await.body["result"].clone()
    }

    async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.api.get(&format!("{path}?limit=200{cursor}")).await;
            assert_eq!(page.status, 200, "{page:?}");
            let found = page.body["items"].as_array().unwrap();
            items.extend(found.iter().cloned());
            match page.body["next_cursor"].as_str() {
                // The history of what has not ended has always a next page.
                Some(next) if !found.is_empty() => cursor = format!("&cursor={next}"),
                Some(_) | None => return items,
            }
        }
    }
}

/// The text of a value that is one.
#[must_use]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What happened to one task, each as event, attempt and detail.
#[must_use]
pub(crate) fn story(history: &[Value], task: &Value) -> Vec<(String, u64, String)> {
    history
        .iter()
        .filter(|event| event["task_id"] == task["id"])
        .map(|event| {
            let attempt = event["attempt"].as_u64().unwrap();
            let (kind, detail) = (text(&event["event"]), text(&event["detail"]));
            (kind.to_owned(), attempt, detail.to_owned())
        })
        .collect()
}
