//! Everything that must run before an update can be shown.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::{Addresses, loopback};
use crate::api::{Api, Application, StoredServer};
use crate::artifact::Artifact;
use crate::fleet::{Fleet, Instance, full_name};
use crate::haproxy::{BACKEND, Haproxy, INSTANCE};
use crate::http::{self, Request};
use crate::postgres::{Postgres, write_secret};
use crate::process::{Handle, Launch, Stage};
use crate::screen::Screen;
use crate::tools::Tools;
use crate::wait::until;

/// The version before the update.
pub const VERSION_BEFORE: &str = "1.0.0";

/// The version after the update.
pub const VERSION_AFTER: &str = "1.1.0";

/// Short name of the server with the HAProxy.
const HAPROXY_SERVER: &str = "lb01";

/// The instance whose artifact is broken on demand: Drover's order begins with it, so it is in the even half and the
/// other half stays untouched.
const BROKEN_INSTANCE: &str = "app01/jurws_1";

/// Name of the playbook that must be in the folder of playbooks.
const ORCHESTRATOR: &str = "orchestrator-even-odd.yml";

/// Longest wait for Drover to come up: it makes its tables first.
const DROVER_LIMIT: Duration = Duration::from_mins(1);

/// Longest wait for Drover to know the whole fleet.
const FLEET_LIMIT: Duration = Duration::from_secs(40);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// How often Drover polls agents and HAProxy, in milliseconds.
const INTERVAL_MS: &str = "1000";

/// What Drover logs: not every request, for the demo itself makes four each second.
const LOG_FILTER: &str = "info,drover_http_api=warn,sqlx=warn,sea_orm_migration=warn";

/// How long Drover may take to stop, in milliseconds: less than the demo waits for a process.
const STOP_GRACE_MS: &str = "3000";

/// Where Drover keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A PostgreSQL server that the demo starts and stops.
    Postgres,
}

/// What the scene is made of.
#[derive(Debug)]
pub struct Plan {
    /// The programs.
    pub tools: Tools,
    /// The value of `PATH`.
    pub search: OsString,
    /// Absolute path of the folder of playbooks.
    pub playbooks: PathBuf,
    /// Where Drover keeps its data.
    pub database: Database,
    /// How many instances each server has.
    pub instances: u8,
    /// Whether the artifact of one instance is broken.
    pub fail_update: bool,
    /// How long the long requests take that HAProxy's old workers hold after a reload in each half; no reload without.
    pub reload: Option<Duration>,
}

impl Plan {
    /// Checks the folder of playbooks before anything is started.
    ///
    /// # Errors
    ///
    /// If the orchestrator playbook is not in it.
    pub fn check(&self) -> anyhow::Result<()> {
        let playbook = self.playbooks.join(ORCHESTRATOR);
        anyhow::ensure!(
            playbook.is_file(),
            "there is no playbook `{}`; name the folder with --playbooks",
            playbook.display()
        );
        Ok(())
    }
}

/// The running scene.
#[derive(Debug)]
pub struct Scene {
    /// Servers and instances.
    pub fleet: Fleet,
    /// The HAProxy.
    pub haproxy: Haproxy,
    /// Drover.
    pub api: Api,
    /// Drover's process.
    pub drover: Handle,
    /// Numbers of the applications in Drover, in the order of the fleet's instances.
    pub applications: Vec<i64>,
    /// Where the new version is.
    pub artifact_url: String,
    /// How long the long requests take that reloads of HAProxy leave in old workers.
    pub reload: Option<Duration>,
    /// Addresses and the key, for people.
    pub visit: String,
}

/// The addresses in Drover's configuration.
#[derive(Debug, Clone, Copy)]
struct DroverAddresses {
    api: SocketAddr,
    admin: SocketAddr,
}

