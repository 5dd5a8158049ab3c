//! API keys.

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, KeyDigest, Role};
use drover_ports::{AccessKeys, StoreError};
use sea_orm::FromQueryResult;

use crate::dialect::Dialect;
use crate::row::Stored;
use crate::session::Row;
use crate::sql::Sql;
use crate::store::SeaOrmStore;

#[derive(FromQueryResult)]
struct KeyRow {
    public_id: String,
    digest: Vec<u8>,
    role: String,
    name: String,
    created_at: i64,
}

impl Row for KeyRow {
    const WHAT: &'static str = "API key";
}

impl KeyRow {
    fn read(self) -> Result<ApiKey, StoreError> {
        let stored = Stored::new(Self::WHAT, &self.public_id);
        let digest = self
            .digest
            .try_into()
            .map_err(|_| stored.corrupt("its digest has not 32 bytes"))?;
        Ok(ApiKey {
            digest: KeyDigest::from_bytes(digest),
            role: stored.word("role", &self.role, Role::parse)?,
            public_id: self.public_id,
            name: self.name,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

#[async_trait]
impl AccessKeys for SeaOrmStore {
    #[tracing::instrument(name = "db.keys.find", level = "debug", skip_all)]
    async fn find(&self, public_id: &str) -> Result<Option<ApiKey>, StoreError> {
        let text =
            "SELECT public_id, digest, role, name, created_at FROM api_keys WHERE public_id = $1";
        let row = self
            .read("find an API key")
            .row::<KeyRow>(Sql::new(text).text(public_id))
            .await?;
        row.map(KeyRow::read).transpose()
    }

    #[tracing::instrument(name = "db.keys.insert_first", level = "debug", skip_all)]
    async fn insert_first(&self, key: &ApiKey) -> Result<bool, StoreError> {
        let session = self.write("store the first API key").await?;
        if session.dialect == Dialect::Postgres {
            // Two nodes that start at once must not both see an empty table.
            session
                .execute(Sql::new("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE"))
                .await?;
        }
        let text = "INSERT INTO api_keys (public_id, digest, role, name, created_at)
                    SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM api_keys)";
        let stored = session.execute(bind(Sql::new(text), key)).await?;
        session.commit().await?;
        Ok(stored == 1)
    }

    #[tracing::instrument(name = "db.keys.put", level = "debug", skip_all)]
    async fn put(&self, key: &ApiKey) -> Result<(), StoreError> {
        let text = "INSERT INTO api_keys (public_id, digest, role, name, created_at) VALUES ($1, $2, $3, $4, $5)
                    ON CONFLICT (public_id) DO UPDATE SET digest = excluded.digest, role = excluded.role,
                        name = excluded.name, created_at = excluded.created_at";
        let session = self.write_once("store an API key").await?;
        session.execute(bind(Sql::new(text), key)).await.map(|_| ())
    }
}

fn bind(sql: Sql, key: &ApiKey) -> Sql {
    sql.text(&key.public_id)
        .bind(key.digest.as_bytes().to_vec())
        .bind(key.role.as_str())
        .text(&key.name)
        .bind(key.created_at.as_micros())
}
