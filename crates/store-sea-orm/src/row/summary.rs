//! The queries that sum HAProxy up, and the shapes of their rows.

use drover_domain::Key;
use drover_domain::haproxy::{
    AdminBits, AdminState, HaproxyCounts, InstanceBreaker, ServerWord, ShortBackend,
};
use drover_ports::StoreError;
use sea_orm::FromQueryResult;

use super::Stored;
use super::action::BreakerRow;
use crate::sql::session::Row;

/// How many instances and backends there are.
pub(crate) const COUNTS: &str = "
SELECT count(*) AS instances,
       count(*) FILTER (WHERE i.last_sync_status = 'success' AND NOT i.is_partial) AS synced,
       count(*) FILTER (WHERE i.last_sync_status = 'success' AND i.is_partial) AS partial,
       count(*) FILTER (WHERE i.last_sync_status = 'failed') AS failed,
       (SELECT count(*) FROM haproxy_backends b JOIN haproxy_instances o ON o.id = b.instance_id
        WHERE b.removed_at IS NULL AND o.is_active) AS backends,
       (SELECT count(*) FROM servers n
        WHERE n.is_haproxy_node
          AND NOT EXISTS (SELECT 1 FROM haproxy_instances o WHERE o.server_id = n.id AND o.is_active)) AS unread_nodes
FROM haproxy_instances i
WHERE i.is_active
";

/// How many instances and backends there are.
#[derive(Debug, FromQueryResult)]
pub(crate) struct CountsRow {
    instances: i64,
    synced: i64,
    partial: i64,
    failed: i64,
    backends: i64,
    unread_nodes: i64,
}

impl Row for CountsRow {
    const WHAT: &'static str = "count of HAProxy instances";
}

impl CountsRow {
    /// A summary with these counts.
    pub(crate) fn read(self) -> Result<HaproxyCounts, StoreError> {
        let stored = Stored::new(Self::WHAT, "all");
        Ok(HaproxyCounts {
            instances: stored.number("count", self.instances)?,
            synced: stored.number("count", self.synced)?,
            partial: stored.number("count", self.partial)?,
            failed: stored.number("count", self.failed)?,
            backends: stored.number("count", self.backends)?,
            unread_nodes: stored.number("count", self.unread_nodes)?,
            ..HaproxyCounts::default()
        })
    }
}

/// How many servers show what, are pinned in which state, and have no mapping.
pub(crate) const WORDS: &str = "
SELECT h.status, h.takes_traffic AND NOT h.is_backup AS takes_requests, h.admin_state, h.pin_state, count(*) AS servers, count(*) FILTER (WHERE m.id IS NULL) AS unmapped,
       count(*) FILTER (WHERE m.id IS NULL AND h.excluded_at IS NOT NULL) AS excluded
FROM haproxy_servers h
JOIN haproxy_backends b ON b.id = h.backend_id
JOIN haproxy_instances i ON i.id = b.instance_id
LEFT JOIN application_mappings m ON m.entity_type = 'haproxy_server' AND m.entity_id = h.id AND m.is_active
WHERE h.removed_at IS NULL AND b.removed_at IS NULL AND i.is_active
GROUP BY h.status, h.takes_traffic AND NOT h.is_backup, h.admin_state, h.pin_state
";

/// How many servers show the same and are pinned in the same state.
#[derive(Debug, FromQueryResult)]
pub(crate) struct WordRow {
    status: String,
    takes_requests: bool,
    admin_state: Option<i64>,
    pin_state: Option<String>,
    servers: i64,
    unmapped: i64,
    excluded: i64,
}

impl Row for WordRow {
    const WHAT: &'static str = "count of HAProxy servers";
}

impl WordRow {
    /// Adds them.
    pub(crate) fn add_to(self, summary: &mut HaproxyCounts) -> Result<(), StoreError> {
        let stored = Stored::new(Self::WHAT, &self.status);
        let servers = stored.number("count", self.servers)?;
        let word = ServerWord::new(&self.status);
        summary.servers.note(&word, self.takes_requests, servers);
        if let Some(pin) = &self.pin_state {
            let pin = stored.word("pin state", pin, AdminState::parse)?;
            let bits = stored.optional("admin state", self.admin_state)?;
            summary.count_pinned(pin, &word, bits.map(AdminBits::from_bits), servers);
        }
        summary.unmapped += stored.number::<u64>("count", self.unmapped)?;
        summary.excluded += stored.number::<u64>("count", self.excluded)?;
        Ok(())
    }
}

