//! The fleet that is measured: 10 applications on each of 100 servers, all behind one HAProxy
//! instance, one backend for each of the ten.

use anyhow::{Context, Result};
use drover_domain::fleet::ApplicationKey;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

const SERVERS: i64 = 100;
const PRODUCTS: i64 = 10;

const FILL: [&str; 9] = [
    "INSERT INTO servers (name, address, port, status, is_haproxy_node, created_at)
     SELECT 'node' || lpad(n::text, 3, '0') || '.example.net', '10.0.0.' || n, 11011, 'online', n = 1, 0
     FROM generate_series(1, {servers}) AS n",
    "INSERT INTO application_catalog (name, kind, created_at)
     SELECT 'product' || p, 'site', 0 FROM generate_series(1, {products}) AS p",
    "INSERT INTO application_groups (name, catalog_id, created_at)
     SELECT name, id, 0 FROM application_catalog",
    "INSERT INTO application_instances
        (server_id, kind, name, status, version, address, port, catalog_id, group_id, instance_number, created_at)
     SELECT s.id, 'site', g.name || '_1', 'online', '1.0.0', s.address, 8000 + g.id, g.catalog_id, g.id, 1, 0
     FROM application_groups AS g CROSS JOIN servers AS s ORDER BY g.id, s.id",
    "INSERT INTO haproxy_instances (server_id, name, last_sync_status, created_at)
     SELECT id, 'default', 'success', 0 FROM servers WHERE is_haproxy_node",
    "INSERT INTO haproxy_backends (instance_id, name, last_fetch_status, created_at)
     SELECT i.id, g.name, 'success', 0 FROM haproxy_instances AS i CROSS JOIN application_groups AS g ORDER BY g.id",
    "INSERT INTO haproxy_servers (backend_id, name, status, takes_traffic, address, port, created_at)
     SELECT b.id, split_part(s.name, '.', 1) || '_' || a.name, 'UP', TRUE, a.address, a.port, 0
     FROM application_instances AS a
     JOIN servers AS s ON s.id = a.server_id
     JOIN application_groups AS g ON g.id = a.group_id
     JOIN haproxy_backends AS b ON b.name = g.name",
    "INSERT INTO application_mappings (application_id, entity_type, entity_id, basis, is_active, mapped_at)
     SELECT a.id, 'haproxy_server', h.id, 'address', TRUE, 0
     FROM application_instances AS a JOIN haproxy_servers AS h ON h.address = a.address AND h.port = a.port",
    "ANALYZE",
];

/// Fills a migrated, empty database and returns the applications, those of one product together.
pub(crate) async fn fill(database: &DatabaseConnection) -> Result<Vec<ApplicationKey>> {
    for statement in FILL {
        let statement = statement
            .replace("{servers}", &SERVERS.to_string())
            .replace("{products}", &PRODUCTS.to_string());
        database
            .execute_unprepared(&statement)
            .await
            .with_context(|| format!("the fleet cannot be made: {statement}"))?;
    }
    let listed = "SELECT id FROM application_instances ORDER BY id";
    let rows = database
        .query_all_raw(Statement::from_string(DbBackend::Postgres, listed))
        .await?;
    rows.iter()
        .map(|row| Ok(ApplicationKey::new(row.try_get::<i64>("", "id")?)))
        .collect()
}
