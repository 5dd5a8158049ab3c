//! The demo's servers and their applications: folders on disk and processes on the loopback.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::address::{Addresses, loopback};
use crate::application::{PID_FILE, VERSION_FILE};
use crate::http::{self, Request};
use crate::process::{Launch, Stage};
use crate::wait::until;

/// How many servers have applications.
pub const SERVERS: u8 = 3;

/// Most instances on one server.
pub const INSTANCES_MAX: u8 = 20;

/// Domain of the demo's servers.
const DOMAIN: &str = "demo";

/// Longest wait for the applications to answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server with applications.
#[derive(Debug, Clone)]
pub struct Server {
    /// Short name, such as `app01`.
    pub short: String,
    /// Its own address on the loopback.
    pub ip: IpAddr,
    /// Its folder: `apps` and one folder for each application.
    pub folder: PathBuf,
}

impl Server {
    /// Folder of the application descriptions.
    #[must_use]
    pub fn descriptions(&self) -> PathBuf {
        self.folder.join("apps")
    }
}

/// One instance of the application on one server.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Such as `jurws_1`.
    pub name: String,
    /// Short name of its server.
    pub server: String,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its folder: version, process id, releases.
    pub folder: PathBuf,
}

impl Instance {
    /// Full name of its server, such as `app01.demo`.
    #[must_use]
    pub fn server_name(&self) -> String {
        full_name(&self.server)
    }

    /// How HAProxy calls it.
    #[must_use]
    pub fn haproxy_server(&self) -> String {
        haproxy_server(&self.server, &self.name)
    }

    /// The version that the instance itself answers with.
    ///
    /// # Errors
    ///
    /// If it does not answer, or not as the demo application does.
    pub async fn version(&self) -> anyhow::Result<String> {
        let answer = http::once(self.address, Request::get("/health")).await?;
        anyhow::ensure!(
            answer.status == 200,
            "{} answers {}",
            self.haproxy_server(),
            answer.status
        );
        let health: serde_json::Value =
            serde_json::from_str(&answer.body).context("the answer is not JSON")?;
        let version = health.get("version").and_then(serde_json::Value::as_str);
        Ok(version.context("the answer has no version")?.to_owned())
    }
}

/// Full name of the server with the short name `server`.
#[must_use]
pub fn full_name(server: &str) -> String {
    format!("{server}.{DOMAIN}")
}

/// How HAProxy calls `application` on the server with the short name `server`.
#[must_use]
pub fn haproxy_server(server: &str, application: &str) -> String {
    format!("{server}_{application}")
}

/// All servers and instances.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Sorted by name.
    pub servers: Vec<Server>,
    /// Sorted by server, then name.
    pub instances: Vec<Instance>,
}

impl Fleet {
    /// Writes the folders of [`SERVERS`] servers with `instances` instances each into `root`, all in `version`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written or an address of the loopback cannot be used.
    pub fn lay_out(
        root: &Path,
        instances: u8,
        version: &str,
        addresses: &mut Addresses,
    ) -> anyhow::Result<Self> {
        let mut fleet = Self {
            servers: Vec::new(),
            instances: Vec::new(),
        };
        for number in 1..=SERVERS {
            let short = format!("app{number:02}");
            let server = Server {
                ip: loopback(number + 1),
                folder: root.join(&short),
                short,
            };
            std::fs::create_dir_all(server.descriptions())
                .with_context(|| format!("folder `{}` cannot be made", server.folder.display()))?;
            for number in 1..=instances {
                let name = format!("jurws_{number}");
                let instance = Instance {
                    server: server.short.clone(),
                    address: addresses.free(server.ip)?,
                    folder: server.folder.join(&name),
                    name,
                };
                lay_out(&server, &instance, version).with_context(|| {
                    format!("folder `{}` cannot be filled", instance.folder.display())
                })?;
                fleet.instances.push(instance);
            }
            fleet.servers.push(server);
        }
        Ok(fleet)
    }

    /// Starts every instance with `program`, which is this one, and waits until all answer.
    ///
    /// # Errors
    ///
    /// If one cannot be started or does not answer within 20 seconds.
    pub async fn start(&self, stage: &Stage, program: &Path) -> anyhow::Result<()> {
        for instance in &self.instances {
            let launch = Launch::new(instance.haproxy_server(), program)
                .arguments([
                    "app",
                    "--server",
                    &instance.server,
                    "--name",
                    &instance.name,
                ])
                .arguments(["--listen", &instance.address.to_string(), "--dir"])
                .arguments([&instance.folder])
                .restarted();
            stage.start(launch)?;
        }
        for instance in &self.instances {
            let what = format!("an answer of {}", instance.haproxy_server());
            until(&what, START_LIMIT, Duration::from_millis(20), || {
                instance.version()
            })
            .await?;
        }
        Ok(())
    }
}

/// Writes the folder of one instance and its description `apps/NAME.yml`, which the agent and the update playbook read.
fn lay_out(server: &Server, instance: &Instance, version: &str) -> anyhow::Result<()> {
    let folder = &instance.folder;
    std::fs::create_dir_all(folder.join("releases"))?;
    std::fs::write(folder.join(VERSION_FILE), format!("{version}\n"))?;
    let mut text = format!("name: {}\ntype: service\n", instance.name);
    write!(
        text,
        "ip: {}\nport: {}\n",
        instance.address.ip(),
        instance.address.port()
    )?;
    for (key, path) in [
        ("path", folder.clone()),
        ("version_file", folder.join(VERSION_FILE)),
        ("pid_file", folder.join(PID_FILE)),
        ("log_path", folder.join("app.log")),
        ("distr_path_file", folder.join("DISTR")),
    ] {
        // A JSON string is a YAML string, whatever the folder is called.
        writeln!(text, "{key}: {}", serde_json::to_string(&path)?)?;
    }
    writeln!(text, "health_url: http://{}/health", instance.address)?;
    let file = server.descriptions().join(format!("{}.yml", instance.name));
    Ok(std::fs::write(file, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instance_has_a_folder_a_version_and_a_description() {
        let root = tempfile::tempdir().unwrap();
        let fleet =
            Fleet::lay_out(root.path(), 2, "1.0.0", &mut Addresses::new().unwrap()).unwrap();
        let names: Vec<_> = fleet
            .instances
            .iter()
            .map(Instance::haproxy_server)
            .collect();
        assert_eq!(
            names,
            [
                "app01_jurws_1",
                "app01_jurws_2",
                "app02_jurws_1",
                "app02_jurws_2",
                "app03_jurws_1",
                "app03_jurws_2"
            ]
        );
        let second = &fleet.instances[3];
        assert_eq!(second.address.ip(), loopback(3));
        let version = std::fs::read_to_string(root.path().join("app02/jurws_2/VERSION")).unwrap();
        assert_eq!(version, "1.0.0\n");
        let description =
            std::fs::read_to_string(root.path().join("app02/apps/jurws_2.yml")).unwrap();
        let port = second.address.port();
        let folder = root.path().join("app02/jurws_2");
        for line in [
            "name: jurws_2".to_owned(),
            "ip: 127.0.0.3".to_owned(),
            format!("port: {port}"),
            format!("path: \"{}\"", folder.display()),
            format!("version_file: \"{}/VERSION\"", folder.display()),
            format!("health_url: http://127.0.0.3:{port}/health"),
        ] {
            assert!(
                description.lines().any(|found| found == line),
                "{line} is not in:\n{description}"
            );
        }
    }
}
