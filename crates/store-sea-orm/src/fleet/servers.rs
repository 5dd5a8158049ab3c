//! The record of servers.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{NewServer, Server, ServerKey, ServerPlace, short_name};
use drover_domain::page::{Page, PageRequest};
use drover_domain::rollout::composite::short_server_name;
use drover_ports::{Removal, ServerRegistry, StoreError};
use sea_orm::FromQueryResult;

use crate::fleet::history::remember;
use crate::fleet::view::{beginning, like};
use crate::row::Stored;
use crate::row::server::{COLUMNS, ServerRow, stored_networks};
use crate::sql::session::{KeyRow, Row, Session};
use crate::sql::{Sql, limit};
use crate::store::{SeaOrmStore, taken};

#[derive(Debug, FromQueryResult)]
struct UnderWayRow {
    updates: i64,
    actions: i64,
}

impl Row for UnderWayRow {
    const WHAT: &'static str = "count";
}

/// What has not ended yet on a server: updates of applications that run on it or are served by its HAProxy, and actions
/// on servers in its HAProxy.
async fn under_way(session: &Session, server: ServerKey) -> Result<(u32, u32), StoreError> {
    let members = session.dialect.members("u.application_ids");
    let sql = Sql::new(format!(
        "WITH own AS (
             SELECT h.id FROM haproxy_servers h
             JOIN haproxy_backends b ON b.id = h.backend_id
             JOIN haproxy_instances i ON i.id = b.instance_id
             WHERE i.server_id = $1),
         applications AS (
             SELECT a.id FROM application_instances a WHERE a.server_id = $1
             UNION
             SELECT m.application_id FROM application_mappings m JOIN own ON own.id = m.entity_id
             WHERE m.entity_type = 'haproxy_server' AND m.is_active)
         SELECT
             (SELECT count(*) FROM rollouts u JOIN workflows w ON w.id = u.workflow_id
              WHERE w.finished_at IS NULL
                AND EXISTS (SELECT 1 FROM applications a WHERE a.id IN {members})) AS updates,
             (SELECT count(*) FROM haproxy_actions x JOIN workflows w ON w.id = x.workflow_id
              WHERE w.finished_at IS NULL AND x.haproxy_server_id IN (SELECT own.id FROM own)) AS actions"
    ));
    let row = session.row::<UnderWayRow>(sql.bind(server.get())).await?;
    let stored = Stored::new("server", server);
    let row = row.ok_or_else(|| stored.corrupt("nobody can count what is under way on it"))?;
    Ok((
        stored.number("count of updates", row.updates)?,
        stored.number("count of actions", row.actions)?,
    ))
}

#[derive(Debug, FromQueryResult)]
struct NameRow {
    name: String,
}

impl Row for NameRow {
    const WHAT: &'static str = "server";
}

// Small and capital letters are alike: plays and DNS do not distinguish them.
fn short(name: &str) -> String {
    short_server_name(name).to_ascii_lowercase()
}

// Refuses the short name of another server. Alone in the table: no index can hold it, because servers that were added
// before the rule stay.
async fn check_name(
    session: &Session,
    name: &str,
    except: Option<ServerKey>,
) -> Result<(), StoreError> {
    if let Some(alone) = session.dialect.alone_in("servers") {
        session.execute(Sql::new(alone)).await?;
    }
    let sql =
        Sql::new("SELECT name FROM servers WHERE short_name = $1 AND id <> $2 ORDER BY id LIMIT 1")
            .text(&short(name))
            .bind(except.map_or(0, ServerKey::get));
    match session.row::<NameRow>(sql).await? {
        None => Ok(()),
        Some(other) => Err(StoreError::AlreadyExists {
            what: if other.name == name {
                "server"
            } else {
                "server with the same short name"
            },
            name: other.name,
        }),
    }
}

// The server, if it is still as it was known.
fn as_known(server: ServerKey, known: &ServerPlace, locking: &str) -> Sql {
    Sql::new(format!(
        "SELECT s.id FROM servers s
         WHERE s.id = $1 AND s.name = $2 AND s.address = $3 AND s.port = $4 AND s.networks = $5{locking}"
    ))
    .bind(server.get())
    .text(&known.name)
    .text(&known.address)
    .bind(i64::from(known.port))
    .text(&stored_networks(&known.networks))
}

