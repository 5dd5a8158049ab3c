//! What runs where, as polling reads and writes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::Key;
use drover_domain::fleet::inventory::{
    ApplicationUpsert, InventoryChange, KnownInventory, StatusChange,
};
use drover_domain::fleet::{
    Application, ApplicationKind, GroupEntry, Server, ServerKey, VersionChange,
};
use drover_ports::{InventoryStore, StoreError};

use crate::fleet::events::insert_events;
use crate::row::application::{ApplicationRow, IS_GONE, IS_PRESENT, SELECT};
use crate::row::server::{COLUMNS, ServerRow};
use crate::sql::Sql;
use crate::sql::dialect::rows;
use crate::sql::session::{KeyRow, Session};
use crate::store::SeaOrmStore;
use crate::webhook::webhooks::IS_TOLD;

rows! {
    /// An application to insert or to overwrite.
    UpsertRow<'a> {
        kind: &'static str => Text,
        name: &'a str => Text,
        status: &'static str => Text,
        version: Option<&'a str> => Text,
        tag: Option<&'a str> => Text,
        image: Option<&'a str> => Text,
        distr_path: Option<&'a str> => Text,
        address: Option<&'a str> => Text,
        port: Option<u16> => Integer,
        pid: Option<u32> => Integer,
        path: Option<&'a str> => Text,
        log_path: Option<&'a str> => Text,
        container_id: Option<&'a str> => Text,
        start_time: Option<&'a str> => Text,
        base: Option<&'a str> => Text,
        base_kind: Option<&'static str> => Text,
        number: u32 => Integer,
        joins: bool => Boolean,
    }
}

rows! {
    /// The name of an application.
    NameRow<'a> {
        kind: &'static str => Text,
        name: &'a str => Text,
    }
}

rows! {
    /// An application as it is seen.
    SeenRow<'a> {
        kind: &'static str => Text,
        name: &'a str => Text,
        status: &'static str => Text,
    }
}

rows! {
    /// Where an application belongs.
    ResolutionRow<'a> {
        base: &'a str => Text,
        kind: &'static str => Text,
    }
}

rows! {
    /// A version change of the application with this name, or with this key.
    VersionChangeRow<'a> {
        ordinal: usize => Integer,
        application_id: Option<i64> => Integer,
        kind: Option<&'static str> => Text,
        name: Option<&'a str> => Text,
        old_version: Option<&'a str> => Text,
        new_version: Option<&'a str> => Text,
        old_tag: Option<&'a str> => Text,
        new_tag: Option<&'a str> => Text,
        old_image: Option<&'a str> => Text,
        new_image: Option<&'a str> => Text,
        old_distr_path: Option<&'a str> => Text,
        new_distr_path: Option<&'a str> => Text,
        changed_at: i64 => Integer,
        changed_by: &'static str => Text,
        change_source: &'static str => Text,
        rollout_id: Option<String> => Uuid,
    }
}

impl<'a> VersionChangeRow<'a> {
    /// The row of a change; which application it is of is still to be said.
    pub(crate) fn new(ordinal: usize, change: &'a VersionChange) -> Self {
        Self {
            ordinal,
            application_id: None,
            kind: None,
            name: None,
            old_version: change.old.version.as_deref(),
            new_version: change.new.version.as_deref(),
            old_tag: change.old.tag.as_deref(),
            new_tag: change.new.tag.as_deref(),
            old_image: change.old.image.as_deref(),
            new_image: change.new.image.as_deref(),
            old_distr_path: change.old.distr_path.as_deref(),
            new_distr_path: change.new.distr_path.as_deref(),
            changed_at: change.changed_at.as_micros(),
            changed_by: change.changed_by.as_str(),
            change_source: change.source.as_str(),
            rollout_id: change.rollout.map(|id| id.to_string()),
        }
    }
}

rows! {
    /// An application whose status alone changes.
    StatusRow {
        id: i64 => Integer,
        status: &'static str => Text,
        last_seen: Option<i64> => Integer,
    }
}

