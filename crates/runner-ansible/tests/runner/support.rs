//! A control host of the test's own, and plays on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::rollout::job::JobId;
use drover_ports::{ArtifactProbe, PlaybookRunner};
use drover_runner_ansible::{AnsibleRunner, Options};
use drover_testkit::eventually::eventually;
use drover_testkit::runner::{Play, RunnerWorld};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A task that asks as `drover_haproxy` does, and one that prints the answer.
const ASKS_TO_DRAIN: &str = r#"shell: |
        cd "$DROVER_MAILBOX"
        echo '{"action":"drain","targets":["web1::a_1"],"drain_delay":30,"settle":0,"health_timeout":1,"ready_timeout":1,"min_ready":2}' > draft
        mv draft 1.request.json
        until [ -e 1.answer.json ]; do sleep 0.05; done
        cat 1.answer.json
      register: asked
    - ansible.builtin.debug:
        msg: "{{ answered.state }}: {{ answered.detail }}"
      vars: {answered: "{{ (asked.stdout | from_json).targets['web1::a_1'] }}"}"#;

/// A folder with a spool, a playbook folder and the marks of the plays, and a runner for it.
pub(crate) struct ControlHost {
    pub(crate) runner: AnsibleRunner,
    pub(crate) folder: TempDir,
}

impl ControlHost {
    /// This host, with the options changed by `change`.
    pub(crate) fn local(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("playbooks")).unwrap();
        let mut options =
            Options::local(folder.path().join("spool"), folder.path().join("playbooks"));
        change(&mut options);
        Self {
            runner: AnsibleRunner::new(options).unwrap(),
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn job_folder(&self, job: JobId) -> PathBuf {
        self.path("spool/jobs").join(job.to_string())
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The lines of a file; none while there is no file.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The supervisor of a job.
    pub(crate) fn supervisor(&self, job: JobId) -> i32 {
        let text = std::fs::read_to_string(self.job_folder(job).join("pid")).unwrap();
        let number = text
            .split("\"pid\": ")
            .nth(1)
            .unwrap()
            .split([',', '}'])
            .next()
            .unwrap();
        number.parse().unwrap()
    }
}

#[async_trait]
impl RunnerWorld for ControlHost {
    fn runner(&self) -> &dyn PlaybookRunner {
        &self.runner
    }

    fn artifacts(&self) -> &dyn ArtifactProbe {
        &self.runner
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the server ends with the test's runtime"
    )]
    async fn serve(&self, status: Option<u16>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Some(status) = status {
            tokio::spawn(answer_all(listener, status));
        }
        format!("http://user:pass@{address}/a%20b.zip")
    }

    async fn arrange(&self, playbook: &str, play: Play) {
        let here = self.folder.path().display();
        let (hosts, task) = match play {
            Play::TellsText => ("localhost", "debug: {msg: '{{ text }}'}".to_owned()),
            Play::Fails => ("localhost", "fail: {msg: no luck}".to_owned()),
            Play::Waits => (
                "localhost",
                format!(
                    "shell: 'echo x >> {here}/begun; until [ -e {here}/released ]; do sleep 0.05; done'"
                ),
            ),
            Play::AsksToDrain => ("localhost", ASKS_TO_DRAIN.to_owned()),
            Play::MatchesNobody => ("nobody", "debug: {msg: nobody sees this}".to_owned()),
        };
        let text = format!(
            "- hosts: {hosts}\n  gather_facts: false\n  tasks:\n    - ansible.builtin.{task}\n"
        );
        self.write(&format!("playbooks/{playbook}"), &text);
    }

    async fn release(&self) {
        self.write("released", "");
    }

    async fn waits_begun(&self) -> u32 {
        u32::try_from(self.lines("begun").len()).unwrap()
    }

    async fn lose(&self, job: JobId) {
        let session = self.supervisor(job);
        let everybody = processes_of(session);
        assert!(everybody.len() > 1, "the play runs: {everybody:?}");
        for pid in everybody {
            kill(pid, Signal::KILL);
        }
    }
}

/// The living processes of a session.
pub(crate) fn processes_of(session: i32) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        fields.first().is_some_and(|state| *state != "Z")
            && fields.get(3) == Some(&session.to_string().as_str())
    })
    .collect()
}

/// Sends a signal; a process that is gone does not mind.
pub(crate) fn kill(pid: i32, signal: Signal) {
    if let Err(error) = kill_process(Pid::from_raw(pid).unwrap(), signal) {
        assert_eq!(error, rustix::io::Errno::SRCH, "cannot signal {pid}");
    }
}

/// Waits until `path` is there.
pub(crate) async fn until_exists(path: &Path) {
    eventually(Duration::from_secs(20), || async {
        if path.exists() {
            Ok(())
        } else {
            Err(format!("there is no {}", path.display()))
        }
    })
    .await;
}

/// Answers requests with this status. As some servers do, it has no `HEAD` and no ranges.
async fn answer_all(listener: TcpListener, status: u16) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let read = stream.read(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(request.get(..read).unwrap_or_default()).into_owned();
        let is_known =
            text.contains("Authorization: Basic dXNlcjpwYXNz") && text.contains(" /a%20b.zip ");
        let (status, body) = match (is_known, text.starts_with("HEAD")) {
            (false, _) => (401, ""),
            (true, true) => (405, ""),
            (true, false) if status == 200 => (200, "abcd"),
            (true, false) => (status, ""),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.ok();
    }
}