#[async_trait]
impl ServerRegistry for SeaOrmStore {
    #[tracing::instrument(name = "db.servers.add", level = "debug", skip_all)]
    async fn add(&self, server: &NewServer, at: Timestamp) -> Result<Server, StoreError> {
        let session = self.write("add a server").await?;
        check_name(&session, server.name(), None).await?;
        let text = format!(
            "INSERT INTO servers (name, address, port, is_haproxy_node, created_at, short_name, networks)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {COLUMNS}"
        );
        let sql = Sql::new(text)
            .text(server.name())
            .text(server.address())
            .bind(i64::from(server.port()))
            .bind(server.is_haproxy_node())
            .bind(at.as_micros())
            .text(&short(server.name()))
            .text(&stored_networks(server.networks()));
        let row = session
            .row::<ServerRow>(sql)
            .await
            .map_err(|error| taken(error, "server", server.name()))?;
        let row = row.ok_or_else(|| {
            Stored::new("server", server.name()).corrupt("it was not there after it was added")
        })?;
        session.commit().await?;
        row.read()
    }

    #[tracing::instrument(name = "db.servers.find", level = "debug", skip_all)]
    async fn find(&self, server: ServerKey) -> Result<Option<Server>, StoreError> {
        let sql =
            Sql::new(format!("SELECT {COLUMNS} FROM servers WHERE id = $1")).bind(server.get());
        self.read("find a server")
            .row::<ServerRow>(sql)
            .await?
            .map(ServerRow::read)
            .transpose()
    }

    #[tracing::instrument(name = "db.servers.find_by_name", level = "debug", skip_all)]
    async fn find_by_name(&self, name: &str) -> Result<Option<Server>, StoreError> {
        let session = self.read("find a server by its name");
        let name = name.to_ascii_lowercase();
        let long = format!("{name}.");
        let is_short = short_name(&long) == Some(&name);
        let sql = Sql::new(format!(
            "SELECT {COLUMNS} FROM servers WHERE lower(name) = $1 OR lower(name) = $2 OR {} ORDER BY id LIMIT 1",
            like(session.dialect, "name", 3)
        ))
        .text(&name)
        .optional_text(short_name(&name))
        .optional_text(is_short.then(|| beginning(&long)).as_deref());
        session
            .row::<ServerRow>(sql)
            .await?
            .map(ServerRow::read)
            .transpose()
    }

