//! Asking agents what HAProxy shows, and making the stored state say so.

use drover_domain::fleet::Server;
use drover_domain::haproxy::sync::{
    KnownHaproxy, ObservedBackends, ShownServers, failed, reconcile,
};
use drover_domain::haproxy::{
    AdminState, BackendKey, HaproxyInstance, HaproxyProcess, HaproxyServerKey, Health,
    ObservedProcess, Pin,
};
use drover_ports::{AgentAddress, NameAnswer, StoreError};

use crate::fleet::agents::{address, sentence};
use crate::haproxy::mappings::map_unmapped;
use crate::ports::Ports;

/// The most backends of one HAProxy that are read.
const BACKENDS_MAX: usize = 1_000;

/// The most servers of one HAProxy that are read.
const SERVERS_MAX: usize = 20_000;

/// The most HAProxy instances of one server.
const INSTANCES_MAX: usize = 64;

/// How owners of pins begin that are updates.
pub(crate) const UPDATE_OWNER: &str = "update ";

/// Why an instance that the agent does not list is not synced.
const NOT_LISTED: &str = "the agent does not list this HAProxy; was HAProxy down when the agent started? Drover keeps what it \
                          knows until the server is no HAProxy node any longer";

/// What a sync came to.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    /// Why the agent could not be asked which instances there are.
    pub(crate) error: Option<String>,
    /// What HAProxy forgot in a reload.
    pub(crate) forgotten: Vec<Forgotten>,
    /// What updates hold out of use, and whose checks pass.
    pub(crate) held: Vec<Held>,
}

/// A server that an update pinned, that HAProxy shows out of use, and whose checks pass.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// The server.
    pub(crate) server: HaproxyServerKey,
    /// Its name in HAProxy.
    pub(crate) name: String,
    /// Its backend.
    pub(crate) backend: BackendKey,
    /// Who pinned it.
    pub(crate) owner: String,
}

impl Held {
    /// Those among the known servers of an HAProxy, as it shows them now.
    fn among(known: &KnownHaproxy, shown: &ObservedBackends) -> Vec<Self> {
        let backend = |key| {
            let mut backends = known.backends.iter();
            let found = backends.find(|backend| backend.key == key)?;
            shown.backends.get(&found.name)?.as_ref().ok()
        };
        let pinned = known.servers.iter().filter_map(|server| {
            let pin = server.pin.as_ref()?;
            let mut shown = backend(server.backend)?.servers.iter();
            let observed = shown.find(|shown| shown.name == server.observed.name)?;
            let is_out = !matches!(observed.admin_state(), None | Some(AdminState::Ready));
            let is_healthy = matches!(observed.word.health(), Health::Up | Health::NoCheck);
            (pin.owner.starts_with(UPDATE_OWNER) && is_out && is_healthy).then(|| Self {
                server: server.key,
                name: observed.name.clone(),
                backend: server.backend,
                owner: pin.owner.clone(),
            })
        });
        pinned.collect()
    }
}

/// A server that is pinned, and that a new process of HAProxy has in use.
#[derive(Debug, Clone)]
pub(crate) struct Forgotten {
    /// The server.
    pub(crate) server: HaproxyServerKey,
    /// Its pin.
    pub(crate) pin: Pin,
    /// The process.
    pub(crate) process: HaproxyProcess,
}

/// Syncs HAProxy instances through their agents.
#[derive(Clone)]
pub(crate) struct HaproxySync {
    ports: Ports,
}

impl HaproxySync {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Discovers the instances of a server and syncs each. An agent that does not answer is recorded
    /// at each instance with its reason; only a store that does not answer is an error.
    #[tracing::instrument(name = "haproxy.sync", skip_all, fields(server.name = %server.name))]
    pub(crate) async fn sync(&self, server: &Server) -> Result<Synced, StoreError> {
        let mut synced = Synced::default();
        let agent = address(server);
        let (listed, complaints, instances) = match self
            .ports
            .agents
            .haproxy_instances(&agent)
            .await
        {
            Ok(answer) => {
                for complaint in &answer.complaints {
                    tracing::warn!(server.name = %server.name, "the list of HAProxy instances on {} is not complete: {complaint}", server.name);
                }
                let names = self.kept(server, &answer.names).await?;
                let now = self.ports.clock.now();
                let haproxy = &self.ports.haproxy;
                let instances = haproxy.record_instances(server.key, &names, now).await?;
                (answer.names, answer.complaints, instances)
            }
            Err(error) => {
                let reason = sentence(&error);
                for instance in self.ports.haproxy.active_instances(server.key).await? {
                    self.failed(&instance, &reason).await?;
                }
                synced.error = Some(reason);
                return Ok(synced);
            }
        };
        for instance in instances {
            if !listed.contains(&instance.name) {
                self.failed(&instance, NOT_LISTED).await?;
                continue;
            }
            self.sync_instance(&agent, &instance, &complaints, &mut synced)
                .await?;
        }
        Ok(synced)
    }

