//! HAProxy as the sync reads and writes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{ApplicationKey, ServerKey};
use drover_domain::haproxy::sync::{KnownHaproxy, SyncChange};
use drover_domain::haproxy::{
    AdminBits, FetchStatus, HaproxyInstance, HaproxyInstanceKey, HaproxyServer, HaproxyServerKey,
    MappingCandidate, ObservedServer,
};
use drover_ports::{DoubtfulMapping, HaproxyStore, MappingCause, NewMapping, StoreError};

use crate::fleet::history::forget_mappings;
use crate::haproxy::mappings::{end_by_rule, make};
use crate::haproxy::view::find_instance;
use crate::row::application::IS_PRESENT;
use crate::row::haproxy::{
    BackendRow, CANDIDATE_COLUMNS, CandidateRow, DoubtfulRow, HaproxyInstanceRow, HaproxyServerRow,
    SELECT_BACKEND, SELECT_INSTANCE, SELECT_SERVER,
};
use crate::row::integer;
use crate::sql::Sql;
use crate::sql::dialect::rows;
use crate::sql::session::{KeyRow, Session};
use crate::store::SeaOrmStore;
use crate::webhook::webhooks::IS_TOLD;

rows! {
    /// A backend to insert, to bring back or to update.
    BackendUpsertRow<'a> {
        name: &'a str => Text,
        status: &'static str => Text,
        is_partial: bool => Boolean,
        error: Option<&'a str> => Text,
        observed_at: Option<i64> => Integer,
    }
}

rows! {
    /// A server to insert, to bring back or to update.
    ServerUpsertRow<'a> {
        backend: &'a str => Text,
        name: &'a str => Text,
        status: &'a str => Text,
        takes_traffic: bool => Boolean,
        admin_state: Option<u32> => Integer,
        sessions: Option<i64> => Integer,
        queue: Option<i64> => Integer,
        weight: u32 => Integer,
        is_backup: bool => Boolean,
        tracks: Option<&'a str> => Text,
        has_agent_check: bool => Boolean,
        check_status: Option<&'a str> => Text,
        address: Option<&'a str> => Text,
        port: Option<u16> => Integer,
    }
}

rows! {
    /// A status that changed.
    HistoryRow<'a> {
        ordinal: usize => Integer,
        server_id: i64 => Integer,
        old_status: &'a str => Text,
        new_status: &'a str => Text,
        is_administrative: bool => Boolean,
    }
}

