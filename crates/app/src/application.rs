//! The service put together.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drover_config::{AnsibleTarget, Settings};
use drover_domain::fleet::GroupEntry;
use drover_domain::fleet::inventory::PollPolicy;
use drover_domain::rollout::orchestrator::is_orchestrator_file;
use drover_domain::rollout::playbook_path::PlaybookPath;
use drover_domain::workflow::QueueName;
use drover_fagent_http::FagentHttp;
use drover_peer_http::WebhookHttp;
use drover_ports::IdSource;
use drover_runner_ansible::{AnsibleRunner, Transport};
use drover_store_sea_orm::{MigrateError, OpenError, SeaOrmStore};
use drover_usecases::{
    Engine, EngineOptionsError, HistoryAges, KindTaken, Kinds, Policy, Ports, Service,
};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::{SystemClock, UuidV7};
use crate::descriptors::Budget;
use crate::engine;
use crate::keys::{self, KeyError};
use crate::meter::MeteredAgents;
use crate::serve::{self, Listeners, Work};
use crate::telemetry;

const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// Drover, ready to serve.
pub struct Application {
    service: Service,
    engine: Engine,
    queues: Vec<QueueName>,
    ids: Arc<dyn IdSource>,
    listeners: Listeners,
    budget: Budget,
    grace: Duration,
    request_timeout: Duration,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database is not there within the start window.
    #[error("the database did not answer within {} s", .waited.as_secs())]
    Database {
        /// How long it was waited for.
        waited: Duration,
        /// Why not.
        source: OpenError,
    },
    /// The database cannot be opened, and waiting does not help.
    #[error(transparent)]
    Open(OpenError),
    /// The schema cannot be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A setting does not fit this machine.
    #[error("{reason}")]
    Settings {
        /// What is wrong.
        reason: String,
    },
    /// A folder that a setting names cannot be used.
    #[error("setting `{setting}` names `{}`, which cannot be {tried}", .folder.display())]
    Folder {
        /// The setting.
        setting: &'static str,
        /// The folder.
        folder: PathBuf,
        /// What was tried: created, read.
        tried: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A setting of the engine makes no sense.
    #[error("the engine cannot be started: {0}")]
    Engine(#[from] EngineOptionsError),
    /// Two handlers for one kind: a defect.
    #[error(transparent)]
    Kind(#[from] KindTaken),
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An address cannot be listened on.
    #[error("nothing can listen on {address}; is another Drover running there?")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The HTTP client cannot be made.
    #[error("the agents cannot be spoken to")]
    Client {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Application {
    /// Real adapters for every port.
    ///
    /// # Errors
    ///
    /// [`StartError`], naming the step.
    pub async fn build(settings: &Settings) -> Result<Self, StartError> {
        check(settings)?;
        let store = Arc::new(connect(settings).await?);
        store.migrate().await?;
        let agents = agents(settings)?;
        let webhooks =
            WebhookHttp::new(engine::requests(settings)?).map_err(|source| StartError::Client {
                source: Box::new(source),
            })?;
        let ports = Ports::over(
            store,
            Arc::new(MeteredAgents::new(Arc::new(agents))),
            Arc::new(prepared_runner(settings)?),
            Arc::new(webhooks),
            Arc::new(SystemClock::default()),
            Arc::new(UuidV7),
        );
        Self::with_ports(settings, ports).await
    }

    /// The same service over any ports; what tests and other services start.
    ///
    /// # Errors
    ///
    /// [`StartError`], naming the step.
    pub async fn with_ports(settings: &Settings, ports: Ports) -> Result<Self, StartError> {
        let (clock, ids) = (Arc::clone(&ports.clock), Arc::clone(&ports.ids));
        let engine_ports = ports.engine.clone();
        let service = Service::new(ports, policy(settings, engine::kinds()?));
        let options = engine::options(settings)?;
        let queues = options.queues.iter().map(|queue| queue.name.clone());
        let queues = queues.collect();
        let engine = Engine::new(
            engine_ports,
            Arc::clone(&clock),
            Arc::clone(&ids),
            engine::handlers(settings, &service)?,
            options,
        )?;
        keys::ensure(
            &service.access,
            settings.access.admin_key.as_ref(),
            clock.now(),
        )
        .await?;
        let listeners = Listeners {
            api: listen(settings.server.listen).await?,
            admin: listen(settings.server.admin_listen).await?,
        };
        Ok(Self {
            service,
            engine,
            queues,
            ids,
            listeners,
            budget: Budget::of(settings),
            grace: settings.server.shutdown_grace,
            request_timeout: settings.server.request_timeout,
        })
    }

    /// Where the API listens; useful when it was asked to pick a port.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listeners.api.local_addr()
    }

    /// Serves until `stop` completes; then takes nothing new, hands over the tasks in hand, and
    /// returns when the last request is answered or the grace is over.
    ///
    /// # Errors
    ///
    /// What a listener says when it breaks.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        let mut http = drover_http_api::Options::new({
            let ids = Arc::clone(&self.ids);
            Arc::new(move || ids.draw())
        });
        http.request_timeout = self.request_timeout;
        let work = Work {
            service: self.service,
            engine: self.engine,
            queues: self.queues,
        };
        serve::serve(work, self.listeners, http, self.budget, self.grace, stop).await
    }
}

/// Whether every setting can be used, as far as that can be said without starting anything.
///
/// # Errors
///
/// [`StartError::Settings`].
pub(crate) fn check(settings: &Settings) -> Result<(), StartError> {
    telemetry::filter(&settings.log).map_err(|reason| StartError::Settings { reason })?;
    keys::configured(settings.access.admin_key.as_ref())?;
    let server = &settings.server;
    if server.listen == server.admin_listen && server.listen.port() != 0 {
        return Err(StartError::Settings {
            reason: format!(
                "the settings `server.listen` and `server.admin_listen` are both {}; give each its own port",
                server.listen
            ),
        });
    }
    match store_options(settings).check() {
        Err(error) if !error.may_pass() => return Err(StartError::Open(error)),
        Ok(()) | Err(_) => {}
    }
    agents(settings)?;
    engine::options(settings)?;
    engine::requests(settings)?;
    runner(settings)?;
    let folder = absolute(&settings.ansible.playbooks)?;
    let path = PlaybookPath::parse(&settings.rollout.default_playbook)
        .and_then(|path| path.file_in(&folder.to_string_lossy()).map(drop));
    path.map_err(|error| StartError::Settings {
        reason: format!("setting `rollout.default_playbook` cannot be used: {error}"),
    })?;
    let orchestrator = &settings.rollout.default_orchestrator;
    if is_orchestrator_file(orchestrator) {
        Ok(())
    } else {
        Err(StartError::Settings {
            reason: format!(
                "setting `rollout.default_orchestrator` is `{orchestrator}`, which cannot be an orchestrator playbook: the name of one has `orchestrator` in it, ends in .yml or .yaml, and names no folder"
            ),
        })
    }
}

fn agents(settings: &Settings) -> Result<FagentHttp, StartError> {
    let unusable = |setting: &str, error: &dyn std::fmt::Display| StartError::Settings {
        reason: format!("setting `{setting}` cannot be used: {error}"),
    };
    let mut agents = FagentHttp::new(drover_fagent_http::Options {
        inventory_deadline: settings.fleet.connection_timeout,
        haproxy_deadline: settings.haproxy.request_timeout,
    })
    .map_err(|source| StartError::Client {
        source: Box::new(source),
    })?;
    if let Some(token) = &settings.fleet.agent_token {
        agents = agents
            .with_token(token.expose_secret())
            .map_err(|error| unusable("fleet.agent_token", &error))?;
    }
    if let Some(token) = &settings.fleet.former_agent_token {
        agents = agents
            .with_former_token(token.expose_secret())
            .map_err(|error| unusable("fleet.former_agent_token", &error))?;
    }
    Ok(agents)
}

fn store_options(settings: &Settings) -> drover_store_sea_orm::Options {
    let database = &settings.database;
    let mut options = drover_store_sea_orm::Options::new(database.url.expose_secret());
    options.listen_url = database
        .listen_url
        .as_ref()
        .map(|url| url.expose_secret().to_owned());
    options.connections_max = database.pool_size;
    options.acquire_timeout = database.acquire_timeout;
    options
}

/// Opens the database, waiting for it as long as the start window lasts and no longer.
pub(crate) async fn connect(settings: &Settings) -> Result<SeaOrmStore, StartError> {
    let database = &settings.database;
    let options = store_options(settings);
    let end = Instant::now() + database.start_timeout;
    let mut last = None;
    loop {
        let source = match timeout_at(end, SeaOrmStore::connect(&options)).await {
            Ok(Ok(store)) => return Ok(store),
            // A folder does not appear by itself.
            Ok(Err(error)) if !error.may_pass() || matches!(error, OpenError::NoFolder { .. }) => {
                return Err(StartError::Open(error));
            }
            Ok(Err(error)) => error,
            Err(_) => last.unwrap_or(OpenError::Unreachable {
                kind: "configured",
                source: "the server does not answer".into(),
            }),
        };
        if Instant::now() + DATABASE_RETRY > end {
            return Err(StartError::Database {
                waited: database.start_timeout,
                source,
            });
        }
        tracing::warn!(
            error = &source as &(dyn std::error::Error + 'static),
            "the database is not there yet"
        );
        last = Some(source);
        sleep(DATABASE_RETRY).await;
    }
}

fn prepared_runner(settings: &Settings) -> Result<AnsibleRunner, StartError> {
    let runner = runner(settings)?;
    if let AnsibleTarget::Ssh { control_folder, .. } = &settings.ansible.target {
        private(&absolute(control_folder)?)?;
    }
    Ok(runner)
}

/// The runner; nothing is made on this host, and the control host is not spoken to.
fn runner(settings: &Settings) -> Result<AnsibleRunner, StartError> {
    let ansible = &settings.ansible;
    let (playbooks, spool) = (absolute(&ansible.playbooks)?, absolute(&ansible.spool)?);
    let mut options = drover_runner_ansible::Options::local(spool, playbooks);
    options.inventory = ansible.inventory.as_deref().map(absolute).transpose()?;
    options.ansible_config = ansible.config.as_deref().map(absolute).transpose()?;
    options.python.clone_from(&ansible.python);
    options
        .ansible_playbook
        .clone_from(&ansible.ansible_playbook);
    options.max_runtime = ansible.max_runtime;
    if let AnsibleTarget::Ssh {
        host,
        port,
        user,
        identity_file,
        known_hosts_file,
        control_folder,
    } = &ansible.target
    {
        options.transport = Transport::Ssh {
            host: host.clone(),
            port: *port,
            user: user.clone(),
            identity_file: absolute(identity_file)?,
            known_hosts_file: absolute(known_hosts_file)?,
            control_folder: absolute(control_folder)?,
        };
    }
    AnsibleRunner::new(options).map_err(|error| StartError::Settings {
        reason: error.to_string(),
    })
}

// Relative paths mean the folder the service was started in.
fn absolute(path: &Path) -> Result<PathBuf, StartError> {
    std::path::absolute(path).map_err(|error| StartError::Settings {
        reason: format!("`{}` is no path: {error}", path.display()),
    })
}

// A folder of this user alone: a user who may enter it may use the shared connection.
fn private(folder: &Path) -> Result<(), StartError> {
    let refuse = |tried: &'static str, source| StartError::Folder {
        setting: "ansible.ssh_control_folder",
        folder: folder.to_owned(),
        tried,
        source,
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| refuse("created", error))?;
    let found = std::fs::symlink_metadata(folder).map_err(|error| refuse("read", error))?;
    let own = std::fs::metadata("/proc/self")
        .map_err(|error| refuse("compared with the user of this process", error))?;
    if !found.is_dir() || found.uid() != own.uid() || found.mode() & 0o077 != 0 {
        return Err(StartError::Settings {
            reason: format!(
                "setting `ansible.ssh_control_folder` names `{}`, which others may enter; it must be a folder of this \
                 user with mode 0700",
                folder.display()
            ),
        });
    }
    Ok(())
}

fn policy(settings: &Settings, kinds: Kinds) -> Policy {
    Policy {
        default_playbook: settings.rollout.default_playbook.clone(),
        default_orchestrator: settings.rollout.default_orchestrator.clone(),
        playbook_folder: std::path::absolute(&settings.ansible.playbooks)
            .unwrap_or_else(|_| settings.ansible.playbooks.clone())
            .display()
            .to_string(),
        poll: PollPolicy {
            offline_after: settings.fleet.offline_after.get(),
            no_data_after: settings.fleet.no_data_after.get(),
            new_members: if settings.fleet.proposes_new_members {
                GroupEntry::Propose
            } else {
                GroupEntry::Join
            },
            ..PollPolicy::default()
        },
        polling_interval: settings.fleet.polling_interval,
        sync_interval: settings.haproxy.sync_interval,
        min_ready: settings.haproxy.min_ready,
        poll_concurrency: settings.fleet.poll_concurrency.get(),
        node: engine::worker(),
        history: HistoryAges {
            fleet_events: settings.fleet.events_retention,
            haproxy_statuses: settings.haproxy.history_retention,
            gone_applications: settings.fleet.forget_after,
        },
        kinds,
        ..Policy::default()
    }
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}