    /// The instances that a server has: those that its agent lists, and those that it listed once. Not to list one is no
    /// proof that it was removed: FAgent lists none if HAProxy was down when it started.
    async fn kept(&self, server: &Server, listed: &[String]) -> Result<Vec<String>, StoreError> {
        let mut known = self.ports.haproxy.active_instances(server.key).await?;
        known.sort_by_key(|instance| std::cmp::Reverse(instance.observed_at));
        let known = known.into_iter().map(|instance| instance.name);
        let mut names: Vec<String> = Vec::new();
        for name in listed.iter().cloned().chain(known) {
            if names.len() == INSTANCES_MAX {
                tracing::warn!(server.name = %server.name, "only {INSTANCES_MAX} HAProxy instances of {} are kept", server.name);
                break;
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one sequence: read backends, read servers, compare, write"
    )]
    async fn sync_instance(
        &self,
        agent: &AgentAddress,
        instance: &HaproxyInstance,
        of_list: &[String],
        synced: &mut Synced,
    ) -> Result<(), StoreError> {
        let NameAnswer { names, complaints } =
            match self.ports.agents.backends(agent, &instance.name).await {
                Ok(answer) if answer.names.len() <= BACKENDS_MAX => answer,
                Ok(answer) => {
                    let reason = format!(
                        "it lists {} backends; at most {BACKENDS_MAX} are read",
                        answer.names.len()
                    );
                    self.failed(instance, &reason).await?;
                    return Ok(());
                }
                Err(error) => {
                    self.failed(instance, &sentence(&error)).await?;
                    return Ok(());
                }
            };
        let mut observed = ObservedBackends {
            is_partial: !complaints.is_empty(),
            complaints,
            ..ObservedBackends::default()
        };
        let of_list = of_list.iter();
        observed
            .complaints
            .extend(of_list.map(|why| format!("the list of HAProxy instances: {why}")));
        let mut process: Option<ObservedProcess> = None;
        let mut servers = 0;
        for name in names {
            let answer = self
                .ports
                .agents
                .backend_servers(agent, &instance.name, &name)
                .await;
            let shown = match answer {
                Ok(answer) => {
                    if let Some(told) = answer.process {
                        // In a reload in between, what the later process says is what counts.
                        process = process
                            .filter(|earlier| earlier.uptime < told.uptime)
                            .or(Some(told));
                    }
                    observed.version = answer.version.or(observed.version);
                    servers += answer.servers.len();
                    Ok(ShownServers {
                        servers: answer.servers,
                        is_partial: answer.is_partial,
                        complaints: answer.complaints,
                    })
                }
                Err(error) => Err(sentence(&error)),
            };
            if servers > SERVERS_MAX {
                let reason = format!("it lists more than {SERVERS_MAX} servers");
                self.failed(instance, &reason).await?;
                return Ok(());
            }
            observed.backends.insert(name, shown);
        }
        let Some(known) = self.ports.haproxy.load(instance.key).await? else {
            return Ok(());
        };
        let change = reconcile(&known, &observed, process, self.ports.clock.now());
        tell_reload(&known.instance, &change.instance);
        if let Some(complaint) = &change.instance.last_sync_error {
            tracing::warn!(
                haproxy.instance = %instance.name,
                "HAProxy {} on {} was not read whole: {complaint}", instance.name, instance.server_name
            );
        }
        for row in &change.history {
            let name = known
                .servers
                .iter()
                .find(|server| server.key == row.server)
                .map_or("?", |server| server.observed.name.as_str());
            tracing::info!(
                haproxy.instance = %instance.name,
                haproxy.server = name,
                "{name} in HAProxy {} on {} went from {} to {}",
                instance.name,
                instance.server_name,
                row.old,
                row.new
            );
        }
        for lapsed in &change.lapsed {
            let server = known.servers.iter().find(|server| server.key == *lapsed);
            if let Some((server, pin)) =
                server.and_then(|server| Some((server, server.pin.as_ref()?)))
            {
                let (name, owner) = (&server.observed.name, &pin.owner);
                tracing::warn!(
                    haproxy.instance = %instance.name,
                    "the pin of {owner} on {name} has lapsed in HAProxy {} on {}; it shows {}",
                    instance.name, instance.server_name, server.observed.word
                );
            }
        }
        self.ports.haproxy.store(&change).await?;
        self.map(instance).await?;
        synced.held.extend(Held::among(&known, &observed));
        if let Some(process) = change.instance.process {
            let forgotten = change.forgotten.into_iter();
            synced
                .forgotten
                .extend(forgotten.map(|(server, pin)| Forgotten {
                    server,
                    pin,
                    process,
                }));
        }
        Ok(())
    }

    async fn map(&self, instance: &HaproxyInstance) -> Result<(), StoreError> {
        let found = map_unmapped(&self.ports, Some(instance.key), None).await?;
        if found.mapped > 0 {
            tracing::info!(
                mappings = found.mapped,
                "{} servers of HAProxy {} were mapped",
                found.mapped,
                instance.name
            );
        }
        Ok(())
    }

    async fn failed(&self, instance: &HaproxyInstance, reason: &str) -> Result<(), StoreError> {
        tracing::warn!(haproxy.instance = %instance.name, "HAProxy {} on {} was not synced: {reason}", instance.name, instance.server_name);
        self.ports
            .haproxy
            .store(&failed(instance, reason, self.ports.clock.now()))
            .await
    }
}

fn tell_reload(before: &HaproxyInstance, now: &HaproxyInstance) {
    if let (Some(before), Some(process)) = (before.process, now.process)
        && before != process
    {
        tracing::info!(
            haproxy.instance = %now.name, haproxy.pid = process.pid,
            "HAProxy {} on {} was reloaded or started again at {}", now.name, now.server_name, process.started_at
        );
    }
}
