//! Settings as they are believed: an impossible combination does not exist.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Toml};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::raw;
use crate::variables::{Variables, name_of};

const DEFAULTS: &str = include_str!("../defaults.toml");

/// The queue of updates; how much of it runs at once is said elsewhere.
const ROLLOUTS: &str = "rollouts";

/// The shortest lease; a shorter one could not be renewed in time.
const LEASE_MIN_MS: u64 = 1_000;

const DAY: Duration = Duration::from_hours(24);

/// All settings.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is the section its type names")]
pub struct Settings {
    pub server: Server,
    pub database: Database,
    pub fleet: Fleet,
    pub haproxy: Haproxy,
    pub ansible: Ansible,
    pub engine: Engine,
    pub http_request: HttpRequest,
    pub rollout: Rollout,
    pub access: Access,
    pub log: Log,
}

/// Listening and stopping.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where metrics and probes listen.
    pub admin_listen: SocketAddr,
    /// The longest a request may take.
    pub request_timeout: Duration,
    /// How long a stopping service waits.
    pub shutdown_grace: Duration,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its URL; may hold a password.
    pub url: SecretString,
    /// The URL at which notifications of other nodes are listened for, when `url` leads to a connection pooler.
    pub listen_url: Option<SecretString>,
    /// Connections to PostgreSQL, besides one that listens.
    pub pool_size: NonZeroU32,
    /// The longest a query waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a starting service waits for it.
    pub start_timeout: Duration,
}

/// Polling.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How often each server is polled.
    pub polling_interval: Duration,
    /// The longest an agent may take for one answer.
    pub connection_timeout: Duration,
    /// How many failures in a row make a server offline.
    pub offline_after: NonZeroU32,
    /// How many polls in a row without an inventory leave the applications of a server whose agent answers without data.
    pub no_data_after: NonZeroU32,
    /// Whether an application on a server that has none in a group yet is only proposed to it.
    pub proposes_new_members: bool,
    /// How long applications that are gone are kept.
    pub forget_after: Duration,
    /// How many agents are asked at once.
    pub poll_concurrency: NonZeroUsize,
    /// How long events are kept.
    pub events_retention: Duration,
    /// What opens the agents.
    pub agent_token: Option<SecretString>,
    /// What opened the agents before; for those that do not have the new token yet.
    pub former_agent_token: Option<SecretString>,
}

/// HAProxy.
#[derive(Debug, Clone)]
pub struct Haproxy {
    /// How often each HAProxy is synced.
    pub sync_interval: Duration,
    /// The longest an agent may take for one answer about HAProxy.
    pub request_timeout: Duration,
    /// The minimum number of servers of a backend that take requests while others are drained.
    pub min_ready: u32,
    /// How long status changes are kept.
    pub history_retention: Duration,
}

/// The control host.
#[derive(Debug, Clone)]
pub struct Ansible {
    /// How it is reached.
    pub target: AnsibleTarget,
    /// Its playbook folder.
    pub playbooks: PathBuf,
    /// Where jobs keep their files.
    pub spool: PathBuf,
    /// An inventory of the administrator, used besides the one each job gets.
    pub inventory: Option<PathBuf>,
    /// A configuration file of Ansible.
    pub config: Option<PathBuf>,
    /// Its Python.
    pub python: String,
    /// Its ansible-playbook.
    #[expect(clippy::struct_field_names, reason = "the program is called so")]
    pub ansible_playbook: String,
    /// The longest a play may run.
    pub max_runtime: Duration,
}

/// How the control host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnsibleTarget {
    /// It is this host.
    Local,
    /// By SSH, its host key strictly checked.
    Ssh {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
        /// The user.
        user: String,
        /// The private key.
        identity_file: PathBuf,
        /// The host keys that are believed.
        known_hosts_file: PathBuf,
        /// The folder of this host for the shared connection's socket.
        control_folder: PathBuf,
    },
}

/// Workflows.
#[derive(Debug, Clone)]
pub struct Engine {
    /// How long this node holds tasks without a sign of life.
    pub lease: Duration,
    /// How often an idle node polls for work that it got no hint about.
    pub poll_interval: Duration,
    /// How long ended workflows are kept.
    pub retention: Duration,
    /// How many tasks of each queue this node works on at once.
    pub queues: BTreeMap<String, NonZeroU32>,
}