#[async_trait]
impl HaproxyStore for SeaOrmStore {
    #[tracing::instrument(name = "db.haproxy.record_instances", level = "debug", skip_all)]
    async fn record_instances(
        &self,
        server: ServerKey,
        names: &[String],
        at: Timestamp,
    ) -> Result<Vec<HaproxyInstance>, StoreError> {
        let session = self
            .write("store the HAProxy instances of a server")
            .await?;
        let names_in = session.dialect.texts(1);
        // Locked first: whether the server is a node cannot change before its instances are what that says.
        let lock = format!(
            "SELECT s.id FROM servers s WHERE s.id = $1{}",
            session.dialect.locking("s"),
        );
        session
            .rows::<KeyRow>(Sql::new(lock).bind(server.get()))
            .await?;
        let lock = format!(
            "SELECT i.id FROM haproxy_instances i WHERE i.server_id = $1 ORDER BY i.id{}",
            session.dialect.locking("i"),
        );
        session
            .rows::<KeyRow>(Sql::new(lock).bind(server.get()))
            .await?;
        let add = format!(
            "INSERT INTO haproxy_instances (server_id, name, is_active, created_at)
             SELECT s.id, n.name, true, $3
             FROM (SELECT DISTINCT value AS name FROM {names_in} AS t) AS n
             JOIN servers s ON s.id = $2 AND s.is_haproxy_node
             WHERE NOT EXISTS (SELECT 1 FROM haproxy_instances i WHERE i.server_id = $2 AND i.name = n.name AND i.is_active)
             ORDER BY n.name
             ON CONFLICT (server_id, name) DO UPDATE SET is_active = true"
        );
        session
            .execute(
                Sql::new(add)
                    .json(&names)
                    .bind(server.get())
                    .bind(at.as_micros()),
            )
            .await?;
        let retire = format!(
            "UPDATE haproxy_instances SET is_active = false
             WHERE server_id = $2 AND is_active
               AND (name NOT IN {names_in}
                    OR NOT EXISTS (SELECT 1 FROM servers s WHERE s.id = $2 AND s.is_haproxy_node))"
        );
        session
            .execute(Sql::new(retire).json(&names).bind(server.get()))
            .await?;
        let forget = format!(
            "DELETE FROM haproxy_instances WHERE id IN (
                 SELECT i.id FROM haproxy_instances i WHERE i.server_id = $1 AND NOT i.is_active
                 ORDER BY COALESCE(i.observed_at, 0) DESC, i.id DESC LIMIT 1000000 OFFSET {GONE_INSTANCES_MAX})"
        );
        session.execute(Sql::new(forget).bind(server.get())).await?;
        let instances = active(&session, server).await?;
        session.commit().await?;
        Ok(instances)
    }

    #[tracing::instrument(name = "db.haproxy.active_instances", level = "debug", skip_all)]
    async fn active_instances(
        &self,
        server: ServerKey,
    ) -> Result<Vec<HaproxyInstance>, StoreError> {
        active(&self.read("list the HAProxy instances of a server"), server).await
    }

    #[tracing::instrument(name = "db.haproxy.load", level = "debug", skip_all)]
    async fn load(&self, instance: HaproxyInstanceKey) -> Result<Option<KnownHaproxy>, StoreError> {
        let session = self.read_together("load a HAProxy instance").await?;
        let Some(found) = find_instance(&session, instance).await? else {
            return Ok(None);
        };
        let sql = Sql::new(format!(
            "{SELECT_BACKEND} WHERE b.instance_id = $1 AND b.removed_at IS NULL ORDER BY b.id"
        ))
        .bind(instance.get());
        let backends = session.rows::<BackendRow>(sql).await?;
        let sql = Sql::new(format!(
            "{SELECT_SERVER} WHERE b.instance_id = $1 AND b.removed_at IS NULL AND h.removed_at IS NULL ORDER BY h.id"
        ))
        .bind(instance.get());
        let servers = session.rows::<HaproxyServerRow>(sql).await?;
        session.commit().await?;
        Ok(Some(KnownHaproxy {
            instance: found,
            backends: backends
                .into_iter()
                .map(BackendRow::read)
                .collect::<Result<_, _>>()?,
            servers: servers
                .into_iter()
                .map(HaproxyServerRow::read)
                .collect::<Result<_, _>>()?,
        }))
    }

    #[tracing::instrument(name = "db.haproxy.store", level = "debug", skip_all)]
    async fn store(&self, change: &SyncChange) -> Result<(), StoreError> {
        let action = "store a HAProxy sync";
        if change.is_quiet() {
            return update_instance(&self.write_once(action).await?, &change.instance)
                .await
                .map(|_| ());
        }
        let session = self.write(action).await?;
        // The lock on the instance's row keeps other writers of its backends and servers away.
        if update_instance(&session, &change.instance).await? == 0 {
            return Ok(());
        }
        upsert_backends(&session, change).await?;
        upsert_servers(&session, change).await?;
        miss(&session, change).await?;
        remove(&session, change).await?;
        release(&session, change).await?;
        record_history(&session, change).await?;
        session.commit().await
    }

    #[tracing::instrument(name = "db.haproxy.unmapped", level = "debug", skip_all)]
    async fn unmapped(
        &self,
        instance: Option<HaproxyInstanceKey>,
    ) -> Result<Vec<HaproxyServer>, StoreError> {
        let of = match instance {
            Some(_) => "b.instance_id = $1",
            None => "b.instance_id IN (SELECT i.id FROM haproxy_instances i WHERE i.is_active)",
        };
        let mut sql = Sql::new(format!(
            "{SELECT_SERVER} WHERE {of} AND b.removed_at IS NULL AND h.removed_at IS NULL AND m.id IS NULL
               AND h.excluded_at IS NULL
             ORDER BY h.id"
        ));
        if let Some(instance) = instance {
            sql = sql.bind(instance.get());
        }
        let rows = self
            .read("list HAProxy servers without a mapping")
            .rows::<HaproxyServerRow>(sql)
            .await?;
        rows.into_iter().map(HaproxyServerRow::read).collect()
    }

    #[tracing::instrument(name = "db.haproxy.candidates", level = "debug", skip_all)]
    async fn candidates(&self) -> Result<Vec<MappingCandidate>, StoreError> {
        let sql = Sql::new(format!(
            "SELECT {CANDIDATE_COLUMNS} FROM application_instances a JOIN servers s ON s.id = a.server_id
             WHERE {IS_PRESENT} ORDER BY a.id"
        ));
        let rows = self
            .read("list applications for mapping")
            .rows::<CandidateRow>(sql)
            .await?;
        rows.into_iter().map(CandidateRow::read).collect()
    }

    #[tracing::instrument(name = "db.haproxy.map", level = "debug", skip_all)]
    async fn map(&self, mappings: &[NewMapping]) -> Result<u64, StoreError> {
        if mappings.is_empty() {
            return Ok(0);
        }
        let session = self.write("map HAProxy servers to applications").await?;
        let made = make(&session, mappings).await?;
        session.commit().await?;
        Ok(made)
    }

    #[tracing::instrument(name = "db.haproxy.doubtful", level = "debug", skip_all)]
    async fn doubtful(
        &self,
        instance: Option<HaproxyInstanceKey>,
    ) -> Result<Vec<DoubtfulMapping>, StoreError> {
        let of = match instance {
            Some(_) => "b.instance_id = $1",
            None => "b.instance_id IN (SELECT i.id FROM haproxy_instances i WHERE i.is_active)",
        };
        let mut sql = Sql::new(format!(
            "SELECT h.id AS haproxy_server_id, h.name AS haproxy_server_name, {CANDIDATE_COLUMNS}
             FROM application_mappings m
             JOIN haproxy_servers h ON h.id = m.entity_id AND h.removed_at IS NULL
             JOIN haproxy_backends b ON b.id = h.backend_id AND b.removed_at IS NULL
             JOIN application_instances a ON a.id = m.application_id
             JOIN servers s ON s.id = a.server_id
             WHERE {of} AND m.entity_type = 'haproxy_server' AND m.is_active AND m.basis = 'address'
               AND a.address IS NOT NULL AND a.address <> s.address AND (s.agent_ip IS NULL OR a.address <> s.agent_ip)
             ORDER BY h.id"
        ));
        if let Some(instance) = instance {
            sql = sql.bind(instance.get());
        }
        let rows = self
            .read("list HAProxy mappings by address")
            .rows::<DoubtfulRow>(sql)
            .await?;
        rows.into_iter().map(DoubtfulRow::read).collect()
    }

    #[tracing::instrument(name = "db.haproxy.end", level = "debug", skip_all)]
    async fn end(
        &self,
        mappings: &[(HaproxyServerKey, ApplicationKey)],
        at: Timestamp,
        cause: Option<&MappingCause>,
    ) -> Result<u64, StoreError> {
        if mappings.is_empty() {
            return Ok(0);
        }
        let session = self.write("end mappings of HAProxy servers").await?;
        let ended = end_by_rule(&session, mappings, at, cause).await?;
        session.commit().await?;
        Ok(ended)
    }
}