impl Scene {
    /// Starts everything in `root`, in the order in which it needs each other, and waits until Drover knows the fleet.
    ///
    /// # Errors
    ///
    /// At the first part that does not come up, with the end of its log.
    pub async fn set(
        plan: &Plan,
        root: &Path,
        stage: &Stage,
        servers: &TaskTracker,
        stop: &CancellationToken,
        screen: &Screen,
    ) -> anyhow::Result<Self> {
        let mut addresses = Addresses::new()?;
        let local = loopback(1);
        let fleet = Fleet::lay_out(root, plan.instances, VERSION_BEFORE, &mut addresses)?;
        fleet.start(stage, &plan.tools.demo).await?;
        screen.line(format!(
            "{} applications in version {VERSION_BEFORE}",
            fleet.instances.len()
        ));

        let frontend = addresses.free(local)?;
        let folder = root.join(HAPROXY_SERVER);
        let haproxy = &plan.tools.haproxy;
        let longest = plan.reload.unwrap_or_default();
        let (haproxy, _) =
            Haproxy::start(stage, haproxy, &folder, &fleet, frontend, longest).await?;
        screen.line(format!("HAProxy before them on http://{frontend}/"));

        let agents = start_agents(plan, stage, &fleet, &haproxy, &mut addresses).await?;
        screen.line(format!("{} agents, one beside HAProxy", agents.len()));

        let artifact = Artifact::new(
            VERSION_AFTER,
            plan.fail_update.then(|| BROKEN_INSTANCE.to_owned()),
        );
        let artifact_address = addresses.free(local)?;
        let artifact_url = format!("http://{artifact_address}{}", artifact.path());
        servers.spawn(artifact.serve(artifact_address, stop.clone()).await?);

        let database_url = match plan.database {
            Database::Sqlite => {
                format!("sqlite://{}?mode=rwc", root.join("drover.sqlite").display())
            }
            Database::Postgres => {
                let folder = root.join("postgres");
                let address = addresses.free(local)?;
                let postgres = Postgres::start(stage, &plan.search, &folder, address).await?;
                screen.line("PostgreSQL");
                postgres.url
            }
        };
        let listens = DroverAddresses {
            api: addresses.free(local)?,
            admin: addresses.free(local)?,
        };
        let key = admin_key()?;
        let drover = stage.start(drover(plan, root, &fleet, listens, &database_url, &key)?)?;
        let api = Api::new(listens.api, &key);
        drover
            .while_it_lives(until("Drover ready", DROVER_LIMIT, PAUSE, || api.ready()))
            .await?;
        screen.line(format!("Drover on http://{}/", listens.api));

        let applications = drover
            .while_it_lives(introduce(&api, &fleet, &agents))
            .await?;
        screen.line("Drover knows the fleet and who serves what in HAProxy\n");
        let visit = visit(&fleet, &haproxy, &agents, listens, &artifact_url, &key);
        Ok(Self {
            fleet,
            haproxy,
            api,
            drover,
            applications,
            artifact_url,
            reload: plan.reload,
            visit: visit.context("the addresses cannot be written down")?,
        })
    }
}

/// An agent and the server it is beside.
#[derive(Debug, Clone)]
struct Agent {
    server: String,
    address: SocketAddr,
    has_haproxy: bool,
}

async fn start_agents(
    plan: &Plan,
    stage: &Stage,
    fleet: &Fleet,
    haproxy: &Haproxy,
    addresses: &mut Addresses,
) -> anyhow::Result<Vec<Agent>> {
    let mut agents = Vec::new();
    let mut start = |short: &str, ip, has_haproxy, arguments: Vec<OsString>| {
        let agent = Agent {
            server: full_name(short),
            address: addresses.free(ip)?,
            has_haproxy,
        };
        let launch = Launch::new(format!("agent-{short}"), &plan.tools.drover_agent)
            .arguments([
                "--listen",
                &agent.address.to_string(),
                "--server-name",
                &agent.server,
            ])
            .arguments(arguments);
        let handle = stage.start(launch)?;
        anyhow::Ok((agent, handle))
    };
    let mut started = Vec::new();
    for server in &fleet.servers {
        let descriptions = server.descriptions().into_os_string();
        started.push(start(
            &server.short,
            server.ip,
            false,
            vec!["--apps-dir".into(), descriptions],
        )?);
    }
    let named = |path: &Path| {
        let mut socket = OsString::from(format!("{INSTANCE}="));
        socket.push(path);
        socket
    };
    let (socket, master) = (named(&haproxy.socket.path), named(&haproxy.master.path));
    started.push(start(
        HAPROXY_SERVER,
        loopback(1),
        true,
        vec![
            "--haproxy".into(),
            socket,
            "--haproxy-master".into(),
            master,
        ],
    )?);
    for (agent, handle) in started {
        let what = format!("an answer of the agent of {}", agent.server);
        let answer = until(&what, DROVER_LIMIT, PAUSE, || async {
            let answer = http::once(agent.address, Request::get("/ping")).await?;
            anyhow::ensure!(answer.status == 200, "/ping answers {}", answer.status);
            Ok(())
        });
        handle.while_it_lives(answer).await?;
        agents.push(agent);
    }
    Ok(agents)
}

