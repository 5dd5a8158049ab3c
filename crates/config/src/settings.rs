//! Settings as they are believed: what cannot be is not representable.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How Drover is reached.
    pub server: Server,
    /// Where it keeps its truth.
    pub database: Database,
    /// How servers are polled.
    pub fleet: Fleet,
    /// How HAProxy is read.
    pub balancer: Balancer,
    /// Where and how playbooks run.
    pub ansible: Ansible,
    /// How updates are rolled out.
    pub rollout: Rollout,
    /// Who may use the API.
    pub access: Access,
    /// What is logged.
    pub log: Log,
}

/// How Drover is reached.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where the API listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where metrics and health are shown without a key.
    pub admin_listen: SocketAddr,
    /// The most time one API request may take.
    pub request_timeout: Duration,
    /// The most time given to open requests and to the hand-over of tasks after the wish to stop.
    pub shutdown_grace: Duration,
}

/// Where Drover keeps its truth.
#[derive(Debug, Clone)]
pub struct Database {
    /// A `sqlite:` or `postgres:` URL; it may contain a password.
    pub url: SecretString,
    /// The most open connections.
    pub pool_size: NonZeroU32,
    /// The most time to wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long a start waits for a database that does not answer yet.
    pub start_timeout: Duration,
}

/// How servers are polled.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How often each server is polled.
    pub polling_interval: Duration,
    /// The most time an agent may take for one answer about its applications.
    pub connection_timeout: Duration,
    /// How many polls in a row must fail before a server is offline.
    pub offline_after: NonZeroU32,
    /// How many agents are asked at once.
    pub poll_concurrency: NonZeroUsize,
}

/// How HAProxy is read through its agent.
#[derive(Debug, Clone)]
pub struct Balancer {
    /// How often each HAProxy is read.
    pub sync_interval: Duration,
    /// The most time an agent may take for one answer about HAProxy.
    pub request_timeout: Duration,
}

/// Where and how playbooks run. Paths are those of the control host.
#[derive(Debug, Clone)]
pub struct Ansible {
    /// The control host.
    pub target: AnsibleTarget,
    /// The folder with the playbooks.
    pub playbooks: PathBuf,
    /// The folder for running and finished jobs.
    pub spool: PathBuf,
    /// The inventory given to Ansible; without one, Ansible's own choice.
    pub inventory: Option<PathBuf>,
    /// The Python that runs the jobs: a program name or a path.
    pub python: String,
    /// The program that runs playbooks: a program name or a path.
    pub ansible_playbook: String,
    /// The most time a playbook may run.
    pub max_runtime: Duration,
}

/// The machine playbooks run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnsibleTarget {
    /// This machine.
    Local,
    /// Another one, over SSH.
    Ssh {
        /// Its name or address.
        host: String,
        /// Its SSH port.
        port: NonZeroU16,
        /// The user there.
        user: String,
        /// The private key to log in with; without one, what the ssh program finds.
        identity_file: Option<PathBuf>,
        /// The known host keys; without one, those of the user Drover runs as.
        known_hosts_file: Option<PathBuf>,
    },
}

/// How updates are rolled out.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The update playbook with its parameters, where no setting names one.
    pub default_playbook: String,
    /// The orchestrator playbook, where a request names none.
    pub default_orchestrator: String,
    /// How many updates run at once.
    pub workers: NonZeroUsize,
    /// How long a worker keeps a task without a sign of life.
    pub lease: Duration,
}

/// Who may use the API.
#[derive(Debug, Clone)]
pub struct Access {
    /// An admin key that is always valid; its form is not checked here.
    pub admin_key: Option<SecretString>,
}

/// What is logged.
#[derive(Debug, Clone)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// A level, or a list such as `info,drover_usecases=debug`; its grammar is not checked here.
    pub filter: String,
}

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People.
    Text,
    /// Machines: one JSON object per line.
    Json,
}