async fn active(session: &Session, server: ServerKey) -> Result<Vec<HaproxyInstance>, StoreError> {
    let sql = Sql::new(format!(
        "{SELECT_INSTANCE} WHERE i.server_id = $1 AND i.is_active ORDER BY i.name"
    ));
    let rows = session
        .rows::<HaproxyInstanceRow>(sql.bind(server.get()))
        .await?;
    let mut instances: Vec<HaproxyInstance> = rows
        .into_iter()
        .map(HaproxyInstanceRow::read)
        .collect::<Result<_, _>>()?;
    // By bytes, whatever the collation of the database is.
    instances.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(instances)
}

async fn update_instance(session: &Session, instance: &HaproxyInstance) -> Result<u64, StoreError> {
    let sql = Sql::new(
        "UPDATE haproxy_instances SET last_sync = $2, last_sync_status = $3, last_sync_error = $4, is_partial = $5,
             process_id = $6, process_started_at = $7, observed_at = $8, version = $9
         WHERE id = $1",
    )
    .bind(instance.key.get())
    .time(instance.last_sync)
    .bind(stored_status(instance.last_sync_status).0)
    .optional_text(instance.last_sync_error.as_deref())
    .bind(stored_status(instance.last_sync_status).1)
    .bind(instance.process.map(|process| i64::from(process.pid)))
    .time(instance.process.map(|process| process.started_at))
    .time(instance.observed_at)
    .optional_text(instance.version.as_deref());
    session.execute(sql).await
}