    #[tracing::instrument(name = "db.servers.list", level = "debug", skip_all)]
    async fn list(&self, page: PageRequest) -> Result<Page<Server>, StoreError> {
        let sql = Sql::new(format!(
            "SELECT {COLUMNS} FROM servers WHERE id > $1 ORDER BY id LIMIT $2"
        ))
        .ascending(page);
        let rows = self.read("list servers").rows::<ServerRow>(sql).await?;
        let page = Page::from_lookahead(rows, limit(page), |row| row.id);
        let readable = |row: ServerRow| match row.read() {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "a server cannot be read and is not polled"
                );
                None
            }
        };
        Ok(Page {
            items: page.items.into_iter().filter_map(readable).collect(),
            next: page.next,
        })
    }

    #[tracing::instrument(name = "db.servers.change", level = "debug", skip_all)]
    async fn change(
        &self,
        server: ServerKey,
        known: &ServerPlace,
        place: &ServerPlace,
    ) -> Result<Option<Server>, StoreError> {
        let session = self.write("change a server").await?;
        if place.name != known.name
            && let Err(taken) = check_name(&session, &place.name, Some(server)).await
        {
            let found = session.row::<KeyRow>(as_known(server, known, "")).await?;
            return found.map_or(Ok(None), |_| Err(taken));
        }
        // PostgreSQL wants to know the type of a parameter that is only compared.
        let is_moved = "(address <> CAST($6 AS TEXT) OR port <> CAST($7 AS BIGINT))";
        let text = format!(
            "UPDATE servers SET
                 name = $5, address = $6, port = $7, short_name = $9, networks = $10,
                 status = CASE WHEN {is_moved} THEN 'unknown' ELSE status END,
                 failures = CASE WHEN {is_moved} THEN 0 ELSE failures END,
                 last_error = CASE WHEN {is_moved} THEN NULL ELSE last_error END,
                 suspect = CASE WHEN {is_moved} THEN NULL ELSE suspect END,
                 agent_ip = CASE WHEN {is_moved} THEN NULL ELSE agent_ip END,
                 inventory_failures = CASE WHEN {is_moved} THEN 0 ELSE inventory_failures END
             WHERE id = $1 AND name = $2 AND address = $3 AND port = $4 AND networks = $8
             RETURNING {COLUMNS}"
        );
        let sql = Sql::new(text)
            .bind(server.get())
            .text(&known.name)
            .text(&known.address)
            .bind(i64::from(known.port))
            .text(&place.name)
            .text(&place.address)
            .bind(i64::from(place.port))
            .text(&stored_networks(&known.networks))
            .text(&short(&place.name))
            .text(&stored_networks(&place.networks));
        let row = session
            .row::<ServerRow>(sql)
            .await
            .map_err(|error| taken(error, "server", &place.name))?;
        session.commit().await?;
        row.map(ServerRow::read).transpose()
    }

    #[tracing::instrument(name = "db.servers.remove", level = "debug", skip_all)]
    async fn remove(&self, server: ServerKey, known: &ServerPlace) -> Result<Removal, StoreError> {
        let session = self.write("remove a server").await?;
        let sql = as_known(server, known, &session.dialect.locking("s"));
        if session.row::<KeyRow>(sql).await?.is_none() {
            session.undo().await?;
            return Ok(Removal::Changed);
        }
        let (updates, actions) = under_way(&session, server).await?;
        if updates + actions > 0 {
            session.undo().await?;
            return Ok(Removal::UnderWay { updates, actions });
        }
        // Mappings know servers in HAProxy without a foreign key.
        let mapped = "m.entity_type = 'haproxy_server' AND m.entity_id IN (
                 SELECT h.id FROM haproxy_servers h
                 JOIN haproxy_backends b ON b.id = h.backend_id
                 JOIN haproxy_instances i ON i.id = b.instance_id
                 WHERE i.server_id = $1)";
        remember(&session, Sql::new("").bind(server.get()), mapped).await?;
        let forget = format!(
            "DELETE FROM application_mappings WHERE id IN (SELECT m.id FROM application_mappings m WHERE {mapped})"
        );
        for text in [
            "UPDATE application_instances SET
                 status = 'no_data',
                 last_seen = COALESCE(last_seen, (SELECT s.inventory_at FROM servers s WHERE s.id = $1))
             WHERE server_id = $1",
            forget.as_str(),
            "DELETE FROM servers WHERE id = $1",
        ] {
            session.execute(Sql::new(text).bind(server.get())).await?;
        }
        session.commit().await?;
        Ok(Removal::Done)
    }

    #[tracing::instrument(name = "db.servers.set_haproxy_node", level = "debug", skip_all)]
    async fn set_haproxy_node(
        &self,
        server: ServerKey,
        is_haproxy_node: bool,
    ) -> Result<Option<Server>, StoreError> {
        let session = self.write("say whether a server is a HAProxy node").await?;
        let sql = Sql::new(format!(
            "UPDATE servers SET is_haproxy_node = $2 WHERE id = $1 RETURNING {COLUMNS}"
        ))
        .bind(server.get())
        .bind(is_haproxy_node);
        let Some(row) = session.row::<ServerRow>(sql).await? else {
            return Ok(None);
        };
        if !is_haproxy_node {
            // In the order of their keys, as everybody locks them.
            let sql = Sql::new(format!(
                "SELECT i.id FROM haproxy_instances i WHERE i.server_id = $1 AND i.is_active ORDER BY i.id{}",
                session.dialect.locking("i"),
            ));
            session.rows::<KeyRow>(sql.bind(server.get())).await?;
            let sql = Sql::new(
                "UPDATE haproxy_instances SET is_active = false WHERE server_id = $1 AND is_active",
            );
            session.execute(sql.bind(server.get())).await?;
        }
        let server = row.read()?;
        session.commit().await?;
        Ok(Some(server))
    }
}