#[async_trait]
impl InventoryStore for SeaOrmStore {
    #[tracing::instrument(name = "db.inventory.load", level = "debug", skip_all)]
    async fn load(&self, server: ServerKey) -> Result<Option<KnownInventory>, StoreError> {
        let session = self.read_together("load the inventory of a server").await?;
        let sql =
            Sql::new(format!("SELECT {COLUMNS} FROM servers WHERE id = $1")).bind(server.get());
        let Some(row) = session.row::<ServerRow>(sql).await? else {
            return Ok(None);
        };
        let sql = Sql::new(format!(
            "{SELECT} WHERE a.server_id = $1 AND {IS_PRESENT} ORDER BY a.id"
        ));
        let rows = session
            .rows::<ApplicationRow>(sql.bind(server.get()))
            .await?;
        let sql = Sql::new(format!(
            "SELECT count(*) AS id FROM application_instances a JOIN servers s ON s.id = a.server_id
             WHERE a.server_id = $1 AND {IS_GONE}"
        ));
        let gone = session.row::<KeyRow>(sql.bind(server.get())).await?;
        let gone = gone.and_then(|row| usize::try_from(row.id).ok());
        session.commit().await?;
        let applications = rows
            .into_iter()
            .map(ApplicationRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(KnownInventory {
            server: row.read()?,
            applications,
            gone: gone.unwrap_or_default(),
        }))
    }

    #[tracing::instrument(name = "db.inventory.recall", level = "debug", skip_all)]
    async fn recall(
        &self,
        server: ServerKey,
        names: &[(ApplicationKind, &str)],
    ) -> Result<Vec<Application>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<NameRow<'_>> = names
            .iter()
            .map(|(kind, name)| NameRow {
                kind: kind.as_str(),
                name,
            })
            .collect();
        let table = self.dialect().rows::<NameRow<'_>>(1, "r");
        let text = format!(
            "{SELECT} JOIN {table} ON r.kind = a.kind AND r.name = a.name
             WHERE a.server_id = $2 AND {IS_GONE} ORDER BY a.id"
        );
        self.read("recall applications of a server")
            .rows::<ApplicationRow>(Sql::new(text).rows(&rows).bind(server.get()))
            .await?
            .into_iter()
            .map(ApplicationRow::read)
            .collect()
    }

    #[tracing::instrument(name = "db.inventory.store", level = "debug", skip_all)]
    async fn store(&self, change: &InventoryChange) -> Result<(), StoreError> {
        let action = "store the inventory of a server";
        if change.is_quiet() {
            return update_server(&self.write_once(action).await?, &change.server)
                .await
                .map(|_| ());
        }
        let session = self.write(action).await?;
        // The lock on the server's row keeps other writers of its applications away.
        if update_server(&session, &change.server).await? == 0 {
            return Ok(());
        }
        let upserts: BTreeMap<(ApplicationKind, &str), &ApplicationUpsert> = change
            .upserts
            .iter()
            .map(|upsert| {
                (
                    (upsert.observed.kind, upsert.observed.name.as_str()),
                    upsert,
                )
            })
            .collect();
        resolve(&session, &upserts, &change.server).await?;
        record_statuses(&session, &upserts, &change.server).await?;
        upsert(&session, &upserts, &change.server).await?;
        record_versions(&session, &upserts, change.server.key).await?;
        set_statuses(&session, &change.statuses, &change.server).await?;
        insert_events(&session, &change.events).await?;
        forget_gone(&session, change).await?;
        session.commit().await
    }
}

// Those gone longest first.
async fn forget_gone(session: &Session, change: &InventoryChange) -> Result<(), StoreError> {
    if change.forget == 0 {
        return Ok(());
    }
    let sql = Sql::new(format!(
        "DELETE FROM application_instances WHERE id IN (
             SELECT a.id FROM application_instances a JOIN servers s ON s.id = a.server_id
             WHERE a.server_id = $1 AND {IS_GONE} ORDER BY a.last_seen, a.id LIMIT $2)"
    ));
    let sql = sql
        .bind(change.server.key.get())
        .bind(i64::try_from(change.forget).unwrap_or(i64::MAX));
    session.execute(sql).await.map(|_| ())
}

