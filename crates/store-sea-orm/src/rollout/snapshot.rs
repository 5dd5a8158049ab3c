//! What the executor template and a plan need, in one statement each.

use async_trait::async_trait;
use drover_domain::Key;
use drover_domain::fleet::{ApplicationKey, ApplicationKind, SettingsLayer};
use drover_domain::haproxy::{HaproxyInstanceKey, StandingServer};
use drover_domain::rollout::snapshot::{
    FleetSnapshot, Target, TargetGroup, TargetHaproxyServer, TargetServer,
};
use drover_ports::{FleetSnapshots, StoreError};
use sea_orm::FromQueryResult;

use crate::row::Stored;
use crate::row::haproxy::ObservedRow;
use crate::sql::Sql;
use crate::sql::dialect::Dialect;
use crate::sql::session::Row;
use crate::store::SeaOrmStore;

// One row for each pair of an application and a HAProxy server it is actively mapped to; one row
// without a HAProxy server for an application that is not.
#[derive(Debug, FromQueryResult)]
struct TargetRow {
    id: i64,
    name: String,
    kind: String,
    version: Option<String>,
    process: Option<String>,
    server_id: Option<i64>,
    server_name: Option<String>,
    server_address: Option<String>,
    group_id: Option<i64>,
    group_name: Option<String>,
    grouping: Option<String>,
    own_playbook_path: Option<String>,
    own_artifact_url: Option<String>,
    own_artifact_extension: Option<String>,
    group_playbook_path: Option<String>,
    group_artifact_url: Option<String>,
    group_artifact_extension: Option<String>,
    catalog_playbook_path: Option<String>,
    catalog_artifact_url: Option<String>,
    catalog_artifact_extension: Option<String>,
    haproxy_server_id: Option<i64>,
    haproxy_server_name: Option<String>,
    backend_id: Option<i64>,
    backend_name: Option<String>,
    instance_id: Option<i64>,
    instance_name: Option<String>,
    agent_address: Option<String>,
    agent_port: Option<i64>,
    namesake: Option<String>,
    expects_haproxy: bool,
    is_new_in_group: bool,
    has_haproxy: bool,
    unread_haproxy: Option<String>,
}

impl Row for TargetRow {
    const WHAT: &'static str = "application";
}

