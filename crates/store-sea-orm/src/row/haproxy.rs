//! The shapes of HAProxy instances, backends and servers.

use drover_domain::haproxy::{
    AdminBits, AdminState, FetchStatus, HaproxyBackend, HaproxyInstance, HaproxyProcess,
    HaproxyServer, MappingCandidate, ObservedServer, Pin, ServerRole, ServerWord,
};
use drover_domain::{Key, Timestamp};
use drover_ports::{DoubtfulMapping, StoreError};
use sea_orm::FromQueryResult;

use super::server::networks;
use super::{Stored, time};
use crate::sql::session::Row;

/// What a query for [`HaproxyInstanceRow`] starts with.
pub(crate) const SELECT_INSTANCE: &str = "
SELECT i.id, i.server_id, s.name AS server_name, i.name, i.is_active, i.last_sync, i.last_sync_status,
       i.last_sync_error, i.is_partial, i.observed_at, i.version, i.process_id, i.process_started_at,
       (SELECT count(*) FROM haproxy_backends b WHERE b.instance_id = i.id AND b.removed_at IS NULL) AS backends
FROM haproxy_instances i
JOIN servers s ON s.id = i.server_id
";

/// A row of `haproxy_instances`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct HaproxyInstanceRow {
    id: i64,
    server_id: i64,
    server_name: String,
    name: String,
    is_active: bool,
    last_sync: Option<i64>,
    last_sync_status: String,
    last_sync_error: Option<String>,
    is_partial: bool,
    observed_at: Option<i64>,
    version: Option<String>,
    process_id: Option<i64>,
    process_started_at: Option<i64>,
    backends: i64,
}

impl Row for HaproxyInstanceRow {
    const WHAT: &'static str = "HAProxy instance";
}

impl HaproxyInstanceRow {
    /// The instance.
    pub(crate) fn read(self) -> Result<HaproxyInstance, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(HaproxyInstance {
            key: Key::new(self.id),
            server: Key::new(self.server_id),
            server_name: self.server_name,
            name: self.name,
            is_active: self.is_active,
            last_sync: time(self.last_sync),
            last_sync_status: read_status(&stored, &self.last_sync_status, self.is_partial)?,
            last_sync_error: self.last_sync_error,
            observed_at: time(self.observed_at),
            version: self.version,
            process: stored
                .optional("process number", self.process_id)?
                .zip(time(self.process_started_at))
                .map(|(pid, started_at)| HaproxyProcess { pid, started_at }),
            backends: stored.number("count of backends", self.backends)?,
        })
    }
}

/// How a reading went; one of which not all was read is stored as a success.
fn read_status(stored: &Stored, word: &str, is_partial: bool) -> Result<FetchStatus, StoreError> {
    let status = stored.word("status of a reading", word, FetchStatus::parse)?;
    Ok(if is_partial && status == FetchStatus::Success {
        FetchStatus::Partial
    } else {
        status
    })
}

/// What a query for [`BackendRow`] starts with.
pub(crate) const SELECT_BACKEND: &str = "
SELECT b.id, b.instance_id, b.name, b.last_fetch_status, b.is_partial, b.last_fetch_error, b.missed_at, b.removed_at,
       COALESCE(b.observed_at, (SELECT i.observed_at FROM haproxy_instances i WHERE i.id = b.instance_id)) AS observed_at,
       (SELECT count(*) FROM haproxy_servers h WHERE h.backend_id = b.id AND h.removed_at IS NULL) AS servers,
       (SELECT CASE WHEN count(*) FILTER (WHERE NOT h.is_backup) > 0 THEN count(*) FILTER (WHERE NOT h.is_backup)
                    WHEN count(*) > 0 THEN 1 ELSE 0 END
        FROM haproxy_servers h
        WHERE h.backend_id = b.id AND h.removed_at IS NULL AND h.missed_at IS NULL AND h.takes_traffic) AS ready
FROM haproxy_backends b
";

/// A row of `haproxy_backends`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct BackendRow {
    id: i64,
    instance_id: i64,
    name: String,
    last_fetch_status: String,
    is_partial: bool,
    last_fetch_error: Option<String>,
    observed_at: Option<i64>,
    missed_at: Option<i64>,
    removed_at: Option<i64>,
    servers: i64,
    ready: i64,
}

impl Row for BackendRow {
    const WHAT: &'static str = "HAProxy backend";
}

impl BackendRow {
    /// The backend.
    pub(crate) fn read(self) -> Result<HaproxyBackend, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(HaproxyBackend {
            key: Key::new(self.id),
            instance: Key::new(self.instance_id),
            name: self.name,
            last_fetch_status: read_status(&stored, &self.last_fetch_status, self.is_partial)?,
            last_fetch_error: self.last_fetch_error,
            observed_at: time(self.observed_at),
            missed_at: time(self.missed_at),
            servers: stored.number("count of servers", self.servers)?,
            ready: stored.number("count of servers", self.ready)?,
            removed_at: time(self.removed_at),
        })
    }
}

/// What a query for [`HaproxyServerRow`] starts with; `b` is the backend, `m` the active mapping.
pub(crate) const SELECT_SERVER: &str = "
SELECT h.id, h.backend_id, h.name, h.status, h.admin_state, h.sessions, h.queue, h.weight, h.check_status, h.address,
       h.port, h.is_backup, h.tracks, h.has_agent_check, m.application_id, h.last_seen, h.missed_at, h.removed_at,
       COALESCE(b.observed_at, (SELECT i.observed_at FROM haproxy_instances i WHERE i.id = b.instance_id)) AS read_at,
       h.pin_state, h.pin_by, h.pin_reason,
       h.pin_since, h.pin_until