type Upserts<'a> = BTreeMap<(ApplicationKind, &'a str), &'a ApplicationUpsert>;

// Only the results of polling: name, address and role are changed by people. Results from another
// address say nothing about this one.
async fn update_server(session: &Session, server: &Server) -> Result<u64, StoreError> {
    let sql = Sql::new(
        "UPDATE servers SET status = $2, failures = $3, last_check = $4, inventory_at = $5, last_error = $6, suspect = $7,
             agent_ip = $10, inventory_failures = $11
         WHERE id = $1 AND address = $8 AND port = $9",
    )
    .bind(server.key.get())
    .bind(server.status.as_str())
    .bind(i64::from(server.failures))
    .time(server.last_check)
    .time(server.inventory_at)
    .optional_text(server.last_error.as_deref())
    .bind(server.suspect)
    .text(&server.address)
    .bind(i64::from(server.port))
    .optional_text(server.agent_ip.map(|address| address.to_string()).as_deref())
    .bind(i64::from(server.inventory_failures));
    session.execute(sql).await
}

// Makes the catalog entries and groups that are missing. Ordered by name, so that two servers
// that bring the same new names do not wait for each other in a circle.
async fn resolve(
    session: &Session,
    upserts: &Upserts<'_>,
    server: &Server,
) -> Result<(), StoreError> {
    let resolutions: BTreeMap<(&str, &str), ResolutionRow<'_>> = upserts
        .values()
        .filter_map(|upsert| upsert.resolution.as_ref())
        .filter(|resolution| resolution.make)
        .map(|resolution| {
            let (base, kind) = (resolution.base.as_str(), resolution.kind.as_str());
            ((base, kind), ResolutionRow { base, kind })
        })
        .collect();
    if resolutions.is_empty() {
        return Ok(());
    }
    let rows: Vec<ResolutionRow<'_>> = resolutions.into_values().collect();
    let at = server.last_check.unwrap_or(server.created_at).as_micros();
    let table = session.dialect.rows::<ResolutionRow<'_>>(1, "r");
    let catalog = format!(
        "INSERT INTO application_catalog (name, kind, created_at, is_set)
         SELECT r.base, r.kind, $2, false FROM {table}
         WHERE NOT EXISTS (SELECT 1 FROM application_catalog c WHERE c.name = r.base AND c.kind = r.kind)
         ORDER BY r.base, r.kind
         ON CONFLICT (name, kind) DO NOTHING"
    );
    session
        .execute(Sql::new(catalog).rows(&rows).bind(at))
        .await?;
    let groups = format!(
        "INSERT INTO application_groups AS g (name, catalog_id, created_at, is_set)
         SELECT r.base, min(c.id), $2, false FROM {table}
         JOIN application_catalog c ON c.name = r.base AND c.kind = r.kind
         WHERE NOT EXISTS (SELECT 1 FROM application_groups k WHERE k.name = r.base AND k.catalog_id IS NOT NULL)
         GROUP BY r.base
         ORDER BY r.base
         ON CONFLICT (name) DO UPDATE SET catalog_id = COALESCE(g.catalog_id, excluded.catalog_id)"
    );
    session
        .execute(Sql::new(groups).rows(&rows).bind(at))
        .await
        .map(|_| ())
}

// Before they are overwritten: which of the known ones have another status.
async fn record_statuses(
    session: &Session,
    upserts: &Upserts<'_>,
    server: &Server,
) -> Result<(), StoreError> {
    if upserts.is_empty() {
        return Ok(());
    }
    let rows: Vec<SeenRow<'_>> = upserts
        .values()
        .map(|upsert| SeenRow {
            kind: upsert.observed.kind.as_str(),
            name: &upsert.observed.name,
            status: upsert.observed.status.as_str(),
        })
        .collect();
    let text = format!(
        "INSERT INTO application_status_history (application_id, old_status, new_status, changed_at, is_told)
         SELECT a.id, a.status, r.status, $3, {IS_TOLD}
         FROM {} JOIN application_instances a ON a.server_id = $2 AND a.kind = r.kind AND a.name = r.name
         WHERE a.status <> r.status ORDER BY a.id",
        session.dialect.rows::<SeenRow<'_>>(1, "r"),
    );
    let at = server.last_check.unwrap_or(server.created_at).as_micros();
    let sql = Sql::new(text).rows(&rows).bind(server.key.get()).bind(at);
    session.execute(sql).await.map(|_| ())
}