/// The breakers, those that are not closed first; `$1` is how many.
pub(crate) const BREAKERS: &str = "
SELECT i.id, i.name, s.name AS server_name, i.breaker_failures AS failures, i.breaker_opened_at AS opened_at,
       i.breaker_probe_at AS probe_at
FROM haproxy_instances i
JOIN servers s ON s.id = i.server_id
WHERE i.is_active
ORDER BY (CASE WHEN i.breaker_opened_at IS NULL AND i.breaker_probe_at IS NULL THEN 1 ELSE 0 END), i.id
LIMIT $1
";

/// An instance with its breaker.
#[derive(Debug, FromQueryResult)]
pub(crate) struct InstanceBreakerRow {
    id: i64,
    name: String,
    server_name: String,
    #[sea_orm(nested)]
    breaker: BreakerRow,
}

impl Row for InstanceBreakerRow {
    const WHAT: &'static str = "HAProxy instance";
}

impl InstanceBreakerRow {
    /// The breaker.
    pub(crate) fn read(self) -> Result<InstanceBreaker, StoreError> {
        let instance = Key::new(self.id);
        Ok(InstanceBreaker {
            instance,
            name: self.name,
            server_name: self.server_name,
            breaker: self.breaker.read(instance)?,
        })
    }
}

/// As [`drover_domain::haproxy::Capacity`] has it: the backends with servers of which fewer than `$1` take requests, at most `$2` of them.
pub(crate) const SHORT_BACKENDS: &str = "
SELECT b.id, b.name, i.id AS instance_id, i.name AS instance_name, count(*) AS servers,
       CASE WHEN count(*) FILTER (WHERE h.takes_traffic AND h.missed_at IS NULL AND NOT h.is_backup) > 0
            THEN count(*) FILTER (WHERE h.takes_traffic AND h.missed_at IS NULL AND NOT h.is_backup)
            WHEN count(*) FILTER (WHERE h.takes_traffic AND h.missed_at IS NULL) > 0 THEN 1 ELSE 0 END AS ready, count(*) OVER () AS of_all
FROM haproxy_backends b
JOIN haproxy_instances i ON i.id = b.instance_id
JOIN haproxy_servers h ON h.backend_id = b.id
WHERE h.removed_at IS NULL AND b.removed_at IS NULL AND i.is_active
GROUP BY b.id, b.name, i.id, i.name
HAVING CASE WHEN count(*) FILTER (WHERE h.takes_traffic AND h.missed_at IS NULL AND NOT h.is_backup) > 0
            THEN count(*) FILTER (WHERE h.takes_traffic AND h.missed_at IS NULL AND NOT h.is_backup)
            WHEN count(*) FILTER (WHERE h.takes_traffic AND h.missed_at IS NULL) > 0 THEN 1 ELSE 0 END < $1
ORDER BY b.id
LIMIT $2
";

/// A backend in which too few servers take requests, and how many such backends there are.
#[derive(Debug, FromQueryResult)]
pub(crate) struct ShortBackendRow {
    id: i64,
    name: String,
    instance_id: i64,
    instance_name: String,
    servers: i64,
    ready: i64,
    of_all: i64,
}

impl Row for ShortBackendRow {
    const WHAT: &'static str = "HAProxy backend";
}

impl ShortBackendRow {
    /// How many there are.
    pub(crate) fn all(&self) -> Result<u64, StoreError> {
        Stored::new(Self::WHAT, self.id).number("count of backends", self.of_all)
    }

    /// The backend.
    pub(crate) fn read(self) -> Result<ShortBackend, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(ShortBackend {
            backend: Key::new(self.id),
            name: self.name,
            instance: Key::new(self.instance_id),
            instance_name: self.instance_name,
            servers: stored.number("count of servers", self.servers)?,
            ready: stored.number("count of servers", self.ready)?,
        })
    }
}
