//! One server with two applications, a playbook that waits for a word, and `drover serve`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_testkit::eventually::eventually;
use drover_testkit::store::postgres::{self, Cluster, Durability};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::process::{Process, Turn, binary, free_port};

/// Leaves a line in `mark` each time it runs, waits for `go`, then writes the version that the agent reads.
const ORCHESTRATOR: &str = r#"---
# Marks its run and waits
#
# Required parameters:
#   app_instances - the instances
#
- name: Mark and wait
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: leave a mark
      ansible.builtin.command:
        argv: [sh, -c, 'echo run >> "$0"', "{{ playbook_dir }}/mark"]
    - name: wait for the word
      ansible.builtin.wait_for:
        path: "{{ playbook_dir }}/go"
        sleep: 1
        timeout: 120
    - name: bring the new version
      ansible.builtin.replace:
        path: "{{ playbook_dir }}/../apps/{{ item.split('::')[1] }}.yml"
        regexp: "1\\.0\\.0"
        replace: "1.1.0"
      loop: "{{ app_instances.split(',') }}"
    - name: report
      ansible.builtin.debug:
        msg:
          drover_report: {composite: "{{ item }}", outcome: done}
      loop: "{{ app_instances.split(',') }}"
"#;

/// Which database the service keeps its truth in.
#[derive(Debug)]
pub(crate) enum Database {
    /// A file in the world's folder.
    Sqlite,
    /// A server of its own, with one database.
    Postgres(Cluster, postgres::Database),
}

impl Database {
    /// A PostgreSQL server for one journey.
    #[must_use]
    pub(crate) fn postgres() -> Self {
        let cluster = Cluster::private(Durability::Fast);
        let database = cluster.database("drover");
        Self::Postgres(cluster, database)
    }
}

/// The world of one journey.
#[derive(Debug)]
pub(crate) struct World {
    /// The running service; `None` between a kill and a restart.
    pub(crate) service: Option<Process>,
    /// A client with the admin key.
    pub(crate) api: Api,
    /// The database.
    pub(crate) database: Database,
    _agent: Process,
    folder: TempDir,
    variables: Vec<(String, String)>,
    _turn: Turn,
    urls: [String; 2],
    /// The most files the service may open, where that is not the system's affair.
    files: Option<u32>,
}

impl World {
    /// Starts agent and service, adds the server, and waits until its applications are known.
    pub(crate) async fn start(database: Database) -> Self {
        Self::begin(database, None).await
    }

    /// The same, with a service that may open only so many files.
    pub(crate) async fn start_within(database: Database, files: u32) -> Self {
        Self::begin(database, Some(files)).await
    }

    async fn begin(database: Database, files: Option<u32>) -> Self {
        let turn = Turn::take();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let agent = start_agent(root);
        let playbooks = root.join("playbooks");
        fs::create_dir(&playbooks).unwrap();
        fs::write(playbooks.join("orchestrator-mark.yml"), ORCHESTRATOR).unwrap();
        fs::write(playbooks.join("update-app.yml"), "- hosts: localhost\n").unwrap();

        let key = format!("drv_{}_{}", "0123456789abcdef", "A".repeat(43));
        let (port, admin_port) = (free_port(), free_port());
        let url = match &database {
            Database::Sqlite => {
                format!("sqlite://{}?mode=rwc", root.join("drover.sqlite").display())
            }
            Database::Postgres(_, database) => database.url(),
        };
        let variables = [
            ("DROVER_SERVER__LISTEN", format!("127.0.0.1:{port}")),
            (
                "DROVER_SERVER__ADMIN_LISTEN",
                format!("127.0.0.1:{admin_port}"),
            ),
            ("DROVER_DATABASE__URL", url),
            ("DROVER_DATABASE__START_TIMEOUT_MS", "3000".to_owned()),
            ("DROVER_FLEET__POLLING_INTERVAL_MS", "1000".to_owned()),
            ("DROVER_ENGINE__LEASE_MS", "3000".to_owned()),
            ("DROVER_ANSIBLE__PLAYBOOKS", playbooks.display().to_string()),
            (
                "DROVER_ANSIBLE__SPOOL",
                root.join("spool").display().to_string(),
            ),
            ("DROVER_ACCESS__ADMIN_KEY", key.clone()),
        ];
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let api = Api::new(&format!("http://127.0.0.1:{port}"), &key);
        let mut world = Self {
            service: None,
            api,
            database,
            _agent: agent.0,
            folder,
            variables,
            _turn: turn,
            urls: [port, admin_port].map(|port| format!("http://127.0.0.1:{port}")),
            files,
        };
        world.start_service().await;
        world.add_server(agent.1).await;
        world
    }

    /// Starts the service, again if it was killed, and waits until it is ready.
    pub(crate) async fn start_service(&mut self) {
        self.service = Some(self.spawn_service());
        self.until_ready(Duration::from_secs(20)).await;
    }