async fn upsert(
    session: &Session,
    upserts: &Upserts<'_>,
    server: &Server,
) -> Result<(), StoreError> {
    if upserts.is_empty() {
        return Ok(());
    }
    let rows: Vec<UpsertRow<'_>> = upserts.values().map(|upsert| upsert_row(upsert)).collect();
    let text = format!(
        "INSERT INTO application_instances AS a (
             server_id, kind, name, status, version, tag, image, distr_path, address, port, pid, path, log_path,
             container_id, start_time, catalog_id, group_id, proposed_group_id, joined_at, instance_number, created_at)
         SELECT $2, x.kind, x.name, x.status, x.version, x.tag, x.image, x.distr_path, x.address, x.port, x.pid, x.path,
                x.log_path, x.container_id, x.start_time, x.catalog_id, x.group_id,
                CASE WHEN x.group_id IS NULL THEN x.found_id END,
                CASE WHEN x.group_id IS NOT NULL THEN CAST($3 AS BIGINT) END, x.number, CAST($3 AS BIGINT)
         FROM (
             SELECT r.*, c.id AS catalog_id, g.id AS found_id,
                    CASE WHEN r.joins
                           OR EXISTS (SELECT 1 FROM application_instances o WHERE o.group_id = g.id AND o.server_id = $2)
                           OR NOT (g.is_set OR EXISTS (SELECT 1 FROM application_instances o WHERE o.group_id = g.id))
                         THEN g.id END AS group_id
             FROM {}
             LEFT JOIN application_catalog c ON c.name = r.base AND c.kind = r.base_kind
             LEFT JOIN application_groups g ON g.name = r.base
         ) AS x
         WHERE true
         ORDER BY x.kind, x.name
         ON CONFLICT (server_id, kind, name) DO UPDATE SET
             status = excluded.status, version = excluded.version, tag = excluded.tag, image = excluded.image,
             distr_path = excluded.distr_path, address = excluded.address, port = excluded.port, pid = excluded.pid,
             path = excluded.path, log_path = excluded.log_path, container_id = excluded.container_id,
             start_time = excluded.start_time, last_seen = NULL,
             catalog_id = COALESCE(a.catalog_id, excluded.catalog_id),
             group_id = COALESCE(a.group_id, excluded.group_id),
             proposed_group_id = CASE WHEN COALESCE(a.group_id, excluded.group_id) IS NULL
                                      THEN COALESCE(excluded.proposed_group_id, a.proposed_group_id) END,
             joined_at = CASE WHEN a.group_id IS NULL AND excluded.group_id IS NOT NULL
                              THEN excluded.joined_at ELSE a.joined_at END,
             instance_number = CASE WHEN a.group_id IS NULL
                                     AND COALESCE(excluded.group_id, excluded.proposed_group_id) IS NOT NULL
                                    THEN excluded.instance_number ELSE a.instance_number END",
        session.dialect.rows::<UpsertRow<'_>>(1, "r"),
    );
    let at = server.last_check.unwrap_or(server.created_at).as_micros();
    session
        .execute(Sql::new(text).rows(&rows).bind(server.key.get()).bind(at))
        .await
        .map(|_| ())
}

fn upsert_row(upsert: &ApplicationUpsert) -> UpsertRow<'_> {
    let observed = &upsert.observed;
    let resolution = upsert.resolution.as_ref();
    UpsertRow {
        kind: observed.kind.as_str(),
        name: &observed.name,
        status: observed.status.as_str(),
        version: observed.version.version.as_deref(),
        tag: observed.version.tag.as_deref(),
        image: observed.version.image.as_deref(),
        distr_path: observed.version.distr_path.as_deref(),
        address: observed.address.as_deref(),
        port: observed.port,
        pid: observed.pid,
        path: observed.path.as_deref(),
        log_path: observed.log_path.as_deref(),
        container_id: observed.container_id.as_deref(),
        start_time: observed.start_time.as_deref(),
        base: resolution.map(|resolution| resolution.base.as_str()),
        base_kind: resolution.map(|resolution| resolution.kind.as_str()),
        number: resolution.map_or(0, |resolution| resolution.number),
        joins: resolution.is_none_or(|resolution| resolution.entry == GroupEntry::Join),
    }
}

