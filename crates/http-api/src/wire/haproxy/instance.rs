//! HAProxy: instances, backends, servers.

use drover_domain::Key;
use drover_domain::haproxy::{self, AdminBits, Pin};
use drover_usecases::{BackendFilter, HaproxyInstanceFilter, HaproxyServerFilter, UnmappedFilter};
use serde::Serialize;
use utoipa::openapi::Object;
use utoipa::{IntoParams, ToSchema};

use crate::page::Filter;
use crate::problem::ApiError;
use crate::query::Parameters;
use crate::wire::schema::{self, Instant};
use crate::wire::word::{AdminState, FetchStatus, ServerHealth};

/// The most characters of a part of a name.
const PART_MAX: usize = 255;

fn truth(word: &str) -> Option<bool> {
    match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn part(description: &'static str) -> Object {
    schema::line(PART_MAX)
        .description(Some(description))
        .build()
}

/// Which instances are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct HaproxyInstanceParams {
    #[param(schema_with = agent)]
    server_id: Option<i64>,
    /// Whether they are synced.
    active: Option<bool>,
    #[param(schema_with = part_of_instance)]
    q: Option<String>,
}

fn agent() -> Object {
    schema::id()
        .description(Some("Behind the agent of this server."))
        .build()
}

fn part_of_instance() -> Object {
    part("With this in its name or that of its server, small or capital letters a to z alike.")
}

impl Filter for HaproxyInstanceFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            server: parameters.id("server_id")?.map(Key::new),
            is_active: parameters.word("active", "true, false", truth)?,
            like: parameters.line("q", PART_MAX)?,
        })
    }
}

/// Which backends are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter that the filter reads")]
pub(crate) struct HaproxyBackendParams {
    #[param(schema_with = part_of_name)]
    q: Option<String>,
}

fn part_of_name() -> Object {
    part("With this in its name, small or capital letters a to z alike.")
}

impl Filter for BackendFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            like: parameters.line("q", PART_MAX)?,
        })
    }
}

/// Which servers of a backend are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct HaproxyServerParams {
    #[param(schema_with = word)]
    status: Option<String>,
    /// Whether an application is known to stand behind it.
    mapped: Option<bool>,
    #[param(schema_with = part_of_name)]
    q: Option<String>,
}

fn word() -> Object {
    part("Of which HAProxy says exactly this, such as `UP` or `DOWN 1/2`.")
}

impl Filter for HaproxyServerFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            word: parameters.line("status", PART_MAX)?,
            is_mapped: parameters.word("mapped", "true, false", truth)?,
            like: parameters.line("q", PART_MAX)?,
        })
    }
}

/// Which servers without a mapping are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that the filter reads")]
pub(crate) struct UnmappedParams {
    #[param(schema_with = instance)]
    instance: Option<i64>,
    #[param(schema_with = part_of_server)]
    q: Option<String>,
}

fn instance() -> Object {
    schema::id().description(Some("Of this instance.")).build()
}

fn part_of_server() -> Object {
    part("With this in its name or that of its backend, small or capital letters a to z alike.")
}

impl Filter for UnmappedFilter {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            instance: parameters.id("instance")?.map(Key::new),
            like: parameters.line("q", PART_MAX)?,
        })
    }
}

/// An HAProxy behind an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyInstance {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// The server whose agent manages it.
    #[schema(minimum = 1)]
    server_id: i64,
    /// That server's name.
    server_name: String,
    /// Its name at the agent.
    name: String,
    /// Whether it is synced.
    active: bool,
    /// When the last sync ended.
    last_sync: Option<Instant>,
    last_sync_status: FetchStatus,
    /// Why it failed, or what could not be read.
    last_sync_error: Option<String>,
    /// When HAProxy was read last, in whole or in part: what is shown of it is as of then.
    observed_at: Option<Instant>,
    /// HAProxy's version; null when the agent does not report it.
    version: Option<String>,
    /// When its process started, if the agent reports it; a later time means a reload or a restart.
    started_at: Option<Instant>,
    /// How many backends it has.
    backends: u32,
}

impl From<haproxy::HaproxyInstance> for HaproxyInstance {
    fn from(instance: haproxy::HaproxyInstance) -> Self {
        Self {
            id: instance.key.get(),
            server_id: instance.server.get(),
            server_name: instance.server_name,
            name: instance.name,
            active: instance.is_active,
            last_sync: instance.last_sync.map(Into::into),
            last_sync_status: instance.last_sync_status.into(),
            last_sync_error: instance.last_sync_error,
            observed_at: instance.observed_at.map(Into::into),
            version: instance.version,
            started_at: instance.process.map(|process| process.started_at.into()),
            backends: instance.backends,
        }
    }
}

/// A backend of an HAProxy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyBackend {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its instance.
    #[schema(minimum = 1)]
    instance_id: i64,
    /// Its name in HAProxy.
    name: String,
    last_fetch_status: FetchStatus,
    /// Why its servers could not be read, or what of them could not.
    last_fetch_error: Option<String>,
    /// When its servers were read last: what is shown of them is as of then.
    observed_at: Option<Instant>,
    /// Since when HAProxy does not list it; it is removed if the next whole answer does not list it either.
    missed_at: Option<Instant>,
    /// How many servers it has.
    servers: u32,
    /// How many of them take requests. Servers of weight 0 take none, nor do backups while other servers do.
    ready: u32,
}