    /// Starts the service and does not wait.
    #[must_use]
    pub(crate) fn spawn_service(&self) -> Process {
        let (drover, log) = (binary("drover"), self.folder.path().join("drover.log"));
        let Some(files) = self.files else {
            return Process::start(&drover, &["serve"], &self.variables, &log);
        };
        let command = format!("ulimit -n {files}; exec \"$0\" serve");
        let drover = drover.display().to_string();
        Process::start(
            Path::new("/bin/sh"),
            &["-c", &command, &drover],
            &self.variables,
            &log,
        )
    }

    /// Where the API is.
    #[must_use]
    pub(crate) fn api_url(&self) -> String {
        self.urls[0].clone()
    }

    /// Where the admin listener is.
    #[must_use]
    pub(crate) fn admin_url(&self) -> String {
        self.urls[1].clone()
    }

    /// Waits until the only server was polled this many times more, and returns it.
    pub(crate) async fn until_polled_again(&self, times: usize) -> Value {
        let mut last = Value::Null;
        for _ in 0..times {
            last = eventually(Duration::from_secs(20), || async {
                let answer = self.api.try_get("/api/servers").await?;
                let server = answer.body["items"][0].clone();
                if server["last_check"] == last["last_check"] {
                    Err(format!("{server}; log:\n{}", self.log()))
                } else {
                    Ok(server)
                }
            })
            .await;
        }
        last
    }

    /// Waits until the service is ready.
    pub(crate) async fn until_ready(&self, deadline: Duration) {
        eventually(deadline, || async {
            match self.api.try_get("/readyz").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}; log:\n{}", self.log())),
            }
        })
        .await;
    }

    /// What the service logged, over all its lives.
    #[must_use]
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("drover.log")).unwrap_or_default()
    }

    /// The identifiers of the applications.
    pub(crate) async fn applications(&self) -> Vec<i64> {
        let answer = self.api.get("/api/applications").await;
        answer.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_i64().unwrap())
            .collect()
    }

    /// Asks for an update of all applications and returns the task's path.
    pub(crate) async fn update(&self) -> String {
        let body = json!({
            "app_ids": self.applications().await,
            "distr_url": "http://127.0.0.1/jurws-1.1.0.zip",
            "orchestrator_playbook": "orchestrator-mark.yml",
        });
        let answer = self.api.post("/api/v1/rollouts", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        format!(
            "/api/v1/rollouts/{}",
            answer.body["rollout_ids"][0].as_str().unwrap()
        )
    }

    /// Waits until the play left its mark, and says how many there are.
    pub(crate) async fn until_marked(&self) -> usize {
        eventually(Duration::from_secs(30), || async {
            match self.marks() {
                0 => Err(format!("the play did not start; log:\n{}", self.log())),
                marks => Ok(marks),
            }
        })
        .await
    }

    /// How often the play was started.
    #[must_use]
    pub(crate) fn marks(&self) -> usize {
        fs::read_to_string(self.folder.path().join("playbooks/mark"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    /// Gives the play the word to go on.
    pub(crate) fn go(&self) {
        fs::write(self.folder.path().join("playbooks/go"), "").unwrap();
    }

    /// Waits until the task has one of these statuses and returns it.
    pub(crate) async fn until_status(&self, task: &str, statuses: &[&str]) -> Value {
        eventually(Duration::from_secs(30), || async {
            let answer = self
                .api
                .try_get(task)
                .await
                .map_err(|reason| format!("{reason}; log:\n{}", self.log()))?;
            let status = answer.body["status"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if statuses.contains(&status.as_str()) {
                Ok(answer.body)
            } else {
                Err(format!("{}; log:\n{}", answer.body, self.log()))
            }
        })
        .await
    }

    async fn add_server(&self, port: u16) {
        let body = json!({"name": "app01.test", "address": "127.0.0.1", "port": port});
        let answer = self.api.post("/api/servers", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let refresh = format!("/api/servers/{}/refresh", answer.body["id"]);
        eventually(Duration::from_secs(20), || async {
            let answer = self.api.post(&refresh, &json!({})).await;
            if answer.body["applications"] == 2 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
        // Nothing happened in between, and the real stores say so.
        let again = self.api.post(&refresh, &json!({})).await;
        assert_eq!(again.body["outcome"], "unchanged", "{again:?}");
        let scan = self.api.post("/api/orchestrators/scan", &json!({})).await;
        assert_eq!(scan.status, 200, "{scan:?}");
    }
}

fn start_agent(root: &Path) -> (Process, u16) {
    let descriptions: PathBuf = root.join("apps");
    fs::create_dir(&descriptions).unwrap();
    for name in ["jurws_1", "jurws_2"] {
        let text = format!("name: {name}\ntype: service\nversion: '1.0.0'\n");
        fs::write(descriptions.join(format!("{name}.yml")), text).unwrap();
    }
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let descriptions = descriptions.display().to_string();
    let arguments = [
        "--listen",
        &listen,
        "--apps-dir",
        &descriptions,
        "--server-name",
        "app01.test",
    ];
    (
        Process::start(
            &binary("drover-agent"),
            &arguments,
            &[],
            &root.join("agent.log"),
        ),
        port,
    )
}
