//! The straightforward way to the same snapshot: follow every relation of every application.

use anyhow::{Context, Result};
use drover_domain::fleet::{ApplicationKey, ApplicationKind, GroupKey, ServerKey, SettingsLayer};
use drover_domain::haproxy::{BackendKey, HaproxyInstanceKey, HaproxyServerKey};
use drover_domain::rollout::snapshot::{
    FleetSnapshot, Target, TargetGroup, TargetHaproxyServer, TargetServer,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement, Value};

/// One query for the applications with their groups and catalog entries, then one each for the
/// server, the mapping, the HAProxy server, its backend and its instance of every application.
pub(crate) async fn snapshot(
    database: &DatabaseConnection,
    applications: &[ApplicationKey],
) -> Result<FleetSnapshot> {
    let mut snapshot = FleetSnapshot::default();
    let keys: Vec<i64> = applications.iter().map(|key| key.get()).collect();
    let statement = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT a.id, a.name, a.kind, a.version, COALESCE(a.start_time, 'process ' || CAST(a.pid AS TEXT)) AS process,
                a.server_id, a.custom_playbook_path, a.custom_artifact_url,
                a.custom_artifact_extension, g.id AS group_id, g.name AS group_name, g.update_playbook_path,
                g.artifact_list_url, g.artifact_extension, g.batch_grouping_strategy,
                c.default_playbook_path, c.default_artifact_url, c.default_artifact_extension
         FROM application_instances AS a
         LEFT JOIN application_groups AS g ON g.id = a.group_id
         LEFT JOIN application_catalog AS c ON c.id = a.catalog_id
         WHERE a.id = ANY($1)",
        [Value::from(keys)],
    );
    for row in database
        .query_all_raw(statement)
        .await
        .context("the applications cannot be loaded")?
    {
        let application = ApplicationKey::new(row.try_get("", "id")?);
        let server: i64 = row.try_get("", "server_id")?;
        let target = Target {
            application,
            name: row.try_get("", "name")?,
            kind: ApplicationKind::parse(&row.try_get::<String>("", "kind")?)
                .context("an unknown kind")?,
            version: row.try_get("", "version")?,
            process: row.try_get("", "process")?,
            server: Some(target_server(database, server).await?),
            group: Some(TargetGroup {
                key: GroupKey::new(row.try_get("", "group_id")?),
                name: row.try_get("", "group_name")?,
                settings: settings(
                    &row,
                    [
                        "update_playbook_path",
                        "artifact_list_url",
                        "artifact_extension",
                    ],
                )?,
                grouping: row.try_get("", "batch_grouping_strategy")?,
            }),
            own_settings: settings(
                &row,
                [
                    "custom_playbook_path",
                    "custom_artifact_url",
                    "custom_artifact_extension",
                ],
            )?,
            catalog_settings: settings(
                &row,
                [
                    "default_playbook_path",
                    "default_artifact_url",
                    "default_artifact_extension",
                ],
            )?,
            haproxy_servers: vec![haproxy_server(database, application).await?],
            expects_haproxy: false,
            is_new_in_group: false,
        };
        snapshot.targets.insert(application, target);
    }
    Ok(snapshot)
}

async fn target_server(database: &DatabaseConnection, server: i64) -> Result<TargetServer> {
    let row = one(
        database,
        "SELECT name, address FROM servers WHERE id = $1",
        server,
    )
    .await?;
    Ok(TargetServer {
        key: ServerKey::new(server),
        name: row.try_get("", "name")?,
        address: row.try_get("", "address")?,
        namesake: None,
    })
}

async fn haproxy_server(
    database: &DatabaseConnection,
    application: ApplicationKey,
) -> Result<TargetHaproxyServer> {
    let mapping = "SELECT entity_id FROM application_mappings
                   WHERE application_id = $1 AND entity_type = 'haproxy_server' AND is_active";
    let server: i64 = one(database, mapping, application.get())
        .await?
        .try_get("", "entity_id")?;
    let found = "SELECT name, backend_id FROM haproxy_servers WHERE id = $1 AND removed_at IS NULL";
    let server_row = one(database, found, server).await?;
    let backend: i64 = server_row.try_get("", "backend_id")?;
    let backend_row = one(
        database,
        "SELECT name, instance_id FROM haproxy_backends WHERE id = $1",
        backend,
    )
    .await?;
    let instance: i64 = backend_row.try_get("", "instance_id")?;
    let with_agent = "SELECT i.name, s.address, s.port
                      FROM haproxy_instances AS i JOIN servers AS s ON s.id = i.server_id WHERE i.id = $1";
    let instance_row = one(database, with_agent, instance).await?;
    let port: i64 = instance_row.try_get("", "port")?;
    Ok(TargetHaproxyServer {
        key: HaproxyServerKey::new(server),
        name: server_row.try_get("", "name")?,
        backend: BackendKey::new(backend),
        backend_name: backend_row.try_get("", "name")?,
        instance: HaproxyInstanceKey::new(instance),
        instance_name: instance_row.try_get("", "name")?,
        agent: (instance_row.try_get("", "address")?, u16::try_from(port)?),
    })
}

fn settings(row: &QueryResult, [playbook, url, extension]: [&str; 3]) -> Result<SettingsLayer> {
    Ok(SettingsLayer {
        playbook_path: row.try_get("", playbook)?,
        artifact_url: row.try_get("", url)?,
        artifact_extension: row.try_get("", extension)?,
    })
}

async fn one(database: &DatabaseConnection, query: &str, key: i64) -> Result<QueryResult> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, query, [Value::from(key)]);
    let row = database
        .query_one_raw(statement)
        .await
        .with_context(|| format!("{query} failed"))?;
    row.with_context(|| format!("nothing has the key {key}: {query}"))
}