impl From<haproxy::HaproxyBackend> for HaproxyBackend {
    fn from(backend: haproxy::HaproxyBackend) -> Self {
        Self {
            id: backend.key.get(),
            instance_id: backend.instance.get(),
            name: backend.name,
            last_fetch_status: backend.last_fetch_status.into(),
            last_fetch_error: backend.last_fetch_error,
            observed_at: backend.observed_at.map(Into::into),
            missed_at: backend.missed_at.map(Into::into),
            servers: backend.servers,
            ready: backend.ready,
        }
    }
}

/// A server of a backend, as HAProxy reports it.
#[derive(Debug, Serialize, ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of HAProxy by itself, and the shape is published"
)]
pub(crate) struct HaproxyServer {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Its backend.
    #[schema(minimum = 1)]
    backend_id: i64,
    /// Its name in HAProxy.
    name: String,
    /// HAProxy's own word, such as `UP`, `DRAIN` or `MAINT (resolution)`.
    status: String,
    health: ServerHealth,
    /// The administrative state it is in, its own or inherited; null when the agent does not report it.
    admin: Option<AdminState>,
    /// What was asked of the server itself, whatever it inherits; null when the agent does not report it.
    own_admin: Option<AdminState>,
    /// Whether HAProxy sends it requests when it is its turn.
    takes_requests: bool,
    /// Whether it gets requests only while no other server of the backend does.
    backup: bool,
    /// The server whose state it follows, as `backend/server`.
    tracks: Option<String>,
    /// Whether an agent-check of HAProxy is enabled, which may change its state at any time.
    agent_check: bool,
    /// Sessions on it right now, those of HAProxy's old workers included where the agent sees them.
    sessions: Option<u64>,
    /// Requests waiting for it right now.
    queue: Option<u64>,
    /// Its effective weight.
    weight: u32,
    /// How its last check ended, in HAProxy's word.
    check_status: Option<String>,
    /// Its address.
    address: Option<String>,
    /// Its port.
    port: Option<u16>,
    /// The application behind it.
    #[schema(minimum = 1)]
    application_id: Option<i64>,
    /// Its pin; null without one.
    pin: Option<HaproxyPin>,
    /// Whether it shows another state than its pin. A state that HAProxy lost is re-applied; a
    /// change that was made at HAProxy itself is left alone.
    drift: bool,
    /// When it was last written.
    last_seen: Option<Instant>,
    /// When it was last read: what is shown of it is as of then.
    observed_at: Option<Instant>,
    /// Since when HAProxy does not list it; it is removed if the next whole answer does not list it either.
    missed_at: Option<Instant>,
}

/// Keeps a server out of use. Drover re-applies it when HAProxy forgets it in a reload.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HaproxyPin {
    /// The state that it keeps: `drain` or `maint`.
    state: AdminState,
    /// Who wants it.
    owner: String,
    /// Why, in their words.
    reason: Option<String>,
    /// Since when.
    since: Instant,
    /// Until when; null until the server is returned. The server is not returned then: the pin just
    /// ends.
    until: Option<Instant>,
}

impl From<Pin> for HaproxyPin {
    fn from(pin: Pin) -> Self {
        let Pin {
            state,
            owner,
            reason,
            since,
            until,
        } = pin;
        Self {
            state: state.into(),
            owner,
            reason,
            since: since.into(),
            until: until.map(Into::into),
        }
    }
}

impl From<haproxy::HaproxyServer> for HaproxyServer {
    fn from(server: haproxy::HaproxyServer) -> Self {
        let haproxy::HaproxyServer {
            key,
            backend,
            observed,
            application,
            pin,
            last_seen,
            observed_at,
            missed_at,
            removed_at: _,
        } = server;
        let drifts = |pin: &Pin| pin.differs_from(&observed);
        let takes_requests = observed.takes_requests() && missed_at.is_none();
        Self {
            drift: pin.as_ref().is_some_and(drifts),
            pin: pin.map(Into::into),
            id: key.get(),
            backend_id: backend.get(),
            name: observed.name,
            health: observed.word.health().into(),
            status: observed.word.to_string(),
            admin: observed.admin.map(AdminBits::state).map(Into::into),
            own_admin: observed.admin.map(AdminBits::own).map(Into::into),
            takes_requests,
            backup: observed.role.is_backup,
            tracks: observed.role.tracks,
            agent_check: observed.role.has_agent_check,
            sessions: observed.sessions,
            queue: observed.queue,
            weight: observed.weight,
            check_status: observed.check_status,
            address: observed.address,
            port: observed.port,
            application_id: application.map(Key::get),
            last_seen: last_seen.map(Into::into),
            observed_at: observed_at.map(Into::into),
            missed_at: missed_at.map(Into::into),
        }
    }
}