/// Requests that workflows make.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Whether http is spoken besides https.
    pub plain_http: bool,
    /// Whether public addresses may be called.
    pub public: bool,
    /// Ranges of addresses that may be called besides, as they were written.
    pub allow: Vec<String>,
    /// Ranges of addresses that may not be called in any case, as they were written.
    pub deny: Vec<String>,
    /// The longest a connection is waited for.
    pub connect_timeout: Duration,
    /// The longest one request may take.
    pub deadline_max: Duration,
}

/// Updates.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The update playbook where no setting names one.
    pub default_playbook: String,
    /// The orchestrator playbook where a request names none.
    pub default_orchestrator: String,
    /// How many updates run at once on this node.
    pub workers: NonZeroUsize,
    /// How long ended updates are kept.
    pub retention: Duration,
}

/// Who may use the service.
#[derive(Debug, Clone)]
pub struct Access {
    /// A fixed key with the role admin.
    pub admin_key: Option<SecretString>,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// Which events are logged.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// A settings file that was read.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// Its text, TOML.
    pub text: &'a str,
}

/// Settings that cannot be used; the message goes to the administrator unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key is unknown, missing or of the wrong type.
    #[error("{reason}")]
    Unreadable {
        /// What and where.
        reason: String,
    },
    /// A value is not possible.
    #[error("setting `{key}` {reason}")]
    Impossible {
        /// The dotted key.
        key: &'static str,
        /// What it must be.
        reason: String,
    },
    /// A file that a setting names cannot be read.
    #[error("setting `{key}` names the file `{path}`, which cannot be read")]
    File {
        /// The dotted key.
        key: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Reads settings: defaults, then `file`, then `variables` (`DROVER_SECTION__KEY`); later ones win.
/// Files that hold secrets are read here.
///
/// # Errors
///
/// [`SettingsError`], naming the key and where it stands.
pub fn load(
    file: Option<Source<'_>>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    let figment = layers(file, variables)?;
    let raw: raw::Raw = figment
        .extract()
        .map_err(|error| SettingsError::Unreadable {
            reason: sentence(file, error),
        })?;
    raw.try_into()
}

/// The layers of settings, the last one strongest.
pub(crate) fn layers(
    file: Option<Source<'_>>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Figment, SettingsError> {
    let defaults = Figment::new().merge(Toml::string(DEFAULTS));
    let variables = Variables::new(variables, &defaults).map_err(|name| SettingsError::Unreadable {
        reason: format!(
            "the variable `{name}` is no setting; settings are called DROVER_SECTION__KEY, with two underscores"
        ),
    })?;
    let mut figment = defaults;
    if let Some(file) = file {
        figment = figment.merge(Toml::string(file.text));
    }
    let figment = figment.merge(variables);
    if figment.contains(FORMER_HAPROXY) {
        return Err(SettingsError::Unreadable {
            reason: format!(
                "the section `[{FORMER_HAPROXY}]` is named `[haproxy]`; rename it, and variables \
                 `DROVER_BALANCER__…` to `DROVER_HAPROXY__…`"
            ),
        });
    }
    Ok(figment)
}

// Earlier settings files have the section under this name.
const FORMER_HAPROXY: &str = "balancer";

/// Settings whose values are never shown.
pub(crate) const SECRETS: [&str; 5] = [
    "access.admin_key",
    "database.listen_url",
    "database.url",
    "fleet.agent_token",
    "fleet.former_agent_token",
];

pub(crate) fn sentence(file: Option<Source<'_>>, error: figment::Error) -> String {
    let mut sentences = Vec::new();
    for error in error {
        let key = error.path.join(".");
        let origin = match (&error.metadata, file) {
            (Some(metadata), _) if metadata.name == "variable" => {
                format!("the variable `{}`", name_of(&key))
            }
            (_, Some(file)) => format!("`{}`", file.name),
            (_, None) => "the settings".to_owned(),
        };
        // The kind of an error repeats the value.
        let reason = if SECRETS.contains(&key.as_str()) {
            "it is not a text".to_owned()
        } else {
            without_source(&error.kind.to_string())
        };
        sentences.push(if key.is_empty() {
            format!("in {origin}: {reason}")
        } else {
            format!("setting `{key}` in {origin}: {reason}")
        });
    }
    sentences.join("; ")
}

// A syntax error shows the line it is about, and that line may hold a secret: what remains is
// where it is, and what is wrong.
fn without_source(message: &str) -> String {
    let mut lines = message.lines().filter(|line| !line.trim().is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        (Some(only), None) => only.to_owned(),
        (None, _) => String::new(),
    }
}

impl TryFrom<raw::Raw> for Settings {
    type Error = SettingsError;

    fn try_from(raw: raw::Raw) -> Result<Self, SettingsError> {
        Ok(Self {
            server: Server {
                listen: address("server.listen", &raw.server.listen)?,
                admin_listen: address("server.admin_listen", &raw.server.admin_listen)?,
                request_timeout: millis(
                    "server.request_timeout_ms",
                    raw.server.request_timeout_ms,
                )?,
                shutdown_grace: Duration::from_millis(raw.server.shutdown_grace_ms),
            },
            database: database(raw.database)?,
            fleet: fleet(raw.fleet)?,
            haproxy: Haproxy {
                sync_interval: millis("haproxy.sync_interval_ms", raw.haproxy.sync_interval_ms)?,
                request_timeout: millis(
                    "haproxy.request_timeout_ms",
                    raw.haproxy.request_timeout_ms,
                )?,
                min_ready: raw.haproxy.min_ready,
                history_retention: days(
                    "haproxy.history_retention_days",
                    raw.haproxy.history_retention_days,
                )?,
            },
            ansible: ansible(raw.ansible)?,
            engine: engine(raw.engine)?,
            http_request: HttpRequest {
                plain_http: raw.http_request.plain_http,
                public: raw.http_request.public,
                allow: raw.http_request.allow,
                deny: raw.http_request.deny,
                connect_timeout: millis(
                    "http_request.connect_timeout_ms",
                    raw.http_request.connect_timeout_ms,
                )?,
                deadline_max: millis(
                    "http_request.deadline_max_ms",
                    raw.http_request.deadline_max_ms,
                )?,
            },
            rollout: Rollout {
                default_playbook: filled("rollout.default_playbook", raw.rollout.default_playbook)?,
                default_orchestrator: filled(
                    "rollout.default_orchestrator",
                    raw.rollout.default_orchestrator,
                )?,
                workers: NonZeroUsize::new(raw.rollout.workers)
                    .ok_or_else(|| positive("rollout.workers"))?,
                retention: days("rollout.retention_days", raw.rollout.retention_days)?,
            },
            access: Access {
                admin_key: secret(
                    "access.admin_key",
                    "access.admin_key_file",
                    raw.access.admin_key,
                    raw.access.admin_key_file,
                )?,
            },
            log: Log {
                format: match raw.log.format.as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    other => {
                        return Err(impossible(
                            "log.format",
                            format!("must be \"text\" or \"json\", not \"{other}\""),
                        ));
                    }
                },
                filter: raw.log.filter,
            },
        })
    }
}