#[async_trait]
impl FleetSnapshots for SeaOrmStore {
    #[tracing::instrument(name = "db.fleet.snapshot", level = "debug", skip_all)]
    async fn snapshot(&self, applications: &[ApplicationKey]) -> Result<FleetSnapshot, StoreError> {
        // What stands or stood behind HAProxy of the groups and catalog entries in question; of the latter only what does.
        let text = format!(
            "WITH wanted AS (
                 SELECT a.id, a.name, a.server_id, a.address, a.port, COALESCE(a.group_id, a.proposed_group_id) AS group_id,
                        a.catalog_id
                 FROM application_instances a WHERE a.id IN {wanted}),
             shown AS (
                 SELECT h.name, h.address, h.port
                 FROM haproxy_servers h
                 JOIN haproxy_backends b ON b.id = h.backend_id AND b.removed_at IS NULL
                 JOIN haproxy_instances i ON i.id = b.instance_id AND i.is_active
                 WHERE h.removed_at IS NULL),
             expecting AS (
                 SELECT m.application_id, o.group_id, CASE WHEN m.is_active THEN o.catalog_id END AS catalog_id
                 FROM application_mappings m JOIN application_instances o ON o.id = m.application_id
                 WHERE m.entity_type = 'haproxy_server'
                   AND (o.group_id IN (SELECT w.group_id FROM wanted w)
                        OR o.catalog_id IN (SELECT w.catalog_id FROM wanted w)
                        OR o.id IN (SELECT w.id FROM wanted w))
                 UNION ALL
                 SELECT o.id, o.group_id, NULL FROM application_instances o
                 WHERE o.stood_behind_haproxy
                   AND (o.group_id IN (SELECT w.group_id FROM wanted w) OR o.id IN (SELECT w.id FROM wanted w))
                 UNION ALL
                 SELECT NULL, k.id, NULL FROM application_groups k
                 WHERE k.stood_behind_haproxy AND k.id IN (SELECT w.group_id FROM wanted w)
                 UNION ALL
                 SELECT w.id, NULL, NULL FROM wanted w JOIN servers s ON s.id = w.server_id
                 JOIN shown h ON h.port = w.port
                  AND (lower(h.address) IN (lower(s.address), '::ffff:' || s.address, s.agent_ip, '::ffff:' || s.agent_ip)
                       OR h.address = w.address AND s.networks <> '')
                 UNION ALL
                 SELECT w.id, NULL, NULL FROM wanted w JOIN servers s ON s.id = w.server_id
                 JOIN shown h ON lower(h.name) = lower(s.short_name || '_' || w.name)),
             unread AS (
                 SELECT n.id, n.name FROM servers n
                 WHERE n.is_haproxy_node
                   AND (NOT EXISTS (SELECT 1 FROM haproxy_instances i WHERE i.server_id = n.id AND i.is_active)
                        OR EXISTS (SELECT 1 FROM haproxy_instances i
                                   LEFT JOIN haproxy_backends b ON b.instance_id = i.id AND b.removed_at IS NULL
                                   WHERE i.server_id = n.id AND i.is_active
                                     AND (i.observed_at IS NULL OR b.last_fetch_status = 'failed' AND b.observed_at IS NULL)))
                 ORDER BY n.id LIMIT 20)
             SELECT a.id, a.name, a.kind, a.version, NULLIF(TRIM(COALESCE(a.start_time, '') || COALESCE(' process ' || CAST(a.pid AS TEXT), '')), '') AS process,
                    s.id AS server_id, s.name AS server_name,
                    s.address AS server_address, g.id AS group_id, g.name AS group_name,
                    g.batch_grouping_strategy AS \"grouping\",
                    a.custom_playbook_path AS own_playbook_path, a.custom_artifact_url AS own_artifact_url,
                    a.custom_artifact_extension AS own_artifact_extension,
                    g.update_playbook_path AS group_playbook_path, g.artifact_list_url AS group_artifact_url,
                    g.artifact_extension AS group_artifact_extension,
                    c.default_playbook_path AS catalog_playbook_path, c.default_artifact_url AS catalog_artifact_url,
                    c.default_artifact_extension AS catalog_artifact_extension,
                    h.id AS haproxy_server_id, h.name AS haproxy_server_name, h.backend_id, h.backend_name,
                    h.instance_id, h.instance_name, h.agent_address, h.agent_port,
                    (SELECT n.name FROM servers n WHERE n.short_name = s.short_name AND n.id <> s.id ORDER BY n.id LIMIT 1)
                        AS namesake,
                    COALESCE(a.id IN (SELECT e.application_id FROM expecting e WHERE e.application_id IS NOT NULL)
                        OR COALESCE(a.group_id, a.proposed_group_id) IN (SELECT e.group_id FROM expecting e WHERE e.group_id IS NOT NULL)
                        OR a.catalog_id IN (SELECT e.catalog_id FROM expecting e WHERE e.catalog_id IS NOT NULL), false)
                        AS expects_haproxy,
                    COALESCE(a.joined_at > g.last_update_at, false) AS is_new_in_group,
                    EXISTS (SELECT 1 FROM haproxy_instances x WHERE x.is_active) AS has_haproxy,
                    (SELECT {names} FROM unread u) AS unread_haproxy
             FROM application_instances a
             LEFT JOIN servers s ON s.id = a.server_id
             LEFT JOIN application_groups g ON g.id = a.group_id
             LEFT JOIN application_catalog c ON c.id = a.catalog_id
             LEFT JOIN (
                 SELECT m.application_id, h.id, h.name, b.id AS backend_id, b.name AS backend_name, i.id AS instance_id,
                        i.name AS instance_name, n.address AS agent_address, n.port AS agent_port
                 FROM application_mappings m
                 JOIN haproxy_servers h ON h.id = m.entity_id AND h.removed_at IS NULL
                 JOIN haproxy_backends b ON b.id = h.backend_id AND b.removed_at IS NULL
                 JOIN haproxy_instances i ON i.id = b.instance_id AND i.is_active
                 JOIN servers n ON n.id = i.server_id
                 WHERE m.entity_type = 'haproxy_server' AND m.is_active
             ) h ON h.application_id = a.id
             WHERE a.id IN {wanted}
             ORDER BY a.id, h.id",
            wanted = self.dialect().integers(1),
            names = match self.dialect() {
                Dialect::Postgres => "string_agg(u.name, ' ' ORDER BY u.id)",
                Dialect::Sqlite => "group_concat(u.name, ' ')",
            },
        );
        let keys: Vec<i64> = applications
            .iter()
            .map(|application| application.get())
            .collect();
        let rows = self
            .read("load a snapshot of the fleet")
            .rows::<TargetRow>(Sql::new(text).json(&keys))
            .await?;
        let mut snapshot = FleetSnapshot::default();
        for mut row in rows {
            let stored = Stored::new(TargetRow::WHAT, row.id);
            snapshot.has_haproxy = row.has_haproxy;
            if let Some(names) = row.unread_haproxy.take() {
                snapshot.unread_haproxy = names.split(' ').map(str::to_owned).collect();
            }
            let mapped = row.haproxy_server(&stored)?;
            let target = match snapshot.targets.entry(Key::new(row.id)) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(row.target(&stored)?)
                }
            };
            target.haproxy_servers.extend(mapped);
        }
        Ok(snapshot)
    }

    #[tracing::instrument(name = "db.fleet.standing", level = "debug", skip_all)]
    async fn standing(
        &self,
        instances: &[HaproxyInstanceKey],
    ) -> Result<Vec<StandingServer>, StoreError> {
        let text = format!(
            "SELECT h.id, b.instance_id, b.id AS backend_id, b.name AS backend_name,
                    h.name, h.status, h.admin_state, h.sessions, h.queue, h.weight, h.check_status, h.address, h.port,
                    h.is_backup, h.tracks, h.has_agent_check
             FROM haproxy_servers h
             JOIN haproxy_backends b ON b.id = h.backend_id AND b.removed_at IS NULL
             WHERE b.instance_id IN {} AND h.removed_at IS NULL AND h.missed_at IS NULL
             ORDER BY h.id",
            self.dialect().integers(1),
        );
        let keys: Vec<i64> = instances.iter().map(|instance| instance.get()).collect();
        let rows = self
            .read("load the servers of HAProxy instances")
            .rows::<StandingRow>(Sql::new(text).json(&keys))
            .await?;
        rows.into_iter().map(StandingRow::read).collect()
    }
}