async fn upsert_backends(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    if change.backends.is_empty() {
        return Ok(());
    }
    let rows: BTreeMap<&str, BackendUpsertRow<'_>> = change
        .backends
        .iter()
        .map(|backend| {
            let name = backend.name.as_str();
            let (status, is_partial) = stored_status(backend.status);
            (
                name,
                BackendUpsertRow {
                    name,
                    status,
                    is_partial,
                    error: backend.error.as_deref(),
                    observed_at: backend.observed_at.map(Timestamp::as_micros),
                },
            )
        })
        .collect();
    let rows: Vec<BackendUpsertRow<'_>> = rows.into_values().collect();
    let text = format!(
        "INSERT INTO haproxy_backends (
             instance_id, name, last_fetch_status, is_partial, last_fetch_error, observed_at, last_fetch_at, created_at)
         SELECT $2, r.name, r.status, r.is_partial, r.error, r.observed_at, $3, $3 FROM {} WHERE true ORDER BY r.name
         ON CONFLICT (instance_id, name) DO UPDATE SET
             last_fetch_status = excluded.last_fetch_status, last_fetch_error = excluded.last_fetch_error,
             is_partial = excluded.is_partial, observed_at = excluded.observed_at,
             last_fetch_at = excluded.last_fetch_at, missed_at = NULL, removed_at = NULL",
        session.dialect.rows::<BackendUpsertRow<'_>>(1, "r"),
    );
    let sql = Sql::new(text)
        .rows(&rows)
        .bind(change.instance.key.get())
        .bind(change.at.as_micros());
    session.execute(sql).await.map(|_| ())
}

/// The columns of a server without a pin.
pub(crate) const NO_PIN: &str = "pin_state = NULL, pin_by = NULL, pin_reason = NULL, \
                                           pin_since = NULL, pin_until = NULL";

/// What was seen of a server of the backend called `backend`.
pub(crate) fn server_row<'a>(
    backend: &'a str,
    observed: &'a ObservedServer,
) -> ServerUpsertRow<'a> {
    ServerUpsertRow {
        backend,
        name: &observed.name,
        status: observed.word.as_str(),
        takes_traffic: observed.takes_requests(),
        admin_state: observed.admin.map(AdminBits::bits),
        sessions: observed.sessions.map(integer),
        queue: observed.queue.map(integer),
        weight: observed.weight,
        is_backup: observed.role.is_backup,
        tracks: observed.role.tracks.as_deref(),
        has_agent_check: observed.role.has_agent_check,
        check_status: observed.check_status.as_deref(),
        address: observed.address.as_deref(),
        port: observed.port,
    }
}

