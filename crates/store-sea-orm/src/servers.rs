//! The record of servers.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::fleet::{NewServer, Server, ServerKey};
use drover_domain::page::{Page, PageRequest};
use drover_ports::{ServerRegistry, StoreError};

use crate::row::Stored;
use crate::row::server::{COLUMNS, ServerRow};
use crate::session::KeyRow;
use crate::sql::{Sql, limit};
use crate::store::{SeaOrmStore, is_duplicate};

#[async_trait]
impl ServerRegistry for SeaOrmStore {
    #[tracing::instrument(name = "db.servers.add", level = "debug", skip_all)]
    async fn add(&self, server: &NewServer, at: Timestamp) -> Result<Server, StoreError> {
        let session = self.write_once("add a server").await?;
        let text = format!(
            "INSERT INTO servers (name, address, port, is_haproxy_node, created_at)
             VALUES ($1, $2, $3, $4, $5) RETURNING {COLUMNS}"
        );
        let sql = Sql::new(text)
            .text(server.name())
            .text(server.address())
            .bind(i64::from(server.port()))
            .bind(server.is_haproxy_node())
            .bind(at.as_micros());
        let row = session.row::<ServerRow>(sql).await.map_err(|error| {
            if is_duplicate(&error) {
                return StoreError::AlreadyExists {
                    what: "server",
                    name: server.name().to_owned(),
                };
            }
            error
        })?;
        row.ok_or_else(|| {
            Stored::new("server", server.name()).corrupt("it was not there after it was added")
        })?
        .read()
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

    #[tracing::instrument(name = "db.servers.list", level = "debug", skip_all)]
    async fn list(&self, page: PageRequest) -> Result<Page<Server>, StoreError> {
        let sql = Sql::new(format!(
            "SELECT {COLUMNS} FROM servers WHERE id > $1 ORDER BY id LIMIT $2"
        ))
        .ascending(page);
        let rows = self.read("list servers").rows::<ServerRow>(sql).await?;
        let servers = rows
            .into_iter()
            .map(ServerRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            servers,
            limit(page),
            |server: &Server| server.key.get(),
        ))
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
