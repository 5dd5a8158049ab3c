//! The contract of the runner over SSH, with a real server and the real Ansible.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::ControlHost;
use async_trait::async_trait;
use drover_domain::rollout::job::JobId;
use drover_ports::{ArtifactProbe, PlaybookRunner, RunnerError};
use drover_runner_ansible::Transport;
use drover_testkit::eventually::eventually;
use drover_testkit::runner::{Play, RunnerWorld, job};
use tempfile::TempDir;

/// A control host behind an SSH server of its own.
struct SshHost {
    host: ControlHost,
    server: Child,
    keys: TempDir,
    port: u16,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test starts its own SSH server"
)]
fn program(name: &str) -> Command {
    Command::new(name)
}

fn generate_key(file: &Path) -> String {
    let done = program("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(file)
        .status()
        .unwrap();
    assert!(done.success());
    std::fs::read_to_string(file.with_extension("pub")).unwrap()
}

fn user() -> String {
    let told = program("id").arg("-un").output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

async fn fresh() -> SshHost {
    let keys = tempfile::Builder::new().prefix("k").tempdir().unwrap();
    let here = keys.path().display().to_string();
    let host_key = generate_key(&keys.path().join("host"));
    let user_key = generate_key(&keys.path().join("user"));
    std::fs::write(keys.path().join("authorized"), user_key).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host\nAuthorizedKeysFile {here}/authorized\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
    );
    std::fs::write(keys.path().join("sshd_config"), config).unwrap();
    std::fs::write(
        keys.path().join("known_hosts"),
        format!("[127.0.0.1]:{port} {host_key}"),
    )
    .unwrap();
    if user() == "root" {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let server = program("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(keys.path().join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(10), || async {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await;
    let host = ControlHost::local(|options| options.transport = transport(keys.path(), port));
    SshHost {
        host,
        server,
        keys,
        port,
    }
}

fn transport(keys: &Path, port: u16) -> Transport {
    Transport::Ssh {
        host: "127.0.0.1".to_owned(),
        port,
        user: user(),
        identity_file: keys.join("user"),
        known_hosts_file: keys.join("known_hosts"),
        control_folder: keys.to_owned(),
    }
}

impl Drop for SshHost {
    fn drop(&mut self) {
        let sockets = std::fs::read_dir(self.keys.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        for socket in sockets.filter(|path| path.file_name().is_some_and(|name| name.len() == 40)) {
            let mut exit = program("ssh");
            exit.arg("-S")
                .arg(socket)
                .args(["-O", "exit", "--", "127.0.0.1"])
                .stderr(Stdio::null());
            exit.status().unwrap();
        }
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

#[async_trait]
impl RunnerWorld for SshHost {
    fn runner(&self) -> &dyn PlaybookRunner {
        self.host.runner()
    }

    fn artifacts(&self) -> &dyn ArtifactProbe {
        self.host.artifacts()
    }

    async fn serve(&self, status: Option<u16>) -> String {
        self.host.serve(status).await
    }

    async fn arrange(&self, playbook: &str, play: Play) {
        self.host.arrange(playbook, play).await;
    }

    async fn release(&self) {
        self.host.release().await;
    }

    async fn waits_begun(&self) -> u32 {
        self.host.waits_begun().await
    }

    async fn lose(&self, job: JobId) {
        self.host.lose(job).await;
    }
}

drover_testkit::playbook_runner_contract!(fresh);

#[tokio::test]
async fn a_host_with_another_key_is_not_spoken_to() {
    let world = fresh().await;
    let other = generate_key(&world.keys.path().join("other"));
    let known = format!("[127.0.0.1]:{} {other}", world.port);
    std::fs::write(world.keys.path().join("known_hosts"), known).unwrap();
    let refusal = world
        .runner()
        .status(job(1, "tell.yml").id)
        .await
        .unwrap_err();
    let RunnerError::Unavailable { source, .. } = &refusal else {
        unreachable!("{refusal:?}")
    };
    assert_eq!(source.to_string(), "Host key verification failed.");
    assert!(!world.host.path("spool").exists());
}

#[tokio::test]
async fn a_host_that_is_gone_is_unavailable() {
    let mut world = fresh().await;
    world.server.kill().unwrap();
    world.server.wait().unwrap();
    let refusal = world.runner().probe().await.unwrap_err();
    assert!(
        matches!(refusal, RunnerError::Unavailable { .. }),
        "{refusal:?}"
    );
}