async fn upsert_servers(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    if change.servers.is_empty() {
        return Ok(());
    }
    let rows: BTreeMap<(&str, &str), ServerUpsertRow<'_>> = change
        .servers
        .iter()
        .map(|server| {
            let row = server_row(&server.backend, &server.observed);
            ((row.backend, row.name), row)
        })
        .collect();
    let rows: Vec<ServerUpsertRow<'_>> = rows.into_values().collect();
    let text = format!(
        "INSERT INTO haproxy_servers (
             backend_id, name, status, takes_traffic, admin_state, sessions, queue, weight, is_backup, tracks,
             has_agent_check, check_status, address, port, last_seen, created_at)
         SELECT b.id, r.name, r.status, r.takes_traffic, r.admin_state, r.sessions, r.queue, r.weight, r.is_backup,
                r.tracks, r.has_agent_check, r.check_status, r.address, r.port, $3, $3
         FROM {} JOIN haproxy_backends b ON b.instance_id = $2 AND b.name = r.backend
         WHERE true
         ORDER BY b.id, r.name
         ON CONFLICT (backend_id, name) DO UPDATE SET
             status = excluded.status, takes_traffic = excluded.takes_traffic, admin_state = excluded.admin_state,
             sessions = excluded.sessions, queue = excluded.queue, weight = excluded.weight,
             is_backup = excluded.is_backup, tracks = excluded.tracks, has_agent_check = excluded.has_agent_check,
             check_status = excluded.check_status, address = excluded.address, port = excluded.port,
             last_seen = excluded.last_seen, missed_at = NULL, removed_at = NULL",
        session.dialect.rows::<ServerUpsertRow<'_>>(1, "r"),
    );
    let sql = Sql::new(text)
        .rows(&rows)
        .bind(change.instance.key.get())
        .bind(change.at.as_micros());
    session.execute(sql).await.map(|_| ())
}

/// How a status is stored: its word, and whether not all was read.
fn stored_status(status: FetchStatus) -> (&'static str, bool) {
    match status {
        FetchStatus::Partial => (FetchStatus::Success.as_str(), true),
        FetchStatus::Unknown | FetchStatus::Success | FetchStatus::Failed => {
            (status.as_str(), false)
        }
    }
}

async fn miss(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    let (instance, at) = (change.instance.key.get(), change.at.as_micros());
    let ids = session.dialect.integers(1);
    if !change.missed_backends.is_empty() {
        let backends: Vec<i64> = change.missed_backends.iter().map(|key| key.get()).collect();
        let text = format!(
            "UPDATE haproxy_backends SET missed_at = $3 WHERE instance_id = $2 AND removed_at IS NULL AND id IN {ids}"
        );
        let sql = Sql::new(text).json(&backends).bind(instance).bind(at);
        session.execute(sql).await?;
    }
    if !change.missed_servers.is_empty() {
        let servers: Vec<i64> = change.missed_servers.iter().map(|key| key.get()).collect();
        let text = format!(
            "UPDATE haproxy_servers SET missed_at = $3
             WHERE removed_at IS NULL AND id IN {ids}
               AND backend_id IN (SELECT b.id FROM haproxy_backends b WHERE b.instance_id = $2)"
        );
        let sql = Sql::new(text).json(&servers).bind(instance).bind(at);
        session.execute(sql).await?;
    }
    Ok(())
}

/// The most inactive instances of a server that are kept, and the most removed servers and backends of an instance.
const GONE_INSTANCES_MAX: usize = 64;
const GONE_SERVERS_MAX: usize = 10_000;
const GONE_BACKENDS_MAX: usize = 1_000;

/// Forgets what was removed from an instance first, where more was removed than is kept. What people did or decided
/// stays: actions, pins, exclusions and mappings by hand.
async fn forget(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    let instance = change.instance.key.get();
    let servers = format!(
        "DELETE FROM haproxy_servers WHERE id IN (
             SELECT h.id FROM haproxy_servers h JOIN haproxy_backends b ON b.id = h.backend_id
             WHERE b.instance_id = $1 AND h.removed_at IS NOT NULL AND h.pin_state IS NULL
               AND h.excluded_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM haproxy_actions a WHERE a.haproxy_server_id = h.id)
               AND NOT EXISTS (SELECT 1 FROM application_mappings m WHERE m.entity_type = 'haproxy_server'
                               AND m.entity_id = h.id AND m.basis = 'manual')
             ORDER BY h.removed_at DESC, h.id DESC LIMIT 1000000 OFFSET {GONE_SERVERS_MAX})"
    );
    if session.execute(Sql::new(servers).bind(instance)).await? > 0 {
        forget_mappings(session).await?;
    }
    let backends = format!(
        "DELETE FROM haproxy_backends WHERE id IN (
             SELECT b.id FROM haproxy_backends b
             WHERE b.instance_id = $1 AND b.removed_at IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM haproxy_servers h WHERE h.backend_id = b.id)
             ORDER BY b.removed_at DESC, b.id DESC LIMIT 1000000 OFFSET {GONE_BACKENDS_MAX})"
    );
    session
        .execute(Sql::new(backends).bind(instance))
        .await
        .map(|_| ())
}

