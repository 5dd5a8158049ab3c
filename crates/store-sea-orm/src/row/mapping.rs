//! The shapes of mappings, of their history, and of servers without one.

use drover_domain::haproxy::{
    ActiveMapping, Exclusion, MappingAction, MappingBasis, ServerMapping,
};
use drover_domain::rollout::record::Origin;
use drover_domain::{Key, Timestamp};
use drover_ports::{MappingCause, MappingChange, StoreError, UnmappedServer};
use sea_orm::FromQueryResult;

use super::haproxy::HaproxyServerRow;
use super::{Stored, time};
use crate::sql::session::Row;

/// What a query for [`ServerMappingRow`] starts with.
pub(crate) const SELECT_MAPPING: &str = "
SELECT h.id, m.application_id, m.basis, m.mapped_at, h.excluded_at, h.excluded_by,
       h.exclusion_reason
FROM haproxy_servers h
LEFT JOIN application_mappings m ON m.entity_type = 'haproxy_server' AND m.entity_id = h.id AND m.is_active
";

/// An exclusion: columns of `haproxy_servers`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ExclusionRow {
    excluded_at: Option<i64>,
    excluded_by: Option<String>,
    exclusion_reason: Option<String>,
}

impl ExclusionRow {
    fn read(self) -> Option<Exclusion> {
        Some(Exclusion {
            at: time(self.excluded_at)?,
            actor: self.excluded_by.unwrap_or_default(),
            reason: self.exclusion_reason,
        })
    }
}

/// Where a server stands with its mapping.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ServerMappingRow {
    id: i64,
    application_id: Option<i64>,
    basis: Option<String>,
    mapped_at: Option<i64>,
    #[sea_orm(nested)]
    exclusion: ExclusionRow,
}

impl Row for ServerMappingRow {
    const WHAT: &'static str = "mapping of the HAProxy server";
}

impl ServerMappingRow {
    /// Where it stands.
    pub(crate) fn read(self) -> Result<ServerMapping, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let active = match (self.application_id, self.basis, time(self.mapped_at)) {
            (Some(application), Some(basis), Some(at)) => Some(ActiveMapping {
                application: Key::new(application),
                basis: stored.word("basis", &basis, MappingBasis::parse)?,
                at,
            }),
            _ => None,
        };
        Ok(ServerMapping {
            server: Key::new(self.id),
            active,
            exclusion: self.exclusion.read(),
        })
    }
}

/// A row of `application_mapping_history`.
#[derive(Debug, FromQueryResult)]
pub(crate) struct MappingChangeRow {
    id: i64,
    changed_at: i64,
    action: String,
    application_id: i64,
    basis: String,
    actor: Option<String>,
    request_id: Option<String>,
    reason: Option<String>,
}

impl Row for MappingChangeRow {
    const WHAT: &'static str = "mapping change";
}

impl MappingChangeRow {
    /// The change.
    pub(crate) fn read(self) -> Result<MappingChange, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        let origin = self.actor.zip(self.request_id);
        let reason = self.reason;
        Ok(MappingChange {
            position: self.id,
            at: Timestamp::from_micros(self.changed_at),
            action: stored.word("action", &self.action, MappingAction::parse)?,
            application: Key::new(self.application_id),
            basis: stored.word("basis", &self.basis, MappingBasis::parse)?,
            cause: origin.map(|(actor, request_id)| MappingCause {
                origin: Origin { actor, request_id },
                reason,
            }),
        })
    }
}

/// What a query for [`UnmappedRow`] starts with: the columns of [`HaproxyServerRow`] and where the server is.
pub(crate) const SELECT_UNMAPPED: &str = "
SELECT h.id, h.backend_id, h.name, h.status, h.admin_state, h.sessions, h.queue, h.weight, h.check_status, h.address,
       h.port, h.is_backup, h.tracks, h.has_agent_check, m.application_id, h.last_seen, h.missed_at, h.removed_at,
       COALESCE(b.observed_at, i.observed_at) AS read_at, h.excluded_at, h.excluded_by,
       h.exclusion_reason,
       b.name AS backend_name, i.id AS instance_id, i.name AS instance_name, s.name AS node_name
FROM haproxy_servers h
JOIN haproxy_backends b ON b.id = h.backend_id
JOIN haproxy_instances i ON i.id = b.instance_id
JOIN servers s ON s.id = i.server_id
LEFT JOIN application_mappings m ON m.entity_type = 'haproxy_server' AND m.entity_id = h.id AND m.is_active
";

/// A server without a mapping.
#[derive(Debug, FromQueryResult)]
pub(crate) struct UnmappedRow {
    #[sea_orm(nested)]
    server: HaproxyServerRow,
    #[sea_orm(nested)]
    exclusion: ExclusionRow,
    backend_name: String,
    instance_id: i64,
    instance_name: String,
    node_name: String,
}

impl Row for UnmappedRow {
    const WHAT: &'static str = "HAProxy server";
}

impl UnmappedRow {
    /// The server.
    pub(crate) fn read(self) -> Result<UnmappedServer, StoreError> {
        Ok(UnmappedServer {
            server: self.server.read()?,
            backend_name: self.backend_name,
            instance: Key::new(self.instance_id),
            instance_name: self.instance_name,
            node_name: self.node_name,
            exclusion: self.exclusion.read(),
        })
    }
}