fn fleet(raw: raw::Fleet) -> Result<Fleet, SettingsError> {
    Ok(Fleet {
        polling_interval: millis("fleet.polling_interval_ms", raw.polling_interval_ms)?,
        connection_timeout: millis("fleet.connection_timeout_ms", raw.connection_timeout_ms)?,
        offline_after: NonZeroU32::new(raw.offline_after)
            .ok_or_else(|| positive("fleet.offline_after"))?,
        no_data_after: NonZeroU32::new(raw.no_data_after)
            .ok_or_else(|| positive("fleet.no_data_after"))?,
        proposes_new_members: matches!(raw.new_members, raw::NewMembers::Propose),
        forget_after: days("fleet.forget_after_days", raw.forget_after_days)?,
        poll_concurrency: NonZeroUsize::new(raw.poll_concurrency)
            .ok_or_else(|| positive("fleet.poll_concurrency"))?,
        events_retention: days("fleet.events_retention_days", raw.events_retention_days)?,
        agent_token: secret(
            "fleet.agent_token",
            "fleet.agent_token_file",
            raw.agent_token,
            raw.agent_token_file,
        )?,

        former_agent_token: secret(
            "fleet.former_agent_token",
            "fleet.former_agent_token_file",
            raw.former_agent_token,
            raw.former_agent_token_file,
        )?,
    })
}