/// `drover serve`, configured by its environment.
fn drover(
    plan: &Plan,
    root: &Path,
    fleet: &Fleet,
    listens: DroverAddresses,
    database_url: &str,
    key: &str,
) -> anyhow::Result<Launch> {
    let key_file = root.join("admin.key");
    write_secret(&key_file, key)?;
    let url_file = root.join("database.url");
    write_secret(&url_file, database_url)?;
    let inventory_file = root.join("inventory.json");
    std::fs::write(&inventory_file, inventory(fleet).to_string())
        .with_context(|| format!("`{}` cannot be written", inventory_file.display()))?;
    Ok(Launch::new("drover", &plan.tools.drover)
        .arguments(["serve"])
        .folder(root)
        .variable("DROVER_SERVER__LISTEN", listens.api.to_string())
        .variable("DROVER_SERVER__ADMIN_LISTEN", listens.admin.to_string())
        .variable("DROVER_SERVER__SHUTDOWN_GRACE_MS", STOP_GRACE_MS)
        .variable("DROVER_DATABASE__URL_FILE", url_file)
        .variable("DROVER_FLEET__POLLING_INTERVAL_MS", INTERVAL_MS)
        .variable("DROVER_HAPROXY__SYNC_INTERVAL_MS", INTERVAL_MS)
        .variable("DROVER_ANSIBLE__TARGET", "local")
        .variable("DROVER_ANSIBLE__PLAYBOOKS", &plan.playbooks)
        .variable("DROVER_ANSIBLE__SPOOL", root.join("spool"))
        // The very program that was found, also in a virtual environment.
        .variable(
            "DROVER_ANSIBLE__ANSIBLE_PLAYBOOK",
            &plan.tools.ansible_playbook,
        )
        .variable("DROVER_ANSIBLE__INVENTORY", inventory_file)
        .variable("DROVER_ACCESS__ADMIN_KEY_FILE", key_file)
        .variable("DROVER_LOG__FILTER", LOG_FILTER))
}

/// Ansible's inventory of the fleet: every server is this machine, with a folder of its own.
fn inventory(fleet: &Fleet) -> Value {
    let hosts: serde_json::Map<String, Value> = fleet
        .servers
        .iter()
        .map(|server| {
            let variables = json!({
                "ansible_connection": "local",
                // The Python that has Ansible also has what its modules need.
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "drover_apps_dir": server.descriptions(),
            });
            (server.short.clone(), variables)
        })
        .collect();
    json!({ "all": { "hosts": hosts } })
}

/// A new key of Drover's form: 8 random bytes as its public name, 32 as its secret.
fn admin_key() -> anyhow::Result<String> {
    let (mut name, mut secret) = ([0_u8; 8], [0_u8; 32]);
    for bytes in [name.as_mut_slice(), secret.as_mut_slice()] {
        getrandom::fill(bytes)
            .map_err(|error| anyhow::anyhow!("no random key can be made: {error}"))?;
    }
    Ok(format!(
        "drv_{}_{}",
        HEXLOWER.encode(&name),
        BASE64URL_NOPAD.encode(&secret)
    ))
}

/// Adds the servers to Drover and waits until it knows every instance, its version and its place in HAProxy.
async fn introduce(api: &Api, fleet: &Fleet, agents: &[Agent]) -> anyhow::Result<Vec<i64>> {
    api.scan_orchestrators().await?;
    let mut servers: Vec<StoredServer> = Vec::new();
    for agent in agents {
        servers.push(
            api.add_server(&agent.server, agent.address, agent.has_haproxy)
                .await?,
        );
    }
    // The one with the HAProxy is the last: what it serves is known then.
    for server in &servers {
        api.refresh(server).await?;
    }
    until("Drover knowing the fleet", FLEET_LIMIT, PAUSE, || async {
        let known = api.applications().await?;
        fleet
            .instances
            .iter()
            .map(|instance| known_as(instance, &known))
            .collect::<anyhow::Result<Vec<i64>>>()
    })
    .await
}

/// The number of the instance, if Drover knows all that it must.
fn known_as(instance: &Instance, known: &[Application]) -> anyhow::Result<i64> {
    let name = instance.haproxy_server();
    let application = find_application(instance, known)
        .with_context(|| format!("Drover does not know {name}"))?;
    anyhow::ensure!(
        application.status == "online",
        "{name} is `{}`",
        application.status
    );
    let version = application.version.as_deref();
    anyhow::ensure!(
        version == Some(VERSION_BEFORE),
        "Drover has version {version:?} of {name}"
    );
    let server = application.haproxy_server.as_deref();
    let wanted = format!("{BACKEND}/{name}");
    anyhow::ensure!(
        server == Some(&*wanted),
        "Drover has {name} as {server:?} in HAProxy"
    );
    Ok(application.id)
}