FROM haproxy_servers h
JOIN haproxy_backends b ON b.id = h.backend_id
LEFT JOIN application_mappings m ON m.entity_type = 'haproxy_server' AND m.entity_id = h.id AND m.is_active
";

/// What was last seen of a server: columns of `haproxy_servers`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ObservedRow {
    name: String,
    status: String,
    admin_state: Option<i64>,
    sessions: Option<i64>,
    queue: Option<i64>,
    weight: i64,
    check_status: Option<String>,
    address: Option<String>,
    port: Option<i64>,
    is_backup: bool,
    tracks: Option<String>,
    has_agent_check: bool,
}

impl ObservedRow {
    /// What was seen.
    pub(crate) fn read(self, stored: &Stored) -> Result<ObservedServer, StoreError> {
        Ok(ObservedServer {
            word: ServerWord::new(&self.status),
            admin: stored
                .optional("admin state", self.admin_state)?
                .map(AdminBits::from_bits),
            sessions: stored.optional("count of sessions", self.sessions)?,
            old_sessions: None,
            queue: stored.optional("queue length", self.queue)?,
            weight: stored.number("weight", self.weight)?,
            role: ServerRole {
                is_backup: self.is_backup,
                tracks: self.tracks,
                has_agent_check: self.has_agent_check,
            },
            port: stored.optional("port", self.port)?,
            name: self.name,
            check_status: self.check_status,
            address: self.address,
        })
    }
}

/// A pin: columns of `haproxy_servers`.
#[derive(Debug, FromQueryResult)]
#[expect(clippy::struct_field_names, reason = "they are columns among others")]
pub(crate) struct PinRow {
    pin_state: Option<String>,
    pin_by: Option<String>,
    pin_reason: Option<String>,
    pin_since: Option<i64>,
    pin_until: Option<i64>,
}

impl PinRow {
    /// The pin, if there is one.
    pub(crate) fn read(self, stored: &Stored) -> Result<Option<Pin>, StoreError> {
        let Some(state) = self.pin_state else {
            return Ok(None);
        };
        Ok(Some(Pin {
            state: stored.word("pin state", &state, AdminState::parse)?,
            owner: self.pin_by.unwrap_or_default(),
            reason: self.pin_reason,
            since: Timestamp::from_micros(self.pin_since.unwrap_or_default()),
            until: time(self.pin_until),
        }))
    }
}

/// A row of `haproxy_servers`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct HaproxyServerRow {
    id: i64,
    backend_id: i64,
    #[sea_orm(nested)]
    observed: ObservedRow,
    #[sea_orm(nested)]
    pin: PinRow,
    application_id: Option<i64>,
    last_seen: Option<i64>,
    read_at: Option<i64>,
    missed_at: Option<i64>,
    removed_at: Option<i64>,
}

impl Row for HaproxyServerRow {
    const WHAT: &'static str = "HAProxy server";
}

impl HaproxyServerRow {
    /// The server.
    pub(crate) fn read(self) -> Result<HaproxyServer, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(HaproxyServer {
            key: Key::new(self.id),
            backend: Key::new(self.backend_id),
            observed: self.observed.read(&stored)?,
            application: self.application_id.map(Key::new),
            pin: self.pin.read(&stored)?,
            last_seen: time(self.last_seen),
            observed_at: time(match self.missed_at {
                Some(_) => self.last_seen,
                None => self.last_seen.max(self.read_at),
            }),
            missed_at: time(self.missed_at),
            removed_at: time(self.removed_at),
        })
    }
}

/// What a query for [`CandidateRow`] selects of an application `a` and its server `s`.
pub(crate) const CANDIDATE_COLUMNS: &str = "a.id, a.name, a.address, a.port, s.id AS server_id, s.name AS server_name, \
                                            s.address AS server_address, s.agent_ip, s.networks";

/// An application that may stand behind a server.
#[derive(Debug, FromQueryResult)]
pub(crate) struct CandidateRow {
    id: i64,
    name: String,
    address: Option<String>,
    port: Option<i64>,
    server_id: i64,
    server_name: String,
    server_address: String,
    agent_ip: Option<String>,
    networks: String,
}

impl Row for CandidateRow {
    const WHAT: &'static str = "application";
}

impl CandidateRow {
    /// The candidate.
    pub(crate) fn read(self) -> Result<MappingCandidate, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(MappingCandidate {
            application: Key::new(self.id),
            port: stored.optional("port", self.port)?,
            networks: networks(&stored, &self.networks)?,
            name: self.name,
            address: self.address,
            server: Key::new(self.server_id),
            server_name: self.server_name,
            server_address: self.server_address,
            agent_ip: self.agent_ip.and_then(|address| address.parse().ok()),
        })
    }
}

/// A mapping by address that the rule may not allow.
#[derive(Debug, FromQueryResult)]
pub(crate) struct DoubtfulRow {
    haproxy_server_id: i64,
    haproxy_server_name: String,
    #[sea_orm(nested)]
    candidate: CandidateRow,
}

impl Row for DoubtfulRow {
    const WHAT: &'static str = "mapping";
}

impl DoubtfulRow {
    /// The mapping.
    pub(crate) fn read(self) -> Result<DoubtfulMapping, StoreError> {
        Ok(DoubtfulMapping {
            server: Key::new(self.haproxy_server_id),
            server_name: self.haproxy_server_name,
            candidate: self.candidate.read()?,
        })
    }
}