// A server with its backend.
#[derive(Debug, FromQueryResult)]
struct StandingRow {
    id: i64,
    instance_id: i64,
    backend_id: i64,
    backend_name: String,
    #[sea_orm(nested)]
    observed: ObservedRow,
}

impl Row for StandingRow {
    const WHAT: &'static str = "HAProxy server";
}

impl StandingRow {
    fn read(self) -> Result<StandingServer, StoreError> {
        let stored = Stored::new(Self::WHAT, self.id);
        Ok(StandingServer {
            instance: Key::new(self.instance_id),
            backend: Key::new(self.backend_id),
            backend_name: self.backend_name,
            observed: self.observed.read(&stored)?,
        })
    }
}

impl TargetRow {
    fn haproxy_server(
        &mut self,
        stored: &Stored,
    ) -> Result<Option<TargetHaproxyServer>, StoreError> {
        let (
            Some(key),
            Some(name),
            Some(backend),
            Some(backend_name),
            Some(instance),
            Some(instance_name),
        ) = (
            self.haproxy_server_id,
            self.haproxy_server_name.take(),
            self.backend_id,
            self.backend_name.take(),
            self.instance_id,
            self.instance_name.take(),
        )
        else {
            return Ok(None);
        };
        let port = stored.number("port of an agent", self.agent_port.unwrap_or_default())?;
        Ok(Some(TargetHaproxyServer {
            key: Key::new(key),
            name,
            backend: Key::new(backend),
            backend_name,
            instance: Key::new(instance),
            instance_name,
            agent: (self.agent_address.take().unwrap_or_default(), port),
        }))
    }

    fn target(self, stored: &Stored) -> Result<Target, StoreError> {
        let server = self
            .server_id
            .zip(self.server_name)
            .zip(self.server_address);
        let group_settings = SettingsLayer {
            playbook_path: self.group_playbook_path,
            artifact_url: self.group_artifact_url,
            artifact_extension: self.group_artifact_extension,
        };
        let group = self.group_id.zip(self.group_name).zip(self.grouping);
        Ok(Target {
            application: Key::new(self.id),
            kind: stored.word("kind", &self.kind, ApplicationKind::parse)?,
            name: self.name,
            version: self.version,
            process: self.process,
            server: server.map(|((key, name), address)| TargetServer {
                key: Key::new(key),
                name,
                address,
                namesake: self.namesake,
            }),
            group: group.map(|((key, name), grouping)| TargetGroup {
                key: Key::new(key),
                name,
                settings: group_settings,
                grouping,
            }),
            own_settings: SettingsLayer {
                playbook_path: self.own_playbook_path,
                artifact_url: self.own_artifact_url,
                artifact_extension: self.own_artifact_extension,
            },
            catalog_settings: SettingsLayer {
                playbook_path: self.catalog_playbook_path,
                artifact_url: self.catalog_artifact_url,
                artifact_extension: self.catalog_artifact_extension,
            },
            haproxy_servers: Vec::new(),
            expects_haproxy: self.expects_haproxy,
            is_new_in_group: self.is_new_in_group,
        })
    }
}