/// Drover's application for the instance.
#[must_use]
pub fn find_application<'known>(
    instance: &Instance,
    known: &'known [Application],
) -> Option<&'known Application> {
    let server = instance.server_name();
    known.iter().find(|application| {
        application.server_name.as_deref() == Some(&*server) && application.name == instance.name
    })
}

fn visit(
    fleet: &Fleet,
    haproxy: &Haproxy,
    agents: &[Agent],
    listens: DroverAddresses,
    artifact_url: &str,
    key: &str,
) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "Drover       http://{0}/api/applications (documentation: http://{0}/docs)\n\
         key          {key}\n\
         metrics      http://{1}/metrics\n\
         HAProxy      http://{2}/ (socket {3})\n\
         new version  {artifact_url}\n",
        listens.api,
        listens.admin,
        haproxy.frontend,
        haproxy.socket.path.display()
    );
    for agent in agents {
        writeln!(
            text,
            "agent        {} http://{}/api/v1/apps",
            agent.server, agent.address
        )?;
    }
    for instance in &fleet.instances {
        writeln!(
            text,
            "application  {} http://{}/",
            instance.haproxy_server(),
            instance.address
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> (tempfile::TempDir, Fleet) {
        let root = tempfile::tempdir().unwrap();
        let fleet = Fleet::lay_out(
            root.path(),
            1,
            VERSION_BEFORE,
            &mut Addresses::new().unwrap(),
        )
        .unwrap();
        (root, fleet)
    }

    #[test]
    fn a_key_has_drovers_form_and_is_new_each_time() {
        let key = admin_key().unwrap();
        let parts: Vec<&str> = key.splitn(3, '_').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("drv", 16, 43));
        assert_ne!(key, admin_key().unwrap());
    }

    #[test]
    fn the_inventory_names_every_server_by_its_short_name() {
        let (root, fleet) = fleet();
        let inventory = inventory(&fleet);
        let host = &inventory["all"]["hosts"]["app02"];
        assert_eq!(host["ansible_connection"], "local");
        assert_eq!(
            host["drover_apps_dir"],
            root.path().join("app02/apps").to_str().unwrap()
        );
        assert_eq!(inventory["all"]["hosts"].as_object().unwrap().len(), 3);
    }

    #[test]
    fn the_fleet_is_known_when_every_fact_is_there() {
        let (_root, fleet) = fleet();
        let known = Application {
            id: 7,
            server_name: Some("app01.demo".to_owned()),
            name: "jurws_1".to_owned(),
            status: "online".to_owned(),
            version: Some(VERSION_BEFORE.to_owned()),
            haproxy_server: Some("jurws/app01_jurws_1".to_owned()),
        };
        let complaint = |known: Application| {
            known_as(&fleet.instances[0], &[known])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            known_as(&fleet.instances[0], std::slice::from_ref(&known)).unwrap(),
            7
        );
        let offline = Application {
            status: "offline".to_owned(),
            ..known.clone()
        };
        assert!(complaint(offline).contains("`offline`"));
        let unversioned = Application {
            version: None,
            ..known.clone()
        };
        assert!(complaint(unversioned).contains("version None"));
        let elsewhere = Application {
            haproxy_server: Some("jurws/app02_jurws_1".to_owned()),
            ..known.clone()
        };
        assert!(complaint(elsewhere).contains("app02_jurws_1"));
        let other = Application {
            server_name: Some("app02.demo".to_owned()),
            ..known
        };
        assert!(complaint(other).contains("does not know"));
    }

    #[test]
    fn the_secrets_of_drover_are_in_files_of_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let (root, fleet) = fleet();
        let address = fleet.instances[0].address;
        let listens = DroverAddresses {
            api: address,
            admin: address,
        };
        let nowhere = PathBuf::from("/nowhere");
        let plan = Plan {
            tools: Tools {
                haproxy: nowhere.clone(),
                ansible_playbook: nowhere.clone(),
                drover: nowhere.clone(),
                drover_agent: nowhere.clone(),
                demo: nowhere.clone(),
            },
            search: OsString::new(),
            playbooks: nowhere,
            database: Database::Sqlite,
            instances: 1,
            fail_update: false,
            reload: None,
        };
        let launch = drover(
            &plan,
            root.path(),
            &fleet,
            listens,
            "postgres://u:SECRET@h/d",
            "drv_KEY",
        )
        .unwrap();
        let shown = format!("{launch:?}");
        assert!(
            !shown.contains("SECRET") && !shown.contains("drv_KEY"),
            "{shown}"
        );
        for file in ["admin.key", "database.url"] {
            let mode = root
                .path()
                .join(file)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert!(
            plan.check()
                .unwrap_err()
                .to_string()
                .contains("--playbooks")
        );
    }
}