async fn remove(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    if change.removed_backends.is_empty() && change.removed_servers.is_empty() {
        return Ok(());
    }
    let backends: Vec<i64> = change
        .removed_backends
        .iter()
        .map(|key| key.get())
        .collect();
    let servers: Vec<i64> = change.removed_servers.iter().map(|key| key.get()).collect();
    let (instance, at) = (change.instance.key.get(), change.at.as_micros());
    let text = format!(
        "UPDATE haproxy_backends SET removed_at = $3
         WHERE instance_id = $2 AND removed_at IS NULL AND id IN {}",
        session.dialect.integers(1),
    );
    session
        .execute(Sql::new(text).json(&backends).bind(instance).bind(at))
        .await?;
    let text = format!(
        "UPDATE haproxy_servers SET removed_at = $3
         WHERE removed_at IS NULL
           AND backend_id IN (SELECT b.id FROM haproxy_backends b WHERE b.instance_id = $2)
           AND (id IN {} OR backend_id IN {})",
        session.dialect.integers(1),
        session.dialect.integers(4),
    );
    session
        .execute(
            Sql::new(text)
                .json(&servers)
                .bind(instance)
                .bind(at)
                .json(&backends),
        )
        .await?;
    forget(session, change).await
}

/// Removes pins that have lapsed and were not renewed since they were read.
async fn release(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    if change.lapsed.is_empty() {
        return Ok(());
    }
    let servers: Vec<i64> = change.lapsed.iter().map(|key| key.get()).collect();
    let text = format!(
        "UPDATE haproxy_servers SET {NO_PIN}
         WHERE pin_until <= $3
           AND backend_id IN (SELECT b.id FROM haproxy_backends b WHERE b.instance_id = $2)
           AND id IN {}",
        session.dialect.integers(1),
    );
    let (instance, at) = (change.instance.key.get(), change.at.as_micros());
    let sql = Sql::new(text).json(&servers).bind(instance).bind(at);
    session.execute(sql).await.map(|_| ())
}

async fn record_history(session: &Session, change: &SyncChange) -> Result<(), StoreError> {
    if change.history.is_empty() {
        return Ok(());
    }
    let rows: Vec<HistoryRow<'_>> = change
        .history
        .iter()
        .enumerate()
        .map(|(ordinal, entry)| HistoryRow {
            ordinal,
            server_id: entry.server.get(),
            old_status: entry.old.as_str(),
            new_status: entry.new.as_str(),
            is_administrative: entry.is_administrative,
        })
        .collect();
    let text = format!(
        "INSERT INTO haproxy_server_status_history (
             haproxy_server_id, old_status, new_status, changed_at, change_reason, action_workflow_id, actor, is_told)
         SELECT h.id, r.old_status, r.new_status, $2, CASE WHEN a.id IS NULL THEN 'sync' ELSE 'command' END,
                a.workflow_id, a.actor, {IS_TOLD}
         FROM {} JOIN haproxy_servers h ON h.id = r.server_id
         LEFT JOIN haproxy_actions a ON r.is_administrative AND a.id = (
             SELECT max(u.id) FROM haproxy_actions u JOIN workflow_queue q ON q.workflow_id = u.workflow_id
             WHERE u.haproxy_server_id = r.server_id AND u.started_at IS NOT NULL AND u.ended_at IS NULL)
         ORDER BY r.ordinal",
        session.dialect.rows::<HistoryRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows).bind(change.at.as_micros()))
        .await
        .map(|_| ())
}