fn database(raw: raw::Database) -> Result<Database, SettingsError> {
    let written = match raw.url_file {
        // The default URL does not count as given.
        Some(path) => read("database.url_file", path)?,
        None => raw.url,
    };
    database_url("database.url", &written)?;
    let listen_url = secret(
        "database.listen_url",
        "database.listen_url_file",
        raw.listen_url,
        raw.listen_url_file,
    )?;
    if let Some(url) = &listen_url {
        database_url("database.listen_url", url)?;
        if !is_postgres(url) || !is_postgres(&written) {
            return Err(impossible(
                "database.listen_url",
                "is for PostgreSQL only, like `database.url` beside it".to_owned(),
            ));
        }
    }
    Ok(Database {
        url: written,
        listen_url,
        pool_size: NonZeroU32::new(raw.pool_size).ok_or_else(|| positive("database.pool_size"))?,
        acquire_timeout: millis("database.acquire_timeout_ms", raw.acquire_timeout_ms)?,
        start_timeout: Duration::from_millis(raw.start_timeout_ms),
    })
}

fn is_postgres(url: &SecretString) -> bool {
    url.expose_secret().starts_with("postgres")
}

fn database_url(key: &'static str, url: &SecretString) -> Result<(), SettingsError> {
    let text = url.expose_secret();
    if text.starts_with("sqlite:") {
        return Ok(());
    }
    if let Some((scheme, rest)) = text.split_once("://")
        && matches!(scheme, "postgres" | "postgresql")
        && let Some(sign) = raw_sign(rest)
    {
        return Err(impossible(
            key,
            format!(
                "has a raw `{sign}` in its user or password; write special characters percent-encoded: `@` as %40, \
                 `:` as %3A, `/` as %2F, `?` as %3F, `#` as %23, `%` as %25"
            ),
        ));
    }
    match Url::parse(text)
        .map(|url| url.scheme().to_owned())
        .as_deref()
    {
        Ok("postgres" | "postgresql") => Ok(()),
        Ok(other) => Err(impossible(
            key,
            format!("must begin with sqlite:// or postgres://, not {other}://"),
        )),
        Err(_) => Err(impossible(
            key,
            "must be a URL that begins with sqlite:// or postgres://".to_owned(),
        )),
    }
}

/// A sign that ends the user or the password of a URL too early, in what follows its `://`.
fn raw_sign(rest: &str) -> Option<char> {
    let (end, delimiter) = rest
        .char_indices()
        .find(|(_, sign)| "/?#".contains(*sign))
        .map_or((rest.len(), None), |(at, sign)| (at, Some(sign)));
    let (authority, tail) = rest.split_at(end);
    if let Some((user, _)) = authority.rsplit_once('@') {
        if user.contains('@') {
            return Some('@');
        }
        if user
            .split('%')
            .skip(1)
            .any(|text| !is_hexadecimal(text.get(..2)))
        {
            return Some('%');
        }
    }
    // What looks like the host and the port is the user and the beginning of the password. An `@` in a parameter is
    // none: `/name?user=a@b`.
    let (before, _) = tail.split_once('@')?;
    let is_parameter = before.contains('=') && before.contains('?') && has_port_or_none(authority);
    if delimiter == Some('#') || !is_parameter {
        return delimiter;
    }
    None
}

fn has_port_or_none(authority: &str) -> bool {
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    after_host
        .split_once(':')
        .is_none_or(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()))
}