async fn record_versions(
    session: &Session,
    upserts: &Upserts<'_>,
    server: ServerKey,
) -> Result<(), StoreError> {
    let changes = upserts
        .values()
        .filter_map(|upsert| Some((&upsert.observed, upsert.version.as_ref()?)));
    let rows: Vec<VersionChangeRow<'_>> = changes
        .enumerate()
        .map(|(ordinal, (observed, change))| VersionChangeRow {
            kind: Some(observed.kind.as_str()),
            name: Some(&observed.name),
            ..VersionChangeRow::new(ordinal, change)
        })
        .collect();
    insert_versions(
        session,
        &rows,
        "a.server_id = $2 AND a.kind = r.kind AND a.name = r.name",
        Some(server),
    )
    .await
}

/// Writes version history; `condition` says which application `a` a row `r` is of. Changes of
/// applications that are gone are left out.
pub(crate) async fn insert_versions(
    session: &Session,
    rows: &[VersionChangeRow<'_>],
    condition: &str,
    server: Option<ServerKey>,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let text = format!(
        "INSERT INTO application_version_history (
             application_id, old_version, new_version, old_tag, new_tag, old_image, new_image, old_distr_path,
             new_distr_path, changed_at, changed_by, change_source, rollout_id, is_told)
         SELECT a.id, r.old_version, r.new_version, r.old_tag, r.new_tag, r.old_image, r.new_image, r.old_distr_path,
                r.new_distr_path, r.changed_at, r.changed_by, r.change_source, r.rollout_id,
                (COALESCE(r.old_version, r.old_tag) IS NULL OR {IS_TOLD})
         FROM {} JOIN application_instances a ON {condition}
         ORDER BY r.ordinal",
        session.dialect.rows::<VersionChangeRow<'_>>(1, "r"),
    );
    let sql = Sql::new(text).rows(rows);
    let sql = match server {
        Some(server) => sql.bind(server.get()),
        None => sql,
    };
    session.execute(sql).await.map(|_| ())
}

async fn set_statuses(
    session: &Session,
    statuses: &[StatusChange],
    server: &Server,
) -> Result<(), StoreError> {
    if statuses.is_empty() {
        return Ok(());
    }
    let rows: BTreeMap<i64, StatusRow> = statuses
        .iter()
        .map(|change| {
            let id = Key::get(change.application);
            let last_seen = change.last_seen.map(drover_domain::Timestamp::as_micros);
            (
                id,
                StatusRow {
                    id,
                    status: change.status.as_str(),
                    last_seen,
                },
            )
        })
        .collect();
    let rows: Vec<StatusRow> = rows.into_values().collect();
    let table = session.dialect.rows::<StatusRow>(1, "r");
    let history = format!(
        "INSERT INTO application_status_history (application_id, old_status, new_status, changed_at, is_told)
         SELECT a.id, a.status, r.status, $3, {IS_TOLD}
         FROM {table} JOIN application_instances a ON a.id = r.id AND a.server_id = $2
         WHERE a.status <> r.status ORDER BY a.id"
    );
    let at = server.last_check.unwrap_or(server.created_at).as_micros();
    let sql = Sql::new(history)
        .rows(&rows)
        .bind(server.key.get())
        .bind(at);
    session.execute(sql).await?;
    let text = format!(
        "UPDATE application_instances AS a SET status = r.status, last_seen = r.last_seen
         FROM {table} WHERE a.id = r.id AND a.server_id = $2"
    );
    let sql = Sql::new(text).rows(&rows).bind(server.key.get());
    session.execute(sql).await.map(|_| ())
}