fn is_hexadecimal(digits: Option<&str>) -> bool {
    digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn ansible(raw: raw::Ansible) -> Result<Ansible, SettingsError> {
    let target = match raw.target.as_str() {
        "local" => AnsibleTarget::Local,
        "ssh" => AnsibleTarget::Ssh {
            host: needed("ansible.ssh_host", raw.ssh_host)?,
            port: raw.ssh_port,
            user: filled("ansible.ssh_user", raw.ssh_user)?,
            identity_file: needed("ansible.ssh_identity_file", raw.ssh_identity_file)?.into(),
            known_hosts_file: needed("ansible.ssh_known_hosts_file", raw.ssh_known_hosts_file)?
                .into(),
            control_folder: filled("ansible.ssh_control_folder", raw.ssh_control_folder)?.into(),
        },
        other => {
            return Err(impossible(
                "ansible.target",
                format!("must be \"local\" or \"ssh\", not \"{other}\""),
            ));
        }
    };
    Ok(Ansible {
        target,
        playbooks: filled("ansible.playbooks", raw.playbooks)?.into(),
        spool: filled("ansible.spool", raw.spool)?.into(),
        inventory: raw.inventory.map(PathBuf::from),
        config: raw.config.map(PathBuf::from),
        python: filled("ansible.python", raw.python)?,
        ansible_playbook: filled("ansible.ansible_playbook", raw.ansible_playbook)?,
        max_runtime: millis("ansible.max_runtime_ms", raw.max_runtime_ms)?,
    })
}

fn engine(raw: raw::Engine) -> Result<Engine, SettingsError> {
    if raw.queues.contains_key(ROLLOUTS) {
        return Err(impossible(
            "engine.queues.rollouts",
            "is not given here; `rollout.workers` says how many updates run at once".to_owned(),
        ));
    }
    Ok(Engine {
        lease: at_least(LEASE_MIN_MS, "engine.lease_ms", raw.lease_ms)?,
        poll_interval: millis("engine.poll_interval_ms", raw.poll_interval_ms)?,
        retention: days("engine.retention_days", raw.retention_days)?,
        queues: raw
            .queues
            .into_iter()
            .filter_map(|(name, most)| Some((name, NonZeroU32::new(most)?)))
            .collect(),
    })
}

fn days(key: &'static str, days: u32) -> Result<Duration, SettingsError> {
    if days == 0 {
        return Err(positive(key));
    }
    Ok(DAY * days)
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, SettingsError> {
    text.parse().map_err(|_| {
        impossible(
            key,
            format!("must be an address with a port such as 127.0.0.1:8080, not `{text}`"),
        )
    })
}

fn millis(key: &'static str, value: u64) -> Result<Duration, SettingsError> {
    if value == 0 {
        Err(positive(key))
    } else {
        Ok(Duration::from_millis(value))
    }
}

fn at_least(least: u64, key: &'static str, value: u64) -> Result<Duration, SettingsError> {
    if value < least {
        return Err(impossible(key, format!("must be at least {least}")));
    }
    Ok(Duration::from_millis(value))
}

fn filled(key: &'static str, text: String) -> Result<String, SettingsError> {
    if text.trim().is_empty() {
        Err(impossible(key, "must not be empty".to_owned()))
    } else {
        Ok(text)
    }
}

fn needed(key: &'static str, text: Option<String>) -> Result<String, SettingsError> {
    let text = text
        .ok_or_else(|| impossible(key, "is needed when `ansible.target` is \"ssh\"".to_owned()))?;
    filled(key, text)
}

fn secret(
    key: &'static str,
    file_key: &'static str,
    value: Option<SecretString>,
    file: Option<String>,
) -> Result<Option<SecretString>, SettingsError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(impossible(
            key,
            format!("and `{file_key}` are both given; give one"),
        )),
        (Some(value), None) => Ok(Some(value)),
        (None, Some(path)) => read(file_key, path).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(key: &'static str, path: String) -> Result<SecretString, SettingsError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(SecretString::from(
            text.trim_end_matches(['\n', '\r']).to_owned(),
        )),
        Err(source) => Err(SettingsError::File { key, path, source }),
    }
}

fn positive(key: &'static str) -> SettingsError {
    impossible(key, "must be at least 1".to_owned())
}

const fn impossible(key: &'static str, reason: String) -> SettingsError {
    SettingsError::Impossible { key, reason }
}
